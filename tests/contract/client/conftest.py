"""Worlds of the sandbox behind both its doors, and clients to ask their agents."""

from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient, Tls
from obscale.agent.models import AgentEndpoint, ScaleOutRequest
from obscale.agent.transport import MANY_NODES, asking_often
from obscale.sandbox import ManualClock, World, default_config, in_process, serve

CONFIGS = {
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


class Scene:
    """A world and the ways to ask its agents; `transport` None means real sockets."""

    def __init__(self, world, transport, scheme="http", ca_file=None):
        self.world = world
        self.transport = transport
        self.scheme = scheme
        self.ca_file = ca_file
        self.line = world.ready_line()
        self.members = [self._address(agent) for agent in self.line["clusters"][0]["agents"]]
        self.spares = [self._address(agent) for agent in self.line["spares"]]
        self.root = self.line["clusters"][0]["root_password"]

    def _address(self, entry):
        return AgentAddress(entry["ip"], entry["port"], self.scheme)

    def client(self, address=None, *, root=..., agent=None, transport=None, tls=None):
        """A client of the first member, or of another agent, with the right root password."""
        root = self.root if root is ... else root
        return AgentClient(
            address or self.members[0],
            root_password=None if root is None else SecretStr(root),
            agent_password=None if agent is None else SecretStr(agent),
            transport=transport or self.transport,
            tls=tls or Tls(ca_file=self.ca_file),
        )

    def request(self, spare=0, *, password=None, zone="zone1"):
        """Ask for one spare."""
        target = self.spares[spare]
        return ScaleOutRequest(
            agent_info=AgentEndpoint(ip=target.ip, port=target.port),
            zone=zone,
            ob_configs=CONFIGS,
            target_agent_password=password,
        )

    def statuses(self, method, path):
        """How the world answered the requests for this path, in order."""
        return [
            record.status
            for record in self.world.requests
            if (record.method, record.target.partition("?")[0]) == (method, path)
        ]


def altered(*, members=None, each_member=None, spares=None, cluster=None, **world):
    """The default world with changes: for every member, for each of them, for all spares."""
    config = default_config()
    first = config.clusters[0]
    zones = []
    for number, zone in enumerate(first.zones):
        changes = (members or {}) | (each_member[number] if each_member else {})
        agents = tuple(agent.model_copy(update=changes) for agent in zone.agents)
        zones.append(zone.model_copy(update={"agents": agents}))
    changed = first.model_copy(update={"zones": tuple(zones)} | (cluster or {}))
    waiting = tuple(agent.model_copy(update=spares or {}) for agent in config.spares)
    return config.model_copy(update={"clusters": (changed,), "spares": waiting} | world)


@asynccontextmanager
async def opened(door, config=None):
    """A world, the default one if nothing else is said, behind one of its doors."""
    config = config or default_config()
    if door == "in process":
        world = World(config, clock=ManualClock())
        yield Scene(world, in_process(world))
        return
    world = World(config.model_copy(update={"port": 0}), clock=ManualClock())
    async with serve(world) as served:
        scheme = "https" if config.tls else "http"
        yield Scene(world, None, scheme, str(served.ca_path) if config.tls else None)


@pytest.fixture(params=["in process", "sockets"])
def door(request):
    """Both doors of the sandbox."""
    return request.param


@pytest.fixture(params=[0, MANY_NODES], ids=["httpx", "aiohttp"])
def over(request):
    """Make a client over each of the two transports there are: `over(AgentClient, address)`."""

    def made(kind, *args, **kwargs):
        with asking_often(request.param):
            return kind(*args, **kwargs)

    return made


@pytest.fixture(name="altered")
def _altered():
    """Describe another world than the default one; see `altered`."""
    return altered


@pytest.fixture
def open_scene():
    """Open a world behind a door; see `opened`."""
    return opened


@pytest.fixture
async def scene(door):
    """The default world behind both doors."""
    async with opened(door) as scene:
        yield scene
