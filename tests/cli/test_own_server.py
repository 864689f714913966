"""Tests of the Prefect server that obscale starts: it answers this run alone."""

import base64
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from prefect.context import refresh_global_settings_context
from prefect.settings import get_current_settings

from obscale.cli.local_prefect import _lead_to
from obscale.cli.own_server import OWN_SERVER
from tests.cli.conftest import LONGEST_SECONDS, PROGRAM

SECRETS = {"include_secrets": True}


def words_of(process: int) -> list[str]:
    """The command line of a process, as `ps` shows it to everybody."""
    return Path(f"/proc/{process}/cmdline").read_text().split("\0")


def processes_at(home: Path) -> list[int]:
    """Processes whose Prefect has its home there."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"PREFECT_HOME={home}\0" in (path / "environ").read_text(errors="replace"):
                found.append(int(path.name))
    return found


def children_of(parent: int) -> list[int]:
    """Processes a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after_name = stat.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def own_server_of(parent: int) -> tuple[int, str]:
    """The Prefect server a program has started: its process, and the address of its API."""
    for child in children_of(parent):
        words = words_of(child)
        if "prefect.server.api.server:create_app" in words:
            return child, f"http://127.0.0.1:{words[words.index('--port') + 1]}/api"
    raise AssertionError("no server was started")


def variables_of(process: int) -> dict[str, str]:
    """What a process found in its environment; only its own user may see it."""
    pairs = Path(f"/proc/{process}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


@pytest.fixture
def under_way(open_world, write, start_program, new_home):
    """Give a function that starts `apply` with a server of its own and waits for its DAG."""

    def start(**extra: str):
        world, home = open_world(speed=4), new_home()
        run = start_program(
            "apply", write(world.request()), "--yes", "--json", PREFECT_HOME=str(home), **extra
        )
        pause = threading.Event()
        for _ in range(LONGEST_SECONDS * 10):
            assert run.poll() is None, run.communicate()
            if any(re.search(r"/task/dag/\d", r.target) for r in list(world.world.requests)):
                return run, home
            pause.wait(0.1)
        raise AssertionError("no DAG")

    return start


@pytest.mark.e2e
def test_the_server_of_a_run_ends_with_it_although_it_was_killed(under_way):
    """SIGKILL, after which no program can tidy up; no signal of a group ends it before."""
    run, _ = under_way()
    server, url = own_server_of(run.pid)

    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(server, number)
    health = httpx.get(f"{url}/health", trust_env=False)
    run.kill()
    run.wait()

    assert health.is_success
    pause = threading.Event()
    for _ in range(LONGEST_SECONDS * 10):
        if not Path(f"/proc/{server}").exists():
            return
        pause.wait(0.1)
    raise AssertionError("the server goes on")


@pytest.mark.e2e
def test_nobody_else_reads_secrets_from_the_server_of_a_run(under_way):
    """Without the password of this run 401; the password is on no command line, in no file."""
    run, home = under_way()
    server, url = own_server_of(run.pid)

    with httpx.Client(trust_env=False) as stranger:
        answer = stranger.post(f"{url}/block_documents/filter", json=SECRETS)
        health = stranger.get(f"{url}/health")
    auth = variables_of(server)["PREFECT_SERVER_API_AUTH_STRING"]
    told = [" ".join(words_of(process)) for process in (run.pid, *children_of(run.pid))]
    with httpx.Client(auth=tuple(auth.split(":")), trust_env=False) as run_itself:
        opened = run_itself.post(f"{url}/block_documents/filter", json=SECRETS)
    out, err = run.communicate(timeout=LONGEST_SECONDS)

    assert (answer.status_code, health.status_code, opened.status_code) == (401, 200, 200)
    assert run.returncode == 0, err
    assert json.loads(out)["runs"][0]["report"]["outcome"] == "verified"
    secret = auth.split(":")[1]
    assert len(secret) > 40
    kept = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert kept
    for hidden in (secret, base64.b64encode(auth.encode()).decode()):
        assert not any(hidden in text for text in (out, err, *told))
        assert not any(hidden.encode() in content for content in kept)


@pytest.mark.e2e
@pytest.mark.parametrize("setting", ["PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"])
def test_a_password_that_was_configured_is_kept(run_program, new_home, setting):
    """Whoever set one of the two, without a server, gets a server with just this password."""
    ended = run_program(
        "evidence", "no-such", PREFECT_HOME=str(new_home()), **{setting: "me:canary-own"}
    )

    assert ended.code == 2, ended.err
    assert "no run of this Prefect server" in ended.err
    assert "canary-own" not in ended.err


@pytest.mark.e2e
def test_a_command_tried_in_process_leaves_nothing_of_its_prefect(obscale, new_home, monkeypatch):
    """Environment and Prefect's settings are exactly as before, and the server has ended."""
    for name in list(os.environ):
        if name.startswith("PREFECT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(new_home()))
    # Empty is as good as not set, and stays so.
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "")
    refresh_global_settings_context()
    before = dict(os.environ), get_current_settings().model_dump()

    twice = [obscale("evidence", "no-such", "--json") for _ in range(2)]

    assert [(each.code, each.error["kind"]) for each in twice] == [(2, "spec")] * 2, twice[0].out
    assert (dict(os.environ), get_current_settings().model_dump()) == before
    assert not OWN_SERVER.is_begun


def test_the_password_of_a_run_leaves_the_environment_as_it_was(monkeypatch):
    """A variable that was empty is empty again, one that was not there is gone."""
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "")
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    before = dict(os.environ)

    _lead_to("http://127.0.0.1:9/api", "me:canary-own")
    after = dict(os.environ)
    told = get_current_settings()
    monkeypatch.undo()
    refresh_global_settings_context()

    assert after == before
    assert told.api.url == "http://127.0.0.1:9/api"
    assert not told.ui_url, "no link leads to a server that ends"
    for secret in (told.api.auth_string, told.server.api.auth_string):
        assert secret is not None
        assert secret.get_secret_value() == "me:canary-own"


