"""The engine that advances a world's DAGs in virtual seconds.

Schedulers look once a second: those of clusters at whole seconds, those of agents half a second
later. A sub task is a generator; it starts in the instant of the look that picks it up and then
wakes by itself. At one instant looks come first, sub tasks after them.

Source: ob/agent/engine/scheduler/*.go, ob/agent/service/task/dag.go, 4.5.0.0.
"""

import heapq
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from obscale.sandbox.agents import Agent
from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.dag import EPOCH_SECONDS, Dag, Node, Operator, StepFailed, Work

if TYPE_CHECKING:
    from obscale.sandbox.world import World

TICK_SECONDS: Final = 1.0
LOCAL_TICK_OFFSET_SECONDS: Final = 0.5
SUB_TASK_TIMEOUT_SECONDS: Final = 3600.0
"""Source: ob/agent/constant/task.go, 4.5.0.0."""


class Engine:
    """Brings the world forward, event by event.

    Args:
        world: Whose DAGs are scheduled.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.now = 0.0
        self._looked_at = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._works: dict[int, tuple[Scene, Work]] = {}
        """Sub tasks at work, by the identity of the sub task."""
        self._cancelled: list[Work] = []
        """Works of cancelled sub tasks, which do not know it before they wake up."""

    def advance_to(self, instant: float) -> None:
        """Let everything happen that is due up to and including `instant`."""
        if self._nothing_is_due(instant):
            self.now = self._looked_at = max(self.now, instant)
            return
        while (moment := self._next_moment()) <= instant:
            self.now = moment
            if moment > self._looked_at:
                if moment.is_integer():
                    self._look_at_clusters()
                if (moment - LOCAL_TICK_OFFSET_SECONDS).is_integer():
                    self._look_at_agents()
                self._looked_at = moment
                # Between a look and the work it begins: a stage's card acts before the stage does.
                self._world.hand.notice()
            while self._timers and self._timers[0][0] <= moment:
                heapq.heappop(self._timers)[2]()
            self._world.hand.notice()
        self.now = self._looked_at = max(self.now, instant)

    def _nothing_is_due(self, instant: float) -> bool:
        """Whether no timer and no look of any scheduler comes by then: most requests ask for this.

        Quicker than `_next_moment`, which walks through all DAGs of all agents.
        """
        if self._timers and self._timers[0][0] <= instant:
            return False
        return math.floor(self.now / LOCAL_TICK_OFFSET_SECONDS) == math.floor(
            instant / LOCAL_TICK_OFFSET_SECONDS
        )

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Call `act` that many virtual seconds from now."""
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), act))

    def restart_agent(self, agent: Agent) -> None:
        """A started obshell executes its unfinished sub tasks again, from their beginning.

        That is no further execution to it: the count stays. Recorded from 4.5.0.0.
        """
        for scene, _ in list(self._works.values()):
            if scene.task.agent is agent:
                self._begin(scene)

    def seconds_to_look(self, dag: Dag) -> float:
        """Virtual seconds until a scheduler looks at a DAG; infinite while none can."""
        if dag.owner is not None:
            shifted = math.floor(self.now - LOCAL_TICK_OFFSET_SECONDS) + TICK_SECONDS
            return math.inf if dag.owner.down else shifted + LOCAL_TICK_OFFSET_SECONDS - self.now
        for cluster in self._world.clusters:
            if cluster.is_scheduled and any(each is dag for each in cluster.dags):
                return math.floor(self.now) + TICK_SECONDS - self.now
        return math.inf

    def _next_moment(self) -> float:
        moments = [self._timers[0][0]] if self._timers else []
        if any(dag.is_active for cluster in self._world.clusters for dag in cluster.dags):
            moments.append(math.floor(self.now) + TICK_SECONDS)
        if any(dag.is_active for agent in self._world.agents for dag in agent.dags):
            shifted = math.floor(self.now - LOCAL_TICK_OFFSET_SECONDS) + TICK_SECONDS
            moments.append(shifted + LOCAL_TICK_OFFSET_SECONDS)
        return max(min(moments, default=math.inf), self.now)

    def _look_at_clusters(self) -> None:
        for cluster in self._world.clusters:
            active = [dag for dag in cluster.dags if dag.is_active]
            maintainer = cluster.maintainer(self.now)
            if maintainer is not None:
                for dag in active:
                    self._look(dag, maintainer)

    def _look_at_agents(self) -> None:
        for agent in self._world.agents:
            if not agent.down:
                for dag in [dag for dag in agent.dags if dag.is_active]:
                    self._look(dag, agent)

    def _look(self, dag: Dag, executor: Agent) -> None:
        wall = self._world.wall_of(executor, self.now)
        if dag.state == "READY":
            dag.state, dag.start_at = "RUNNING", wall
        node = dag.current
        if node.state == "PENDING" and dag.operator == "CANCEL":
            self._cancel(dag, node, wall)
        elif node.state == "PENDING":
            node.state, node.start_at, node.end_at = "RUNNING", wall, wall
            self._begin_node(dag, node, executor)
        elif node.state == "SUCCEED":
            # Passed, or undone by a rollback that failed half-way and was then retried.
            self._move_on(dag, wall)
        elif node.state == "FAILED":
            dag.state, dag.end_at = "FAILED", wall
        else:
            self._judge(dag, node, executor)

    def _begin_node(self, dag: Dag, node: Node, executor: Agent) -> None:
        task = node.sub_task
        if task.state == "PENDING" and dag.operator == "ROLLBACK":
            # Never executed, nothing to undo.
            node.state = "SUCCEED"
        elif task.state == "SUCCEED" and node.operator == "RETRY":
            # Cancelled when all was done.
            return
        else:
            backwards = dag.operator == "ROLLBACK" or node.operator == "RETRY"
            self._start(dag, node, executor, backwards=backwards and task.state != "PENDING")

    def _cancel(self, dag: Dag, node: Node, wall: float) -> None:
        """Declare a node failed; what works on it goes on until it wakes up."""
        task = node.sub_task
        if task.state == "RUNNING":
            held = self._works.get(id(task))
            if held is not None:
                self._cancelled.append(held[1])
            self._end(Scene(self._world, dag, node), failed_with="sub task cancelled")
        node.state, node.start_at, node.end_at = "FAILED", wall, wall

    def _judge(self, dag: Dag, node: Node, executor: Agent) -> None:
        task = node.sub_task
        wall = self._world.wall_of(executor, self.now)
        overdue = self.now - task.started_virtual >= SUB_TASK_TIMEOUT_SECONDS
        if task.state == "RUNNING" and overdue:
            self._end(Scene(self._world, dag, node), failed_with="sub task timeout")
        if task.state == "FAILED":
            node.state, node.end_at = "FAILED", wall
            dag.state, dag.end_at = "FAILED", wall
        elif task.state == "SUCCEED":
            if node.operator == "RETRY" and task.operator == "ROLLBACK":
                self._start(dag, node, executor, backwards=False)
            else:
                node.state, node.end_at = "SUCCEED", wall
                self._move_on(dag, wall)

    def _move_on(self, dag: Dag, wall: float) -> None:
        backwards = dag.operator == "ROLLBACK"
        if dag.stage == (1 if backwards else dag.max_stage):
            dag.state, dag.end_at = "SUCCEED", wall
        else:
            dag.stage += -1 if backwards else 1

    def _start(self, dag: Dag, node: Node, executor: Agent, *, backwards: bool) -> None:
        task = node.sub_task
        task.agent = executor
        task.state = "RUNNING"
        task.operator = "ROLLBACK" if backwards else "RUN"
        task.started_virtual = self.now
        task.start_at = self._world.wall_of(executor, self.now)
        task.execute_times += 1
        self._begin(Scene(self._world, dag, node))

    def _begin(self, scene: Scene) -> None:
        step = scene.node.step
        backwards = scene.task.operator == "ROLLBACK"
        work = step.rollback(scene) if backwards else step.run(scene)
        self._works[id(scene.task)] = (scene, work)
        self.after(0.0, lambda: self._go_on(scene, work))

    def _go_on(self, scene: Scene, work: Work) -> None:
        if any(each is work for each in self._cancelled):
            self._cancelled = [each for each in self._cancelled if each is not work]
            if scene.node.step.cancel is not None and not scene.task.agent.down:
                scene.node.step.cancel(scene)
            return
        held = self._works.get(id(scene.task))
        if held is None or held[1] is not work or scene.task.agent.down:
            return
        try:
            pause = next(work)
        except StopIteration:
            self._end(scene)
        except StepFailed as failure:
            self._end(scene, failed_with=str(failure))
        else:
            self.after(pause, lambda: self._go_on(scene, work))

    def _end(self, scene: Scene, failed_with: str | None = None) -> None:
        if failed_with is not None:
            scene.log(failed_with, is_reason=True)
        self._works.pop(id(scene.task), None)
        scene.task.state = "SUCCEED" if failed_with is None else "FAILED"
        scene.task.end_at = self._world.wall_of(scene.task.agent, self.now)


