"""Part e: time, CPU, memory and requests of a batch beside its DAGs."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from secrets import token_hex
from threading import Event
from typing import Final, Literal

import httpx

from benchmarks.contender import Job, compete
from benchmarks.figures import NOTHING, PERCENT, Row, short
from benchmarks.postgres import INSTALL, postgres_programs, postgres_server
from benchmarks.prefect_server import prefect_server
from benchmarks.scale import Scale, start_seconds
from benchmarks.world import crowd, lanes_of, played
from obscale.sandbox import WorldConfig

MAKESPAN_TIMES: Final = {100: 1.10, 1000: 1.08}
"""By nodes, on PostgreSQL."""
MOST_CPU_TIMES: Final = 1.6
"""The SDK's CPU, a node, of the largest batch: 50 ms on a machine where the SDK takes 31."""
MOST_QUESTIONS: Final = 45
"""To agents, a node, of the largest batch."""
CPU_TIMES: Final = 1.15
MOST_MIB: Final = 600
MIB: Final = 1 << 20
MILLI: Final = 1000
RECORDED_SECONDS: Final = 60
"""Longest wait for Prefect's server to have written down all task runs."""
LOOK_AGAIN_SECONDS: Final = 0.5
NO_POSTGRES: Final = f"batches on PostgreSQL: not measured, there is none here: {INSTALL}"


@dataclass(frozen=True)
class Batch:
    """What one contender did with one batch.

    Args:
        nodes: Asked for.
        clusters: They were dealt out to.
        seconds: From the call until every node was known to have joined.
        ideal_seconds: The longest cluster's sum of its DAGs.
        cpu_seconds: Of the contender's process.
        memory_bytes: Most of the contender's process, imports included.
        asked_agents: Requests to agents, as these counted them.
        asked_prefect: Requests to Prefect's API.
        task_runs: As Prefect's server has written them down.
        lag_seconds: Longest time for which the contender's event loop heard nothing.
        sandbox_share: Of one core.
    """

    nodes: int
    clusters: int
    seconds: float
    ideal_seconds: float
    cpu_seconds: float
    memory_bytes: int
    asked_agents: int
    asked_prefect: int
    task_runs: int
    lag_seconds: float
    sandbox_share: float

    @property
    def over_ideal(self) -> float:
        """Makespan over ideal."""
        return self.seconds / self.ideal_seconds

    @property
    def cpu_ms_each(self) -> float:
        """CPU milliseconds per node."""
        return MILLI * self.cpu_seconds / self.nodes


Batches = dict[int, Batch]
"""By the number of nodes."""


async def measure(scale: Scale) -> list[Row]:
    """Run the same batches one after the other: on SQLite, on PostgreSQL, by the SDK's threads."""
    small = [nodes for nodes in scale.batches if nodes <= scale.most_on_sqlite]
    with prefect_server() as environment:
        on_sqlite = {nodes: run("batch", nodes, scale, environment) for nodes in small}
    on_postgres: Batches = {}
    late: dict[float, Batch] = {}
    if programs := postgres_programs():
        password = token_hex()
        with (
            postgres_server(programs, password) as address,
            prefect_server(
                f"postgresql+asyncpg://prefect:{password}@{address}/prefect"
            ) as environment,
        ):
            on_postgres = {
                nodes: run("batch", nodes, scale, environment) for nodes in scale.batches
            }
            late = {
                seconds: run("batch", scale.late_batch, scale, environment, seconds)
                for seconds in scale.late_seconds
            }
    by_sdk = {nodes: run("lanes", nodes, scale, {}) for nodes in scale.batches}
    sdk_late = {seconds: run("lanes", scale.late_batch, scale, {}, seconds) for seconds in late}
    return [
        *(row for nodes in scale.batches for row in _rows(nodes, on_postgres, on_sqlite, by_sdk)),
        *(row for seconds in late for row in _late(seconds, late[seconds], sdk_late[seconds])),
        _flat(on_postgres, scale) if on_postgres else Row("e", NO_POSTGRES, NOTHING),
    ]


def run(
    kind: Literal["batch", "lanes"],
    nodes: int,
    scale: Scale,
    environment: dict[str, str],
    late_seconds: float = 0.0,
) -> Batch:
    """Let one contender run one batch in a world of its own, whose answers all come so late."""
    clusters = min(nodes, scale.clusters)
    with played(world_of(nodes, clusters), scale.speed, late_seconds) as stage:
        *places, warm = sorted(stage.places, key=lambda place: place.cluster_id > clusters)
        asked = [place for place in places if place.cluster_id <= clusters][:nodes]
        job = Job(
            kind=kind,
            warm=warm,
            places=tuple(asked),
            starts=(0.0,),
            steady_seconds=scale.steady_seconds,
        )
        recorded = _task_runs(environment)
        begun = stage.tally()
        (outcome,) = compete([job], environment)
        tally = stage.tally()
    (ending,) = outcome.endings
    lanes = lanes_of(asked)
    return Batch(
        nodes=nodes,
        clusters=clusters,
        seconds=ending.known_at - ending.called_at,
        ideal_seconds=max(sum(tally.dag_seconds[name]) for name in lanes),
        cpu_seconds=outcome.cpu_seconds,
        memory_bytes=outcome.memory_bytes,
        asked_agents=sum(tally.requests[name] for name in lanes),
        asked_prefect=outcome.asked_prefect,
        task_runs=_task_runs(environment, recorded + nodes + clusters) - recorded,
        lag_seconds=outcome.lag_seconds,
        sandbox_share=(tally.cpu_seconds - begun.cpu_seconds) / (tally.at - begun.at),
    )


