"""Plays each fault card in each phase of a run, and judges how the run ends.

Each cell is a world of its own, and the real flow on a real Prefect server. A cell is green when it
ends as its row says, with a report, without a traceback, in time, with its cards drawn, and with
exactly as many scale-outs in the cluster as it should have.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from prefect.exceptions import PrefectHTTPStatusError

from obscale.agent.models import joined_address
from obscale.errors import ObscaleError
from obscale.events import Event, Reported
from obscale.flows.scale_out import scale_out
from obscale.report.report import ScaleOutReport
from obscale.request.models import AgentInfoSpec, ClusterSpec, SecretName
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, ScaledClock, World, WorldConfig, default_config, serve
from obscale.tasks.runtime.journal import listening

STAGES = tuple(str(stage) for stage in range(1, 10))
COLUMNS = ("preflight", "submit", *STAGES, "verify", "retry", "undo")
"""`retry` and `undo`: stage 7 fails, and the card is played while the run recovers by policy."""
SPEED = 60.0
WALL_SECONDS = 420.0
"""No cell may take longer; the slowest wait for a client's own time limits."""
SIDE_BY_SIDE = 18
PULSE_SECONDS = 0.1
MOST_LAG_SECONDS = 0.25
MOST_PULSES = 60
"""Then a cell begins nevertheless: a machine may be busy all night."""
STARTS = 3
"""A run that the Prefect server did not take is begun again; its world was not touched."""
PASSWORD = "OBSCALE_CHAOS_ROOT"
SCALE_OUT = "Cluster scale out"
OPERATE = "/api/v1/task/dag/"
SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
TIME_LIMITS = TimeLimits(
    deadline_seconds=90,
    stall_seconds=75,
    silence_seconds=8,
    verify_seconds=60,
    steady_seconds=0.1,
    poll_seconds=0.1,
    lost_answer_seconds=1,
    undo_seconds=15,
    retry_pause_seconds=0.2,
    lock_wait_seconds=0,
)
MENDS = frozenset({"agent_up", "database_up"})
"""Cards that take another one back; a run may end before they act."""
LOGGERS = ("", "prefect", "prefect.flow_runs", "prefect.task_runs", "asyncio", "uvicorn.error")
_HEARD: ContextVar[list[str] | None] = ContextVar("heard", default=None)


@dataclass(frozen=True)
class Place:
    """Where a card can be about: addresses of one world; and the moment of a column."""

    entry: str
    second: str
    third: str
    target: str
    when: dict[str, Any]
    """Fields that make a card wait for the column's moment."""

    @property
    def members(self) -> tuple[str, ...]:
        """All agents of the cluster."""
        return (self.entry, self.second, self.third)


@dataclass(frozen=True)
class Row:
    """One kind of trouble, and how a run ends that meets it.

    Args:
        name: As it stands in the table.
        cards: The cards for one place and moment.
        ends: Ending by column; `*` is for all that are not named. More than one, parted by `|`,
            where the moment decides. See `ending_of` for how endings are spelled.
        idle: Why it cannot act in the columns without ending; they are left out.
        config: The world, where it is not the default one.
        policy: `on_failure` of the run.
        zone: Zone asked for.
        time_limits: Limits that differ from `TIME_LIMITS`.
        speed: Times real pace.
        untouched: Whether the run itself must order nothing: no operator, of no DAG.
    """

    name: str
    cards: Callable[[Place], Sequence[Fault]]
    ends: dict[str, str]
    idle: str = ""
    config: Callable[[], WorldConfig] = default_config
    policy: str = "retry"
    zone: str = "zone2"
    time_limits: dict[str, Any] = field(default_factory=dict)
    speed: float = SPEED
    untouched: bool = False

    def ending_in(self, column: str) -> str:
        """What is expected in a column; empty where the card cannot act."""
        return self.ends.get(column, self.ends.get("*", ""))


@dataclass(frozen=True)
class Cell:
    """One row in one column."""

    row: Row
    column: str


@dataclass
class Outcome:
    """What became of a cell."""

    cell: Cell
    ending: str
    seconds: float
    wrong: list[str] = field(default_factory=list)
    detail: str = ""
    began: bool = True
    """Whether there was a run at all: a busy Prefect server may refuse to make one."""


def cells_of(rows: Sequence[Row]) -> list[Cell]:
    """All cells in which a card can act."""
    return [Cell(row, column) for row in rows for column in COLUMNS if row.ending_in(column)]


async def play_all(
    cells: Sequence[Cell], say: Callable[[Outcome], None], *, at_once: int = SIDE_BY_SIDE
) -> list[Outcome]:
    """Play cells side by side; needs a Prefect server."""
    room = asyncio.Semaphore(at_once)
    outcomes = []

    async def one(cell: Cell) -> None:
        async with room:
            await _loop_keeps_time()
            for _ in range(STARTS):
                outcome = await play(cell)
                if outcome.began:
                    break
        outcomes.append(outcome)
        say(outcome)

    with ear():
        async with asyncio.TaskGroup() as playing:
            for cell in cells:
                playing.create_task(one(cell))
    return outcomes


async def _loop_keeps_time() -> None:
    """Begin nothing more while this loop lags: clients' time limits would strike at random."""
    for _ in range(MOST_PULSES):
        began = time.monotonic()
        await asyncio.sleep(PULSE_SECONDS)
        if time.monotonic() - began < PULSE_SECONDS + MOST_LAG_SECONDS:
            return


