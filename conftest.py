"""Versions at the head of a test run, vectors and SDK scenarios at its end."""

import gc
import signal
from importlib.metadata import version

import pytest
from hypothesis import HealthCheck, settings

from obscale.preflight.registry import RULES

# How long one example takes says more of the machine than of the code.
settings.register_profile("obscale", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("obscale")

SHOWN_AT_THE_START = ("prefect", "fastapi", "httpx", "pydantic", "cryptography", "obshell")
ENDS_RUNS = "tests/flow/"
"""Runs are ended in these tests' process; what they leave is met by whichever comes next."""
NAMED_AT_THE_END = {
    "test_sealing_vectors.py": "published vectors, client side",
    "test_sandbox_access.py": "published vectors and access rules, agent side",
    "test_sandbox_timelines.py": "timelines of the DAGs",
    "real/test_timelines.py": "recorded runs, as the simulator plays them",
    "test_official_sdk.py": "official SDK, unmodified",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Prefect, and a run that is ended while it connects, leave connections to the collector.

    In all other tests a connection that nobody closed is an error.
    """
    for item in items:
        if item.nodeid.startswith(ENDS_RUNS):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


def pytest_collection_finish() -> None:
    """Spare the collector what stays to the end: modules and tests, a million objects."""
    gc.collect()
    gc.freeze()


def pytest_configure() -> None:
    """Hear Ctrl-C and the end of the terminal, which a run in the background is started without.

    What is ignored here is ignored in every process a test starts, and many tests send signals.
    """
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_report_header() -> str:
    """Name the versions a failure may depend on."""
    return ", ".join(f"{name} {version(name)}" for name in SHOWN_AT_THE_START)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each vector and each SDK scenario with its outcome."""
    for file, title in NAMED_AT_THE_END.items():
        rows = [
            (report.nodeid.partition("::")[2], outcome)
            for outcome in ("passed", "failed")
            for report in terminalreporter.stats.get(outcome, [])
            if file in report.nodeid and report.when == "call"
        ]
        if rows:
            terminalreporter.section(f"{title}: {len(rows)}")
        for name, outcome in sorted(rows):
            terminalreporter.line(f"{outcome:<7}{name.removeprefix('test_')}")
    # The line of the short summary names only the group; these say what was left, by whom.
    stats = terminalreporter.stats
    for report in (*stats.get("failed", ()), *stats.get("error", ())):
        told = str(report.longrepr)
        if "multiple unraisable exception warnings" in told:
            lines = {line.strip(" |") for line in told.splitlines() if "Warning: " in line}
            terminalreporter.section(f"left to the collector: {report.nodeid}")
            for line in sorted(lines):
                terminalreporter.line(line)
    cases = sum(
        "test_preflight_" in report.nodeid and report.when == "call"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
    )
    if cases:
        terminalreporter.section(f"preflight: {len(RULES)} rules in {cases} cases")
