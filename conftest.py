"""Versions at the head of a test run, vectors and SDK scenarios at its end."""

from importlib.metadata import version

import pytest
from hypothesis import HealthCheck, settings

from obscale.rules.preflight.registry import RULES

# How long one example takes says more of the machine than of the code.
settings.register_profile("obscale", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("obscale")

SHOWN_AT_THE_START = ("prefect", "fastapi", "httpx", "pydantic", "cryptography", "obshell")
NAMED_AT_THE_END = {
    "test_sealing_vectors.py": "published vectors, client side",
    "test_sandbox_access.py": "published vectors and access rules, agent side",
    "test_sandbox_timelines.py": "timelines of the DAGs",
    "test_official_sdk.py": "official SDK, unmodified",
}


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
    cases = sum(
        "test_preflight_" in report.nodeid and report.when == "call"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
    )
    if cases:
        terminalreporter.section(f"preflight: {len(RULES)} rules in {cases} cases")
