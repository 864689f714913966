"""Part l: a batch whose clusters several workers share, and one with a worker killed half-way."""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import httpx

from benchmarks.batches import world_of
from benchmarks.contender import Job, compete
from benchmarks.figures import NOTHING, Row, short
from benchmarks.postgres import INSTALL, SIZE, answer_of, postgres_programs, postgres_server
from benchmarks.prefect_server import prefect_server
from benchmarks.processes import Process, all_processes, shared_out_bytes, tree_of
from benchmarks.scale import Dispatched, Scale
from benchmarks.world import PASSWORD_VARIABLE, Stage, lanes_of, played

ROOT: Final = Path(__file__).resolve().parents[1]
POOL: Final = "obscale"
MIB: Final = 1 << 20
KIB: Final = 1 << 10
LOOK_SECONDS: Final = 2.0
"""Between two looks at all processes."""
SELDOM: Final = 3
"""Looks between two that take longer: at the memory that is shared, and at what was submitted."""
END_SECONDS: Final = 120
LONGEST_SECONDS: Final = 300
PAGE: Final = 200
"""Rows Prefect gives an answer."""
OFTENEST: Final = 5
LONGEST_ERROR: Final = 10_000
"""Characters of an error of Prefect's server, with where in its code it came from."""
NO_POSTGRES: Final = f"a batch on workers: not measured, there is no PostgreSQL here: {INSTALL}"
STARTED: Final = {
    "Python and Prefect": "import prefect.flow_engine",
    "these and obscale": "import prefect.flow_engine, obscale.flows.batch_worker",
}
"""What a part's process imports before it asks anybody."""
SERVER, DATABASE, WORKERS, PARTS, BATCH = "server", "PostgreSQL", "workers", "parts", "batch"
KINDS: Final = {
    "benchmarks.contender": BATCH,
    "benchmarks.world": "sandbox",
    "worker": WORKERS,
    "server": SERVER,
    "postgres": DATABASE,
}
"""What a process is, by a word of its command line; what one has started is as it is itself."""
_ERROR: Final = re.compile(r'HTTP/[0-9.]+" 5\d\d')
_REQUEST: Final = re.compile(r'"(GET|POST|PUT|PATCH|DELETE) /api(/[^ ?"]*)')
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


@dataclass
class Seen:
    """What was seen of the processes of one batch.

    Args:
        cpu_seconds: By kind of process.
        one_bytes: The most that one process of a kind held.
        together_bytes: The most that all held at one moment, shared pages counted once.
        most_parts: Parts alive at one moment.
        killed: Parts that were killed with their worker.
    """

    cpu_seconds: dict[str, float] = field(default_factory=dict)
    one_bytes: dict[str, int] = field(default_factory=dict)
    together_bytes: int = 0
    most_parts: int = 0
    killed: int = 0


@dataclass(frozen=True)
class Batch:
    """What became of one batch.

    Args:
        asked: Its size.
        seconds: From the call of the flow to its return.
        longest_seconds: The longest cluster's sum of its DAGs.
        ideal_seconds: The same, or what all DAGs take with so many clusters at once, if longer.
        posts: Scale-outs that reached the clusters.
        seen: Of its processes.
        own_requests: To Prefect's API, of the batch's own process.
        requests: The same of all processes, by what was asked.
        database_bytes: By which Prefect's database grew.
        parts: Of each run of a part: seconds until a worker took it, until it ran, until it ended.
        errors: Answers 5xx of Prefect's server.
        ended_workers: Workers that ended by themselves.
    """

    asked: Dispatched
    seconds: float
    longest_seconds: float
    ideal_seconds: float
    posts: int
    seen: Seen
    own_requests: int
    requests: Counter[str]
    database_bytes: int
    parts: tuple[tuple[float, float, float], ...]
    errors: int
    ended_workers: int


async def measure(scale: Scale) -> list[Row]:
    """Run the batches one after the other, each with workers and a world of its own."""
    programs = postgres_programs()
    if programs is None:
        return [Row("l", NO_POSTGRES, NOTHING)]
    password = token_hex()
    rows = list(_starts(scale.starts))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="obscale-bench-")))
        address = stack.enter_context(postgres_server(programs, password))
        database = f"postgresql+asyncpg://prefect:{password}@{address}/prefect"
        log = folder / "requests.log"
        environment = stack.enter_context(prefect_server(database, log))
        prefect = _Prefect(
            environment
            | {
                "PREFECT_HOME": str(folder / "clients"),
                "PREFECT_LOCAL_STORAGE_PATH": str(folder / "results"),
            },
            log,
            lambda: int(answer_of(programs, address, password, SIZE)),
        )
        prefect.deploy()
        for asked in scale.dispatched:
            rows += _rows(_run(asked, scale, prefect))
    return rows


