"""The recordings of a real obshell, read from their files."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

REAL = Path(__file__).parents[2] / "data" / "real-obshell"
STATES = ("single", "cluster", "cluster-observer-down", "scaling-out", "answers", "removal")
"""The folders with one answer in each file."""


@dataclass(frozen=True)
class Answer:
    """What came back: `body` is JSON, text where it is none, None where it is empty."""

    status_line: str
    headers: dict[str, str]
    """By name in lower case."""
    body: Any


@dataclass(frozen=True)
class Recording:
    """One question and the answer of the real agent.

    Attributes:
        name: `folder/name` of its file.
        header: `root`, `agent`, `v1` or `none`: which header was sealed.
        body: The body before it was sealed: an object, or a text that is none.
    """

    name: str
    method: str
    target: str
    agent: str
    header: str
    with_password: bool
    body: Any
    headers: tuple[tuple[str, str], ...]
    answer: Answer

    @property
    def short(self) -> str:
        """The name without its folder."""
        return self.name.partition("/")[2]


@cache
def recordings(folder: str) -> tuple[Recording, ...]:
    """All recordings of one folder, in the order of their names."""
    paths = sorted((REAL / folder).glob("*.json"))
    return tuple(_read(path) for path in paths if not is_dag_alone(path))


def is_dag_alone(path: Path) -> bool:
    """Whether a file holds a DAG and not a question with its answer."""
    return "request" not in json.loads(path.read_text(encoding="utf-8"))


def _read(path: Path) -> Recording:
    content = json.loads(path.read_text(encoding="utf-8"))
    asked = content["request"]
    body = content["json"] if content["json"] is not None else content.get("text") or None
    return Recording(
        name=f"{path.parent.name}/{path.stem}",
        method=asked["method"],
        target=asked["target"],
        agent=asked["host"],
        header=asked["header"],
        with_password=asked["password_sent"],
        body=asked["body"],
        headers=tuple((name, value) for name, value in asked["headers"]),
        answer=Answer(
            content["status_line"],
            {name.lower(): value for name, value in content["headers"]},
            body,
        ),
    )
