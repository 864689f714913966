"""Part i: how soon the command line answers, and how soon a run without a server sends its POST.

All programs run installed from a wheel, as their users have them: a checkout is compiled anew where
nobody may write beside it.
"""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Final

import httpx

from benchmarks.figures import Row, spread
from benchmarks.postgres import free_port
from benchmarks.scale import Scale
from benchmarks.world import Place, Stage, crowd, played
from obscale.cli.local_prefect import SERVER_SETTINGS

ROOT: Final = Path(__file__).resolve().parents[1]
SECRET: Final = "BENCH_ROOT_PASSWORD"  # noqa: S105 - a name, no password
LONGEST_SECONDS: Final = 600
LOOK_SECONDS: Final = 0.05
TYPER_SECONDS: Final = 0.07
"""A bare typer's help, where the bounds in seconds were set; this machine's is their measure."""
HELP_TIMES: Final = 0.3 / TYPER_SECONDS
PLAN_TIMES: Final = 0.8 / TYPER_SECONDS
FIRST_WORDS_TIMES: Final = 1.0 / TYPER_SECONDS
POST_SECONDS: Final = 1.5
"""Beyond what Prefect's own server takes to start."""
DEMO_SECONDS: Final = 15.0
DAG_SPEED: Final = 40.0
"""Of the DAGs behind the POST: nobody waits for them here."""
BARE_TYPER: Final = (
    "import typer\n"
    "app = typer.Typer(add_completion=False, rich_markup_mode=None)\n"
    "@app.command()\n"
    "def hello(name: str) -> None:\n    'Say hello.'\n"
    "app(['--help'])\n"
)
EMPTY_FLOW: Final = (
    "import asyncio\n"
    "from prefect import flow\n"
    "@flow\n"
    "async def empty() -> None: pass\n"
    "asyncio.run(empty())\n"
)
Seconds = dict[str, list[float]]


async def measure(scale: Scale) -> list[Row]:
    """Start each program in turns, so that all meet the same machine."""
    return await asyncio.to_thread(_measure, scale)


def _measure(scale: Scale) -> list[Row]:
    found: Seconds = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="obscale-bench-") as folder,
        played(crowd(scale.starts + 1), DAG_SPEED) as stage,
    ):
        *places, seen = stage.places
        here = _Here(Path(folder))
        request = here.write(seen)
        asked = here.environment | {SECRET: seen.password}
        programs: dict[str, tuple[list[str], Mapping[str, str]]] = {
            "typer": (here.python("-c", BARE_TYPER), here.environment),
            "help": (here.obscale("--help"), here.environment),
            "sdk": (here.python("-c", "import obshell"), here.environment),
            "prefect": (here.python("-m", "prefect", "version"), here.environment),
            "plan": (here.obscale("plan", request), asked),
        }
        for words, environment in programs.values():
            here.run(words, environment)  # what is read for the first time is slow
        for place in places:
            for name, (words, environment) in programs.items():
                found[name].append(here.run(words, environment))
            with here.home() as environment:
                found["server"].append(here.start_server(environment))
            with here.home() as environment:
                found["empty"].append(here.run(here.python("-c", EMPTY_FLOW), environment))
            with here.home() as environment:
                first, posted = here.apply(place, stage, environment)
                found["first"].append(first)
                found["post"].append(posted)
            found["demo"].append(here.run(here.obscale("demo"), here.environment))
    return _rows(found)


