"""The parts of a simulated DAG, and how they are printed.

Source: ob/agent/engine/task/{dag,node,task,task_dto}.go, 4.5.0.0.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from obscale.sandbox.clock import GO_ZERO_TIME, MICROSECOND_DIGITS, go_time
from obscale.sandbox.ids import GenericId

if TYPE_CHECKING:
    from obscale.sandbox.agents import Agent
    from obscale.sandbox.dags.context import Scene

State = Literal["PENDING", "READY", "RUNNING", "FAILED", "SUCCEED"]
Operator = Literal["RUN", "RETRY", "ROLLBACK", "CANCEL", "PASS"]
Work = Iterator[float]
"""A sub task at work: yields the seconds it sleeps, returns on success, raises `StepFailed`."""

GLOBAL_MAINTENANCE: Final = 2
TENANT_MAINTENANCE: Final = 3
EPOCH_SECONDS: Final = 0.0


class StepFailed(Exception):  # noqa: N818 - an event of the simulated world, not an error of ours
    """A sub task ends FAILED; the message is its last log line, verbatim."""


@dataclass(frozen=True)
class Step:
    """What one node does: name, work forward, work backward.

    Attributes:
        frees_lock: Its DAG gives the lock up where it fails; RETRY and ROLLBACK take it again.
        can_rollback: Whether ROLLBACK may be ordered of a DAG that has come to it.
        can_cancel: The same of CANCEL.
        can_pass: The same of PASS.
        cancel: What is done when the cancelled sub task next wakes up.
    """

    name: str
    run: Callable[["Scene"], Work]
    rollback: Callable[["Scene"], Work]
    frees_lock: bool = False
    can_rollback: bool = True
    can_cancel: bool = False
    can_pass: bool = False
    cancel: Callable[["Scene"], None] | None = None


@dataclass
class LogRow:
    """One line of a sub task's log. `at` is a wall instant, Unix seconds."""

    number: int
    execute_times: int
    text: str
    at: float


@dataclass
class SubTask:
    """One step on one agent."""

    number: int
    name: str
    agent: "Agent"
    state: State = "PENDING"
    operator: Operator = "RUN"
    start_at: float = EPOCH_SECONDS
    end_at: float = EPOCH_SECONDS
    execute_times: int = 0
    started_virtual: float = 0.0
    logs: list[LogRow] = field(default_factory=list)
    lost: list[LogRow] | None = None
    """Lines that turn up elsewhere later; None while every line stays where it belongs."""


@dataclass
class Node:
    """One stage of a DAG."""

    number: int
    step: Step
    sub_task: SubTask
    state: State = "PENDING"
    operator: Operator = "RUN"
    start_at: float = EPOCH_SECONDS
    end_at: float = EPOCH_SECONDS


@dataclass
class Dag:
    """A job and its linear list of nodes.

    Attributes:
        owner: The agent whose own DAG this is; `None` for DAGs of the cluster.
        facts: What the steps remember between executions; never printed.
    """

    number: int
    name: str
    nodes: list[Node]
    owner: "Agent | None"
    maintenance_type: int
    stage: int = 1
    state: State = "READY"
    operator: Operator = "RUN"
    start_at: float = EPOCH_SECONDS
    end_at: float = EPOCH_SECONDS
    additional_data: dict[str, str] | None = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def current(self) -> Node:
        """The node `stage` points at."""
        return self.nodes[self.stage - 1]

    @property
    def max_stage(self) -> int:
        """Number of nodes."""
        return len(self.nodes)

    @property
    def is_active(self) -> bool:
        """Whether a scheduler still has something to do here."""
        return self.state in ("READY", "RUNNING")

    @property
    def is_unfinished(self) -> bool:
        """Active or FAILED, whether it still holds the lock or not."""
        return self.is_active or self.state == "FAILED"

    @property
    def holds_lock(self) -> bool:
        """Whether it owns the maintenance lock of its store."""
        return self.is_active or (self.state == "FAILED" and not self.current.step.frees_lock)

    @property
    def undone(self) -> bool:
        """Completely rolled back."""
        return self.state == "SUCCEED" and self.operator == "ROLLBACK"

    def node(self, name: str) -> Node:
        """The first node of that name; `KeyError` when there is none."""
        for node in self.nodes:
            if node.step.name == name:
                return node
        raise KeyError(name)

    def generic_id(self, number: int | None = None) -> str:
        """Generic id of the DAG, or of one of its nodes or sub tasks by number."""
        number = self.number if number is None else number
        if self.owner is None:
            return str(GenericId(number))
        return str(GenericId(number, self.owner.ip, self.owner.port))


