"""Tests of `obscale watch` and `obscale recover` on scale-outs of others."""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import sys
import termios

import pytest
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import Operator, ScaleOutRequest
from obscale.cli.commands import app
from obscale.connect.connections import EnvironmentSecrets
from obscale.errors import ObscaleError
from obscale.plan import make_plan
from obscale.plan.file import plan_file, write_plan_file
from obscale.request.scale_out import scale_outs_of
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, default_config
from obscale.spec import read_spec
from obscale.tasks.runtime.cluster_block import ObshellCluster

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
LOOKS = 600
QUICK = {"steady_seconds": 0.2, "poll_seconds": 0.1, "undo_seconds": 60}


@pytest.fixture
def bench(stage, monkeypatch, tmp_path):
    """Give a scene, a scale-out somebody else began in it, and the command line beside it."""
    # A node the request does not name is followed with the usual limits.
    for name, value in QUICK.items():
        monkeypatch.setattr(TimeLimits.model_fields[name], "default", value)
    TimeLimits.model_rebuild(force=True)
    yield lambda *faults, **more: begin(stage, tmp_path, *faults, **more)
    monkeypatch.undo()
    TimeLimits.model_rebuild(force=True)


class Bench:
    """A simulated cluster with a foreign scale-out, and a request file that names the cluster."""

    def __init__(self, scene, path):
        self.scene, self.path = scene, path
        self.cluster = scene.ready["clusters"][0]
        self.spare = scene.ready["spares"][0]
        self.target = scene.world.agent(f"{self.spare['ip']}:{self.spare['port']}")

    def entry(self):
        """A client of the first cluster agent."""
        agent = self.cluster["agents"][0]
        return AgentClient(
            AgentAddress(agent["ip"], agent["port"]),
            root_password=SecretStr(self.cluster["root_password"]),
        )

    @property
    def dag(self):
        """The scale-out, as the simulated cluster holds it."""
        return next(d for d in self.scene.world.clusters[0].dags if d.name == "Cluster scale out")

    async def run(self, *words):
        """Run the command line in a thread; it has its own event loop."""

        def invoke():
            return CliRunner().invoke(app, [words[0], str(self.path), *words[1:]])

        result = await asyncio.to_thread(invoke)
        if isinstance(result.exception, ObscaleError):
            raise result.exception
        return result

    async def until(self, holds):
        """Let the simulated world go on until something holds."""
        for _ in range(LOOKS):
            self.scene.world.sync()
            if holds():
                return
            await asyncio.sleep(0.05)
        raise AssertionError("not within its time")

    @property
    def operated(self):
        """Ids of the DAGs something was posted to, in order."""
        return [
            r.target.rsplit("/", 1)[1]
            for r in self.scene.world.requests
            if r.method == "POST" and r.target.startswith("/api/v1/task/dag/")
        ]


async def begin(
    stage, tmp_path, *faults, config=None, speed=40.0, wait_for="FAILED", asks=("another",)
):
    """Start a scale-out by the bare API; the request's file asks for another node, or for it too.

    `wait_for` is a state of the DAG, a stage to pass, or None: no waiting.
    """
    scene = await stage(config, speed)
    for fault in faults:
        scene.world.play(fault)
    cluster, spare, other = (
        scene.ready["clusters"][0],
        scene.ready["spares"][0],
        scene.ready["spares"][1],
    )
    path = tmp_path / "cluster.yaml"
    request = {
        "cluster": {
            "endpoints": [f"{a['ip']}:{a['port']}" for a in cluster["agents"]],
            "password": {"env": "OBSCALE_TEST_ROOT"},
        },
        "nodes": [
            {
                "agentInfo": {"ip": node["ip"], "port": node["port"]},
                "zone": zone,
                "obConfigs": SAMPLE,
            }
            for name, node, zone in (("another", other, "zone1"), ("it", spare, "zone2"))
            if name in asks
        ],
        "time_limits": QUICK,
    }
    path.write_text(yaml.safe_dump(request), encoding="utf-8")
    bench = Bench(scene, path)
    body = {"agentInfo": {"ip": spare["ip"], "port": spare["port"]}, "zone": "zone2"}
    async with bench.entry() as agent:
        await agent.submit_scale_out(
            ScaleOutRequest.model_validate({**body, "obConfigs": dict(SAMPLE)})
        )
    if isinstance(wait_for, str):
        await bench.until(lambda: bench.dag.state == wait_for)
    elif wait_for:
        await bench.until(lambda: bench.dag.stage > wait_for)
    return bench


