"""A contender in a process of its own: begins at the given moments, and says when it knew the end.

Run as a program it reads a job from standard input, warms up, says `ready`, reads the moment at
which all contenders begin, and prints its outcome. Only its own work counts as its CPU time.
"""

import asyncio
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Final, Literal

from pydantic import BaseModel

from benchmarks.world import KIB, Place

LAG_LOOK_SECONDS: Final = 0.1
LEAD_SECONDS: Final = 1.0
"""From the last contender's `ready` to the first start."""

Kind = Literal["obscale", "sdk", "bare", "run", "empty", "batch", "dispatched", "lanes"]
Act = Callable[[Place], Awaitable[float]]
ActTogether = Callable[[Sequence[Place], Sequence[float]], Awaitable[Sequence["Ending"]]]
"""Gets all places, and the Unix seconds at which they may begin."""


class Job(BaseModel):
    """What one contender is to do.

    Args:
        kind: `obscale`, `sdk` and `bare` submit and follow; `run` is the whole Prefect flow;
            `empty` a flow of four tasks that do nothing; `batch` the Prefect flow of that name with
            all places in one, `dispatched` the same on workers, `lanes` the same by the SDK: one
            thread a cluster.
        warm: A cluster that does not count.
        places: One for each expansion.
        starts: Seconds after the common beginning, one for each expansion; one of batches and
            `lanes`.
        steady_seconds: Of the whole flow: how long the new observer must stay connectable.
        at_once: Of batches: how many clusters grow side by side; None: all.
    """

    kind: Kind
    warm: Place
    places: tuple[Place, ...]
    starts: tuple[float, ...]
    steady_seconds: float = 0.0
    at_once: int | None = None


class Ending(BaseModel):
    """When one expansion was called for, and when its end was known; Unix seconds."""

    cluster: str
    called_at: float
    known_at: float


class Outcome(BaseModel):
    """What one contender did.

    Args:
        endings: Of its expansions; of batches and `lanes` one for all.
        cpu_seconds: They took together.
        memory_bytes: Most the process ever held, with all it has imported.
        asked_prefect: Requests to Prefect's API; events, which go over one web socket, are none.
            Counted of batches only.
        lag_seconds: Longest time for which its event loop heard nothing. Of batches only.
    """

    endings: tuple[Ending, ...]
    cpu_seconds: float
    memory_bytes: int
    asked_prefect: int = 0
    lag_seconds: float = 0.0


def compete(jobs: Sequence[Job], environment: dict[str, str] | None = None) -> Iterator[Outcome]:
    """Let contenders run at the same time, each in its own process, and give their outcomes."""
    command = [sys.executable, "-m", "benchmarks.contender"]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603 - this interpreter and this file
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    # Ctrl-C is the parent's to hear: it ends what it started.
                    start_new_session=True,
                    env=os.environ | (environment or {}),
                )
            )
            for _ in jobs
        ]
        for process in running:
            stack.callback(process.kill)
        for process, job in zip(running, jobs, strict=True):
            _say(process, job.model_dump_json())
        for process in running:
            _hear(process)
        begin = time.time() + LEAD_SECONDS
        for process in running:
            _say(process, str(begin))
        yield from [Outcome.model_validate_json(_hear(process)) for process in running]


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    if process.stdin is None:
        raise AssertionError("started without pipes")
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _hear(process: "subprocess.Popen[str]") -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError("a contender ended by itself; its last words stand above")
    return line


async def _main() -> None:
    job = Job.model_validate_json(sys.stdin.readline())
    # Nothing a library prints may reach the pipe to the parent.
    pipe, sys.stdout = sys.stdout, sys.stderr
    watch = Watch()
    act = await _warmed(job, watch)
    print("ready", file=pipe, flush=True)
    begin = float(sys.stdin.readline())
    used = time.process_time()
    endings = await act(job.places, [begin + start for start in job.starts])
    outcome = Outcome(
        endings=tuple(endings),
        cpu_seconds=time.process_time() - used,
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB,
        asked_prefect=watch.asked,
        lag_seconds=watch.lag_seconds,
    )
    print(outcome.model_dump_json(), file=pipe, flush=True)


