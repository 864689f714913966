"""Plays each fault card in each phase of a run, and judges how the run ends.

Each cell is a world of its own, and the real flow on a real Prefect server. A cell is green when it
ends as its row says, with a report, without a traceback, in time, with its cards drawn, and with
exactly as many DAGs of its operation in the cluster as it should have. Where somebody leaves or a
tenant gets units, nothing else may have been sent, never two servers at once, and no majority lost.
"""

import asyncio
import logging
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from prefect.exceptions import PrefectHTTPStatusError

from obscale.agent.models import joined_address
from obscale.errors import ObscaleError
from obscale.events import Event, Reported, UseReported
from obscale.flows.remove import remove
from obscale.flows.scale_out import scale_out
from obscale.flows.use import use
from obscale.report.report import ScaleOutReport
from obscale.report.use import UseReport
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, ScaledClock, World, WorldConfig, serve
from obscale.tasks.runtime.journal import listening
from tests.chaos.hurry import hurried
from tests.chaos.operations import ADD, PASSWORD, Operation, told_apart
from tests.chaos.witness import OPERATE, Witness

FLOWS: dict[str, Callable[..., Any]] = {"scale-out": scale_out, "remove": remove, "use": use}
"""By name."""
STAGES = ADD.stage_names
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
SOON = 3.0
"""Times a healthy run's: a run that heals by itself takes no longer, beside what its row allows."""
ENOUGH_TO_COMPARE = 2
"""Healthy runs in a night; with fewer none is set beside the others."""
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
SELDOMER_SECONDS = 0.3
"""Pause between two looks where each asks for the whole cluster: of all but additions."""
MENDS = frozenset({"agent_up", "database_up"})
"""Cards that take another one back; a run may end before they act."""
LOGGERS = ("", "prefect", "prefect.flow_runs", "prefect.task_runs", "asyncio", "uvicorn.error")
_CAUSE = re.compile(r"\[([a-z]+(?:-[a-z]+)+)\]")
_HEARD: ContextVar[list[str] | None] = ContextVar("heard", default=None)
PREFECT_CLIENT = "prefect.client"
"""Tells on DEBUG for how long it waits because Prefect's server was too busy to answer."""
_AGAIN_IN = re.compile(r"Another attempt will be made in ([\d.]+)s")
_WAITED: ContextVar[list[float] | None] = ContextVar("waited", default=None)


@dataclass(frozen=True)
class Place:
    """Where a card can be about: addresses of one world; and the moment of a column."""

    members: tuple[str, ...]
    """All agents of the cluster, without the one that leaves."""
    target: str
    when: dict[str, Any]
    """Fields that make a card wait for the column's moment."""
    to: str = ADD.to
    """Last word of the path of the request that submits."""

    @property
    def entry(self) -> str:
        """The one that is asked first."""
        return self.members[0]

    @property
    def second(self) -> str:
        """Where a node leaves, it takes its units."""
        return self.members[1]

    @property
    def third(self) -> str:
        """Another one."""
        return self.members[2]


@dataclass(frozen=True)
class Row:
    """One kind of trouble, and how a run ends that meets it.

    Args:
        name: As it stands in the table.
        cards: The cards for one place and moment.
        ends: Ending by column; `*` is for all that are not named. More than one, parted by `|`,
            where the moment decides. See `ending_of` for how endings are spelled.
        idle: Why it cannot act in the columns without ending; they are left out.
        config: The world, where it is not that of the operation.
        policy: `on_failure` of the run.
        zone: Zone asked for.
        time_limits: Limits that differ from `TIME_LIMITS`.
        speed: Times real pace.
        untouched: Whether the run itself must order nothing: no operator, of no DAG.
        operation: What is asked for.
        costs_seconds: Real seconds a run that heals may take for it, beside those of a healthy one.
        others_leaving: Servers that somebody else deletes meanwhile.
        is_healthy: Nothing happens in it: the others are set beside it.
    """

    name: str
    cards: Callable[[Place], Sequence[Fault]]
    ends: dict[str, str]
    idle: str = ""
    config: Callable[[], WorldConfig] | None = None
    policy: str = "retry"
    zone: str = "zone2"
    time_limits: dict[str, Any] = field(default_factory=dict)
    speed: float = SPEED
    untouched: bool = False
    operation: Operation = ADD
    costs_seconds: float = 0.0
    others_leaving: int = 0
    is_healthy: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of its operation."""
        return columns_of(self.operation)

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
    prefect_seconds: float = 0.0
    """Of them, for which Prefect's client waited to ask its busy server again."""
    began: bool = True
    """Whether there was a run at all: a busy Prefect server may refuse to make one."""


