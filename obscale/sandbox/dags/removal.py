"""The nodes of the DAGs `Cluster scale in` and `Delete zone`, forward, back and cancelled.

Source: ob/agent/executor/ob/{scale_in,delete_zone,upgrade_stop_zone}.go, 4.5.0.0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from obscale.sandbox.agents import CLUSTER_AGENT, SCALING_IN, Agent
from obscale.sandbox.cluster import Cluster, Server, Tenant
from obscale.sandbox.dags.cluster_scale_out import UNQUOTED_NAME
from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.dag import Step, StepFailed, Work
from obscale.sandbox.dags.local_observer import order_to_kill, order_to_start
from obscale.sandbox.dags.mishaps import exposed, failing
from obscale.sandbox.ids import join_address
from obscale.sandbox.units import (
    NO_ROOM,
    cancel_delete_server,
    delete_server,
    has_majority,
    why_not_deleted,
)

if TYPE_CHECKING:
    from obscale.sandbox.world import World

SCALE_IN_NAME: Final = "Cluster scale in"
DELETE_ZONE_NAME: Final = "Delete zone"
WAIT_PAUSE_SECONDS: Final = 3.0
WAIT_LOOKS: Final = 1200
BROADCAST_SECONDS: Final = 5.0
"""How often the maintainer tells the agents what their rows say."""
HAND_OVER_SECONDS: Final = 1.5
"""Until another agent schedules, where the maintainer itself leaves. Recorded from 4.5.0.0."""
IDENTITY_PAUSE_SECONDS: Final = 1.0
START_LOOK_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 180.0
"""HTTP timeout between agents."""
CONNECTED: Final = 3
"""`obState` of an agent whose statements OceanBase answers."""
NOT_ALIVE: Final = "Multi paxos member is not alive"


@dataclass(frozen=True)
class Leaver:
    """A server that is to go, by its address: its row may be gone already."""

    ip: str
    rpc_port: int

    @property
    def address(self) -> str:
        """As the logs write it."""
        return join_address(self.ip, self.rpc_port)

    def find(self, scene: Scene) -> Server | None:
        """Its row."""
        return scene.cluster.server_at(self.ip, self.rpc_port)

    def delete(self, scene: Scene) -> Work:
        """DELETE SERVER, unless that was ordered before."""
        server = self.find(scene)
        if server is None:
            scene.log(f"observer '{self.address}' is already not in cluster.")
        elif not server.deleting:
            card = scene.draw("delete_refused", scene.stage)
            why = (card.text or NO_ROOM) if card else why_not_deleted(scene.cluster, server)
            if why:
                raise scene.failure(
                    "MySQL.Error", f"MySQL error: delete observer {self.address} failed: {why}"
                )
            delete_server(scene.world, scene.cluster, server)
        yield from ()

    def wait(self, scene: Scene) -> Work:
        """Look until its row is gone; not a word meanwhile."""
        yield from self.delete(scene)
        card = scene.draw("wait_times_out")
        left = None if card is None else card.seconds
        for _ in range(WAIT_LOOKS):
            if left is not None and left <= WAIT_PAUSE_SECONDS:
                yield left
                raise StepFailed("sub task timeout")
            yield WAIT_PAUSE_SECONDS
            left = None if left is None else left - WAIT_PAUSE_SECONDS
            server = self.find(scene)
            if server is None:
                scene.log(f"observer '{self.address}' has been deleted successfully")
                return
            if not server.deleting:
                raise scene.failure(
                    "OB.Server.NotDeleting",
                    f"Observer '{self.address}' is not deleting, status: {_status(server)}",
                )
        raise scene.failure(
            "OB.Cluster.AsyncOperationTimeout", f"delete observer {self.address} timeout"
        )

    def undo(self, scene: Scene) -> Work:
        """CANCEL DELETE SERVER; nothing where a RETRY only asks for it in passing."""
        if scene.node.operator == "RETRY":
            return
        server = self.find(scene)
        if server is None:
            raise scene.failure("OB.Server.NotExist", f"Observer '{self.address}' does not exist")
        if server.deleting:
            cancel_delete_server(scene.cluster, server)
        yield from ()

    def cancel(self, scene: Scene) -> None:
        """What a cancelled sub task still does when it wakes up."""
        server = self.find(scene)
        if server is None:
            scene.log(f"observer '{self.address}' has already been deleted, no need cancel.")
        elif server.deleting:
            scene.log(f"cancel delete observer {self.address} start")
            cancel_delete_server(scene.cluster, server)
        else:
            scene.log(
                f"observer {self.address} is not deleting, status: {_status(server)}, "
                "no need cancel."
            )

    def step(self, name: str, *, waits: bool = False, frees_lock: bool = False) -> Step:
        """One of the two nodes each server has."""
        run = self.wait if waits else self.delete
        return _node(Step(name, run, self.undo, frees_lock=frees_lock, cancel=self.cancel))


def leaver_of(agent: Agent) -> Leaver:
    """The server beside an agent, as the agent's row names it."""
    return Leaver(agent.ip, agent.observer.rpc_port if agent.observer else 0)


