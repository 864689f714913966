"""A team's Prefect as the container files set it up, and obscale from two places."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography.fernet import Fernet

from obscale.sandbox import ScaledClock, World, default_config, serve
from tests.prefect_server import AskingAgain, prefect_server

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 900
AUTH = "operator:canary-server-2c90"
ROOT_PASSWORD = "canary-root-5e1f"
VARIABLE = re.compile(r"\$\{(\w+):\?\}")
WITH_DEFAULT = re.compile(r"\$\{\w+:-(.*?)\}")
CONFIGS = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
QUICK = {
    "deadline_seconds": 120,
    "verify_seconds": 60,
    "steady_seconds": 0.2,
    "poll_seconds": 0.1,
    "lost_answer_seconds": 1,
}


def wait_until(reached: Callable[[], Any], what: str) -> Any:
    """Wait for a condition; give what it gave."""
    pause = threading.Event()
    for _ in range(LONGEST_SECONDS * 5):
        if found := reached():
            return found
        pause.wait(0.2)
    raise AssertionError(f"not within {LONGEST_SECONDS} s: {what}")


def plain_environment() -> dict[str, str]:
    """This process's environment, without what people and other tests say to Prefect."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "OBSCALE_"))}
    # What is tested is what is installed, not what lies in the folder of the tests.
    kept.pop("PYTHONPATH", None)
    return kept


class Compose:
    """The services of compose.yaml, their variables filled in, as commands of this machine."""

    def __init__(self, secrets: dict[str, str]) -> None:
        text = (ROOT / "deployments/container/compose.yaml").read_text(encoding="utf-8")
        self.needs = set(VARIABLE.findall(text))
        filled = VARIABLE.sub(lambda match: secrets[match[1]], WITH_DEFAULT.sub(r"\1", text))
        self.services: dict[str, Any] = yaml.safe_load(filled)["services"]

    def environment(self, service: str, **other: str) -> dict[str, str]:
        """What a service finds in its environment, without the other containers' addresses."""
        given: dict[str, str] = self.services[service].get("environment", {})
        return {k: v for k, v in given.items() if "redis" not in v and "postgres" not in v} | other

    def command(self, service: str, bin_folder: Path, **replaced: str) -> list[str]:
        """How a service is started, with the programs of one environment."""
        words = [replaced.get(word, word) for word in self.services[service]["command"]]
        if words[0] == "prefect":
            words[:1] = ["python", "-m", "prefect"]
        if words[0] == "python":
            words[0] = str(bin_folder / "python")
        return [word.replace("$$", "$") for word in words]


