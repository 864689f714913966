"""Plays one batch whose process is killed at given moments and run again."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from obscale.agent.models import joined_address
from obscale.request.policies import BatchPolicies, Window
from obscale.sandbox import Fault, World, WorldConfig
from obscale.sandbox.config import AgentConfig, ClusterConfig, ZoneConfig
from tests.chaos.batches_cases import (
    ANY_TIME,
    BETWEEN,
    CLUSTERS,
    FAILING,
    FAILURE,
    FIRST_POST,
    IN_DAG,
    JUDGED,
    NEAR_END,
    PREFLIGHT,
    ROWS,
    START,
    TURNS,
    ZONES,
    BatchCase,
    Story,
)
from tests.chaos.kills_backstage import Backstage, Run, until
from tests.chaos.kills_cases import Kill
from tests.chaos.kills_play import POST_PATH, SCALE_OUT, TIME_LIMITS
from tests.chaos.operations import PASSWORD, SAMPLE

TOO_MUCH: Final = {"memory_limit": "80G"}
"""Of a host with 64 GiB."""
BY_STORY: Final[dict[Story, dict[str, Any]]] = {
    "canary node": {"canary": "node"},
    "canary node fails": {"canary": "node"},
    "canary cluster": {"canary": "cluster"},
    "all stops at one": {"stop_batch_after": 1},
    "a DAG is retried": {"on_failure": "retry"},
}
"""What the policies of a story say, but for its window."""


@dataclass
class Outcome:
    """What became of a case."""

    case: BatchCase
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    runs: int = 0
    kills: int = 0
    posts: int = 0
    dags: Counter[int] = field(default_factory=Counter)
    """How many rows have so many DAGs."""
    hows: Counter[str] = field(default_factory=Counter)
    """How the rows of the last run got their DAG."""
    states: Counter[str] = field(default_factory=Counter)
    """How the rows of the last run ended."""
    outside: int = 0
    """POSTs outside the window."""
    after_stop: int = 0
    """POSTs after a rule had stopped their cluster, or all."""


def world_of(case: BatchCase) -> WorldConfig:
    """Three clusters with a server a zone, and as many spares as there are rows."""
    zones = tuple(ZoneConfig(name=f"zone{number}") for number in (1, 2, 3))
    return WorldConfig(
        clusters=tuple(
            ClusterConfig(name=f"c{number}", id=number, zones=zones)
            for number in range(1, CLUSTERS + 1)
        ),
        spares=(AgentConfig(),) * (CLUSTERS * ROWS),
        port=0,
        # A slow observer now and then, so that the clusters do not march in step.
        start_seconds=1.5 + case.number % 3,
    )


def window_of(story: Story, now: datetime) -> Window | None:
    """A window that opens with the next minute but one, or that is shut for the next one.

    Args:
        story: Of the case.
        now: Aware.
    """
    soon = (now + timedelta(seconds=75 if story == "window opens" else 65)).replace(second=0)
    later = soon + timedelta(minutes=1)
    match story:
        case "window opens":
            end = soon + timedelta(hours=12)
            return Window(start=f"{soon:%H:%M}", end=f"{end:%H:%M}")
        case "window closes":
            return Window(start=f"{later:%H:%M}", end=f"{soon:%H:%M}")
        case _:
            return None


class BatchScene:
    """One world, one batch, and the processes that run it."""

    def __init__(
        self, world: World, ready: dict[str, Any], behind: Backstage, outcome: Outcome
    ) -> None:
        self.world = world
        self.outcome = outcome
        self.runs: list[Run] = []
        self.window = window_of(outcome.case.story, datetime.now(UTC))
        self.policies = BatchPolicies(
            max_clusters_at_once=outcome.case.at_once,
            window=self.window,
            **BY_STORY.get(outcome.case.story, {}),
        )
        self._behind = behind
        self._clusters = ready["clusters"]
        spares = [(agent["ip"], agent["port"]) for agent in ready["spares"]]
        self.targets = [spares[at : at + ROWS] for at in range(0, len(spares), ROWS)]
        """`ip, port` of the rows, by cluster."""
        turn = TURNS[outcome.case.cluster][outcome.case.turn]
        self.wrong_row = self.targets[outcome.case.cluster][turn]
        """The one that goes wrong, where the story has one."""

    def asked(self) -> dict[str, Any]:
        """The batch, as flow and file take it."""
        return {
            "clusters": [
                {
                    "cluster": {
                        "endpoints": [joined_address(a["ip"], a["port"]) for a in known["agents"]],
                        "password": {"env": PASSWORD},
                        "name": known["name"],
                        "id": known["id"],
                    },
                    "nodes": [
                        {
                            "agentInfo": {"ip": ip, "port": port},
                            "zone": zone,
                            "obConfigs": SAMPLE | self._excess(ip, port),
                        }
                        for (ip, port), zone in zip(mine, zones, strict=True)
                    ],
                }
                for known, mine, zones in zip(self._clusters, self.targets, ZONES, strict=True)
            ],
            "policies": self.policies.model_dump(mode="json"),
        }

    def _excess(self, ip: str, port: int) -> dict[str, str]:
        blocked = self.outcome.case.story == "a row is blocked"
        return TOO_MUCH if blocked and (ip, port) == self.wrong_row else {}

    async def play(self, folder: Path, *, break_guard: bool) -> None:
        """Kill, and run again until a run comes to its own end."""
        case = self.outcome.case
        if case.story in FAILING | {"a DAG is retried"}:
            text = "observer start timeout"
            self.world.play(Fault.fail_stage(5, target=joined_address(*self.wrong_row), text=text))
        file = folder / "batch.json"
        file.write_text(json.dumps(self.asked()), encoding="utf-8")
        for kill, count in zip(case.kills, case.counts, strict=True):
            run = await self._start(file, break_guard=break_guard)
            if not await self._killed(run, kill, count):
                return
        run = await self._start(file, break_guard=break_guard)
        await run.gone.wait()

    async def _start(self, file: Path, *, break_guard: bool) -> Run:
        case, time_limits = self.outcome.case, TIME_LIMITS.model_dump() | {"retry_pause_seconds": 0}
        if case.program == "apply":
            parameters: dict[str, Any] = {"file": str(file), "time_limits": time_limits}
        else:
            parameters = self.asked() | {"time_limits": time_limits}
        seen = len(self.world.requests)
        run = await self._behind.nursery.start(
            parameters=parameters,
            environment={PASSWORD: self._clusters[0]["root_password"]},
            break_guard=break_guard,
            program=case.program,
        )
        run.began_at = seen
        self.runs.append(run)
        return run

    async def _killed(self, run: Run, kill: Kill, count: int) -> bool:
        """Kill a run at its moment; False when it ended before."""
        if await until(self._moment(kill.phase, count, run), run):
            await asyncio.sleep(kill.delay_seconds)
        killed = run.kill()
        self.outcome.kills += killed
        await run.gone.wait()
        return killed

    def _moment(self, phase: str, count: int, run: Run) -> Callable[[], bool]:
        """When a phase has come, told by the world's requests and DAGs, and by the run's words."""

        def newer() -> list[Any]:
            self.world.sync()
            return self.dags()

        moments: dict[str, Callable[[], bool]] = {
            START: lambda: True,
            ANY_TIME: lambda: True,
            PREFLIGHT: lambda: len(self.world.requests) > run.began_at,
            JUDGED: lambda: "preflight.judged" in run.words(),
            FIRST_POST: lambda: any(
                r.target == POST_PATH for r in self.world.requests[run.began_at :]
            ),
            BETWEEN: lambda: sum(dag.state == "SUCCEED" for dag in newer()) >= count,
            IN_DAG: lambda: any(dag.stage >= count for dag in newer()[count - 1 :]),
            FAILURE: lambda: any(dag.state == "FAILED" for dag in newer()),
            NEAR_END: lambda: len(newer()) >= CLUSTERS * ROWS - 1,
        }
        return moments[phase]

    def dags(self) -> list[Any]:
        """The scale-outs of all clusters."""
        return [dag for c in self.world.clusters for dag in c.dags if dag.name == SCALE_OUT]

    async def pages(self, key: str) -> int:
        """How many reports of the batch Prefect holds."""
        found = await self._behind.server.post(
            "/artifacts/filter", {"artifacts": {"key": {"any_": [f"batch-report-{key}"]}}}
        )
        return len(found)
