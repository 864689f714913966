"""Gathers every message id, the English template of a text for people, from the source.

`python -m tests.unit.message_ids` prints those that the catalogue does not translate.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import yaml

from obscale.preflight.finding import otherwise
from obscale.preflight.registry import RULES
from obscale.removal.catalogue import RULES as OF_REMOVAL
from obscale.use.rules import RULES as USE_RULES

ROOT: Final = Path(__file__).parents[2]
ROOMS: Final = (
    *("obscale/preflight", "obscale/verify", "obscale/recovery", "obscale/report"),
    *("obscale/plan", "obscale/submit", "obscale/follow", "obscale/agent"),
    *("obscale/connect", "obscale/spec", "obscale/removal", "obscale/replacement"),
    *("obscale/pin", "obscale/use"),
)
"""Folders whose texts for people are all translated."""
FILES: Final = (
    *("obscale/cleaning.py", "obscale/maintenance_lock.py", "obscale/reading.py"),
    *("obscale/sizes.py", "obscale/errors.py"),
    *("tasks/approval.py", "tasks/recover.py", "tasks/preflight.py", "tasks/submit.py"),
    *("tasks/poll.py", "tasks/verify.py", "tasks/use.py", "tasks/runtime/forms.py"),
    "tasks/replacement.py",
    *(
        f"obscale/cli/{name}.py"
        for name in (
            *("apply", "bars", "busy", "exits", "interrupted", "plan", "plan_view", "recover"),
            *("run_view", "verify", "watch", "stopping", "follow_scale_out", "terminal"),
            *(
                "local_prefect",
                "own_server",
                "show",
                "explain",
                "suggest",
                "from_obd",
                "grow",
                "pin",
                "plan_made",
                "use",
            ),
        )
    ),
    *(
        f"obscale/pictures/{name}.py"
        for name in ("capacity", "disk_fit", "stages", "unit_room", "zones", "words")
    ),
)
LEFT_OUT: Final = frozenset(
    {
        "obscale/plan/suggest_file.py",
        "obscale/plan/grow_file.py",
        "obscale/spec/batch.py",
        "obscale/preflight/registry.py",
        "obscale/use/tenant_dag.py",
    }
)
_VERDICTS: Final = frozenset(
    {
        *("passes", "notes", "fires", "blocks", "refuses", "blocks_in_prod", "warns"),
        *("warns_always", "unknown", "not_applicable", "Verdict", "or_pass"),
    }
)
"""What makes a verdict: of its arguments single words are texts too."""
_NO_TEXT: Final = frozenset({"source", "ground", "id", "metavar", "help", "key", "step"})
"""Keywords whose values nobody is shown as a text."""


def _is_ending(value: ast.expr) -> bool:
    """Whether it only chooses between one and several, e.g. `'s' if count > 1 else ''`."""
    if not isinstance(value, ast.IfExp):
        return False
    both = [each.value for each in (value.body, value.orelse) if isinstance(each, ast.Constant)]
    return len(both) == 2 and any(str(each).startswith(("s", "ies", "has")) for each in both)


@dataclass
class Message:
    """A template, the files it stands in, and which of its placeholders may be left out."""

    template: str
    files: list[str] = field(default_factory=list)
    endings: frozenset[int] = frozenset()
    """Numbers of placeholders that only hold an English ending."""


class _Walk:
    def __init__(self) -> None:
        self.found: list[tuple[str, frozenset[int]]] = []

    def body(self, nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            self.visit(node)

    def visit(self, node: ast.AST, *, words: bool = False) -> None:  # noqa: C901, PLR0912 - one case a kind
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for each in node.decorator_list:
                    self.visit(each)
                self.body(node.body)
            case ast.Module() | ast.ClassDef():
                self.body(node.body)
            case ast.JoinedStr():
                self.joined(node)
            case ast.Constant(value=str() as text):
                if words or " " in text.strip():
                    self.found.append((text, frozenset()))
            case ast.Call():
                self.call(node)
            case ast.AnnAssign(value=value):
                if value:
                    self.visit(value)
            case ast.Compare() | ast.Subscript() if "Annotated" in ast.unparse(node):
                return
            case ast.Subscript(value=value):
                self.visit(value)
            case ast.Compare():
                for each in ast.walk(node):
                    if isinstance(each, ast.JoinedStr):
                        self.visit(each)
            case ast.IfExp():
                self.visit(node.test)
                self.visit(node.body, words=words)
                self.visit(node.orelse, words=words)
            case ast.Raise(exc=ast.Call() as made) if "NotImplemented" in ast.unparse(made):
                return
            case _:
                for each in ast.iter_child_nodes(node):
                    self.visit(each)

    def joined(self, node: ast.JoinedStr) -> None:
        text, endings, number = "", set(), 0
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
                continue
            assert isinstance(part, ast.FormattedValue)
            text += "{}"
            if _is_ending(part.value):
                endings.add(number)
            else:
                self.visit(part.value)
            number += 1
        if re.search("[A-Za-z]{2}", text.replace("{}", "")):
            self.found.append((text, frozenset(endings)))

    def call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func).rpartition(".")[2]
        if name in {"compile", "says", "getLogger", "fullmatch", "Option", "Argument", "Field"}:
            return
        args = node.args[1:] if name in {"rule", "Verdict"} else node.args
        for each in args:
            self.visit(each, words=name in _VERDICTS)
        for keyword in node.keywords:
            if keyword.arg not in _NO_TEXT and keyword.arg != "subject":
                self.visit(keyword.value, words=keyword.arg in {"measured", "needed", "remedy"})
        self.visit(node.func)


NOT_SHOWN: Final = {
    r"[a-z_]+\.[a-z_]+( [a-z_]+=.*)?": "a line of the log",
    r".*\.(go|cpp|ipp|h|py)\b.*": "a source",
    r"(not )?(bold|dim)( [a-z]+)*": "a style of the terminal",
}


def gather() -> dict[str, Message]:
    """Give all message ids by their templates, in the order of the files."""
    found: dict[str, Message] = {}
    for path in _files():
        walk = _Walk()
        walk.visit(ast.parse((ROOT / path).read_text("utf-8")))
        for text, endings in walk.found:
            if any(re.fullmatch(pattern, text, re.DOTALL) for pattern in NOT_SHOWN):
                continue
            if not re.search("[A-Za-z]{2}", text.replace("{}", "")):
                continue
            message = found.setdefault(text, Message(text))
            message.endings |= endings
            if path not in message.files:
                message.files.append(path)
    for rule in (*RULES, *OF_REMOVAL, *USE_RULES):
        if not _plain_place(place := otherwise(rule.otherwise)):
            message = found.setdefault(place, Message(place))
            message.files.append("obscale/preflight/finding.py")
    return found


def _plain_place(place: str) -> bool:
    """Whether the template for all places says it: it holds no mark that is replaced by words."""
    return not place or (
        "unreported" not in place
        and not re.match("otherwise (nothing reports it|it shows under load).", place)
    )


def _files() -> Iterator[str]:
    for room in ROOMS:
        yield from (
            path
            for each in sorted((ROOT / room).rglob("*.py"))
            if (path := str(each.relative_to(ROOT))) not in LEFT_OUT
        )
    yield from FILES


def form_texts() -> dict[str, str]:
    """Give titles and descriptions of all forms by where each stands first, in one line.

    A title that is a parameter's own name is left out, and that of Prefect's own outermost model.
    """
    found: dict[str, str] = {}
    for name, schema in form_schemas().items():
        for where, text in words_of(schema):
            if not where.endswith(f"/properties/{text}/title") and text != "Parameters":
                found.setdefault(" ".join(text.split()), f"{name}{where}")
    return found


def form_schemas() -> dict[str, Any]:
    """Give the schema of each form as Prefect makes it, by what the form is of."""
    from prefect.utilities.callables import parameter_schema  # noqa: PLC0415 - takes a second

    from obscale import flows  # noqa: PLC0415 - as above
    from obscale.recovery.consequences import Remedy  # noqa: PLC0415
    from obscale.tasks import recover as of_recover  # noqa: PLC0415
    from obscale.tasks.approval import ApprovalForm  # noqa: PLC0415
    from obscale.tasks.removal import ConfirmForm  # noqa: PLC0415

    names = [path.stem for path in Path(flows.__path__[0]).glob("[a-z]*.py")]
    made = {}
    for name in sorted(names):
        module = import_module(f"obscale.flows.{name}")
        flow = getattr(module, "batch_part" if name == "batch_worker" else name)
        made[flow.name] = parameter_schema(flow).model_dump()
    offered = (Remedy.RETRY, Remedy.ROLLBACK, Remedy.HAND_OVER)
    decision = of_recover._decision_form(offered)
    forms = (ApprovalForm, ConfirmForm, decision)
    return made | {form.__name__: form.model_json_schema() for form in forms}


def words_of(schema: Any, where: str = "", *, names: bool = False) -> Iterator[tuple[str, str]]:
    """Give each title and description of a schema, with its path."""
    if isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from words_of(each, f"{where}/{number}")
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        here = f"{where}/{key}"
        if not names and key in {"title", "description"}:
            yield here, value
        elif names or key not in {"default", "enum", "const", "examples"}:
            named = key in {"properties", "definitions", "$defs"} and not names
            yield from words_of(value, here, names=named)


def missing() -> list[Message]:
    """Give those that the catalogue does not translate."""
    held = yaml.safe_load((ROOT / "obscale/language/zh_CN.yaml").read_text("utf-8"))
    same = {each for ids in held["same"].values() for each in ids}
    texts = [
        each
        for each in gather().values()
        if each.template not in held["texts"] | held["words"] and each.template not in same
    ]
    forms = {text: where for text, where in form_texts().items() if text not in held["forms"]}
    return texts + [Message(text, [where]) for text, where in forms.items()]


if __name__ == "__main__":
    for message in missing():
        sys.stdout.write(f"{message.files[0]}: {message.template!r}\n")
