"""Tests of every command on any terminal, pipe or full disk."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest

from obscale.cli.commands import main
from obscale.sandbox import Fault, default_config

ROOT_CANARY = "canary-root-5e1f"
AGENT_CANARY = "canary-agent-77c2"
PROGRAM = [sys.executable, "-m", "obscale.cli"]
LONGEST_SECONDS = 300
NAME = "北京-Zürich"
ENCODINGS = ["ascii", "latin-1", "gbk", "shift_jis", "utf-8"]
LOST = "obscale: standard output cannot be written: "
COMMANDS = {
    # words after the request, and the exit code; FAR leads nowhere, BATCH is the request as a batch
    "plan": (["plan", "HERE"], 0),
    "plan --json": (["plan", "HERE", "--json"], 0),
    "plan a batch": (["plan", "BATCH"], 0),
    "plan a batch --json": (["plan", "BATCH", "--json"], 0),
    "verify": (["verify", "HERE"], 1),
    "verify --json": (["verify", "HERE", "--json"], 1),
    "nobody there": (["plan", "FAR"], 3),
    "nobody there --json": (["plan", "FAR", "--json"], 3),
    "bad input": (["plan", "nowhere-é\udcff.yaml"], 2),
    "bad input --json": (["plan", "nowhere-é\udcff.yaml", "--json"], 2),
    "usage": (["plan", "--nonsense-é"], 2),
    "help": (["--help"], 0),
}


@pytest.fixture(scope="module")
def world(open_world):
    """A cluster whose name neither ASCII nor Latin-1 can show."""
    (cluster,) = default_config().clusters
    changed = {"name": NAME, "root_password": ROOT_CANARY}
    return open_world(clusters=(cluster.model_copy(update=changed),))


@pytest.fixture
def words(world, write):
    """Give a function that makes a command of its sample."""

    def make(sample):
        far = world.request()
        far["cluster"]["endpoints"] = ["127.0.0.1:9"]
        files = {
            "HERE": write(world.request(), "here.json"),
            "FAR": write(far, "far-é.json"),
            "BATCH": write({"clusters": [world.request()]}, "batch.json"),
        }
        return [str(files.get(word, word)) for word in COMMANDS[sample][0]]

    return make


@pytest.fixture
def typed(monkeypatch):
    """Give the command line, entered in this process, that writes to an open file; gives its code.

    Standard error comes as text.
    """
    monkeypatch.setenv("OBSCALE_TEST_ROOT", ROOT_CANARY)
    monkeypatch.setenv("OBSCALE_TEST_AGENT", AGENT_CANARY)

    def enter(words, stdout):
        error = io.TextIOWrapper(io.BytesIO(), stdout.encoding, write_through=True)
        monkeypatch.setattr(sys, "argv", ["obscale", *words])
        with redirect_stdout(stdout), redirect_stderr(error), pytest.raises(SystemExit) as ended:
            main()
        with suppress(BrokenPipeError):
            stdout.flush()  # as Python does at exit
        return int(ended.value.code or 0), error.buffer.getvalue().decode(stdout.encoding)

    return enter


@pytest.fixture
def run(environment):
    """Give the command line as a process of its own that writes bytes to where it is told."""

    def start(*words, stdout=subprocess.PIPE, wait=True, **extra):
        process = subprocess.Popen(
            [*PROGRAM, *words],
            env=environment | {"PYTHONUTF8": "0"} | extra,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        if not wait:
            return process
        out, err = process.communicate(timeout=LONGEST_SECONDS)
        return process.returncode, out, err.decode(errors="replace")

    return start


def clean(said):
    """Nothing of it is a traceback, or what Python says of one at exit."""
    return not any(word in said for word in ("Traceback", "Exception ignored", "Error:"))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("sample", COMMANDS)
def test_every_encoding_is_written_and_json_stays_json(typed, words, sample, encoding):
    """Its own exit code; text in the terminal's encoding; JSON holds every character."""
    page = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")

    code, err = typed(words(sample), page)

    assert code == COMMANDS[sample][1], err
    assert clean(err), err
    shown = page.buffer.getvalue().decode(encoding)
    if sample.endswith("--json"):
        told = json.loads(shown)
        if "HERE" in COMMANDS[sample][0] or "BATCH" in COMMANDS[sample][0]:
            assert NAME in json.dumps(told, ensure_ascii=False)
    elif sample == "plan":
        sign, other = ("→", "->") if encoding == "utf-8" else ("->", "→")
        assert sign in shown
        assert other not in shown


@pytest.fixture(scope="module")
def gbk(tmp_path_factory):
    """The environment of a terminal in zh_CN.GBK."""
    folder = tmp_path_factory.mktemp("locales")
    made = shutil.which("localedef")
    assert made, "localedef is part of the C library"
    subprocess.run(
        [made, "-i", "zh_CN", "-f", "GBK", str(folder / "zh_CN.GBK")],
        capture_output=True,
        timeout=LONGEST_SECONDS,
        check=True,
    )
    return {"LOCPATH": str(folder), "LC_ALL": "zh_CN.GBK", "PYTHONIOENCODING": ""}