async def play(cell: Cell) -> Outcome:
    """Play one cell in a world of its own."""
    heard: list[str] = []
    _HEARD.set(heard)
    world = World(
        cell.row.config().model_copy(update={"port": 0}), clock=ScaledClock(speed=cell.row.speed)
    )
    told: list[Event] = []
    began = time.monotonic()
    async with serve(world) as door:
        place = _place(door.ready, cell.column)
        for fault in (*_setting(cell.column), *cell.row.cards(place)):
            world.play(fault)
        ended: Any
        with listening(told.append):
            try:
                async with asyncio.timeout(WALL_SECONDS):
                    ended = await _run(cell, door.ready)
            except TimeoutError:
                ended = "hang"
            except ObscaleError as error:
                ended = error
            except Exception as error:  # noqa: BLE001 - an unnamed error is what this looks for
                ended = error
    reports = [event.report for event in told if isinstance(event, Reported)]
    report = reports[-1] if reports else None
    outcome = Outcome(cell, ending_of(ended, report), time.monotonic() - began)
    outcome.detail = str(ended)[:400]
    outcome.began = report is not None or not isinstance(ended, PrefectHTTPStatusError)
    outcome.wrong = _wrong(outcome, world, report, heard)
    return outcome


def ending_of(ended: Any, report: ScaleOutReport | None) -> str:
    """Spell an ending: `healed`, the error's kind, with the cause where a DAG was diagnosed."""
    if isinstance(ended, ScaleOutReport):
        return "healed" if ended.outcome == "verified" else f"report:{ended.outcome}"
    if isinstance(ended, ObscaleError):
        cause = report.diagnosis.cause if report and report.diagnosis else ""
        return f"{ended.kind}:{cause}" if cause and ended.kind.startswith("dag-") else ended.kind
    return ended if isinstance(ended, str) else f"UNNAMED {type(ended).__name__}"


def _wrong(
    outcome: Outcome, world: World, report: ScaleOutReport | None, heard: list[str]
) -> list[str]:
    """Everything that makes a cell red."""
    wrong = []
    expected = outcome.cell.row.ending_in(outcome.cell.column).split("|")
    if not any(_fits(outcome.ending, each) for each in expected):
        wrong.append(f"expected {' or '.join(expected)}")
    if report is None:
        wrong.append("no report")
    dags = world.count_dags(SCALE_OUT)
    wanted = 1 if report and report.dag_id else 0
    if dags > 1 or (wanted and dags != 1) or (outcome.ending == "healed" and dags != 1):
        wrong.append(f"{dags} scale-outs")
    # Who comes later than the end of a run that held is not met by it.
    held = outcome.ending.startswith("dag-failed")
    left = [card for card in world.undrawn() if not (held and card.after_seconds)]
    if undrawn := [card.card for card in left if card.card not in MENDS]:
        wrong.append(f"never drawn: {', '.join(undrawn)}")
    if outcome.cell.row.untouched and (ordered := _ordered(world)):
        wrong.append(f"operated, and should not have been: {', '.join(ordered)}")
    target = world.spares[0]
    listed = sum(server.agent is target for server in world.clusters[0].servers)
    if outcome.ending == "healed" and (listed, target.identity) != (1, "CLUSTER AGENT"):
        wrong.append(f"healed, but the target is {target.identity} and listed {listed} times")
    wrong += heard
    return wrong


def _ordered(world: World) -> list[str]:
    """Ids of the DAGs an operator was posted to; a second operator's are no requests."""
    posts = (r for r in world.requests if r.method == "POST" and OPERATE in r.target)
    return [record.target.rsplit("/", 1)[1] for record in posts]


def _fits(ending: str, expected: str) -> bool:
    return ending == expected or (expected.endswith("*") and ending.startswith(expected[:-1]))


def _setting(column: str) -> list[Fault]:
    return [Fault.fail_stage(7)] if column in {"retry", "undo"} else []


def _place(ready: dict[str, Any], column: str) -> Place:
    members = [joined_address(a["ip"], a["port"]) for a in ready["clusters"][0]["agents"]]
    spare = ready["spares"][0]
    moments = {"retry": "failed", "undo": "rollback"}
    when: dict[str, Any] = (
        {"stage": int(column)} if column in STAGES else {"phase": moments.get(column, column)}
    )
    return Place(*members, joined_address(spare["ip"], spare["port"]), when)


async def _run(cell: Cell, ready: dict[str, Any]) -> ScaleOutReport:
    cluster, spare = ready["clusters"][0], ready["spares"][0]
    os.environ[PASSWORD] = cluster["root_password"]
    return await scale_out(
        cluster=ClusterSpec(
            endpoints=tuple(joined_address(a["ip"], a["port"]) for a in cluster["agents"]),
            password=SecretName(env=PASSWORD),
            name=cluster["name"],
            id=cluster["id"],
        ),
        agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
        zone=cell.row.zone,
        allow_new_zone=cell.row.zone != "zone2",
        obConfigs=SAMPLE,
        on_failure="roll-back" if cell.column == "undo" else cell.row.policy,
        time_limits=TIME_LIMITS.model_copy(update=cell.row.time_limits),
    )


class _Ear(logging.Handler):
    """Hears tracebacks in whatever a cell's run logs."""

    def emit(self, record: logging.LogRecord) -> None:
        heard = _HEARD.get()
        if heard is None:
            return
        text = record.getMessage()
        if record.exc_info or "Traceback" in text:
            line = f"traceback in {record.name}: {text.splitlines()[0][:200]}"
            if line not in heard:
                heard.append(line)


@contextmanager
def ear() -> Iterator[None]:
    """Listen for tracebacks inside this block."""
    handler = _Ear(level=logging.WARNING)
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)
