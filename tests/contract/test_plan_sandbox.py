"""Tests of plans over HTTP: they only read, and a stored one is applied while true."""

import asyncio
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import AgentEndpoint, ScaleOutRequest
from obscale.cli import apply as apply_command
from obscale.cli.commands import app
from obscale.connect.connections import EnvironmentSecrets, connected
from obscale.errors import PreflightError
from obscale.events import text_of
from obscale.plan.file import PlanFile, read_plan_file, write_plan_file
from obscale.preflight.finding import line_of
from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.read import survey
from obscale.report.lists import findings_page
from obscale.request.models import ScaleOutSpec
from obscale.request.scale_out import scale_outs_of
from obscale.sandbox import Fault, ScaledClock, World, WorldConfig, default_config, serve
from obscale.spec import parse_spec
from obscale.submit.run import begin_once
from tests.contract.kept_here import KeptHere, seen_at, unheard

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


class Desk:
    """A served world, a folder of its own, and the command line."""

    def __init__(self, world, ready, folder):
        self.world, self.ready, self.folder = world, ready, folder
        self.agents = [f"{a['ip']}:{a['port']}" for a in ready["clusters"][0]["agents"]]
        self.spares = [f"{s['ip']}:{s['port']}" for s in ready["spares"]]

    def write(self, name="request.yaml", spare=0, **changes):
        """Write the documented sample request for a spare, changed where a test says so."""
        where = self.ready["spares"][spare]
        request = {
            "cluster": {
                "endpoints": self.agents,
                "password": {"env": "PLAN_TEST_ROOT"},
                "name": "obcluster",
                "id": 1,
            },
            "nodes": [
                {
                    "agentInfo": {"ip": where["ip"], "port": where["port"]},
                    "zone": "zone2",
                    "obConfigs": CONFIGS,
                }
            ],
        }
        path = self.folder / name
        path.write_text(yaml.safe_dump(request | changes), encoding="utf-8")
        return name

    def orders(self, **changes):
        """The orders of the sample request."""
        text = (self.folder / self.write(**changes)).read_text(encoding="utf-8")
        return scale_outs_of(parse_spec(text, "request.yaml"))

    async def run(self, *words, typed=None):
        """Type a command, in this process but off the world's loop, and answer what it asks."""
        return await asyncio.to_thread(CliRunner().invoke, app, list(words), input=typed)

    def files(self):
        """Names of all that lies in the folder."""
        return sorted(path.name for path in self.folder.iterdir())

    def writes(self):
        """Requests that may have changed something."""
        return [r for r in self.world.requests if r.method != "GET"]

    async def begin_another(self, spare):
        """Somebody else begins to scale out another spare, and fails."""
        self.world.play(Fault.fail_stage(5))
        where = self.ready["spares"][spare]
        root = SecretStr(self.ready["clusters"][0]["root_password"])
        async with AgentClient(AgentAddress.parse(self.agents[0]), root_password=root) as client:
            return await client.submit_scale_out(
                ScaleOutRequest(
                    agent_info=AgentEndpoint(ip=where["ip"], port=where["port"]),
                    zone="zone3",
                    ob_configs=CONFIGS | {"rpc_port": "3882", "mysql_port": "3881"},
                )
            )


@pytest.fixture
async def desk(tmp_path, monkeypatch):
    """A desk in an empty folder; Prefect would keep its things there too."""
    world = World(default_config().model_copy(update={"port": 0}), clock=ScaledClock(speed=20.0))
    async with serve(world) as door:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
        monkeypatch.setenv("PLAN_TEST_ROOT", door.ready["clusters"][0]["root_password"])
        yield Desk(world, door.ready, tmp_path)


@pytest.fixture
def applied(monkeypatch):
    """What would be run: the flow itself is the business of other tests."""
    orders = []

    async def run_all(these, *_more, **_options):
        orders.extend(these)
        return [(None, 0, None)]

    monkeypatch.setattr(apply_command, "run_all", run_all)
    monkeypatch.setattr(apply_command, "require_prefect", lambda **_how: None)
    return orders


