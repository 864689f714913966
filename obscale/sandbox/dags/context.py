"""What a sub task sees of the world while it works."""

from typing import TYPE_CHECKING, Any, cast

from obscale.sandbox.agents import Agent
from obscale.sandbox.cluster import Cluster
from obscale.sandbox.dags.dag import Dag, LogRow, Node, StepFailed
from obscale.sandbox.faults.cards import OPERATION_OF, FaultCard
from obscale.sandbox.faults.fault import Fault

if TYPE_CHECKING:
    from obscale.sandbox.world import World


class Scene:
    """One execution of one sub task: its DAG, its log, and the world around it.

    Args:
        world: The world.
        dag: The DAG the sub task belongs to.
        node: Its node.
    """

    def __init__(self, world: "World", dag: Dag, node: Node) -> None:
        self.world = world
        self.dag = dag
        self.node = node
        self.task = node.sub_task

    @property
    def facts(self) -> dict[str, Any]:
        """What the steps of this DAG remember."""
        return self.dag.facts

    @property
    def cluster(self) -> Cluster:
        """The cluster this DAG is about."""
        return cast("Cluster", self.facts["cluster"])

    @property
    def target(self) -> Agent:
        """The agent that joins."""
        return cast("Agent", self.facts["target"])

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.world.engine.now

    @property
    def stage(self) -> int:
        """The stage of this node, 1-based."""
        return self.dag.nodes.index(self.node) + 1

    def log(self, text: str, *, is_reason: bool = False) -> None:
        """Add a line to the sub task's log; `is_reason`: it says why the sub task failed."""
        number = len(self.task.logs) + 1
        at = self.world.wall_of(self.task.agent, self.now)
        row = LogRow(number, self.task.execute_times, text, at)
        if self.task.lost is not None and (self.task.logs or is_reason):
            self.task.lost.append(row)
        else:
            self.task.logs.append(row)

    def failure(self, code: str, message: str) -> StepFailed:
        """The end of a sub task as obshell logs it: `ERROR: [code]: message`.

        Up to 4.3.0.0 there is no bracket. Source: ob/agent/engine/executor/executor.go.
        """
        if self.task.agent.has("errCode"):
            return StepFailed(f"ERROR: [{code}]: {message}")
        return StepFailed(f"ERROR: {message}")

    def draw(self, card: FaultCard, stage: int | None = None) -> Fault | None:
        """A fault card for this moment, taken from the world's hand."""
        return self.world.hand.draw(
            card,
            target=self.target,
            cluster=self.cluster.name,
            stage=stage,
            operation=OPERATION_OF.get(self.dag.name, "scale_out"),
        )
