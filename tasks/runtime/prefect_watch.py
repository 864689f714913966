"""Watch beside a run whether Prefect answers, and what it calls the run.

Prefect never tells a run that is no worker's: that its server went away, that somebody deleted the
run there, or cancelled it. So one small question is asked every few seconds, beside the work.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from obscale.events import PrefectNotice
from obscale.tasks.runtime.journal import publish
from obscale.tasks.runtime.prefect_private import PROCESS_OF_A_RUN
from obscale.tasks.runtime.quiet import quiet_process, quiet_threads
from obscale.tasks.runtime.writing import PREFECT_TROUBLE, Recording, recorded

LOOK_EVERY_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 5.0
"""Longest a look is waited for."""
MISSES: Final = 2
"""Looks in a row without an answer, until Prefect is called away: one is a server that is busy."""


class PrefectWatch:
    """Looks at one run in Prefect every few seconds, and tells what changes.

    Args:
        known: Of Prefect beside this run.
        on_cancelled: Called once when somebody has cancelled the run there; None where a worker
            does it.
        every_seconds: From one look to the next.
    """

    def __init__(
        self,
        known: Recording,
        on_cancelled: Callable[[], None] | None = None,
        every_seconds: float = LOOK_EVERY_SECONDS,
    ) -> None:
        self.run_id: UUID | None = None
        self._known = known
        self._on_cancelled = on_cancelled
        self._every_seconds = every_seconds
        self._misses = 0
        self._answered_at = datetime.now(UTC)
        self._looking: asyncio.Task[None] | None = None

    def begin(self, run_id: UUID) -> None:
        """Look at this run from now on, until `end`."""
        if self._looking is None:
            self.run_id = run_id
            self._looking = asyncio.create_task(self._keep_looking(run_id))

    async def end(self) -> None:
        """Look no more; say what was not recorded."""
        if self._looking:
            self._looking.cancel()
            # Opening its client may have failed, too: no run's ending depends on the watch.
            with suppress(asyncio.CancelledError, *PREFECT_TROUBLE):
                await self._looking
        if (names := self._known.unrecorded) and not self._known.is_deleted:
            what = ", ".join(dict.fromkeys(names.values()))
            _say(f"prefect.not_recorded what={what!r}", f"not recorded in Prefect: {what}")

    def found_deleted(self) -> None:
        """Say once that Prefect knows the run no more."""
        if not self._known.is_deleted:
            self._known.is_deleted = True
            _say(
                "run.deleted next='it goes on'",
                "this run was deleted in Prefect; it goes on and is proved all the same, and "
                "nothing more of it is recorded there",
            )

    async def _keep_looking(self, run_id: UUID) -> None:
        # A look is tried once: the next one is soon. The settings are this task's alone.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            # A client of its own: the engine's is closed with the run.
            async with get_client(httpx_settings={"timeout": ANSWER_SECONDS}) as client:
                while not self._known.is_deleted:
                    began = time.monotonic()
                    await self._look(client, run_id)
                    await asyncio.sleep(max(began + self._every_seconds - time.monotonic(), 0))

    async def _look(self, client: PrefectClient, run_id: UUID) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                state = (await client.read_flow_run(run_id)).state
        except ObjectNotFound:
            self.found_deleted()
        except PREFECT_TROUBLE as error:
            self._missed(error)
        else:
            self._heard(state)

    def _missed(self, error: Exception) -> None:
        self._misses += 1
        if self._misses < MISSES or self._known.is_away:
            return
        self._known.is_away = True
        since = f"{self._answered_at:%H:%M:%S}"
        _say(
            f"prefect.away since={since}Z reason={type(error).__name__}",
            f"Prefect does not answer since {since} UTC; the run goes on, and what it tells "
            "meanwhile may not be recorded there",
        )

    def _heard(self, state: State[object] | None) -> None:
        now = datetime.now(UTC)
        if self._known.is_away:
            self._known.is_away = False
            seconds = (now - self._answered_at).total_seconds()
            words = f"Prefect answers again, after {seconds:.0f} s"
            _say(f"prefect.back away_seconds={seconds:.0f}", words)
        self._misses, self._answered_at = 0, now
        if state and self._on_cancelled and (state.is_cancelling() or state.is_cancelled()):
            self._on_cancelled()
            self._on_cancelled = None


def _say(line: str, words: str) -> None:
    publish(PrefectNotice(line=line, words=words))


WATCH: Final[ContextVar[PrefectWatch | None]] = ContextVar("obscale_prefect_watch", default=None)
"""Of whoever runs the flow in a program of its own; it goes on after the flow's own code."""


@asynccontextmanager
async def watching_prefect(every_seconds: float = LOOK_EVERY_SECONDS) -> AsyncIterator[None]:
    """Watch Prefect beside the current flow run, in this block or for whoever watches already.

    Args:
        every_seconds: From one look to the next; longer where runs go by the hundred, for each look
            costs the server some ten milliseconds.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None:
        yield
        return
    if others := WATCH.get():
        others.begin(run.id)
        yield
        return
    with recorded() as known:
        quiet_threads(known)
        if os.environ.get(PROCESS_OF_A_RUN):
            quiet_process()
        watch = PrefectWatch(known, every_seconds=every_seconds)
        watch.begin(run.id)
        try:
            yield
        finally:
            await watch.end()
