"""Tests of what others may depend on, by a snapshot that changes only on purpose.

Where one of these fails, somebody's script, automation or stored file may break. If that is meant,
write the snapshot anew with `python -m tests.unit.test_outside`, and say so in CHANGELOG.md.
"""

import ast
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, TypeAdapter
from typer.testing import CliRunner

import obscale.errors
import obscale.tasks.runtime.events
from obscale.batch.plan import BatchPlan
from obscale.batch.report import BatchIncompleteError, BatchReport
from obscale.cli.commands import app
from obscale.cli.exits import exit_code_of
from obscale.errors import ObscaleError
from obscale.flows.batch import batch
from obscale.flows.batch_worker import batch_part
from obscale.flows.plan import plan
from obscale.flows.recover import recover
from obscale.flows.scale_out import scale_out
from obscale.flows.use import use
from obscale.flows.verify import verify
from obscale.flows.watch import watch
from obscale.plan import Plan
from obscale.plan.file import PlanFile
from obscale.preflight.registry import RULES
from obscale.recovery.causes import CAUSES
from obscale.report.audit import Evidence
from obscale.report.report import ScaleOutReport
from obscale.report.use import UseReport
from obscale.request.models import ScaleOutSpec
from obscale.sandbox import WorldConfig
from obscale.sandbox.faults.cards import CARDS
from obscale.spec.batch import BatchSpec
from obscale.tasks.runtime.cluster_block import ObshellCluster
from obscale.tasks.runtime.run_state import STATE_NAMES
from obscale.tasks.runtime.use_report import PREFIX, USE_EVENTS
from obscale.use.causes import CAUSES as USE_CAUSES
from obscale.use.rules import RULES as USE_RULES
from obscale.verify.baseline import Baseline

KEPT = Path(__file__).parents[1] / "data" / "outside"
MODELS: tuple[type[BaseModel], ...] = (
    ScaleOutSpec,
    BatchSpec,
    Plan,
    PlanFile,
    BatchPlan,
    ScaleOutReport,
    UseReport,
    BatchReport,
    Evidence,
    Baseline,
    ObshellCluster,
    WorldConfig,
)
FLOWS = (scale_out, plan, batch, batch_part, verify, watch, recover, use)
WORDS_ONLY = {"description", "examples", "position", "title"}
"""Of a schema, what a person reads; it may change freely."""


def rules() -> Any:
    """Give each preflight rule with its severities, and whether it can be overridden."""
    return {
        rule.id: {
            "prod": rule.prod,
            "lab": rule.lab,
            "ground": rule.ground,
            "softens": rule.softens,
        }
        for rule in (*RULES, *USE_RULES)
    }


def causes() -> Any:
    """Give the ids of the causes a diagnosis can name."""
    return [cause.id for cause in (*CAUSES, *USE_CAUSES)]


def errors() -> Any:
    """Give the kind of each error, with its class, exit code and the name of the run's state."""
    found = [
        each
        for each in vars(obscale.errors).values()
        if inspect.isclass(each) and issubclass(each, ObscaleError)
    ]
    return {
        each.kind: {
            "class": each.__name__,
            "exit": int(exit_code_of(each.__new__(each))),
            "state": STATE_NAMES.get(each.kind, "Failed"),
        }
        for each in (*found, BatchIncompleteError)
    }


def events() -> Any:
    """Give the names of all events: the first argument of each `Signal`, and the ends of a run."""
    tree = ast.parse(inspect.getsource(obscale.tasks.runtime.events))
    named = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Signal"
        and isinstance(node.args[0], ast.Constant)
    }
    return sorted(
        [
            *(
                obscale.tasks.runtime.events.PREFIX + name
                for name in {*named, *obscale.tasks.runtime.events.ENDS.values(), "failed"}
            ),
            *(f"{PREFIX}{name}" for name in USE_EVENTS),
        ]
    )


def cards() -> Any:
    """Give the fault cards of the sandbox."""
    return sorted(CARDS)


def command_line() -> Any:
    """Give the help of each command, as a terminal of 100 columns shows it."""
    names = typer.main.get_command(app).commands
    return {
        name: CliRunner()
        .invoke(app, [*words, "--help"], terminal_width=100, prog_name="obscale")
        .output.splitlines()
        for name, words in [("obscale", ()), *((each, (each,)) for each in names)]
    }


def schemas() -> Any:
    """Give what is read from files and kept in them: names, types, choices and defaults."""
    return {each.__name__: bare(TypeAdapter(each).json_schema()) for each in MODELS}


def parameters() -> Any:
    """Give the parameters of each flow, as Prefect's form and API know them."""
    return {
        each.name: bare(parameter_schema(each.fn).model_dump(mode="json", exclude_none=True))
        for each in FLOWS
    }


def bare(schema: Any, *, names: bool = False) -> Any:
    """Leave out of a schema what a person reads; `names` says that keys are names of fields."""
    if isinstance(schema, list):
        return [bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: bare(value, names=key in {"properties", "$defs", "definitions"} and not names)
        for key, value in schema.items()
        if names or key not in WORDS_ONLY
    }


OUTSIDE: tuple[Callable[[], Any], ...] = (
    rules,
    causes,
    errors,
    events,
    cards,
    command_line,
    schemas,
    parameters,
)


def page_of(part: Callable[[], Any]) -> str:
    """Give one part of the snapshot as it stands in its file."""
    return json.dumps(part(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


@pytest.mark.parametrize("part", OUTSIDE, ids=lambda part: part.__name__)
def test_what_others_depend_on_has_not_changed_unseen(part):
    """Parsed, so that a failure shows the difference and not two pages."""
    kept = json.loads((KEPT / f"{part.__name__}.json").read_text(encoding="utf-8"))

    assert json.loads(page_of(part)) == kept


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for each in OUTSIDE:
        (KEPT / f"{each.__name__}.json").write_text(page_of(each), encoding="utf-8")
