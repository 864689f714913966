"""The models of a DAG as an agent shows it: nodes, sub tasks, states and operators.

Source: ob/agent/engine/task/task_dto.go, obshell 4.5.0.0.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from obscale.agent.limits import tail_of
from obscale.agent.wire import LISTED, MAPPED, AgentEndpoint, SnakeWire, Word


class State(Word):
    """State of a DAG, node or sub task."""

    PENDING = "PENDING"
    READY = "READY"
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    SUCCEED = "SUCCEED"


class Operator(Word):
    """What a DAG, node or sub task was last told; only with the state it says how things ended."""

    RUN = "RUN"
    RETRY = "RETRY"
    ROLLBACK = "ROLLBACK"
    CANCEL = "CANCEL"
    PASS = "PASS"  # noqa: S105 - obshell's operator, no password


class SubTask(SnakeWire):
    """One node's work on one agent."""

    id: str = ""
    task_id: int = 0
    name: str = ""
    state: State = State.PENDING
    operator: Operator = Operator.RUN
    start_time: datetime | None = None
    end_time: datetime | None = None
    execute_times: int = 0
    """Runs and rollbacks; that a restarted agent began one anew is not counted (recorded)."""
    execute_agent: AgentEndpoint | None = None
    task_logs: Annotated[tuple[str, ...], LISTED, AfterValidator(tail_of)] = ()
    """The last lines of what the agent holds, see `obscale.agent.limits`."""


class Node(SnakeWire):
    """One stage of a DAG."""

    id: str = ""
    node_id: int = 0
    name: str = ""
    state: State = State.PENDING
    operator: Operator = Operator.RUN
    start_time: datetime | None = None
    end_time: datetime | None = None
    sub_tasks: Annotated[tuple[SubTask, ...], LISTED] = ()

    @property
    def title(self) -> str:
        """The name with its white space put in order: 4.2.3.x writes some names with two blanks."""
        return " ".join(self.name.split())


class Dag(SnakeWire):
    """A job of obshell's. Judge by `state` and `operator` together, never by times.

    `nodes` is empty where the agent was asked without details, and in the answer to a POST.
    """

    id: str
    dag_id: int
    """Number inside its own series; rises with age, so it orders DAGs of one cluster."""
    name: str = ""
    stage: int = 0
    max_stage: int = 0
    maintenance_type: int | None = None
    """1 none, 2 global, 3 tenant, 4 obproxy; None below 4.3.1.0."""
    maintenance_key: str = ""
    """Of a tenant's DAG the tenant's name."""
    state: State = State.PENDING
    operator: Operator = Operator.RUN
    start_time: datetime | None = None
    end_time: datetime | None = None
    additional_data: Annotated[dict[str, Any], MAPPED] = Field(default_factory=dict)
    nodes: Annotated[tuple[Node, ...], LISTED] = ()

    @property
    def is_done(self) -> bool:
        """Whether the scale-out was carried out: forwards, not undone."""
        return self.state is State.SUCCEED and self.operator is not Operator.ROLLBACK

    @property
    def is_undone(self) -> bool:
        """Whether a rollback was carried out to its end."""
        return self.state is State.SUCCEED and self.operator is Operator.ROLLBACK

    @property
    def skipped(self) -> tuple[str, ...]:
        """Titles of nodes that are undone, although the DAG went on forwards from an earlier one.

        Somebody retried a rollback that had stopped half-way: undone nodes count as done there.
        Source: ob/agent/service/task/dag.go, 4.5.0.0.
        """
        if self.operator is Operator.ROLLBACK:
            return ()
        return tuple(
            node.title
            for node in self.nodes
            if node.state is State.SUCCEED and node.operator is Operator.ROLLBACK
        )

    @property
    def is_failed(self) -> bool:
        """Whether it stands still until somebody acts; it may keep the lock (rules/lock.py)."""
        return self.state is State.FAILED

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in {State.SUCCEED, State.FAILED}

    @property
    def current_node(self) -> Node | None:
        """The node of the current stage; None without details."""
        return self.nodes[self.stage - 1] if 0 < self.stage <= len(self.nodes) else None
