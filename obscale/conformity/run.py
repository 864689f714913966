"""Asks an agent all questions it is compared by, one after the other; nothing it asks writes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from obscale.agent.auth import parse_version
from obscale.agent.client import AgentClient
from obscale.conformity.expected import (
    OK,
    QUESTIONS,
    Age,
    Answer,
    NotAsked,
    Question,
    Row,
    Told,
    age_of,
    judge,
    state_of,
)
from obscale.errors import (
    AgentError,
    AgentProtocolError,
    AgentRefusedError,
    NotAuthorizedError,
    NotSupportedError,
    PasswordWithheldError,
    UntrustedKeyError,
)

NO_PASSWORD: Final = "it wants the password of root@sys, and was given none"  # noqa: S105 - no password
NO_DAG: Final = "it has named no DAG"


@dataclass(frozen=True)
class Compared:
    """An agent, and what became of each question."""

    agent: str
    """`ip:port`."""
    version: str
    """Of obshell, as it says it; empty where it does not."""
    age: Age
    identity: str
    state: str | None
    """Whose recordings it was compared with."""
    rows: tuple[Row, ...]

    def count(self, *answers: Answer) -> int:
        """How many questions had one of these answers."""
        return sum(row.answer in answers for row in self.rows)

    @property
    def differs(self) -> bool:
        """Whether it does not answer as obscale expects."""
        return self.count(Answer.DIFFERENT, Answer.MISSING) > 0

    @property
    def is_whole(self) -> bool:
        """Whether everything that could be asked was asked, and answered."""
        return self.count(Answer.UNCLEAR, Answer.NOT_ASKED) == 0


async def compare_agent(agent: AgentClient) -> Compared:
    """Ask an agent everything, and compare each answer with the recorded ones.

    Args:
        agent: With or without passwords; what needs one it was not given is not asked.

    Raises:
        AgentError: It does not answer, is no obshell, refuses the password, or its key is not the
            one it is known by.
    """
    told: dict[str, Told | NotAsked] = {}
    for question in QUESTIONS:
        told[question.id] = await _ask(agent, question, _dag_in(told))
    info, status = (_data(told[each]) for each in ("open-info", "open-status"))
    version = str(info.get("version", ""))
    identity = str(info.get("identity", ""))
    state = state_of(identity, status.get("obState"))
    numbers = parse_version(version)
    rows = tuple(judge(each, told[each.id], state, numbers) for each in QUESTIONS)
    return Compared(str(agent.address), version, age_of(version), identity, state, rows)


async def _ask(agent: AgentClient, question: Question, dag_id: str) -> Told | NotAsked:
    if "{id}" in question.path and not dag_id:
        return NotAsked(NO_DAG, is_nothing=True)
    path = question.path.replace("{id}", dag_id)
    try:
        envelope = await agent.read_as_sent(path, is_open=question.is_open)
    except PasswordWithheldError:
        return NotAsked(NO_PASSWORD)
    except NotSupportedError:
        return Told("404 Common.NotFound", is_absent=True)
    except UntrustedKeyError:
        raise
    except AgentRefusedError as error:
        # Of one that is asked without a header the refusal is what is wanted.
        if isinstance(error, NotAuthorizedError) and not question.is_open:
            raise
        return Told(f"{error.status} {error.code}", error.message, may_pass=error.transient)
    except AgentError as error:
        # Who does not even say who it is, or says it in other words than obshell's, is none.
        if question is QUESTIONS[0]:
            raise
        status = error.status if isinstance(error, AgentProtocolError) else 0
        return Told(f"{status or error.kind}", error.message, may_pass=error.transient)
    return Told(OK, envelope=envelope)


def _data(told: Told | NotAsked) -> Mapping[str, Any]:
    data = (told.envelope or {}).get("data") if isinstance(told, Told) else None
    return data if isinstance(data, dict) else {}


def _dag_in(told: Mapping[str, Told | NotAsked]) -> str:
    """Give the id of a DAG an answer has named; empty: none has."""
    ids = (str(row.get("id", "")) for each in told.values() for row in _dags(_data(each)))
    return next(filter(str.isdigit, ids), "")


def _dags(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    rows = data.get("contents")
    for row in rows if isinstance(rows, list) else [data]:
        if isinstance(row, dict) and "dag_id" in row:
            yield row
