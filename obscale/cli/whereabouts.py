"""What goes on in the cluster when the program that follows a scale-out is ended?"""

from collections.abc import Mapping
from typing import Any

from obscale.agent.models import Dag


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
        self._is_posting = False
        self._dag_id: str | None = None
        self._dag: Dag | None = None

    def hear(self, text: str, facts: Mapping[str, Any]) -> None:
        """Take one happening of the run.

        Args:
            text: As `tasks.notes.tell` got it.
            facts: As `tasks.notes.tell` got them.
        """
        self._is_posting = self._is_posting or text.startswith("submit.posting")
        self._dag_id = facts.get("dag_id", self._dag_id)
        self._dag = facts.get("dag", self._dag)

    def words(self) -> tuple[str, str]:
        """Say what stands now, and the next step; the step is empty where there is nothing to do.

        Refusals count as a POST whose answer is not known: looking again is never wrong.
        """
        again = f"obscale apply {self._source}"
        if self._dag is not None and self._dag.is_terminal:
            return f"DAG {self._dag.id} has ended {self._dag.state}, not verified yet", again
        if self._dag_id is not None:
            return f"DAG {self._dag_id} goes on by itself", f"{again} takes it up again"
        if self._is_posting:
            return (
                f"whether the scale-out of {self._target} was begun is not known",
                f"{again} looks, and takes it up",
            )
        return "nothing was sent", ""