async def test_watch_follows_a_foreign_scale_out_to_verified(bench):
    """Attached in the middle, nothing posted: the stages are told, the node is verified, exit 0."""
    here = await bench(wait_for=2, speed=15.0)

    result = await here.run("watch", "11", "--json")

    assert result.exit_code == 0
    report = json.loads(result.stdout)["report"]
    assert (report["outcome"], report["zone"]) == ("verified", "zone2")
    assert report["target"] == here.target.address
    assert "Check cluster scale_out whether finished" in result.stderr
    assert here.scene.posts() == 1
    assert here.operated == []


async def test_watch_takes_a_kept_plan_for_the_cluster_also_when_it_has_expired(bench, tmp_path):
    """Whoever applied a plan is told to watch with its file: it names the cluster."""
    at_work = await bench(wait_for=2, speed=15)
    spec = read_spec(at_work.path)
    plan = tmp_path / "plan.json"
    made = await make_plan(scale_outs_of(spec), EnvironmentSecrets())
    again = "obscale plan cluster.yaml --out plan.json"
    write_plan_file(plan, plan_file(spec, made, again, valid_minutes=0))
    at_work.path = plan

    result = await at_work.run("watch", "11")

    assert result.exit_code == 0, result.output
    assert at_work.scene.posts() == 1


async def test_watch_of_a_failed_scale_out_says_why_and_exits_1(bench):
    """The diagnosis stands there with the consequences of each choice; nothing is operated."""
    here = await bench(Fault.observer_dies())

    result = await here.run("watch", "11")

    assert result.exit_code == 1
    assert "[observer-died]" in result.stdout
    assert "ROLLBACK (safe)" in result.stdout
    assert here.operated == []


async def test_a_success_over_undone_stages_is_named_and_says_how_to_clean_up(bench):
    """A rollback retried half-way: SUCCEED, no server; the proof says which stages were skipped."""
    here = await bench(
        Fault.fail_stage(9),
        Fault.fail_rollback(6),
        Fault.operate_dag("ROLLBACK"),
        Fault.operate_dag("RETRY"),
        wait_for="SUCCEED",
        speed=60.0,
    )

    result = await here.run("watch", "11")
    refused = await here.run("recover", "11", "--retry", "--yes")

    assert result.exit_code == 1
    assert "[hollow-success]" in result.stdout
    assert ".meta" in result.stdout
    assert "undone before and skipped: Add server for scale_out" in result.stderr
    assert refused.exit_code == 1
    assert "RETRY is no choice here" in refused.stderr
    assert here.operated == []


