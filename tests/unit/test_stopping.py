"""A signal ends a command at every moment, by one last line."""

import asyncio
import json
import os
import signal
import threading
from contextlib import suppress

import pytest

from obscale.cli import stopping
from obscale.cli.stopping import Stopped, Stopping

LONGEST_SECONDS = 60
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Program:
    """A program that ends by a number instead of ending."""

    def __init__(self):
        self.ended = threading.Event()
        self.code = None
        self.stopping = Stopping(self.end)

    def end(self, code):
        """Stand in for `os._exit`."""
        self.code = code
        self.ended.set()


@pytest.fixture
def listens():
    """Give a function that has a program listen in this process; signals are pytest's again."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    wakes = signal.set_wakeup_fd(-1)
    opened = []

    def listen(*, as_json=False):
        program = Program()
        program.stopping.listen(as_json=as_json)
        opened.append(program.stopping)
        return program

    yield listen
    signal.set_wakeup_fd(wakes)
    for number, handler in before.items():
        signal.signal(number, handler)
    for each in opened:
        os.close(each._wakes)
        each.watcher.join(LONGEST_SECONDS)
        os.close(each._heard)


@pytest.fixture
def at_once(monkeypatch):
    """Have no time for an answer."""
    monkeypatch.setattr(stopping, "ANSWER_SECONDS", dict.fromkeys(NUMBERS, 0.0))


def send(number):
    """Send a signal; Python handles it before the next line."""
    os.kill(os.getpid(), number)


async def wait():
    """Wait for what never comes."""
    await asyncio.Event().wait()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_what_runs_outside_of_a_loop(listens, number):
    """An import, a wait for Prefect, a question."""
    listens()

    with pytest.raises(Stopped) as stop:
        send(number)

    assert stop.value.number == number


@pytest.mark.parametrize("ending", ["cancelled", "swallowed", "replaced"])
def test_a_signal_ends_a_run_whatever_becomes_of_the_cancelling(listens, ending):
    """The run tidies up, then it ends by the signal; what it returned by then is its end."""
    program, tidied = listens(), []

    async def work():
        send(signal.SIGINT)
        try:
            await wait()
        except asyncio.CancelledError:
            tidied.append(ending)
            if ending == "replaced":
                raise OSError("no connection") from None
            if ending == "cancelled":
                raise
        return "done"

    if ending == "swallowed":
        assert program.stopping.run(work()) == "done"
    else:
        with pytest.raises(Stopped):
            program.stopping.run(work())

    assert tidied == [ending]


def test_a_question_asked_inside_of_a_loop_is_ended(listens, capsys):
    """The loop cannot: it stands still meanwhile."""
    program = listens()

    async def work():
        with program.stopping.asking():
            send(signal.SIGINT)
            pytest.fail("the question goes on")

    with pytest.raises(Stopped):
        program.stopping.run(work())

    assert capsys.readouterr().err == "\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_where_the_main_thread_hears_nothing_the_line_comes_all_the_same(
    listens, at_once, capsys, as_json
):
    """With what goes on, and how to follow it; then the process ends."""
    program = listens(as_json=as_json)
    program.stopping.stands(lambda: ("DAG 11 goes on by itself", "obscale watch east 11"))

    async def work():
        send(signal.SIGINT)
        while not program.ended.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    program.stopping.run(work())

    out, err = capsys.readouterr()
    line = "interrupted; DAG 11 goes on by itself. Next: obscale watch east 11"
    told = {"kind": "interrupted", "message": line, "hint": "obscale watch east 11"}
    assert program.code == 130
    assert not program.stopping.claim()
    if as_json:
        assert (json.loads(out), err) == (
            {"schema_version": 1, "error": told | {"exit_code": 130}},
            "",
        )
    else:
        assert (out, err) == ("", f"obscale: {line}\n")


def test_a_run_that_is_recorded_has_longer_to_end_than_to_tell(listens, monkeypatch):
    """The line comes first; a second Ctrl-C ends what is left."""
    monkeypatch.setattr(stopping, "ANSWER_SECONDS", dict.fromkeys(NUMBERS, 0.2))
    monkeypatch.setattr(stopping, "AGAIN_SECONDS", 0.0)
    program, told = listens(), threading.Event()

    def words():
        told.set()
        return "DAG 11 goes on by itself", ""

    program.stopping.stands(words, records=True)
    with pytest.raises(Stopped):
        send(signal.SIGINT)
    # The interpreter's own end begins, in which Prefect sends what is left.
    program.stopping.over()
    assert told.wait(LONGEST_SECONDS)
    assert not program.ended.wait(0.1)

    send(signal.SIGINT)

    assert program.ended.wait(LONGEST_SECONDS)
    assert program.code == 130


def test_a_signal_sent_on_by_a_program_between_is_the_same_one(listens, monkeypatch):
    """`timeout` and others send it on to who has heard it from the terminal."""
    monkeypatch.setattr(stopping, "AGAIN_SECONDS", 60.0)
    program = listens()
    program.stopping.stands(lambda: ("", ""), records=True)

    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        with suppress(Stopped):
            send(number)

    assert not program.ended.wait(0.1)


@pytest.mark.parametrize("as_json", [False, True])
def test_at_the_very_end_a_signal_is_answered_at_once(listens, capsys, as_json):
    """Its report is out; standard output holds its object already."""
    program = listens(as_json=as_json)
    program.stopping.over()

    send(signal.SIGTERM)

    assert program.ended.wait(LONGEST_SECONDS)
    out, err = capsys.readouterr()
    assert program.code == 143
    assert (out, err) == ("", "obscale: terminated; the run itself had ended already\n")


def test_what_nohup_has_ignored_stays_ignored(listens):
    """So that the terminal's end is not the run's."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    program = listens()

    send(signal.SIGHUP)

    assert not program.ended.wait(0.1)


def test_the_usual_end_by_ctrl_c_is_none_to_speak_of(listens, monkeypatch, capsys):
    """`obscale demo --ui` is shown until then; it ends by 0, also where its end is cut short."""
    monkeypatch.setattr(stopping, "AGAIN_SECONDS", 0.0)
    program = listens()

    async def work():
        send(signal.SIGINT)
        await wait()

    with pytest.raises(Stopped):
        program.stopping.run(work())
    program.stopping.wants_end(0)
    send(signal.SIGINT)

    assert program.ended.wait(LONGEST_SECONDS)
    assert program.code == 0
    assert capsys.readouterr() == ("", "")