class Watch(logging.Handler):
    """Counts what goes to Prefect, and how long the event loop heard nothing."""

    asked = 0
    lag_seconds = 0.0

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the name is the base's
        """Count one request httpx tells of: Prefect's clients have it tell, obscale does not."""
        self.asked += 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch inside this block."""
        told = logging.getLogger("httpx")
        told.addHandler(self)
        told.setLevel(logging.INFO)
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()
            told.removeHandler(self)

    async def _look(self) -> None:
        while True:
            due = time.monotonic() + LAG_LOOK_SECONDS
            await asyncio.sleep(LAG_LOOK_SECONDS)
            self.lag_seconds = max(self.lag_seconds, time.monotonic() - due)


def _apart(act: Act) -> ActTogether:
    """Let each place begin at its own moment."""

    async def one(place: Place, due: float) -> Ending:
        await asyncio.sleep(max(due - time.time(), 0))
        called_at = time.time()
        return Ending(cluster=place.cluster, called_at=called_at, known_at=await act(place))

    async def all_of(places: Sequence[Place], dues: Sequence[float]) -> list[Ending]:
        return await asyncio.gather(*map(one, places, dues))

    return all_of


def _as_one(act: Callable[[Sequence[Place]], Awaitable[None]]) -> ActTogether:
    """Let all places begin at the first moment."""

    async def all_of(places: Sequence[Place], dues: Sequence[float]) -> list[Ending]:
        await asyncio.sleep(max(dues[0] - time.time(), 0))
        called_at = time.time()
        await act(places)
        return [Ending(cluster="", called_at=called_at, known_at=time.time())]

    return all_of


async def _warmed(job: Job, watch: Watch) -> ActTogether:
    """Load what the job needs and do it once, so that first times do not count."""
    match job.kind:
        case "obscale":
            from benchmarks import ours  # noqa: PLC0415 - only what the job needs is loaded

            async with ours.client_of(job.warm) as client:
                await ours.ask(client, 1)
            return _apart(ours.expand)
        case "sdk" | "lanes":
            from benchmarks import sdk  # noqa: PLC0415 - as above

            threads = ThreadPoolExecutor(max_workers=max(len(job.places), 1))
            await asyncio.to_thread(sdk.ask, sdk.client_of(job.warm), 1)
            if job.kind == "lanes":
                return _as_one(lambda places: sdk.expand_lanes(places, threads))
            return _apart(
                lambda place: asyncio.get_running_loop().run_in_executor(threads, sdk.expand, place)
            )
        case "bare":
            from benchmarks import bare  # noqa: PLC0415 - as above

            bare.Line(job.warm).ask(1)
            return _apart(bare.expand)
        case "run" | "empty" | "batch" | "dispatched":
            return await _warmed_prefect(job, watch)


async def _warmed_prefect(job: Job, watch: Watch) -> ActTogether:
    from benchmarks import prefect_flows  # noqa: PLC0415 - as above
    from obscale.request.time_limits import TimeLimits  # noqa: PLC0415 - as above

    time_limits = TimeLimits(steady_seconds=job.steady_seconds)
    await prefect_flows.empty(job.warm)
    if job.kind == "empty":
        return _apart(prefect_flows.empty)
    if job.kind == "run":
        return _apart(prefect_flows.runner(time_limits))

    async def batch(places: Sequence[Place]) -> None:
        with watch.watching():
            await prefect_flows.batch_of(
                places,
                time_limits,
                "deployment" if job.kind == "dispatched" else "process",
                job.at_once,
            )

    return _as_one(batch)


if __name__ == "__main__":
    asyncio.run(_main())