async def test_a_plan_asks_and_writes_nothing_anywhere(desk):
    """No POST, no file, no Prefect: only GETs reach the agents."""
    name = desk.write()

    done = await desk.run("plan", name)

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("READY WITH")
    assert desk.world.requests
    assert desk.writes() == []
    assert desk.files() == ["request.yaml"]


async def test_a_plan_in_a_process_of_its_own_never_loads_prefect(desk):
    """Names of environment variables need no store: nothing is imported that could write."""
    code = (
        "import sys; from obscale.cli.commands import app; "
        "app(['plan', 'request.yaml', '--json'], standalone_mode=False); "
        "sys.exit('prefect' in sys.modules)"
    )
    desk.write()

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        cwd=desk.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ready"] is True
    assert desk.files() == ["request.yaml"]


async def test_json_holds_what_the_screen_shows(desk):
    """One object, with a schema version, the request as sent, findings, forecast and hash."""
    done = await desk.run("plan", desk.write(), "--json", "--profile", "lab")

    data = json.loads(done.output)
    assert data["schema_version"] == 1
    assert (data["ready"], data["profile"], data["verdict"]) == (True, "lab", "ready")
    (row,) = data["rows"]
    assert row["request"]["body"]["obConfigs"] == CONFIGS
    assert data["forecast"]["after"]["servers"] == 4
    assert data["forecast"]["before"]["memory_bytes"] == 3 * 8 * 2**30
    assert data["topology_hash"].startswith("sha256:")
    assert data["checklist"]
    assert "sandbox-root" not in done.output


async def test_a_kept_plan_is_applied_as_it_was_made(desk, applied):
    """Plan, keep, apply: the same request, and nothing was sent before."""
    desk.write(profile="lab")
    kept = await desk.run("plan", "request.yaml", "--out", "plan.json", "--valid-minutes", "5")

    files = desk.files()
    done = await desk.run("apply", "plan.json", "--yes")

    assert kept.exit_code == 0, kept.output
    assert "obscale apply plan.json" in kept.output.splitlines()[0]
    assert files == ["plan.json", "request.yaml"]
    assert done.exit_code == 0, done.output
    (order,) = applied
    assert (order.target, order.profile, order.node.obConfigs) == (desk.spares[0], "lab", CONFIGS)
    assert desk.writes() == []


async def test_an_expired_plan_is_not_applied(desk, applied):
    """Exit 2: when it expired and the command that makes a new one; no agent was asked."""
    desk.write()
    await desk.run("plan", "request.yaml", "--out", "plan.json")
    plan = read_plan_file(desk.folder / "plan.json")
    assert isinstance(plan, PlanFile)
    past = datetime.now(UTC) - timedelta(seconds=1)
    write_plan_file(desk.folder / "plan.json", plan.model_copy(update={"expires": past}).signed())
    seen = len(desk.world.requests)

    done = await desk.run("apply", "plan.json", "--yes")

    assert done.exit_code == 2
    assert f"expired at {past:%Y-%m-%d %H:%M:%S} UTC" in done.output
    assert "obscale plan request.yaml --out plan.json" in done.output
    assert applied == []
    assert len(desk.world.requests) == seen


async def test_a_plan_of_another_state_is_not_applied(desk, applied):
    """Exit 1: somebody else's scale-out is under way; what changed is named."""
    desk.write()
    await desk.run("plan", "request.yaml", "--out", "plan.json")
    dag = await desk.begin_another(spare=1)

    done = await desk.run("apply", "plan.json", "--yes")

    assert done.exit_code == 1
    assert f"DAG {dag.id} (Cluster scale out) is under way or failed" in done.output
    assert "obscale plan request.yaml --out plan.json" in done.output
    assert applied == []


