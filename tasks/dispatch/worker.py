"""The worker's side of a batch: waits for a permit per row, runs it, reports it.

The batch decides what may begin. It leaves a word for each row in this run's inbox, Prefect's own
run inputs, and reads from this run's table how far it is. A run nobody speaks to any more, say
because the batch died, ends what it has begun, begins nothing, and ends.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import httpx
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from pydantic import ValidationError

from obscale.batch.connections import ConnectionCache
from obscale.batch.dispatch import Permit, PermitInbox, SilenceTimer
from obscale.batch.dispatch_rows import PermitState, status_rows
from obscale.batch.ledger import Entry, Ledger
from obscale.batch.report import summary_of
from obscale.batch.schedule import RowState
from obscale.errors import DispatchError
from obscale.tasks.batch import ends_the_process, error_of_row, give_up, say_row
from obscale.tasks.batch_row import Gates, RowRun, carry_row
from obscale.tasks.runtime.blocks import PrefectSecrets
from obscale.tasks.runtime.journal import artifact_key, publish_line, shown_rows
from obscale.tasks.runtime.prefect_private import read_inputs
from obscale.tasks.runtime.run_log import run_logger
from obscale.text import markdown

TABLE: Final = "batch-part"
"""What the key of a run's table begins with."""
WORD: Final = "obscale-row-"
END: Final = "obscale-end"
HOLD: Final = "hold-"
"""Before a word: what it has begun is not to be submitted any more."""
INBOX: Final = "obscale-"
LOOK_SECONDS: Final = 1.0
BEAT_SECONDS: Final = 10.0
"""A sign of life at least as often; `WorkersPolicy.silence_seconds` is a multiple of it."""
FRESH_SECONDS: Final = 30.0
"""A word found after a longer pause may be of yesterday: the window, the stop rules and the batch
itself may have changed since."""
IDLE_SECONDS: Final = 60.0
"""A run that is given no row for so long ends: the batch begins another one when it needs it."""
GIVE_UP_SECONDS: Final = 600.0
"""So long a Prefect server may be away from a run that waits for a word."""
ROWS_A_SECOND: Final = 50
"""A long table is written less often, as the batch's own."""
MOST_WORDS: Final = 200
AWAY: Final = (PrefectException, httpx.HTTPError)
"""What a Prefect server that is away, or fails, looks like."""


class StatusTable:
    """The run's one table artifact: its rows for people and for the batch, and its sign of life."""

    def __init__(self, ledger: Ledger, batch: str) -> None:
        self.batch = batch
        names = sorted({entry.cluster for entry in ledger.entries})
        self.words: dict[str, PermitState] = {}
        self._ledger, self._key = ledger, artifact_key(TABLE, batch, *names)
        self._id: UUID | None = None
        self._shown: list[dict[str, Any]] = []
        self._at = 0.0
        self._is_told = True
        self._one_at_a_time = asyncio.Lock()

    async def show(self) -> None:
        """Write what has changed, or a sign of life; Prefect being away, it is written later."""
        async with self._one_at_a_time:
            rows = status_rows(self._ledger, self.words)
            said = markdown(
                "{}; as of {} UTC", summary_of(self._ledger), f"{datetime.now(UTC):%H:%M:%S}"
            )
            try:
                if self._id is None:
                    self._id = await acreate_table_artifact(
                        table=shown_rows(rows), key=self._key, description=said
                    )
                else:
                    # A field that is not set is left as it is.
                    change = ArtifactUpdate(description=said)
                    if rows != self._shown:
                        change = ArtifactUpdate(description=said, data=json.dumps(shown_rows(rows)))
                    async with get_client() as client:
                        await client.update_artifact(self._id, change)
            except AWAY as error:
                if self._is_told:
                    run_logger().warning("part.not_told reason=%r", str(error))
                self._is_told = False
                return
            if not self._is_told:
                publish_line("batch", "part.told_again")
            self._shown, self._at, self._is_told = rows, time.monotonic(), True

    async def keep(self) -> None:
        """Write on, until cancelled."""
        while True:
            await asyncio.sleep(max(LOOK_SECONDS, len(self._ledger.entries) / ROWS_A_SECOND))
            is_due = time.monotonic() - self._at >= BEAT_SECONDS
            if is_due or status_rows(self._ledger, self.words) != self._shown:
                await self.show()


class SentPermits:
    """The run's inbox."""

    def __init__(self, client: PrefectClient, run_id: UUID) -> None:
        self._client, self._run_id = client, run_id
        self._inbox = PermitInbox(FRESH_SECONDS)
        self._seen: set[str] = set()
        self.is_told_to_end = False

    async def look(self) -> tuple[dict[str, Permit], dict[str, Permit]]:
        """Give the words to follow, and those that may have lain there for long."""
        found = await read_inputs(self._client, self._run_id, INBOX, MOST_WORDS, self._seen)
        self._seen |= set(found)
        self.is_told_to_end |= END in self._seen
        words = {key: value for key, value in found.items() if key.startswith(WORD)}
        follow, decline = self._inbox.sort(sorted(words), time.monotonic())
        return _grants(words, follow), _grants(words, decline)

    async def are_held(self, word: str) -> bool:
        """Whether what a word has begun is not to be submitted after all.

        Where Prefect does not answer it is held: all may have been stopped meanwhile.
        """
        try:
            return bool(await read_inputs(self._client, self._run_id, HOLD + word, 1, set()))
        except AWAY as error:
            run_logger().warning("part.hold_not_read reason=%r", str(error))
            return True

    async def skip(self) -> dict[str, Permit]:
        """Give the words that lie there; none of them is to be followed."""
        self._inbox.forget()
        with suppress(*AWAY):
            return (await self.look())[1]
        return {}


