"""Watches the runs of a batch on workers with a few questions to Prefect."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.exceptions import PrefectException

from obscale.batch.dispatch import (
    ON_A_WORKER,
    RowStatus,
    RunState,
    SilenceTimer,
    WorkerRun,
    read_status_rows,
)
from obscale.errors import DispatchError
from obscale.tasks.dispatch.worker import TABLE
from obscale.tasks.runtime.run_log import run_logger

LOOK_SECONDS: Final = 1.0
RUNS_A_QUESTION: Final = 100
"""Prefect gives at most 200 rows an answer."""
LONGEST_STEP_SECONDS: Final = 15.0
"""A pause between two looks counts for no more: whoever cannot look has not heard silence."""
TELL_EVERY_SECONDS: Final = 30.0
"""How often the log says that Prefect does not answer."""
AWAY: Final = (PrefectException, httpx.HTTPError)
UNKNOWN_RUN: Final = WorkerRun(RunState.CRASHED, "Prefect does not know it any more")


@dataclass
class _Run:
    """One run, and what was seen of it last."""

    seen: WorkerRun
    signs: SilenceTimer = field(default_factory=lambda: SilenceTimer(LONGEST_STEP_SECONDS))
    data: Any = None
    """Of its table, as Prefect gave it: read again only when it has changed."""


class Watch:
    """Looks at all runs of a batch at once, and lets each row wait for the next look.

    Args:
        client: Open.
        away_seconds: So long a Prefect server may not answer.
    """

    def __init__(self, client: PrefectClient, away_seconds: float) -> None:
        self._client, self._away_seconds = client, away_seconds
        self._runs: dict[UUID, _Run] = {}
        self._looked = asyncio.Condition()
        self._trouble: DispatchError | None = None
        self._answered_at = time.monotonic()
        self._told_away = 0.0
        self._untaken = SilenceTimer(LONGEST_STEP_SECONDS)

    @property
    def untaken_seconds(self) -> float:
        """How long runs have waited for a worker while none of this batch is on any."""
        return self._untaken.silent_seconds

    def follow(self, run_id: UUID, state: RunState) -> None:
        """Look at a run from now on."""
        self._runs.setdefault(run_id, _Run(WorkerRun(state)))

    def forget(self, run_id: UUID) -> None:
        """Look at it no more."""
        self._runs.pop(run_id, None)

    async def next(self, run_id: UUID) -> WorkerRun:
        """Wait for the next look, and give what it saw of a run.

        Raises:
            DispatchError: Prefect has not answered for too long.
        """
        async with self._looked:
            await self._looked.wait()
        if self._trouble:
            raise self._trouble
        return self.now(run_id)

    def now(self, run_id: UUID) -> WorkerRun:
        """Give what was seen of a run last."""
        known = self._runs.get(run_id)
        return known.seen if known else UNKNOWN_RUN

    async def keep(self) -> None:
        """Look on, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS * max(1.0, len(self._runs) / RUNS_A_QUESTION))
            try:
                await self.look()
            except AWAY as error:
                self._troubled(error)
            async with self._looked:
                self._looked.notify_all()

    async def look(self) -> None:
        """Look once.

        Raises:
            PrefectException: Prefect does not answer; so do httpx's errors.
        """
        for ids in _in_portions(list(self._runs)):
            runs = await self._client.read_flow_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=len(ids)
            )
            tables = await self._client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    flow_run_id=ArtifactFilterFlowRunId(any_=ids),
                    key=ArtifactFilterKey(like_=f"{TABLE}-%"),
                )
            )
            self._take(ids, runs, tables)
        now = time.monotonic()
        self._answered_at, self._trouble, self._told_away = now, None, 0.0
        states = [run.seen.state for run in self._runs.values()]
        waits = RunState.SCHEDULED in states and not ON_A_WORKER.intersection(states)
        self._untaken.look("waits" if waits else object(), now)

    def _take(
        self, ids: Sequence[UUID], runs: Sequence[FlowRun], tables: Sequence[Artifact]
    ) -> None:
        by_id = {run.id: run for run in runs}
        # The newest: one whose creation went unanswered was made once more.
        newest = {
            table.flow_run_id: table
            for table in sorted(tables, key=lambda t: t.created.timestamp() if t.created else 0.0)
        }
        for run_id in ids:
            known, run, table = self._runs.get(run_id), by_id.get(run_id), newest.get(run_id)
            if known is None:
                continue
            if run is None or run.state is None:
                known.seen = UNKNOWN_RUN
                continue
            told, data = known.seen.told, table.data if table else None
            if data != known.data:
                told, known.data = _read(data), data
            said = table.description if table else None
            silent = known.signs.look((run.state.id, said, data), time.monotonic())
            known.seen = WorkerRun(
                state=RunState(run.state.type.value),
                message=run.state.message or "",
                is_heard=table is not None,
                told=told,
                silent_seconds=silent,
            )

    def _troubled(self, error: Exception) -> None:
        away = time.monotonic() - self._answered_at
        if away - self._told_away >= TELL_EVERY_SECONDS:
            self._told_away = away
            run_logger().warning("dispatch.not_seen away_seconds=%.0f reason=%r", away, str(error))
        if away > self._away_seconds:
            self._trouble = DispatchError(
                f"Prefect's server has not answered for {away:.0f} s: {error}",
                "start it, then run the same batch again: it takes up what runs",
            )


def _read(data: Any) -> dict[str, RowStatus]:
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except ValueError:
            return {}
    return read_status_rows(data)


def _in_portions(ids: Sequence[UUID]) -> Iterator[list[UUID]]:
    for first in range(0, len(ids), RUNS_A_QUESTION):
        yield list(ids[first : first + RUNS_A_QUESTION])
