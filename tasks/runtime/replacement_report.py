"""Makes one report of a replacement, however it ends, with both halves in it."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from obscale import events
from obscale.errors import HalfReplacedError, ObscaleError
from obscale.events import Event, HalfBegun, Line, Reported
from obscale.recovery.interrupted import InterruptedState, describe_interrupted
from obscale.replacement.words import half_replaced
from obscale.report.audit import end_of
from obscale.report.report import Moment, ScaleOutReport
from obscale.request.replacement import Replacement
from obscale.tasks.runtime.attempts import close_earlier_attempts
from obscale.tasks.runtime.earlier_reports import reports_before
from obscale.tasks.runtime.journal import (
    listening,
    publish,
    publish_line,
    written_by_its_end,
)
from obscale.tasks.runtime.report import ReportBuilder, keep_report, leave_progress
from obscale.verify.observation import Level

OF_A_HALF: Final[dict[str, Any]] = {
    "obConfigs": {},
    "verdict": "",
    "findings": (),
    "stages": (),
    "diagnosis": None,
    "proofs": (),
    "persist_statements": (),
    "host_steps": (),
    "undo": (),
    "capacity": None,
    "disk_rooms": (),
    "posted": None,
}
"""What is told of one half alone, and so stands in its own report only."""


class Halves:
    """Collects what the tasks tell of each half, and makes one report of both."""

    def __init__(self, order: Replacement) -> None:
        self._order = order
        self._adding = ReportBuilder(order.addition)
        self._removing = ReportBuilder(order.removal)
        self._timeline: list[Moment] = []
        self._earlier: ScaleOutReport | None = None
        self._is_second = False

    @property
    def now(self) -> ReportBuilder:
        """The builder of the half that is under way."""
        return self._removing if self._is_second else self._adding

    @property
    def versions(self) -> dict[str, str]:
        """Of obscale, Prefect and the agents that were asked."""
        return self._adding.versions | self._removing.versions

    def hear(self, event: Event) -> None:
        """Take one event into the half it is about."""
        if isinstance(event, HalfBegun):
            self._is_second = event.half == "remove"
        if not (isinstance(event, Line) and event.severity == logging.DEBUG):
            text = events.text_of(event)
            self._timeline.append(Moment(at=datetime.now(UTC), step=event.step, text=text))
        self.now.hear(event)

    @asynccontextmanager
    async def adding(self) -> AsyncIterator[None]:
        """The new node joins inside this block."""
        publish(HalfBegun(half="add", target=self._order.joining))
        yield

    @asynccontextmanager
    async def removing(self) -> AsyncIterator[None]:
        """The old node leaves inside this block, after the new one was verified.

        Raises:
            HalfReplacedError: Something has kept it from leaving; a healthy node more stands.
        """
        publish(HalfBegun(half="remove", target=self._order.target))
        try:
            yield
        except ObscaleError as error:
            if self._has_left():
                raise
            raise half_replaced(self._order, error) from error

    def _has_left(self) -> bool:
        return self._removing.level not in {Level.NONE, Level.LEAVING}

    def report(
        self, error: BaseException | None = None, remains: InterruptedState | None = None
    ) -> ScaleOutReport:
        """Give the report as things stand; an error makes it a failed one."""
        cause = error.__cause__ if isinstance(error, HalfReplacedError) else error
        first = self._adding.report(None if self._is_second else cause)
        halves: tuple[ScaleOutReport, ...] = (first,)
        if self._is_second:
            second = self._removing.report(cause)
            if self._has_left():
                # The new node is the only one in its place now.
                first = first.model_copy(update={"undo": ()})
            halves = (first, second)
        last = halves[-1]
        both = self.now.report(error, remains)
        outcome = both.outcome
        if isinstance(error, HalfReplacedError):
            outcome = "half-done"
        elif error is None and not self._is_second:
            outcome = "failed"
        about = self._order
        return both.model_copy(
            update=OF_A_HALF
            | {
                "outcome": outcome,
                "operation": "replacement",
                "target": about.target,
                "by": about.joining,
                "zone": about.zone,
                "halves": tuple(
                    half.model_copy(update={"timeline": (), "earlier": (), "remains": None})
                    for half in halves
                ),
                "exceptions": tuple(dict.fromkeys((*first.exceptions, *last.exceptions))),
                "decisions": tuple(each for half in halves for each in half.decisions),
                "before": first.before,
                "before_at": first.before_at,
                "after": last.after or first.after,
                "timeline": tuple(self._timeline),
                "earlier": self._earlier.earlier if self._earlier else (),
            }
        )

    async def learn_of_earlier(self) -> None:
        """Learn how earlier attempts of this run have ended."""
        report = self.report()
        found = tuple(end_of(kept) for kept in await reports_before(report))
        self._earlier = report.model_copy(update={"earlier": found})


@asynccontextmanager
async def replacement_report_at_end(order: Replacement) -> AsyncIterator[Halves]:
    """Write the report artifact at the end of this block, also when it fails or is cancelled."""
    halves = Halves(order)
    async with written_by_its_end():
        with listening(halves.hear):
            await close_earlier_attempts()
            try:
                yield halves
            except BaseException as error:
                cause = error.__cause__ if isinstance(error, HalfReplacedError) else error
                builder = halves.now
                remains = await builder.look_at_remains(cause or error)
                if remains and remains.was_sent:
                    words = describe_interrupted(remains)
                    publish_line("report", f"report.remains {words}")
                    await leave_progress(builder.order, builder.progress, words)
                await halves.learn_of_earlier()
                await builder.learn_of_form(error, remains)
                await _show(halves, error, remains)
                raise
            await halves.learn_of_earlier()
            await _show(halves)


async def _show(
    halves: Halves,
    error: BaseException | None = None,
    remains: InterruptedState | None = None,
) -> None:
    report = halves.report(error, remains)
    await keep_report(report, halves.versions)
    # Whoever runs the flow ends by these, whatever Prefect makes of the run from now on.
    publish(Reported(report=report, ended_by=error))
    if report.follows:
        publish_line("report", f"report.follows {report.follows}", logging.WARNING)