def _grants(words: dict[str, str], keys: list[str]) -> dict[str, Permit]:
    found: dict[str, Permit] = {}
    for key in keys:
        try:
            found[key] = Permit.model_validate_json(words[key])
        except ValidationError as error:
            run_logger().warning("part.word_not_read word=%s reason=%r", key, str(error))
    return found


@asynccontextmanager
async def told(ledger: Ledger, batch: str) -> AsyncIterator[StatusTable]:
    """Keep the run's table up to date in this block, and tell what is left however it ends."""
    table = StatusTable(ledger, batch)
    keeper: asyncio.Task[None] | None = None
    why = "not given to this run"
    try:
        publish_line("batch", f"part.begun batch={batch} nodes={len(ledger.entries)}")
        keeper = asyncio.create_task(table.keep())
        yield table
    except BaseException as stop:
        why = f"its run was ended before its turn ({type(stop).__name__})"
        raise
    finally:
        if keeper:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        ledger.stop(why)
        ledger.ended = datetime.now(UTC)
        await table.show()
        publish_line("batch", f"part.ended {summary_of(ledger)}")


async def run_assignment(ledger: Ledger, table: StatusTable) -> None:
    """Carry out each row at its word, one at a time, until told to end or left alone.

    Raises:
        DispatchError: No flow run is under way, or Prefect is away for too long.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise DispatchError(
            "a part of a batch hears from its batch through Prefect", "run the flow batch instead"
        )
    by_target = {entry.target: at for at, entry in enumerate(ledger.entries)}
    async with get_client() as client, ConnectionCache(PrefectSecrets()) as clusters:
        words = SentPermits(client, context.flow_run.id)
        _decline(await words.skip(), table)
        await table.show()
        idle, away = SilenceTimer(LOOK_SECONDS * 5), SilenceTimer(GIVE_UP_SECONDS)
        turn = 0
        while not words.is_told_to_end:
            try:
                follow, decline = await words.look()
            except AWAY as error:
                if away.look(turn, time.monotonic()) > GIVE_UP_SECONDS:
                    raise DispatchError(
                        f"Prefect's server has not answered for {GIVE_UP_SECONDS:.0f} s: {error}",
                        "start it, then run the same batch again",
                    ) from error
                await asyncio.sleep(LOOK_SECONDS)
                continue
            away = SilenceTimer(GIVE_UP_SECONDS)
            word = next((key for key, each in follow.items() if each.target in by_target), None)
            _decline({k: v for k, v in (follow | decline).items() if k != word}, table)
            if word:
                turn += 1
                at = by_target[follow[word].target]
                # Anew: this run may have tried it before.
                old = ledger.entries[at]
                entry = Entry(old.number, old.cluster, old.order, progress=follow[word].progress)
                ledger.entries[at] = entry
                table.words[entry.target] = PermitState(word)
                await _carry(entry, ledger, words, table, follow[word], clusters)
            elif idle.look(turn, time.monotonic()) > IDLE_SECONDS:
                publish_line("batch", f"part.left_alone seconds={IDLE_SECONDS:.0f}")
                return
            await asyncio.sleep(0 if word else LOOK_SECONDS)


async def _carry(
    entry: Entry,
    ledger: Ledger,
    words: SentPermits,
    table: StatusTable,
    grant: Permit,
    clusters: ConnectionCache,
) -> None:
    """Carry out one row, and tell how it ended."""
    word = table.words[entry.target].word

    async def called_off() -> bool:
        is_shut = grant.window is not None and not grant.window.is_open(datetime.now(UTC))
        return is_shut or await words.are_held(word)

    entry.begin()
    say_row(entry, "started", ledger)
    run = RowRun(entry, Gates(looking=1), called_off, clusters, table.batch)
    row = asyncio.create_task(carry_row(run))
    try:
        await asyncio.wait({row})
    finally:
        if not row.done():
            await give_up({row})
    error = error_of_row(row)
    if ends_the_process(error):
        raise error
    # Looked before it is told that the row has ended: whatever comes now is the answer to that.
    _decline(await words.skip(), table)
    if entry.state is RowState.WAITING:
        table.words[entry.target] = replace(table.words[entry.target], called_off=word)
    else:
        entry.end(error)
    say_row(entry, entry.state.value, ledger)
    await table.show()


def _decline(grants: dict[str, Permit], table: StatusTable) -> None:
    for word, grant in grants.items():
        publish_line("batch", f"part.declined node={grant.target} why='its word may be old'")
        known = table.words.get(grant.target, PermitState())
        table.words[grant.target] = replace(known, declined=word)


def is_incomplete(ledger: Ledger) -> bool:
    """Whether a row this run was given did not end verified."""
    states = ledger.counts()
    return bool(states[RowState.FAILED] + states[RowState.BLOCKED] + states[RowState.LEFT])
