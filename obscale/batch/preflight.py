"""The preflight of one cluster's rows of a batch; it only reads.

Facts are judged and dropped: what is kept of a node is a few lines, however many there are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from obscale.agent.models import ClusterInfo, Dag, Identity, State
from obscale.batch.connections import SEEN_SECONDS, Kept
from obscale.batch.ledger import Entry, FirstRowPreflight, Ledger, shared_lanes
from obscale.batch.process_limits import clusters_within_limit
from obscale.batch.schedule import Row, next_of
from obscale.batch.slots import JUDGING_SECONDS, PrioritySlots, Slot
from obscale.connect.connections import (
    ClusterConnection,
    Connections,
    SecretStore,
    known_cluster,
    resolve_secret,
)
from obscale.errors import AgentError, PreflightError, SpecError
from obscale.events import Publish
from obscale.plan import survey_all
from obscale.preflight.facts import ClusterFacts, Facts, TargetProgress, asked_port
from obscale.preflight.finding import Answer, Finding, Findings
from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.result import Preflight, conclude
from obscale.preflight.run import concluded, judged, read_facts
from obscale.preflight.unjudged import held_back
from obscale.reading import Unread
from obscale.request.asked import Order
from obscale.request.models import SecretName
from obscale.request.replacement import ReplacedNode, Replacement
from obscale.request.scale_out import ScaleOut
from obscale.spec.batch import MAX_PROBLEMS
from obscale.spec.problems import refused
from obscale.verify.run import Verification

CLUSTERS_AT_ONCE: Final = 4
"""Clusters looked at side by side; each asks some fifty questions, several targets at once. With
eight, a busy machine did not read every answer within the seconds it may take."""
MOST_CLUSTERS_AT_ONCE: Final = 32
"""Where answers take longer than this process needs for them."""
ROWS_AT_ONCE: Final = 200
"""Nodes whose facts are held at the same time; a cluster that gets more is read once more."""
WHILE_ONE_JOINS: Final = frozenset(
    {
        "cluster-maintenance",
        "cluster-unfinished-dag",
        "cluster-members-healthy",
        "zone-exists-active",
    }
)
"""Rules that hinder the other rows while one of them is under way; each is judged again when its
turn comes."""


@dataclass(frozen=True)
class RowLook:
    """What preflight says of one node."""

    progress: TargetProgress
    verdict: str
    blocked: str = ""
    """What forbids it, in one line; empty: nothing."""
    remedy: str = ""
    blockers: frozenset[str] = frozenset()
    """Ids of the rules that forbid it."""
    stands_failed: bool = False
    """Its DAG is FAILED."""
    unknown: tuple[str, ...] = ()
    """Ids of the rules that could forbid it and could not be judged."""
    differs: str = ""
    """Values in which a member is not as asked, so that its verification would fail."""
    differs_remedy: str = ""
    does: str = ""
    """What of a tenant it would change, in words."""
    warnings: tuple[str, ...] = ()
    """What a person should know before nodes leave or units move, one line each."""

    def cleared(self) -> "RowLook":
        """Give it without what forbids it."""
        return replace(self, blocked="", remedy="", blockers=frozenset())


@dataclass(frozen=True)
class ClusterLook:
    """What preflight says of a cluster's nodes, in their order."""

    rows: tuple[RowLook, ...]
    members: tuple[str, ...] = ()
    """`ip:port` of the agents the cluster lists."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Servers of each zone."""


