"""The reference pages that are made of the code: causes, exit codes, settings, parameters, events.

Each function gives a whole page, or the rows of a table between two marks of a page written by
hand. `python -m pages` writes them; a test compares.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import obscale.cli.exits
import obscale.deployments
import obscale.errors
from obscale.batch.report import BatchIncompleteError
from obscale.cli.commands import COMMANDS, TRACEBACK_VARIABLE, load
from obscale.cli.exits import Exit, exit_code_of
from obscale.errors import ObscaleError
from obscale.preflight import catalogue
from obscale.preflight.catalogue import HEAD, row_of
from obscale.recovery.causes import CAUSES
from obscale.recovery.consequences import DEAD_ENDS
from obscale.removal import catalogue as removal_catalogue
from obscale.request.policies import BatchPolicies, Window, WorkersPolicy
from obscale.request.time_limits import TimeLimits
from obscale.tasks.runtime.cluster_block import ObshellCluster
from obscale.tasks.runtime.events import EVENTS
from obscale.tasks.runtime.run_state import STATE_NAMES, STATES
from obscale.tasks.runtime.use_report import USE_EVENTS
from obscale.text import Markdown, for_markdown, markdown, table
from obscale.use.causes import CAUSES as USE_CAUSES
from obscale.use.rules import RULES as USE_RULES
from pages.stages import STAGES, told_at

_MADE: Final = "Made by `make docs` from the code itself; do not edit."
_NONE: Final = "—"
_EXIT: Final = re.compile(r"\n\s*Exit: (.+)\Z", re.DOTALL)


def pages() -> dict[str, str]:
    """Give each page that is wholly made of the code, by its name in docs/."""
    return {
        "preflight.md": catalogue.page(),
        "removal-rules.md": removal_catalogue.page(),
        "use-rules.md": use_rules(),
        "causes.md": causes(),
        "exit-codes.md": exit_codes(),
        "settings.md": settings(),
        "parameters.md": parameters(),
    }


def with_tables(page: str) -> str:
    """Give docs/events.md with its tables made anew, between the marks that name them."""
    made = {
        "states": table(
            ("state", "what happened", "touched?"),
            ((name, what, touched) for name, (what, touched) in STATES.items()),
        ),
        "events": table(
            ("event `obscale.scale-out.…`", "when", "payload"),
            (
                (Markdown(f"`{name}`"), when, Markdown(payload))
                for name, (when, payload) in EVENTS.items()
            ),
        ),
        "events of use": table(
            ("event `obscale.use.…`", "when", "payload"),
            (
                (Markdown(f"`{name}`"), when, Markdown(payload))
                for name, (when, payload) in USE_EVENTS.items()
            ),
        ),
    }
    for name, rows in made.items():
        begin, end = f"<!-- made by make docs: {name} -->\n\n", f"\n\n<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{rows}{end}{rest.partition(end)[2]}"
    return page


def use_rules() -> str:
    """Give the page of the rules and causes of `obscale use`."""
    known = (
        (Markdown(f'<a id="{cause.id}"></a>`{cause.id}`'), cause.title, cause.by_hand)
        for cause in USE_CAUSES
    )
    return "\n".join(
        [
            "# Rules of use",
            "",
            _MADE,
            "",
            "`obscale use` judges these before it sends anything; how answers and profiles weigh,",
            "and what an override is, stands in [Preflight rules](preflight.md). How it is used:",
            "[Use what was added](using.md).",
            "",
            table(HEAD, (row_of(rule, str) for rule in USE_RULES)),
            "",
            "## Why its DAG fails",
            "",
            "The DAG gives the lock up when it fails, and a retry of it undoes nothing.",
            "",
            table(("cause", "what happened", "by hand"), known),
            "",
        ]
    )


def causes() -> str:
    """Give the page of causes, and of what each choice destroys."""
    known = (
        (
            Markdown(f'<a id="{cause.id}"></a>`{cause.id}`'),
            cause.title,
            cause.cure.value.replace("_", " ").lower(),
            cause.by_hand,
            cause.source,
        )
        for cause in CAUSES
    )
    ends = (
        (
            Markdown(f'<a id="{end.id}"></a>`{end.id}`'),
            end.remedy.value,
            end.text,
            end.source,
        )
        for end in DEAD_ENDS
    )
    destroyed = ((stage.where, stage.target, *told_at(stage)) for stage in STAGES)
    return "\n".join(
        [
            "# Causes of a failed DAG",
            "",
            _MADE,
            "",
            "A diagnosis ends with the id of its cause, e.g. `[observer-died]`; the first that",
            "fits counts. `<home>` is the target's home. What you see, and what to do, stands in",
            "the [runbook](operations.md#the-dag-failed); here is what is known of each.",
            "",
            table(
                ("cause", "what happened", "recommended, if safe", "by hand", "source"),
                _once(known),
            ),
            "",
            "## What each choice destroys",
            "",
            "It follows from where the cluster's DAG and the target's own DAG stand, not from the",
            "cause. So it looks where the target stands as usual; `obscale recover` tells it for",
            "the case at hand. HAND OVER destroys nothing. *May be others'*: the directories may",
            "hold what this scale-out did not make, so an explicit acknowledgement is needed.",
            "",
            table(
                ("the DAG failed at", "the target", "RETRY destroys", "ROLLBACK destroys"),
                destroyed,
            ),
            "",
            "## Dead ends",
            "",
            "obscale refuses these, whatever is acknowledged.",
            "",
            table(("dead end", "of", "why it leads nowhere", "source"), ends),
            "",
        ]
    )


def _once(rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Leave the anchor of an id that has several rows to the first of them."""
    seen: set[str] = set()
    for first, *rest in rows:
        name = first.split("`")[1]
        yield (first if name not in seen else Markdown(f"`{name}`"), *rest)
        seen.add(name)


