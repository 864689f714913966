"""What an agent does with the observer beside it when it leaves, or after all does not.

Source: ob/agent/executor/ob/{kill_observer,stop_obsvr,start_obsvr}.go, 4.5.0.0.
"""

from typing import TYPE_CHECKING, Final

from obscale.sandbox.agents import SCALING_IN, Agent
from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.dag import GLOBAL_MAINTENANCE, Dag, Step, Work

if TYPE_CHECKING:
    from obscale.sandbox.cluster import Cluster
    from obscale.sandbox.world import World

KILL: Final = "Kill observer"
START: Final = "Start observer for scale in rollback"
KILL_SECONDS: Final = 5.0
KILL_TIMES: Final = 15
START_LOOK_SECONDS: Final = 5.0
START_LOOKS: Final = 360


def kill_observer(scene: Scene) -> Work:
    """Kill it, and look whether that worked."""
    scene.log("Get observer Pid")
    observer = scene.target.observer
    if observer is None or not observer.alive:
        scene.log("Observer is not running")
        return
    survives = scene.draw("kill_fails") is not None
    for _ in range(KILL_TIMES):
        scene.log(f"Kill observer process {scene.target.observer_pid}")
        observer.alive = survives
        yield KILL_SECONDS
        scene.log("Check observer process")
        if not survives:
            scene.log("Successfully killed the observer process")
            return
    raise scene.failure("OB.Cluster.AsyncOperationTimeout", "kill observer process timeout")


def order_to_kill(world: "World", cluster: "Cluster", agent: Agent) -> str:
    """Tell a leaving agent to kill its observer.

    Returns:
        Why it refuses, empty when it does not.
    """
    if agent.identity != SCALING_IN:
        return (
            f"'{agent.address}' is '{agent.identity}', instead of 'SCALING IN', "
            "does not support this operation"
        )
    if refusal := _under_maintenance(agent):
        return refusal
    _create(world, cluster, agent, Step(KILL, kill_observer, _nothing, frees_lock=True))
    return ""


def order_to_start(world: "World", cluster: "Cluster", agent: Agent) -> Dag | None:
    """Tell an agent to start its observer again; `None` where it runs."""
    if agent.observer is None or agent.observer.alive:
        return None
    return _create(world, cluster, agent, Step(START, _start_again, _nothing, frees_lock=True))


def _start_again(scene: Scene) -> Work:
    target = scene.target
    scene.log("check if first start")
    scene.log("not first start, skip require check")
    scene.log("generate start cmd")
    scene.log(
        f"start cmd: export LD_LIBRARY_PATH='{target.home}/lib'; {target.home}/bin/observer   "
    )
    target.connected = False
    if target.observer is not None:
        target.observer.start()
    scene.world.engine.after(target.start_seconds, lambda: _connect(target))
    scene.log("Waiting for observer to start")
    for _ in range(START_LOOKS):
        if target.has_database:
            return
        yield START_LOOK_SECONDS
    raise scene.failure("OB.Cluster.AsyncOperationTimeout", "start observer timeout")


def _connect(agent: Agent) -> None:
    agent.connected = True


def _create(world: "World", cluster: "Cluster", agent: Agent, step: Step) -> Dag:
    dag = world.create_dag(
        step.name, [step], executor=agent, owner=agent, maintenance_type=GLOBAL_MAINTENANCE
    )
    dag.facts |= {"cluster": cluster, "target": agent}
    return dag


def _under_maintenance(agent: Agent) -> str:
    for dag in agent.dags:
        if dag.holds_lock:
            held = f"DAG [{dag.generic_id()}:{dag.name}]"
            return f"agent {agent.address} is under maintenance by {held}"
    return ""


def _nothing(_scene: Scene) -> Work:
    yield from ()
