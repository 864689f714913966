"""Text of others is one harmless line in a terminal, and only itself in Markdown."""

import ast
import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from obscale.cli.terminal import as_text, open_console
from obscale.errors import AgentRefusedError, AgentUnreachableError, SpecError
from obscale.text import (
    Markdown,
    code,
    for_json,
    for_lines,
    for_markdown,
    for_terminal,
    from_markdown,
    markdown,
    table,
)
from tests.hostile_text import HOSTILE, faults_of_lines, faults_of_page

ROOT = Path(__file__).resolve().parents[2]
SIGNS = ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\n", "\r", "\x0b", "\x85", "\u2028", "\u2029"]
SIGNS += [
    "\u202e",
    "\u2066",
    "\u061c",
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\xad",
    "\U000e0041",
]


@pytest.mark.parametrize("sign", SIGNS, ids=ascii)
def test_a_terminal_is_shown_what_it_would_obey(sign):
    """Each sign stands there as Python writes it, and nothing else is changed."""
    assert for_terminal(f"zone{sign}1") == f"zone{repr(sign)[1:-1]}1"


@pytest.mark.parametrize(
    "text", ["", "zone1", "北京-Zürich", "a b\u3000c\xa0d", "[bold]", "✔ → 16G"]
)
def test_what_is_only_seen_stays(text):
    """Names of any script, blanks of any width, brackets."""
    assert for_terminal(text) == text
    assert for_lines(f"{text}\n{text}") == f"{text}\n{text}"


def test_a_json_document_keeps_its_values():
    """Nothing of it is obeyed, and whoever reads it gets what was said."""
    told = {"name": HOSTILE + "".join(SIGNS), "zones": ["北京"]}

    for indent in (None, 2):
        document = for_json(json.dumps(told, ensure_ascii=False, indent=indent))
        assert json.loads(document) == told
        assert faults_of_lines(document) == []
        assert "北京" in document


def test_markdown_shows_what_was_said_and_means_nothing_else():
    """As heading, paragraph, item and cell: one block each, whose text is what was said."""
    page = "\n\n".join(
        [
            markdown("# {}", HOSTILE),
            for_markdown(HOSTILE),
            markdown("- {}", HOSTILE),
            table(("a", "b"), [(HOSTILE, "x")]),
            code([HOSTILE, "````", "x"]),
        ]
    )

    assert faults_of_page(page) == []
    blocks = [token.type for token in MarkdownIt().enable("table").parse(page) if not token.level]
    assert [kind for kind in blocks if kind.endswith(("_open", "fence"))] == [
        *("heading_open", "paragraph_open", "bullet_list_open", "table_open", "fence"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "__a__ _b_ memory_limit *c* ~~d~~ `e`",
        "1. one",
        "- item",
        "+ item",
        "> said",
        "# head",
        "===",
        "&lt;b&gt; &#60; & <b>",
        r"C:\new | \| \\",
        "![it](http://10.0.0.9/seen)",
        "[x]: javascript:alert(1)",
    ],
)
def test_markdown_is_read_back_as_it_was_said(text):
    """By a reader of Markdown, and by whoever reads a table of a run."""
    page = for_markdown(text)

    inline = MarkdownIt("commonmark").enable("table").parse(page)[1]
    assert {child.type for child in inline.children or ()} <= {"text"}
    assert "".join(child.content for child in inline.children or ()) == for_terminal(text.strip())
    assert from_markdown(page) == for_terminal(text.strip())


def test_only_markdown_of_ours_is_taken_for_markdown():
    """What was made fit once is not made fit again."""
    ours = markdown("**{}**", "a|b")

    assert ours == "**a\\|b**"
    assert for_markdown(ours) is ours
    assert markdown("{}: {}", ours, "*") == "**a\\|b**: \\*"
    assert isinstance(table(("x",), [(ours,)]), Markdown)