async def look_at_cluster(
    orders: Sequence[ScaleOut],
    secret_store: SecretStore,
    *,
    will_be_asked: bool,
    opened: ClusterConnection | None = None,
) -> tuple[ClusterLook, FirstRowPreflight | None]:
    """Read a cluster and all the targets that are to join it, and judge every rule.

    Args:
        orders: Of one cluster, at least one.
        secret_store: Where their names resolve.
        will_be_asked: Whether a person is shown what was found before anything is begun; else what
            could not be judged, and nobody has acknowledged, forbids a row.
        opened: Connections to the cluster that are open, and stay so; None: they are opened here.

    Returns:
        The look, and what was seen of the node that would go first; None where none may.

    Raises:
        AgentError: No entry agent of the cluster could be asked.
    """
    if not orders:
        return ClusterLook(()), None
    rows: list[RowLook] = []
    facts: list[Facts] = []
    judged: list[Findings] = []
    for first in range(0, len(orders), ROWS_AT_ONCE):
        some = orders[first : first + ROWS_AT_ONCE]
        facts = list(await survey_all(some, secret_store, opened=opened))
        judged = [
            _judged(order, each, will_be_asked=will_be_asked)
            for order, each in zip(some, facts, strict=True)
        ]
        rows += [
            _row_look(findings, stands_failed=_stands_failed(each))
            for findings, each in zip(judged, facts, strict=True)
        ]
    cluster = facts[-1].cluster
    listed = () if isinstance(cluster.ob_info, Unread) else cluster.ob_info.agent_info
    if any(row.progress is TargetProgress.UNDER_WAY for row in rows):
        rows = [row.cleared() if row.blockers <= WHILE_ONE_JOINS else row for row in rows]
    look = ClusterLook(
        rows=tuple(rows),
        members=tuple(row.address for row in listed if row.identity is Identity.CLUSTER_AGENT),
        sizes=_sizes(cluster, orders, rows),
    )
    if len(orders) > ROWS_AT_ONCE:
        # The cluster was read more than once: what was read first is not the newest.
        return look, None
    at = _first_of(orders, look)
    if at is None:
        return look, None
    first_facts = facts[at]
    return look, FirstRowPreflight(
        at, conclude(first_facts, judged[at]), first_facts.cluster.lasting()
    )


def _judged(order: ScaleOut, facts: Facts, *, will_be_asked: bool) -> Findings:
    findings = judge_with_overrides(facts, order.profile, order.overrides)
    if will_be_asked:
        return findings
    return held_back(findings, allow_unknown=order.allow_unknown)


def _first_of(orders: Sequence[ScaleOut], look: ClusterLook) -> int | None:
    """Give the place of the row that would go first, if preflight forbids it nothing."""
    waiting = [
        Row(at, "", order.node.zone, order.target, progress=row.progress)
        for at, (order, row) in enumerate(zip(orders, look.rows, strict=True))
        if not row.blocked
    ]
    return next_of(waiting, look.sizes).number if waiting else None


def _sizes(
    cluster: ClusterFacts, orders: Sequence[ScaleOut], rows: Sequence[RowLook]
) -> dict[str, int]:
    """Count each zone's servers; one that a DAG is still adding is not there before the batch."""
    coming = {
        (order.node.agentInfo.ip, asked_port(order.node, "rpc_port"))
        for order, row in zip(orders, rows, strict=True)
        if row.progress is TargetProgress.UNDER_WAY
    }
    return {
        zone.name: sum((server.ip, server.svr_port) not in coming for server in zone.servers)
        for zone in cluster.zones()
    }


def _stands_failed(facts: Facts) -> bool:
    dag = facts.own_dag()
    return dag is not None and dag.state is State.FAILED


def _row_look(findings: Findings, *, stands_failed: bool = False) -> RowLook:
    """Keep what a batch needs of one node's findings.

    Args:
        findings: Of the node.
        stands_failed: Its DAG is FAILED.
    """
    unlike = [finding for finding in findings.differing if finding.answer is Answer.WARN]
    if not findings.blockers or findings.progress is TargetProgress.MEMBER:
        return RowLook(
            findings.progress,
            findings.verdict,
            stands_failed=stands_failed,
            unknown=findings.unknown,
            differs="; ".join(finding.measured for finding in unlike),
            differs_remedy=unlike[0].remedy if unlike else "",
        )
    return RowLook(
        progress=findings.progress,
        verdict=findings.verdict,
        blocked=reasons_of(findings.blockers),
        remedy=findings.remedies,
        blockers=frozenset(finding.rule for finding in findings.blockers),
        stands_failed=stands_failed,
    )


def reasons_of(blockers: Iterable[Finding]) -> str:
    """Say what forbids a row, in one line."""
    return "; ".join(
        f"{f.rule}: {f.measured}" + (f"; needed {f.needed}" if f.needed else "") for f in blockers
    )


Looking = Callable[[str, Sequence[Entry]], Awaitable[tuple[ClusterLook, FirstRowPreflight | None]]]
"""Looks at one cluster's rows."""


