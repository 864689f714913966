"""A simulated world in a process of its own, with what it has counted.

Run as a program, with the pace as its argument, it reads a description from standard input, prints
its addresses when it listens, and answers every further line with a tally, until its input ends.
"""

import asyncio
import base64
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, repeat
from typing import Any, Final

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import BaseModel

from obscale.batch.process_limits import raise_file_limit
from obscale.sandbox import ScaledClock, World, WorldConfig, default_config, serve
from obscale.sandbox.config import DEFAULT_START_SECONDS
from obscale.sandbox.dags.dag import Dag

SCALE_OUT: Final = "/api/v1/ob/scale_out"
PASSWORD_VARIABLE: Final = "OBSCALE_BENCH_ROOT_PASSWORD"  # noqa: S105 - a name, no password
"""Names the password of root@sys, the same of all clusters, to flows and to workers."""
KIB: Final = 1024
END_SECONDS: Final = 30
EXPONENT: Final = 65537
KEY_BITS: Final = 1024
KEYS: Final = 50
ADDRESSES: Final = 250
"""Of 127.NETWORK.N."""
ZONES: Final = 3
"""Of each cluster."""


class Tally(BaseModel):
    """What a world counted since it began.

    Args:
        requests: By the cluster they belong to; the target's count for the cluster it joins.
        posts: Scale-outs that reached each cluster.
        posted_at: Unix seconds at which a scale-out reached the cluster, by cluster; of several,
            the last one's.
        ended_at: Unix seconds at which its DAG ended, by cluster; of several, the last one's.
        dag_seconds: How long each scale-out took from its POST on, in their order, by cluster.
        cpu_seconds: Of the world's process.
        memory_bytes: Most that process ever held.
        at: Monotonic seconds of the tally.
    """

    requests: dict[str, int]
    posts: dict[str, int]
    posted_at: dict[str, float]
    ended_at: dict[str, float]
    dag_seconds: dict[str, tuple[float, ...]]
    cpu_seconds: float
    memory_bytes: int
    at: float


class Place(BaseModel):
    """One cluster and the spare agent that is to join it."""

    cluster: str
    cluster_id: int
    endpoints: tuple[str, ...]
    password: str
    spare_ip: str
    spare_port: int


@dataclass(frozen=True)
class Stage:
    """A running world, seen from outside."""

    places: tuple[Place, ...]
    _process: "subprocess.Popen[str]"

    def tally(self) -> Tally:
        """Ask the world what it counted."""
        return Tally.model_validate_json(_ask(self._process, json.dumps(self.spares())))

    def spares(self) -> dict[str, str]:
        """Give the cluster of each spare, by the spare's address."""
        return {f"{p.spare_ip}:{p.spare_port}": p.cluster for p in self.places}


def lanes_of(places: Iterable[Place]) -> dict[str, list[Place]]:
    """Give the places of each cluster, by its name."""
    lanes: dict[str, list[Place]] = {}
    for place in places:
        lanes.setdefault(place.cluster, []).append(place)
    return lanes


def zone_of(at: int) -> str:
    """Give the zone of a cluster's new node, counted from 0: they take turns."""
    return f"zone{at % ZONES + 1}"


def crowd(
    clusters: int,
    start_seconds: Sequence[float] = (DEFAULT_START_SECONDS,),
    *,
    spares: int | None = None,
    network: int | None = None,
) -> WorldConfig:
    """Describe that many clusters of three zones, with one spare each.

    Args:
        clusters: How many.
        start_seconds: How long the observers of the spares take to start, one after the other and
            from the beginning again.
        spares: How many, dealt out to the clusters one after the other; None: one each.
        network: Of worlds beside each other, each its own number: every agent has an address of
            its own in 127.NETWORK, and few key pairs are shared by all; making one for each of
            thousands takes minutes. None: the world's own addresses, a key for each agent.
    """
    content = default_config().model_dump()
    one = content["clusters"][0]
    agents = _agents(network)
    content["clusters"] = [
        one
        | {
            "name": f"c{n}",
            "id": n,
            "zones": [
                zone | {"agents": [agent | next(agents) for agent in zone["agents"]]}
                for zone in one["zones"]
            ],
        }
        for n in range(1, clusters + 1)
    ]
    content["spares"] = [
        {"start_seconds": start_seconds[n % len(start_seconds)]} | next(agents)
        for n in range(clusters if spares is None else spares)
    ]
    return WorldConfig.model_validate(content | {"port": 0})


