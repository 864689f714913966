"""Part h: how long plan, apply, verify and a batch take where agents are silent, or answer late.

Run as a program, with `apply` or `batch` and a file, it carries that out as the command does, with
limits under which the trouble is what takes the time.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.figures import Row, short
from benchmarks.prefect_server import prefect_server
from benchmarks.scale import Scale
from benchmarks.world import ZONES, crowd, zone_of
from obscale.agent.models import joined_address
from obscale.agent.transport import Timeouts

LIMITS: Final = Timeouts()
READ_SECONDS: Final = LIMITS.read_seconds + LIMITS.connect_seconds
"""What one question to a silent agent takes whoever waits for it."""
SPEED: Final = 20.0
"""Of the simulated DAGs. What is measured is real time of obscale's own."""
LONGEST_SECONDS: Final = 900.0
"""For one command; who has not ended by then ends so."""
AT_ONCE: Final = 2
"""Kinds of trouble side by side."""
CLUSTERS: Final = 10
"""Of a batch, at most."""
LATE_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
SECRET: Final = "BENCH_ROOT_PASSWORD"  # noqa: S105 - a name, no password
TIME_LIMITS: Final = {"steady_seconds": 1.0, "lost_answer_seconds": 1.0, "verify_seconds": 600.0}
"""By default a node is watched for 30 s, and a POST whose answer is lost is waited for 200 s more:
obshell may be at work on it for as long. Neither is what is measured here."""
SIZES: Final = {
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
COMMANDS: Final = ("plan", "apply", "verify", "batch")


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the endpoints of every cluster.

    Args:
        silent: So many of three take connections and answer nothing.
        since: A phase of the scale-out; empty: from the start.
        late_seconds: So late comes each answer of every agent.
    """

    silent: int = 0
    since: str = ""
    late_seconds: float = 0.0

    @property
    def words(self) -> str:
        """Name it."""
        if self.late_seconds:
            return f"every answer {self.late_seconds:g} s late"
        if not self.silent:
            return "all well"
        since = f"the {self.since}" if self.since else "the start"
        return f"{self.silent} of {ZONES} endpoints silent from {since}"

    def cards(self, ready: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Give the cards to play in a sandbox."""
        if self.late_seconds:
            return [{"card": "delay_answer", "seconds": self.late_seconds, "times": 0}]
        when = {"phase": self.since} if self.since else {}
        return [
            {"card": "black_hole", "target": address, "cluster": cluster["name"]} | when
            for cluster in ready["clusters"]
            for address in _endpoints(cluster)[: self.silent]
        ]


TROUBLES: Final = (
    Trouble(),
    *(Trouble(silent, since) for since in ("", "submit", "verify") for silent in (1, 2)),
    *(Trouble(late_seconds=seconds) for seconds in LATE_SECONDS),
)


async def measure(scale: Scale) -> list[Row]:
    """Run each command in each trouble, in sandboxes of its own, against one Prefect server.

    The ratio is what a command takes beyond the time it takes where all is well, by what one read
    of a silent agent takes.
    """
    troubles = TROUBLES[: scale.troubles]
    turns = asyncio.Semaphore(AT_ONCE)
    with prefect_server() as environment:

        async def meet(trouble: Trouble) -> dict[str, tuple[float, str]]:
            async with turns:
                alone, crowded = await asyncio.gather(
                    _one_node(trouble, environment),
                    _many_nodes(trouble, environment, scale.silent_batch),
                )
            return alone | crowded

        found = await asyncio.gather(*map(meet, troubles))
    healthy = {command: seconds for command, (seconds, _) in found[0].items()}
    return [
        Row(
            part="h",
            measure=f"{_named(command, scale)}, {trouble.words}, s",
            ours=f"{short(seconds)}; {ending}",
            ideal=f"{short(healthy[command])} (all well)",
            ratio=(seconds - healthy[command]) / READ_SECONDS if trouble.silent else None,
            at_most=1 if trouble.silent else None,
        )
        for command in COMMANDS
        for trouble, times in zip(troubles, found, strict=True)
        if command in times
        for seconds, ending in [times[command]]
    ]


def _named(command: str, scale: Scale) -> str:
    return f"batch of {scale.silent_batch} nodes" if command == "batch" else command


async def _one_node(
    trouble: Trouble, environment: Mapping[str, str]
) -> dict[str, tuple[float, str]]:
    """Plan, apply and verify one node, one after the other."""
    async with _played(trouble, clusters=1, spares=1) as (folder, ready):
        asked = Path(folder, "request.json")
        request = _cluster_of(ready, 0) | {"nodes": [_node_of(ready, 0)]}
        await _write(asked, request)
        told: dict[str, tuple[float, str]] = {}
        around = {**environment, SECRET: ready["clusters"][0]["root_password"]}
        if not trouble.since:
            told["plan"] = await _timed("obscale.cli", "plan", asked, around)
        told["apply"] = await _carried_out("apply", asked, around, ready)
        told["verify"] = await _timed("obscale.cli", "verify", asked, around)
    return told


async def _many_nodes(
    trouble: Trouble, environment: Mapping[str, str], nodes: int
) -> dict[str, tuple[float, str]]:
    """Carry out one batch."""
    clusters = min(CLUSTERS, nodes)
    async with _played(trouble, clusters=clusters, spares=nodes) as (folder, ready):
        asked = Path(folder, "batch.json")
        names = [cluster["name"] for cluster in ready["clusters"]]
        secrets = {
            f"{SECRET}_{name}": cluster["root_password"]
            for name, cluster in zip(names, ready["clusters"], strict=True)
        }
        connections = {
            name: _cluster_of(ready, at, f"{SECRET}_{name}")["cluster"]
            for at, name in enumerate(names)
        }
        batch = {
            "connections": connections,
            "clusters": [
                {
                    "cluster": name,
                    "profile": "lab",
                    "nodes": [_node_of(ready, n) for n in range(at, nodes, clusters)],
                }
                for at, name in enumerate(names)
            ],
            "policies": {"max_clusters_at_once": clusters},
        }
        await _write(asked, batch)
        around = {**environment, **secrets}
        return {"batch": await _carried_out("batch", asked, around, ready)}


def _endpoints(cluster: Mapping[str, Any]) -> list[str]:
    return [joined_address(agent["ip"], agent["port"]) for agent in cluster["agents"]]


def _cluster_of(ready: Mapping[str, Any], at: int, secret: str = SECRET) -> dict[str, Any]:
    cluster = ready["clusters"][at]
    return {
        "cluster": {
            "endpoints": _endpoints(cluster),
            "password": {"env": secret},
            "name": cluster["name"],
            "id": cluster["id"],
        },
        "profile": "lab",
    }


def _node_of(ready: Mapping[str, Any], at: int) -> dict[str, Any]:
    spare = ready["spares"][at]
    where = {"ip": spare["ip"], "port": spare["port"]}
    return {"agentInfo": where, "zone": zone_of(at), "obConfigs": SIZES}


@asynccontextmanager
async def _played(
    trouble: Trouble, *, clusters: int, spares: int
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Serve a sandbox in a process of its own, its cards played; gives a folder and its places."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder, "world.yaml")
        described = crowd(clusters, spares=spares).model_dump(mode="json", exclude_none=True)
        await _write(world, described)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "obscale.cli", "sandbox", "--json"),
            *("--speed", str(SPEED), "--config", str(world)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            if process.stdout is None:
                raise AssertionError("started without a pipe")
            line = await process.stdout.readline()
            if not line:
                raise RuntimeError("the sandbox ended by itself; try obscale sandbox by hand")
            ready = json.loads(line)
            if cards := trouble.cards(ready):
                async with httpx.AsyncClient(trust_env=False) as control:
                    played = await control.post(f"{ready['control']}/faults", json=cards)
                    played.raise_for_status()
            yield folder, ready
        finally:
            await _end(process)


async def _write(path: Path, content: object) -> None:
    await asyncio.to_thread(path.write_text, json.dumps(content), encoding="utf-8")


async def _timed(
    module: str, command: str, asked: Path, environment: Mapping[str, str]
) -> tuple[float, str]:
    """Run a command; gives the seconds it took, and how it ended."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, command, str(asked)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            code = await process.wait()
    except TimeoutError:
        return time.monotonic() - began, f"none within {LONGEST_SECONDS:g} s"
    finally:
        await _end(process)
    return time.monotonic() - began, f"exit {code}"


async def _carried_out(
    command: str, asked: Path, environment: Mapping[str, str], ready: Mapping[str, Any]
) -> tuple[float, str]:
    """Run a command that adds nodes; its ending names trouble that never came."""
    seconds, ending = await _timed("benchmarks.silent", command, asked, environment)
    async with httpx.AsyncClient(trust_env=False) as control:
        undrawn = (await control.get(f"{ready['control']}/faults")).json()["undrawn"]
    return seconds, f"{ending}; {len(undrawn)} cards never played" if undrawn else ending


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), READ_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def _as_command(arguments: Sequence[str]) -> int:
    """Carry out a request or a batch with `TIME_LIMITS`; gives the exit code."""
    # Prefect reads its settings when it is imported, and the parent needs none of it.
    from rich.console import Console  # noqa: PLC0415

    from obscale.cli.apply import run_all  # noqa: PLC0415
    from obscale.errors import ObscaleError  # noqa: PLC0415
    from obscale.flows.batch import batch  # noqa: PLC0415
    from obscale.request.scale_out import scale_outs_of  # noqa: PLC0415
    from obscale.request.time_limits import TimeLimits  # noqa: PLC0415
    from obscale.spec import read_spec  # noqa: PLC0415
    from obscale.spec.batch import BatchSpec  # noqa: PLC0415

    command, path = arguments
    time_limits = TimeLimits.model_validate(TIME_LIMITS)
    try:
        if command == "apply":
            orders = scale_outs_of(read_spec(Path(path)), time_limits=time_limits)
            endings = asyncio.run(run_all(orders, Console(stderr=True)))
            return max(int(code) for _, code, _ in endings)
        spec = BatchSpec.model_validate_json(Path(path).read_text(encoding="utf-8"))
        asyncio.run(
            batch(
                clusters=list(spec.clusters),
                connections=dict(spec.connections),
                policies=spec.policies,
                time_limits=time_limits,
            )
        )
    except ObscaleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_as_command(sys.argv[1:]))
