"""Has each cluster's rows carried out by one run on a worker, and none twice.

The batch decides: a row begins on a worker when `obscale.batch.schedule` says so.
A run whose worker died is found by its silence and replaced; that the dead one may live on, cut
off, does no harm, since the cluster is the record of what was begun.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.states import Cancelling, Crashed

from obscale.batch.dispatch import (
    ALIVE,
    ON_A_WORKER,
    SETTLED,
    STARTING,
    Permit,
    RowStatus,
    RunState,
    Step,
    WorkerRun,
    decide_part,
)
from obscale.batch.dispatch_rows import (
    WorkerAssignment,
    apply_result,
    apply_status,
    part_in,
    take_up_row,
)
from obscale.batch.ledger import Entry, Ledger
from obscale.batch.schedule import RowState
from obscale.errors import RunLostError
from obscale.preflight.facts import TargetProgress
from obscale.submit.result import CalledOff, never
from obscale.tasks.dispatch.start import find_deployment, find_runs, no_worker, start_run
from obscale.tasks.dispatch.watch import AWAY, LOOK_SECONDS, Watch
from obscale.tasks.dispatch.worker import END, HOLD, WORD
from obscale.tasks.runtime.journal import publish_line
from obscale.tasks.runtime.prefect_private import force_flow_run_state, leave_input

MOST_LOST: Final = 5
"""Runs of one row that may be lost before the row counts as failed."""
TELL_EVERY_SECONDS: Final = 30.0
"""How often the log says that no worker has taken a run."""
STOP_SECONDS: Final = 15.0
"""For telling the runs to stop, and hearing where their rows stand, when a batch is ended. A
cancelled process has 30 s; its report comes after this."""
WAITS: Final = "waits for a worker"
STARTING_AT_ONCE: Final = 16
"""Runs that are on their way to a worker, or whose process starts there. A start takes seven
seconds of CPU and dozens of requests: of a hundred that began together on two cores with their
Prefect server, that answered 500 to some, which ended their processes, and three of four workers.
"""
STARTS_SECONDS: Final = 120.0
"""A run a worker has taken that does not run by then keeps no other from starting any more: its
worker may have died with it."""


@dataclass
class _Running:
    """The run a lane has, and the row it is at."""

    part: WorkerAssignment
    run_id: UUID
    target: str = ""
    word: str = ""
    """By which it may begin that row; empty: it has not been given one."""
    is_starting: bool = False
    """It has one of the places of those that start."""
    is_held: bool = False
    """It was told not to submit what that word has begun."""

    def has_word_for(self, entry: Entry) -> bool:
        """Whether it may have begun this row."""
        return self.target == entry.target and bool(self.word)


class Dispatch:
    """Gives rows to runs on workers."""

    def __init__(
        self, client: PrefectClient, ledger: Ledger, deployment: DeploymentResponse, watch: Watch
    ) -> None:
        self._client, self._ledger, self._deployment = client, ledger, deployment
        self._watch = watch
        self._runs: dict[str, _Running] = {}
        self._parts: dict[str, WorkerAssignment] = {}
        """By lane."""
        self._turns: Counter[str] = Counter()
        """How many runs each part has had, by its id."""
        self._told_waiting = 0.0
        self._starting = asyncio.Semaphore(STARTING_AT_ONCE)

    async def take_up(self) -> None:
        """Find the runs an earlier batch of the same rows has left at work, and follow them.

        Raises:
            DispatchError: Prefect does not answer.
        """
        alive = await find_runs(self._client, self._deployment, self._ledger.key, ALIVE)
        earlier = await find_runs(self._client, self._deployment, self._ledger.key)
        self._parts = self._assigned()
        self._turns.update(filter(None, (part_in(run.idempotency_key) for run in earlier)))
        at_work = {part_in(run.idempotency_key): run for run in alive}
        for lane, part in self._parts.items() if at_work else ():
            if run := at_work.get(part.id):
                self._runs[lane] = self._followed(part, run)
        known = {running.run_id for running in self._runs.values()}
        for run in alive:
            if run.id not in known:
                # Of the same nodes, asked for in another way: it gets no word, and ends.
                await self._end(run.id)
        if self._runs:
            with suppress(*AWAY):
                await self._watch.look()
        for running in self._runs.values():
            self._take_up_row(running)

    def _take_up_row(self, running: _Running) -> None:
        busy = self._watch.now(running.run_id).busy_with
        publish_line(
            "batch", f"part.taken_up run={running.run_id} row={busy.target if busy else '-'}"
        )
        entry = self._entry_of(running, busy.target) if busy else None
        if busy and entry:
            running.target, running.word = entry.target, busy.word
            take_up_row(entry)
            apply_status(entry, busy)

    def _entry_of(self, running: _Running, target: str) -> Entry | None:
        """Give the row of a run; tenants of two clusters may have one name."""
        return next(
            (
                entry
                for entry in self._ledger.entries
                if entry.target == target and entry.cluster in running.part.names
            ),
            None,
        )

    async def add(self, entry: Entry, called_off: CalledOff) -> None:
        """Have one row carried out; on return its entry says how it ended, or that it is put back.

        Args:
            entry: Of the batch's ledger.
            called_off: Asked before each word, since a worker may be long in coming, and heeded
                where no word before has begun the row.

        Raises:
            RunLostError: Its run was cancelled, or lost too often.
            DispatchError: The batch cannot go on: no worker, or no Prefect.
        """
        entry.stage = entry.stage or WAITS
        why = ""
        may_be_begun = False
        for _ in range(MOST_LOST):
            running = self._runs.get(entry.lane)
            try:
                asked = never if may_be_begun else called_off
                running = running or await self._dispatch(entry, asked)
                if running is None:
                    entry.put_back()
                    return
                lost = await self._through(running, entry, asked)
            except RunLostError:
                raise
            except BaseException:
                may_be_begun |= bool(running and running.has_word_for(entry))
                if entry.state is RowState.RUNNING and not may_be_begun:
                    entry.skip("the batch was ended before a worker began it")
                raise
            if not lost:
                return
            why = lost
            may_be_begun |= running.has_word_for(entry)
            self._drop(entry.lane)
            publish_line(
                "batch",
                f"part.lost cluster={entry.cluster} run={running.run_id} why={why!r} "
                "next='another run looks, and takes up what was begun'",
                logging.WARNING,
            )
        raise RunLostError(
            f"{MOST_LOST} runs of {entry.target} were lost on workers, the last one: {why}",
            "see the log of its runs and workers, then run the same batch again",
        )

    async def _through(self, running: _Running, entry: Entry, called_off: CalledOff) -> str:
        """Follow a row to its end, or until it is put back; gives why its run is lost, if it is.

        Raises:
            RunLostError: Somebody cancelled its run.
            DispatchError: No worker, or no Prefect.
        """
        if running.target != entry.target:
            running.target, running.word = entry.target, ""
        while True:
            seen = await self._next(running)
            told = self._hear(running, seen, entry)
            workers = self._ledger.policies.workers
            decided = decide_part(
                seen, entry.target, running.word, workers.silence_seconds, workers.wait_seconds
            )
            step = decided.step
            if step is Step.GRANT and entry.progress is TargetProgress.NEW and await called_off():
                step = Step.PUT_BACK
            match step:
                case Step.SETTLED if told:
                    apply_result(entry, told)
                    return ""
                case Step.PUT_BACK:
                    running.word = ""
                    entry.put_back()
                    return ""
                case Step.GRANT:
                    await self._grant(running, entry)
                case Step.CANCELLED:
                    raise self._cancelled(entry, decided.why)
                case Step.SILENT:
                    await self._mark_crashed(running.run_id, decided.why)
                    return decided.why
                case Step.GONE:
                    return decided.why
                case _:
                    await self._see_whether_it_is_taken(seen, entry)

    async def _next(self, running: _Running) -> WorkerRun:
        """Wait for the next look at a run; one that has started lets another one start."""
        seen = await self._watch.next(running.run_id)
        is_stuck = seen.state is RunState.PENDING and seen.silent_seconds > STARTS_SECONDS
        if is_stuck or seen.state not in STARTING:
            self._has_started(running)
        return seen

    @staticmethod
    def _hear(running: _Running, seen: WorkerRun, entry: Entry) -> RowStatus | None:
        """Take what a row's run tells of it."""
        told = seen.told.get(entry.target)
        if told and running.word and told.word == running.word:
            apply_status(entry, told)
        return told

    async def _grant(self, running: _Running, entry: Entry) -> None:
        """Give the word. Whether an unanswered one arrived, the run's table shows."""
        word = f"{WORD}{uuid4().hex}"
        # Before it is sent: from here on it may have arrived.
        running.word, running.is_held = word, False
        entry.is_posted = True
        if entry.stage == WAITS:
            entry.stage = ""
        grant = Permit(
            target=entry.target,
            progress=entry.progress,
            window=self._ledger.policies.window if entry.progress is TargetProgress.NEW else None,
        )
        try:
            await leave_input(self._client, running.run_id, word, grant.model_dump_json())
        except AWAY as error:
            publish_line("batch", f"part.word_not_sent run={running.run_id} reason={str(error)!r}")

    def _cancelled(self, entry: Entry, why: str) -> RunLostError:
        stands = "nothing of it was begun"
        if entry.dag_id:
            stands = f"DAG {entry.dag_id} goes on by itself: {entry.stage or 'just begun'}"
        elif entry.stage != WAITS:
            stands = f"whether its {entry.words.request} was begun is not known"
        return RunLostError(
            f"{why}; {stands}", "see who cancelled it, then run the same batch again"
        )

    async def _see_whether_it_is_taken(self, seen: WorkerRun, entry: Entry) -> None:
        waited = self._watch.untaken_seconds
        if seen.state is not RunState.SCHEDULED or not waited:
            self._told_waiting = min(self._told_waiting, waited)
            return
        if waited >= self._ledger.policies.workers.wait_seconds:
            raise await no_worker(self._client, self._deployment, waited)
        if waited - self._told_waiting >= TELL_EVERY_SECONDS:
            self._told_waiting = waited
            publish_line(
                "batch",
                f"dispatch.waiting cluster={entry.cluster} "
                f"why='no worker has taken it for {waited:.0f} s'",
                logging.WARNING,
            )

    async def hold(self) -> None:
        """Tell runs not to submit what they have begun and not submitted yet."""
        for running in self._runs.values():
            if running.word and not running.is_held:
                try:
                    await leave_input(self._client, running.run_id, HOLD + running.word, "true")
                except AWAY as error:
                    publish_line(
                        "batch", f"part.hold_not_sent run={running.run_id} reason={str(error)!r}"
                    )
                else:
                    running.is_held = True

    async def release(self) -> None:
        """End the runs of lanes that have no row at work: a worker's place is not for waiting."""
        busy = {e.lane for e in self._ledger.entries if e.state is RowState.RUNNING}
        for lane in [lane for lane in self._runs if lane not in busy]:
            if running := self._drop(lane):
                await self._end(running.run_id)

    async def stop(self) -> None:
        """Tell all runs to stop: the batch is ended. What they have begun goes on in clusters."""
        for running in self._runs.values():
            with suppress(*AWAY):
                await self._client.set_flow_run_state(running.run_id, Cancelling())
        publish_line("batch", f"dispatch.stopped runs={len(self._runs)}")
        while sum(self._hear_last(running) for running in self._runs.values()):
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(*AWAY):
                await self._watch.look()

    def _hear_last(self, running: _Running) -> bool:
        """Take a run's last word about its row; whether it is worth waiting for one."""
        seen = self._watch.now(running.run_id)
        entry = self._entry_of(running, running.target)
        if entry is None or not running.word or entry.state is not RowState.RUNNING:
            return False
        told = seen.told.get(running.target)
        if told and told.word == running.word:
            if told.state in SETTLED:
                apply_result(entry, told)
                return False
            apply_status(entry, told)
        is_over = seen.state not in ON_A_WORKER | {RunState.CANCELLING}
        # Of a row whose DAG is known enough is known: it goes on by itself.
        return entry.dag_id is None and not is_over

    async def _dispatch(self, entry: Entry, called_off: CalledOff) -> _Running | None:
        """Start a run once few others are starting; None: the row may not begin any more."""
        part, running = self._parts[entry.lane], None
        await self._starting.acquire()
        try:
            if entry.progress is TargetProgress.NEW and await called_off():
                return None
            run = await start_run(self._client, self._deployment, part, self._turns[part.id] + 1)
            self._turns[part.id] += 1
            publish_line(
                "batch", f"part.dispatched cluster={entry.cluster} run={run.id} name={run.name!r}"
            )
            running = self._runs[entry.lane] = self._followed(part, run)
            running.is_starting = True
            return running
        finally:
            if running is None:
                self._starting.release()

    def _has_started(self, running: _Running) -> None:
        if running.is_starting:
            running.is_starting = False
            self._starting.release()

    def _followed(self, part: WorkerAssignment, run: FlowRun) -> _Running:
        state = RunState(run.state.type.value) if run.state else RunState.SCHEDULED
        self._watch.follow(run.id, state)
        return _Running(part, run.id)

    def _assigned(self) -> dict[str, WorkerAssignment]:
        lanes: dict[str, list[Entry]] = {}
        for entry in self._ledger.entries:
            lanes.setdefault(entry.lane, []).append(entry)
        return {lane: WorkerAssignment.of(self._ledger.key, each) for lane, each in lanes.items()}

    def _drop(self, lane: str) -> _Running | None:
        running = self._runs.pop(lane, None)
        if running:
            self._has_started(running)
            self._watch.forget(running.run_id)
        return running

    async def _mark_crashed(self, run_id: UUID, why: str) -> None:
        """Say in Prefect that nobody is at work on it, as a worker does that outlives its run."""
        with suppress(*AWAY):
            state: State[None] = Crashed(message=f"Given up by its batch: {why}.")
            await force_flow_run_state(self._client, run_id, state)

    async def _end(self, run_id: UUID) -> None:
        """Let a run end; one that does not hear it ends by itself."""
        with suppress(*AWAY):
            await leave_input(self._client, run_id, END, "true")


@asynccontextmanager
async def dispatching(ledger: Ledger) -> AsyncIterator[Dispatch | None]:
    """Give what hands rows to workers in this block; None where the batch does all itself.

    Raises:
        SpecError: No server is configured.
        DispatchError: It does not answer, refuses, or has no such deployment.
    """
    if ledger.policies.dispatch == "process":
        yield None
        return
    async with get_client() as client:
        deployment = await find_deployment(client, ledger.policies.workers)
        watch = Watch(client, ledger.policies.workers.wait_seconds)
        dispatch = Dispatch(client, ledger, deployment, watch)
        keeper = asyncio.create_task(watch.keep())
        try:
            yield dispatch
        except BaseException:
            with suppress(TimeoutError):
                await asyncio.wait_for(dispatch.stop(), STOP_SECONDS)
            raise
        else:
            await dispatch.release()
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
