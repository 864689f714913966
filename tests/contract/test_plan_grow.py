"""Tests of `obscale plan --grow` against simulated clusters: what it asks, chooses and keeps."""

import asyncio
import json
import random
from typing import Any

import pytest
from typer.testing import CliRunner

from obscale.cli.commands import app
from obscale.sandbox import ScaledClock, World, WorldConfig, default_config, serve
from obscale.spec import read_spec
from tests.docs.json_page import problems

ROOT = "canary-of-root"
SPARE = "canary-of-a-spare"


class Desk:
    """A served world, a folder of its own, and the command line."""

    def __init__(self, world, door):
        self.world = world
        ready = door.ready
        self.entry = address(ready["clusters"][0]["agents"][0])
        self.spares = [address(each) for each in ready["spares"]]

    async def run(self, *words):
        """Type a command, in this process but off the world's loop."""
        return await asyncio.to_thread(CliRunner().invoke, app, list(words))

    async def plan(self, grow, spares, *words):
        """Choose of spares."""
        named = "--spares", spares, "--cluster-endpoint", self.entry
        return await self.run("plan", "--grow", grow, *named, "--password-env", "GROW_ROOT", *words)


def address(where):
    return f"{where['ip']}:{where['port']}"


@pytest.fixture
async def open_desk(tmp_path, monkeypatch):
    """Serve a world of this description; a desk at it."""
    doors = []

    async def open_(**changes):
        told: dict[str, Any] = default_config().model_dump() | {"port": 0} | changes
        told["clusters"][0]["root_password"] = ROOT
        config = WorldConfig.model_validate(told)
        world = World(config, clock=ScaledClock(speed=20.0))
        door = serve(world)
        doors.append(door)
        opened = await door.__aenter__()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
        monkeypatch.setenv("GROW_ROOT", ROOT)
        monkeypatch.setenv("GROW_SPARE", SPARE)
        return Desk(world, opened)

    yield open_
    for door in doors:
        await door.__aexit__(None, None, None)


async def test_one_more_in_each_zone_is_chosen_kept_and_ready_to_be_applied(open_desk, tmp_path):
    """The request is an ordinary one; nothing but reads was sent, and no password is told."""
    desk = await open_desk()
    (tmp_path / "pool.yaml").write_text("".join(f"- {each}\n" for each in desk.spares))

    ended = await desk.plan("1", "pool.yaml", "--out-request", "request.yaml", "--json")

    told = json.loads(ended.stdout)
    assert ended.exit_code == 0, ended.output
    assert problems("plan, by number", told) == []
    assert told["next"] == "obscale apply request.yaml"
    assert [each["zone"] for each in told["grow"]["chosen"]] == ["zone1", "zone2", "zone3"]
    spec = read_spec(tmp_path / "request.yaml")
    assert [node.address for node in spec.nodes] == sorted(desk.spares)
    assert ROOT not in ended.output + (tmp_path / "request.yaml").read_text()
    assert {each.method for each in desk.world.requests} == {"GET"}
    planned = await desk.run("plan", "request.yaml", "--json")
    assert json.loads(planned.stdout)["ready"] is True


async def test_the_same_pool_in_any_order_makes_the_same_file(open_desk, tmp_path):
    """Byte for byte."""
    desk = await open_desk()
    texts = set()
    for at in range(3):
        random.Random(at).shuffle(desk.spares)
        name = f"request-{at}.yaml"
        ended = await desk.plan("zone2=2", ",".join(desk.spares), "--out-request", name)
        assert ended.exit_code == 0, ended.output
        texts.add((tmp_path / name).read_text())

    assert len(texts) == 1


async def test_too_few_are_blocked_and_nothing_is_kept(open_desk, tmp_path):
    """Who is missing by zone, and why each other was left out; in text and as JSON."""
    desk = await open_desk()
    pool = f"{desk.spares[0]},{desk.entry},127.0.0.1:1"

    ended = await desk.plan("1", pool, "--out-request", "request.yaml")

    assert ended.exit_code == 1
    assert "blocked: 2 of 3 nodes have no spare (zone2 1, zone3 1)" in ended.output
    shown = " ".join(ended.output.split())
    assert "it is in the cluster already" in shown
    assert "it does not answer" in shown
    assert f"{desk.spares[0]} would be chosen → zone1" in shown
    assert not (tmp_path / "request.yaml").exists()
    told = json.loads((await desk.plan("1", pool, "--json")).stdout)
    assert problems("plan, by number", told) == []
    assert (told["ready"], told["verdict"], told["plan"]) == (False, "blocked", None)
    assert told["grow"]["missing"] == {"zone2": 1, "zone3": 1}
    assert told["grow"]["request"] is None


