"""The plan of a scale-out as data: the request, the findings, and the cluster after it."""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Disk
from obscale.connect.connections import (
    ClusterConnection,
    SecretStore,
    cluster_connected,
    target_connected,
)
from obscale.plan.forecast import Forecast, forecast_of
from obscale.plan.preview import RequestPreview, preview_of
from obscale.plan.snapshot import Snapshot, snapshot_of, topology_hash
from obscale.preflight.capacity import Capacity, capacity_of
from obscale.preflight.checklist import CHECKLIST
from obscale.preflight.difference import Difference, differences_of
from obscale.preflight.disk_room import DiskRoom, disk_rooms_of
from obscale.preflight.facts import Facts, PreviousReading, TargetProgress
from obscale.preflight.finding import (
    AS_ASKED,
    Answer,
    Finding,
    Findings,
    verdict_of_members,
)
from obscale.preflight.judge import judge_with_overrides, unneeded
from obscale.preflight.read import survey, survey_joining, with_sure_clocks
from obscale.preflight.settle import settled
from obscale.preflight.unjudged import ALLOW, held_back
from obscale.reading import Unread
from obscale.report.servers import ServerRow, server_rows
from obscale.request.models import DefaultsSpec, Profile
from obscale.request.scale_out import ScaleOut

__all__ = ["SCHEMA_VERSION", "Check", "Plan", "RowPlan", "make_plan", "plan_of", "survey_all"]

SCHEMA_VERSION: Final = 1
"""Raised when a field of the JSON plan changes its meaning or goes away."""
TARGETS_AT_ONCE: Final = 8
"""Targets surveyed side by side; each costs about ten questions."""
NO_DEFAULTS: Final = DefaultsSpec()
NEVER_BEFORE: Final[Mapping[str, PreviousReading]] = {}
DEFAULT_RPC_PORT: Final = 2882


class RowPlan(BaseModel):
    """One node of a plan: what is asked, what was found."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    target: str
    zone: str
    obConfigs: dict[str, str]  # noqa: N815 - spelled as the API spells it
    request: RequestPreview
    progress: TargetProgress
    verdict: str
    ready: bool
    unknown: tuple[str, ...]
    """Ids of the rules that could block and could not be judged, and that no override accepts."""
    differences: tuple[Difference, ...]
    """Values in which a member is not as it is asked for."""
    findings: tuple[Finding, ...]
    topology: tuple[ServerRow, ...]
    disk_rooms: tuple[DiskRoom, ...] = ()
    """Disks of the node that do not fit, or may not."""


class Check(BaseModel):
    """One line of what a person must look at, because obshell does not show it."""

    model_config = ConfigDict(frozen=True)

    claim: str
    how: str


class Plan(BaseModel):
    """All nodes of a request, judged one by one. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    made_at: datetime
    cluster: str
    """`name/id` as the cluster itself says."""
    profile: Profile
    verdict: str
    ready: bool
    next: str
    """The one thing to do now: a command, or the first blocker's remedy."""
    rows: tuple[RowPlan, ...]
    unknown: tuple[str, ...]
    """Of all rows. In production a run without a person is held back by them, see `held_back`."""
    forecast: Forecast | None
    """None where the topology could not be read."""
    capacity: Capacity | None = None
    """Of the cluster now, and once all nodes have joined; None likewise."""
    overrides_not_needed: tuple[str, ...]
    checklist: tuple[Check, ...]
    snapshot: Snapshot
    topology_hash: str
    disks: dict[str, tuple[Disk, ...]]
    """Of each target whose machine could be read, by `ip:port`, as `df -h` tells them."""


async def make_plan(
    orders: Sequence[ScaleOut],
    secret_store: SecretStore,
    *,
    defaults: DefaultsSpec = NO_DEFAULTS,
    source: Sequence[str] = ("SPEC",),
    earlier: Mapping[str, PreviousReading] = NEVER_BEFORE,
) -> Plan:
    """Read the cluster and every target and judge every rule; writes nothing anywhere.

    Args:
        orders: Of one request, so of one cluster.
        secret_store: Where the names in it resolve.
        defaults: Of the request; they are merged already, this says what came from them.
        source: The words that name the request in the next command, its file first.
        earlier: Looks at these targets that were decided on, by `ip:port`.

    Raises:
        SpecError: A name in the request resolves to nothing.
        AgentError: No entry agent of the cluster could be asked.
    """
    facts = await survey_all(orders, secret_store, earlier)
    return plan_of(orders, facts, defaults=defaults, source=source)


async def survey_all(
    orders: Sequence[ScaleOut],
    secret_store: SecretStore,
    earlier: Mapping[str, PreviousReading] = NEVER_BEFORE,
    opened: ClusterConnection | None = None,
) -> tuple[Facts, ...]:
    """Read the cluster once and every target; the facts come in the order of the orders.

    A scale-out that has just begun is waited for until it tells whose it is.

    Args:
        orders: As for `make_plan`.
        secret_store: As for `make_plan`.
        earlier: As for `make_plan`.
        opened: Connections to the cluster that are open, and stay so; None: they are opened here.
            Of a batch: an entry agent that another one lists is not asked for its own list.

    Raises:
        SpecError: A name in the request resolves to nothing.
        AgentError: No entry agent of the cluster could be asked.
    """
    async with AsyncExitStack() as stack:
        is_of_batch = opened is not None
        if opened is None:
            opening = cluster_connected(orders[0].cluster, secret_store)
            opened = await stack.enter_async_context(opening)
        opened.client.leave_out({each for order in orders for each in order.not_asked})
        once = partial(_survey_once, orders, opened, secret_store, earlier, is_of_batch)
        return await settled(once, orders[0])


