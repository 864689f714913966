"""Tests of the errors: they survive a process border and name the next step."""

import ast
import inspect
import pickle
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest

from obscale import errors

ROOT = Path(__file__).resolve().parents[2]
CODE = ("obscale", "flows", "tasks", "deployments")


def modules_with_errors():
    """Modules in which a class is derived from one of the tree, however far down."""
    classes = [
        (node.name, {base.id for base in node.bases if isinstance(base, ast.Name)}, path)
        for top in CODE
        for path in (ROOT / top).rglob("*.py")
        if "Error)" in (text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    ]
    tree, known = {errors.ObscaleError.__name__}, 0
    while known < len(tree):
        known = len(tree)
        tree |= {name for name, bases, _ in classes if bases & tree}
    paths = {path for name, _, path in classes if name in tree}
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    return sorted(name if name.startswith("obscale.") else f"obscale.{name}" for name in names)


def below(error):
    """A class of the tree and all that are derived from it."""
    return [error, *(each for child in error.__subclasses__() for each in below(child))]


MODULES = modules_with_errors()
for module in MODULES:
    import_module(module)
TREE = sorted(set(below(errors.ObscaleError)), key=lambda error: error.__name__)
FIELDS = {
    "choices": ("one", "another"),
    "message": "something happened",
    "agent": "10.0.0.1:2886",
    "step": "read DAG 17",
    "hint": "look there",
    "trace_id": "29b9c2717c65d7bc",
    "code": "Task.NotFound",
    "status": 503,
    "header_expires_at": datetime(2026, 5, 8, 10, tzinfo=UTC),
    "problems": ("first", "second"),
    "changes": ("one", "another"),
}


def filled(error):
    """An error with a value in every field its constructor takes."""
    names = [name for name in inspect.signature(error.__init__).parameters if name != "self"]
    unknown = set(names) - set(FIELDS)
    assert not unknown, f"{error.__name__} takes {unknown}: give them a value in FIELDS"
    return error(*(FIELDS[name] for name in names)), names


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_error_survives_pickling(error):
    """Between two processes an error keeps its class, text and fields."""
    raised, names = filled(error)

    copy = pickle.loads(pickle.dumps(raised))

    assert type(copy) is error
    assert str(copy) == str(raised)
    assert copy.transient is raised.transient
    for name in names:
        assert getattr(copy, name) == FIELDS[name]


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_error_has_a_kind_of_its_own_and_stands_in_the_table(error):
    """Machines tell errors apart by `kind`; people find each in the table at the top."""
    same = [other.__name__ for other in TREE if other.kind == error.kind]

    assert same == [error.__name__]
    assert error.__name__ in (errors.__doc__ or "")


def test_the_tree_is_walked_whole():
    """Errors that stand elsewhere, as the batch's does, are tried like those of the one module."""
    assert {error.__module__ for error in TREE} == set(MODULES)
    assert len(MODULES) > 1


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_error_is_one_line_with_a_next_step(error):
    """Every error says in one line what happened and what to do next."""
    raised, names = filled(error)

    text = str(raised)

    assert "something happened" in text
    assert text.endswith("Next: look there")
    assert text == f"{raised.without_hint}. Next: look there"
    assert "\n" not in text
    for name in set(names) & {"agent", "step", "trace_id"}:
        assert FIELDS[name] in text


def test_choices_stand_in_lines_of_their_own_before_the_next_command():
    """Whoever reads one line, a log say, still reads all."""
    choices = ("RETRY (safe): runs it again", "ROLLBACK (safe): takes it back")
    error = errors.DagFailedError("DAG 11 failed", "obscale recover r.yaml 11 --retry", choices)

    assert error.lines == ("DAG 11 failed", *choices, "next: obscale recover r.yaml 11 --retry")
    assert str(error) == (
        "DAG 11 failed. RETRY (safe): runs it again. ROLLBACK (safe): takes it back. "
        "Next: obscale recover r.yaml 11 --retry"
    )


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (errors.AgentUnreachableError("no answer"), True),
        (errors.DatabaseDownError("no database"), True),
        (errors.AgentTroubleError("panic"), True),
        (errors.AgentProtocolError("bad gateway", status=502), True),
        (errors.AgentProtocolError("html", status=200), False),
        (errors.AgentProtocolError("no TLS"), False),
        (errors.OutcomeUnknownError("no answer"), False),
        (errors.NotAuthorizedError("no"), False),
        (errors.UnderMaintenanceError("locked"), False),
        (errors.DagNotFoundError("gone"), False),
    ],
    ids=lambda value: f"{type(value).__name__}" if isinstance(value, Exception) else str(value),
)
def test_only_what_may_pass_by_itself_is_transient(error, transient):
    """A read is asked again only after an error that may pass; a write without answer never is."""
    assert error.transient is transient


def test_refusal_names_the_code_people_search_for():
    """A refusal shows obshell's own code, the agent and what was asked."""
    refusal = errors.UnderMaintenanceError(
        "a DAG is running",
        "10.0.0.1:2886",
        "scale_out",
        "obscale watch prod",
        "4f1c",
        "OB.Cluster.UnderMaintenanceWithDag",
        500,
    )

    assert str(refusal) == (
        "10.0.0.1:2886 refused scale_out [OB.Cluster.UnderMaintenanceWithDag]: a DAG is running "
        "(trace 4f1c). Next: obscale watch prod"
    )