async def test_with_json_each_change_is_an_item_of_a_list(desk, applied):
    """A program need not take a sentence apart to learn what changed."""
    desk.write()
    await desk.run("plan", "request.yaml", "--out", "plan.json")
    dag = await desk.begin_another(spare=1)

    done = await desk.run("apply", "plan.json", "--yes", "--json")

    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["exit_code"], error["kind"]) == (1, 1, "plan-changed")
    assert f"DAG {dag.id} (Cluster scale out) is under way or failed" in error["changes"]
    assert error["hint"] == "obscale plan request.yaml --out plan.json"
    assert applied == []


def aged(desk, minutes, **changes):
    """Let a kept plan have lain for so long; it is still valid."""
    plan = read_plan_file(desk.folder / "plan.json")
    created = datetime.now(UTC) - timedelta(minutes=minutes)
    changes |= {"created": created, "expires": datetime.now(UTC) + timedelta(minutes=9)}
    write_plan_file(desk.folder / "plan.json", plan.model_copy(update=changes).signed())
    return plan


async def test_a_plan_that_lay_for_long_is_applied_and_its_age_is_told(desk, applied):
    """Its maker let it wait; all was read again and is as it was."""
    desk.write()
    await desk.run("plan", "request.yaml", "--out", "plan.json", "--valid-minutes", "60")
    aged(desk, 20)

    done = await desk.run("apply", "plan.json", "--yes")

    assert done.exit_code == 0, done.output
    assert "plan.json: decided on what was true 20 minutes before; nothing" in done.output
    assert len(applied) == 1


async def test_a_plan_whose_disk_fills_up_is_not_applied(desk, applied):
    """There is still room, but something has taken much of it since."""
    desk.write()
    await desk.run("plan", "request.yaml", "--out", "plan.json")
    ((target, disks),) = read_plan_file(desk.folder / "plan.json").disks.items()
    emptier = tuple(disk.model_copy(update={"used": "1G", "total": "900G"}) for disk in disks)
    aged(desk, 2, disks={target: emptier})

    done = await desk.run("apply", "plan.json", "--yes")

    assert done.exit_code == 1
    assert f"disk-recent-usage now says warn of {target}" in done.output
    assert applied == []


async def test_a_blocked_plan_can_be_kept_and_not_applied(desk, applied):
    """It is a record of what was found; exit 1 both times."""
    desk.write()
    request = yaml.safe_load((desk.folder / "request.yaml").read_text(encoding="utf-8"))
    request["nodes"][0]["obConfigs"]["datafile_size"] = "500G"
    (desk.folder / "request.yaml").write_text(yaml.safe_dump(request), encoding="utf-8")

    kept = await desk.run("plan", "request.yaml", "--out", "plan.json")
    done = await desk.run("apply", "plan.json", "--yes")

    assert kept.exit_code == 1
    assert done.exit_code == 1
    assert "blocked by disk-fits" in done.output
    assert applied == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("plan", "request.yaml", "--valid-minutes", "5"), "no plan is kept without --out"),
        (("plan", "plan.json"), "is a plan already, not a request"),
        (("apply", "plan.json", "--yes", "--profile", "lab"), "is a plan and has its own"),
        (("apply", "plan.json", "--yes", "--cluster", "east"), "is a plan and has its own"),
        (("plan", "request.yaml", "--cluster", "east"), "--cluster names 'east'"),
        (("suggest", "10.0.0.4"), "name the cluster by one of"),
        (("plan", "request.yaml", "--out", "no/such/plan.json"), "cannot be written"),
    ],
)
async def test_options_that_do_not_go_together_are_bad_input(desk, words, told):
    """Exit 2 and one line with what to write instead."""
    desk.write()
    await desk.run("plan", "request.yaml", "--out", "plan.json")

    done = await desk.run(*words)

    assert done.exit_code == 2, done.output
    assert told in done.output
    assert desk.writes() == []