def world_of(nodes: int, clusters: int) -> WorldConfig:
    """Describe the clusters, the spares they get, and one cluster more to warm up on.

    All clusters need equally long, and no two that stand side by side the same at the same time.
    How long an observer takes to serve after its DAG is the cluster's time, as the DAG is: none.
    """
    deep = math.ceil(nodes / clusters)
    starts, dealt = start_seconds(deep), clusters + 1
    slowness = [starts[(n % dealt + n // dealt) % deep] for n in range(dealt * deep)]
    world = crowd(dealt, slowness, spares=len(slowness))
    return world.model_copy(update={"service_start_delay_seconds": 0.0})


def _task_runs(environment: dict[str, str], wanted: int = 0) -> int:
    """Give how many task runs of batches a server knows; it writes them down a little later."""
    if not environment:
        return 0
    of_batches = {"flows": {"name": {"any_": ["batch"]}}}
    give_up = time.monotonic() + RECORDED_SECONDS
    with httpx.Client(trust_env=False) as client:
        while True:
            answer = client.post(
                f"{environment['PREFECT_API_URL']}/task_runs/count", json=of_batches
            )
            count: int = answer.raise_for_status().json()
            if count >= wanted or time.monotonic() > give_up:
                return count
            Event().wait(LOOK_AGAIN_SECONDS)


def _rows(nodes: int, on_postgres: Batches, on_sqlite: Batches, by_sdk: Batches) -> Iterator[Row]:
    if ours := on_postgres.get(nodes):
        largest = nodes == max(by_sdk)
        most = MAKESPAN_TIMES.get(nodes)
        yield from _beside(ours, by_sdk[nodes], "PostgreSQL", most, is_judged=largest)
    if ours := on_sqlite.get(nodes):
        yield from _beside(ours, by_sdk[nodes], "SQLite", is_judged=False)


def _beside(
    ours: Batch, sdk: Batch, database: str, most: float | None = None, *, is_judged: bool
) -> Iterator[Row]:
    told = f"{ours.nodes} over {ours.clusters}, {database}: "
    yield _makespan(told, ours, sdk, most)
    yield Row(
        part="e",
        measure=f"{told}CPU per node, ms",
        ours=short(ours.cpu_ms_each),
        theirs=short(sdk.cpu_ms_each),
        ratio=ours.cpu_ms_each / sdk.cpu_ms_each,
        at_most=MOST_CPU_TIMES if is_judged else None,
    )
    yield Row(
        part="e",
        measure=f"{told}most memory of the process, MiB; ÷ {MOST_MIB}",
        ours=short(ours.memory_bytes / MIB),
        theirs=short(sdk.memory_bytes / MIB),
        ratio=ours.memory_bytes / MIB / MOST_MIB,
        at_most=1.0 if is_judged else None,
    )
    yield _questions(told, ours, sdk)
    if is_judged:
        yield Row(
            part="e",
            measure=f"{told}the same ÷ {MOST_QUESTIONS}",
            ours=short(ours.asked_agents / ours.nodes),
            ratio=ours.asked_agents / ours.nodes / MOST_QUESTIONS,
            at_most=1.0,
        )
    yield Row(
        part="e",
        measure=f"{told}requests to Prefect's API per node; task runs per node",
        ours=f"{short(ours.asked_prefect / ours.nodes)}; {short(ours.task_runs / ours.nodes)}",
    )
    if is_judged:
        yield Row(
            part="e",
            measure=f"{told}longest time its event loop heard nothing, s",
            ours=short(ours.lag_seconds),
        )
        yield Row(
            part="f",
            measure=f"{told}the sandbox's share of one core, %",
            ours=short(PERCENT * ours.sandbox_share),
        )


def _late(seconds: float, ours: Batch, sdk: Batch) -> Iterator[Row]:
    told = f"{ours.nodes} over {ours.clusters}, PostgreSQL, every answer {seconds:g} s late: "
    yield _makespan(told, ours, sdk)
    yield _questions(told, ours, sdk)


def _makespan(told: str, ours: Batch, sdk: Batch, most: float | None = None) -> Row:
    return Row(
        part="e",
        measure=f"{told}makespan ÷ the longest cluster's DAGs",
        ours=f"{short(ours.over_ideal)} ({short(ours.seconds)} s)",
        theirs=f"{short(sdk.over_ideal)} ({short(sdk.seconds)} s)",
        ideal=f"1 ({short(ours.ideal_seconds)} s)",
        ratio=ours.over_ideal,
        at_most=most,
    )


def _questions(told: str, ours: Batch, sdk: Batch) -> Row:
    return Row(
        part="e",
        measure=f"{told}requests to agents per node",
        ours=short(ours.asked_agents / ours.nodes),
        theirs=short(sdk.asked_agents / sdk.nodes),
        ratio=ours.asked_agents / sdk.asked_agents,
    )


def _flat(batches: Batches, scale: Scale) -> Row:
    *_, fewer, most = (batches[nodes] for nodes in scale.batches)
    return Row(
        part="e",
        measure=f"CPU per node, {most.nodes} nodes ÷ {fewer.nodes} nodes, PostgreSQL",
        ours=f"{short(most.cpu_ms_each)} ÷ {short(fewer.cpu_ms_each)} ms",
        ratio=most.cpu_ms_each / fewer.cpu_ms_each,
        at_most=CPU_TIMES,
    )
