"""The facts about one change of a tenant's units that its rules judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from obscale.agent.models import Dag, Server, Zone
from obscale.agent.resources import Tenant, TenantPool
from obscale.preflight.facts import ClusterFacts, TargetProgress, server_address
from obscale.reading import NOT_ASKED, Unread
from obscale.request.use import Use
from obscale.use.placement import Placement, placement_of
from obscale.use.tenant_dag import is_of_tenant, number_of


@dataclass(frozen=True)
class UseFacts:
    """Everything the rules of a use judge.

    Args:
        order: What is asked for.
        cluster: As one entry agent answered.
        tenant: `GET /tenant/{name}`.
        expected_name: Name the cluster must have; None: not said.
        expected_id: Id the cluster must have; None: not said.
        now: This machine's clock when all was read, aware.
    """

    order: Use
    cluster: ClusterFacts
    tenant: Tenant | Unread = NOT_ASKED
    expected_name: str | None = None
    expected_id: int | None = None
    now: datetime | None = None

    @property
    def subject(self) -> str:
        """What a finding is about where it does not say otherwise."""
        return self.order.target

    def progress(self) -> TargetProgress:
        """A use is judged as a new one: what runs already is adopted before the request."""
        return TargetProgress.NEW

    @property
    def pools(self) -> tuple[TenantPool, ...]:
        """Pools of the tenant; none where it could not be read."""
        return () if isinstance(self.tenant, Unread) else self.tenant.pools

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones of the tenant, in order."""
        return zones_of(self.pools)

    @property
    def unit_num(self) -> int | None:
        """How many units it has in each zone as stored; None: unread, or its pools differ."""
        return unit_num_of(self.pools)

    @property
    def placement(self) -> Placement:
        """Where its units are."""
        return placement_of(self.pools, self.cluster.zones())

    def servers_of(self, name: str) -> tuple[tuple[Zone, Server], ...]:
        """Give the servers of a zone."""
        return tuple((zone, server) for zone, server in self.cluster.servers() if zone.name == name)

    def tenant_values(self, name: str) -> frozenset[str]:
        """Give the values a parameter has for this tenant, lower case; empty: not told."""
        row = self.cluster.parameter(name)
        if row is None or isinstance(self.tenant, Unread):
            return frozenset()
        number = self.tenant.tenant_id
        return frozenset(
            value.value.lower() for value in row.ob_parameters if value.tenant_id == number
        )

    def own_dags(self) -> tuple[Dag, ...]:
        """Give the cluster's unfinished DAGs of this tenant."""
        if isinstance(self.cluster.unfinished, Unread):
            return ()
        return tuple(d for d in self.cluster.unfinished if is_of_tenant(d, self.order.tenant))

    def is_under_way(self) -> bool:
        """Whether a DAG that runs is known to bring this very number."""
        return any(
            not dag.is_terminal and number_of(dag) == self.order.unit_num for dag in self.own_dags()
        )


def zones_of(pools: tuple[TenantPool, ...]) -> tuple[str, ...]:
    """Give the zones in which pools have units, each once, in order."""
    return tuple(sorted({zone for pool in pools for zone in pool.zones}))


def unit_num_of(pools: tuple[TenantPool, ...]) -> int | None:
    """Give the number of units that pools have in each zone; None: none, or they differ."""
    numbers = {pool.unit_num for pool in pools}
    return numbers.pop() if len(numbers) == 1 else None


def by_address(servers: tuple[tuple[Zone, Server], ...]) -> Mapping[str, Server]:
    """Give servers by `ip:rpc_port`."""
    return {server_address(server): server for _, server in servers}