async def test_recover_retry_takes_a_foreign_dag_to_verified(bench):
    """One RETRY, followed to the end and verified: exit 0."""
    here = await bench(Fault.observer_dies())

    result = await here.run("recover", "11", "--retry", "--yes", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["report"]["outcome"] == "verified"
    assert here.operated == ["11"]


async def test_recover_roll_back_takes_a_foreign_dag_to_its_real_end(bench):
    """One ROLLBACK by id: target SINGLE, lock free, three servers: exit 0."""
    here = await bench(Fault.observer_dies())

    result = await here.run("recover", "11", "--roll-back", "--yes")

    assert result.exit_code == 0
    assert "is SINGLE again" in result.stdout
    assert (here.target.identity, here.target.under_maintenance) == ("SINGLE", False)
    assert len(here.scene.world.clusters[0].servers) == 3
    assert here.dag.undone


async def test_recover_says_what_to_do_on_the_host_of_an_orphan_it_cannot_reach(bench):
    """Rolled back by somebody, the target still SCALING OUT: told, and nothing sent to it."""
    here = await bench(Fault.orphan_local_dag())
    async with here.entry() as agent:
        await agent.operate_dag("11", Operator.ROLLBACK)
    await here.until(lambda: here.dag.undone)
    assert here.target.identity == "SCALING OUT"

    result = await here.run("recover", "11", "--roll-back", "--yes")

    assert result.exit_code == 1
    assert "[orphan-out-of-reach]" in result.stderr
    assert "run/obshell.sock" in result.stderr
    assert here.operated == ["11"]
    assert here.target.identity == "SCALING OUT"


@pytest.mark.parametrize("flags", [(), ("--acknowledge-data-loss",)])
async def test_recover_refuses_a_dead_end_whatever_is_acknowledged(bench, flags):
    """ROLLBACK while the observer starts: one line, exit 1, nothing sent."""
    here = await bench(Fault.slow_observer(seconds=5000), speed=60.0)

    result = await here.run("recover", "11", "--roll-back", "--yes", *flags)

    assert result.exit_code == 1
    line = result.stderr.strip()
    assert line.count("\n") == 0
    assert "was not touched: ROLLBACK is a dead end" in line
    assert here.operated == []


@pytest.mark.parametrize("flag", ["--retry", "--roll-back"])
async def test_recover_deletes_foreign_data_only_when_that_is_accepted(bench, flag):
    """After DirNotEmpty both are refused with what they delete; accepted, they are carried out."""
    config = default_config()
    spare = config.spares[0].model_copy(
        update={"dirs": {"/home/admin/oceanbase/store": ["somebody-s-data"]}}
    )
    here = await bench(config=config.model_copy(update={"spares": (spare, *config.spares[1:])}))

    refused = await here.run("recover", "11", flag, "--yes")
    untouched = list(here.target.files.deleted)
    taken = await here.run("recover", "11", flag, "--yes", "--acknowledge-data-loss")

    assert refused.exit_code == 1
    assert "rm -rf of /home/admin/oceanbase/store" in refused.stderr
    assert "--acknowledge-data-loss" in refused.stderr
    assert untouched == []
    assert taken.exit_code == 0
    assert "/home/admin/oceanbase/store" in here.target.files.deleted


async def test_recover_asks_and_does_nothing_where_nobody_answers(bench):
    """Without --yes and without a terminal: bad input, exit 2, nothing sent."""
    here = await bench(Fault.observer_dies())

    result = await here.run("recover", "11", "--retry")
    neither = await here.run("recover", "11", "--yes")

    assert result.exit_code == 2
    assert "nobody is there to answer" in result.stderr
    assert neither.exit_code == 2
    assert here.operated == []


@pytest.mark.parametrize(
    "words", [("watch",), ("recover", "--retry", "--yes"), ("recover", "--roll-back", "--yes")]
)
async def test_another_nodes_scale_out_is_refused_until_it_is_named_by_its_id(bench, words):
    """Nothing is operated; the line names DAG, target and the command that means it."""
    here = await bench(Fault.observer_dies())

    result = await here.run(*words)

    verb, *flags = words
    assert result.exit_code == 2
    assert f"DAG 11, is of {here.target.address}, which is not in cluster.yaml" in result.stderr
    assert " ".join(("name it: obscale", verb, str(here.path), "11", *flags)) in result.stderr
    assert here.operated == []
    assert here.dag.state == "FAILED"


@pytest.mark.parametrize("asks", [("it",), ("another", "it")], ids=["one node", "two nodes"])
async def test_the_scale_out_of_a_node_in_the_file_is_taken_and_told(bench, asks):
    """Without an id, also where it is one of several nodes; what is said first is which."""
    here = await bench(Fault.observer_dies(), asks=asks)

    result = await here.run("recover", "--roll-back", "--yes")

    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert said.startswith(f"DAG 11, the scale-out of {here.target.address}: FAILED at stage 5/9")
    assert here.operated == ["11"]
    assert here.target.identity == "SINGLE"


async def test_a_scale_out_that_has_just_begun_is_looked_at_until_it_names_its_target(bench):
    """It is the file's own, as it turns out, and is followed to the end."""
    here = await bench(wait_for=None, speed=0.02, asks=("it",))
    asked = len(here.scene.world.requests)

    async def go_on_once_it_was_seen():
        await here.until(
            lambda: any("/task/dag" in r.target for r in here.scene.world.requests[asked:])
        )
        here.scene.world.clock.change_speed(4)

    _, result = await asyncio.gather(go_on_once_it_was_seen(), here.run("watch"))

    assert result.exit_code == 0, result.output
    assert "does not name its target yet" in result.stdout
    assert "CONFORMING" in result.stdout


async def test_a_scale_out_that_never_named_its_target_is_nobodys(bench):
    """It failed before it called a node: not taken for the file's node, undone by its id alone."""
    here = await bench(Fault.fail_stage(1), asks=("it",))

    refused = await here.run("recover", "--roll-back", "--yes")
    again = await here.run("recover", "11", "--retry", "--yes")
    untouched = list(here.operated)
    watched = await here.run("watch", "11")
    undone = await here.run("recover", "11", "--roll-back", "--yes", "--json")

    assert refused.exit_code == 2
    assert "DAG 11 (FAILED at stage 1/9), does not name its target" in refused.stderr
    assert f"recover {here.path} 11 --roll-back --yes" in refused.stderr
    assert again.exit_code == 1
    assert "nobody can tell which node" in again.stderr
    assert watched.exit_code == 2
    assert "does not name its target" in watched.stderr
    assert untouched == []
    assert undone.exit_code == 0, undone.output
    assert json.loads(undone.stdout)["undone"] == {"dag_id": "11", "target": "", "orphan": ""}
    assert here.operated == ["11"]
    assert not any(dag.is_unfinished for dag in here.scene.world.clusters[0].dags)


async def test_a_stored_connection_means_its_one_failed_scale_out_where_nobody_is_asked(bench):
    """That one is taken and told; when it is undone, none is, although it is the newest still."""
    here = await bench(Fault.observer_dies())
    await ObshellCluster(
        endpoints=[f"{a['ip']}:{a['port']}" for a in here.cluster["agents"]],
        root_password=SecretStr(here.cluster["root_password"]),
        name=here.cluster["name"],
        cluster_id=here.cluster["id"],
    ).asave("followed", overwrite=True)
    here.path = "followed"

    taken = await here.run("recover", "--roll-back", "--yes")
    refused = await here.run("recover", "--roll-back", "--yes")

    assert taken.exit_code == 0, taken.output
    assert f"DAG 11, the scale-out of {here.target.address}: FAILED" in taken.stdout
    assert refused.exit_code == 2
    assert "no FAILED scale-outs stand in the cluster" in refused.stderr
    assert "obscale recover followed 11 --roll-back --yes" in refused.stderr
    assert here.operated == ["11"]


async def test_recover_alone_shows_the_diagnosis_and_names_the_flags_where_nobody_is_there(bench):
    """No terminal, no flag: exit 2 with what may be chosen; as JSON with the diagnosis in it."""
    here = await bench(Fault.observer_dies(), asks=("it",))

    told = await here.run("recover")
    data = await here.run("recover", "--json")

    assert told.exit_code == data.exit_code == 2
    assert "[observer-died]" in told.stdout
    assert "ROLLBACK (safe)" in told.stdout
    assert "nobody is there to choose for DAG 11, the scale-out of" in told.stderr
    assert "add --retry or --roll-back, and --yes" in told.stderr
    answer = json.loads(data.stdout)
    assert answer["error"]["exit_code"] == 2
    assert answer["diagnosis"]["cause"] == "observer-died"
    assert {choice["operator"] for choice in answer["diagnosis"]["choices"]} >= {"RETRY"}
    assert here.operated == []


async def test_recover_alone_offers_no_dead_end(bench):
    """While the observer starts only RETRY is named."""
    here = await bench(Fault.slow_observer(seconds=5000), speed=60.0, asks=("it",))

    result = await here.run("recover")

    assert "add --retry, and --yes" in result.stderr


@pytest.mark.parametrize(
    ("words", "typed", "question", "ends", "operated"),
    [
        ((), "leave", "What shall be done about", "was left as it stands", []),
        ((), "jump\nroll-back", "What shall be done about", "is SINGLE again", ["11"]),
        (("--roll-back",), "n", "ROLLBACK", "not confirmed; nothing was sent", []),
        (("11", "--roll-back"), "y", "ROLLBACK", "is SINGLE again", ["11"]),
    ],
    ids=["left", "chosen", "denied", "confirmed"],
)
async def test_at_a_terminal_recover_asks_with_dag_and_target(
    bench, words, typed, question, ends, operated
):
    """A real terminal: the question names both, and that the node is not in the file."""
    here = await bench(
        Fault.observer_dies(), asks=("another",) if words[:1] == ("11",) else ("it",)
    )

    said, code = await at_terminal(
        [sys.executable, "-m", "obscale.cli", "recover", str(here.path), *words], typed
    )

    aside = ", which is not in cluster.yaml" if words[:1] == ("11",) else ""
    assert f"{question} DAG 11, the scale-out of {here.target.address}{aside}?" in said
    assert ends in said
    assert code == (0 if operated else 1)
    assert here.operated == operated


async def test_ctrl_c_ends_recovers_question(bench):
    """The question stands inside of an event loop, which hears nothing meanwhile."""
    here = await bench(Fault.observer_dies(), asks=("it",))

    said, code = await at_terminal(
        [sys.executable, "-m", "obscale.cli", "recover", str(here.path)], "", ends="leave]: "
    )

    assert code == 130
    # What was drawn is wiped off before the line, and the cursor shown.
    last = said.splitlines()[-1].removeprefix("\x1b[J\x1b[?25h")
    assert re.match(r"obscale: interrupted; DAG 11 is at stage .* keeps the cluster's lock", last)
    assert f"Next: obscale watch {here.path} 11 says why" in last
    assert here.operated == []


async def at_terminal(command, typed, ends=None):
    """Run a program at a terminal of its own, type, and give all it said and its exit code.

    Once it has said what is in `ends` it is ended, as by Ctrl-C.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 400))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    if not ends:
        os.write(ours, f"{typed}\n".encode())
    heard = bytearray()

    def listen():
        is_ended = False
        # The terminal is gone, as an error, when the program has ended.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                heard.extend(part)
                if ends and ends.encode() in heard and not is_ended:
                    process.send_signal(signal.SIGINT)
                    is_ended = True

    await asyncio.to_thread(listen)
    code = await process.wait()
    os.close(ours)
    return heard.decode(), code
