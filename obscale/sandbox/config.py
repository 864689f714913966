"""The description of a simulated world before the first request.

A description is a `WorldConfig`, read from YAML by `load_config` or taken from
`default_config`. Sizes are bytes, or text such as `64G` in powers of 1024.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from obscale.sandbox.capacity import GIB, KIB, MIB, read_capacity
from obscale.sandbox.faults.fault import Fault
from obscale.sandbox.ids import join_address
from obscale.sandbox.plain_yaml import load_plain

DEFAULT_PORT: Final = 2886
DEFAULT_OBSHELL_VERSION: Final = "4.5.0.0-12026050815"
DEFAULT_OB_VERSION: Final = "4.3.5.2-102000092025042111"
DEFAULT_ROOT_PASSWORD: Final = "sandbox-root"  # noqa: S105 - opens nothing but a simulation
DEFAULT_START_SECONDS: Final = 1.5
"""Shortest observer start that still lets stage 5 pass its first poll: 32 s for nine stages."""


class ConfigError(Exception):
    """The description of a world is wrong; one line names the field and, if known, the line."""


def _size(value: object) -> object:
    return read_capacity(value) if isinstance(value, str) and not value.isdigit() else value


def _address(value: str) -> str:
    return str(ip_address(value))


Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Ip = Annotated[str, AfterValidator(_address)]
Port = Annotated[int, Field(ge=0, le=65535)]
Settings = dict[str, str]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DiskConfig(_Part):
    """One line of `df`."""

    mount: str = "/"
    device: str = "/dev/vda1"
    total: Size = 457 * GIB + GIB // 2
    used: Size = 12 * GIB + GIB // 2


class HostConfig(_Part):
    """One machine. The default is 64 GiB, 16 cores and one 458G disk with 13G used."""

    memory_total: Size = 65_808_488 * KIB
    memory_available: Size = 62_914_560 * KIB
    cores: int = Field(default=16, ge=1)
    sockets: int = Field(default=1, ge=0)
    nofile: str = "655350"
    nproc: str = "655350"
    os: str = "centos"
    os_version: str = "7"
    virtualization: str = "kvm"
    architecture: str = "x86_64"
    disks: tuple[DiskConfig, ...] = (DiskConfig(),)


class AgentConfig(_Part):
    """One obshell process. What is left out comes from the world.

    Attributes:
        port: 0 takes a free port from the operating system.
        private_key: Base64 of a PKCS#1 or PKCS#8 DER key, instead of a fresh one.
        dirs: Directories that exist before the first request, with the names inside.
        ob_configs: Start options of a member's observer, added to the cluster's.
    """

    ip: Ip | None = None
    port: Port | None = None
    agent_password: str = ""
    home: str = "/home/admin/oceanbase"
    obshell_version: str | None = None
    ob_version: str | None = None
    rsa_bits: Literal[512, 1024, 2048] | None = None
    private_key: str | None = None
    clock_offset_seconds: float = 0.0
    start_seconds: float | None = Field(default=None, ge=0)
    host: HostConfig | None = None
    dirs: dict[str, list[str]] = {}
    ob_configs: Settings = {}


def _agents(value: object) -> object:
    return [{} for _ in range(value)] if isinstance(value, int) and value >= 0 else value


Agents = Annotated[tuple[AgentConfig, ...], BeforeValidator(_agents)]
"""A list of agents, or just how many."""


class ZoneConfig(_Part):
    """One zone and its member agents."""

    name: str
    region: str = "sys_region"
    agents: Agents = (AgentConfig(),)


class UnitConfig(_Part):
    """What one unit of a tenant takes."""

    name: str
    max_cpu: float = 2
    min_cpu: float = 2
    memory_size: Size = 4 * GIB
    log_disk_size: Size = 12 * GIB


class TenantConfig(_Part):
    """A user tenant with one pool; `zones` left out means all zones.

    Attributes:
        data_bytes: What each of its units has written into the data file of its server.
    """

    name: str
    unit: UnitConfig
    mode: Literal["MYSQL", "ORACLE"] = "MYSQL"
    unit_num: int = Field(default=1, ge=1)
    zones: tuple[str, ...] | None = None
    data_bytes: Size = 128 * MIB


class ClusterConfig(_Part):
    """One initialised cluster.

    Attributes:
        ob_configs: Start options of every existing server.
        parameters: Values set for the whole cluster, also on servers that join later.
        min_pool_memory: `__min_full_resource_pool_memory`, bytes.
    """

    name: str = "obcluster"
    id: int = Field(default=1, ge=1)
    root_password: str = DEFAULT_ROOT_PASSWORD
    zones: tuple[ZoneConfig, ...] = Field(min_length=1)
    ob_configs: Settings = {
        "memory_limit": "16G",
        "system_memory": "8G",
        "log_disk_size": "24G",
        "datafile_size": "24G",
    }
    parameters: Settings = {}
    tenants: tuple[TenantConfig, ...] = ()
    min_pool_memory: Size = 2 * GIB

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _unique("zone", [zone.name for zone in self.zones])
        known = {zone.name for zone in self.zones}
        for tenant in self.tenants:
            for zone in tenant.zones or ():
                if zone not in known:
                    raise ValueError(f"tenant '{tenant.name}' names the unknown zone '{zone}'")
        if not any(zone.agents for zone in self.zones):
            raise ValueError(f"cluster '{self.name}' has no agent")
        return self


class WorldConfig(_Part):
    """A whole world: clusters, agents that wait to join, and what shall go wrong.

    Attributes:
        delete_server_seconds: From the moment a server that is being deleted holds nothing any more
            until its row goes.
        balance_seconds: Between two looks at which the balancer begins to move units.
        migration_mib_per_second: How fast the data of one unit goes from server to server.
    """

    clusters: tuple[ClusterConfig, ...] = Field(min_length=1)
    spares: Agents = ()
    host: HostConfig = HostConfig()
    port: Port = DEFAULT_PORT
    obshell_version: str = Field(default=DEFAULT_OBSHELL_VERSION, pattern=r"^\d+(\.\d+){3}(-\w+)?$")
    ob_version: str = Field(default=DEFAULT_OB_VERSION, pattern=r"^\d+(\.\d+){3}(-\w+)?$")
    tls: bool = False
    enable_client_auth: bool = False
    """With tls: agents want a client certificate, as with the variable of this name (4.4.2.0)."""
    utc_offset_minutes: int = Field(default=480, ge=-720, le=840)
    start_seconds: float = Field(default=DEFAULT_START_SECONDS, ge=0)
    service_start_delay_seconds: float = Field(default=2.0, ge=0)
    delete_server_seconds: float = Field(default=2.0, ge=0)
    balance_seconds: float = Field(default=10.0, gt=0)
    migration_mib_per_second: float = Field(default=100.0, gt=0)
    faults: tuple[Fault, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _unique("cluster", [f"{cluster.name}/{cluster.id}" for cluster in self.clusters])
        addresses = [
            join_address(agent.ip, port)
            for agent in self.all_agents()
            if agent.ip and (port := self.port if agent.port is None else agent.port)
        ]
        _unique("agent", addresses)
        return self

    def all_agents(self) -> list[AgentConfig]:
        """Members first, cluster by cluster and zone by zone, then the spares."""
        members = [
            agent for cluster in self.clusters for zone in cluster.zones for agent in zone.agents
        ]
        return [*members, *self.spares]


def default_config() -> WorldConfig:
    """Cluster `obcluster`/1 with three zones of one server each, one user tenant, three spares."""
    return WorldConfig(
        clusters=(
            ClusterConfig(
                zones=tuple(ZoneConfig(name=f"zone{number}") for number in (1, 2, 3)),
                tenants=(TenantConfig(name="app", unit=UnitConfig(name="u_app")),),
            ),
        ),
        spares=(AgentConfig(), AgentConfig(), AgentConfig()),
    )


def load_config(path: Path | str) -> WorldConfig:
    """Read a description from a YAML file.

    Raises:
        ConfigError: Unreadable file, broken YAML, unknown or wrong field.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = load_plain(text)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{path}: {line}{getattr(error, 'problem', None) or error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: line 1: a world is a mapping with at least 'clusters'")
    try:
        return WorldConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        line_number = _line_of(tree, first["loc"])
        field = ".".join(map(str, first["loc"])) or "world"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: line {line_number}: {field}: {message}") from error


def _unique(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} '{name}' is described twice")


def _line_of(node: Any, location: Sequence[int | str]) -> int:
    """Line of the deepest part of `location` that stands in the file."""
    line: int = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
