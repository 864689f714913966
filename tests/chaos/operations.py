"""What a night may ask of a cluster: its flow, its world, its one request, its DAG and its end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Literal

from obscale.agent.models import joined_address
from obscale.sandbox import World, WorldConfig, default_config
from obscale.sandbox.agents import CLUSTER_AGENT, SCALING_IN, SINGLE, Agent
from obscale.sandbox.cluster import Cluster, Zone
from obscale.sandbox.config import (
    AgentConfig,
    ClusterConfig,
    TenantConfig,
    UnitConfig,
    ZoneConfig,
)
from obscale.sandbox.faults.cards import Operation as CardOperation
from obscale.sandbox.faults.fault import Fault
from obscale.sandbox.founding import enlist

Kind = Literal["add", "remove", "use", "replace"]
KINDS: Final[tuple[Kind, ...]] = ("add", "remove", "use", "replace")
PASSWORD: Final = "OBSCALE_CHAOS_ROOT"
SAMPLE: Final = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
TENANT: Final = "app"
LEFT_ZONE: Final = "zone4"
UNIT_MIB_PER_SECOND: Final = 8.0
"""A unit of 128 MiB moves for 16 virtual seconds, so that there is a time while units move."""


_NUMBERS: Final = count(1)
"""Of the worlds of this process."""


def told_apart(config: WorldConfig) -> WorldConfig:
    """Give each world's clusters ids of their own, as those of a company have.

    All nights are told to one Prefect: else a zone of one world would be read as that of another.
    """
    more = 100 * next(_NUMBERS)
    clusters = tuple(c.model_copy(update={"id": c.id + more}) for c in config.clusters)
    return config.model_copy(update={"clusters": clusters})


@dataclass(frozen=True)
class Operation:
    """One thing that is asked for.

    Args:
        kind: Its family; one of them is asked for by name.
        name: As it stands in tables.
        flow: Name of the flow.
        dag: Name of the DAG.
        card: What cards call it.
        request: Method and path of its one request.
        stages: Of its DAG.
        config: The world it is asked in.
        target: The agent it is about.
        asked: Parameters of the flow, beside cluster and time limits.
        at_end: Everything that is not as it must be where a run says that it went well.
        prepare: What is done to the world before it is opened.
        first: Its first half, which has a request and a DAG of its own.
    """

    kind: Kind
    name: str
    flow: str
    dag: str
    card: CardOperation
    request: tuple[str, str]
    stages: int
    config: Callable[[], WorldConfig]
    target: Callable[[World], Agent]
    asked: Callable[[World, Agent], dict[str, Any]]
    at_end: Callable[[World, Agent], list[str]]
    prepare: Callable[[World], None] = lambda _world: None
    first: "Operation | None" = None

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Its stages, from 1."""
        return tuple(str(stage) for stage in range(1, self.stages + 1))

    @property
    def to(self) -> str:
        """Last word of its request's path, by which cards wait for it."""
        return self.request[1].rsplit("/", 1)[1]

    def when(self, **moment: Any) -> dict[str, Any]:
        """Fields that make a card wait for a moment of this operation."""
        return moment if self.card == "scale_out" else moment | {"operation": self.card}

    def parameters(self, ready: dict[str, Any], world: World, target: Agent) -> dict[str, Any]:
        """What its flow is called with.

        Args:
            ready: What the world says of itself once it is open.
            world: Which one.
            target: As `target` gave it.
        """
        cluster = ready["clusters"][0]
        members = [joined_address(a["ip"], a["port"]) for a in cluster["agents"]]
        return {
            "cluster": {
                "endpoints": [each for each in members if self.stays(each, target)],
                "password": {"env": PASSWORD},
                "name": cluster["name"],
                "id": cluster["id"],
            },
            **self.asked(world, target),
        }

    def stays(self, address: str, target: Agent) -> bool:
        """Whether an agent is a member before and after."""
        return self.kind not in {"remove", "replace"} or address != target.address

    def created(self, world: World) -> int:
        """How many of its DAGs were created by requests, and not by a card."""
        return sum(dag.name == self.dag and "target" in dag.facts for dag in world.clusters[0].dags)

    def is_request(self, method: str, target: str) -> bool:
        """Whether a request is the one it consists of."""
        return (method, target.partition("?")[0]) == self.request

    def halves(self) -> tuple["Operation", ...]:
        """The operations it consists of: mostly itself alone."""
        return (self,) if self.first is None else (self.first, self)


