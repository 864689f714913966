"""A served cluster with a root password of its own, and orders for any address."""

from dataclasses import dataclass, field

from pydantic import SecretStr

from obscale.agent.keys import KnownKeys, fingerprint
from obscale.agent.sealing import parse_public_key
from obscale.connect.connections import ClusterAccess, EnvironmentSecrets, cluster_connected
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import World

ROOT, OWN = "canary-root-8d41", "canary-own-61f0"
QUICK = TimeLimits(
    verify_seconds=0.01, steady_seconds=0, poll_seconds=0.05, lost_answer_seconds=0.01
)
SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


@dataclass
class PinningSecrets(EnvironmentSecrets):
    """Gives one stored connection that takes pinned keys only, and notes what is kept of it."""

    spec: ClusterSpec
    pinned: dict[str, str]
    kept: dict[str, str] = field(default_factory=dict)

    async def read_cluster(self, name):
        """Give the connection, whatever the name."""
        return ClusterAccess(self.spec, SecretStr(ROOT), keys=KnownKeys(self.pinned, "refuse"))

    async def keep_keys(self, name, learned, joined=()):
        """Note the keys of who has joined."""
        self.kept |= {agent: key for agent, key in learned.items() if agent in joined}


@dataclass
class Scene:
    """A served cluster, and orders for any address."""

    world: World
    ready: dict

    @property
    def members(self):
        """`ip:port` of the cluster's agents."""
        return [f"{a['ip']}:{a['port']}" for a in self.ready["clusters"][0]["agents"]]

    @property
    def spare(self):
        """`ip:port` of the first real spare."""
        return "{ip}:{port}".format(**self.ready["spares"][0])

    def spec(self, endpoints=None, **changes):
        """The cluster written out."""
        told = self.ready["clusters"][0]
        who = {"name": told["name"], "id": told["id"]} | changes
        return ClusterSpec(
            endpoints=tuple(endpoints or self.members), password=SecretName(env="ROOT_8D41"), **who
        )

    def order(self, target, cluster=None, own=False):
        """An order that adds the agent at an address."""
        ip, _, port = target.rpartition(":")
        node = NodeSpec(
            agentInfo=AgentInfoSpec(ip=ip, port=int(port)),
            zone="zone2",
            obConfigs=SAMPLE,
            targetAgentPassword=SecretName(env="OWN_61F0") if own else None,
        )
        return ScaleOut(cluster=cluster or self.spec(), node=node, batch=(node,), time_limits=QUICK)

    async def keys(self):
        """The members' fingerprints, as they serve them now."""
        async with cluster_connected(self.spec(), EnvironmentSecrets()) as opened:
            return {
                str(agent.address): fingerprint(
                    parse_public_key((await agent.read_secret()).public_key)
                )
                for agent in opened.client.clients
            }