@pytest.fixture
def at_question(open_world, write, environment, new_home):
    """Give a function that types `apply` at a terminal and waits for what it asks, or its end."""
    opened = []

    def start(*faults, **configs):
        world, home, (ours, theirs) = open_world(*faults), new_home(), pty.openpty()
        run = subprocess.Popen(
            [*PROGRAM, "apply", write(world.request(**configs))],
            env=environment | {"PREFECT_HOME": str(home), "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        opened.append((run, ours))
        told = b""
        with suppress(OSError):  # what Linux tells of a terminal whose other end is closed
            while b"[y/N]" not in told and (more := os.read(ours, 1 << 16)):
                told += more
        return SimpleNamespace(world=world, run=run, ours=ours, told=told.decode(), home=home)

    yield start
    for run, ours in opened:
        run.kill()
        run.wait()
        os.close(ours)


def drained(ours):
    """Read a terminal until nobody writes to it any more."""
    told = b""
    with suppress(OSError):
        while more := os.read(ours, 1 << 16):
            told += more
    return told.decode()


@pytest.mark.e2e
@pytest.mark.parametrize("answer", ["n", "y"])
def test_the_server_comes_up_while_somebody_reads_the_plan(at_question, answer):
    """It is there when the question is asked, and gone with the program, whatever is answered."""
    asked = at_question()
    server, _ = own_server_of(asked.run.pid)

    os.write(asked.ours, f"{answer}\n".encode())
    rest = drained(asked.ours)
    code = asked.run.wait(LONGEST_SECONDS)

    assert "READY" in asked.told
    assert not Path(f"/proc/{server}").exists()
    assert not processes_at(asked.home)
    if answer == "y":
        assert (code, asked.world.posts) == (0, ["/api/v1/ob/scale_out"]), rest
    else:
        assert (code, asked.world.posts) == (1, [])
        assert "not confirmed; nothing was sent" in rest


@pytest.mark.e2e
def test_a_blocked_plan_leaves_no_server_behind(at_question):
    """It had been started; nothing else of this program goes on."""
    asked = at_question(memory_limit="900G")
    code = asked.run.wait(LONGEST_SECONDS)

    assert "BLOCKED" in asked.told
    assert (code, asked.world.posts) == (1, [])
    assert not processes_at(asked.home)


@pytest.mark.e2e
def test_a_name_that_is_missing_is_told_before_a_server_is_started(
    run_program, write, quiet_world, tmp_path
):
    """Nothing is made where it would keep its database."""
    request = quiet_world.request()
    request["cluster"]["password"] = {"env": "OBSCALE_TEST_NOBODY"}

    ended = run_program("apply", write(request), "--yes", PREFECT_HOME=str(tmp_path / "home"))

    assert ended.code == 2, ended.err
    assert "OBSCALE_TEST_NOBODY" in ended.err
    assert "Prefect server" not in ended.err
    assert not (tmp_path / "home").exists()


SERVER_NOT_HERE = """
import sys
from obscale.cli.commands import main
sys.argv = ["obscale", "evidence", "no-such"]
try:
    main()
except SystemExit as ended:
    heavy = {"prefect.server.api.server", "sqlalchemy", "prefect.server.database"}
    print(ended.code, sorted(heavy & sys.modules.keys()))
"""


@pytest.mark.e2e
def test_a_run_with_a_server_of_its_own_imports_none_of_it(environment, new_home):
    """The server is a process of its own; its modules take four times what a client's take."""
    done = subprocess.run(
        [sys.executable, "-c", SERVER_NOT_HERE],
        env=environment | {"PREFECT_HOME": str(new_home())},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=True,
    )

    assert done.stdout == "2 []\n", done.stderr