def exit_codes() -> str:
    """Give the page of exit codes and errors."""
    by_command = (
        (Markdown(f"`{name}`"), " ".join(found[1].split()))
        for name in COMMANDS
        if (found := _EXIT.search(load(name).help or ""))
    )
    errors = (
        (
            Markdown(f"`{each.kind}`"),
            str(int(exit_code_of(each.__new__(each)))),
            STATE_NAMES.get(each.kind, "Failed"),
            _first_line(each),
        )
        for each in _errors()
    )
    codes = ((str(code.value), said) for code, said in _said_of(Exit))
    return "\n".join(
        [
            "# Exit codes and errors",
            "",
            _MADE,
            "",
            table(("code", "means"), codes),
            "",
            "It means the same for every command:",
            "",
            table(("command", "exit codes"), by_command),
            "",
            "## Errors",
            "",
            "With `--json` a command that ends with an error prints one object, whose `kind` is",
            "the first column. A run in Prefect ends in the state of the third one.",
            "",
            table(("kind", "exit code", "state of a run", "means"), errors),
            "",
        ]
    )


def _errors() -> list[type[ObscaleError]]:
    found = [
        each
        for each in vars(obscale.errors).values()
        if inspect.isclass(each) and issubclass(each, ObscaleError)
    ]
    return [*found, BatchIncompleteError]


def _said_of(codes: type[Exit]) -> Iterator[tuple[Exit, str]]:
    """Give each code with the text that stands below it in its class."""
    [found] = ast.parse(inspect.getsource(codes)).body
    body = found.body[1:] if isinstance(found, ast.ClassDef) else []
    for name, said in zip(body[::2], body[1::2], strict=True):
        match name, said:
            case ast.Assign(targets=[ast.Name(id=known)]), ast.Expr(ast.Constant(value=str(text))):
                yield codes[known], " ".join(text.split())


