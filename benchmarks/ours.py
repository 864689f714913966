"""How obscale does what is measured: it seals, asks and scales out."""

import time
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import SecretStr

from benchmarks.world import Place
from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.agent.models import AgentEndpoint, Dag, ScaleOutRequest
from obscale.agent.sealing import seal_header
from obscale.follow.progress import Change
from obscale.follow.run import follow
from obscale.request.time_limits import TimeLimits

ZONE: Final = "zone2"
SAMPLE: Final = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
"""The sample of OceanBase's own page on scale_out, word for word."""
LIFETIME_SECONDS: Final = 60


def seal(times: int, *, key: RSAPublicKey, password: str, uri: str) -> None:
    """Seal so many headers of requests without a body."""
    for _ in range(times):
        seal_header(
            password=password,
            expires_at_seconds=int(time.time()) + LIFETIME_SECONDS,
            uri=uri,
            keys=None,
            key=key,
        )


def client_of(place: Place) -> AgentClient:
    """Give a client of a cluster's first agent."""
    address = AgentAddress.parse(f"http://{place.endpoints[0]}")
    return AgentClient(address, root_password=SecretStr(place.password))


async def ask(client: AgentClient, times: int) -> None:
    """Send so many signed requests, one after the other."""
    for _ in range(times):
        await client.read_ob_info()


async def expand(place: Place) -> float:
    """Submit one scale-out and follow it to its end, as the SDK's `scale_out_sync` does.

    Returns:
        Unix seconds at which the end was known.
    """
    async with ClusterClient([client_of(place)]) as cluster:
        dag = await cluster.current.submit_scale_out(
            ScaleOutRequest(
                agent_info=AgentEndpoint(ip=place.spare_ip, port=place.spare_port),
                zone=ZONE,
                ob_configs=dict(SAMPLE),
            )
        )
        ended = await follow(cluster, dag.id, TimeLimits(), saw=_saw, say=_say)
        known_at = time.time()
    if not ended.is_done:
        raise RuntimeError(f"{place.cluster}: the DAG ended {ended.state}")
    return known_at


async def _saw(_dag: Dag, _changes: tuple[Change, ...]) -> None:
    """Nobody listens: what telling costs is measured with the whole run."""


def _say(text: str) -> None:
    raise RuntimeError(text)
