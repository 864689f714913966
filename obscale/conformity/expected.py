"""The questions an agent is compared by, what is expected of each answer, and the verdict.

Expected is what a real obshell 4.5.0.0 was recorded to answer, in each state an agent can be in
(`expected.json`, made of the recordings by tests/unit/test_conformity_expected.py). Releases: the
history of oceanbase/obshell, as docs/protocol.md shows it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from obscale.agent.auth import parse_version
from obscale.agent.models import Identity
from obscale.conformity.shape import Difference, differences, numbers_of

EXPECTED_FILE: Final = Path(__file__).with_name("expected.json")
OLDEST: Final = (4, 2, 2, 0)
"""No older obshell is known. Source: docs/protocol.md."""
FIRST_ERROR_CODES: Final = (4, 3, 1, 0)
"""Below it a refusal has a number only, and one number means many things: it is no more compared
than that it is a refusal. Source: oceanbase/obshell, commit 43a4c2b."""
OK: Final = "200"
EVERYBODY: Final = "*"
"""In place of a state: all that were recorded answer alike."""
NO_SUCH_ID: Final = "1999999999999"
"""Of a cluster's DAG that nobody has."""
MOST_WORDS: Final = 20
"""Differences of one answer that are named; whoever answers may be anything."""
CONNECTABLE: Final = 3
"""`obState` of an agent whose database can be used."""


@dataclass(frozen=True)
class Question:
    """One question without effect.

    Args:
        id: Name of its recordings.
        path: Below `/api/v1/`; `{id}` is the id of a DAG that the agent has named before.
        since: Release that brought the endpoint; empty: always there.
        is_open: It is asked without a header.
        shows: What it is asked for, where the endpoint does not say so itself.
    """

    id: str
    path: str
    since: str = ""
    is_open: bool = False
    shows: str = ""

    @property
    def endpoint(self) -> str:
        """How it is called in a table: its path, and what is special about the question."""
        path = self.path.replace(NO_SUCH_ID, "{id}")
        return path + (f" ({self.shows})" if self.shows else "")


QUESTIONS: Final = (
    Question("open-info", "info", is_open=True),
    Question("open-time", "time", is_open=True),
    Question("open-secret", "secret", is_open=True),
    Question("open-status", "status", is_open=True),
    Question(
        "hostinfo-noheader", "agent/host-info", "4.3.0.0", is_open=True, shows="without a header"
    ),
    Question("hostinfo", "agent/host-info", "4.3.0.0"),
    Question("ob-info", "ob/info"),
    Question("obcluster-info", "obcluster/info", "4.3.0.0"),
    Question("obcluster-topology", "obcluster/topology/info", "4.4.1.0"),
    Question("obcluster-parameters", "obcluster/parameters", "4.3.0.0"),
    Question("unit-config-limit", "obcluster/unit-config-limit", "4.3.0.0"),
    Question("obcluster-statistics", "obcluster/statistics", "4.3.0.0"),
    Question("obcluster-license", "obcluster/license", "4.4.0.0"),
    Question("observer-info", "observer/info", "4.4.1.0"),
    Question("units-config", "units/config", "4.2.4.0"),
    Question("resource-pools", "resource-pools", "4.2.4.0"),
    Question("tenants-overview", "tenants/overview", "4.2.4.0"),
    Question("dag-maintain-agent", "task/dag/maintain/agent"),
    Question("dag-agent-unfinish", "task/dag/agent/unfinish"),
    Question("dag-maintain-ob", "task/dag/maintain/ob"),
    Question("dag-ob-unfinish", "task/dag/ob/unfinish"),
    Question("dag-unfinish", "task/dag/unfinish"),
    Question("dags-ob-nodetails", "task/dags/ob?show_details=false", "4.3.0.0"),
    Question("dag", "task/dag/{id}"),
    Question("dag-unknown", f"task/dag/{NO_SUCH_ID}", shows="nobody's"),
    Question("dag-malformed", "task/dag/abc", shows="no id"),
    Question("unknown-v1-auth", "nope", shows="no endpoint"),
)
"""What obscale asks of agents, but for `GET /tenant/{name}`, which no command asks, and for what
writes; and what it tells apart by their refusals."""


class Answer(StrEnum):
    """What became of one question."""

    EXPECTED = "as expected"
    MORE = "as expected, and more"
    """It has keys that were not there before; obscale does not mind them."""
    DIFFERENT = "different"
    MISSING = "missing"
    NOT_YET = "not in this version"
    UNCLEAR = "unclear"
    """The agent could not answer now, so nothing can be compared."""
    NOTHING = "nothing to ask for"
    NOT_ASKED = "not asked"