def scale_in_steps(agent: Agent, *, force: bool) -> list[Step]:
    """Five nodes; six with `force_kill`, which kills the observer before its row is gone."""
    leaver = leaver_of(agent)
    first = [
        leaver.step("Delete observer", frees_lock=True),
        _set_scaling_in([agent], leaver),
    ]
    wait = leaver.step("Wait delete observer success", waits=True)
    inform = _inform(agent, leaver, force=force)
    if force:
        return [*first, _check_paxos(leaver), inform, wait, _delete_agents([agent])]
    return [*first, wait, _delete_agents([agent]), inform]


def delete_zone_steps(zone: str, agents: Sequence[Agent], leavers: Sequence[Leaver]) -> list[Step]:
    """Two nodes, two more for each server, and three more where the zone has agents."""
    steps = [_set_scaling_in(agents, None)] if agents else []
    steps.append(_stop_zone(zone))
    for leaver in leavers:
        steps += [
            leaver.step("Delete observer"),
            leaver.step("Wait delete observer success", waits=True),
        ]
    steps.append(_delete_zone(zone))
    if agents:
        steps += [_delete_agents(agents), _inform_all(agents)]
    return steps


def all_paxos_alive(cluster: Cluster, server: Server) -> bool:
    """Whether all it holds keeps a majority without it, as obshell looks at it.

    The log streams come from views that only living servers fill: of a dead one nothing is seen.
    """
    return not server.observer.works or all(
        has_majority(cluster, tenant, without=server) for tenant in tenants_on(cluster, server)
    )


def tenants_on(cluster: Cluster, server: Server) -> list[Tenant]:
    """Tenants with a unit on a server."""
    return [
        tenant
        for tenant in cluster.tenants()
        if any(unit.server is server and unit.pool in tenant.pools for unit in cluster.units)
    ]


def _node(step: Step) -> Step:
    """All nodes of a removal can be cancelled and passed, and meet the cards of any stage."""
    return exposed(failing(replace(step, can_cancel=True, can_pass=True)))


def _set_scaling_in(agents: Sequence[Agent], leaver: Leaver | None) -> Step:
    def run(scene: Scene) -> Work:
        cluster = scene.cluster
        for agent in agents:
            if agent in cluster.agents and agent not in cluster.leaving:
                cluster.leaving.append(agent)
            if agent is cluster.last_maintainer:
                agent.identity = SCALING_IN
                scene.world.engine.after(HAND_OVER_SECONDS, lambda: _hand_over(scene, agents))
            announce(scene.world, cluster, agent)
        yield IDENTITY_PAUSE_SECONDS
        while cluster.last_maintainer in agents:
            yield IDENTITY_PAUSE_SECONDS
        scene.log("change agent identity to 'SCALING IN' success")

    def undo(scene: Scene) -> Work:
        if scene.node.operator == "RETRY":
            return
        for agent in agents:
            if agent in scene.cluster.leaving:
                scene.cluster.leaving.remove(agent)
            announce(scene.world, scene.cluster, agent)
        yield from ()

    return _node(
        Step("Set agent to 'SCALING IN'", run, undo, cancel=leaver.cancel if leaver else None)
    )


def _hand_over(scene: Scene, agents: Sequence[Agent]) -> None:
    if scene.cluster.last_maintainer in agents:
        scene.cluster.hand_over(scene.now)


def announce(world: "World", cluster: Cluster, agent: Agent) -> None:
    """Let the maintainer's next broadcast tell an agent what its row says, if it answers then."""
    pause = BROADCAST_SECONDS - world.engine.now % BROADCAST_SECONDS

    def tell() -> None:
        if agent not in cluster.agents or agent.cluster is not cluster:
            return
        if agent.down or agent.silent:
            announce(world, cluster, agent)
        else:
            agent.identity = SCALING_IN if agent in cluster.leaving else CLUSTER_AGENT

    world.engine.after(pause, tell)


def _check_paxos(leaver: Leaver) -> Step:
    def run(scene: Scene) -> Work:
        server = leaver.find(scene)
        alive = scene.draw("paxos_not_alive", scene.stage) is None
        if server is not None:
            for tenant in tenants_on(scene.cluster, server) if server.observer.works else ():
                scene.log(f"check multi paxos member alive of tenant '{tenant.id}', log stream '1'")
                if not has_majority(scene.cluster, tenant, without=server):
                    scene.log(f"the log stream 1 of tenant {tenant.id} has no majority alive.")
                    alive = False
                    break
        if not alive:
            raise scene.failure("OB.Cluster.MultiPaxosNotAlive", NOT_ALIVE)
        yield from ()

    return _node(Step("Check multi paxos member alive", run, leaver.undo, cancel=leaver.cancel))


def _delete_agents(agents: Sequence[Agent]) -> Step:
    def run(scene: Scene) -> Work:
        cluster = scene.cluster
        for agent in agents:
            if card := scene.draw("delete_agent_fails"):
                text = card.text or "Error 4012 (HY000): Timeout"
                raise scene.failure(
                    "MySQL.Error", f"MySQL error: delete agent {agent.address} failed: {text}"
                )
            if agent.identity != SCALING_IN:
                agent.remembers = list(cluster.agents)
            cluster.agents = [each for each in cluster.agents if each is not agent]
            cluster.leaving = [each for each in cluster.leaving if each is not agent]
        scene.log("delete agents success")
        yield from ()

    return _node(Step("Delete agent", run, _never, can_rollback=False))