def _agents(network: int | None) -> Iterator[dict[str, str]]:
    """Give what agents of one network have, one after the other; of none nothing."""
    if network is None:
        yield from repeat({})
        return
    keys = [_new_key() for _ in range(KEYS)]
    for number, key in enumerate(cycle(keys)):
        high, low = divmod(number, ADDRESSES)
        yield {"ip": f"127.{network}.{high}.{low + 1}", "private_key": key}


def _new_key() -> str:
    key = rsa.generate_private_key(EXPONENT, KEY_BITS)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return base64.b64encode(der).decode("ascii")


@contextmanager
def played(config: WorldConfig, speed: float, late_seconds: float = 0.0) -> Iterator[Stage]:
    """Serve a world in another process until the block ends.

    Args:
        config: Of the world.
        speed: Times real pace.
        late_seconds: So late comes each answer of every agent.
    """
    command = [sys.executable, "-m", "benchmarks.world", str(speed)]
    with subprocess.Popen(  # noqa: S603 - this interpreter and this file
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            ready = json.loads(_ask(process, config.model_dump_json()))
            if late_seconds:
                cards = [{"card": "delay_answer", "seconds": late_seconds, "times": 0}]
                url = f"{ready['control']}/faults"
                httpx.post(url, json=cards, trust_env=False).raise_for_status()
            yield Stage(tuple(_places(ready)), process)
        finally:
            _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """End its input, so that it clears up behind itself; be short with one that does not."""
    with suppress(OSError):
        if process.stdin:
            process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()


def _places(ready: dict[str, Any]) -> Iterator[Place]:
    for cluster, spare in zip(cycle(ready["clusters"]), ready["spares"], strict=False):
        yield Place(
            cluster=cluster["name"],
            cluster_id=cluster["id"],
            endpoints=tuple(f"{agent['ip']}:{agent['port']}" for agent in cluster["agents"]),
            password=cluster["root_password"],
            spare_ip=spare["ip"],
            spare_port=spare["port"],
        )


def _ask(process: "subprocess.Popen[str]", line: str) -> str:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("started without pipes")
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError("the simulated world ended by itself; its last words stand above")
    return answer


async def _serve(speed: float) -> None:
    config = WorldConfig.model_validate_json(sys.stdin.readline())
    raise_file_limit(len(config.clusters))
    world = World(config, clock=ScaledClock(speed))
    for agent in world.agents:
        # Made when it is installed; here it would be made when it is first asked for, within the
        # answer, and hold up all other agents of this process for 12 ms.
        _ = agent.key
    async with serve(world) as door:
        print(json.dumps(door.ready), flush=True)  # noqa: T201 - the pipe to the parent
        while line := await asyncio.to_thread(sys.stdin.readline):
            told = tally_of(world, json.loads(line))
            print(told.model_dump_json(), flush=True)  # noqa: T201 - the pipe to the parent


def tally_of(world: World, spares: dict[str, str]) -> Tally:
    """Count what a world has seen.

    Args:
        world: The world.
        spares: The cluster that counts for a spare, by the spare's address.
    """
    joined = set(spares)
    members = {
        a.address: c.name for c in world.clusters for a in c.agents if a.address not in joined
    }
    of = members | spares
    posted: dict[str, list[float]] = {}
    for record in world.requests:
        if record.method == "POST" and record.target == SCALE_OUT:
            posted.setdefault(of[record.agent], []).append(world.clock.wall_at(record.at))
    ended = {
        cluster.name: [dag for dag in cluster.dags if dag.state == "SUCCEED"]
        for cluster in world.clusters
    }
    return Tally(
        requests=Counter(of[record.agent] for record in world.requests),
        posts={name: len(moments) for name, moments in posted.items()},
        posted_at={name: moments[-1] for name, moments in posted.items()},
        ended_at={name: dags[-1].end_at for name, dags in ended.items() if dags},
        dag_seconds={
            name: tuple(dag.end_at - _asked_at(dag, posted[name]) for dag in dags)
            for name, dags in ended.items()
            if dags
        },
        cpu_seconds=time.process_time(),
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB,
        at=time.monotonic(),
    )


def _asked_at(dag: Dag, posted: list[float]) -> float:
    """Give the moment of the POST that made a DAG; a refused one came earlier."""
    return max(moment for moment in posted if moment <= dag.start_at)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
