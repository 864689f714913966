"""Tests of a Retry on another worker, which shares only Prefect's database.

The flow's process is killed with SIGKILL in each of the four tasks; the same flow run is tried
again by a process with another Prefect home. Meanwhile a member has died, so that a run which takes
its own look for the one from before would be green.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from obscale.agent.models import joined_address
from obscale.sandbox import Fault, ScaledClock, World, default_config, serve
from tests.chaos.kills_backstage import Nursery, PrefectServer, Run, parent, until
from tests.chaos.kills_play import HELD_SECONDS, POST_PATH, SCALE_OUT, TIME_LIMITS
from tests.chaos.operations import PASSWORD, SAMPLE

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

HARM_HELD_SECONDS = 4.0
"""Longer than a kill takes, so that the first attempt never comes to its end."""


@dataclass
class Workers:
    """Two workers with a disk each, and the server whose database they share."""

    server: PrefectServer
    first: Nursery
    second: Nursery


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(tmp_path_factory) -> AsyncIterator[Workers]:
    """Start them once for all cases."""
    folder: Path = tmp_path_factory.mktemp("workers")
    server = PrefectServer(folder / "prefect")
    homes = folder / "one", folder / "two"
    for home in homes:
        home.mkdir()
    try:
        await server.start()
        async with (
            parent(server, homes[0], homes[0] / "home") as first,
            parent(server, homes[1], homes[1] / "home") as second,
        ):
            yield Workers(server, first, second)
    finally:
        await server.kill()


@dataclass
class Scene:
    """A served world, and one flow run for it that is tried twice."""

    world: World
    ready: dict[str, Any]
    workers: Workers
    flow_run_id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    async def make_run(self) -> None:
        """Make the run over the API, as a runner finds it."""
        cluster, spare = self.ready["clusters"][0], self.ready["spares"][0]
        time_limits = TIME_LIMITS.model_copy(update={"against_seconds": HARM_HELD_SECONDS})
        self.parameters = {
            "cluster": {
                "endpoints": [joined_address(a["ip"], a["port"]) for a in cluster["agents"]],
                "password": {"env": PASSWORD},
                "name": cluster["name"],
                "id": cluster["id"],
            },
            "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
            "zone": "zone2",
            "obConfigs": SAMPLE,
            "time_limits": time_limits.model_dump(),
        }
        flow = await self.workers.server.post("/flows/", {"name": "scale-out"})
        pending = {"type": "PENDING", "name": "Pending"}
        made = await self.workers.server.post(
            "/flow_runs/",
            {"flow_id": flow["id"], "parameters": self.parameters, "state": pending},
        )
        self.flow_run_id = str(made["id"])

    async def start(self, worker: Nursery) -> Run:
        """Carry the run out on a worker."""
        return await worker.start(
            parameters=self.parameters,
            environment={PASSWORD: self.ready["clusters"][0]["root_password"]},
            flow_run_id=self.flow_run_id,
        )

    async def retry(self) -> None:
        """Do what runner, Retry in the UI, and runner do."""
        for kind, name in (
            ("CRASHED", "Crashed"),
            ("SCHEDULED", "AwaitingRetry"),
            ("PENDING", "Pending"),
        ):
            body = {"state": {"type": kind, "name": name}, "force": True}
            await self.workers.server.post(f"/flow_runs/{self.flow_run_id}/set_state", body)

    async def task_names(self) -> set[str]:
        """Names of all task runs of the run."""
        rows = await self.workers.server.post(
            "/task_runs/filter", {"flow_runs": {"id": {"any_": [self.flow_run_id]}}}
        )
        return {row["name"] for row in rows}

    def asked(self, ending: str) -> int:
        """How many requests went to a path."""
        return sum(r.target.partition("?")[0].endswith(ending) for r in self.world.requests)


def said(words: str) -> Callable[[Scene, Run], bool]:
    """Whether the run has said it."""
    return lambda _scene, run: words in run.words()


CASES: dict[str, tuple[Callable[[Scene, Run], bool], tuple[str, ...], tuple[str, ...]]] = {
    "preflight": (
        lambda scene, _run: bool(scene.world.requests),
        ("preflight.judged", "submit.posted dag=11"),
        ("submit.confirmed",),
    ),
    "submit": (
        lambda scene, _run: scene.asked(POST_PATH) > 0,
        ("preflight.judged", "submit.(adopted|already_member) dag=11", "submit.before_known"),
        ("submit.posted",),
    ),
    "poll": (
        said("dag.node_ended"),
        ("submit.confirmed dag=11", "submit.before_known"),
        ("preflight.judged", "submit.posted"),
    ),
    "verify": (
        said("verify.against"),
        ("submit.confirmed dag=11 state=SUCCEED/RUN", "submit.before_known"),
        ("preflight.judged", "submit.posted"),
    ),
}
"""By the task that is killed: its moment, what the second attempt says, and what it must not.

Where the POST was never answered, the DAG may have ended before the second attempt looks.
"""


@pytest.mark.parametrize("task", CASES)
async def test_a_retry_on_another_worker_does_only_what_is_missing(workers, task):
    """One POST, the DAG and the look of before read back; the dead member is found all the same."""
    moment, tells, tells_not = CASES[task]
    world = World(default_config().model_copy(update={"port": 0}), clock=ScaledClock(speed=20))
    async with serve(world) as door:
        scene = Scene(world, door.ready, workers)
        third = door.ready["clusters"][0]["agents"][2]
        world.play(Fault.observer_down(joined_address(third["ip"], third["port"]), stage=9))
        if task == "submit":
            world.play(Fault.delay_answer(HELD_SECONDS * 20, to="scale_out"))
        await scene.make_run()
        first = await scene.start(workers.first)
        assert await until(lambda: moment(scene, first), first), first.words()[-2000:]
        assert first.kill()
        await first.gone.wait()
        read_before = scene.asked("/task/dag/11")

        await scene.retry()
        second = await scene.start(workers.second)
        await second.gone.wait()
        names = await scene.task_names()
        read = scene.asked("/task/dag/11") - read_before

    words, ended = second.words(), second.ended()
    for each in tells:
        assert re.search(each, words), words[-3000:]
    for each in tells_not:
        assert each not in words
    assert ended["state"] == "NotVerified"
    assert f"pv-no-collateral: {third['ip']}:2882 INACTIVE PROCESS_STOPPED" in ended["error"]
    assert "unknown" not in ended["error"]
    assert scene.asked(POST_PATH) == 1
    assert world.count_dags(SCALE_OUT) == 1
    assert "poll DAG 11" in names
    assert second.our_tracebacks() == []
    if task == "verify":
        assert read == 2, "confirmed once, and passed through by the poll"