async def judge_all(ledger: Ledger, looking: Looking) -> None:
    """Judge every row of every cluster and write it into the ledger. Sends nothing.

    A cluster that cannot be read blocks its own rows only.
    """
    gate = PrioritySlots(CLUSTERS_AT_ONCE, clusters_within_limit(MOST_CLUSTERS_AT_ONCE))
    members: dict[str, tuple[str, ...]] = {}

    async def one(name: str, entries: Sequence[Entry]) -> None:
        async with Slot(gate, name, JUDGING_SECONDS):
            try:
                found, first = await looking(name, entries)
            except (AgentError, TimeoutError) as error:
                for entry in entries:
                    entry.refuse(error)
                return
        members[name] = found.members
        ledger.forget_looks()
        if first and len(ledger.looks) < ledger.policies.max_clusters_at_once:
            ledger.looks[name] = entries[first.at], first
        ledger.sizes[name] = found.sizes
        for entry, row in zip(entries, found.rows, strict=True):
            entry.progress, entry.verdict = row.progress, row.verdict
            entry.stands_failed, entry.unknown = row.stands_failed, row.unknown
            entry.differs, entry.differs_remedy = row.differs, row.differs_remedy
            entry.does, entry.warnings = row.does, row.warnings
            if row.blocked:
                entry.refuse(PreflightError(row.blocked, row.remedy))

    parts = ledger.by_cluster()
    await asyncio.gather(*(one(name, entries) for name, entries in parts.items()))
    lanes = shared_lanes({name: members.get(name, ()) for name in parts})
    for entry in ledger.entries:
        entry.lane = lanes[entry.cluster]
    for name, lane in lanes.items():
        if name != lane:
            # Under two names each has a first row, and one of them is the second.
            ledger.looks.pop(name, None)
            ledger.looks.pop(lane, None)


async def check_names(ledger: Ledger, secret_store: SecretStore) -> None:
    """See that every stored connection and named secret is there, each looked up once.

    Raises:
        SpecError: One line for each name that resolves to nothing.
    """
    problems: list[str] = []
    clusters: set[str] = set()
    secrets: set[SecretName] = set()
    for entry in ledger.entries:
        label, order = entry.cluster, entry.order
        if label not in clusters:
            clusters.add(label)
            problems += await _problem(known_cluster(order.cluster, secret_store), label, order)
        for name in _agent_passwords(order):
            if name not in secrets:
                secrets.add(name)
                problems += await _problem(
                    resolve_secret(name, secret_store, "targetAgentPassword"), label, order
                )
    if problems:
        raise refused(problems, MAX_PROBLEMS)


def _agent_passwords(order: Order) -> Iterator[SecretName]:
    """Give where the password of the agent that joins is kept, if it has one."""
    match order:
        case ScaleOut(node=joining) | Replacement(pair=ReplacedNode(by=joining)):
            if joining.targetAgentPassword is not None:
                yield joining.targetAgentPassword
        case _:
            pass


async def _problem(resolving: Awaitable[object], label: str, order: Order) -> list[str]:
    try:
        await resolving
    except SpecError as error:
        return [f"{order.target} of cluster {label}: {error}"]
    return []


async def judge_now(link: Connections, order: ScaleOut, kept: Kept, publish: Publish) -> Preflight:
    """Judge every rule by fresh facts: between a batch's preflight and a row's turn, hours may lie.

    Args:
        link: Open connections.
        order: Of the row.
        kept: Its cluster; what an earlier row has learned of it and what lasts is not asked again,
            nor anything of it where the row before has just been proved there.
        publish: Gets each event.

    Raises:
        PreflightError: A rule blocks now.
        AgentError: No entry agent could be asked.
    """
    seen, age_seconds = kept.take_seen()
    facts = await read_facts(link, order, publish, kept.lasting, seen)
    kept.lasting = facts.cluster.lasting()
    found = conclude(facts, judged(order, facts))
    # A look is as old as the oldest part of it.
    return concluded(replace(found, at=found.at - timedelta(seconds=age_seconds)), publish)


def seen_by_proof(
    lasting: ClusterFacts | None, link: Connections, proof: Verification, dag: Dag | None
) -> ClusterFacts | None:
    """Put together all of a cluster that the proof of a row has just seen, for the next row.

    Args:
        lasting: What was known of it before and lasts.
        link: Over which the proof was had.
        proof: Of a row that is verified.
        dag: That of the row; None: it had none, so which is the newest is not known.

    Returns:
        None where a part is missing, or something is going on in the cluster: then it is asked.
    """
    entry, told = link.cluster.current.address, link.told_members(SEEN_SECONDS)
    known = proof.around.cluster if proof.around else None
    if (
        lasting is None
        or lasting.entry != str(entry)
        or told is None
        or not isinstance(known, ClusterInfo)
        or proof.after.unfinished != ()
        or dag is None
    ):
        return None
    return replace(
        lasting,
        ob_info=told[1],
        cluster_info=known,
        topology=known.zones,
        unfinished=(),
        last_dag=dag,
    )