async def test_a_suggestion_is_a_request_that_is_ready(desk):
    """What is printed can be planned as it is; nothing was written or sent on the way."""
    options = (desk.spares[0], "--cluster-endpoint", desk.agents[0])

    made = await desk.run("suggest", *options, "--password-env", "PLAN_TEST_ROOT")
    (desk.folder / "suggested.yaml").write_text(made.stdout, encoding="utf-8")
    planned = await desk.run("plan", "suggested.yaml", "--json")

    assert made.exit_code == 0, made.stdout
    assert isinstance(parse_spec(made.stdout, "suggested.yaml"), ScaleOutSpec)
    assert json.loads(planned.stdout)["ready"] is True
    assert "  # as all peers in zone1" in made.stdout
    assert "sandbox-root" not in made.stdout
    assert desk.writes() == []


async def test_a_suggestion_as_json_gives_the_same_request(desk):
    """For programs: the request, a reason for each value, and what to know."""
    options = (desk.spares[0], "--cluster-endpoint", desk.agents[0])
    options += ("--password-env", "PLAN_TEST_ROOT", "--zone", "zone3")

    made = await desk.run("suggest", *options)
    data = json.loads((await desk.run("suggest", *options, "--json")).stdout)

    assert parse_spec(json.dumps(data["request"]), "it.json") == parse_spec(made.stdout, "it.yaml")
    assert data["why"]["memory_limit"] == "as all peers in zone3"
    assert any("zone3 then has 2 observers" in note for note in data["notes"])


@pytest.fixture
async def full_desk(tmp_path, monkeypatch):
    """A desk whose spares have no room for the sample's data file."""
    content = default_config().model_dump() | {"port": 0}
    disk = {"mount": "/", "device": "/dev/vda1", "total": "40G", "used": "30G"}
    content["spares"][0]["host"] = content["host"] | {"disks": [disk]}
    world = World(WorldConfig.model_validate(content), clock=ScaledClock(speed=20.0))
    async with serve(world) as door:
        monkeypatch.setenv("PLAN_TEST_ROOT", door.ready["clusters"][0]["root_password"])
        yield Desk(world, door.ready, tmp_path)


async def test_a_stale_preflight_is_judged_again_before_the_post(full_desk):
    """A minute later the disk is full: nothing is posted."""
    (order,) = full_desk.orders()

    async with connected(order, EnvironmentSecrets()) as link:
        minute_ago = seen_at(datetime.now(UTC) - timedelta(seconds=61))
        with pytest.raises(PreflightError, match="no longer as at preflight: disk-fits"):
            await begin_once(link, order, minute_ago, records=KeptHere, publish=unheard)

    assert full_desk.writes() == []


async def test_a_fresh_preflight_is_believed(full_desk):
    """Seconds later nothing is surveyed again: the look alone precedes the POST."""
    (order,) = full_desk.orders()

    async with connected(order, EnvironmentSecrets()) as link:
        begun = await begin_once(
            link, order, seen_at(datetime.now(UTC)), records=KeptHere, publish=unheard
        )

    assert begun.how == "posted"
    assert not [r for r in full_desk.world.requests if r.target.endswith("/agent/host-info")]


async def test_what_stirs_between_preflight_and_post_is_told(desk):
    """A quarter of an hour for the lock, and meanwhile somebody filled the disk: it still fits."""
    (order,) = desk.orders()
    heard = []

    async with connected(order, EnvironmentSecrets()) as link:
        facts = await survey(link, order)
        (disk,) = facts.target.host.disks
        emptier = disk.model_copy(update={"total": "900G", "used": "1G"})
        host = facts.target.host.model_copy(update={"disks": (emptier,)})
        seen = seen_at(facts.now - timedelta(minutes=16), host)
        begun = await begin_once(link, order, seen, records=KeptHere, publish=heard.append)

    assert begun.how == "posted"
    told = "\n".join(map(text_of, heard))
    assert "submit.warn disk-recent-usage: / had at most" in told
    assert "submit.warn preflight-freshness: decided on what was true 16 minutes before" in told
    assert told.index("submit.judged_again") < told.index("submit.posting")


