"""Tests that Prefect's own messages do not fill a run's log."""

import io
import logging

import httpx
import pytest

from obscale.tasks.runtime import quiet
from obscale.tasks.runtime.quiet import LOST, quiet_threads
from obscale.tasks.runtime.writing import Recording


@pytest.fixture
def log(monkeypatch):
    """A loud logger, and where its lines are collected."""
    monkeypatch.setattr(quiet, "SENDER_LOGGERS", ("quiet.test",))
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    loud = logging.getLogger("quiet.test")
    loud.addHandler(handler)
    yield loud, lines
    loud.removeHandler(handler)


def test_what_prefects_threads_say_is_dropped_and_noted(log):
    """Also after Prefect has set all levels anew."""
    loud, lines = log
    known = Recording()

    quiet_threads(known)
    loud.setLevel(logging.NOTSET)
    loud.error("Service 'EventsWorker' failed to process item %r", "event")

    assert not lines.getvalue()
    assert known.unrecorded == {LOST: LOST}


def recorded(error):
    """What the engine logs of an error, as its log shows it."""
    quiet_threads(Recording())
    words = "Encountered exception during execution: %r"
    record = logging.LogRecord("engine", logging.ERROR, "", 0, words, (error,), (None, error, None))
    assert logging.getLogger("prefect.flow_runs").filter(record)
    return logging.Formatter().format(record)


def test_an_engine_that_cannot_record_a_run_says_so_in_one_line():
    """Not in a page of the HTTP library's."""
    said = recorded(httpx.ConnectError("All connection attempts failed"))

    assert said == (
        "Encountered exception during execution: Prefect: All connection attempts failed"
    )


def test_a_bug_keeps_its_traceback():
    """It is nobody's being away."""
    said = recorded(ValueError("wires crossed"))

    assert "\nValueError: wires crossed" in said
