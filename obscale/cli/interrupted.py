"""Tells what goes on in the cluster when the program that follows a scale-out ends."""

from collections.abc import Mapping
from typing import Any

from obscale.agent.models import Dag
from obscale.recovery.interrupted import Remains, next_step, remains_of, words_of
from obscale.report.report import ScaleOutReport


class Whereabouts:
    """Where the run of the moment stands, learned from what its tasks tell.

    Args:
        source: The request's file, for the next command.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self.begin("")

    def begin(self, target: str) -> None:
        """The run of the next target begins."""
        self._target = target
        self._was_sent = False
        self._dag_id: str | None = None
        self._dag: Dag | None = None
        self._remains: Remains | None = None

    def hear(self, text: str, facts: Mapping[str, Any]) -> None:
        """Take one happening of the run.

        Args:
            text: As `tasks.runtime.journal.tell` got it.
            facts: As `tasks.runtime.journal.tell` got them.
        """
        self._was_sent = self._was_sent or text.startswith("submit.posting") or "dag_id" in facts
        self._dag_id = facts.get("dag_id", self._dag_id)
        self._dag = facts.get("dag", self._dag)
        report = facts.get("report")
        if isinstance(report, ScaleOutReport):
            self._remains = report.remains

    def words(self) -> tuple[str, str]:
        """Say what stands now, and the next step; the step is empty where there is nothing to do.

        By the last look of the run itself, if it came to that; else by what it saw on its way.
        Refusals count as a POST whose answer is not known: looking again is never wrong.
        """
        left = self._remains or remains_of(
            self._target, was_sent=self._was_sent, dag=self._dag, dag_id=self._dag_id
        )
        return words_of(left), next_step(left, self._source, f"obscale apply {self._source}")