# --- adding ---


def _add(_world: World, target: Agent) -> dict[str, Any]:
    return {
        "agentInfo": {"ip": target.ip, "port": target.port},
        "zone": "zone2",
        "obConfigs": SAMPLE,
    }


def _joined(world: World, target: Agent) -> list[str]:
    listed = sum(server.agent is target for server in world.clusters[0].servers)
    if (listed, target.identity) == (1, CLUSTER_AGENT):
        return []
    return [f"the target is {target.identity} and listed {listed} times"]


ADD: Final = Operation(
    kind="add",
    name="add",
    flow="scale-out",
    dag="Cluster scale out",
    card="scale_out",
    request=("POST", "/api/v1/ob/scale_out"),
    stages=9,
    config=default_config,
    target=lambda world: world.spares[0],
    asked=_add,
    at_end=_joined,
)


# --- removing ---


def _two_in_zone2() -> WorldConfig:
    """A zone that has grown: its first server holds the units, its second one takes them."""
    app = TenantConfig(name=TENANT, unit=UnitConfig(name="u_app"))
    zones = tuple(
        ZoneConfig(name=f"zone{number}", agents=(AgentConfig(),) * (2 if number == 2 else 1))
        for number in (1, 2, 3)
    )
    return WorldConfig(
        clusters=(ClusterConfig(zones=zones, tenants=(app,)),),
        migration_mib_per_second=UNIT_MIB_PER_SECOND,
    )


def _with_a_spare() -> WorldConfig:
    return _two_in_zone2().model_copy(update={"spares": (AgentConfig(),)})


def _in_zone2(place: int) -> Callable[[World], Agent]:
    return lambda world: world.clusters[0].servers_in("zone2")[place].agent


def _remove(_world: World, target: Agent) -> dict[str, Any]:
    return {
        "agentInfo": {"ip": target.ip, "port": target.port},
        "zone": target.zone,
        "confirm": target.address,
    }


def _remove_dead(world: World, target: Agent) -> dict[str, Any]:
    # Of a dead server nobody tells what it uses.
    return _remove(world, target) | {
        "force_kill": True,
        "known_dead": target.ip,
        "allow_unknown": True,
    }


def _remove_zone(_world: World, target: Agent) -> dict[str, Any]:
    return {"zone": target.zone, "confirm": target.zone}


def _grow_zone(world: World) -> None:
    """A zone of its own for the spare, in which no tenant has a unit."""
    cluster = world.clusters[0]
    cluster.zones.append(Zone(LEFT_ZONE, cluster.zones[0].region))
    enlist(world.spares[0], cluster, LEFT_ZONE)


def _hang(world: World) -> None:
    """It runs, and yet it is dead."""
    world.play(Fault.observer_hangs(_in_zone2(0)(world).address))


def _gone(world: World, target: Agent) -> list[str]:
    cluster, wrong = world.clusters[0], []
    if target in cluster.agents or any(each.agent is target for each in cluster.servers):
        wrong.append("it is still a member")
    if any(unit.server not in cluster.servers for unit in cluster.units):
        wrong.append("units are on no server")
    wrong += _units_missing(cluster)
    is_heard = not (target.down or target.silent)
    if is_heard and target.identity not in {SCALING_IN, SINGLE}:
        wrong.append(f"its agent says {target.identity}")
    if is_heard and target.observer is not None and target.observer.alive:
        wrong.append("its observer lives on")
    return wrong


def _zone_gone(world: World, target: Agent) -> list[str]:
    zones = [zone.name for zone in world.clusters[0].zones]
    return _gone(world, target) + ([f"{LEFT_ZONE} is there"] if LEFT_ZONE in zones else [])


def _units_missing(cluster: Cluster) -> list[str]:
    return [
        f"{pool.name} has {there} units in {zone}, not {pool.unit_num}"
        for pool in cluster.pools()
        for zone in pool.zones
        if (there := sum(u.pool is pool and u.server.zone == zone for u in cluster.units))
        != pool.unit_num
    ]


