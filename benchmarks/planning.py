"""Part k: time, memory and requests of `obscale plan` for batches of up to 10,000 rows."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Row, short
from benchmarks.ours import SAMPLE
from benchmarks.scale import Scale
from benchmarks.world import Stage, crowd, lanes_of, played, zone_of
from obscale.batch.ledger import Ledger, ledger_of
from obscale.batch.plan import plan_of
from obscale.connect.connections import EnvironmentSecrets
from obscale.plan import survey_all
from obscale.preflight.judge import judge_with_overrides
from obscale.request.scale_out import ScaleOut
from obscale.spec.batch import read_batch

CLUSTERS_A_WORLD: Final = 400
"""One process has 20,000 files at most here: each agent listens on one, and is asked over more."""
FIRST_NETWORK: Final = 10
CPU_TIMES: Final = 1.15
MIB: Final = 1 << 20
KIB: Final = 1 << 10
MILLI: Final = 1000
SECRET: Final = "BENCH_ROOT_PASSWORD"  # noqa: S105 - a name, no password
MOST_TOLD: Final = 2000
JUDGED: Final = 200
"""Rows whose rules are judged over and over, without a network."""


@dataclass(frozen=True)
class Planned:
    """One plan.

    Args:
        nodes: Its rows.
        clusters: They were dealt out to.
        seconds: From the command's start to its end.
        cpu_seconds: Of its process, imports included.
        memory_bytes: Most that process held.
        questions: Requests to agents, as these counted them.
        reading: CPU seconds for reading the file, in a process that has imported all.
        judging: The same for all rules of all rows, without a network.
        telling: The same for the order, the plan and its JSON.
    """

    nodes: int
    clusters: int
    seconds: float
    cpu_seconds: float
    memory_bytes: int
    questions: int
    reading: float
    judging: float
    telling: float

    @property
    def cpu_ms_each(self) -> float:
        """CPU milliseconds a row."""
        return MILLI * self.cpu_seconds / self.nodes


async def measure(scale: Scale) -> list[Row]:
    """Plan batches one after the other, each with worlds of its own."""
    plans = [await _run(nodes, clusters) for nodes, clusters in scale.plans]
    rows = [row for plan in plans for row in _rows(plan)]
    fewer, *_, most = plans
    return [
        *rows,
        Row(
            part="k",
            measure=f"CPU a row, {most.nodes} rows ÷ {fewer.nodes} rows",
            ours=f"{short(most.cpu_ms_each)} ÷ {short(fewer.cpu_ms_each)} ms",
            ratio=most.cpu_ms_each / fewer.cpu_ms_each,
            at_most=CPU_TIMES,
        ),
    ]


async def _run(nodes: int, clusters: int) -> Planned:
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="obscale-bench-") as folder:
        left = [min(CLUSTERS_A_WORLD, clusters - n) for n in range(0, clusters, CLUSTERS_A_WORLD)]
        deep = -(-nodes // clusters)
        stages = [
            stack.enter_context(played(crowd(n, spares=n * deep, network=number), 1.0))
            for number, n in enumerate(left, start=FIRST_NETWORK)
        ]
        path = _kept(_asked(stages, nodes), folder)
        os.environ[SECRET] = stages[0].places[0].password
        begun = sum(_questions(stage) for stage in stages)
        seconds, cpu_seconds, memory = _plan(path)
        asked = sum(_questions(stage) for stage in stages) - begun
        used = time.process_time()
        ledger = ledger_of(read_batch(path))
        reading = time.process_time() - used
        judging = await _judging(ledger)
        used = time.process_time()
        plan_of(ledger, datetime.now(UTC)).model_dump_json()
        telling = time.process_time() - used
    return Planned(nodes, clusters, seconds, cpu_seconds, memory, asked, reading, judging, telling)


def _kept(asked: dict[str, Any], folder: str) -> Path:
    path = Path(folder, "batch.json")
    path.write_text(json.dumps(asked), encoding="utf-8")
    return path


def _questions(stage: Stage) -> int:
    return sum(stage.tally().requests.values())


def _asked(stages: Sequence[Stage], nodes: int) -> dict[str, Any]:
    """Give a batch of that many nodes, dealt out to the clusters of all worlds."""
    lanes = {
        f"w{at}-{name}": lane
        for at, stage in enumerate(stages, start=1)
        for name, lane in lanes_of(stage.places).items()
    }
    left = iter(range(nodes))
    return {
        "connections": {
            name: {
                "endpoints": lane[0].endpoints,
                "password": {"env": SECRET},
                "name": lane[0].cluster,
                "id": lane[0].cluster_id,
            }
            for name, lane in lanes.items()
        },
        "clusters": [
            {
                "cluster": name,
                "nodes": [
                    {
                        "agentInfo": {"ip": place.spare_ip, "port": place.spare_port},
                        "zone": zone_of(at),
                        "obConfigs": SAMPLE,
                    }
                    for at, place in enumerate(lane)
                    if next(left, None) is not None
                ],
            }
            for name, lane in lanes.items()
        ],
    }


def _plan(path: Path) -> tuple[float, float, int]:
    """Run `obscale plan`; gives its seconds, its CPU seconds and the most bytes it held.

    Raises:
        RuntimeError: A row is not ready.
    """
    began = time.monotonic()
    with path.with_suffix(".plan").open("w", encoding="utf-8") as answer:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and a file of this module's
            # Its last line tells its memory: getrusage begins with what this process held.
            [sys.executable, "-m", "benchmarks.hostile", "plan", "--json", str(path)],
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
        )
    told = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode:
        said = path.with_suffix(".plan").read_text(encoding="utf-8")[:MOST_TOLD]
        raise RuntimeError(f"the plan ended with {process.returncode}: {said}{told}")
    peak = int(told.split()[-1]) * KIB
    return seconds, usage.ru_utime + usage.ru_stime, peak


async def _judging(ledger: Ledger) -> float:
    """Give the CPU seconds of judging all rows by facts read before; some stand for all."""
    orders = [entry.order for entry in ledger.entries if isinstance(entry.order, ScaleOut)]
    mates = [order for order in orders if order.cluster == orders[0].cluster]
    facts = await survey_all(mates, EnvironmentSecrets())
    times = max(min(JUDGED, len(orders)) // len(mates), 1)
    used = time.process_time()
    for _ in range(times):
        for order, each in zip(mates, facts, strict=True):
            judge_with_overrides(each, order.profile, order.overrides)
    return (time.process_time() - used) / (times * len(mates)) * len(orders)


def _rows(plan: Planned) -> Iterator[Row]:
    told = f"plan of {plan.nodes} rows over {plan.clusters} clusters: "
    yield Row("k", f"{told}seconds", short(plan.seconds))
    yield Row("k", f"{told}CPU seconds; ms a row", _each(plan.cpu_seconds, plan.nodes))
    yield Row("k", f"{told}most memory of the process, MiB", short(plan.memory_bytes / MIB))
    yield Row("k", f"{told}questions to agents a row", short(plan.questions / plan.nodes))
    yield Row(
        "k",
        f"{told}of the CPU, without a network: reading the file; judging; telling, s",
        f"{short(plan.reading)}; {short(plan.judging)}; {short(plan.telling)}",
    )


def _each(cpu_seconds: float, nodes: int) -> str:
    return f"{short(cpu_seconds)}; {short(MILLI * cpu_seconds / nodes)}"
