"""A team's set-up: PostgreSQL, a secured Prefect server, workers, Chromium, clusters."""

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Page, sync_playwright

from benchmarks.postgres import free_port
from obscale.sandbox import ScaledClock, World, WorldConfig, default_config, serve
from tests.deploy.conftest import Compose
from tests.e2e import backing
from tests.e2e.backing import LONGEST_SECONDS, wait_until

ROOT = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "prefect", "--no-prompt"]
AUTH = "operator:e2e-canary-server-9d1c"
ROOT_PASSWORD = "e2e-canary-root-41b7"
POOL = "obscale"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks through everything the others left comes last."""
    items.sort(key=lambda item: item.path.name == "test_left_behind.py")


def plain_environment() -> dict[str, str]:
    """This process's environment, without what people and other tests say to Prefect."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "OBSCALE_"))}


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots are kept as build output."""
    folder = ROOT / "build" / "screenshots"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The team's PostgreSQL; gives `host:port`."""
    with backing.postgres() as address:
        yield address


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    """The team's Redis, over which server and services talk."""
    with backing.redis() as port:
        yield port


@pytest.fixture(scope="session")
def compose() -> Compose:
    """The container files, secrets filled in."""
    return Compose(
        {
            "POSTGRES_PASSWORD": backing.POSTGRES_PASSWORD,
            "AUTH_STRING": AUTH,
            "ENCRYPTION_KEY": Fernet.generate_key().decode(),
        }
    )


