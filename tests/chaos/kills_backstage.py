"""The processes behind the kills: Prefect's server, and a parent that forks flow runs."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from obscale.cli.local_prefect import SERVER_SETTINGS

LOOK_SECONDS: Final = 0.005
START_SECONDS: Final = 240.0
"""Longest start of a server or of the parent on a loaded machine."""
MOST_TRIES: Final = 40
BUSY_SECONDS: Final = 0.5
"""Pause before a server whose database is busy is asked again."""
OUR_CODE: Final = re.compile(r'^\s+File ".*/(obscale|flows|tasks)/', re.MULTILINE)
Program = Literal["scale-out", "remove", "replace", "use", "batch", "apply"]
TRACEBACK: Final = "Traceback (most recent call last)"
QUIET_START: Final = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
}


@dataclass
class Run:
    """One flow process."""

    number: int
    said: Path
    ending: Path
    pid: int = 0
    status: int | None = None
    """Exit code; negative: the signal that ended it."""
    began_at: int = 0
    """Requests the world had seen before."""
    flow_run_id: str = ""
    born: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def kill(self) -> bool:
        """SIGKILL; False when it has ended by itself."""
        if self.gone.is_set():
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return True

    def words(self) -> str:
        """All it has said so far."""
        return self.said.read_text(errors="replace") if self.said.exists() else ""

    def ended(self) -> dict[str, Any]:
        """How the flow ended, as the process wrote it down; empty when it did not come to that."""
        return json.loads(self.ending.read_text()) if self.ending.exists() else {}

    def our_tracebacks(self) -> list[str]:
        """Last lines of tracebacks that lead through the project's code."""
        found = []
        for after in self.words().split(TRACEBACK)[1:]:
            block = re.split(r"^(?=\S)", after.lstrip("\n: "), maxsplit=1, flags=re.MULTILINE)
            if OUR_CODE.search(block[0]):
                found.append(block[1].split("\n")[0][:200] if len(block) > 1 else "?")
        return found


class Nursery:
    """Starts flow processes; see `kills_child`."""

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._runs: dict[int, Run] = {}
        self._is_over = False
        self._listening = asyncio.create_task(self._listen())

    async def start(
        self,
        *,
        parameters: dict[str, Any],
        environment: dict[str, str],
        flow_run_id: str = "",
        break_guard: bool = False,
        program: Program = "scale-out",
    ) -> Run:
        """Start a flow process, anew or for a flow run that exists; returns once it has a pid.

        Args:
            parameters: Of the flow; for `apply`, its file and the time limits of its rows.
            environment: Added to its own.
            flow_run_id: Of the run that is taken up; empty: a new one.
            break_guard: Leave out what the night is to prove.
            program: Which flow, or the command line.

        Raises:
            RuntimeError: The parent has ended; its own words stand above.
        """
        number = len(self._runs) + 1
        said = self._folder / f"run-{number}"
        run = Run(number, said.with_suffix(".log"), said.with_suffix(".json"))
        run.flow_run_id = flow_run_id
        self._runs[number] = run
        order = {
            "number": number,
            "said": str(run.said),
            "ending": str(run.ending),
            "parameters": parameters,
            "environment": environment,
            "flow_run_id": flow_run_id,
            "break_guard": break_guard,
            "program": program,
        }
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._process.stdin.drain()
        if not self._is_over:
            async with asyncio.timeout(START_SECONDS):
                await run.born.wait()
        if not run.pid:
            raise RuntimeError("the parent of the flow processes has ended")
        return run

    async def close(self) -> None:
        """End the parent; it takes its children along."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            news = json.loads(line)
            run = self._runs.get(news.get("number", 0))
            if run and "pid" in news:
                run.pid = news["pid"]
                run.born.set()
            elif run:
                run.status = news["status"]
                run.gone.set()
        self._is_over = True
        for run in self._runs.values():
            run.born.set()
            run.gone.set()


class PrefectServer:
    """A real server process with a home of its own, which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.api = f"http://127.0.0.1:{self._port}/api"
        own = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
        self.environment = own | {"PREFECT_HOME": str(home), "PREFECT_API_URL": self.api}
        self._log = home / "server.log"
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers; a port still held by its dead connections is retried.

        Raises:
            TimeoutError: It never did.
        """
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient() as client:
            while True:
                if self._process is None or self._process.returncode is not None:
                    self._process = await self._launch()
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{self.api}/health")).is_success:
                        return
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        """SIGKILL to it and what it started."""
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask its API; where its database is busy, again as Prefect's own client does.

        Raises:
            httpx.HTTPStatusError: It refused, or was busy every time.
        """
        async with httpx.AsyncClient(timeout=60) as client:
            tries = 1
            while True:
                answer = await client.post(f"{self.api}{path}", json=body)
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or tries == MOST_TRIES:
                    break
                tries += 1
                await asyncio.sleep(BUSY_SECONDS)
            answer.raise_for_status()
            return answer.json()

    async def _launch(self) -> Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "prefect", "--no-prompt", "server", "start"),
                *("--host", "127.0.0.1", "--port", str(self._port)),
                env=self.environment | SERVER_SETTINGS | QUIET_START,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@dataclass(frozen=True)
class Backstage:
    """What the cases of one lane share."""

    server: PrefectServer
    nursery: Nursery


@asynccontextmanager
async def backstage(folder: Path) -> AsyncIterator[Backstage]:
    """A server and a nursery until the end of this block."""
    server = PrefectServer(folder / "prefect")
    try:
        await server.start()
        async with parent(server, folder) as nursery:
            yield Backstage(server, nursery)
    finally:
        await server.kill()


@asynccontextmanager
async def parent(
    server: PrefectServer, folder: Path, home: Path | None = None
) -> AsyncIterator[Nursery]:
    """A parent of flow processes until the end of this block.

    Args:
        server: Its runs report to.
        folder: What the processes say goes there.
        home: Prefect's home for them, as on another worker's disk; None: the server's own.
    """
    own = {"PREFECT_HOME": str(home)} if home else {}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.kills_child"),
        env=server.environment | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"} | own,
        stdin=PIPE,
        stdout=PIPE,
    )
    nursery = Nursery(process, folder)
    try:
        yield nursery
    finally:
        await nursery.close()


async def until(holds: Callable[[], bool], run: Run) -> bool:
    """Wait for something to hold; False when the process ends before it does."""
    while not holds():
        if run.gone.is_set():
            return holds()
        await asyncio.sleep(LOOK_SECONDS)
    return True