@dataclass(frozen=True)
class Told:
    """What an agent has answered to one question.

    Args:
        said: `200`, or status and code of a refusal: `404 Task.NotFound`.
        message: The refusal's own words.
        envelope: The whole JSON of a success.
        is_absent: It has no such endpoint.
        may_pass: The refusal is of this moment: its database is away, it did not answer.
    """

    said: str
    message: str = ""
    envelope: Mapping[str, Any] | None = None
    is_absent: bool = False
    may_pass: bool = False


@dataclass(frozen=True)
class NotAsked:
    """Why a question was not asked.

    Args:
        why: In words.
        is_nothing: There was nothing to ask for, which says nothing against the agent.
    """

    why: str
    is_nothing: bool = False


@dataclass(frozen=True)
class Row:
    """One question with its answer, judged."""

    question: Question
    answer: Answer
    words: tuple[str, ...] = ()
    """What differs, what is new, or why nothing was compared."""


Age = Literal["recorded", "older", "new", "unknown"]


@cache
def expected() -> Mapping[str, Any]:
    """Give what was recorded: version, envelope, and for each question its answers and shape."""
    loaded: Mapping[str, Any] = json.loads(EXPECTED_FILE.read_text(encoding="utf-8"))
    return loaded


def age_of(version: str) -> Age:
    """Say how an agent's version stands to the recorded one."""
    numbers, recorded = parse_version(version), numbers_of(expected()["version"])
    if not numbers or numbers < OLDEST:
        return "unknown"
    if numbers == recorded:
        return "recorded"
    return "older" if numbers < recorded else "new"


def state_of(identity: str, ob_state: object) -> str | None:
    """Give the state whose recordings an agent is compared with; None: it was never recorded.

    Args:
        identity: As `/info` says it.
        ob_state: As `/status` says it.
    """
    match identity:
        case Identity.SINGLE:
            return "single"
        case Identity.SCALING_OUT:
            return "scaling-out"
        case Identity.CLUSTER_AGENT:
            return "cluster" if ob_state == CONNECTABLE else "cluster-observer-down"
        case _:
            return None


def judge(
    question: Question, told: Told | NotAsked, state: str | None, version: tuple[int, ...]
) -> Row:
    """Compare one answer with what is expected of an agent in this state."""
    if isinstance(told, NotAsked):
        return Row(question, Answer.NOTHING if told.is_nothing else Answer.NOT_ASKED, (told.why,))
    row = expected()["questions"][question.id]
    allowed = row["answers"].get(EVERYBODY) or row["answers"].get(state)
    if told.is_absent and not _means_absence(allowed):
        is_later = version < numbers_of(question.since)
        return Row(question, Answer.NOT_YET if is_later else Answer.MISSING)
    if allowed is None:
        return Row(question, Answer.NOT_ASKED, ("no agent in its state was ever recorded",))
    if told.said == OK and OK in allowed:
        return _compared(question, row["shape"], told.envelope or {}, version)
    return _judge_refusal(question, told, allowed, version)


def _judge_refusal(
    question: Question, told: Told, allowed: Sequence[str], version: tuple[int, ...]
) -> Row:
    has_no_codes = version < FIRST_ERROR_CODES and told.said != OK and allowed != [OK]
    if told.said in allowed or has_no_codes:
        return Row(question, Answer.EXPECTED)
    said = f"{told.said}: {told.message}" if told.message else told.said
    if told.may_pass:
        return Row(question, Answer.UNCLEAR, (said,))
    return Row(question, Answer.DIFFERENT, (f"{said}; expected is {' or '.join(allowed)}",))


def _means_absence(allowed: list[str] | None) -> bool:
    return allowed == ["404 Common.NotFound"]


def _compared(
    question: Question, shape: Any, envelope: Mapping[str, Any], version: tuple[int, ...]
) -> Row:
    found = [
        *differences(expected()["envelope"], dict(envelope), version, "answer"),
        *differences(shape, envelope.get("data"), version),
    ]
    wrong = _words(found, new=False)
    if wrong:
        return Row(question, Answer.DIFFERENT, wrong)
    more = _words(found, new=True)
    return Row(question, Answer.MORE if more else Answer.EXPECTED, more)


def _words(found: Sequence[Difference], *, new: bool) -> tuple[str, ...]:
    words = tuple(each.words for each in found if (each.kind == "new") == new)
    left = len(words) - MOST_WORDS
    return (*words[:MOST_WORDS], f"and {left} more") if left > 0 else words
