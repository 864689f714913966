"""The state of one simulated agent."""

import base64
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from obscale.sandbox.config import AgentConfig, ConfigError, WorldConfig
from obscale.sandbox.dags.dag import Dag
from obscale.sandbox.hosts import FileTree, Host
from obscale.sandbox.ids import join_address
from obscale.sandbox.keys import make_key

if TYPE_CHECKING:
    from obscale.sandbox.cluster import Cluster

SINGLE: Final = "SINGLE"
SCALING_OUT: Final = "SCALING OUT"
CLUSTER_AGENT: Final = "CLUSTER AGENT"
SCALING_IN: Final = "SCALING IN"

V1_ONLY: Final = ((4, 2, 2, 0), (4, 2, 3, 0))
"""From the first of these and below the second, `X-OCS-Auth` is what an agent understands."""
SINCE: Final[dict[str, tuple[int, ...]]] = {
    "v2": (4, 2, 3, 0),
    "obVersion": (4, 2, 4, 0),
    "tenants": (4, 2, 4, 0),
    "copied logs": (4, 2, 4, 0),
    "health check": (4, 2, 4, 0),
    "supportedAuth": (4, 2, 5, 0),
    "agent versions compared": (4, 2, 5, 0),
    "members refused": (4, 2, 5, 0),
    "agent password": (4, 2, 6, 0),
    "removal": (4, 2, 6, 0),
    "reasons": (4, 2, 6, 0),
    "rpc port checked": (4, 2, 6, 0),
    "dashboard": (4, 3, 0, 0),
    "errCode": (4, 3, 1, 0),
    "maintenance type": (4, 3, 1, 0),
    "sessions": (4, 4, 0, 0),
    "license": (4, 4, 0, 0),
    "topology": (4, 4, 1, 0),
    "rsa 1024": (4, 4, 2, 0),
    "shared storage": (4, 4, 2, 0),
    "database version": (4, 5, 0, 0),
    "observer states": (4, 5, 0, 0),
}
"""First obshell release of each feature. Source: history of oceanbase/obshell to 4.5.0.0."""


def version_tuple(text: str) -> tuple[int, ...]:
    """`4.5.0.0-12026050815` becomes (4, 5, 0, 0): only the part before the dash counts."""
    return tuple(int(part) for part in text.partition("-")[0].split("."))


@dataclass
class Observer:
    """One OceanBase server process.

    Attributes:
        values: Its parameters as they are in force, by name.
        alive: Whether the process is there.
        hangs: It is there and serves nothing; OceanBase counts it as dead.
        reported_ports: Whether the agent has learnt the ports (end of `Start observer`).
    """

    sql_port: int
    rpc_port: int
    data_dir: str
    redo_dir: str
    values: dict[str, str] = field(default_factory=dict)
    alive: bool = True
    hangs: bool = False
    reported_ports: bool = False

    @property
    def works(self) -> bool:
        """Whether OceanBase hears of it."""
        return self.alive and not self.hangs

    def start(self) -> None:
        """Begin as a new process."""
        self.alive, self.hangs = True, False

    def move_ports(self, sql_port: int) -> None:
        """Listen on these two ports: SQL, and RPC beside it."""
        self.sql_port, self.rpc_port = sql_port, sql_port + 1
        self.values |= {"mysql_port": str(self.sql_port), "rpc_port": str(self.rpc_port)}


