"""Decides what a batch does about a cluster's run on a worker.

The batch says for each row when it may begin, with a word that is good once. The run tells in its
table how far each row is. Between the two lies a network and a machine that may die, so the answer
always comes from what is seen: state of the run, its table, and how long nothing has moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from obscale.batch.schedule import RowState
from obscale.preflight.facts import TargetProgress
from obscale.request.policies import Window
from obscale.text import each_text, from_markdown

SETTLED: Final = frozenset({RowState.VERIFIED, RowState.FAILED, RowState.BLOCKED})
"""How a row ends that was carried to its end."""
_LONGEST_MESSAGE: Final = 300


class RunState(StrEnum):
    """Of a run on a worker, in Prefect's words."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"


ALIVE: Final = frozenset({RunState.SCHEDULED, RunState.PENDING, RunState.RUNNING})
"""A run that may still be given rows."""
STARTING: Final = frozenset({RunState.SCHEDULED, RunState.PENDING})
"""It is on its way to a worker, or its process starts there."""
ON_A_WORKER: Final = frozenset({RunState.PENDING, RunState.RUNNING})


class RowStatus(BaseModel):
    """One row as the run that carries it tells it: a line of its table, for people and machines."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    target: str
    zone: str = ""
    cluster: str = ""
    state: RowState
    stage: str = ""
    dag_id: str | None = None
    level: str = ""
    why: str = ""
    next: str = ""
    how: str = ""
    error_kind: str = ""
    joined: int = 0
    """Of a replacement: nodes that have joined."""
    host_steps: tuple[str, ...] = ()
    word: str = ""
    """The last one it was begun by."""
    declined: str = ""
    """The last one it was not begun by, because it may have lain there for long."""
    called_off: str = ""
    """The last one it was begun by and put back, because nothing might be submitted any more."""


class Permit(BaseModel):
    """The permit by which one row may begin."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    target: str
    progress: TargetProgress = TargetProgress.NEW
    """As the batch knows it: whoever is a member already is only looked at."""
    window: Window | None = None
    """Outside of it nothing is submitted, also where the row was begun inside."""


def read_status_rows(rows: object) -> dict[str, RowStatus]:
    """Read a run's table by target; what cannot be read, say of another version, is left out.

    Args:
        rows: Texts in them are Markdown.
    """
    found: dict[str, RowStatus] = {}
    for row in rows if isinstance(rows, Sequence) else ():
        try:
            told = RowStatus.model_validate(each_text(row, from_markdown))
        except ValidationError:
            continue
        found[told.target] = told
    return found


@dataclass(frozen=True)
class WorkerRun:
    """What is seen of a run.

    Args:
        state: Of the run.
        message: Of that state.
        is_heard: Whether it has shown its table, and so listens.
        told: Its rows, by target.
        silent_seconds: How long neither state nor table has moved.
    """

    state: RunState
    message: str = ""
    is_heard: bool = False
    told: Mapping[str, RowStatus] = field(default_factory=dict)
    silent_seconds: float = 0.0

    @property
    def busy_with(self) -> RowStatus | None:
        """The row it is at."""
        return next((row for row in self.told.values() if row.state is RowState.RUNNING), None)

    @property
    def words(self) -> str:
        """Say the state."""
        said = " ".join(self.message.split())[:_LONGEST_MESSAGE]
        return f"ended {self.state.value}" + (f": {said}" if said else "")


class Step(StrEnum):
    """What to do about one row of a run."""

    WAIT = "wait"
    GRANT = "grant"
    """Give it the word: it listens, is at no row, and has none yet."""
    PUT_BACK = "put back"
    """Nothing of it was submitted, because nothing might be any more: it is decided anew."""
    SETTLED = "settled"
    """The row has ended; its line says how."""
    GONE = "gone"
    """The run ended before the row did."""
    SILENT = "silent"
    """Nothing has moved for too long: its worker died with it, or is cut off."""
    CANCELLED = "cancelled"
    """Somebody cancelled the run."""


@dataclass(frozen=True)
class NextStep:
    """The step, and why."""

    step: Step
    why: str = ""

    @classmethod
    def wait(cls) -> Self:
        """Nothing to do yet."""
        return cls(Step.WAIT)


def decide_part(
    seen: WorkerRun, target: str, word: str, silence_seconds: float, start_seconds: float
) -> NextStep:
    """Decide about one row of a run.

    Args:
        seen: The run.
        target: The row.
        word: By which the run may begin the row; empty: it has none yet.
        silence_seconds: From then on a run is taken for dead.
        start_seconds: The same for one a worker has taken, but that does not run yet: that may
            mean an image is fetched.
    """
    row = seen.told.get(target)
    if word and row and (ended := _ended(row, word)):
        return NextStep(ended)
    if seen.state in {RunState.CANCELLING, RunState.CANCELLED, RunState.PAUSED}:
        return NextStep(Step.CANCELLED, f"its run is {seen.state.value}")
    if seen.state not in ALIVE:
        return NextStep(Step.GONE, f"its run {seen.words}")
    limit = start_seconds if seen.state is RunState.PENDING else silence_seconds
    if seen.state in ON_A_WORKER and seen.silent_seconds > limit:
        return NextStep(Step.SILENT, f"no sign of life for {seen.silent_seconds:.0f} s")
    listens = seen.state is RunState.RUNNING and seen.is_heard and seen.busy_with is None
    if listens and (not word or (row and row.declined == word)):
        return NextStep(Step.GRANT)
    return NextStep.wait()


def _ended(row: RowStatus, word: str) -> Step | None:
    if row.called_off == word:
        return Step.PUT_BACK
    return Step.SETTLED if row.word == word and row.state in SETTLED else None


@dataclass
class SilenceTimer:
    """Counts for how long something has not moved, in time in which it could be seen.

    Whoever cannot look has not heard silence: a long pause between two looks counts for little.
    """

    longest_step_seconds: float
    silent_seconds: float = 0.0
    _last: Any = None
    _at: float | None = None

    def look(self, sign: object, at: float) -> float:
        """Take a look.

        Args:
            sign: Changes whenever the thing has moved.
            at: Monotonic time, seconds.

        Returns:
            Seconds of silence.
        """
        if self._at is None or sign != self._last:
            self.silent_seconds = 0.0
        else:
            self.silent_seconds += min(max(at - self._at, 0.0), self.longest_step_seconds)
        self._last, self._at = sign, at
        return self.silent_seconds


@dataclass
class PermitInbox:
    """Which words of those that lie there may a run still follow?

    A word is followed only if it was not there at the look before, and that was a moment ago: so
    what was said to a run that slept, was cut off, or had not begun, starts nothing when it wakes.
    """

    fresh_seconds: float
    _known: set[str] = field(default_factory=set)
    _at: float | None = None

    def sort(self, words: Sequence[str], at: float) -> tuple[list[str], list[str]]:
        """Take a look; give the words to follow, and those to decline.

        Args:
            words: All that lie there, in any order.
            at: Monotonic time, seconds.
        """
        new = [word for word in words if word not in self._known]
        is_fresh = self._at is not None and at - self._at <= self.fresh_seconds
        self._known.update(new)
        self._at = at
        return (new, []) if is_fresh else ([], new)

    def forget(self) -> None:
        """What is found at the next look may have lain there for long."""
        self._at = None
