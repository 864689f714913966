"""An hour of runs in one process, and whether it or Prefect's database grow by more than is kept.

By hand: `python -m benchmarks.soak --minutes 60`. Round after round it plays a new world, adds
nodes by a batch and by runs of their own, and takes some out again; between two rounds, when
nothing is under way, it counts. It ends with 1 where something grew. What fails, say because a
busy machine answers late, is told, and is no growth.
"""

import argparse
import asyncio
import gc
import os
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from benchmarks.figures import short
from benchmarks.machine import machine_lines
from benchmarks.ours import ZONE
from benchmarks.postgres import INSTALL, SIZE, answer_of, postgres_programs, postgres_server
from benchmarks.prefect_server import prefect_server
from benchmarks.processes import all_processes, open_files, resident_bytes, tree_of
from benchmarks.world import Place, crowd, lanes_of, played, zone_of

MIB: Final = 1 << 20
KIB: Final = 1 << 10
SAMPLE_SECONDS: Final = 60.0
DAG_SPEED: Final = 100.0
"""Of the worlds: a DAG of half a minute is over in a third of a second."""
POLL_SECONDS: Final = 0.1
CLUSTERS: Final = 12
NODES: Final = 2
"""Of each cluster."""
ALONE: Final = 4
"""Clusters whose nodes are added by runs of their own; the others are of the batch."""
WARM_UP: Final = 0.2
"""Of all samples: what is imported, cached and grown once is there after that."""
FEWEST_SAMPLES: Final = 9
"""So that after the warm-up each third has two."""
RUN_KIB: Final = 2.0
"""Resident memory may grow by so much a run. A row's ledger entry, its facts and its report are
some 50 KiB: if one object of a run in twenty-five stayed behind, it would be seen."""
STEP_MIB: Final = 4.0
"""And by so much altogether: an allocator takes memory from the system in steps of one MiB and
gives it back late, so that two looks at one steady process differ by as much."""
LINEAR: Final = 0.1
"""By how much the rows of a run may differ between the two halves: how often a run tells of a DAG
depends on when it looks."""
KEPT: Final = {
    "flow_run": "the runs",
    "flow_run_state": "their states",
    "task_run": "their steps",
    "task_run_state": "their states",
    "artifact": "reports, evidence, baselines, tables",
    "artifact_collection": "the newest of each key",
    "log": "the log",
    "events": "events; Prefect deletes them after seven days",
    "event_resources": "what they are about",
}
"""Tables of Prefect's that grow with runs on purpose, and by what; operations.md says how to prune
them. Every other one must stand still."""
COUNT: Final = """
select table_name, (xpath('/row/c/text()', query_to_xml(
    format('select count(*) as c from %I', table_name), false, true, '')))[1]
from information_schema.tables where table_schema = 'public'
"""
HEAD: Final = (
    *("s", "runs", "rows done", "failed", "MiB", "files", "tasks", "threads"),
    *("server MiB", "database MiB", "rows of Prefect"),
)
Rows = dict[str, int]
Ask = Callable[[str], str]
"""Puts a question in SQL to Prefect's database."""


@dataclass(frozen=True)
class Sample:
    """What was counted between two rounds.

    Args:
        at: Seconds since the first round began.
        runs: Flow runs until then, as far as none failed.
        nodes: Rows carried out until then, additions and removals.
        failed: Of all runs.
        memory: Resident bytes of this process.
        files: Its open file descriptors.
        tasks: Of its event loop.
        threads: Its own.
        server_memory: Resident bytes of Prefect's server.
        rows: Of Prefect's database, by table.
        database: Bytes of it.
    """

    at: float
    runs: int
    nodes: int
    failed: int
    memory: int
    files: int
    tasks: int
    threads: int
    server_memory: int
    rows: Rows
    database: int


@dataclass(frozen=True)
class Verdict:
    """One thing that was watched: how it grew, and whether it may."""

    what: str
    said: str
    holds: bool