@pytest.fixture(scope="session")
def compose() -> Compose:
    """The container files."""
    return Compose(
        {
            "POSTGRES_PASSWORD": "canary-postgres",
            "AUTH_STRING": AUTH,
            "ENCRYPTION_KEY": Fernet.generate_key().decode(),
        }
    )


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Give a function that starts a process in a project's folder; all end with the session."""
    started: list[subprocess.Popen[bytes]] = []

    def run(words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        folder = project(tmp_path_factory.mktemp("elsewhere"))
        with (folder / "log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    words,
                    env=environment,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
        return started[-1]

    yield run
    for process in reversed(started):
        end(process)


def project(folder: Path) -> Path:
    """Make of a folder what most Prefect projects are: one with its own flows and tasks."""
    for name in ("flows", "tasks", "deployments"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"WHOSE = {name!r} + ' of the project'\n")
    (folder / "flows" / "scale_out.py").write_text("raise AssertionError('of the project')\n")
    return folder


def done(words: list[Any], **options: Any) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True, capture_output=True, timeout=LONGEST_SECONDS, **options)


def run_in(folder: Path, words: list, environment: dict) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, with nothing but this environment."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment or None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End one process, politely first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)


@pytest.fixture(scope="session")
def api_url(compose, start, tmp_path_factory) -> str:
    """Where the server of compose.yaml answers, its services beside it, on SQLite."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    home = str(tmp_path_factory.mktemp("server"))
    environment = plain_environment() | compose.environment("server", PREFECT_HOME=home)
    bin_folder = Path(sys.executable).parent
    chosen = plain_environment() | compose.services["passwords"]["environment"]
    done(compose.command("passwords", bin_folder), env=chosen)
    done(compose.command("database", bin_folder), env=environment)
    server = start(
        compose.command("server", bin_folder, **{"4200": port, "0.0.0.0": "127.0.0.1"}), environment
    )

    def answers() -> bool:
        assert server.poll() is None, "the server ended"
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/api/health", trust_env=False).is_success
        return False

    wait_until(answers, "the server answers")
    start(compose.command("services", bin_folder), environment)
    return f"http://127.0.0.1:{port}/api"


@pytest.fixture(scope="session")
def api(api_url) -> Iterator[httpx.Client]:
    """The server's API, for looking."""
    with httpx.Client(
        base_url=api_url, auth=tuple(AUTH.split(":")), timeout=60, transport=AskingAgain()
    ) as client:
        yield client


@pytest.fixture(scope="session")
def client_environment(compose, api_url, tmp_path_factory) -> dict[str, str]:
    """What workers, and people who deploy, find in their environment."""
    folder = tmp_path_factory.mktemp("client")
    return plain_environment() | compose.environment(
        "worker",
        PREFECT_API_URL=api_url,
        PREFECT_LOCAL_STORAGE_PATH=str(folder / "results"),
        PREFECT_HOME=str(folder / "home"),
        PREFECT_WORKER_QUERY_SECONDS="1",
        PREFECT_RUNNER_POLL_FREQUENCY="1",
        OBSCALE_TEST_ROOT=ROOT_PASSWORD,
        NO_COLOR="1",
        TERM="dumb",
        COLUMNS="200",
    )


@dataclass(frozen=True)
class Alone:
    """A Prefect server in one process, that acts on events and counts, and asks for a password."""

    url: str
    environment: dict[str, str]
    """Of clients: where it is, and the password."""

    def api(self, method: str, path: str, **content: Any) -> Any:
        """Ask it something; gives the JSON of its answer."""
        with httpx.Client(
            auth=tuple(AUTH.split(":")), timeout=60, transport=AskingAgain(), trust_env=False
        ) as client:
            answer = client.request(method, f"{self.url}{path}", **content).raise_for_status()
        return answer.json() if answer.content else None


@pytest.fixture(scope="session")
def alone(new_home, tmp_path_factory) -> Iterator[Alone]:
    """One server whose API, services and automations share a process, with its metrics."""
    ui = "http://prefect.example"
    with prefect_server(
        new_home(),
        PREFECT_SERVER_API_AUTH_STRING=AUTH,
        PREFECT_API_AUTH_STRING=AUTH,
        PREFECT_SERVER_METRICS_ENABLED="true",
        PREFECT_UI_URL=ui,
    ) as url:
        yield Alone(
            url,
            plain_environment()
            | {
                "PREFECT_API_URL": url,
                "PREFECT_API_AUTH_STRING": AUTH,
                "PREFECT_UI_URL": ui,
                "PREFECT_HOME": str(tmp_path_factory.mktemp("alone")),
                "PREFECT_WORKER_QUERY_SECONDS": "1",
                "OBSCALE_TEST_ROOT": ROOT_PASSWORD,
                "NO_COLOR": "1",
            },
        )


@pytest.fixture(scope="session")
def deployed_alone(alone, tmp_path_factory) -> Alone:
    """That server with a pool of processes and the deployments of prefect.yaml."""
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    for words in (
        ["work-pool", "create", "obscale", "--type", "process"],
        ["deploy", "--all", "--prefect-file", ROOT / "deployments/prefect.yaml"],
    ):
        made = run_in(tmp_path_factory.mktemp("deploy"), [*prefect, *words], alone.environment)
        assert made.returncode == 0, made.stdout + made.stderr
    return alone


ALSO_FROM_A_WHEEL = {
    "test_one_served_process_runs_what_the_api_asks_for",
    "test_a_worker_runs_a_scale_out_and_the_same_request_again_is_the_same_run",
    "test_a_dispatched_batch_and_its_parts_are_runs_of_one_worker",
    "test_deployments_say_what_they_are",
    "test_whatever_loads_prefect_s_collections_knows_the_block",
    "test_every_module_is_found_beside_a_project_s_own_each_file_once",
}
"""What an installation could break: what is found, imported and started. The rest is the same
code, asked once."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run from a wheel only what an installation could break."""
    twice = {
        item
        for item in items
        if (call := getattr(item, "callspec", None))
        and call.params.get("bin_folder") == "wheel"
        and getattr(item, "originalname", "") not in ALSO_FROM_A_WHEEL
    }
    config.hook.pytest_deselected(items=sorted(twice, key=lambda item: item.nodeid))
    items[:] = [item for item in items if item not in twice]


@dataclass
class Built:
    """What a release is made of, each built from a copy of the checkout."""

    wheel: Path
    """From the tree, as `pip install .` builds it."""
    wheel_of_sdist: Path
    """From the unpacked source distribution."""


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Built:
    """Wheels built in both ways, with the backend alone."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in ("obscale", "flows", "tasks", "deployments", "docs"):
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "hatchling", "build", "-d", folder / "dist"]
    done([*build, "-t", "sdist", "-t", "wheel"], cwd=source)
    [wheel], [sdist] = ([*(folder / "dist").glob(kind)] for kind in ("*.whl", "*.tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [unpacked] = (folder / "unpacked").iterdir()
    done([*build[:-1], folder / "again", "-t", "wheel"], cwd=unpacked)
    return Built(wheel, folder / "again" / wheel.name)


@pytest.fixture(scope="session")
def wheel_bin(built, tmp_path_factory) -> Path:
    """Programs of an environment that has obscale from a wheel, and the rest from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    done([sys.executable, "-m", "venv", "--without-pip", folder / "venv"])
    python = folder / "venv/bin/python"
    install = ["-m", "pip", "--python", python, "install", "--no-deps", "--no-index", built.wheel]
    done([sys.executable, *install])
    [site] = (folder / "venv/lib").glob("python*/site-packages")
    # An added folder's own .pth files are not read, so the editable obscale stays out of sight.
    (site / "rest.pth").write_text(f"{Path(httpx.__file__).parents[1]}\n")
    return python.parent


@pytest.fixture(scope="session", params=["checkout", "wheel"])
def bin_folder(request) -> Path:
    """Programs of an environment with obscale installed: from a checkout, from a wheel."""
    if request.param == "wheel":
        found: Path = request.getfixturevalue("wheel_bin")
        return found
    return Path(sys.executable).parent


@dataclass
class Clusters:
    """Simulated clusters on real sockets, in a thread of their own."""

    world: World
    ready: dict[str, Any]

    def request(self, spare: int = 0, **changes: Any) -> dict[str, Any]:
        """Parameters that add one of the spares."""
        cluster, where = self.ready["clusters"][0], self.ready["spares"][spare]
        return {
            "cluster": {
                "endpoints": [f"{a['ip']}:{a['port']}" for a in cluster["agents"]],
                "password": {"env": "OBSCALE_TEST_ROOT"},
                "name": cluster["name"],
                "id": cluster["id"],
            },
            "agentInfo": {"ip": where["ip"], "port": where["port"]},
            "zone": "zone2",
            "obConfigs": CONFIGS,
            "time_limits": QUICK,
        } | changes

    @property
    def posts(self) -> int:
        """Scale-outs that were posted."""
        return sum(r.target == "/api/v1/ob/scale_out" for r in self.world.requests)


@pytest.fixture
def clusters() -> Iterator[Clusters]:
    """One simulated cluster with three spares."""
    plain = default_config()
    secured = tuple(c.model_copy(update={"root_password": ROOT_PASSWORD}) for c in plain.clusters)
    world = World(
        plain.model_copy(update={"clusters": secured, "port": 0}), clock=ScaledClock(speed=40)
    )
    loop, stop, opened = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    ready: dict[str, Any] = {}

    async def run() -> None:
        async with serve(world) as door:
            ready.update(door.ready)
            opened.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert opened.wait(60)
    yield Clusters(world, ready)
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)
    loop.close()


@pytest.fixture
def write(tmp_path) -> Callable[[dict[str, Any]], Path]:
    """Give a function that writes parameters into a file."""

    def to_file(parameters: dict[str, Any]) -> Path:
        path = tmp_path / "request.json"
        path.write_text(json.dumps(parameters))
        return path

    return to_file
