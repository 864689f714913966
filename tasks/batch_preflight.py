"""What would go wrong with a batch before anything is sent, and with a row right before it is?"""

import asyncio
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from obscale.batch.ledger import Entry, Ledger, shared_lanes
from obscale.batch.look import ClusterLook, look_at_cluster, unresolved
from obscale.errors import AgentError, PreflightError, SpecError
from obscale.link import Link
from obscale.order import Order
from obscale.rules.preflight.overrides import judge_accepting
from obscale.survey import survey
from tasks.connection import PrefectVault
from tasks.notes import tell
from tasks.preflight import Preflight, concluded
from tasks.retrying import if_transient

CLUSTERS_AT_ONCE: Final = 8
"""Clusters looked at side by side; each asks for several targets at once."""
TIME_LIMIT_SECONDS: Final = 3600
"""Of one cluster's part, however many nodes it has."""


class Part:
    """One cluster's rows on their way into a task; a plain class, see `tasks.batch_row.RowRun`."""

    def __init__(self, name: str, entries: list[Entry]) -> None:
        self.name = name
        self.entries = entries

    def __str__(self) -> str:
        count = len(self.entries)
        return f"{count} node{'s' if count > 1 else ''} for {self.name}"


async def check_names(ledger: Ledger) -> None:
    """See that every stored connection and named secret is there, before anything is asked.

    Raises:
        SpecError: One line for each name that resolves to nothing.
    """
    orders = [(entry.cluster, entry.order) for entry in ledger.entries]
    if problems := await unresolved(orders, PrefectVault()):
        more = len(problems) - 1
        count = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
        raise SpecError(f"{problems[0]}{count}", problems=problems)


async def preflight_all(ledger: Ledger) -> None:
    """Judge every row of every cluster; those that are blocked are marked so. Sends nothing."""
    gate = asyncio.Semaphore(CLUSTERS_AT_ONCE)
    members: dict[str, tuple[str, ...]] = {}

    async def one(name: str, entries: list[Entry]) -> None:
        async with gate:
            try:
                found = await look(Part(name, entries))
            except (AgentError, TimeoutError) as error:
                for entry in entries:
                    entry.refuse(error)
                return
        members[name] = found.members
        ledger.sizes[name] = found.sizes
        for entry, row in zip(entries, found.rows, strict=True):
            entry.standing, entry.verdict = row.standing, row.verdict
            if row.blocked:
                entry.refuse(PreflightError(row.blocked, row.remedy))

    parts = ledger.by_cluster()
    await asyncio.gather(*(one(name, entries) for name, entries in parts.items()))
    lanes = shared_lanes({name: members.get(name, ()) for name in parts})
    for entry in ledger.entries:
        entry.lane = lanes[entry.cluster]
    blocked = sum(bool(entry.note) for entry in ledger.entries)
    tell("preflight", f"preflight.judged nodes={len(ledger.entries)} blocked={blocked}")


@task(
    name="preflight",
    task_run_name="preflight {part}",
    retries=2,
    retry_delay_seconds=[2, 5],
    retry_jitter_factor=0.5,
    retry_condition_fn=if_transient,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def look(part: Part) -> ClusterLook:
    """Read one cluster and all its targets, and judge every rule for each of them.

    Raises:
        AgentError: No entry agent could be asked.
    """
    found = await look_at_cluster([entry.order for entry in part.entries], PrefectVault())
    for entry, row in zip(part.entries, found.rows, strict=True):
        words = f" blocked={row.blocked!r}" if row.blocked else ""
        tell("preflight", f"preflight.row node={entry.target} verdict={row.verdict!r}{words}")
    return found


async def judge_now(link: Link, order: Order) -> Preflight:
    """Judge every rule by fresh facts: between a batch's preflight and a row's turn, hours may lie.

    Raises:
        PreflightError: A rule blocks now.
        AgentError: No entry agent could be asked.
    """
    facts = await survey(link, order)
    findings = judge_accepting(facts, order.profile, order.overrides)
    return concluded(facts, findings)