def main() -> int:
    """Soak and judge; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long; 60")
    parser.add_argument("--every", type=float, default=SAMPLE_SECONDS, help="seconds a sample; 60")
    asked = parser.parse_args()
    programs = postgres_programs()
    if programs is None:
        _tell(f"needs PostgreSQL, on which a busy server refuses nothing: {INSTALL}")
        return 1
    for line in machine_lines():
        _tell(f"- {line}")
    password = token_hex()
    with ExitStack() as stack:
        address = stack.enter_context(postgres_server(programs, password))
        database = f"postgresql+asyncpg://prefect:{password}@{address}/prefect"
        # Before Prefect is imported, which reads its settings then.
        os.environ.update(stack.enter_context(prefect_server(database)))
        samples, grown = asyncio.run(
            _soak(
                asked.minutes * 60,
                asked.every,
                lambda question: answer_of(programs, address, password, question),
            )
        )
    if len(samples) < FEWEST_SAMPLES:
        _tell(f"{len(samples)} samples are too few to judge by; let it run for longer")
        return 1
    verdicts = list(judge(samples))
    _tell("")
    for verdict in verdicts:
        _tell(f"{'holds' if verdict.holds else 'GROWS'}  {verdict.what}: {verdict.said}")
    _tell("")
    for name, count in grown:
        _tell(f"objects after the warm-up: {count:+d} {name}")
    return 0 if all(verdict.holds for verdict in verdicts) else 1


async def _soak(
    seconds: float, every: float, ask: Ask
) -> tuple[list[Sample], list[tuple[str, int]]]:
    """Play rounds until the time is over; gives the samples, and what objects came to stay."""
    server = next(
        process.pid
        for process in tree_of(os.getpid(), all_processes())
        if {"server", "start"} <= set(process.words)
    )
    began = time.monotonic()
    samples: list[Sample] = []
    warm: Counter[str] = Counter()
    runs = nodes = failed = 0
    _tell(f"| {' | '.join(HEAD)} |")
    _tell(f"| {' | '.join('---' for _ in HEAD)} |")
    while time.monotonic() - began < seconds:
        round_ = await _round()
        runs, nodes, failed = runs + round_[0], nodes + round_[1], failed + round_[2]
        at = time.monotonic() - began
        if samples and at - samples[-1].at < every:
            continue
        gc.collect()
        samples.append(
            Sample(
                at=at,
                runs=runs,
                nodes=nodes,
                failed=failed,
                memory=resident_bytes(os.getpid()),
                files=open_files(),
                tasks=len(asyncio.all_tasks()),
                threads=threading.active_count(),
                server_memory=resident_bytes(server),
                rows={name: int(count) for name, count in _pairs(ask(COUNT))},
                database=int(ask(SIZE)),
            )
        )
        _tell(_line(samples[-1]))
        if not warm and at >= WARM_UP * seconds:
            warm = _objects()
    return samples, (_objects() - warm).most_common(15)


async def _round() -> tuple[int, int, int]:
    """Play one world; gives how many runs and rows there were, and how many ways it failed in."""
    from benchmarks import prefect_flows  # noqa: PLC0415 - imports Prefect
    from obscale.request.time_limits import TimeLimits  # noqa: PLC0415 - as above

    limits = TimeLimits(steady_seconds=0.0, poll_seconds=POLL_SECONDS)
    with played(crowd(CLUSTERS, spares=CLUSTERS * NODES), DAG_SPEED) as stage:
        lanes = list(lanes_of(stage.places).values())
        shared = lanes[ALONE:]
        run = prefect_flows.runner(limits)

        async def alone(lane: Sequence[Place]) -> None:
            for place in lane:
                await run(place)
            await prefect_flows.take_out(lane[0], ZONE, limits)

        async def together() -> None:
            await prefect_flows.batch_of([place for lane in shared for place in lane], limits)
            first = [lane[0] for lane in shared]
            await prefect_flows.take_out_together(first, zone_of(0), limits)

        ended = await asyncio.gather(
            together(), *(alone(lane) for lane in lanes[:ALONE]), return_exceptions=True
        )
    wrong = [error for error in ended if error is not None]
    for error in wrong:
        _tell(f"failed: {type(error).__name__}: {error}")
    return 2 + ALONE * (NODES + 1), len(lanes) * (NODES + 1), len(wrong)


def _pairs(text: str) -> Iterator[list[str]]:
    return (line.split("|") for line in text.splitlines())


def judge(samples: Sequence[Sample]) -> Iterator[Verdict]:
    """Judge what was sampled; the first fifth is the warm-up.

    Args:
        samples: In their order, at least `FEWEST_SAMPLES`.
    """
    warmed = samples[int(len(samples) * WARM_UP) :]
    third = len(warmed) // 3
    first, last = warmed[:third], warmed[-third:]

    def middle(some: Sequence[Sample], name: str) -> float:
        return float(statistics.median(getattr(each, name) for each in some))

    runs = middle(last, "runs") - middle(first, "runs")
    before, after = middle(first, "memory"), middle(last, "memory")
    allowed = STEP_MIB * MIB + RUN_KIB * KIB * runs
    yield Verdict(
        "resident memory",
        f"{short(before / MIB)} MiB, then {short(after / MIB)}, {short(runs)} runs later "
        f"({(after - before) / KIB / runs:+.2f} KiB a run; allowed {short(allowed / MIB)} MiB)",
        after - before <= allowed,
    )
    for name in ("files", "tasks", "threads"):
        before, after = middle(first, name), middle(last, name)
        yield Verdict(f"open {name}", f"{before:g}, then {after:g}", after <= before)
    yield from _judge_rows(warmed)


def _judge_rows(warmed: Sequence[Sample]) -> Iterator[Verdict]:
    begin, half, end = warmed[0], warmed[len(warmed) // 2], warmed[-1]
    for name in sorted(end.rows):
        grew = end.rows[name] - begin.rows.get(name, 0)
        if not grew:
            continue
        rates = [
            (b.rows[name] - a.rows.get(name, 0)) / (b.rows["flow_run"] - a.rows["flow_run"])
            for a, b in ((begin, half), (half, end))
        ]
        is_linear = abs(rates[1] - rates[0]) <= LINEAR * rates[0]
        yield Verdict(
            f"rows of {name}",
            f"{short(rates[0])} a run, then {short(rates[1])}: {KEPT.get(name, 'not on purpose')}",
            name in KEPT and is_linear,
        )


def _objects() -> Counter[str]:
    gc.collect()
    return Counter(f"{type(o).__module__}.{type(o).__qualname__}" for o in gc.get_objects())


def _line(sample: Sample) -> str:
    cells = (
        f"{sample.at:.0f}",
        sample.runs,
        sample.nodes,
        sample.failed,
        f"{sample.memory / MIB:.1f}",
        sample.files,
        sample.tasks,
        sample.threads,
        f"{sample.server_memory / MIB:.0f}",
        f"{sample.database / MIB:.1f}",
        sum(sample.rows.values()),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