class _Here:
    """A folder with obscale installed from a wheel, and the rest of this environment beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment: dict[str, str] = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "OBSCALE_", "PYTHON"))
        } | {"XDG_CACHE_HOME": str(folder / "cache"), "NO_COLOR": "1"}
        self._bin = self._installed()
        self._home = folder / "home"
        # The first start makes a database; only later ones are alike.
        self.start_server(self.environment | SERVER_SETTINGS | {"PREFECT_HOME": str(self._home)})
        shutil.copytree(self._home, folder / "cache/obscale/prefect" / version("prefect"))

    def _installed(self) -> Path:
        def done(*words: str | Path) -> None:
            said = subprocess.run(  # noqa: S603 - this interpreter
                list(map(str, words)),
                cwd=ROOT,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if said.returncode:
                raise RuntimeError(f"{words[2:4]} failed: {said.stderr.strip()}")

        done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", self._folder / "dist")
        [wheel] = (self._folder / "dist").glob("*.whl")
        done(sys.executable, "-m", "venv", "--without-pip", self._folder / "venv")
        python = self._folder / "venv/bin/python"
        pip = (sys.executable, "-m", "pip", "--python", python)
        done(*pip, "install", "--no-deps", "--no-index", wheel)
        [site] = (self._folder / "venv/lib").glob("python*/site-packages")
        # An added folder's own .pth files are not read, so the editable obscale stays out of sight.
        (site / "rest.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
        return python.parent

    def python(self, *words: str) -> list[str]:
        return [str(self._bin / "python"), "-P", *words]

    def obscale(self, *words: str) -> list[str]:
        return [str(self._bin / "obscale"), *words]

    def write(self, place: Place) -> str:
        """Write the sample request of a place into a file; gives its name."""
        sizes = {"memory_limit": "16G", "system_memory": "8G"}
        asked = {
            "cluster": {"endpoints": list(place.endpoints), "password": {"env": SECRET}},
            "nodes": [
                {
                    "agentInfo": {"ip": place.spare_ip, "port": place.spare_port},
                    "zone": "zone2",
                    "obConfigs": sizes | {"log_disk_size": "24G", "datafile_size": "24G"},
                }
            ],
            "time_limits": {"steady_seconds": 0},
        }
        path = self._folder / f"{place.cluster}.json"
        path.write_text(json.dumps(asked), encoding="utf-8")
        return str(path)

    def run(self, words: Sequence[str], environment: Mapping[str, str]) -> float:
        """Run a program to its end; gives its seconds."""
        began = time.monotonic()
        ended = subprocess.run(  # noqa: S603 - of the folder above
            words,
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        seconds = time.monotonic() - began
        if ended.returncode:
            raise RuntimeError(
                f"{words[0]} {words[-1]} ended with {ended.returncode}: {ended.stderr}"
            )
        return seconds

    @contextmanager
    def home(self) -> Iterator[dict[str, str]]:
        """Give the environment of a Prefect of its own, whose database is made already."""
        with tempfile.TemporaryDirectory(dir=self._folder) as home:
            shutil.copytree(self._home, home, dirs_exist_ok=True)
            yield self.environment | SERVER_SETTINGS | {"PREFECT_HOME": home}

    def start_server(self, environment: Mapping[str, str]) -> float:
        """Give the seconds from `prefect server start` to its first answer."""
        port = str(free_port())
        words = self.python("-m", "prefect", "server", "start", "--host", "127.0.0.1")
        began = time.monotonic()
        with subprocess.Popen(  # noqa: S603 - of the folder above
            [*words, "--port", port],
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as server:
            try:
                return _first_answer(f"http://127.0.0.1:{port}/api/health", server.poll) - began
            finally:
                server.terminate()
                server.wait(LONGEST_SECONDS)

    def apply(
        self, place: Place, stage: Stage, environment: Mapping[str, str]
    ) -> tuple[float, float]:
        """Give the seconds to the first word of `apply`, and until its POST has arrived."""
        words = self.obscale("apply", self.write(place), "--yes")
        began, began_at = time.monotonic(), time.time()
        with subprocess.Popen(  # noqa: S603 - of the folder above
            words,
            cwd=self._folder,
            env={**environment, SECRET: place.password},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            if process.stdout is None:
                raise AssertionError("started without a pipe")
            told = process.stdout.read(1)
            first = time.monotonic() - began
            told += process.stdout.read()
            if process.wait(LONGEST_SECONDS):
                raise RuntimeError(f"apply ended with {process.returncode}: {told.decode()}")
        return first, stage.tally().posted_at[place.cluster] - began_at


def _first_answer(address: str, ended: Callable[[], int | None]) -> float:
    with httpx.Client(trust_env=False) as client:
        while ended() is None:
            try:
                if client.get(address).is_success:
                    return time.monotonic()
            except httpx.TransportError:
                pass
            Event().wait(LOOK_SECONDS)
    raise RuntimeError(f"the Prefect server did not start at {address}")


def _rows(found: Seconds) -> list[Row]:
    middle = {name: statistics.median(seconds) for name, seconds in found.items()}
    typer, sdk = f"{spread(found['typer'])} (a bare typer's help)", spread(found["sdk"])
    return [
        Row(
            part="i",
            measure="`obscale --help`, s; beside `import obshell`; ÷ a bare typer's help",
            ours=spread(found["help"]),
            theirs=sdk,
            ideal=typer,
            ratio=middle["help"] / middle["typer"],
            at_most=round(HELP_TIMES, 1),
        ),
        Row(
            part="i",
            measure="`obscale plan` of the demo world, s; ÷ a bare typer's help",
            ours=spread(found["plan"]),
            theirs=sdk,
            ideal=typer,
            ratio=middle["plan"] / middle["typer"],
            at_most=round(PLAN_TIMES, 1),
        ),
        Row(
            part="i",
            measure="the same ÷ `prefect version`",
            ours=spread(found["plan"]),
            ideal=f"{spread(found['prefect'])} (`prefect version`)",
            ratio=middle["plan"] / middle["prefect"],
        ),
        Row(
            part="i",
            measure="`obscale apply --yes` without a server: first words, s; ÷ a bare typer's help",
            ours=spread(found["first"]),
            ideal=typer,
            ratio=middle["first"] / middle["typer"],
            at_most=round(FIRST_WORDS_TIMES, 1),
        ),
        Row(
            part="i",
            measure=f"the same: call → POST, s; its part beyond Prefect's start ÷ {POST_SECONDS}",
            ours=spread(found["post"]),
            ideal=f"{spread(found['server'])} (`prefect server start` until it answers)",
            ratio=max(middle["post"] - middle["server"], 0) / POST_SECONDS,
            at_most=1,
        ),
        Row(
            part="i",
            measure="the same ÷ an empty flow without a server",
            ours=spread(found["post"]),
            ideal=f"{spread(found['empty'])} (the empty flow, to its end)",
            ratio=middle["post"] / middle["empty"],
        ),
        Row(
            part="i",
            measure=f"`obscale demo`, to its end, s; ÷ {DEMO_SECONDS:g}",
            ours=spread(found["demo"]),
            ratio=middle["demo"] / DEMO_SECONDS,
            at_most=1,
        ),
    ]
