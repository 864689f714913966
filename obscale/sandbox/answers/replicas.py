"""The answers to who changes the replicas of a tenant, or the number of its units.

The checks stand in obshell's order. Sources: ob/agent/api/tenant_handler.go,
ob/agent/executor/tenant/{modify,scale_out,scale_in}_replicas.go,
ob/agent/executor/zone/check.go, 4.5.0.0.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from obscale.sandbox.answers.lock import check_lock_for
from obscale.sandbox.answers.tenant import own_configs
from obscale.sandbox.cluster import FULL, Cluster, Pool, Tenant
from obscale.sandbox.config import UnitConfig
from obscale.sandbox.dags.dag import TENANT_MAINTENANCE, Step
from obscale.sandbox.dags.tenant_replicas import (
    ADD_NAME,
    DROP_NAME,
    MODIFY_NAME,
    Replica,
    add_steps,
    drop_steps,
    modify_steps,
)
from obscale.sandbox.errors import Refusal, no_database, wrong_type
from obscale.sandbox.request import NO_CONTENT, Call, bind_failed, require
from obscale.sandbox.units import missing_for, tenant_value

KINDS: Final = ("FULL", "READONLY", "")


Fields = dict[str, Any]


def add_replicas(call: Call) -> Any:
    """`POST /tenant/{name}/replicas`: each zone with its unit config and number of units."""
    cluster, tenant = _tenant(call)
    zones = _zone_list(call, "ScaleOutTenantReplicasParam", "ZoneParam")
    with _beside_null():
        replicas = _additions(cluster, tenant, zones)
        steps = add_steps(tenant, replicas, int(call.wall_seconds))
        return _created(call, cluster, tenant, ADD_NAME, steps)


def modify_replicas(call: Call) -> Any:
    """`PATCH /tenant/{name}/replicas`: no content where nothing changes."""
    cluster, tenant = _tenant(call)
    zones = _zone_list(call, "ModifyReplicasParam", "ModifyReplicaZoneParam")
    with _beside_null():
        _check_changes(cluster, tenant, zones)
        steps = modify_steps(
            tenant,
            kinds=_changed_kinds(tenant, zones),
            configs=_changed_configs(cluster, tenant, zones),
            unit_num=_changed_unit_num(tenant, zones),
            stamp=int(call.wall_seconds),
        )
        return _created(call, cluster, tenant, MODIFY_NAME, steps)


def drop_replicas(call: Call) -> Any:
    """`DELETE /tenant/{name}/replicas`: no content where none of the zones has one."""
    cluster, tenant = _tenant(call)
    named = call.json_body().get("zones")
    if named is not None and not isinstance(named, list):
        raise bind_failed(wrong_type(named, "ScaleInTenantReplicasParam.zones", "[]string"))
    require("ScaleInTenantReplicasParam", {"Zones": named is not None})
    zones = [zone for zone in named or [] if zone in tenant.replicas]
    if not zones:
        return NO_CONTENT
    with _beside_null():
        _check_drop(cluster, tenant, zones)
        steps = drop_steps(tenant, zones, int(call.wall_seconds))
        return _created(call, cluster, tenant, DROP_NAME, steps)


@contextmanager
def _beside_null() -> Iterator[None]:
    """What is refused after the body was read, has `data` beside it."""
    try:
        yield
    except Refusal as refusal:
        raise refusal.with_data(None) from None


def _tenant(call: Call) -> tuple[Cluster, Tenant]:
    """The tenant of the path, before the body is read; whoever has a database may be asked."""
    name, cluster = call.names["name"], call.member_of()
    if cluster is None or not call.agent.has_database:
        raise no_database(call.agent, f"get tenant '{name}' info failed: ")
    tenant = cluster.tenant(name)
    if tenant is None:
        raise Refusal(400, "OB.Tenant.NotExist", f"Tenant '{name}' does not exist.")
    return cluster, tenant


def _zone_list(call: Call, form: str, of_zone: str) -> list[Fields]:
    listed = call.json_body().get("zone_list")
    if listed is not None and not isinstance(listed, list):
        raise bind_failed(wrong_type(listed, f"{form}.zone_list", f"[]param.{of_zone}"))
    require(form, {"ZoneList": listed is not None})
    zones = []
    for each in listed or []:
        if not isinstance(each, dict):
            raise bind_failed(wrong_type(each, f"{form}.zone_list", f"param.{of_zone}"))
        zone = {str(name).lower(): value for name, value in each.items() if value is not None}
        for name, value in zone.items():
            kind = (int, "int") if name == "unit_num" else (str, "string")
            if not isinstance(value, kind[0]) or isinstance(value, bool):
                raise bind_failed(wrong_type(value, f"{of_zone}.zone_list.{name}", kind[1]))
        zones.append(zone)
    return zones


def _created(call: Call, cluster: Cluster, tenant: Tenant, name: str, steps: Sequence[Step]) -> Any:
    if not steps:
        return NO_CONTENT
    check_lock_for(call.agent, cluster, name, tenant.name)
    dag = call.world.create_dag(
        name, steps, executor=call.agent, maintenance_type=TENANT_MAINTENANCE, cluster=cluster
    )
    dag.facts |= {"cluster": cluster, "target": call.agent, "maintenance_key": tenant.name}
    return call.printer.created(dag)


def _additions(cluster: Cluster, tenant: Tenant, zones: Sequence[Fields]) -> list[Replica]:
    """The replicas that are asked for, checked."""
    if not zones:
        raise _refusal("ZoneList.Empty", "Zone list is empty.")
    _check_statically(zones)
    replicas = [_known_replica(cluster, zone) for zone in zones]
    for each in replicas:
        if each.zone in tenant.replicas:
            raise _refusal("ZoneAlreadyHasReplica", f"Zone '{each.zone}' already has a replica.")
    if replicas[0].unit_num != tenant.unit_num:
        raise _inconsistent()
    for each in replicas:
        if tenant.pool_in(each.zone) is not None:
            raise _refusal(
                "HasPoolOnZone", f"Tenant already has a pool located in zone '{each.zone}'."
            )
    _check_primary_zones(cluster, tenant, {each.zone: each.kind for each in replicas})
    for each in replicas:
        for server in cluster.servers_in(each.zone):
            if missing := missing_for(cluster, server, each.unit):
                raise _refusal(
                    "ResourceNotEnough", f"Server {server.address} {missing} resource not enough."
                )
    return replicas


def _check_statically(zones: Sequence[Fields]) -> None:
    seen: list[str] = []
    for zone in zones:
        name, number = zone.get("name", ""), zone.get("unit_num", 0)
        if name in seen:
            raise _refusal("Zone.Repeated", f"Zone '{name}' is repeated.")
        seen.append(name)
        if not zone.get("unit_config_name"):
            raise Refusal(400, "OB.Resource.UnitConfig.Name.Empty", "Unit config name is empty.")
        _check_kind(zone.get("replica_type", ""))
        if number <= 0:
            raise _invalid(number, "unit num should be greater than 0")
        if number != zones[0].get("unit_num"):
            raise _inconsistent()


def _known_replica(cluster: Cluster, zone: Fields) -> Replica:
    name, number = zone.get("name", ""), zone["unit_num"]
    if cluster.zone(name) is None:
        raise Refusal(400, "OB.Zone.NotExist", f"Zone '{name}' does not exist")
    config = _config(cluster, zone["unit_config_name"])
    _check_number(cluster, name, number)
    kind = zone.get("replica_type") or FULL
    return Replica(name, kind, config.unit_id, config.unit, number)


def _check_changes(cluster: Cluster, tenant: Tenant, zones: Sequence[Fields]) -> None:
    if not zones:
        raise _refusal("ZoneList.Empty", "Zone list is empty.")
    for zone in zones:
        name = zone.get("zone_name", "")
        if name not in tenant.replicas:
            raise _refusal("ZoneWithoutReplica", f"Zone '{name}' does not have a replica.")
    numbers = _checked_numbers(cluster, zones)
    if numbers and numbers[0] != tenant.unit_num:
        if len(numbers) != len(tenant.replicas):
            raise Refusal(
                500, "OB.Tenant.ModifyUnitNumPartially", "Cannot modify unit number partially."
            )
        _check_rebalance(cluster, tenant, "modify unit num")
    kinds = _changed_kinds(tenant, zones)
    left = [kind for kind in (tenant.replicas | kinds).values() if kind == FULL]
    _check_full(tenant, len(left))
    _check_primary_zones(cluster, tenant, kinds)


def _checked_numbers(cluster: Cluster, zones: Sequence[Fields]) -> list[int]:
    """The numbers of units that are given, each checked with what is given beside it."""
    numbers: list[int] = []
    for zone in zones:
        _check_kind(zone.get("replica_type", ""))
        if (number := zone.get("unit_num")) is not None:
            if number <= 0:
                raise _invalid(number, "unit num must be greater than 0")
            _check_number(cluster, zone["zone_name"], number)
            numbers.append(number)
            if number != numbers[0]:
                raise _inconsistent()
        if (config := zone.get("unit_config_name")) is not None:
            _config(cluster, config)
    return numbers


def _changed_kinds(tenant: Tenant, zones: Sequence[Fields]) -> dict[str, str]:
    return {
        zone["zone_name"]: zone["replica_type"]
        for zone in zones
        if zone.get("replica_type", tenant.replicas[zone["zone_name"]])
        != tenant.replicas[zone["zone_name"]]
    }


def _changed_unit_num(tenant: Tenant, zones: Sequence[Fields]) -> int | None:
    numbers = {zone["unit_num"] for zone in zones if "unit_num" in zone} - {tenant.unit_num}
    return next(iter(numbers), None)


def _changed_configs(
    cluster: Cluster, tenant: Tenant, zones: Sequence[Fields]
) -> Mapping[str, tuple[int, UnitConfig]]:
    changed = {}
    for zone in zones:
        name = zone.get("unit_config_name")
        pool = tenant.pool_in(zone["zone_name"])
        if name is not None and pool is not None and pool.unit.name != name:
            config = _config(cluster, name)
            changed[zone["zone_name"]] = (config.unit_id, config.unit)
    return changed


def _check_drop(cluster: Cluster, tenant: Tenant, zones: Sequence[str]) -> None:
    if len(tenant.replicas) == 1:
        raise _refusal("OnlyOneReplica", f"Tenant '{tenant.name}' only has one replica")
    left = {zone: kind for zone, kind in tenant.replicas.items() if zone not in zones}
    full = [kind for kind in left.values() if kind == FULL]
    _check_full(tenant, len(full))
    _check_primary_zones(cluster, tenant, dict.fromkeys(zones))


def _check_full(tenant: Tenant, left: int) -> None:
    """At least two full replicas are left, or one where there was one."""
    before = sum(kind == FULL for kind in tenant.replicas.values())
    if left < 1 or (left == 1 and before > 1):
        raise _refusal("Locality.PrincipalNotAllowed", "Violate locality principal not allowed.")


def _check_primary_zones(
    cluster: Cluster, tenant: Tenant, changes: Mapping[str, str | None]
) -> None:
    """With primary zone RANDOM, any change of where full replicas are moves leaders."""
    after = {**tenant.replicas, **changes}
    before = {zone for zone, kind in tenant.replicas.items() if kind == FULL}
    if before != {zone for zone, kind in after.items() if kind == FULL}:
        _check_rebalance(cluster, tenant, "Change first priority zone of locality")


def _check_rebalance(cluster: Cluster, tenant: Tenant, what: str) -> None:
    if tenant_value(cluster, tenant, "enable_rebalance") != "True":
        raise _refusal(
            "RebalanceDisabled",
            f"{what} is not allowed when tenant 'enable_rebalance' is disabled.",
        )


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise _refusal("Replica.InvalidType", f"Replica type '{kind}' is not supported")


def _check_number(cluster: Cluster, zone: str, number: int) -> None:
    """Servers of any status count."""
    there = len(cluster.servers_in(zone))
    if there < number:
        raise _refusal(
            "UnitNum.ExceedsLimit",
            f"Unit number '{number}' is bigger than server number '{there}' in zone '{zone}'.",
        )


def _config(cluster: Cluster, name: str) -> Pool:
    """A pool with the unit config of that name."""
    for pool in own_configs(cluster):
        if pool.unit.name == name:
            return pool
    raise Refusal(400, "OB.Resource.UnitConfig.NotExist", f"Unit config '{name}' does not exist.")


def _invalid(number: int, why: str) -> Refusal:
    return _refusal("UnitNum.Invalid", f"Unit number '{number}' is invalid: {why}")


def _inconsistent() -> Refusal:
    return _refusal(
        "UnitNum.Inconsistent", "Unit number is inconsistent, should be the same in all zones."
    )


def _refusal(code: str, message: str) -> Refusal:
    return Refusal(400, f"OB.Tenant.{code}", message)