def cells_of(rows: Sequence[Row]) -> list[Cell]:
    """All cells in which a card can act."""
    return [Cell(row, column) for row in rows for column in row.columns if row.ending_in(column)]


def columns_of(operation: Operation) -> tuple[str, ...]:
    """The moments of an operation."""
    if operation is ADD:
        return COLUMNS
    return ("preflight", "submit", *operation.stage_names, "verify")


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

    with ear(), hurried():
        async with asyncio.TaskGroup() as playing:
            for cell in cells:
                playing.create_task(one(cell))
    for outcome, words in late(outcomes):
        outcome.wrong.append(words)
    return outcomes


def healthy_seconds(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Seconds of a run to which nothing happens, by operation, where enough of them were played."""
    found: dict[str, list[float]] = {}
    for outcome in outcomes:
        if outcome.cell.row.is_healthy:
            own = outcome.seconds - outcome.prefect_seconds
            found.setdefault(outcome.cell.row.operation.name, []).append(own)
    enough = {name: times for name, times in found.items() if len(times) >= ENOUGH_TO_COMPARE}
    return {name: statistics.median(times) for name, times in enough.items()}


def late(outcomes: Sequence[Outcome]) -> list[tuple[Outcome, str]]:
    """Runs that healed, and took far longer for it than a healthy one."""
    healthy = healthy_seconds(outcomes)
    found = []
    for outcome in outcomes:
        row = outcome.cell.row
        beside = healthy.get(row.operation.name)
        if beside is None or outcome.ending != "healed":
            continue
        own = outcome.seconds - outcome.prefect_seconds
        if own > SOON * beside + row.costs_seconds:
            words = f"healed after {own:.0f} s, a healthy run takes {beside:.0f} s"
            found.append((outcome, words))
    return found


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
    waited: list[float] = []
    _WAITED.set(waited)
    row, operation = cell.row, cell.row.operation
    config = told_apart((row.config or operation.config)()).model_copy(update={"port": 0})
    world = World(config, clock=ScaledClock(speed=row.speed))
    operation.prepare(world)
    witness = Witness(world, operation)
    told: list[Event] = []
    began = time.monotonic()
    async with serve(world) as door:
        place = _place(door.ready, cell, witness)
        for fault in (*_setting(cell.column), *cell.row.cards(place)):
            world.play(fault)
        ended: Any
        with listening(told.append):
            try:
                async with asyncio.timeout(WALL_SECONDS):
                    ended = await _run(cell, door.ready, witness)
            except TimeoutError:
                ended = "hang"
            except ObscaleError as error:
                ended = error
            except Exception as error:  # noqa: BLE001 - an unnamed error is what this looks for
                ended = error
    reports = [event.report for event in told if isinstance(event, Reported | UseReported)]
    report = reports[-1] if reports else None
    outcome = Outcome(cell, ending_of(ended, report), time.monotonic() - began)
    outcome.prefect_seconds = sum(waited)
    outcome.detail = str(ended)[:400]
    outcome.began = report is not None or not isinstance(ended, PrefectHTTPStatusError)
    outcome.wrong = _wrong(outcome, witness, report, heard)
    return outcome


Report = ScaleOutReport | UseReport


def ending_of(ended: Any, report: Report | None) -> str:
    """Spell an ending: `healed`, the error's kind, with the cause where a DAG was diagnosed."""
    if isinstance(ended, ScaleOutReport | UseReport):
        return "healed" if ended.outcome == "verified" else f"report:{ended.outcome}"
    if isinstance(ended, ObscaleError):
        cause = _cause(ended, report)
        return f"{ended.kind}:{cause}" if cause and ended.kind.startswith("dag-") else ended.kind
    return ended if isinstance(ended, str) else f"UNNAMED {type(ended).__name__}"


def _cause(error: ObscaleError, report: Report | None) -> str:
    """The diagnosed cause; of a use, and where nothing moves, as the error's words name it."""
    if isinstance(report, ScaleOutReport):
        if report.diagnosis:
            return report.diagnosis.cause
        if report.operation == "scale-out":
            return ""
    named = _CAUSE.search(str(error))
    return named.group(1) if named else ""


def _wrong(
    outcome: Outcome, witness: Witness, report: Report | None, heard: list[str]
) -> list[str]:
    """Everything that makes a cell red."""
    wrong = []
    row, world, operation = outcome.cell.row, witness.world, witness.operation
    expected = row.ending_in(outcome.cell.column).split("|")
    if not any(_fits(outcome.ending, each) for each in expected):
        wrong.append(f"expected {' or '.join(expected)}")
    if report is None:
        wrong.append("no report")
    dags = operation.created(world)
    wanted = 1 if report and report.dag_id else 0
    if dags > 1 or (wanted and dags != 1) or (outcome.ending == "healed" and dags != 1):
        wrong.append(f"{dags} DAGs {operation.dag!r}")
    # Who comes later than the end of a run that held is not met by it.
    held = outcome.ending.startswith("dag-failed")
    left = [card for card in world.undrawn() if not (held and card.after_seconds)]
    if undrawn := [card.card for card in left if card.card not in MENDS]:
        wrong.append(f"never drawn: {', '.join(undrawn)}")
    if row.untouched and (ordered := _ordered(world)):
        wrong.append(f"operated, and should not have been: {', '.join(ordered)}")
    if outcome.ending == "healed":
        wrong += [f"healed, but {each}" for each in witness.unproved()]
    if operation is not ADD:
        may_retry = row.policy == "retry" and not row.untouched
        wrong += witness.broken(others_leaving=row.others_leaving, may_retry=may_retry)
        if not dags and not row.others_leaving and (touched := witness.touched()):
            wrong.append(f"nothing was begun, and yet gone or going: {', '.join(touched)}")
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


def _place(ready: dict[str, Any], cell: Cell, witness: Witness) -> Place:
    operation, column, target = cell.row.operation, cell.column, witness.target
    known = [joined_address(a["ip"], a["port"]) for a in ready["clusters"][0]["agents"]]
    members = tuple(each for each in known if operation.stays(each, target))
    moments = {"retry": "failed", "undo": "rollback"}
    if column in operation.stage_names:
        when = operation.when(stage=int(column))
    else:
        when = operation.when(phase=moments.get(column, column))
    return Place(members, target.address, when, operation.to)


async def _run(cell: Cell, ready: dict[str, Any], witness: Witness) -> Report:
    row, operation = cell.row, cell.row.operation
    os.environ[PASSWORD] = ready["clusters"][0]["root_password"]
    asked = operation.parameters(ready, witness.world, witness.target)
    if operation is ADD:
        asked |= {"zone": row.zone, "allow_new_zone": row.zone != "zone2"}
    own = {} if operation is ADD else {"poll_seconds": SELDOMER_SECONDS}
    limits = TIME_LIMITS.model_copy(update=own | row.time_limits)
    policy = "roll-back" if cell.column == "undo" else row.policy
    flow = FLOWS[operation.flow]
    report: Report = await flow(**asked, on_failure=policy, time_limits=limits)
    return report


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


class _Clock(logging.Handler):
    """Adds up for how long Prefect's client waits in a cell."""

    def emit(self, record: logging.LogRecord) -> None:
        waited, told = _WAITED.get(), _AGAIN_IN.search(record.getMessage())
        if waited is not None and told:
            waited.append(float(told.group(1)))


@contextmanager
def ear() -> Iterator[None]:
    """Listen inside this block for tracebacks, and for waits because Prefect's server is busy."""
    handler, clock, client = (
        _Ear(level=logging.WARNING),
        _Clock(),
        logging.getLogger(PREFECT_CLIENT),
    )
    level = client.level
    client.setLevel(logging.DEBUG)
    client.propagate = False
    client.addHandler(clock)
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        client.propagate = True
        client.setLevel(level)
        client.removeHandler(clock)
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)