REMOVE: Final = Operation(
    kind="remove",
    name="remove",
    flow="remove",
    dag="Cluster scale in",
    card="scale_in",
    request=("POST", "/api/v1/ob/scale_in"),
    stages=5,
    config=_two_in_zone2,
    target=_in_zone2(0),
    asked=_remove,
    at_end=_gone,
)
REMOVE_EMPTY: Final = Operation(
    kind="remove",
    name="remove an empty one",
    flow="remove",
    dag="Cluster scale in",
    card="scale_in",
    request=("POST", "/api/v1/ob/scale_in"),
    stages=5,
    config=_two_in_zone2,
    target=_in_zone2(1),
    asked=_remove,
    at_end=_gone,
)
REMOVE_DEAD: Final = Operation(
    kind="remove",
    name="remove a dead one by force",
    flow="remove",
    dag="Cluster scale in",
    card="scale_in",
    request=("POST", "/api/v1/ob/scale_in"),
    stages=6,
    config=_two_in_zone2,
    target=_in_zone2(0),
    asked=_remove_dead,
    at_end=_gone,
    prepare=_hang,
)
REMOVE_ZONE: Final = Operation(
    kind="remove",
    name="remove a zone",
    flow="remove",
    dag="Delete zone",
    card="delete_zone",
    request=("DELETE", f"/api/v1/zone/{LEFT_ZONE}"),
    stages=7,
    config=_with_a_spare,
    target=lambda world: world.spares[0],
    asked=_remove_zone,
    at_end=_zone_gone,
    prepare=_grow_zone,
)


# --- using ---


def _two_a_zone() -> WorldConfig:
    """Every zone has grown, and the tenant uses one server of each."""
    app = TenantConfig(name=TENANT, unit=UnitConfig(name="u_app"))
    zones = tuple(
        ZoneConfig(name=f"zone{number}", agents=(AgentConfig(), AgentConfig()))
        for number in (1, 2, 3)
    )
    return WorldConfig(
        clusters=(ClusterConfig(zones=zones, tenants=(app,)),),
        migration_mib_per_second=UNIT_MIB_PER_SECOND,
    )


def _use(_world: World, _target: Agent) -> dict[str, Any]:
    return {"tenant": TENANT, "unit_num": 2}


def _used(world: World, _target: Agent) -> list[str]:
    cluster = world.clusters[0]
    tenant = cluster.tenant(TENANT)
    wrong = _units_missing(cluster)
    if tenant is None or tenant.unit_num != 2:
        wrong.append("the number is not stored")
    return wrong


USE: Final = Operation(
    kind="use",
    name="use",
    flow="use",
    dag="Modify tenant replicas",
    card="tenant",
    request=("PATCH", f"/api/v1/tenant/{TENANT}/replicas"),
    stages=1,
    config=_two_a_zone,
    target=_in_zone2(1),
    asked=_use,
    at_end=_used,
)


# --- replacing ---


def _replace(world: World, target: Agent) -> dict[str, Any]:
    return {
        **_add(world, world.spares[0]),
        "dead": {"ip": target.ip, "port": target.port},
        "confirm": target.ip,
        "approval": "none",
        # Of a dead server nobody tells what it uses.
        "allow_unknown": True,
    }


def _replaced(world: World, target: Agent) -> list[str]:
    return _joined(world, world.spares[0]) + _gone(world, target)


def _die(world: World) -> None:
    world.play(Fault.observer_down(_in_zone2(0)(world).address))


def _slow_default() -> WorldConfig:
    return default_config().model_copy(update={"migration_mib_per_second": UNIT_MIB_PER_SECOND})


REPLACE: Final = Operation(
    kind="replace",
    name="replace a dead one",
    flow="replace",
    dag="Cluster scale in",
    card="scale_in",
    request=("POST", "/api/v1/ob/scale_in"),
    stages=5,
    config=_slow_default,
    target=_in_zone2(0),
    asked=_replace,
    at_end=_replaced,
    prepare=_die,
    first=ADD,
)

OPERATIONS: Final = (ADD, REMOVE, REMOVE_EMPTY, REMOVE_DEAD, REMOVE_ZONE, USE, REPLACE)


def shares_of(kinds: Sequence[Kind], count: int | None) -> dict[Kind, int | None]:
    """Share a number out over what is asked for, the first ones getting what is left over.

    Args:
        kinds: What is asked for.
        count: How many in all; None: all there are, of each.
    """
    if count is None:
        return dict.fromkeys(kinds)
    each, more = divmod(count, len(kinds))
    shares = {kind: each + (place < more) for place, kind in enumerate(kinds)}
    return {kind: number for kind, number in shares.items() if number}
