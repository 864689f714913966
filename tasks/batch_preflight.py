"""Judges a batch before anything is sent."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from obscale.batch.confirm import is_confirmed, page_of_question, word_of, would_leave
from obscale.batch.connections import ConnectionCache
from obscale.batch.kinds import counted
from obscale.batch.ledger import Entry, FirstRowPreflight, Ledger
from obscale.batch.preflight import ClusterLook, check_names, judge_all
from obscale.batch.preflight_others import look_at_rows
from obscale.batch.schedule import RowState
from obscale.connect.connections import ClusterConnection
from obscale.request.scale_out import ScaleOut
from obscale.tasks.removal import ask_typed
from obscale.tasks.runtime.blocks import PrefectSecrets
from obscale.tasks.runtime.journal import publish_line
from obscale.tasks.runtime.prefect_private import tag_task_run
from obscale.tasks.runtime.retries import repeatable_task
from obscale.text import for_terminal

TIME_LIMIT_SECONDS: Final = 3600
"""Of one cluster's part, however many nodes it has."""


class Part:
    """One cluster's rows on their way into a task; a plain class, as `RowRun` of batch_row is."""

    def __init__(
        self, name: str, entries: Sequence[Entry], clusters: ConnectionCache | None
    ) -> None:
        self.name = name
        self.entries = entries
        self._clusters = clusters
        self.first: FirstRowPreflight | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[ClusterConnection | None]:
        """Open the cluster's connections where its first row is to have them too; else None."""
        first = self.entries[0].order
        if self._clusters is None or not isinstance(first, ScaleOut):
            yield None
            return
        async with self._clusters.cluster(self.name, first) as opened:
            yield opened

    def __str__(self) -> str:
        rows = counted(self.entries[0].kind, len(self.entries))
        return for_terminal(f"{rows} for {self.name}")


async def preflight_all(ledger: Ledger, clusters: ConnectionCache | None = None) -> None:
    """Judge every row of every cluster; those that are blocked are marked so. Sends nothing.

    Args:
        ledger: Of the batch.
        clusters: Keeps the connections of those clusters whose first row can begin at once; None:
            rows are carried out elsewhere, so all are closed.

    Raises:
        SpecError: A stored connection or a named secret is not there; nothing was asked.
    """
    await check_names(ledger, PrefectSecrets())

    async def looking(
        name: str, entries: Sequence[Entry]
    ) -> tuple[ClusterLook, FirstRowPreflight | None]:
        begins = len(ledger.looks) < ledger.policies.max_clusters_at_once
        part = Part(name, entries, clusters if begins else None)
        return await look(part), part.first

    await judge_all(ledger, looking)
    blocked = ledger.counts()[RowState.BLOCKED]
    words = f"preflight.judged nodes={len(ledger.entries)} blocked={blocked}"
    publish_line("preflight", words, _severity(bool(blocked)))


async def ask_if_nodes_leave(ledger: Ledger, seconds: int) -> None:
    """Pause the run until a person types how many nodes leave; nobody is asked where none would.

    Args:
        ledger: Judged.
        seconds: For how long is waited.

    Raises:
        RejectedError: Something else was typed.
        NotApprovedError: Nobody answered in time.
    """
    word = word_of(ledger)
    if word and would_leave(ledger):
        page = page_of_question(ledger)
        await ask_typed(word, page, seconds, lambda typed: is_confirmed(ledger, typed))


@repeatable_task("preflight", run_name="preflight {part}", timeout_seconds=TIME_LIMIT_SECONDS)
async def look(part: Part) -> ClusterLook:
    """Read one cluster and all its targets, and judge every rule for each of them.

    What was seen of the row that would go first stays with the part: Prefect keeps results.

    Raises:
        AgentError: No entry agent could be asked.
    """
    tag_task_run({for_terminal(f"cluster:{part.name}")})
    orders = [entry.order for entry in part.entries]
    async with part.opened() as opened:
        found, part.first = await look_at_rows(
            orders, PrefectSecrets(), will_be_asked=False, opened=opened
        )
    for entry, row in zip(part.entries, found.rows, strict=True):
        words = f" blocked={row.blocked!r}" if row.blocked else ""
        said = f"preflight.row node={entry.target} verdict={row.verdict!r}{words}"
        publish_line("preflight", said, _severity(bool(row.blocked)))
    return found


def _severity(is_blocked: bool) -> int:
    return logging.WARNING if is_blocked else logging.INFO
