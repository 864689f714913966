"""The preflight of one cluster's rows by which nodes leave or are replaced, or tenants change.

It only reads. Rows are looked at one after the other, each as its own command would: there are few
of them in a cluster, and a look at a removal asks about the whole of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from obscale.agent.models import State, Zone, joined_address
from obscale.batch.ledger import FirstRowPreflight
from obscale.batch.links import Links
from obscale.batch.preflight import (
    WHILE_ONE_JOINS,
    ClusterLook,
    RowLook,
    look_at_cluster,
    reasons_of,
)
from obscale.connect.connections import ClusterConnection, SecretStore
from obscale.errors import SpecError
from obscale.events import Event
from obscale.preflight.facts import AT_WORK, TargetProgress
from obscale.preflight.finding import Finding, Findings, line_of
from obscale.removal.decide import is_ours
from obscale.removal.look import read_sighting
from obscale.removal.run import look
from obscale.replacement.judge import judge_replacement
from obscale.replacement.read import read_both
from obscale.request.asked import Order
from obscale.request.removal import Removal
from obscale.request.replacement import Replacement
from obscale.request.scale_out import ScaleOut
from obscale.request.use import Use
from obscale.use.decide import Adopt, AlreadyStored, decide_use
from obscale.use.read import sight
from obscale.use.run import look_before

WHILE_ONE_IS_AT_WORK: Final = WHILE_ONE_JOINS | {"rm-lock", "rm-others-down", "un-job"}
"""Rules that hinder the other rows while one of them is under way; each is judged again when its
turn comes."""


async def look_at_rows(
    orders: Sequence[Order],
    secret_store: SecretStore,
    *,
    will_be_asked: bool,
    opened: ClusterConnection | None = None,
) -> tuple[ClusterLook, FirstRowPreflight | None]:
    """Look at one cluster's rows, of whichever kind; as `look_at_cluster`.

    Raises:
        AgentError: No entry agent of the cluster could be asked.
    """
    joining = [order for order in orders if isinstance(order, ScaleOut)]
    if len(joining) == len(orders):
        return await look_at_cluster(
            joining, secret_store, will_be_asked=will_be_asked, opened=opened
        )
    links = Links.of(secret_store)
    try:
        return await look_at_others(orders, links, will_be_asked=will_be_asked), None
    except SpecError as wrong:
        # Of this cluster alone, say entry agents of two clusters; names were resolved before.
        row = RowLook(TargetProgress.NEW, "blocked", wrong.message, wrong.hint)
        return ClusterLook((row,) * len(orders)), None


async def look_at_others(
    orders: Sequence[Order], links: Links, *, will_be_asked: bool
) -> ClusterLook:
    """Look at one cluster's rows that add no node.

    Raises:
        AgentError: No entry agent of the cluster could be asked.
    """
    rows: list[RowLook] = []
    zones: tuple[Zone, ...] = ()
    for order in orders:
        match order:
            case Removal():
                row, seen = await _look_at_removal(order, links, will_be_asked=will_be_asked)
            case Use():
                row, seen = await _look_at_use(order, links, will_be_asked=will_be_asked)
            case Replacement():
                row, seen = await _look_at_both(order, links, will_be_asked=will_be_asked)
            case ScaleOut():
                raise TypeError(f"{order.target} joins: look_at_cluster looks at it")
        rows.append(row)
        zones = seen or zones
    if any(row.progress in AT_WORK for row in rows):
        rows = [row.cleared() if row.blockers <= WHILE_ONE_IS_AT_WORK else row for row in rows]
    return ClusterLook(
        rows=tuple(rows),
        members=tuple(
            joined_address(server.ip, server.svr_port) for zone in zones for server in zone.servers
        ),
        sizes={zone.name: len(zone.servers) for zone in zones},
    )


Seen = tuple[RowLook, tuple[Zone, ...]]
"""What is kept of one row, and the cluster's zones."""


async def _look_at_removal(order: Removal, links: Links, *, will_be_asked: bool) -> Seen:
    async with links.removal(order) as link:
        found = await look(link, order, _unheard, will_be_asked=will_be_asked)
        stands_failed = False
        if found.progress in AT_WORK:
            sighting = await read_sighting(link)
            ours = [dag for dag in sighting.dags() if is_ours(dag, sighting, order)]
            stands_failed = any(dag.state is State.FAILED for dag in ours)
    findings = found.seen.findings
    row = row_look(findings, found.progress, found.blockers, stands_failed=stands_failed)
    return row, found.seen.before.zones


async def _look_at_both(order: Replacement, links: Links, *, will_be_asked: bool) -> Seen:
    """Judge both halves; where the first is done the second by itself, as it comes next."""
    async with links.addition(order.addition) as joining, links.removal(order.removal) as leaving:
        leaving.cluster.leave_out(order.leaving)
        facts = await read_both(joining, leaving, order, _unheard)
        plan = judge_replacement(facts, will_be_asked=will_be_asked)
        findings, blockers = plan.findings, plan.hindrances().items
        adding, second = findings.progress, facts.progress()
        if adding is TargetProgress.MEMBER and not plan.is_gone:
            found = await look(leaving, order.removal, _unheard, will_be_asked=will_be_asked)
            findings, blockers = found.seen.findings, (*blockers, *found.blockers)
            second = found.progress
    progress = TargetProgress.NEW
    if adding is TargetProgress.MEMBER and second is TargetProgress.GONE:
        progress = TargetProgress.GONE
    elif adding is TargetProgress.UNDER_WAY or second is TargetProgress.LEAVING:
        progress = TargetProgress.UNDER_WAY
    return row_look(findings, progress, blockers), facts.addition.cluster.zones()


async def _look_at_use(order: Use, links: Links, *, will_be_asked: bool) -> Seen:
    async with links.use(order) as link:
        try:
            seen = await look_before(link, order, will_be_asked=will_be_asked)
        except SpecError as missing:
            return RowLook(TargetProgress.NEW, "blocked", missing.message, missing.hint), ()
        decision = decide_use(await sight(link, order), order)
    progress = TargetProgress.NEW
    if isinstance(decision, AlreadyStored):
        progress = TargetProgress.STORED
    if isinstance(decision, Adopt):
        progress = TargetProgress.UNDER_WAY
    findings = seen.findings
    row = row_look(findings, progress, findings.blockers)
    return replace(row, does=seen.gain), seen.zones


def row_look(
    findings: Findings,
    progress: TargetProgress,
    blockers: Sequence[Finding],
    *,
    stands_failed: bool = False,
) -> RowLook:
    """Keep what a batch needs of one row.

    Args:
        findings: Of the row.
        progress: How far it is.
        blockers: What holds it back.
        stands_failed: Its DAG is FAILED.
    """
    cures = dict.fromkeys(finding.remedy for finding in blockers if finding.remedy)
    return RowLook(
        progress=progress,
        verdict=findings.verdict,
        blocked=reasons_of(blockers),
        remedy="; also: ".join(cures),
        blockers=frozenset(finding.rule for finding in blockers),
        stands_failed=stands_failed,
        unknown=findings.unknown if progress is TargetProgress.NEW else (),
        warnings=tuple(map(line_of, findings.warnings)),
    )


def _unheard(_event: Event) -> None:
    """What is waited for while a batch looks is told by its rows' own looks."""
