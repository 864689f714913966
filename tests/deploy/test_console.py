"""Tests that workers' settings keep a run's log in Prefect and on the console."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DEPLOYMENTS = Path(__file__).resolve().parents[2] / "deployments"
PROBE = """
import logging
from prefect.logging.configuration import setup_logging
setup_logging()
loggers = [logging.getLogger("prefect.flow_runs"), logging.getLogger()]
print([type(handler).__name__ for logger in loggers for handler in logger.handlers])
logging.getLogger("prefect.flow_runs").warning("a line of a run")
"""


@pytest.mark.parametrize("file", ["prefect.yaml", "container/compose.yaml"])
def test_a_run_keeps_its_log_with_the_console_given_to_workers(file, tmp_path):
    """Prefect drops all handlers when one cannot be made; here each one can."""
    text = yaml.safe_load((DEPLOYMENTS / file).read_text(encoding="utf-8"))
    chosen = _find(text, "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS")

    ended = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        | {"PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": chosen, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert ended.stdout.strip() == "['APILogHandler', 'PlainConsole']"
    assert "a line of a run" in ended.stderr


def _find(tree, name):
    """Find the value of a name anywhere in a tree of mappings and lists."""
    if isinstance(tree, dict):
        if name in tree:
            return tree[name]
        tree = list(tree.values())
    if isinstance(tree, list):
        return next(filter(None, (_find(each, name) for each in tree)), None)
    return None
