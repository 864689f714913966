"""A Prefect server of a run's own that cannot come up is told at once, with what to do."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from obscale.cli.own_server import insist_on_room, last_error_line
from obscale.errors import PrefectUnreachableError
from tests.cli.conftest import LONGEST_SECONDS, PROGRAM, told

SMALL_FILES = (
    "import resource, runpy, sys\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))\n"
    "sys.argv = ['obscale', *sys.argv[1:]]\n"
    "runpy.run_module('obscale.cli', run_name='__main__')\n"
)
"""The command line where no file may grow: what a full disk says, without one."""


@pytest.mark.e2e
def test_a_database_of_a_newer_prefect_is_told(new_home, run_program):
    """By the first failing start of the server, not after minutes; it names the folder."""
    home = new_home()
    with closing(sqlite3.connect(home / "prefect.db")) as newer, newer:
        newer.execute("update alembic_version set version_num = 'ffffffffffff'")

    ended = run_program("evidence", "no-such", PREFECT_HOME=str(home))

    assert (ended.code, ended.out, len(ended.lines)) == (3, "", 1), ended.err
    assert f"its database, in {home}, was written by a newer Prefect" in ended.err
    assert "set PREFECT_HOME to another folder, or install that newer Prefect" in ended.err


@pytest.mark.e2e
def test_the_server_of_the_demo_s_ui_is_told_no_worse(new_home, run_program, tmp_path):
    """The server that `--ui` starts by itself ends the same way, with the same words."""
    home = tmp_path / "obscale" / "prefect" / version("prefect")
    home.parent.mkdir(parents=True)
    shutil.move(new_home(), home)
    with closing(sqlite3.connect(home / "prefect.db")) as newer, newer:
        newer.execute("update alembic_version set version_num = 'ffffffffffff'")

    ended = run_program("demo", "--ui", XDG_CACHE_HOME=str(tmp_path))

    assert (ended.code, len(ended.lines)) == (3, 1), ended.err
    assert f"its database, in {home}, was written by a newer Prefect" in ended.err


@pytest.mark.e2e
def test_a_server_that_ends_is_told_by_its_own_last_error(run_program, tmp_path):
    """A database nobody can reach: the driver's line, without the password in its address."""
    database = "postgresql+asyncpg://me:canary-database@127.0.0.1:1/prefect"

    ended = run_program(
        *("evidence", "no-such", "--json"),
        PREFECT_HOME=str(tmp_path),
        PREFECT_SERVER_DATABASE_CONNECTION_URL=database,
    )

    assert (ended.code, ended.error["kind"]) == (3, "prefect"), ended.err
    assert "Prefect does not start (ConnectionRefusedError" in ended.error["message"]
    assert "canary" not in ended.out + ended.err


@pytest.mark.e2e
@pytest.mark.parametrize("command", ["demo", "evidence"])
def test_a_full_folder_is_told_by_its_name(environment, tmp_path, command):
    """Before any server is started."""
    words = {"demo": ["demo"], "evidence": ["evidence", "no-such"]}[command]
    setting = {"demo": "XDG_CACHE_HOME", "evidence": "PREFECT_HOME"}[command]

    done = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, *words],
        env=environment | {setting: str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    assert done.returncode == 3, done.stderr
    assert f"cannot write into {tmp_path}" in done.stderr
    assert f"set {setting} to a folder" in done.stderr
    assert len(told(done.stderr)) == 1


@pytest.mark.e2e
@pytest.mark.parametrize("command", [["demo"], ["rehearse", "request.json"]], ids=lambda c: c[0])
def test_a_cache_that_cannot_be_made_is_no_unforeseen_error(
    run_program, tmp_path, quiet_world, write, command
):
    """As in a home that is read-only: one line with the variable that helps."""
    request = write(quiet_world.request())
    (tmp_path / "file").touch()
    words = [request if word.endswith("json") else word for word in command]

    ended = run_program(*words, XDG_CACHE_HOME=str(tmp_path / "file"))

    assert (ended.code, len(ended.lines)) == (3, 1), ended.err
    assert f"cannot write into {tmp_path}/file/obscale/prefect/" in ended.err
    assert "set XDG_CACHE_HOME to a folder" in ended.err


@pytest.mark.e2e
def test_a_home_that_cannot_be_made_is_one_line(run_program):
    """What Prefect itself says of it is not shown beside."""
    ended = run_program("evidence", "no-such", PREFECT_HOME="/proc/here/prefect")

    assert (ended.code, ended.out, len(ended.lines)) == (3, "", 1), ended.err
    assert "cannot write into /proc/here/prefect" in ended.err
    assert "set PREFECT_HOME to a folder" in ended.err


def test_a_folder_of_the_system_is_not_written():
    """Not even by root: `/proc` takes no files."""
    with pytest.raises(PrefectUnreachableError, match="cannot write into /proc/here"):
        insist_on_room(Path("/proc/here"), "PREFECT_HOME")


@pytest.mark.e2e
def test_a_current_folder_that_is_gone_is_told(environment, tmp_path, new_home):
    """Deleted while a shell stood in it; the demo needs none."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd {gone} && rmdir {gone} && exec "$@"'

    done = subprocess.run(
        ["sh", "-c", script, "sh", *PROGRAM, "evidence", "no-such"],
        env=environment | {"PREFECT_HOME": str(new_home()), "PYTHONPATH": str(Path.cwd())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    assert done.returncode == 3, done.stderr
    assert "the current folder does not exist any more" in done.stderr
    assert len(told(done.stderr)) == 1


TRACEBACK = """Traceback (most recent call last):
  File x
a.b.CommandError: No such.

22:01 | ERROR   | uvicorn.error - Application startup failed. Exiting.
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", ""),
        ("Starting\nstarted\n", "started"),
        (TRACEBACK, "a.b.CommandError: No such"),
        (
            "asyncpg.PostgresError: refused postgresql://me:pa/ss@w@db.example/x\n",
            "asyncpg.PostgresError: refused postgresql://…@db.example/x",
        ),
        ("ValueError: \x1b[31mred\u202e\n", "ValueError:  [31mred"),
    ],
)
def test_the_last_error_of_a_log_is_one_readable_line(log, expected):
    """Fit for a terminal, and without a password."""
    assert last_error_line(log) == expected
