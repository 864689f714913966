"""The policies of a batch: clusters at once, order, stop rules and maintenance window."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from obscale.request import patterns
from obscale.request.models import RequestModel

OnFailure = Literal["hold", "retry", "roll-back", "ask"]
"""What a run does about a failed DAG by itself."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Canary = Literal["none", "node", "cluster"]
Dispatch = Literal["process", "deployment"]
OnRowFailure = Literal["hold", "retry", "roll-back"]
WEEK: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAYS_AHEAD: Final = 16
"""Two weeks: the clocks may jump over this week's only window, never over the next one too."""
BATCH_FLOW: Final = "batch"
PARTS_FLOW: Final = "batch-part"
"""The flow that carries out one cluster's rows of a dispatched batch."""
_HOUR: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)


def _known_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder of zones
        raise ValueError(f"no time zone is named {name!r}; write e.g. Europe/Berlin") from None
    return name


def _written_hour(value: object) -> object:
    # YAML 1.1 reads an unquoted 12:30 as the number 750.
    if not isinstance(value, str) or not _HOUR.fullmatch(value):
        raise ValueError("must be an hour in quotes, e.g. '02:00'")
    return value


def _listed(value: object) -> object:
    """Take one day for a list of one."""
    return [value] if isinstance(value, str) else value


def _lowered(value: object) -> object:
    if isinstance(value, list | tuple):
        return [day.lower()[:3] if isinstance(day, str) else day for day in value]
    return value


def _of_parts(name: str) -> str:
    flow, _, own = name.partition("/")
    if flow != PARTS_FLOW or not own or "/" in own:
        raise ValueError(
            f"is no deployment of the flow {PARTS_FLOW}; "
            f"write e.g. {PARTS_FLOW}/{PARTS_FLOW}-workers"
        )
    return name


Hour = Annotated[str, BeforeValidator(_written_hour)]


