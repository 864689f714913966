"""What would be asked, and what would go wrong: preflight alone, as data?"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from obscale.link import Vault, connected
from obscale.order import Order
from obscale.report import ServerRow, server_rows
from obscale.rules.preflight.finding import Finding
from obscale.rules.preflight.overrides import judge_accepting
from obscale.survey import survey

SCHEMA_VERSION: Final = 1
"""Raised when a field of the JSON plan changes its meaning or goes away."""


class RowPlan(BaseModel):
    """One node of a plan: what is asked, what was found."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    target: str
    zone: str
    obConfigs: dict[str, str]  # noqa: N815 - spelled as the API spells it
    verdict: str
    ready: bool
    findings: tuple[Finding, ...]
    topology: tuple[ServerRow, ...]


class Plan(BaseModel):
    """All nodes of a request, judged one by one. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    made_at: datetime
    profile: str
    ready: bool
    rows: tuple[RowPlan, ...]


async def make_plan(orders: Sequence[Order], vault: Vault) -> Plan:
    """Read every cluster and target and judge every rule; writes nothing anywhere.

    Raises:
        SpecError: A name in the request resolves to nothing.
        AgentError: No entry agent of a cluster could be asked.
    """
    rows = [await _plan_row(order, vault) for order in orders]
    return Plan(
        made_at=datetime.now(UTC),
        profile=orders[0].profile,
        ready=all(row.ready for row in rows),
        rows=tuple(rows),
    )


async def _plan_row(order: Order, vault: Vault) -> RowPlan:
    async with connected(order, vault) as link:
        facts = await survey(link, order)
    findings = judge_accepting(facts, order.profile, order.overrides)
    return RowPlan(
        cluster=order.cluster_name,
        target=order.target,
        zone=order.node.zone,
        obConfigs=order.node.obConfigs,
        verdict=findings.verdict,
        ready=not findings.blockers,
        findings=tuple(findings.by_weight()),
        topology=server_rows(facts.cluster.zones()),
    )