async def _survey_once(
    orders: Sequence[ScaleOut],
    cluster: ClusterConnection,
    secret_store: SecretStore,
    earlier: Mapping[str, PreviousReading],
    is_list_enough: bool,
) -> tuple[Facts, ...]:
    async with target_connected(orders[0], cluster, secret_store) as link:
        before = earlier.get(orders[0].target)
        first = await survey(link, orders[0], earlier=before, is_list_enough=is_list_enough)
    gate = asyncio.Semaphore(TARGETS_AT_ONCE)

    async def further(order: ScaleOut) -> Facts:
        before = earlier.get(order.target)
        async with gate, target_connected(order, cluster, secret_store) as link:
            facts = replace(
                first,
                node=order.node,
                target=await survey_joining(link, order, before),
                has_target_password=link.target_password is not None,
                judged_before=before.at if before else None,
            )
            return await with_sure_clocks(link, facts)

    return (first, *await asyncio.gather(*map(further, orders[1:])))


def plan_of(
    orders: Sequence[ScaleOut],
    facts: Sequence[Facts],
    *,
    defaults: DefaultsSpec = NO_DEFAULTS,
    source: Sequence[str] = ("SPEC",),
) -> Plan:
    """Judge facts and make a plan of them; for the arguments see `make_plan`."""
    judged = [
        judge_with_overrides(each, order.profile, order.overrides)
        for order, each in zip(orders, facts, strict=True)
    ]
    rows = tuple(
        _row(order, each, findings, defaults)
        for order, each, findings in zip(orders, facts, judged, strict=True)
    )
    snapshot = snapshot_of(facts)
    is_held = any(
        held_back(findings, allow_unknown=order.allow_unknown) is not findings
        for order, findings in zip(orders, judged, strict=True)
    )
    every = [finding for findings in judged for finding in findings]
    return Plan(
        made_at=datetime.now(UTC),
        cluster=snapshot.cluster,
        profile=orders[0].profile,
        verdict=_verdict(rows, judged),
        ready=all(row.ready for row in rows),
        next=_next(rows, source, is_held=is_held),
        rows=rows,
        unknown=tuple(dict.fromkeys(rule for row in rows for rule in row.unknown)),
        forecast=forecast_of(facts),
        capacity=capacity_of(facts),
        overrides_not_needed=unneeded(every, orders[0].overrides),
        checklist=_checklist(facts),
        snapshot=snapshot,
        topology_hash=topology_hash(snapshot),
        disks={
            order.target: each.target.host.disks
            for order, each in zip(orders, facts, strict=True)
            if not isinstance(each.target.host, Unread)
        },
    )


def _row(order: ScaleOut, facts: Facts, findings: Findings, defaults: DefaultsSpec) -> RowPlan:
    differences = differences_of(facts)
    return RowPlan(
        cluster=order.cluster_name,
        target=order.target,
        zone=order.node.zone,
        obConfigs=order.node.obConfigs,
        request=preview_of(facts, defaults),
        progress=findings.progress,
        verdict=findings.verdict,
        # The flow goes on to verify a member, whatever would forbid adding it again.
        ready=not any(each.hinders for each in differences)
        if findings.already_member
        else not findings.blockers,
        unknown=findings.unknown,
        differences=differences,
        findings=findings.by_weight(),
        topology=server_rows(facts.cluster.zones()),
        disk_rooms=disk_rooms_of(facts),
    )


def _verdict(rows: Sequence[RowPlan], judged: Sequence[Findings]) -> str:
    """Say the verdict of all nodes in the words of one; a finding they share counts once."""
    if all(row.progress is TargetProgress.MEMBER for row in rows):
        return verdict_of_members(sum(len(row.differences) for row in rows))
    blocked = [row for row in rows if not row.ready]
    if blocked:
        return "blocked" if len(rows) == 1 else f"blocked: {len(blocked)} of {len(rows)} nodes"
    if len(rows) == 1 and rows[0].progress is TargetProgress.UNDER_WAY:
        return "under way"
    shared = {
        (f.rule, f.measured, f.subject if f.overridden_by else ""): f
        if j.progress is TargetProgress.NEW
        else f.model_copy(update={"unjudged": ()})
        for j in judged
        for f in j
    }
    return Findings(tuple(shared.values()), judged[0].profile).verdict


def _next(rows: Sequence[RowPlan], source: Sequence[str], *, is_held: bool) -> str:
    for row in rows:
        if not row.ready:
            first = next(filter(_is_difference, row.findings), row.findings[0])
            where = f" ({row.target})" if len(rows) > 1 else ""
            cure = first.remedy or f"mend {first.rule}: needed {first.needed}"
            return f"{cure}{where}, then plan again"
    asks = f", which asks about the unknown; with --yes, or deployed, only by {ALLOW} or overrides"
    # A file's name may hold bytes of another encoding, and no report may hold half a character.
    shown = shlex.join(word.encode(errors="backslashreplace").decode() for word in source)
    return f"obscale apply {shown}{asks if is_held else ''}"


def _is_difference(finding: Finding) -> bool:
    return finding.rule == AS_ASKED and finding.answer is Answer.WARN


def _checklist(facts: Sequence[Facts]) -> tuple[Check, ...]:
    homes = {
        each.target.info.home_path for each in facts if not isinstance(each.target.info, Unread)
    }
    ports = {each.rpc_port for each in facts}
    home = homes.pop() if len(homes) == 1 else ""
    port = ports.pop() if len(ports) == 1 else None
    return tuple(
        Check(claim=line.claim, how=line.told(home or "HOME", port or DEFAULT_RPC_PORT))
        for line in CHECKLIST
    )
