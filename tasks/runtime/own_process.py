"""Runs a flow in this process, and ends it by what it told when Prefect is away."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final, cast

from prefect.exceptions import ObjectNotFound, PrefectSignal
from prefect.states import Cancelled

from obscale.errors import PrefectUnreachableError
from obscale.tasks.runtime.prefect_private import send_queued_events
from obscale.tasks.runtime.prefect_watch import WATCH, PrefectWatch
from obscale.tasks.runtime.quiet import quiet_process, quiet_threads
from obscale.tasks.runtime.run_state import set_state
from obscale.tasks.runtime.sigterm import CancelledInPrefect, cancel_on_sigterm, cancel_run
from obscale.tasks.runtime.writing import PREFECT_TROUBLE, Recording, recorded

LONGEST_END_SECONDS: Final = 120.0
"""From the report to the end of the flow run: what is left is written, and the run's state."""
LONGEST_END_AWAY_SECONDS: Final = 10.0
"""The same, while Prefect is away."""
LAST_EVENTS_SECONDS: Final = 5.0
"""How long events that are left are sent where Prefect counts as away."""
LOOK_SECONDS: Final = 0.5
CANCEL_AGAIN_SECONDS: Final = 0.05
"""Cancelled once, Prefect's engine tries to write another state; it shall not come to that."""
THE_END: Final = "the run's end"


_LEFT: Final = Recording()
"""As the last run of this process left Prefect."""


def is_prefect_away() -> bool:
    """Whether Prefect was away when the last run of this process ended.

    Then the process must not end as others do: Prefect's threads would send, at exit, what they
    have left, for as long as nobody answers.
    """
    return _LEFT.is_away


def send_last_events() -> None:
    """Let Prefect have the events of the run that are left, where it takes them soon.

    A server that was too busy to answer a look counts as away; it takes an event all the same, and
    somebody may wait to be called by it.
    """
    send_queued_events(LAST_EVENTS_SECONDS)


class Told:
    """What the flow's own code has told of its end; whoever listens to the flow fills it."""

    def __init__(self) -> None:
        self.is_out = asyncio.Event()
        """Whether the report is out."""
        self.ended_by: BaseException | None = None

    def end(self, error: BaseException | None) -> None:
        """The report is out, and this is raised next; None: nothing is."""
        self.ended_by = error
        self.is_out.set()


async def run_here(flow_run: Awaitable[Any], told: Told) -> None:
    """Await a flow run of this process; once its report is out, Prefect decides its ending no more.

    Args:
        flow_run: Not begun yet.
        told: Its report, once it is out.

    Raises:
        TerminationSignal: SIGTERM came.
        CancelledInPrefect: Somebody cancelled it there; Prefect has its state, if it answers.
        PrefectUnreachableError: Prefect has not let it begin.
        BaseException: Whatever the flow's own code raises; of Prefect only where the flow has not
            come to its report.
    """
    run = cast("asyncio.Task[Any]", asyncio.current_task())
    quiet_process()
    with recorded() as known:
        quiet_threads(known)
        watch = PrefectWatch(known, on_cancelled=lambda: cancel_run(run))
        token = WATCH.set(watch)
        end = _End(run, told, known)
        try:
            with cancel_on_sigterm():
                await flow_run
        except CancelledInPrefect:
            if watch.run_id:
                await set_state(watch.run_id, Cancelled(message="Cancelled in Prefect."))
            raise
        except (*PREFECT_TROUBLE, PrefectSignal, asyncio.CancelledError) as error:
            is_told, is_begun = told.is_out.is_set(), watch.run_id is not None
            if not (is_told or is_begun) and isinstance(error, PREFECT_TROUBLE):
                raise _not_begun(error) from error
            if not is_told or error is told.ended_by or not end.is_prefects(error):
                raise
            known.unrecorded[THE_END] = THE_END
            if isinstance(error, ObjectNotFound):
                watch.found_deleted()
            if told.ended_by:
                raise told.ended_by from None
        finally:
            end.close()
            WATCH.reset(token)
            await watch.end()
            _LEFT.is_away = known.is_away or THE_END in known.unrecorded


def _not_begun(error: Exception) -> PrefectUnreachableError:
    said = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".") or type(error).__name__
    return PrefectUnreachableError(
        f"not begun, nothing was sent: Prefect does not answer as it should ({said})",
        "see that its server answers, then run the same request again",
    )


class _End:
    """Cancels a run that is over but for what Prefect shall record of it, and takes too long."""

    def __init__(self, run: "asyncio.Task[Any]", told: Told, known: Recording) -> None:
        self._run, self._told, self._known = run, told, known
        self._cancelled = 0
        self._waiting = asyncio.create_task(self._wait())

    def is_prefects(self, error: BaseException) -> bool:
        """Whether an error is of Prefect's part of the run; a cancelling is, where it is ours."""
        return self._cancelled > 0 or not isinstance(error, asyncio.CancelledError)

    def close(self) -> None:
        """Wait no more, and leave nothing of the cancelling behind."""
        self._waiting.cancel()
        for _ in range(self._cancelled):
            self._run.uncancel()

    async def _wait(self) -> None:
        await self._told.is_out.wait()
        told_at = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if time.monotonic() - told_at >= self._longest():
                break
        while True:
            self._cancelled += self._run.cancel()
            await asyncio.sleep(CANCEL_AGAIN_SECONDS)

    def _longest(self) -> float:
        return LONGEST_END_AWAY_SECONDS if self._known.is_away else LONGEST_END_SECONDS
