"""Tells what goes on in the cluster when the program that follows a scale-out ends."""

import shlex
from collections.abc import Sequence

from obscale.events import Event, HalfBegun, Reported
from obscale.recovery.interrupted import (
    InterruptedState,
    LastSeen,
    describe_interrupted,
    next_step,
    remains_of,
)


class RunPosition:
    """Where the run of the moment stands, learned from what its tasks tell.

    Args:
        source: The words that name the request in the next command, its file first.
        command: That runs it.
        cluster: How a command names the cluster; empty: by the last word of the source.
    """

    def __init__(self, source: Sequence[str], command: str = "apply", cluster: str = "") -> None:
        self.source = tuple(source)
        self.command = command
        self._cluster = cluster or self.source[-1]
        self.begin("")

    def begin(self, target: str) -> None:
        """The run of the next target begins."""
        self._target = target
        self._leaves = self.command == "remove"
        self._proved = ""
        self._seen = LastSeen()
        self._remains: InterruptedState | None = None

    def hear(self, event: Event) -> None:
        """Take one event of the run."""
        if isinstance(event, HalfBegun):
            first = self._target
            self.begin(event.target)
            self._leaves = event.half == "remove"
            self._proved = f"{first} is verified; " if self._leaves else ""
        self._seen.hear(event)
        if isinstance(event, Reported):
            self._remains = event.report.remains

    def words(self) -> tuple[str, str]:
        """Say what stands now, and the next step; the step is empty where there is nothing to do.

        By the last look of the run itself, if it came to that; else by what it saw on its way.
        """
        left = self._remains or remains_of(
            self._target,
            was_sent=self._seen.was_sent,
            dag=self._seen.dag,
            dag_id=self._seen.dag_id,
            leaves=self._leaves,
        )
        again = f"obscale {self.command} {shlex.join(self.source)}"
        step = next_step(left, self._cluster, again)
        if self._proved and not step:
            step = f"{again} goes on with the removal of {self._target}"
        return f"{self._proved}{describe_interrupted(left)}", step