async def test_log_line_and_page_carry_the_reason_of_an_override(desk):
    """An accepted finding is never quietly gone from the run's log or its artifact."""
    until = (datetime.now(UTC) + timedelta(days=2)).date()
    (order,) = desk.orders(
        overrides=[{"rule": "zone-balance", "reason": "two more follow", "until": str(until)}]
    )

    async with connected(order, EnvironmentSecrets()) as link:
        facts = await survey(link, order)
    (finding,) = judge_with_overrides(facts, "prod", order.overrides).overridden

    assert line_of(finding).endswith(f"overridden until {until}: 'two more follow'")
    assert f"**warn, overridden until {until}: two more follow** zone" in findings_page([finding])


SILENT_HOST = Fault.panic(to="host-info", times=0)


async def test_the_verdict_counts_what_could_block_and_is_not_known(desk):
    """Ready all the same, for somebody who is asked; what is not known is listed by its rules."""
    desk.world.play(SILENT_HOST)
    name = desk.write()

    shown = await desk.run("plan", name)
    told = json.loads((await desk.run("plan", name, "--json")).stdout)

    page = " ".join(shown.stdout.split())
    count = len(told["unknown"])
    assert shown.exit_code == 0
    assert page.startswith("READY WITH")
    assert f", {count} UNKNOWN (prod) next: obscale apply request.yaml, which asks" in page
    assert "allow_unknown: true" in page
    assert "could block, and could not be judged: mem-fits-total, " in page
    assert told["ready"] is True
    assert {"mem-fits-total", "disk-fits"} <= set(told["unknown"])
    assert told["rows"][0]["unknown"] == told["unknown"]


@pytest.mark.parametrize(
    "changes",
    [
        {"allow_unknown": True},
        {"profile": "lab"},
        {
            "overrides": [
                {"rule": "host-facts-missing", "reason": "seen there", "until": "2999-01-01"}
            ]
        },
    ],
    ids=["allowed", "lab", "overridden"],
)
async def test_several_nodes_go_on_unasked_where_the_unknown_is_accepted(desk, applied, changes):
    """By the policy, by the profile, or by an override of the rule that reports it."""
    desk.world.play(SILENT_HOST)
    name = desk.write(nodes=two_nodes(desk), **changes)

    done = await desk.run("apply", name, "--yes")

    assert done.exit_code == 0, done.output
    assert [order.allow_unknown for order in applied] == ["allow_unknown" in changes] * 2


async def test_several_nodes_are_not_begun_unasked_where_something_is_unknown(desk, applied):
    """None of them, and the line names the rules and what to write."""
    desk.world.play(SILENT_HOST)

    done = await desk.run("apply", desk.write(nodes=two_nodes(desk)), "--yes")

    assert done.exit_code == 1
    assert "none was begun, blocked by preflight: " in done.output
    assert "host-facts-missing: unknown, and mem-fits-total, " in done.output
    assert "allow_unknown: true" in done.output
    assert applied == []


async def test_whoever_is_asked_accepts_what_is_unknown_with_a_yes(desk, applied, monkeypatch):
    """The question counts it, and the run goes on with it; else the yes was for what was known."""
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(apply_command, "sys", terminal)
    known = await desk.run("apply", desk.write(), typed="y\n")
    desk.world.play(SILENT_HOST)
    unknown = await desk.run("apply", desk.write(), typed="y\n")

    assert "Add 1 node(s) as planned? [y/N]" in known.output
    assert re.search(r"as planned, although \d+ rules could not be judged\?", unknown.output)
    assert [order.allow_unknown for order in applied] == [False, True]


def two_nodes(desk):
    """The sample request for two spares."""
    return [
        {
            "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
            "zone": f"zone{at}",
            "obConfigs": CONFIGS,
        }
        for at, spare in enumerate(desk.ready["spares"][:2], start=1)
    ]
