"""Tests that errors are caught by name, except where any end must be told."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOORS = {
    ("obscale/cli/commands.py", "_main"): "a bug leaves the command line as one line, not a page",
    (
        "obscale/cli/apply.py",
        "run_orders",
    ): "whoever ends the program is told what goes on without it",
    ("obscale/cli/apply_batch.py", "_run"): "as above; bugs go on to the door of the program",
    ("obscale/cli/use.py", "_run"): "as of apply: whoever ends it is told what goes on without it",
    (
        "tasks/runtime/replacement_report.py",
        "replacement_report_at_end",
    ): "the report is written however a run ends; the end goes on",
    (
        "tasks/runtime/use_report.py",
        "use_report_at_end",
    ): "the report is written however a run ends; the end goes on",
    ("obscale/cli/stopping.py", "run"): "a signal ends a run, whatever became of it on its way",
    (
        "tasks/runtime/report.py",
        "report_at_end",
    ): "the report is written however a run ends; the end goes on",
    ("tasks/batch.py", "_shown"): "the ledger is written however a batch ends; the end goes on",
    (
        "tasks/dispatch/worker.py",
        "told",
    ): "the table is written however a part ends; the end goes on",
    (
        "tasks/dispatch/dispatcher.py",
        "dispatching",
    ): "runs are told to stop however a batch ends; it goes on",
    (
        "tasks/dispatch/dispatcher.py",
        "add",
    ): "a row tells whether it may be begun, however it ends; it goes on",
}
"""Who may catch everything, and why."""
EVERYTHING = {"Exception", "BaseException"}


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """Whether a handler is bare, or names a class every error is one of, alone or among others."""
    if handler.type is None:
        return True
    return any(isinstance(n, ast.Name) and n.id in EVERYTHING for n in ast.walk(handler.type))


def handlers() -> set[tuple[str, str]]:
    """File and function of every handler that catches everything."""
    found: set[tuple[str, str]] = set()
    for top in ("obscale", "flows", "tasks", "deployments"):
        for path in (ROOT / top).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for function in ast.walk(tree):
                if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                inner = (n for n in ast.walk(function) if isinstance(n, ast.ExceptHandler))
                if any(catches_everything(handler) for handler in inner):
                    found.add((str(path.relative_to(ROOT)), function.name))
            outside = (n for n in tree.body if isinstance(n, ast.Try))
            if any(catches_everything(handler) for each in outside for handler in each.handlers):
                found.add((str(path.relative_to(ROOT)), "the module"))
    return found


def test_only_doors_catch_everything():
    """No function but the listed doors catches Exception, BaseException or everything."""
    assert handlers() == set(DOORS)
