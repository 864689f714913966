"""`demo` and `rehearse` keep to their own Prefect, and no proxy catches one a run has started."""

import http.server
import json
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from importlib.metadata import version

import pytest

from tests.cli.conftest import LONGEST_SECONDS, PROGRAM

pytestmark = pytest.mark.e2e

SECRET = "canary-somebodys"


class Somebody(http.server.BaseHTTPRequestHandler):
    """Somebody's Prefect, which keeps a list of who came."""

    def handle(self):
        """Note that somebody connected, and hang up."""
        self.server.visits.append(self.client_address)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def somebody():
    """A server that must not be asked anything."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Somebody) as server:
        server.visits = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, new_home):
    """A cache folder with a database for this Prefect, and one a newer Prefect has left."""
    prefect = tmp_path / "cache" / "obscale" / "prefect"
    shutil.copytree(new_home(), prefect)
    with closing(sqlite3.connect(prefect / "prefect.db")) as newer, newer:
        newer.execute("update alembic_version set version_num = 'ffffffffffff'")
    shutil.move(new_home(), prefect / version("prefect"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path, somebody):
    """A folder whose files say that Prefect is somebody's, each for itself."""
    address = f"http://127.0.0.1:{somebody.server_port}"
    nowhere = f"postgresql+asyncpg://me:{SECRET}@127.0.0.1:{somebody.server_port}/prefect"
    proxy = f'[client]\ncustom_headers = {{"X-Key" = "{SECRET}"}}'
    here = tmp_path / "project"
    here.mkdir()
    (here / "prefect.toml").write_text(
        f'[api]\nurl = "{address}/api"\nauth_string = "me:{SECRET}"\n{proxy}\n'
        f'[server.database]\nconnection_url = "{nowhere}"\n[results]\npersist_by_default = true\n'
    )
    (here / "pyproject.toml").write_text(
        f'[tool.prefect.api]\nurl = "{address}/api"\nkey = "{SECRET}"\n'
        f'[tool.prefect.server.database]\nconnection_url = "{nowhere}"\n'
    )
    (here / ".env").write_text(
        f"PREFECT_API_URL={address}/api\nPREFECT_API_KEY={SECRET}\n"
        f"PREFECT_SERVER_DATABASE_CONNECTION_URL={nowhere}\n"
    )
    return here


@pytest.fixture
def hostile(tmp_path, somebody, environment, cache):
    """An environment whose every word of Prefect leads to somebody's."""
    address = f"http://127.0.0.1:{somebody.server_port}"
    home = tmp_path / "home"
    home.mkdir()
    (home / "profiles.toml").write_text(
        f'active = "team"\n[profiles.team]\nPREFECT_API_URL = "{address}/api"\n'
        f'PREFECT_API_KEY = "{SECRET}"\n'
    )
    return environment | {
        "XDG_CACHE_HOME": str(cache),
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_PROFILE": "team",
        "PREFECT_API_URL": f"{address}/api",
        "prefect_api_url": f"{address}/api",
        "PREFECT_API_KEY": SECRET,
        "PREFECT_API_AUTH_STRING": f"me:{SECRET}",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////proc/nowhere/prefect.db",
        "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////proc/nowhere/prefect.db",
        "PREFECT_MESSAGING_BROKER": "nowhere.at_all",
        "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3-bucket/somebodys",
        "PREFECT_LOCAL_STORAGE_PATH": "/proc/nowhere",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "true",
        "HTTP_PROXY": f"{address}/",
        "https_proxy": f"{address}/",
        "ALL_PROXY": f"socks5://127.0.0.1:{somebody.server_port}",
    }


def ended(words, cwd, variables):
    """Run the command line in a folder; give what it told, once it ended well."""
    done = subprocess.run(
        [*PROGRAM, *map(str, words)],
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done.stdout


def recorded(database):
    """How many task runs, and of what events, a database holds."""
    with closing(sqlite3.connect(database)) as opened:
        (tasks,) = opened.execute("select count(*) from task_run").fetchone()
        events = opened.execute("select event from events").fetchall()
    return tasks, {event for (event,) in events}


def test_the_demo_talks_to_nobodys_prefect(somebody, folder, hostile, cache):
    """Whatever is configured anywhere, it runs to its end, and its own database holds the run."""
    told = ended(["demo", "--speed", "40"], folder, hostile)

    assert "CONFORMING" in told or "BALANCED" in told
    assert somebody.visits == []
    tasks, events = recorded(cache / "obscale" / "prefect" / version("prefect") / "prefect.db")
    assert tasks == 4
    assert "obscale.scale-out.verified" in events


def test_a_rehearsal_talks_to_nobodys_prefect(
    somebody, folder, hostile, cache, quiet_world, write, canaries
):
    """Its request is found where the command was typed, and everything else is its own."""
    write(quiet_world.request(), "project/request.json")
    variables = hostile | {"OBSCALE_TEST_ROOT": canaries[0], "OBSCALE_TEST_AGENT": canaries[1]}

    told = ended(["rehearse", "request.json", "--speed", "40", "--json"], folder, variables)

    assert json.loads(told)["runs"][0]["report"]["outcome"] == "verified"
    assert somebody.visits == []
    tasks, _ = recorded(cache / "obscale" / "prefect" / version("prefect") / "prefect.db")
    assert tasks == 4


def test_a_run_s_own_prefect_is_not_asked_for_through_a_proxy(
    somebody, open_world, write, new_home, environment, tmp_path
):
    """The run is recorded whole, its events too, and the proxy hears nothing."""
    world, home = open_world(), new_home()
    proxy = f"http://127.0.0.1:{somebody.server_port}"
    variables = environment | {
        "PREFECT_HOME": str(home),
        "HTTP_PROXY": proxy,
        "HTTPS_PROXY": proxy,
        "ALL_PROXY": proxy,
        "NO_PROXY": "corp.example",
    }

    told = ended(["apply", write(world.request()), "--yes", "--json"], tmp_path, variables)

    assert json.loads(told)["runs"][0]["report"]["outcome"] == "verified"
    assert somebody.visits == []
    tasks, events = recorded(home / "prefect.db")
    assert tasks == 4
    assert "obscale.scale-out.verified" in events