class Window(RequestModel):
    """Hours in which new rows may be started, by the clock on the wall of one time zone.

    From `end` before `start` follows a night: the window then belongs to the day it begins on.
    """

    start: Hour = Field(
        title="From",
        description="First minute, e.g. 02:00.",
        json_schema_extra=patterns.like(patterns.HOUR),
    )
    end: Hour = Field(
        title="Until",
        description="No row is started from this minute on, e.g. 05:30.",
        json_schema_extra=patterns.like(patterns.HOUR),
    )
    days: Annotated[tuple[Weekday, ...], BeforeValidator(_lowered), BeforeValidator(_listed)] = (
        Field(default=WEEK, title="Days", description="On which the window begins.", min_length=1)
    )
    time_zone: Annotated[str, AfterValidator(_known_time_zone)] = Field(
        default="UTC",
        title="Time zone",
        description="Whose clock counts, e.g. Europe/Berlin.",
        examples=["Europe/Berlin"],
    )

    @model_validator(mode="after")
    def _has_some_length(self) -> Self:
        if self.start == self.end:
            raise ValueError("start and end are the same; leave the window out for the whole day")
        return self

    def is_open(self, now: datetime) -> bool:
        """Whether a row may be started now.

        Args:
            now: Aware.
        """
        wall = now.astimezone(ZoneInfo(self.time_zone)).replace(tzinfo=None)
        return any(
            start <= wall < end
            for start, end in (self._on(wall.date() - timedelta(days=ago)) for ago in (0, 1))
            if WEEK[start.weekday()] in self.days
        )

    def opens(self, now: datetime) -> datetime:
        """Give the next moment at which it is open, UTC; now, if it is.

        A window the clocks jump over in spring is not there that day.

        Args:
            now: Aware.
        """
        if self.is_open(now):
            return now.astimezone(UTC)
        today = now.astimezone(ZoneInfo(self.time_zone)).date()
        days = (today + timedelta(days=ahead) for ahead in range(-1, DAYS_AHEAD))
        return next(
            moment
            for day in days
            for moment in self._beginnings(day)
            if moment > now and self.is_open(moment)
        )

    def spans(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Give when it is open between two moments, UTC, to the minute.

        Args:
            begin: Aware.
            end: Aware.
        """
        now = begin.astimezone(UTC)
        while now < end and (opens := self.opens(now)) < end:
            closes = self._closes(opens)
            yield opens, min(closes, end.astimezone(UTC))
            now = closes

    def _closes(self, opened: datetime) -> datetime:
        """Give the minute from which it is no longer open, some days ahead at most."""
        minute = opened.replace(second=0, microsecond=0)
        last = minute + timedelta(days=DAYS_AHEAD)
        while minute < last and self.is_open(minute):
            minute += timedelta(minutes=1)
        return minute

    def _beginnings(self, day: date) -> Iterator[datetime]:
        """Give the moment it begins on a day, UTC; every minute of a change of the clocks."""
        start, zone = self._on(day)[0], ZoneInfo(self.time_zone)
        first, last = sorted(
            start.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)
        )
        while first < last:
            yield first
            first += timedelta(minutes=1)
        yield last

    def _on(self, day: date) -> tuple[datetime, datetime]:
        start, end = time.fromisoformat(self.start), time.fromisoformat(self.end)
        last = day if end > start else day + timedelta(days=1)
        return datetime.combine(day, start), datetime.combine(last, end)

    def __str__(self) -> str:
        days = "" if set(self.days) == set(WEEK) else f" on {', '.join(self.days)}"
        return f"{self.start}-{self.end} {self.time_zone}{days}"


class WorkersPolicy(RequestModel):
    """How a batch that is dispatched finds its workers, and when it takes one for dead."""

    deployment: Annotated[str, AfterValidator(_of_parts)] | None = Field(
        default=None,
        title="Deployment",
        description="Of the flow batch-part, e.g. batch-part/batch-part-workers; empty: the one "
        "that belongs to the batch's own deployment (batch-night: batch-part-night), else "
        "batch-part-workers, else batch-part-served.",
    )
    silence_seconds: Annotated[int, Field(strict=True)] = Field(
        default=120,
        title="Silence of a worker (seconds)",
        description="After how long without a sign of life a cluster's run is taken for dead, and "
        "dispatched anew. A living one gives a sign every 10 s.",
        ge=30,
        le=86400,
    )
    wait_seconds: Annotated[int, Field(strict=True)] = Field(
        default=600,
        title="Wait for a worker (seconds)",
        description="Longest wait for any worker, while nothing of the batch runs on one, and for "
        "a Prefect server that does not answer; then the batch ends. Also for a run that a worker "
        "has taken to begin; then it is dispatched anew.",
        ge=1,
        le=86400,
    )


class BatchPolicies(RequestModel):
    """How a batch is carried out; the defaults suit production."""

    max_clusters_at_once: Annotated[int, Field(strict=True)] = Field(
        default=8,
        title="Clusters at once",
        description="How many clusters grow side by side; inside one it is always one node.",
        ge=1,
        le=1000,
    )
    canary: Canary = Field(
        default="none",
        title="Canary",
        description="none; node: the first node of each cluster; cluster: the whole first cluster. "
        "The rest follows only once all of these are verified.",
    )
    stop_cluster_after: Annotated[int, Field(strict=True)] = Field(
        default=1,
        title="Stop a cluster after",
        description="Failures in one cluster after which no further node of it is started.",
        ge=1,
    )
    stop_batch_after: Annotated[int, Field(strict=True)] | None = Field(
        default=None,
        title="Stop the batch after",
        description="Failures over all clusters after which nothing more is started; empty: never.",
        ge=1,
    )
    max_removals: Annotated[int, Field(strict=True)] | None = Field(
        default=None,
        title="Nodes that may leave",
        description="In the whole batch; needed where nodes are removed or replaced. A batch that "
        "names more is refused before anything is looked at.",
        ge=1,
    )
    window: Window | None = Field(
        default=None,
        title="Maintenance window",
        description="No row is started outside; what runs at its end is followed to its end.",
    )
    on_failure: OnRowFailure = Field(
        default="hold",
        title="When a DAG fails",
        description="hold: leave it to a person. retry, roll-back: only where it is safe; a "
        "rollback deletes what obshell made on the target, and the row counts as failed.",
    )
    dispatch: Dispatch = Field(
        default="process",
        title="Where clusters are worked on",
        description="process: in the batch's own run. deployment: each cluster in a run of its own "
        "on a work pool, so that several workers share the batch.",
    )
    workers: WorkersPolicy = Field(
        default=WorkersPolicy(),
        title="Workers",
        description="Where the clusters of a dispatched batch go, and how long to wait.",
    )


def told_policies(policies: BatchPolicies) -> list[str]:
    """Say the policies in a few words each, the defaults left out where they say nothing."""
    said = [f"{policies.max_clusters_at_once} clusters at once"]
    said += [f"canary: {policies.canary}"] if policies.canary != "none" else []
    said += [f"a cluster stops after {policies.stop_cluster_after} failed"]
    if policies.stop_batch_after is not None:
        said += [f"everything stops after {policies.stop_batch_after} failed"]
    if policies.max_removals is not None:
        said += [f"{policies.max_removals} may leave"]
    said += [f"a failed DAG: {policies.on_failure}"] if policies.on_failure != "hold" else []
    said += [f"window {policies.window}"] if policies.window else []
    said += ["dispatched to workers"] if policies.dispatch == "deployment" else []
    return said
