"""Which agents have let a question of this run go unanswered, and how long the others take.

One memory serves all tasks, rows and clients of a run in this process: whoever was silent once is
passed over by all of them until nobody else answers, or it is heard again.
"""

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from obscale.agent.address import AgentAddress
from obscale.clock import monotonic

LONG_SECONDS: Final = 2.0
"""So long without an answer is long, where agents answer at once: they take milliseconds."""
LONG_TIMES: Final = 3.0
"""How often the usual time is long, where all are slow: none is silent for being like the rest."""
REMEMBERED_TIMES: Final = 15
"""Answers of which the middle one is the usual time: one slow question does not move it."""
PROBE_EVERY_SECONDS: Final = 15.0
"""Between two questions that only find out whether a silent agent is back."""

Say = Callable[[str], None]
"""Gets one line, event first."""


@dataclass
class _Silence:
    why: str
    since: float
    probed: float
    """Monotonic seconds, as `since`."""


def _nobody(_line: str) -> None:
    """Say nothing."""


class SilentAgents:
    """The agents that did not answer, each named once, and once more when it is heard again.

    Args:
        say: Told of them.
        now: Monotonic seconds.
    """

    def __init__(self, say: Say = _nobody, now: Callable[[], float] = monotonic) -> None:
        self._say, self.now = say, now
        self._silent: dict[str, _Silence] = {}
        self._told: set[tuple[str, str]] = set()
        self._times: deque[float] = deque(maxlen=REMEMBERED_TIMES)

    @property
    def long_seconds(self) -> float:
        """How long one waits for an answer before another agent is asked as well."""
        usual = statistics.median(self._times.copy()) if self._times else 0.0
        return max(LONG_SECONDS, LONG_TIMES * usual)

    def took(self, seconds: float) -> None:
        """Remember how long an answer has taken."""
        self._times.append(seconds)

    def add(self, address: AgentAddress, why: str) -> None:
        """Remember an agent that did not answer; of one that is known, the first reason stays."""
        agent, now = str(address), self.now()
        if agent not in self._silent:
            self._silent[agent] = _Silence(why, now, probed=now)
            self._tell(agent, "silent", f"why={why!r} next='it is asked last from now on'")

    def discard(self, address: AgentAddress) -> None:
        """Forget an agent: it has answered."""
        agent = str(address)
        if silence := self._silent.pop(agent, None):
            self._tell(agent, "answers_again", f"after_seconds={self.now() - silence.since:.0f}")

    def why(self, address: AgentAddress) -> str | None:
        """Give why an agent counts as silent; None: it does not."""
        silence = self._silent.get(str(address))
        return silence.why if silence else None

    def take_probe(self, address: AgentAddress) -> bool:
        """Whether a silent agent is to be asked aside now; at most once every 15 s."""
        silence = self._silent.get(str(address))
        if silence is None or self.now() - silence.probed < PROBE_EVERY_SECONDS:
            return False
        silence.probed = self.now()
        return True

    def _tell(self, agent: str, event: str, words: str) -> None:
        if (agent, event) not in self._told:
            self._told.add((agent, event))
            self._say(f"agent.{event} agent={agent} {words}")


_OF_THIS_RUN: ContextVar[SilentAgents | None] = ContextVar("obscale_silent_agents", default=None)


@contextmanager
def remembering_silence(say: Say = _nobody) -> Iterator[SilentAgents]:
    """Let all clients that are made inside this block share what they learn of silent agents.

    Tasks and threads begun inside it get a copy of the context, which holds the same memory. Inside
    another such block, that one's goes on.

    Args:
        say: Gets a line for each agent that falls silent, and one when it is heard again.
    """
    if outer := _OF_THIS_RUN.get():
        yield outer
        return
    memory = SilentAgents(say)
    token = _OF_THIS_RUN.set(memory)
    try:
        yield memory
    finally:
        _OF_THIS_RUN.reset(token)


def silent_agents() -> SilentAgents:
    """Give the memory of this run; outside of any, a new one."""
    return _OF_THIS_RUN.get() or SilentAgents()
