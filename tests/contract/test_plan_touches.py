"""Tests of what `obscale plan` costs the cluster it reads.

Each plan is a process of its own, as a user types it, with a home that nobody else writes to.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest
import yaml

from obscale.preflight.read import TARGET_SECONDS
from obscale.reading import PEER_SECONDS
from obscale.sandbox import Fault, ScaledClock, World, WorldConfig, default_config, serve
from tests.cli.conftest import told

CONFIGS = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
LOADED_MACHINE_SECONDS = 20
"""Beyond what a silent member may cost: another process may have the processor."""


class Stay:
    """A world, and a user's whole disk."""

    def __init__(self, world, ready, root):
        self.world, self.ready, self.root = world, ready, root
        self.cluster, (self.spare, *_) = ready["clusters"][0], ready["spares"]
        self.members = [f"{agent['ip']}:{agent['port']}" for agent in self.cluster["agents"]]
        for name in ("home", "prefect", "work", "tmp"):
            (root / name).mkdir()
        request = {
            "cluster": {
                "endpoints": self.members[:3],
                "password": {"env": "STAY_ROOT"},
                "name": self.cluster["name"],
                "id": self.cluster["id"],
            },
            "nodes": [
                {
                    "agentInfo": {"ip": self.spare["ip"], "port": self.spare["port"]},
                    "zone": "zone2",
                    "obConfigs": CONFIGS,
                }
            ],
        }
        text = yaml.safe_dump(request)
        (root / "work" / "request.yaml").write_text(text, encoding="utf-8")

    def snapshot(self):
        """Every file and folder there is, each with a hash of its content and its time."""
        return {
            str(path.relative_to(self.root)): (
                path.stat().st_mtime_ns,
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            )
            for path in sorted(self.root.rglob("*"))
        }

    async def plan(self, *words, **environment):
        """Type `obscale plan request.yaml`; gives exit code, output and how long it took."""
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "obscale.cli", "plan", "request.yaml", *words,
            cwd=self.root / "work",
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.root / "home"),
                "PREFECT_HOME": str(self.root / "prefect"),
                "TMPDIR": str(self.root / "tmp"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "STAY_ROOT": self.cluster["root_password"],
            } | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), timeout=240)
        return process.returncode, out.decode(), err.decode(), time.monotonic() - started

    def asked(self):
        """How often each agent was asked for each path."""
        return Counter((r.agent, r.target.partition("?")[0]) for r in self.world.requests)


@pytest.fixture
async def stay(tmp_path):
    """Give a function that opens a world and gives a user to it."""
    async with AsyncExitStack() as stack:

        async def opened(config):
            world = World(config, clock=ScaledClock(speed=60))
            door = await stack.enter_async_context(serve(world))
            return Stay(world, door.ready, tmp_path)

        yield opened


def thirty_servers():
    zones = [{"name": f"zone{n}", "agents": 10} for n in (1, 2, 3)]
    return WorldConfig.model_validate({"port": 0, "clusters": [{"zones": zones}], "spares": 1})


async def test_a_plan_writes_nothing_anywhere_and_calls_nobody_but_agents(stay):
    """No file in home, working folder, Prefect's home or elsewhere; no POST; no Prefect server."""
    here = await stay(default_config().model_copy(update={"port": 0}))
    callers = []
    server = await asyncio.start_server(lambda *_: callers.append(1), "127.0.0.1", 0)
    api = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api"
    before = here.snapshot()

    async with server:
        code, out, err, _ = await here.plan("--json", PREFECT_API_URL=api)

    assert (code, told(err)) == (0, [])
    assert json.loads(out)["ready"] is True
    assert here.snapshot() == before
    assert callers == []
    assert {r.method for r in here.world.requests} == {"GET"}


async def test_a_plan_for_thirty_servers_asks_each_endpoint_once_of_an_agent(stay):
    """Up to five times for a clock, until the reading is sure; most members are asked nothing."""
    here = await stay(thirty_servers())

    code, out, _, _ = await here.plan("--json")

    asked = here.asked()
    assert code == 0
    assert json.loads(out)["forecast"]["before"]["servers"] == 30
    assert {n for (_, path), n in asked.items() if path != "/api/v1/time"} == {1}
    assert {n for (_, path), n in asked.items() if path == "/api/v1/time"} <= {1, 2, 3, 4, 5}
    assert sum(asked.values()) < 100


@pytest.mark.e2e
@pytest.mark.parametrize(
    "trouble",
    [
        lambda here: Fault.agent_down(here.members[1]),
        lambda here: Fault.black_hole(here.members[1]),
        lambda here: Fault.delay_answer(60.0, target=here.members[1], times=0),
        lambda here: Fault.agent_down(here.members[0]),
        lambda here: Fault.black_hole(here.members[0]),
    ],
    ids=["down", "silent", "slow", "entry down", "entry silent"],
)
async def test_one_member_in_trouble_costs_a_plan_seconds(stay, trouble):
    """It is asked beside all others and given up after five seconds; the plan names it."""
    here = await stay(thirty_servers())
    _, _, _, healthy = await here.plan()
    here.world.play(trouble(here))

    code, out, err, took = await here.plan("--json")

    told = json.loads(out)
    assert code == 0, err
    assert took - healthy < PEER_SECONDS + LOADED_MACHINE_SECONDS
    assert PEER_SECONDS <= 5
    rules = {f["rule"]: f["measured"] for f in told["rows"][0]["findings"]}
    assert set(here.members[:2]) & set(re.findall(r"[0-9.:]+", rules["port-open-probe"]))


@pytest.mark.e2e
async def test_a_target_that_stays_silent_is_a_finding_within_seconds(stay):
    """It is told as what blocks, not waited for."""
    here = await stay(thirty_servers())
    _, _, _, healthy = await here.plan()
    here.world.play(Fault.black_hole(f"{here.spare['ip']}:{here.spare['port']}"))

    code, out, _, took = await here.plan("--json")

    first = json.loads(out)["rows"][0]["findings"][0]
    assert code == 1
    assert (first["rule"], first["answer"]) == ("agent-reachable", "block")
    assert "no answer within 9 s" in first["measured"]
    assert took - healthy < TARGET_SECONDS + LOADED_MACHINE_SECONDS
