"""Tests of how soon a command begins: its first line at a terminal, and what it does not import."""

import os
import pty
import subprocess
import sys
import threading

import pytest

LONGEST_SECONDS = 120
ERASED = "\r\x1b[K"
NOT_FOR_HELP = (
    *("aiohttp", "asyncio", "click", "cryptography", "httpx", "jinja2", "prefect", "pydantic"),
    *("pygments", "rich", "sqlalchemy", "uvicorn", "yaml", "obscale.agent.models"),
    "obscale.cli.plan",
    *("http", "importlib.metadata", "ssl", "zoneinfo", "obscale.language.translations"),
)
NOT_FOR_PLAN = (
    *("click", "fastapi", "jinja2", "prefect", "pygments", "sqlalchemy", "starlette", "uvicorn"),
    *("websockets", "aiohttp", "httpx._main", "obscale.batch.ledger", "obscale.batch.preflight"),
    *("obscale.cli.apply_batch", "obscale.cli.from_obd", "obscale.cli.grow"),
    *("obscale.cli.local_prefect", "obscale.cli.own_server", "obscale.plan.from_obd"),
    *("obscale.plan.suggest", "obscale.sandbox", "obscale.tasks"),
    *("obscale.events", "obscale.follow.run", "obscale.language.translations"),
    *("obscale.recovery", "obscale.removal", "obscale.report.report", "obscale.submit"),
    *("obscale.use", "obscale.verify"),
)


@pytest.fixture
def at_terminal(environment):
    """Give a function that starts the program at a terminal; gives what that was told."""

    def run(*words, standard_error=True, **extra):
        ours, theirs = pty.openpty()
        read = bytearray()

        def listen():
            while chunk := _read(ours):
                read.extend(chunk)

        reader = threading.Thread(target=listen)
        reader.start()
        subprocess.run(
            [sys.executable, "-m", "obscale.cli", *map(str, words)],
            env=environment | {"TERM": "xterm-256color"} | extra,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs if standard_error else subprocess.PIPE,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        os.close(theirs)
        reader.join(LONGEST_SECONDS)
        os.close(ours)
        return read.decode()

    return run


def _read(terminal):
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # what Linux tells of a terminal whose other end is closed
        return b""


def test_the_command_stands_there_first_and_is_taken_away(at_terminal, tmp_path):
    """Then comes what it has to say."""
    told = at_terminal("plan", tmp_path / "nowhere.yaml")

    assert told.startswith(f"\rplan …{ERASED}obscale: "), told


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "nowhere.yaml", "--json"),
        ("plan", "nowhere.yaml", "-q"),
        ("plan", "nowhere.yaml", "--quiet"),
        ("plan", "--help"),
        ("plan", "-h"),
        ("--help",),
        (),
    ],
)
def test_who_wants_only_the_answer_gets_no_such_line(at_terminal, words):
    """Neither who asks for help."""
    assert "…" not in at_terminal(*words).partition("obscale: ")[0]


def test_where_nothing_can_move_there_is_none(at_terminal):
    """TERM=dumb."""
    assert at_terminal("plan", "nowhere.yaml", TERM="dumb").startswith("obscale: ")


def test_what_is_no_command_leaves_no_line_behind(at_terminal):
    """A slip of the hand, and a word of former days."""
    for words in (("paln",), ("plan", "--suggest"), ("apply", "--grow", "2")):
        told = at_terminal(*words)
        assert told.startswith(f"\r{words[0]} …{ERASED}obscale: "), told


def test_a_pipe_never_gets_it(run_program):
    """It would stand in somebody's log."""
    ended = run_program("plan", "nowhere.yaml", TERM="xterm-256color")

    assert "\r" not in ended.err
    assert "…" not in ended.err


@pytest.mark.parametrize(
    ("begins", "heavy"),
    [
        (
            "from obscale.cli.commands import main\ntry: main()\nexcept SystemExit: pass",
            NOT_FOR_HELP,
        ),
        ("from obscale.cli.commands import load\nload('plan')", NOT_FOR_PLAN),
    ],
    ids=["--help", "plan"],
)
def test_what_is_not_needed_is_not_imported(begins, heavy):
    """Each of these takes from some hundredths of a second to two seconds."""
    script = (
        "import sys; sys.argv = ['obscale', '--help']\n"
        f"{begins}\n"
        f"print(sorted(set({heavy!r}) & {{name for name in sys.modules if sys.modules[name]}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "[]"