@dataclass(frozen=True)
class Server:
    """A Prefect server that asks for a password."""

    url: str
    environment: dict[str, str]
    """For clients, workers and commands: where it is, and the password."""

    def api(self, method: str, path: str, **content: Any) -> Any:
        """Ask it something; gives the JSON of its answer."""
        with httpx.Client(trust_env=False, auth=tuple(AUTH.split(":")), timeout=60) as client:
            answer = client.request(method, f"{self.url}{path}", **content)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    def prefect(self, *words: str | Path, cwd: Path = ROOT) -> str:
        """Run a command of Prefect's; gives what it said."""
        done = subprocess.run(
            [*PREFECT, *map(str, words)],
            env=self.environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def logs(tmp_path_factory) -> Path:
    """Where every process of the team writes what it says."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def server(compose, database, redis_port, tmp_path_factory, logs) -> Iterator[Server]:
    """The team's Prefect as compose.yaml starts it: server and services, PostgreSQL and Redis."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    programs = Path(sys.executable).parent
    environment = plain_environment() | {
        name: value.replace("@postgres:5432/", f"@{database}/")
        .replace("redis://redis:6379/", f"redis://127.0.0.1:{redis_port}/")
        .replace("redis", "127.0.0.1" if name.endswith("_HOST") else "redis")
        for name, value in compose.services["server"]["environment"].items()
    }
    environment |= {
        "PREFECT_REDIS_MESSAGING_PORT": str(redis_port),
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_UI_URL": url.removesuffix("/api"),
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect-server")),
    }
    chosen = plain_environment() | compose.services["passwords"]["environment"]
    for name, found in {"passwords": chosen, "database": environment}.items():
        made = subprocess.run(
            compose.command(name, programs),
            env=found,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
    commands = {
        "server": compose.command(
            "server", programs, **{"4200": str(port), "0.0.0.0": "127.0.0.1"}
        ),
        "services": compose.command("services", programs),
    }
    processes = []
    for name, command in commands.items():
        with (logs / f"{name}.log").open("wb") as output:
            processes.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )

    def healthy() -> bool:
        for name, process in zip(commands, processes, strict=True):
            assert process.poll() is None, (logs / f"{name}.log").read_text()[-2000:]
        with suppress(httpx.TransportError):
            return httpx.get(f"{url}/health", trust_env=False).is_success
        return False

    wait_until(healthy, "the Prefect server")
    yield Server(
        url,
        plain_environment()
        | compose.environment(
            "worker",
            PREFECT_API_URL=url,
            PREFECT_UI_URL=url.removesuffix("/api"),
            PREFECT_LOCAL_STORAGE_PATH=str(tmp_path_factory.mktemp("results")),
            PREFECT_HOME=str(tmp_path_factory.mktemp("prefect-client")),
            PREFECT_WORKER_QUERY_SECONDS="2",
            E2E_ROOT_PASSWORD=ROOT_PASSWORD,
            NO_COLOR="1",
        ),
    )
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(60)


class Clusters:
    """Simulated clusters that answer from a thread of their own, on ports nobody else has."""

    def __init__(self, config: WorldConfig, speed: float) -> None:
        self.world = World(config, clock=ScaledClock(speed=speed))
        self._loop = asyncio.new_event_loop()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._opened.wait(60)

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        async with serve(self.world) as door:
            self.ready: dict[str, Any] = door.ready
            self._opened.set()
            await self._stop.wait()

    def close(self) -> None:
        """Stop listening and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        self._loop.close()

    def endpoints(self, cluster: int = 0) -> list[str]:
        """Agents of one cluster, `ip:port`."""
        return [f"{a['ip']}:{a['port']}" for a in self.ready["clusters"][cluster]["agents"]]


@pytest.fixture
def clusters() -> Iterator[Callable[..., Clusters]]:
    """Give a function that serves a world until the end of the test."""
    opened: list[Clusters] = []

    def open_one(config: WorldConfig | None = None, speed: float = 15) -> Clusters:
        plain = config or default_config()
        passwords = tuple(
            c.model_copy(update={"root_password": ROOT_PASSWORD}) for c in plain.clusters
        )
        opened.append(Clusters(plain.model_copy(update={"clusters": passwords, "port": 0}), speed))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def page(browsing) -> Iterator[Page]:
    """Chromium, logged in at the server's UI; left open, a page of it keeps a processor busy."""
    yield browsing
    browsing.goto("about:blank")


@pytest.fixture(scope="session")
def browsing(server) -> Iterator[Page]:
    """One page of Chromium for all tests."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert program, "no Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)
        context = browser.new_context(viewport={"width": 1280, "height": 960})
        # What the UI's own log-in form stores.
        secret = json.dumps(base64.b64encode(AUTH.encode()).decode())
        context.add_init_script(f"localStorage.setItem('prefect-password', {secret})")
        context.set_default_timeout(LONGEST_SECONDS * 1000)
        yield context.new_page()
        browser.close()


@pytest.fixture(scope="session")
def deployed(server, compose) -> Server:
    """The server with a work pool and everything `deployments/prefect.yaml` offers on it."""
    programs = Path(sys.executable).parent
    path = f"{programs}:{server.environment['PATH']}"
    done = subprocess.run(
        compose.command("deploy", programs),
        env=server.environment | {"PATH": path},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return server


@pytest.fixture(scope="session")
def start_worker(
    deployed, tmp_path_factory, logs
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Give a function that starts a worker in a folder of its own, as on another machine."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str, pool: str = POOL) -> subprocess.Popen[bytes]:
        folder = tmp_path_factory.mktemp(name)
        with (logs / f"{name}.log").open("wb") as output:
            started.append(
                subprocess.Popen(
                    [*PREFECT, "worker", "start", "--pool", pool, "--name", name, *words],
                    env=deployed.environment | {"PREFECT_HOME": str(folder)},
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        return started[-1]

    yield start
    for worker in started:
        if worker.poll() is None:
            worker.terminate()
    for worker in started:
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            # Whatever it still waits for: the tests are over, and nothing may be left running.
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait(60)


@pytest.fixture(scope="session")
def workers(deployed, start_worker) -> list[subprocess.Popen[bytes]]:
    """Two workers of the pool, both heard by the server."""
    both = [start_worker("worker-a"), start_worker("worker-b")]

    def heard() -> bool:
        seen = deployed.api("POST", f"/work_pools/{POOL}/workers/filter", json={})
        return len(seen) == len(both)

    wait_until(heard, "both workers")
    return both


@pytest.fixture
def connect(server) -> Callable[..., None]:
    """Give a function that stores a cluster's connection with `obscale connect`."""

    def store(name: str, opened: Clusters, cluster: int = 0) -> None:
        words = [each for e in opened.endpoints(cluster) for each in ("--endpoint", e)]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "obscale.cli", "connect", name, *words),
                *("--password-env", "E2E_ROOT_PASSWORD"),
            ],
            env=server.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return store