async def test_a_spare_with_a_password_is_asked_with_it_by_name(open_desk, tmp_path):
    """Its name goes into the request; another's is told as what it is left out for."""
    desk = await open_desk(
        spares=[{"agent_password": SPARE}, {"agent_password": "another"}],
    )
    lines = ["ip,port,agent_password_env"]
    lines += [",".join((*each.split(":"), "GROW_SPARE")) for each in desk.spares]
    (tmp_path / "pool.csv").write_text("\n".join(lines))

    ended = await desk.plan("zone2=1", "pool.csv", "--out-request", "request.yaml", "--json")

    told = json.loads(ended.stdout)
    assert ended.exit_code == 0, ended.output
    assert [each["target"] for each in told["grow"]["chosen"]] == [desk.spares[0]]
    assert "agent-auth" in told["grow"]["left_out"][0]["why"]
    assert '{"env": "GROW_SPARE"}' in (tmp_path / "request.yaml").read_text()
    assert SPARE not in ended.output + (tmp_path / "request.yaml").read_text()


async def test_a_spare_of_another_build_is_left_out(open_desk):
    """It is known before it is chosen."""
    desk = await open_desk(spares=[{"ob_version": "4.3.5.1-101000042024120211"}, {}])

    ended = await desk.plan("zone1=1", ",".join(desk.spares), "--json")

    told = json.loads(ended.stdout)["grow"]
    assert [each["target"] for each in told["chosen"]] == [desk.spares[1]]
    assert "ob-version-equal" in told["left_out"][0]["why"]


async def test_what_is_wrong_on_the_command_line_is_one_clear_line(open_desk, tmp_path):
    """Before anything is asked, but for a zone that only the cluster knows."""
    desk = await open_desk()
    pool = ",".join(desk.spares)
    (tmp_path / "request.yaml").write_text("cluster: any\n")
    wrong = {
        ("plan", "--grow", "1"): "--grow: no pool was named",
        ("plan", "--grow", "1", "--spares", pool): "--grow: name the cluster by one of",
        ("plan", "--spares", pool): "--spares: only with --grow",
        ("plan", "request.yaml", "--grow", "1"): "--grow: takes no SPEC beside it",
        ("plan", "--grow", "1", "--from-obd", "x"): "--from-obd, --grow: each makes a request",
        ("plan", "request.yaml", "--out-request", "x"): "only with --from-obd or --grow",
    }
    for words, said in wrong.items():
        ended = await desk.run(*words)
        assert (ended.exit_code, said in ended.output) == (2, True), ended.output
    for grow, said in {"two": "is no number of nodes", "zone9=1": "has no zone9, it has"}.items():
        ended = await desk.plan(grow, pool)
        assert (ended.exit_code, said in ended.output) == (2, True), ended.output
    ended = await desk.plan("1", pool, "--out-request", "request.yaml")
    assert (ended.exit_code, "is there already" in ended.output) == (2, True), ended.output


async def test_nobody_answers_for_the_cluster(open_desk):
    """Then nothing is chosen: exit 3."""
    desk = await open_desk()
    desk.entry = "127.0.0.1:1"

    assert (await desk.plan("1", desk.spares[0])).exit_code == 3


async def test_a_plan_may_be_kept_of_a_choice(open_desk, tmp_path):
    """Apply takes it as any kept plan."""
    desk = await open_desk()

    ended = await desk.plan("zone3=1", ",".join(desk.spares), "--out", "plan.json")

    assert ended.exit_code == 0, ended.output
    kept = json.loads((tmp_path / "plan.json").read_text())
    assert "--grow zone3=1" in kept["command"]
    assert "next: obscale apply plan.json" in ended.output
