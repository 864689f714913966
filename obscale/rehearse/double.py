"""Describes a simulated world that resembles a cluster and hosts, for a rehearsal.

Taken from what preflight reads. What obshell does not show, say the disks of the members, is made
large enough that it never decides how a rehearsal ends.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from obscale.agent.address import DEFAULT_PORT
from obscale.agent.clock import ClockReading
from obscale.agent.models import HostInfo, Identity, Server, Zone, joined_address
from obscale.errors import SpecError
from obscale.preflight.facts import Facts
from obscale.preflight.rules.layout import mount_hash
from obscale.reading import Unread
from obscale.sandbox.config import (
    DEFAULT_OB_VERSION,
    DEFAULT_OBSHELL_VERSION,
    AgentConfig,
    ClusterConfig,
    DiskConfig,
    HostConfig,
    TenantConfig,
    UnitConfig,
    WorldConfig,
    ZoneConfig,
)
from obscale.sandbox.parameters import PARAMETERS
from obscale.sizes import GIB, KIB, SizeError, parse_capacity, parse_df

KNOWN_PARAMETERS: Final = {row.name for row in PARAMETERS if row.scope == "CLUSTER"}
START_OPTIONS: Final = ("memory_limit", "system_memory", "log_disk_size", "datafile_size")
"""Of the members: what decides their capacity."""
LEFT_ALONE: Final = {*START_OPTIONS, "mysql_port", "rpc_port", "local_ip", "devname", "zone"}
USUAL_MOUNTS: Final = ("/", "/home", "/data", "/data/1", "/data/log1", "/data1", "/data2", "/mnt")
AGENT_PASSWORD: Final = "rehearsal-agent"  # noqa: S105 - opens nothing but a simulation
ROOT_PASSWORD: Final = "rehearsal-root"  # noqa: S105 - opens nothing but a simulation
ROOM_BYTES: Final = 64 * GIB
"""What a member's simulated disk keeps free."""


def double_of(facts: Sequence[Facts]) -> WorldConfig:
    """Make the world: the cluster as it is, and one spare for each target, in their order.

    Args:
        facts: Of every node of one request, so of one cluster.

    Raises:
        SpecError: A target cannot be rehearsed, because it has joined already or does not answer;
            or the cluster tells too little of itself.
    """
    cluster = facts[0].cluster
    identity = cluster.identity()
    if identity is None or isinstance(cluster.topology, Unread):
        raise SpecError(
            "rehearse: the cluster tells too little of itself to be simulated",
            "obscale plan SPEC says what could not be read",
        )
    name, number = identity
    versions = _versions(facts[0])
    return WorldConfig(
        clusters=(
            ClusterConfig(
                name=name,
                id=number,
                root_password=ROOT_PASSWORD,
                zones=tuple(_zone(facts[0], zone) for zone in cluster.topology),
                ob_configs=_start_options(facts[0], None),
                parameters=_parameters(facts[0]),
                tenants=_tenants(facts[0]),
                min_pool_memory=_min_pool_memory(facts[0]),
            ),
        ),
        spares=tuple(_spare(each) for each in facts),
        port=0,
        tls=cluster.scheme == "https",
        obshell_version=versions.get("obshell_version", DEFAULT_OBSHELL_VERSION),
        ob_version=versions.get("ob_version", DEFAULT_OB_VERSION),
    )


def real_addresses(facts: Sequence[Facts]) -> tuple[str, ...]:
    """Give `ip:port` of the real agents in the order the double simulates them."""
    members = [
        joined_address(server.ip, _agent_port(facts[0], server))
        for _, server in facts[0].cluster.servers()
    ]
    return (*members, *(each.node.address for each in facts))


def _zone(facts: Facts, zone: Zone) -> ZoneConfig:
    return ZoneConfig(
        name=zone.name,
        region=zone.region_name or "sys_region",
        agents=tuple(_member(facts, server) for server in zone.servers),
    )


def _member(facts: Facts, server: Server) -> AgentConfig:
    options = _start_options(facts, server)
    clock = facts.cluster.clocks.get(joined_address(server.ip, _agent_port(facts, server)))
    return AgentConfig(
        host=_member_host(server, options),
        clock_offset_seconds=clock.offset_seconds if isinstance(clock, ClockReading) else 0.0,
        ob_configs=options | {"mysql_port": str(server.sql_port), "rpc_port": str(server.svr_port)},
    )


def _member_host(server: Server, options: Mapping[str, str]) -> HostConfig:
    size = {name: _bytes(options.get(name, "")) for name in START_OPTIONS}
    usual = HostConfig()
    files = size["log_disk_size"] + size["datafile_size"]
    return HostConfig(
        memory_total=max(usual.memory_total, 2 * size["memory_limit"]),
        memory_available=max(usual.memory_available, 2 * size["memory_limit"]),
        cores=max(1, int(server.stats.cpu_core_total) or usual.cores),
        architecture=server.architecture or usual.architecture,
        disks=(DiskConfig(total=max(usual.disks[0].total, 2 * files + ROOM_BYTES)),),
    )


def _spare(facts: Facts) -> AgentConfig:
    info = facts.target.info
    if isinstance(info, Unread):
        raise SpecError(
            f"rehearse: the target {facts.node.address} does not answer: {info.reason}",
            "start obshell there; its host is what the rehearsal copies",
        )
    if info.identity is not Identity.SINGLE:
        raise SpecError(
            f"rehearse: {facts.node.address} is {info.identity.value}, so there is nothing to add",
            "name a target that is SINGLE",
        )
    clock = facts.target.clock
    return AgentConfig(
        agent_password=AGENT_PASSWORD if facts.has_target_password else "",
        home=info.home_path or "/home/admin/oceanbase",
        clock_offset_seconds=clock.offset_seconds if isinstance(clock, ClockReading) else 0.0,
        host=_spare_host(facts, info.home_path),
        ob_version=info.ob_version or None,
        obshell_version=info.version or None,
    )


