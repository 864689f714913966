"""Tests of what a command shows while it has nothing to tell."""

import io
import re
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from obscale.agent.dag import Dag, Node
from obscale.cli import busy as module
from obscale.cli.busy import Heartbeat, busy
from obscale.cli.run_view import LiveRun
from obscale.events import ProofsHold, WaitsForLock

LONGEST_SECONDS = 30


class Lines:
    """Takes lines from another thread."""

    def __init__(self, wanted: int) -> None:
        self.told: list[str] = []
        self._wanted = wanted
        self.all = threading.Event()

    def write(self, line: str) -> None:
        """Take one."""
        self.told.append(line)
        if len(self.told) >= self._wanted:
            self.all.set()


@pytest.fixture
def soon(monkeypatch):
    """Let silences be short."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.02)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 100 columns in place of standard error; gives what was written there."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    monkeypatch.setattr(module, "open_console", lambda *, stderr: console)
    return written


def test_a_silence_is_told_once_and_then_with_its_seconds(soon):
    lines = Lines(3)

    with Heartbeat(lines.write, first_seconds=0.01) as heartbeat:
        heartbeat.does("asks 10.0.0.1:2886")
        assert lines.all.wait(LONGEST_SECONDS)

    assert lines.told[0] == "asks 10.0.0.1:2886"
    assert re.fullmatch(r"asks 10\.0\.0\.1:2886: \d+ s", lines.told[1])


def test_a_command_that_ends_before_is_told_nothing():
    lines = Lines(1)

    with Heartbeat(lines.write, first_seconds=LONGEST_SECONDS) as heartbeat:
        heartbeat.does("asks 10.0.0.1:2886")

    assert lines.told == []


def test_what_was_told_ends_a_silence(monkeypatch):
    """Its words stand in a line already, so they come no sooner than a line after a silence."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", LONGEST_SECONDS)
    lines = Lines(1)

    with Heartbeat(lines.write, first_seconds=0.01) as heartbeat:
        heartbeat.does("stage 1/9")
        heartbeat.heard()
        assert not lines.all.wait(0.2)


def test_a_pipe_gets_lines_on_standard_error_only(monkeypatch, capsys, soon):
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.01)
    lines = Lines(2)

    def say(line: str, *, err: bool) -> None:
        print(line, file=module.sys.stderr if err else module.sys.stdout)
        lines.write(line)

    monkeypatch.setattr(module, "say", say)
    with busy("asks Prefect") as shown:
        assert lines.all.wait(LONGEST_SECONDS)
        shown.does("starts a Prefect server")
        lines.all.clear()
        assert lines.all.wait(LONGEST_SECONDS)

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("... asks Prefect\n")
    assert "starts a Prefect server" in said.err


def test_a_terminal_gets_a_line_at_once_and_nothing_stays_of_it(terminal):
    with busy("plan: looks at east") as shown:
        assert "plan: looks at east" in terminal.getvalue()
        shown.does("plan: looks at west")

    written = terminal.getvalue()
    assert "0:00:0" in written
    assert written.endswith("\x1b[1A\x1b[2K")


def test_a_run_in_a_pipe_tells_each_wait_and_a_terminal_its_news_only():
    waits = [WaitsForLock(what="DAG 9 of east", seconds=seconds) for seconds in (0, 10)]
    holds = [ProofsHold(seconds=seconds, wanted=30) for seconds in (0, 12)]

    def written_by(*, terminal: bool) -> str:
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        with LiveRun(console, "run") as live:
            for event in (*waits, *holds):
                live.hear(event)
        return console.file.getvalue()

    pipe, terminal = written_by(terminal=False), written_by(terminal=True)

    assert "submit: waits for DAG 9 of east\n" in pipe
    assert "submit: waits for DAG 9 of east (for 10 s now)\n" in pipe
    assert "verify: holds for 30 s: 12 s\n" in pipe
    assert "submit: waits for DAG 9 of east" in terminal
    assert "for 10 s now" not in terminal
    assert "verify: holds for 30 s" in terminal


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        ("2026-11-28T22:58:51+08:00", "2026-11-28T22:58:58.5+08:00", 7.5),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", None),
        ("2026-11-28T22:58:51+08:00", "0001-01-01T00:00:00Z", None),
        ("2026-11-28T22:58:51+08:00", None, None),
        ("1970-01-01T00:00:00Z", "2026-11-28T22:58:58+08:00", None),
        (None, None, None),
    ],
)
def test_a_stage_takes_what_its_agent_says_and_nothing_before_it_ended(start, end, seconds):
    console = Console(file=io.StringIO(), width=100)
    node = Node(name="Add server", state="SUCCEED", start_time=start, end_time=end)

    LiveRun(console, "run").draw(Dag(id="11", dag_id=1, stage=1, max_stage=1, nodes=(node,)))

    took = f"{seconds:.1f} s" if seconds else "Add server"
    assert console.file.getvalue().rstrip().endswith(took)


ENDS_SLOWLY = """
import sys, time
from obscale.cli import busy
busy.FIRST_SECONDS = 0.05
from obscale.cli.exits import leave
from obscale.cli.own_server import stop_at_exit
if sys.argv[1:]:
    stop_at_exit(lambda: time.sleep(0.5))
print("its verdict", flush=True)
leave(SystemExit(1))
"""


@pytest.mark.parametrize(
    ("words", "told"), [(["slow"], "... ends the Prefect server of this run\n"), ([], "")]
)
def test_the_wait_for_a_servers_end_is_told(words, told):
    """After the verdict nothing else is; a command without a server ends silently."""
    ended = subprocess.run(
        [sys.executable, "-c", ENDS_SLOWLY, *words], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "its verdict\n", told)