class DagPrinter:
    """Turns DAGs into the JSON objects of the task endpoints.

    Args:
        offset_minutes: Zone of the printing server.
        with_maintenance: `maintenance_type` and `maintenance_key` exist from 4.3.1.0 on.
        as_found: The shape in which a reader finds a DAG now.
    """

    def __init__(
        self,
        offset_minutes: int,
        *,
        with_maintenance: bool = True,
        as_found: Callable[[Dag], Dag] = lambda dag: dag,
    ) -> None:
        self._offset = offset_minutes
        self._with_maintenance = with_maintenance
        self._as_found = as_found

    def dag(self, dag: Dag, *, details: bool = True) -> dict[str, Any]:
        """A DagDetail; without details `nodes` and `additional_data` are null."""
        dag = self._as_found(dag)
        printed = self._head(dag)
        printed |= {"start_time": self._time(dag.start_at), "end_time": self._time(dag.end_at)}
        printed["additional_data"] = dag.additional_data if details else None
        printed["nodes"] = [self.node(dag, node) for node in dag.nodes] if details else None
        return printed

    def created(self, dag: Dag) -> dict[str, Any]:
        """The answer to the POST that created it: no nodes, times of year 1."""
        zero = {"start_time": GO_ZERO_TIME, "end_time": GO_ZERO_TIME}
        return self._head(dag) | zero | {"additional_data": None, "nodes": None}

    def node(self, dag: Dag, node: Node) -> dict[str, Any]:
        """A NodeDetail with its one sub task."""
        return {
            "id": dag.generic_id(node.number),
            "node_id": node.number,
            "name": node.step.name,
            "state": node.state,
            "operator": node.operator,
            "start_time": self._time(node.start_at),
            "end_time": self._time(node.end_at),
            "additional_data": None,
            "sub_tasks": [self.sub_task(dag, node.sub_task)],
        }

    def sub_task(self, dag: Dag, task: SubTask) -> dict[str, Any]:
        """A TaskDetail; `task_logs` is null while PENDING or READY."""
        waiting = task.state in ("PENDING", "READY")
        return {
            "id": dag.generic_id(task.number),
            "task_id": task.number,
            "name": task.name,
            "state": task.state,
            "operator": task.operator,
            "start_time": self._time(task.start_at),
            "end_time": self._time(task.end_at),
            "additional_data": None,
            "execute_times": task.execute_times,
            "execute_agent": {"ip": task.agent.ip, "port": task.agent.port},
            "task_logs": None if waiting else [row.text for row in task.logs],
        }

    def logs(self, task: SubTask) -> list[dict[str, Any]]:
        """The full log rows of a sub task."""
        return [
            {
                "id": row.number,
                "sub_task_id": task.number,
                "execute_times": row.execute_times,
                "log_content": row.text,
                "is_sync": True,
                "create_time": self._time(row.at),
                "update_time": self._time(row.at),
            }
            for row in task.logs
        ]

    def _head(self, dag: Dag) -> dict[str, Any]:
        head: dict[str, Any] = {
            "id": dag.generic_id(),
            "dag_id": dag.number,
            "name": dag.name,
            "stage": dag.stage,
            "max_stage": dag.max_stage,
        }
        if self._with_maintenance:
            head |= {
                "maintenance_type": dag.maintenance_type,
                "maintenance_key": dag.facts.get("maintenance_key", ""),
            }
        return head | {"state": dag.state, "operator": dag.operator}

    def _time(self, at: float) -> str:
        return go_time(at, self._offset, MICROSECOND_DIGITS)
