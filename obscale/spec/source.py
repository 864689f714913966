"""Reads a file into plain values that know their line.

YAML without surprises: no tags, no duplicate keys, no bombs, one document. JSON is read as JSON.
Values are never repeated in an error of this page, because any of them may be a secret.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from obscale.errors import SpecError

MAX_FILE_BYTES: Final = 256 << 10
"""A thousand nodes written out; the parser takes seconds for as much."""
SPREADSHEETS: Final = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".et", ".numbers")
"""Endings of files that only a spreadsheet can read."""
_SPREADSHEET_STARTS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""Of .xlsx, .ods and others, which are zip archives; of .xls."""
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
MAX_DEPTH: Final = 20
"""A request is six levels deep."""
MAX_VALUES: Final = 20_000
"""Values after all aliases are written out; more is a bomb, not a request."""

Path_ = tuple[str | int, ...]
_IMPLICIT_TEXT: Final = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_QUOTED = re.compile(r"'([^']*)'")
_MERGE: Final = "tag:yaml.org,2002:merge"


@dataclass
class Source:
    """What a file says, as plain values.

    Args:
        name: What to call it in problems.
        data: Mappings, lists, texts, numbers, booleans and None.
        lines: Line of each value, 1-based, by path; empty for JSON.
        raw: Scalars as they are written, by path; empty for JSON.
    """

    name: str
    data: Any
    lines: dict[Path_, int] = field(default_factory=dict)
    raw: dict[Path_, str] = field(default_factory=dict)

    def where(self, path: Path_) -> str:
        """Give `name:line: ` of a value, or of what it should stand in."""
        for end in range(len(path), -1, -1):
            if line := self.lines.get(path[:end]):
                return f"{self.name}:{line}: "
        return f"{self.name}: "

    def written(self, path: Path_, value: object) -> str:
        """Give a scalar as it is written in the file."""
        return self.raw.get(path, value if isinstance(value, str) else json.dumps(value))

    def holds(self, path: Path_) -> bool:
        """Whether the file itself has a value at a path."""
        here = self.data
        for part in path:
            try:
                here = here[part]
            except (KeyError, IndexError, TypeError):
                return False
        return True


def read_text(path: Path, most_bytes: int = MAX_FILE_BYTES) -> str:
    """Read a text file of sensible size.

    Args:
        path: Of the file.
        most_bytes: Its largest sensible size.

    Raises:
        SpecError: It cannot be read, is too large, or is no text.
    """
    content = _read_bytes(path, most_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path}: is no text in UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None


def read_table_text(path: Path, most_bytes: int) -> str:
    """Read a table as spreadsheets save one: in UTF-8, or in UTF-16 that says so by its mark.

    Args:
        path: Of the file.
        most_bytes: Its largest sensible size.

    Raises:
        SpecError: It cannot be read, is too large, or is no such text.
    """
    content = _read_bytes(path, most_bytes)
    try:
        if content.startswith(_UTF_16_MARKS):
            return content.decode("utf-16")
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path}: is no text in UTF-8 (byte {error.start}); save it as UTF-8 "
            "(in a spreadsheet: CSV UTF-8)"
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise SpecError(f"{path}:{line}: holds a zero byte; save it as UTF-8, not UTF-16")
    return text


def _read_bytes(path: Path, most_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError:
        raise SpecError(f"{str(path)!r}: is not a path") from None
    if path.suffix.lower() in SPREADSHEETS or content.startswith(_SPREADSHEET_STARTS):
        raise SpecError(f"{path}: is a spreadsheet's own file; save it as CSV UTF-8 and name that")
    if len(content) > most_bytes:
        raise SpecError(f"{path}: is larger than {most_bytes >> 10} KiB; is it a request?")
    return content


def read_source(text: str, name: str) -> Source:
    """Read YAML or JSON.

    Raises:
        SpecError: It is neither, or uses what a request has no use for.
    """
    if name.lower().endswith(".json"):
        return _read_json(text, name)
    if text.lstrip().startswith("{"):
        # JSON may be indented by tabs, which YAML forbids; what is no JSON may still be YAML.
        try:
            return _read_json(text, name)
        except SpecError as error:
            if "stands twice" in error.message:
                raise
    return _read_yaml(text, name)


def _read_json(text: str, name: str) -> Source:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise SpecError(f"{name}: key {key!r} stands twice in one mapping; remove one")
            seen[key] = value
        return seen

    try:
        return Source(name, json.loads(text, object_pairs_hook=mapping))
    except json.JSONDecodeError as error:
        raise SpecError(f"{name}:{error.lineno}:{error.colno}: is not JSON: {error.msg}") from None
    except RecursionError:
        raise SpecError(f"{name}: is nested too deeply for a request") from None
    except ValueError:
        # Python refuses numbers of thousands of digits.
        raise SpecError(f"{name}: holds a number that is too long; quote it") from None


def _read_yaml(text: str, name: str) -> Source:
    try:
        _refuse_what_no_request_needs(text, name)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise SpecError(f"{name}:{line}: holds a character that has no place in a text") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{name}{_mark(error)}: is not YAML: {_said(error)}") from None
    if node is None:
        return Source(name, None)
    source = Source(name, None)
    builder = _Builder(source)
    source.data = builder.build(node, ())
    if builder.problems:
        raise SpecError(builder.problems[0], problems=tuple(builder.problems))
    return source


def _refuse_what_no_request_needs(text: str, name: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{name}:{event.start_mark.line + 1}" if event.start_mark else name
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise SpecError(f"{where}: a second document begins; write one request a file")
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise SpecError(f"{where}: is nested too deeply for a request")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if getattr(event, "tag", None) is not None:
            raise SpecError(
                f"{where}: YAML tags (!…) have no use in a request; quote texts instead"
            )


class _Builder:
    """Makes plain values of composed nodes and collects what is wrong with them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._loader = yaml.SafeLoader("")
        self._count = 0
        self.problems: list[str] = []

    def build(self, node: yaml.Node, path: Path_) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise SpecError(f"{self._source.name}: its aliases (*…) unfold to far too many values")
        self._source.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, at)) for at, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        built: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(line, "a key must be a plain word")
                continue
            if key_node.tag == _MERGE:
                self._note(line, "merging (<<) has no use here; write shared values below defaults")
                continue
            key = key_node.value
            if key in first:
                self._note(
                    line, f"key {key!r} stands twice, first in line {first[key]}; remove one"
                )
                continue
            first[key] = line
            built[key] = self.build(value_node, (*path, key))
            self._source.lines[(*path, key)] = line
        return built

    def _scalar(self, node: yaml.Node, path: Path_) -> Any:
        self._source.raw[path] = node.value
        if node.tag in _IMPLICIT_TEXT:
            return node.value
        try:
            return self._loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            return node.value

    def _note(self, line: int, problem: str) -> None:
        self.problems.append(f"{self._source.name}:{line}: {problem}")


def _mark(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""


def _said(error: yaml.YAMLError) -> str:
    """The parser's words without what it quotes of the file: that may be a secret."""
    said = str(getattr(error, "problem", None) or "it cannot be parsed")
    return _QUOTED.sub(lambda quote: quote[0] if _is_mark(quote[1]) else "…", said)


def _is_mark(text: str) -> bool:
    """Whether a quoted part is one character, perhaps escaped, and so gives nothing away."""
    return len(text.removeprefix("\\")) <= 1
