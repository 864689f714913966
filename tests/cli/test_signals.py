"""Signals to the command line as a process of its own, at moments no other test comes to."""

import os
import re
import signal
import threading
from pathlib import Path

import pytest

from obscale.sandbox import Fault
from tests.cli.conftest import LONGEST_SECONDS, told
from tests.cli.test_own_server import children_of

pytestmark = pytest.mark.e2e

NOTHING = "obscale: interrupted; nothing was sent"


def wait_until(holds, what):
    """Wait for a condition, generously; gives what it gave."""
    pause = threading.Event()
    for _ in range(LONGEST_SECONDS * 20):
        if found := holds():
            return found
        pause.wait(0.05)
    raise AssertionError(f"never: {what}")


def catches(process, number):
    """Whether a process has a handler of its own for a signal."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    raise AssertionError("no such line")


def test_ctrl_c_is_answered_while_the_program_and_its_prefect_start(
    start_program, new_home, open_world, write
):
    """Two moments side by side: the imports, and the start of a Prefect server."""
    request = write(open_world().request())
    starts = start_program("apply", request, "--yes", PREFECT_HOME=str(new_home()))
    imports = start_program("plan", request)

    wait_until(lambda: imports.poll() is not None or catches(imports.pid, signal.SIGTERM), "heed")
    imports.send_signal(signal.SIGINT)
    [server] = wait_until(lambda: children_of(starts.pid), "the start of a server")
    os.killpg(starts.pid, signal.SIGINT)

    for program in (imports, starts):
        out, err = program.communicate(timeout=LONGEST_SECONDS)
        assert (out, told(err)) == ("", [NOTHING])
        assert program.returncode == 130
    wait_until(lambda: not Path(f"/proc/{server}").exists(), "the server's end")


def test_a_post_on_its_way_when_the_signal_comes_is_the_only_one(
    open_world, write, start_program, run_program, server_url
):
    """The answer is never heard; the same command finds the DAG and takes it up."""
    world = open_world()
    world.world.play(Fault.delay_answer(30, to="scale_out"))
    request = write(world.request())
    run = start_program("apply", request, "--yes", PREFECT_API_URL=server_url)
    wait_until(lambda: world.posts or run.poll() is not None, "the POST")

    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=LONGEST_SECONDS)
    again = run_program("apply", request, "--yes", PREFECT_API_URL=server_url)

    assert run.returncode == 130
    assert re.search(
        rf"^obscale: interrupted; .*\. Next: .*obscale apply {re.escape(str(request))}",
        err.splitlines()[-1],
    )
    assert "nothing was sent" not in err
    assert again.code == 0, again.err
    assert world.posts == ["/api/v1/ob/scale_out"]