def settings() -> str:
    """Give the page of time limits, policies, connections and variables."""
    return "\n".join(
        [
            "# Settings",
            "",
            _MADE,
            "",
            "## Time limits",
            "",
            "Below `time_limits` of a request or a batch, and in the form of a run. Those that are",
            "not written have their default; a cluster's own stand above what a batch shares.",
            "",
            _fields(TimeLimits),
            "",
            "## Policies of a batch",
            "",
            "Below `policies`; how they work together is told in [Batches](batch.md).",
            "",
            _fields(BatchPolicies),
            "",
            "### window",
            "",
            _fields(Window),
            "",
            "### workers",
            "",
            _fields(WorkersPolicy),
            "",
            "## Connections",
            "",
            "What `obscale connect` stores in Prefect as a block *OceanBase Cluster (obshell)*.",
            "",
            _fields(ObshellCluster),
            "",
            "## Variables of the environment",
            "",
            "obscale has no settings file. Prefect's own variables hold as everywhere; those a",
            "server or worker needs stand in [Start runs from Prefect](deployments.md).",
            "",
            table(
                ("variable", "says"),
                [
                    (Markdown(f"`{name}`"), Markdown(said))
                    for name, said in (
                        (
                            "PREFECT_API_URL",
                            "the server; without it `apply` starts one for the run",
                        ),
                        ("PREFECT_API_AUTH_STRING", "`user:password` that server asks for"),
                        ("PREFECT_HOME", "where a server of obscale's own keeps its database"),
                        ("NO_COLOR", "no colours in the terminal"),
                        (TRACEBACK_VARIABLE, "`1` shows the traceback of an unforeseen error"),
                    )
                ],
            ),
            "",
        ]
    )


def _fields(model: type[BaseModel]) -> str:
    rows = (
        (
            Markdown(f"`{name}`"),
            Markdown(_default(field)),
            _bounds(field),
            field.description or field.title or "",
        )
        for name, field in model.model_fields.items()
    )
    return table(("name", "default", "bounds", "says"), rows)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "needed" if field.default_factory is None else _NONE
    return _shown(field.default)


def _shown(value: object) -> str:
    match value:
        case None | "" | () | {} | [] | BaseModel():
            return _NONE
        case bool() | int():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple() | list():
            return ", ".join(map(_shown, value))
        case str():
            return for_markdown(value)
        case _:
            return _NONE


def _bounds(field: FieldInfo) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = [
        f"{sign} {limit:g}"
        for mark in field.metadata
        for name, sign in signs.items()
        if (limit := getattr(mark, name, None)) is not None
    ]
    return ", ".join(found) or _NONE


def parameters() -> str:
    """Give the page of what each deployment takes."""
    folder = Path(obscale.deployments.__file__).parent
    offered = yaml.safe_load((folder / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    by_flow: dict[str, list[str]] = {}
    for each in offered:
        by_flow.setdefault(each["entrypoint"], []).append(each["name"])
    parts = [
        "# Parameters of the deployments",
        "",
        _MADE,
        "",
        "By these names the form, `prefect deployment run`, `create_flow_run` and `trigger.py`",
        "take them. `POST /api/deployments/ID/create_flow_run` refuses a wrong one by its field.",
        "",
    ]
    for entrypoint, names in by_flow.items():
        module, _, name = entrypoint.partition(":")
        flow = getattr(importlib.import_module(module), name)
        schema = parameter_schema(flow.fn).model_dump(mode="json", exclude_none=True)
        needed = set(schema.get("required", ()))
        rows = [
            (
                Markdown(f"`{key}`"),
                "needed" if key in needed else Markdown(_shown(field.get("default"))),
                _choices(field),
                " ".join(field.get("description", field.get("title", "")).split()),
            )
            for key, field in schema["properties"].items()
        ]
        offers = ", ".join(f"`{flow.name}/{each}`" for each in names)
        parts += [
            f"## {flow.name}",
            "",
            markdown("{} Offered as {}.", _first_line(flow.fn), Markdown(offers)),
            "",
            table(("parameter", "default", "one of", "says"), rows),
            "",
        ]
    return "\n".join(parts)


def _choices(field: dict[str, Any]) -> str:
    return ", ".join(map(str, field.get("enum", ()))) or _NONE


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def written(folder: Path) -> Sequence[tuple[Path, str]]:
    """Give each file of docs/ that is made of the code, with what has to stand in it.

    Args:
        folder: docs/ itself.
    """
    events = folder / "events.md"
    return [
        *((folder / name, text) for name, text in pages().items()),
        (events, with_tables(events.read_text(encoding="utf-8"))),
    ]