def _starts(times: int) -> Iterator[Row]:
    """Measure what the start of a part's process takes before it asks anybody."""
    for name, words in STARTED.items():
        taken: list[float] = []
        for _ in range(times):
            process = subprocess.Popen(  # noqa: S603 - this interpreter and words of this module
                [sys.executable, "-c", words], cwd=ROOT, env=_compiling()
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            taken.append(usage.ru_utime + usage.ru_stime)
        yield Row("l", f"a part's start, {name}: CPU s", short(statistics.median(taken)))


def _compiling() -> dict[str, str]:
    """Give this environment, in which what Python has compiled is kept for the next process."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class _Prefect:
    """The server that all batches share.

    Args:
        environment: Of its clients.
        log: With a line for each request.
        database_bytes: Says how large its database is.
    """

    environment: dict[str, str]
    log: Path
    database_bytes: Callable[[], int]

    def deploy(self) -> None:
        """Make the work pool, and the deployment for parts as the project has it."""
        for words in (
            ["work-pool", "create", POOL, "--type", "process"],
            [
                *("deploy", "--name", "batch-part-workers"),
                *("--prefect-file", str(ROOT / "deployments" / "prefect.yaml")),
            ],
        ):
            subprocess.run(  # noqa: S603 - this interpreter
                [sys.executable, "-m", "prefect", "--no-prompt", *words],
                cwd=ROOT,
                env=os.environ | self.environment,
                check=True,
                capture_output=True,
                timeout=LONGEST_SECONDS,
            )

    def ask(self, path: str, **content: Any) -> Any:
        """Send a POST to the API; gives the JSON of its answer."""
        with httpx.Client(trust_env=False, timeout=LONGEST_SECONDS) as client:
            url = f"{self.environment['PREFECT_API_URL']}{path}"
            return client.post(url, json=content).raise_for_status().json()

    def states_of(self, run: str) -> list[dict[str, Any]]:
        """Give the states of a run."""
        with httpx.Client(trust_env=False, timeout=LONGEST_SECONDS) as client:
            url = f"{self.environment['PREFECT_API_URL']}/flow_run_states/"
            found: list[dict[str, Any]] = (
                client.get(url, params={"flow_run_id": run}).raise_for_status().json()
            )
        return found

    def parts(self) -> list[str]:
        """Give the ids of all runs of parts."""
        found: list[str] = []
        while True:
            some = self.ask(
                "/flow_runs/filter",
                flows={"name": {"any_": ["batch-part"]}},
                sort="EXPECTED_START_TIME_ASC",
                offset=len(found),
                limit=PAGE,
            )
            found += [run["id"] for run in some]
            if len(some) < PAGE:
                return found

    def errors(self) -> int:
        """Count its answers 5xx until now."""
        return len(_ERROR.findall(self.log.read_text(encoding="utf-8", errors="replace")))

    def last_error(self) -> str:
        """Give the last error it has told."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return text.rpartition("| ERROR")[2][:LONGEST_ERROR] or "none"

    def requests(self) -> Counter[str]:
        """Count what the server was asked until now."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return Counter(
            f"{verb} {_ID.sub('ID', path).rstrip('/')}" for verb, path in _REQUEST.findall(text)
        )


def _run(asked: Dispatched, scale: Scale, prefect: _Prefect) -> Batch:
    with played(world_of(asked.nodes, asked.clusters), scale.speed) as stage, ExitStack() as stack:
        *places, warm = sorted(stage.places, key=lambda place: place.cluster_id > asked.clusters)
        places = [place for place in places if place.cluster_id <= asked.clusters][: asked.nodes]
        workers = [
            stack.enter_context(_worker(n, asked, prefect, warm.password))
            for n in range(asked.workers)
        ]
        _wait_until(lambda: _online(prefect) >= asked.workers, "the workers are online")
        job = Job(
            kind="dispatched",
            warm=warm,
            places=tuple(places),
            starts=(0.0,),
            steady_seconds=scale.steady_seconds,
            at_once=asked.at_once,
        )
        known = set(prefect.parts())
        before, size, used = prefect.requests(), prefect.database_bytes(), _cpu_seconds()
        errors = prefect.errors()
        looks = _Looks([worker.pid for worker in workers], stage, asked)
        with looks.looking():
            try:
                (outcome,) = compete([job], prefect.environment)
            except RuntimeError as failed:
                failed.add_note(f"the last error of Prefect's server: {prefect.last_error()}")
                raise
        ended = sum(worker.poll() is not None for worker in workers) - asked.is_killed
        _wait_until(lambda: not _count_parts(), "the last parts have ended")
        looks.take_cpu(used, outcome.cpu_seconds)
        tally, lanes = stage.tally(), lanes_of(places)
        sums = [sum(tally.dag_seconds[name]) for name in lanes]
        (ending,) = outcome.endings
        return Batch(
            asked=asked,
            seconds=ending.known_at - ending.called_at,
            longest_seconds=max(sums),
            ideal_seconds=max(*sums, sum(sums) / asked.at_once),
            posts=sum(tally.posts[name] for name in lanes),
            seen=looks.seen,
            own_requests=outcome.asked_prefect,
            requests=prefect.requests() - before,
            database_bytes=prefect.database_bytes() - size,
            parts=tuple(
                _waits(prefect.states_of(run)) for run in prefect.parts() if run not in known
            ),
            errors=prefect.errors() - errors,
            ended_workers=ended,
        )


def _waits(states: Sequence[Mapping[str, Any]]) -> tuple[float, float, float]:
    """Give what a part's run waited for a worker, took to start, and ran; seconds."""
    at = {state["type"]: datetime.fromisoformat(state["timestamp"]) for state in states}
    made, ended = min(at.values()), max(at.values())
    taken = at.get("PENDING", ended)
    runs = at.get("RUNNING", ended)
    first, second, third = taken - made, runs - taken, ended - runs
    return first.total_seconds(), second.total_seconds(), third.total_seconds()


@contextmanager
def _worker(
    number: int, asked: Dispatched, prefect: _Prefect, password: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a worker with its share of places, and end it with the block; its words are kept."""
    places = -(-asked.at_once // asked.workers)
    words = ["worker", "start", "--pool", POOL, "--type", "process", "--limit", str(places)]
    said = prefect.log.with_name(f"worker-{number}.log")
    with (
        said.open("ab") as out,
        subprocess.Popen(  # noqa: S603 - this interpreter
            [
                sys.executable,
                "-m",
                "prefect",
                *words,
                "--name",
                f"bench-{number}-{os.urandom(4).hex()}",
            ],
            env={**_compiling(), **prefect.environment, PASSWORD_VARIABLE: password},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            # Asked to end, it takes its time; nothing it runs is left.
            process.kill()
            process.wait(END_SECONDS)


def _online(prefect: _Prefect) -> int:
    found = prefect.ask(
        f"/work_pools/{POOL}/workers/filter", workers={"status": {"any_": ["ONLINE"]}}
    )
    return len({worker["name"] for worker in found})


def _wait_until(reached: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + LONGEST_SECONDS
    pause = threading.Event()
    while not reached():
        if time.monotonic() > give_up:
            raise RuntimeError(f"not within {LONGEST_SECONDS} s: {what}")
        pause.wait(1)


class _Looks:
    """Looks at all processes of this benchmark while a batch runs, and kills a worker.

    Args:
        workers: Process ids.
        stage: The clusters.
        asked: The batch.
    """

    def __init__(self, workers: Sequence[int], stage: Stage, asked: Dispatched) -> None:
        self._workers, self._stage, self._asked = workers, stage, asked
        self._ended = threading.Event()
        self._killed_seconds = self._killed_parts_seconds = 0.0
        self.seen = Seen()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look on in this block."""
        thread = threading.Thread(target=self._keep)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def take_cpu(self, before: Mapping[str, float], batch_seconds: float) -> None:
        """Take what all have used since an earlier count; the killed are no more to be asked.

        Args:
            before: The earlier count.
            batch_seconds: Of the batch's own process, which has ended.
        """
        now = _cpu_seconds()
        now[PARTS] += self._killed_parts_seconds
        now[WORKERS] += self._killed_seconds
        now[BATCH] = batch_seconds
        self.seen.cpu_seconds = {kind: now[kind] - before.get(kind, 0.0) for kind in now}

    def _keep(self) -> None:
        number = 0
        while not self._ended.wait(LOOK_SECONDS):
            number += 1
            own = list(_own_processes())
            for kind, process in own:
                most = max(self.seen.one_bytes.get(kind, 0), process.memory_bytes)
                self.seen.one_bytes[kind] = most
            parts = sum(kind == PARTS for kind, _ in own)
            self.seen.most_parts = max(self.seen.most_parts, parts)
            if number % SELDOM == 0:
                together = sum(shared_out_bytes(process.pid) for _, process in own)
                self.seen.together_bytes = max(self.seen.together_bytes, together)
                if self._asked.is_killed and not self.seen.killed and self._is_half_way():
                    self._kill_one()

    def _is_half_way(self) -> bool:
        return sum(self._stage.tally().posts.values()) * 2 >= self._asked.nodes

    def _kill_one(self) -> None:
        """Kill the worker that runs most, and all it runs: what a machine's end looks like."""
        known = all_processes()
        trees = [list(tree_of(pid, known)) for pid in self._workers]
        worker, *parts = max(trees, key=len)
        self._killed_seconds = worker.cpu_seconds
        self._killed_parts_seconds = worker.ended_seconds + sum(
            part.cpu_seconds + part.ended_seconds for part in parts
        )
        self.seen.killed = len(parts)
        for process in (worker, *parts):
            os.kill(process.pid, signal.SIGKILL)


def _own_processes() -> Iterator[tuple[str, Process]]:
    """Give each process this one has started, or these have, and its kind."""
    known = all_processes()
    below: dict[int, list[Process]] = {}
    for process in known.values():
        below.setdefault(process.parent, []).append(process)

    def walk(parent: int, kind: str) -> Iterator[tuple[str, Process]]:
        for process in below.get(parent, ()):
            own = PARTS if kind in {WORKERS, PARTS} else kind or _kind_of(process.words)
            yield own, process
            yield from walk(process.pid, own)

    return walk(os.getpid(), "")


def _kind_of(words: Iterable[str]) -> str:
    named = {word.rpartition("/")[2] for word in words}
    return next((kind for word, kind in KINDS.items() if word in named), "")


def _count_parts() -> int:
    return sum(kind == PARTS for kind, _ in _own_processes())


def _cpu_seconds() -> dict[str, float]:
    """Give the CPU seconds of each kind until now; those of ended parts stand with their worker."""
    found = dict.fromkeys((*KINDS.values(), PARTS), 0.0)
    for kind, process in _own_processes():
        found[kind] = found.get(kind, 0.0) + process.cpu_seconds
        ended = PARTS if kind == WORKERS else kind
        found[ended] = found.get(ended, 0.0) + process.ended_seconds
    return found


def _rows(batch: Batch) -> Iterator[Row]:
    asked, seen = batch.asked, batch.seen
    told = f"{asked.nodes} over {asked.clusters}, {asked.at_once} at once, {asked.workers} workers"
    told += f", one killed with {seen.killed} parts: " if asked.is_killed else ": "
    yield Row(
        part="l",
        measure=f"{told}makespan ÷ ideal",
        ours=f"{short(batch.seconds / batch.ideal_seconds)} ({short(batch.seconds)} s)",
        ideal=f"1 ({short(batch.ideal_seconds)} s; the longest cluster "
        f"{short(batch.longest_seconds)} s)",
        ratio=batch.seconds / batch.ideal_seconds,
    )
    yield Row(
        part="l",
        measure=f"{told}POSTs ÷ nodes; all verified",
        ours=f"{batch.posts} ÷ {asked.nodes}",
        ratio=batch.posts / asked.nodes,
        at_most=1.0,
    )
    yield Row(
        part="l",
        measure=f"{told}answers 5xx of Prefect's server; workers that ended by themselves",
        ours=f"{batch.errors}; {batch.ended_workers}",
        ratio=float(batch.ended_workers),
        at_most=0.0,
    )
    cpu = seen.cpu_seconds
    parts = len(batch.parts)
    yield Row(
        part="l",
        measure=f"{told}CPU s of parts, each; of all parts, batch, workers, server, PostgreSQL",
        ours=f"{short(cpu[PARTS] / parts)}; "
        + ", ".join(short(cpu[kind]) for kind in (PARTS, BATCH, WORKERS, SERVER, DATABASE)),
    )
    yield Row(
        part="l",
        measure=f"{told}runs of parts; alive at once",
        ours=f"{parts}; {seen.most_parts}",
    )
    one = seen.one_bytes
    yield Row(
        part="l",
        measure=f"{told}most MiB of one part, batch, worker, server, PostgreSQL process; "
        "of all together, shared pages once",
        ours=", ".join(
            short(one.get(kind, 0) / MIB) for kind in (PARTS, BATCH, WORKERS, SERVER, DATABASE)
        )
        + f"; {short(seen.together_bytes / MIB)}",
    )
    total = sum(batch.requests.values())
    yield Row(
        part="l",
        measure=f"{told}requests to Prefect's API a node; of the batch's own process",
        ours=f"{short(total / asked.nodes)}; {short(batch.own_requests / asked.nodes)}",
    )
    yield Row(
        part="l",
        measure=f"{told}of these most often, a node",
        ours=", ".join(
            f"{what} {short(count / asked.nodes)}"
            for what, count in batch.requests.most_common(OFTENEST)
        ),
    )
    yield Row(
        part="l",
        measure=f"{told}Prefect's database grew by, KiB a node",
        ours=short(batch.database_bytes / KIB / asked.nodes),
    )
    waits, starts, _ = zip(*batch.parts, strict=True)
    yield Row(
        part="l",
        measure=f"{told}a part waits for a worker, s; then starts, s; medians, longest",
        ours="; ".join(
            f"{short(statistics.median(each))}, {short(max(each))}" for each in (waits, starts)
        ),
    )