def _inform(agent: Agent, leaver: Leaver, *, force: bool) -> Step:
    def run(scene: Scene) -> Work:
        if agent.down or agent.silent:
            # Without a line in the log, also where the observer is to be killed.
            yield SILENT_SECONDS if agent.silent else 0.0
            return
        scene.log(f"agent {agent.address} ob state: {agent.ob_state}")
        if agent.ob_state <= 0:
            return
        scene.facts["ob_state"] = agent.ob_state
        why = _refusal(scene, agent)
        if why and force:
            raise scene.failure(
                "Agent.RPC.RequestError",
                f"inform agent {agent.address} to kill observer failed: {why}",
            )
        if why:
            scene.log(f"WARN: inform agent {agent.address} to kill observer failed: {why}")

    return _node(
        Step("Try to inform to kill observer", run, _start_again(agent), cancel=leaver.cancel)
    )


def _start_again(agent: Agent) -> Callable[[Scene], Work]:
    """Back from there: the observer is started again, if it served before."""

    def undo(scene: Scene) -> Work:
        state = scene.facts.get("ob_state")
        if scene.node.operator == "RETRY" or state is None or state < CONNECTED:
            return
        scene.log(f"target server original state: {state}")
        if agent.down or agent.silent:
            yield SILENT_SECONDS if agent.silent else 0.0
            raise scene.failure(
                "Agent.RPC.RequestFailed",
                f"rollback kill observer of agent '{agent.address}' failed: dial tcp "
                f"{agent.address}: connect: connection refused",
            )
        local = order_to_start(scene.world, scene.cluster, agent)
        while local is not None and local.state != "SUCCEED":
            if local.state == "FAILED":
                raise scene.failure(
                    "Common.Unexpected",
                    f"Unexpected error: launch observer dag {local.generic_id()} failed",
                )
            yield START_LOOK_SECONDS

    return undo


def _inform_all(agents: Sequence[Agent]) -> Step:
    def run(scene: Scene) -> Work:
        for agent in agents:
            if agent.down or agent.silent:
                yield SILENT_SECONDS if agent.silent else 0.0
                why = f"dial tcp {agent.address}: connect: connection refused"
            else:
                why = _refusal(scene, agent)
            if why:
                scene.log(f"WARN: inform agent {agent.address} to kill observer failed: {why}")

    return _node(Step("Try to inform to kill observers", run, _never, can_rollback=False))


def _refusal(scene: Scene, agent: Agent) -> str:
    """Tell it to kill its observer; why it refuses, empty when it does not."""
    if scene.draw("inform_refused") is not None:
        why = (
            f"'{agent.address}' is '{CLUSTER_AGENT}', instead of 'SCALING IN', "
            "does not support this operation"
        )
    else:
        why = order_to_kill(scene.world, scene.cluster, agent)
    return f"Request [DELETE]/rpc/v1/observer to {agent.address} error: {why}" if why else ""


def _stop_zone(zone: str) -> Step:
    def run(scene: Scene) -> Work:
        scene.log(f"stop zone {zone}")
        _set_zone(scene.cluster, zone, active=False)
        scene.log(f"wait for {zone} to be inactive")
        yield from ()

    def undo(scene: Scene) -> Work:
        if scene.node.operator == "RETRY":
            return
        scene.log(f"rollback stop zone {zone}")
        row = scene.cluster.zone(zone)
        if row is None or row.active:
            scene.log(f"no need to start '{zone}' because it is not exist or active")
        _set_zone(scene.cluster, zone, active=True)
        yield from ()

    return _node(Step(f"Stop zone {zone}", run, undo))


def _set_zone(cluster: Cluster, name: str, *, active: bool) -> None:
    zone = cluster.zone(name)
    if zone is not None:
        zone.active = active


def _delete_zone(zone: str) -> Step:
    def run(scene: Scene) -> Work:
        cluster = scene.cluster
        if cluster.zone(zone) is not None:
            why = ""
            if not UNQUOTED_NAME.fullmatch(zone):
                why = "Error 1064 (42000): You have an error in your SQL syntax"
            elif cluster.servers_in(zone):
                why = "Error 4668: The zone is not empty"
            if why:
                raise scene.failure("MySQL.Error", f"MySQL error: delete zone {zone} failed: {why}")
            cluster.zones = [each for each in cluster.zones if each.name != zone]
        yield from ()

    return _node(Step(f"Delete zone {zone}", run, _never, can_rollback=False))


def _status(server: Server) -> str:
    if server.deleting:
        return "DELETING"
    return "ACTIVE" if server.observer.works else "INACTIVE"


def _never(_scene: Scene) -> Work:
    """What cannot be rolled back never is; a RETRY asks for it in passing."""
    yield from ()
