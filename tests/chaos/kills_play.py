"""Plays one request whose flow process is killed at a given moment and run again.

The world decides: one DAG of the request, nothing else sent, never two servers leaving at once,
never a majority lost, and at the end everything as the last run says that it is.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, ScaledClock, World, serve
from tests.chaos.kills_backstage import Backstage, Run, until
from tests.chaos.kills_cases import (
    ANY_TIME,
    BEFORE_POST,
    BETWEEN,
    DAG_ENDS,
    FIRST_HALF,
    HELD,
    ON_THE_WAY,
    PREFLIGHT,
    REPORT,
    STAGES,
    START,
    UNDER_WAY,
    UNITS_MOVE,
    VERIFY,
    Case,
    Kill,
    plain,
)
from tests.chaos.operations import ADD, PASSWORD, Operation, told_apart
from tests.chaos.witness import Witness

SCALE_OUT: Final = ADD.dag
POST_PATH: Final = ADD.request[1]
TASKS: Final = "/task/"
HELD_SECONDS: Final = 30.0
"""Longer than any kill waits."""
WALL_SECONDS: Final = 300.0
"""No process may take longer."""
CARRIED_OUT: Final = 200
"""Status of a request that created a DAG; 204 says that there was nothing to do."""
MOST_RUNS: Final = 4
"""A server killed under a run may cost that run; then another one follows."""
SELDOMER_SECONDS: Final = 0.3
VERIFIED: Final = {"CONFORMING", "BALANCED"}
TIME_LIMITS: Final = TimeLimits(
    deadline_seconds=240,
    silence_seconds=60,
    verify_seconds=120,
    steady_seconds=0.2,
    poll_seconds=0.1,
    lost_answer_seconds=1,
)


@dataclass
class Outcome:
    """What became of a case."""

    case: Case
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    runs: int = 0
    kills: int = 0
    servers_killed: int = 0
    dag_at_kill: str = ""
    """Whether the cluster had the DAG when the first run was killed."""
    hows: Counter[str] = field(default_factory=Counter)
    """How the runs that came to an end got their DAG."""
    posts: int = 0
    posts_carried_out: int = 0
    dags: int = 0


async def play(case: Case, behind: Backstage, *, break_guard: bool = False) -> Outcome:
    """Play one case in a world of its own."""
    outcome = Outcome(case)
    began = time.monotonic()
    operation = case.operation
    config = told_apart(operation.config()).model_copy(update={"port": 0})
    world = World(config, clock=ScaledClock(speed=case.speed))
    operation.prepare(world)
    witness = Witness(world, operation)
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(serve(world))
        scene = Scene(witness, door.ready, behind, break_guard, outcome)
        try:
            async with asyncio.timeout(WALL_SECONDS):
                await scene.play(case)
        except TimeoutError:
            outcome.wrong.append(f"not through after {WALL_SECONDS:g} s")
        finally:
            for run in scene.runs:
                run.kill()
        await scene.judge()
    outcome.seconds = time.monotonic() - began
    return outcome


class Scene:
    """One world, one request, and the processes that run it."""

    def __init__(
        self,
        witness: Witness,
        ready: dict[str, Any],
        behind: Backstage,
        break_guard: bool,
        outcome: Outcome,
    ) -> None:
        self.world = witness.world
        self._witness = witness
        self._operation: Operation = witness.operation
        self.outcome = outcome
        self.runs: list[Run] = []
        self._last: list[Run] = []
        self._behind = behind
        self._break_guard = break_guard
        self._seen_done_at: int | None = None
        self._environment = {PASSWORD: ready["clusters"][0]["root_password"]}
        # Where each look asks for the whole cluster there are fewer of them.
        own = {} if self._operation is ADD else {"poll_seconds": SELDOMER_SECONDS}
        self._parameters: dict[str, Any] = {
            **self._operation.parameters(ready, witness.world, witness.target),
            "time_limits": TIME_LIMITS.model_dump() | own,
        }

    async def play(self, case: Case) -> None:
        """Kill, and run again until a run comes to its own end."""
        phase, to = plain(case.kill.phase), self._about(case.kill.phase).to
        if phase == UNDER_WAY:
            self.world.play(Fault.late_request(case.late_seconds, to=to))
        if phase == HELD:
            self.world.play(Fault.delay_answer(HELD_SECONDS, to=to))
        flow_run_id = await self._make_flow_run() if case.then == "retried" else ""
        first = await self._start(flow_run_id)
        await self._killed(first, case.kill)
        arrives_at = time.monotonic() + case.late_seconds
        if case.server == "before":
            await self._restart_server()
        if flow_run_id:
            await self._schedule_again(flow_run_id)
        if case.second is not None:
            second = await self._start(flow_run_id)
            if await self._killed(second, case.second) and flow_run_id:
                await self._schedule_again(flow_run_id)
        await self._run_to_the_end(case, flow_run_id)
        if phase == UNDER_WAY:
            # What the dead run sent has arrived by then, and is counted.
            await asyncio.sleep(max(0.0, arrives_at - time.monotonic() + 0.5))

    async def _run_to_the_end(self, case: Case, flow_run_id: str) -> None:
        if case.second is not None and self.runs[-1].gone.is_set() and self.runs[-1].ended():
            self._last = self.runs[-1:]
            return
        for _ in range(MOST_RUNS):
            count = 2 if case.then == "two at once" else 1
            self._last = await asyncio.gather(*(self._start(flow_run_id) for _ in range(count)))
            struck = case.server == "during" and not self.outcome.servers_killed
            if struck:
                await asyncio.sleep(case.server_delay_seconds)
                await self._restart_server()
            for run in self._last:
                await run.gone.wait()
            if not struck or all(run.ended().get("report") for run in self._last):
                return
            # A run may die with its server; the next one is not struck, and has to end well.
            flow_run_id = ""

    async def judge(self) -> None:
        """Say everything that makes this case red."""
        outcome, wrong = self.outcome, self.outcome.wrong
        self.world.sync()
        outcome.runs = len(self.runs)
        for half in self._operation.halves():
            posts = [r for r in self.world.requests if half.is_request(r.method, r.target)]
            carried_out = sum(r.status == CARRIED_OUT for r in posts)
            dags = half.created(self.world)
            outcome.posts += len(posts)
            outcome.posts_carried_out += carried_out
            outcome.dags = max(outcome.dags, dags)
            if dags != 1 or carried_out != 1:
                wrong.append(f"{dags} DAGs {half.dag!r} of {carried_out} POSTs carried out")
        wrong += self._witness.unproved()
        wrong += self._witness.broken()
        if not self._last:
            wrong.append("no run came to an end")
        for run in self._last:
            ended = run.ended()
            report = ended.get("report") or {}
            level = report.get("level") or report.get("balance", "").partition(" ")[0]
            if report.get("outcome") != "verified" or level not in VERIFIED:
                said = ended.get("error") or report.get("error") or "nothing"
                wrong.append(f"run {run.number} ended {run.status}, not verified: {said[:300]}")
            else:
                outcome.hows[report["submitted_how"]] += 1
                wrong += await self._artifacts_missing(ended["flow_run_id"])
            wrong += [f"run {run.number}: traceback: {line}" for line in run.our_tracebacks()]

    async def _artifacts_missing(self, flow_run_id: str) -> list[str]:
        found = await self._behind.server.post(
            "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}}
        )
        keys = [artifact["key"] or "" for artifact in found]
        return [] if any(key.startswith("report-") for key in keys) else ["no report artifact"]

    async def _start(self, flow_run_id: str = "") -> Run:
        seen = len(self.world.requests)
        run = await self._behind.nursery.start(
            parameters=self._parameters,
            environment=self._environment,
            program=self._operation.flow,
            flow_run_id=flow_run_id,
            break_guard=self._break_guard,
        )
        run.began_at = seen
        self.runs.append(run)
        return run

    async def _killed(self, run: Run, kill: Kill) -> bool:
        """Kill a run at its moment; False when it ended before."""
        if await until(self._moment(kill.phase, run), run):
            await asyncio.sleep(kill.delay_seconds)
        dag = self._newest(kill.phase)
        done = dag is not None and dag.state == "SUCCEED"
        killed = run.kill()
        if not self.outcome.dag_at_kill:
            self.outcome.dag_at_kill = "done" if done else "at work" if dag else "none yet"
        self.outcome.kills += killed
        await run.gone.wait()
        return killed

    async def _restart_server(self) -> None:
        await self._behind.server.kill()
        self.outcome.servers_killed += 1
        await self._behind.server.start()

    async def _make_flow_run(self) -> str:
        """Make a run over the API, as a runner finds it."""
        server = self._behind.server
        flow = await server.post("/flows/", {"name": self._operation.flow})
        made = await server.post(
            "/flow_runs/",
            {
                "flow_id": flow["id"],
                "parameters": self._parameters,
                "state": {"type": "PENDING", "name": "Pending"},
            },
        )
        return str(made["id"])

    async def _schedule_again(self, flow_run_id: str) -> None:
        """Do what runner, Retry in the UI, and runner do: Crashed, Scheduled, Pending."""
        for kind, name in (
            ("CRASHED", "Crashed"),
            ("SCHEDULED", "AwaitingRetry"),
            ("PENDING", "Pending"),
        ):
            body = {"state": {"type": kind, "name": name}, "force": True}
            await self._behind.server.post(f"/flow_runs/{flow_run_id}/set_state", body)

    def _about(self, phase: str) -> Operation:
        """The half of the operation that a phase is of; the second of what ends it."""
        first = self._operation.first
        return first if first is not None and phase in FIRST_HALF else self._operation

    def _newest(self, phase: str) -> Any:
        self.world.sync()
        name = self._about(phase).dag
        dags = [dag for dag in self.world.clusters[0].dags if dag.name == name]
        return dags[-1] if dags else None

    def _moment(self, phase: str, run: Run) -> Callable[[], bool]:
        """When a phase has come, told by the world's requests and DAG, and by the run's words."""
        moments: dict[str, Callable[[], bool]] = {
            START: lambda: True,
            ANY_TIME: lambda: True,
            PREFLIGHT: lambda: len(self.world.requests) > run.began_at,
            BEFORE_POST: lambda: "preflight.judged" in run.words(),
            UNDER_WAY: lambda: self._about(phase).card in self.world.clusters[0].asked,
            HELD: lambda: self._was_posted(phase),
            ON_THE_WAY: lambda: self._was_posted(phase),
            UNITS_MOVE: self._units_move,
            BETWEEN: lambda: self._is_done(STAGES[0]),
            DAG_ENDS: lambda: self._is_done(phase),
            VERIFY: lambda: self._is_looked_after(phase),
            REPORT: lambda: self._is_proved(run),
        }
        if plain(phase) in STAGES:
            return lambda: self._is_at(phase, STAGES.index(plain(phase)) + 1)
        return moments[plain(phase)]

    def _is_proved(self, run: Run) -> bool:
        return run.words().count("verify.ended") >= len(self._operation.halves())

    def _was_posted(self, phase: str) -> bool:
        asked = self._about(phase).is_request
        return any(asked(record.method, record.target) for record in self.world.requests)

    def _units_move(self) -> bool:
        self.world.sync()
        return any(unit.copy is not None for unit in self.world.clusters[0].units)

    def _is_at(self, phase: str, stage: int) -> bool:
        dag = self._newest(phase)
        return dag is not None and dag.stage >= stage and dag.state != "READY"

    def _is_done(self, phase: str) -> bool:
        dag = self._newest(phase)
        return dag is not None and dag.state == "SUCCEED"

    def _is_looked_after(self, phase: str) -> bool:
        """Whether something was asked after the DAG's end that is not about DAGs."""
        if not self._is_done(phase):
            return False
        if self._seen_done_at is None:
            self._seen_done_at = len(self.world.requests)
        return any(TASKS not in r.target for r in self.world.requests[self._seen_done_at :])
