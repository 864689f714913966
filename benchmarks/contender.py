"""A contender in a process of its own: begins at the given moments, and says when it knew the end.

Run as a program it reads a job from standard input, warms up, says `ready`, reads the moment at
which all contenders begin, and prints its outcome. Only its own work counts as its CPU time.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final, Literal

from pydantic import BaseModel

from benchmarks.world import Place

LEAD_SECONDS: Final = 1.0
"""From the last contender's `ready` to the first start."""

Kind = Literal["obscale", "sdk", "bare", "run", "empty"]
Act = Callable[[Place], Awaitable[float]]


class Job(BaseModel):
    """What one contender is to do.

    Args:
        kind: `obscale`, `sdk` and `bare` submit and follow; `run` is the whole Prefect flow;
            `empty` a flow of four tasks that do nothing.
        warm: A cluster that does not count.
        places: One for each expansion.
        starts: Seconds after the common beginning, one for each expansion.
        steady_seconds: Of the whole flow: how long the new observer must stay connectable.
    """

    kind: Kind
    warm: Place
    places: tuple[Place, ...]
    starts: tuple[float, ...]
    steady_seconds: float = 0.0


class Ending(BaseModel):
    """When one expansion was called for, and when its end was known; Unix seconds."""

    cluster: str
    called_at: float
    known_at: float


class Outcome(BaseModel):
    """All endings of one contender, and the CPU seconds they took together."""

    endings: tuple[Ending, ...]
    cpu_seconds: float


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
    act = await _warmed(job)
    print("ready", file=pipe, flush=True)
    begin = float(sys.stdin.readline())
    used = time.process_time()
    endings = await asyncio.gather(
        *(
            _one(act, place, begin + start)
            for place, start in zip(job.places, job.starts, strict=True)
        )
    )
    outcome = Outcome(endings=tuple(endings), cpu_seconds=time.process_time() - used)
    print(outcome.model_dump_json(), file=pipe, flush=True)


async def _one(act: Act, place: Place, due: float) -> Ending:
    await asyncio.sleep(max(due - time.time(), 0))
    called_at = time.time()
    return Ending(cluster=place.cluster, called_at=called_at, known_at=await act(place))


async def _warmed(job: Job) -> Act:
    """Load what the job needs and do it once, so that first times do not count."""
    match job.kind:
        case "obscale":
            from benchmarks import ours  # noqa: PLC0415 - only what the job needs is loaded

            async with ours.client_of(job.warm) as client:
                await ours.ask(client, 1)
            return ours.expand
        case "sdk":
            from benchmarks import sdk  # noqa: PLC0415 - as above

            threads = ThreadPoolExecutor(max_workers=max(len(job.places), 1))
            await asyncio.to_thread(sdk.ask, sdk.client_of(job.warm), 1)
            return lambda place: asyncio.get_running_loop().run_in_executor(
                threads, sdk.expand, place
            )
        case "bare":
            from benchmarks import bare  # noqa: PLC0415 - as above

            bare.Line(job.warm).ask(1)
            return bare.expand
        case "run" | "empty":
            from benchmarks import prefect_flows  # noqa: PLC0415 - as above

            await prefect_flows.empty(job.warm)
            if job.kind == "empty":
                return prefect_flows.empty
            return prefect_flows.runner(job.steady_seconds)


if __name__ == "__main__":
    asyncio.run(_main())
