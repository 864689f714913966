"""Tests of what every command does alike: -h, completion, no colour, quiet and verbose."""

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from obscale.cli.commands import COMMANDS, main

PROGRAM = Path(sys.executable).with_name("obscale")
STYLE = re.compile(r"\x1b\[[0-9;]*m")
LONGEST_SECONDS = 120


@pytest.fixture
def watched(monkeypatch):
    """Give a function that runs a command at a terminal and gives what was written to it."""

    def run(*words, **environment):
        for name in ("NO_COLOR", "TERM", "COLORTERM", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in ({"TERM": "xterm-256color", "COLUMNS": "100"} | environment).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["obscale", *map(str, words)])
        ours, theirs = pty.openpty()
        read = bytearray()

        def listen():
            while chunk := _read(ours):
                read.extend(chunk)

        reader = threading.Thread(target=listen)
        reader.start()
        with (
            os.fdopen(theirs, "w", encoding="utf-8") as terminal,
            redirect_stdout(terminal),
            redirect_stderr(terminal),
            pytest.raises(SystemExit),
        ):
            main()
        reader.join(LONGEST_SECONDS)
        os.close(ours)
        return read.decode()

    return run


def _read(terminal):
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # what Linux tells of a terminal whose other end is closed
        return b""


@pytest.fixture
def request_file(quiet_world, write, monkeypatch):
    monkeypatch.setenv("OBSCALE_TEST_ROOT", "canary-root-5e1f")
    monkeypatch.setenv("OBSCALE_TEST_AGENT", "canary-agent-77c2")
    return write(quiet_world.request())


def test_no_color_means_no_style_at_all(watched, request_file):
    """Neither bold nor dim; what moves still moves."""
    styled = watched("plan", request_file)
    plain = watched("plan", request_file, NO_COLOR="1")

    assert STYLE.search(styled)
    assert "READY" in plain
    assert not STYLE.search(plain)


def test_a_dumb_terminal_gets_no_escape(watched, request_file):
    """Lines, as into a pipe."""
    for words in (("plan", request_file), ("explain", "disk-fits"), ("--help",)):
        told = watched(*words, TERM="dumb")
        assert "\x1b" not in told
        assert len(told.splitlines()) > 3


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_h_is_help(run_here, name):
    """For all of them, and for every one."""
    words = [name] if name else []

    asked, long = run_here(*words, "-h"), run_here(*words, "--help")

    assert asked == long
    assert asked.code == 0
    assert "-h, --help" in asked.out


def test_help_imports_no_command():
    """It stays quick, and so does a Tab."""
    script = (
        "import sys; sys.argv = ['obscale', '--help']\n"
        "from obscale.cli.commands import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'httpx', 'pydantic', 'prefect', 'cryptography', 'obscale.cli.plan'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "[]"


def test_quiet_tells_the_verdict_and_what_to_do(run_here, request_file):
    """One line where all is well; an error as ever."""
    ready = run_here("plan", request_file, "-q")
    wrong = run_here("plan", "nowhere.yaml", "-q")

    (line,) = ready.out.splitlines()
    assert line.startswith("READY")
    assert f"obscale apply {request_file}" in line
    assert ready.err == ""
    assert (wrong.code, wrong.out) == (2, "")
    assert "nowhere.yaml" in wrong.err


def test_verbose_tells_what_passes_and_each_request(run_here, request_file):
    """The rules that have nothing to say too, and which agent was asked what."""
    plain, verbose = run_here("plan", request_file), run_here("plan", request_file, "-v")

    assert "cfg-port-distinct" not in plain.out
    assert "cfg-port-distinct" in verbose.out
    assert "obcluster/info" in verbose.err
    assert plain.lines == []


def test_quiet_and_verbose_exclude_each_other(run_here, request_file):
    """Exit 2, in a line."""
    ended = run_here("plan", request_file, "-q", "-v")

    assert ended.code == 2
    assert "exclude each other" in ended.err


def completed(shell, typed, tmp_path):
    """Give what a real shell offers after these words, by the script that obscale gives it."""
    environment = {
        "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PREFECT_HOME": str(tmp_path / "prefect"),
    }
    script = subprocess.run(
        [PROGRAM],
        env=environment | {"_OBSCALE_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=True,
    ).stdout
    (tmp_path / "script").write_text(script)
    words = typed.split(" ")
    source, count = f"source {tmp_path}/script", len(words)
    bash = (
        f"{source}; COMP_WORDS=({typed}); COMP_CWORD={count - 1}; _obscale_completion obscale; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    # What its widget is given, since that itself wants a terminal.
    zsh = (
        "compdef() { :; }; _arguments() { print -r -- $1 }; _files() { :; }; "
        f"{source}; words=({typed}); CURRENT={count}; _obscale_completion"
    )
    commands = {
        "bash": ("bash", "--norc", "-c", bash),
        "fish": ("fish", "--no-config", "-c", f"{source}; complete --do-complete '{typed}'"),
        "zsh": ("zsh", "-f", "-c", zsh),
    }
    done = subprocess.run(
        commands[shell],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert not (tmp_path / "prefect").exists()
    return done.stdout + done.stderr


@pytest.mark.e2e
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("obscale re", ["rehearse", "recover"]),
        ("obscale plan --prof", ["--profile"]),
        ("obscale explain disk-fi", ["disk-fits"]),
        ("obscale rehearse r.yaml --fault slow_o", ["slow_observer"]),
        ("obscale plan r.yaml --profile l", ["lab"]),
    ],
)
def test_a_real_shell_completes(shell, typed, offered, tmp_path):
    """By the installed program alone: no Prefect, no network."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")

    told = completed(shell, typed, tmp_path)

    for word in offered:
        assert word in told, told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_tab_is_answered_in_process(shell, monkeypatch, tmp_path):
    """The same, without the shell: quick enough for every run of the tests."""
    words = "obscale explain disk-fi"
    for name, value in {
        "_OBSCALE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["obscale"])
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as ended:
        main()

    assert not ended.value.code
    assert "disk-fits" in out.getvalue()


def test_old_words_are_answered_with_the_new_ones(run_here):
    """`plan --suggest` was no option of planning."""
    ended = run_here("plan", "--suggest", "--agent", "10.0.0.4:2886", "--json")

    assert ended.code == 2
    assert "obscale suggest" in json.loads(ended.out)["error"]["message"]