class Agent:
    """One obshell process on one host.

    Args:
        config: Its own description.
        world: Supplies what the own description leaves out.
        host: The machine; agents of one address share it.
        ip: Text of the address, no brackets.
        port: Port it listens on.
    """

    def __init__(
        self, config: AgentConfig, world: WorldConfig, host: Host, ip: str, port: int
    ) -> None:
        self.config = config
        self.host = host
        self.ip = ip
        self.port = port
        self.wants_free_port = (world.port if config.port is None else config.port) == 0
        self.home = config.home
        self.version = config.obshell_version or world.obshell_version
        self.ob_version = config.ob_version or world.ob_version
        self.agent_password = config.agent_password
        self.clock_offset_seconds = config.clock_offset_seconds
        self.start_seconds = (
            world.start_seconds if config.start_seconds is None else config.start_seconds
        )
        self.files = FileTree(dirs={path: list(names) for path, names in config.dirs.items()})
        self.identity = SINGLE
        self.zone = ""
        self.cluster: Cluster | None = None
        self.is_founder = False
        """Whether it was there when its cluster began: only then it keeps the cluster's name."""
        self.root_password: str | None = None
        """The cached root@sys password; `None` while the agent does not know any."""
        self.observer: Observer | None = None
        self.connected = False
        self.database_down = False
        self.down = False
        self.silent = False
        self.started_at_virtual = 0.0
        self.starts = 0
        """How often its obshell was started again."""
        self.sessions: dict[str, float] = {}
        self.dags: list[Dag] = []
        self.remembers: list[Agent] = []
        """The members it knew when it was removed without its knowledge."""
        self._key: rsa.RSAPrivateKey | None = None
        if config.private_key is not None:
            self._key = _load_key(config.private_key)

    @property
    def address(self) -> str:
        """`ip:port`, IPv6 in brackets."""
        return join_address(self.ip, self.port)

    @property
    def pid(self) -> int:
        """A process id that differs between agents, and from that before the last start."""
        return 20_000 + sum(map(ord, self.ip)) + self.port + 2 * self.starts

    @property
    def observer_pid(self) -> int:
        """The process id of the observer."""
        return 20_001 + sum(map(ord, self.ip)) + self.port

    @property
    def key(self) -> rsa.RSAPrivateKey:
        """The RSA key of `/secret`, made at first use."""
        if self._key is None:
            bits = 1024 if self.has("rsa 1024") else 512
            self._key = make_key(self.config.rsa_bits or bits)
        return self._key

    def rotate_key(self) -> None:
        """Throw the key away, as wiping `<home>/.meta` does; the next one is fresh."""
        self._key = make_key(self.key.key_size)

    def has(self, feature: str) -> bool:
        """Whether this obshell release has a feature named in `SINCE`."""
        return version_tuple(self.version) >= SINCE[feature]

    @property
    def speaks_v1(self) -> bool:
        """4.2.2.x authenticates with `X-OCS-Auth`."""
        first, beyond = V1_ONLY
        return first <= version_tuple(self.version) < beyond

    @property
    def is_forgotten(self) -> bool:
        """Whether its cluster was left without its knowledge: it was away all that time."""
        is_listed = self.cluster is not None and self in self.cluster.agents
        return self.identity == CLUSTER_AGENT and not is_listed

    def leave(self) -> None:
        """Be what obshell is before it joins anything."""
        self.identity, self.zone = SINGLE, ""
        self.cluster = self.root_password = self.observer = None
        self.connected = self.is_founder = False
        self.dags.clear()
        self.rotate_key()

    @property
    def ob_state(self) -> int:
        """0 no process, 1 process without connection, 3 connection available."""
        if self.observer is None or not self.observer.alive:
            return 0
        return 3 if self.has_database else 1

    @property
    def has_database(self) -> bool:
        """Whether a statement on OceanBase would be answered."""
        works = self.observer is not None and self.observer.works
        return works and self.connected and not self.database_down

    @property
    def under_maintenance(self) -> bool:
        """The agent's own local lock, and nothing else."""
        return any(dag.holds_lock for dag in self.dags)

    @property
    def sql_port(self) -> int:
        """SQL port as `/status` reports it, 0 while unknown."""
        return self.observer.sql_port if self.observer and self.observer.reported_ports else 0

    def binary_version(self) -> str:
        """OceanBase version as `/info` prints it: without build once a database is connected."""
        if self.has("database version") and self.has_database:
            return self.ob_version.partition("-")[0]
        return self.ob_version

    def is_self(self, ip: object, port: object) -> bool:
        """Whether this is its own address."""
        return (ip, port) == (self.ip, self.port)

    def printed(self) -> dict[str, Any]:
        """Address and identity as several answers embed them."""
        return {"ip": self.ip, "port": self.port, "identity": self.identity}


def split_address(address: str) -> tuple[str, int]:
    """The parts of `ip:port` or `[ip]:port`; the address in its shortest form."""
    ip, _, port = address.rpartition(":")
    return str(ip_address(ip.strip("[]"))), int(port)


def _load_key(text: str) -> rsa.RSAPrivateKey:
    try:
        key = load_der_private_key(base64.b64decode(text, validate=True), password=None)
    except ValueError as error:
        raise ConfigError(f"private_key: not Base64 of a DER key: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError("private_key: not an RSA key")
    return key