def order_retry(dag: Dag) -> None:
    """Mark a FAILED DAG for RETRY; the next look picks it up. The caller has checked it may."""
    dag.state, dag.operator = "READY", "RUN"
    dag.start_at = dag.end_at = EPOCH_SECONDS
    _reset(dag.current, "RETRY")


def order_rollback(dag: Dag) -> None:
    """Mark a FAILED DAG for ROLLBACK: nodes that never ran stay as they are."""
    dag.state, dag.operator = "READY", "ROLLBACK"
    dag.start_at = dag.end_at = EPOCH_SECONDS
    for node in dag.nodes[: dag.stage]:
        _reset(node, "ROLLBACK")


def order_cancel(dag: Dag) -> None:
    """Mark an active DAG for CANCEL; the next look declares its node failed."""
    dag.state, dag.operator = "READY", "CANCEL"
    dag.start_at = dag.end_at = EPOCH_SECONDS
    _reset(dag.current, "CANCEL")


def pass_dag(dag: Dag, wall: float) -> None:
    """Declare a FAILED DAG succeeded at once: what is left of it is never executed."""
    for node in dag.nodes:
        if node.state != "SUCCEED":
            pass_node(node, wall)
    dag.state, dag.operator, dag.end_at = "SUCCEED", "PASS", wall


def pass_node(node: Node, wall: float) -> None:
    """Declare one node succeeded; sub tasks that were executed in vain, with it."""
    node.state, node.operator, node.end_at = "SUCCEED", "PASS", wall
    task = node.sub_task
    if task.state != "SUCCEED":
        task.state, task.operator, task.end_at = "SUCCEED", "PASS", wall


def order_rerun(dag: Dag) -> None:
    """Let a FAILED DAG go on whose node has been passed."""
    dag.state, dag.operator = "READY", "RUN"
    dag.start_at = dag.end_at = EPOCH_SECONDS


def _reset(node: Node, operator: Operator) -> None:
    node.state, node.operator = "PENDING", operator
    node.start_at = node.end_at = EPOCH_SECONDS