@pytest.mark.parametrize(
    "error",
    [
        SpecError(f"unknown key {HOSTILE}", HOSTILE),
        AgentUnreachableError(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),
        AgentRefusedError(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_one_line_whatever_its_parts_hold(error):
    """Its parts stay as they were said."""
    assert faults_of_lines(str(error)) == []
    assert "\n" not in str(error)
    assert HOSTILE in error.message


def test_a_console_takes_a_text_for_nothing_but_itself(capsys):
    """No markup, no link, no sign of direction."""
    console: Console = open_console()
    console.print(as_text(HOSTILE), soft_wrap=True)
    console.print("[bold]x[/bold] :warning:")

    said = capsys.readouterr().out
    assert faults_of_lines(said) == []
    assert "[bold red]MRKP[/bold red]" in said
    assert "[bold]x[/bold] :warning:" in said


WRITERS = {"echo", "print", "Console", "Text", "from_markup", "rule", "secho", "print_json"}
ALLOWED = {
    # the doors, and what is written through a console that `open_console` gave
    "obscale/cli/terminal.py": {"echo", "Console", "Text"},
    # light to import, because the program's ending may come before anything else was
    "obscale/cli/stopping.py": {"print"},
}
ARTIFACTS = {
    "acreate_markdown_artifact",
    "acreate_table_artifact",
    "acreate_progress_artifact",
    "aupdate_progress_artifact",
    "ArtifactCreate",
    "ArtifactUpdate",
    "emit_event",
}
KEEPERS = {
    "tasks/runtime/journal.py",
    "tasks/runtime/baselines.py",
    "tasks/dispatch/worker.py",
    "tasks/runtime/events.py",
}

BARE = (ast.JoinedStr, ast.BinOp, ast.Subscript, ast.Attribute)
"""Texts that were not made by `as_text`."""


def calls_of(path):
    """Every call of a file: its name, and whether on something else than a console."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name):
                    yield name, "", node
                case ast.Attribute(attr=name, value=value):
                    yield name, ast.unparse(value), node


@pytest.mark.parametrize("path", sorted(ROOT.glob("obscale/cli/*.py")), ids=lambda path: path.name)
def test_every_command_writes_through_the_one_door(path):
    """Nobody writes a line, makes a console or a text of its own; consoles get texts only."""
    allowed = ALLOWED.get(str(path.relative_to(ROOT)), set())
    for name, of, node in calls_of(path):
        if name == "add_row" or (name == "print" and of.endswith("console")):
            bare = [arg for arg in node.args if isinstance(arg, BARE)]
            assert not bare, f"line {node.lineno}: wrap it in as_text"
        elif name == "TextColumn":
            told = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert told.get("markup") == "False", f"line {node.lineno}"
        elif name in {"confirm", "prompt"} and of == "typer":
            first = node.args[0]
            said = ast.unparse(first)
            is_fit = any(by in said for by in ("reader_line", "for_terminal"))
            assert isinstance(first, ast.Constant) or is_fit, f"line {node.lineno}: wrap it"
        else:
            assert name not in WRITERS - allowed or of == "sys", f"line {node.lineno}: {name}"


@pytest.mark.parametrize(
    "path",
    sorted(p for top in ("tasks", "flows") for p in ROOT.glob(f"{top}/*.py")),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_artifacts_and_events_are_written_in_few_places(path):
    """Each of them makes text fit by itself; nobody else may write one."""
    found = {name for name, _, _ in calls_of(path)} & ARTIFACTS
    assert not found or str(path.relative_to(ROOT)) in KEEPERS


def test_markdown_is_made_in_one_place():
    """No other file knows what means something in Markdown, or how a table is written."""
    for path in sorted(p for top in ("obscale", "tasks") for p in (ROOT / top).rglob("*.py")):
        if path.name != "text.py":
            said = path.read_text(encoding="utf-8")
            assert '"| "' not in said, path
            assert "&lt;" not in said, path
