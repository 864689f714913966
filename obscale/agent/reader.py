"""The shapes of a question to one agent: one model, a list, one or none, a write, the time."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from obscale.agent.calls import Calls, parse_many, parse_moment
from obscale.agent.clock import (
    SAMPLING_SECONDS,
    ClockReading,
    asks_again,
    best_reading,
    compare_clocks,
)
from obscale.agent.dag import Dag
from obscale.agent.session import Session
from obscale.agent.transport import Answer
from obscale.clock import monotonic
from obscale.errors import AgentError, AgentTroubleError, DagNotFoundError

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Asking:
    """Puts questions to one agent. Paths stand below `/api/v1/`; errors are those of `Session.ask`.

    Args:
        session: The way to the agent.
        questions: Makes the questions.
    """

    def __init__(self, session: Session, questions: Calls) -> None:
        self._session = session
        self._questions = questions

    async def read(
        self,
        path: str,
        model: type[M],
        step: str = "",
        *,
        is_optional: bool = False,
        show_details: bool | None = None,
        answer_seconds: float | None = None,
    ) -> M:
        """Read one model; for the arguments see `Calls.read`."""
        return await self._session.ask(
            self._questions.read(
                path,
                model.model_validate,
                step,
                is_optional=is_optional,
                show_details=show_details,
                answer_seconds=answer_seconds,
            )
        )

    async def read_if_any(
        self, path: str, model: type[M], *, is_optional: bool = False, absent: str = ""
    ) -> M | None:
        """Read one model, or None: the agent said null, or it refused in the words for "none".

        Args:
            path: As for `Calls.read`.
            model: Of the answer.
            is_optional: As for `Calls.read`.
            absent: How a refusal ends that means there is none; for endpoints whose error code does
                not say so.
        """

        def parse(data: Any) -> M | None:
            return None if data is None else model.model_validate(data)

        question = self._questions.read(path, parse, is_optional=is_optional)
        try:
            return await self._session.ask(question)
        except AgentTroubleError as refusal:
            if absent and refusal.message.endswith(absent):
                return None
            raise

    async def read_many(
        self,
        path: str,
        model: type[M],
        *,
        is_optional: bool = False,
        show_details: bool | None = None,
    ) -> tuple[M, ...]:
        """Read a list; null is an empty one. For the arguments see `Calls.read`."""
        question = self._questions.read(
            path, parse_many(model), is_optional=is_optional, show_details=show_details
        )
        return await self._session.ask(question)

    async def read_dags(self, path: str, *, show_details: bool) -> tuple[Dag, ...]:
        """Read the DAGs of a list below `task/dag/`."""
        question = self._questions.read(
            f"task/dag/{path}", parse_many(Dag), show_details=show_details
        )
        return await self._session.ask(question)

    async def read_dag_if_any(self, path: str, *, show_details: bool) -> Dag | None:
        """Read the DAG at a place below `task/dag/`; None where there is none."""
        try:
            return await self.read(f"task/dag/{path}", Dag, show_details=show_details)
        except DagNotFoundError:
            return None

    async def read_as_sent(self, path: str, *, is_open: bool) -> dict[str, Any]:
        """Read the whole JSON of an answer, no model between; for the arguments see `Calls`."""

        def parse(data: Any) -> Any:
            return data

        question = (
            self._questions.open(path, parse)
            if is_open
            else self._questions.read(path, parse, is_optional=True)
        )
        _, answer = await self._session.ask_timed(question)
        envelope: dict[str, Any] = from_json(answer.body)
        return envelope

    async def write(
        self,
        path: str,
        body: dict[str, Any] | None,
        parse: Callable[[Any], T],
        step: str,
        answer_seconds: float,
        method: Literal["POST", "PATCH", "DELETE"] = "POST",
    ) -> T:
        """Ask a question with an effect, once; for the arguments see `Calls.write`."""
        # An open read just before: the short header is built on a fresh reading of the agent's
        # clock, and a dead agent, or a connection it has closed meanwhile, is met by a question
        # without effect.
        self._session.write_expires_at = None
        await self.read_time()
        return await self._session.ask(
            self._questions.write(path, body, parse, step, answer_seconds, method)
        )

    async def read_time(self, answer_seconds: float | None = None) -> tuple[datetime, Answer]:
        """Read the agent's clock, with the raw answer for its times; within so long, if given."""
        question = self._questions.open("time", parse_moment, answer_seconds)
        return await self._session.ask_timed(question)

    async def read_clock(
        self, answer_seconds: float | None = None, *, surely: bool = False
    ) -> ClockReading:
        """Read how far the agent's clock is from ours, and have the session use it from now on.

        Args:
            answer_seconds: Longest wait for the first answer; None: as long as any read may take.
            surely: As for `asks_again`.
        """
        recent = self._session.recent_clock()
        readings = [recent] if recent else []
        since, asked, spent = monotonic(), 0, 0.0
        while asks_again(readings, asked, spent, surely=surely):
            limit = SAMPLING_SECONDS - spent if readings else answer_seconds
            try:
                moment, answer = await self.read_time(limit)
            except AgentError:
                if not readings:
                    raise
                break
            if not readings:
                since = monotonic()
            readings.append(compare_clocks(answer.sent_seconds, answer.received_seconds, moment))
            asked, spent = asked + 1, monotonic() - since
        self._session.clock = best_reading(readings)
        return self._session.clock