def _spare_host(facts: Facts, home: str) -> HostConfig | None:
    host = facts.target.host
    if isinstance(host, Unread):
        return None
    usual = HostConfig()
    memory = host.memory_info
    return HostConfig(
        memory_total=_kib(memory.total) or usual.memory_total,
        memory_available=_kib(memory.available) or usual.memory_available,
        cores=max(1, host.cpu_info.logical_cores),
        sockets=host.cpu_info.physical_cores,
        nofile=host.ulimit.nofile_soft or usual.nofile,
        nproc=host.ulimit.max_user_processes_soft or usual.nproc,
        os=host.os.os.strip('"') or usual.os,
        os_version=host.os.version.strip('"') or usual.os_version,
        virtualization=host.basic.host_type,
        disks=_disks(host, (home, *facts.configs.values())),
    )


def _disks(host: HostInfo, texts: Sequence[str]) -> tuple[DiskConfig, ...]:
    """Give the disks whose mount points can be guessed: those above a path that is used."""
    paths = {text for text in texts if text.startswith("/")}
    here = {PurePosixPath(path) for path in paths}
    candidates = {str(path) for each in here for path in (each, *each.parents)}
    told = {disk.mount_hash: disk for disk in host.disks}
    found = []
    for path in sorted({*candidates, *USUAL_MOUNTS}, key=lambda path: (len(path), path)):
        disk = told.get(mount_hash(path))
        if disk is None:
            continue
        total, used = parse_df(disk.total), parse_df(disk.used)
        if total is None or used is None:
            continue
        found.append(
            DiskConfig(mount=path, device=disk.device_name, total=total.high, used=used.high)
        )
    return tuple(found) or HostConfig().disks


def _start_options(facts: Facts, server: Server | None) -> dict[str, str]:
    """Give the values that decide capacity, of one server or, with None, of the first."""
    options = {}
    for name in START_OPTIONS:
        row = facts.cluster.parameter(name)
        values = [
            value.value
            for value in (row.ob_parameters if row else ())
            if server is None or (value.svr_ip, value.svr_port) == (server.ip, server.svr_port)
        ]
        if values and _bytes(values[0]):
            options[name] = values[0]
    return options


def _parameters(facts: Facts) -> dict[str, str]:
    """Give what is set alike on all servers and differs from the default."""
    if isinstance(facts.cluster.parameters, Unread):
        return {}
    changed = {}
    for row in facts.cluster.parameters:
        values = {value.value for value in row.ob_parameters}
        if row.name in LEFT_ALONE or row.name not in KNOWN_PARAMETERS or len(values) != 1:
            continue
        if (value := values.pop()) and value != row.default_value:
            changed[row.name] = value
    return changed


def _tenants(facts: Facts) -> tuple[TenantConfig, ...]:
    """Give the user tenants with their pools, where this version tells them."""
    cluster = facts.cluster
    if isinstance(cluster.tenants, Unread) or isinstance(cluster.pools, Unread):
        return ()
    known = () if isinstance(cluster.unit_configs, Unread) else cluster.unit_configs
    units = {unit.unit_config_id: unit for unit in known}
    zones = {zone.name for zone in cluster.zones()}
    tenants = []
    for tenant in cluster.tenants:
        pool = next((pool for pool in cluster.pools if pool.tenant_id == tenant.tenant_id), None)
        unit = units.get(pool.unit_config_id) if pool else None
        if tenant.tenant_name == "sys" or pool is None or unit is None:
            continue
        tenants.append(
            TenantConfig(
                name=tenant.tenant_name,
                unit=UnitConfig(
                    name=unit.name,
                    max_cpu=unit.max_cpu,
                    min_cpu=unit.min_cpu,
                    memory_size=unit.memory_size,
                    log_disk_size=unit.log_disk_size,
                ),
                mode="ORACLE" if tenant.mode == "ORACLE" else "MYSQL",
                unit_num=max(1, pool.unit_num),
                zones=tuple(zone for zone in pool.zones if zone in zones) or None,
            )
        )
    return tuple(tenants)


def _min_pool_memory(facts: Facts) -> int:
    limit = facts.cluster.unit_config_limit
    known = None if isinstance(limit, Unread) else limit.min_memory
    return int((known or 2) * GIB)


def _versions(facts: Facts) -> dict[str, str]:
    """Give what the entry agent says of itself; what it does not say stays as simulated."""
    info = facts.cluster.info
    if isinstance(info, Unread):
        return {}
    told = {"obshell_version": info.version, "ob_version": _ob_version(facts) or info.ob_version}
    return {name: version for name, version in told.items() if version}


def _ob_version(facts: Facts) -> str:
    """Give the release with its build number, as a server reports it: 4.3.5.2_1020…-hash(date)."""
    for _, server in facts.cluster.servers():
        release, _, rest = server.version.partition("_")
        if rest:
            return f"{release}-{rest.partition('-')[0]}"
    return ""


def _agent_port(facts: Facts, server: Server) -> int:
    if server.obshell_port:
        return server.obshell_port
    listed = facts.cluster.ob_info
    rows = () if isinstance(listed, Unread) else listed.agent_info
    return next((row.port for row in rows if row.ip == server.ip), DEFAULT_PORT)


def _bytes(text: str) -> int:
    try:
        return parse_capacity(text)
    except SizeError:
        return 0


def _kib(text: str) -> int:
    digits = text.removesuffix("kB").strip()
    return int(digits) * KIB if digits.isdigit() else 0
