"""The models of what an agent sends about units, pools, tenants, licence and statistics.

Shapes: ob/agent/repository/model/{bo,oceanbase}/*.go, obshell 4.5.0.0. Sizes are bytes, cores are
fractions. What a decision about capacity rests on has no default: an answer without it is not read.
"""

from datetime import datetime
from typing import Annotated, Final

from obscale.agent.models import HostInfo
from obscale.agent.wire import LISTED, SnakeWire, Wire

__all__ = [
    "NOT_STANDALONE",
    "ConnectionString",
    "License",
    "ObserverStatistics",
    "ResourcePool",
    "Statistics",
    "Tenant",
    "TenantOverview",
    "TenantPool",
    "UnitConfig",
]

NOT_STANDALONE: Final = "Not a standalone cluster"
"""How the refusal ends where the edition has no licence; its code says nothing.

Source: ob/agent/executor/ob/cluster.go, 4.5.0.0.
"""


class UnitConfig(SnakeWire):
    """One row of `GET /units/config` (4.2.4.0+): what one unit takes of its server.

    Source: ob/agent/repository/model/oceanbase/unit.go
    """

    unit_config_id: int
    name: str
    min_cpu: float
    """What counts as assigned on the server."""
    max_cpu: float
    memory_size: int
    log_disk_size: int
    data_disk_size: int | None = None
    """None below 4.4.2.0; 0 outside shared storage."""


class ResourcePool(SnakeWire):
    """One row of `GET /resource-pools` (4.2.4.0+), granted to a tenant or not.

    `UnitCount` is not read: it is 0 whatever the pool has, because `unit_num` took its column
    (inferred). Source: ob/agent/repository/model/oceanbase/tenant.go
    """

    id: int
    name: str
    zone_list: str
    """OceanBase's own text, `zone1;zone2`; see `zones`."""
    unit_num: int
    """Units in each zone of the pool."""
    unit_config_id: int
    tenant_id: int
    """0 where no tenant has it."""
    replica_type: str = ""

    @property
    def zones(self) -> tuple[str, ...]:
        """Names of the zones the pool has units in."""
        return _zones(self.zone_list)


class ConnectionString(SnakeWire):
    """How a client reaches a tenant, as obshell puts it together.

    Source: ob/agent/repository/model/bo/tenant.go
    """

    connection_string: str = ""
    """E.g. `obclient -h10.0.0.1 -P2881 -uroot@app -p`; it holds no password."""


class TenantOverview(SnakeWire):
    """One row of `GET /tenants/overview` (4.2.4.0+); no META tenant, nothing recycled, no pools.

    Source: ob/agent/repository/model/oceanbase/tenant.go
    """

    tenant_id: int
    tenant_name: str
    mode: str = ""
    """`MYSQL` or `ORACLE`."""
    status: str = ""
    """OceanBase's own word; `NORMAL` for a tenant that is not being created or dropped."""
    primary_zone: str = ""
    locality: str = ""
    """OceanBase's own text, e.g. `FULL{1}@zone1, FULL{1}@zone2`."""
    read_only: bool | None = None
    """None below 4.3.0.0."""
    connection_strings: Annotated[tuple[ConnectionString, ...], LISTED] = ()
    """None of them below 4.3.0.0."""


class TenantPool(SnakeWire):
    """A pool of one tenant, with its unit config.

    Source: ob/agent/repository/model/bo/tenant.go
    """

    pool_id: int
    pool_name: str
    zone_list: str
    unit_num: int
    """Units in each zone of the pool."""
    observer_list: str | None = None
    """Servers with a unit, `ip:rpc port` with commas between; None below 4.4.0.0."""
    unit_config: UnitConfig

    @property
    def zones(self) -> tuple[str, ...]:
        """Names of the zones the pool has units in."""
        return _zones(self.zone_list)


class Tenant(TenantOverview):
    """`GET /tenant/{name}` (4.2.4.0+): a tenant in detail, with all its pools.

    Source: ob/agent/executor/tenant/info.go
    """

    pools: Annotated[tuple[TenantPool, ...], LISTED] = ()


class License(SnakeWire):
    """`GET /obcluster/license` (4.4.0.0+), standalone edition only.

    Source: ob/agent/repository/model/bo/ob_license.go
    """

    expired_time: datetime | None = None
    node_num: int
    """Servers the licence allows; OceanBase itself refuses more."""


class ObserverStatistics(Wire):
    """One observer inside `/obcluster/statistics`; sizes are texts as configured, `16G`."""

    type: str = ""
    """`oceanbase-ce` or `oceanbase`."""
    host_hash: str = ""
    """SHA-1 hex of the server's IP, as `basic.host_hash` of its host."""


class Statistics(Wire):
    """`GET /obcluster/statistics` (4.3.0.0+): what could be learnt of all hosts and observers.

    What the agent could not get is left out without a word, so an absent host says nothing. Source:
    ob/agent/executor/ob/statistics.go
    """

    hosts: Annotated[tuple[HostInfo, ...], LISTED] = ()
    """In no promised order and without addresses: match by `basic.host_hash`."""
    instances: Annotated[tuple[ObserverStatistics, ...], LISTED] = ()


def _zones(zone_list: str) -> tuple[str, ...]:
    return tuple(name for part in zone_list.split(";") if (name := part.strip()))