def test_a_gbk_locale_is_written_in_gbk(run, words, gbk, environment):
    """By the locale alone, which here is one: cluster name, boxes and signs, and JSON."""
    probe = "import sys; print(sys.stdout.encoding)"
    seen = subprocess.run(
        [sys.executable, "-c", probe],
        env=environment | gbk,
        capture_output=True,
        timeout=LONGEST_SECONDS,
        check=True,
    )

    code, page, err = run(*words("plan"), **gbk)
    _, told, _ = run(*words("plan --json"), **gbk)

    assert seen.stdout.strip().lower() == b"gbk"
    assert code == 0, err
    assert "集群" in page.decode("gbk")
    assert NAME in json.dumps(json.loads(told.decode("gbk")), ensure_ascii=False)


def lost_with(sample):
    """Whether the command writes anything to standard output."""
    return sample.endswith("--json") or COMMANDS[sample][1] in {0, 1}


@pytest.mark.parametrize("sample", COMMANDS)
def test_a_full_disk_leaves_the_exit_code_and_one_line(typed, words, sample):
    """What is written to /dev/full is lost; the rest of the command is not."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        code, err = typed(words(sample), full)

    assert code == COMMANDS[sample][1], err
    assert clean(err), err
    assert err.count(f"{LOST}no space left on device") == lost_with(sample), err


@pytest.mark.parametrize("sample", COMMANDS)
def test_a_closed_pipe_leaves_the_exit_code_and_one_line(typed, words, sample):
    """Whoever reads the pipe has gone."""
    read, written = os.pipe()
    os.close(read)
    with os.fdopen(written, "w", encoding="utf-8") as pipe:
        code, err = typed(words(sample), pipe)

    assert code == COMMANDS[sample][1], err
    assert clean(err), err
    assert err.count(f"{LOST}broken pipe") == lost_with(sample), err


@pytest.mark.parametrize("sample", ["plan", "plan --json"])
@pytest.mark.parametrize("way", [">/dev/full", "| true"])
def test_nothing_is_said_at_exit_of_what_could_not_be_written(environment, words, sample, way):
    """A process of its own: Python writes once more when it ends."""
    shell = f'sleep 0 | {{ "$@"; echo "code $?" >&2; }} {way}'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *PROGRAM, *words(sample)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    assert done.stderr.splitlines()[-1] == "code 0", done.stderr
    assert clean(done.stderr), done.stderr
    assert done.stderr.count(LOST) == 1, done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", "2>/dev/full"])
@pytest.mark.parametrize("sample", ["plan --json", "usage"])
def test_closed_files_leave_the_exit_code(environment, words, sample, closed):
    """As a careless service manager or cron job starts a command."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *PROGRAM, *words(sample)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    assert done.returncode == COMMANDS[sample][1], done.stderr
    assert clean(done.stderr), done.stderr


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("way", "options"),
    [("/dev/full", ()), ("closed pipe", ("--json",)), ("ascii", ("--json",)), ("gbk", ())],
    ids=["full", "pipe", "ascii", "gbk"],
)
def test_a_run_is_carried_to_its_end_whatever_happens_to_its_output(
    run, open_world, write, server_url, way, options
):
    """The scale-out is posted, followed and told, with the run's own exit code."""
    world = open_world(Fault.fail_stage(5, text="observer died: 磁盘已满 ✘"))
    extra, stdout = {"PREFECT_API_URL": server_url}, subprocess.PIPE
    if way == "/dev/full":
        stdout = os.open(way, os.O_WRONLY)
    elif way == "closed pipe":
        read, stdout = os.pipe()
        os.close(read)
    else:
        extra["PYTHONIOENCODING"] = way

    request = str(write(world.request(), "request.json"))
    code, out, err = run("apply", request, "--yes", *options, stdout=stdout, **extra)

    assert code == 1, err
    assert clean(err), err
    assert len(world.posts) == 1
    assert "observer died" in err
    if out is None:
        os.close(stdout)
        assert err.count(LOST) == 1
    elif options:
        assert "磁盘已满 ✘" in json.dumps(json.loads(out), ensure_ascii=False)
    else:
        assert "x stage 5/9 " in out.decode(way)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_sandbox_serves_on_without_an_output(run, write, options):
    """Nobody reads its ready line; SIGTERM ends it in peace."""
    with Path("/dev/full").open("w") as full:
        process = run(
            *("sandbox", "--config", str(write("port: 0\nclusters: [{zones: [{name: z1}]}]\n"))),
            *options,
            stdout=full,
            wait=False,
        )
    said = process.stderr.readline().decode()
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=LONGEST_SECONDS)

    assert said.startswith(LOST), said
    assert process.returncode == 0
    assert clean(rest.decode())
