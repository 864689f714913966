"""What each state card changes in the world when it acts."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from obscale.sandbox.agents import SCALING_IN, Agent
from obscale.sandbox.cluster import Cluster, Pool, Server, Unit, Zone
from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.dag import GLOBAL_MAINTENANCE, TENANT_MAINTENANCE, Dag, Step, Work
from obscale.sandbox.dags.local_observer import KILL_SECONDS
from obscale.sandbox.dags.operators import OperatorRefused, carry_out, check_operator
from obscale.sandbox.faults.cards import OPERATION_OF, FaultCard, Operation
from obscale.sandbox.faults.fault import Fault
from obscale.sandbox.founding import enlist
from obscale.sandbox.units import delete_server, forget_server, why_not_deleted

if TYPE_CHECKING:
    from obscale.sandbox.world import World

OLD_PASSWORD: Final = "the-one-before"  # noqa: S105 - of a simulated cluster
RESTART_SECONDS: Final = 0.5
"""Until its daemon has started an obshell that was killed. Recorded from 4.5.0.0."""
Act = Callable[["World", Fault, Agent | None], None]


def _on_agent(act: Callable[["World", Fault, Agent], None]) -> Act:
    """An act on the agent the card names; its row makes sure that it names one."""

    def on_agent(world: "World", fault: Fault, agent: Agent | None) -> None:
        if agent is not None:
            act(world, fault, agent)

    return on_agent


def _on_cluster(act: Callable[["World", Fault, Cluster], None]) -> Act:
    """An act on the cluster the card names, or on the first."""
    return lambda world, fault, _agent: act(world, fault, world.cluster(fault.cluster))


def _restart(world: "World", fault: Fault, agent: Agent) -> None:
    seconds = RESTART_SECONDS if fault.seconds is None else fault.seconds
    world.stop_agent(agent)
    world.engine.after(seconds, lambda: world.start_agent(agent))


def _fall_silent(world: "World", _fault: Fault, agent: Agent) -> None:
    agent.silent = True
    world.tell(agent)


def _set_database(*, down: bool) -> Act:
    def act(_world: "World", _fault: Fault, agent: Agent) -> None:
        agent.database_down = down

    return _on_agent(act)


def _set_observer(*, alive: bool) -> Act:
    def act(_world: "World", _fault: Fault, agent: Agent) -> None:
        if agent.observer is not None and alive:
            agent.observer.start()
        elif agent.observer is not None:
            agent.observer.alive = False

    return _on_agent(act)


def _hang(_world: "World", _fault: Fault, agent: Agent) -> None:
    if agent.observer is not None:
        agent.observer.hangs = True


def _set_parameter(_world: "World", fault: Fault, agent: Agent) -> None:
    name, _, value = (fault.text or "").partition("=")
    if agent.observer is not None:
        agent.observer.values[name] = value


def _rotate_key(_world: "World", _fault: Fault, agent: Agent) -> None:
    agent.rotate_key()


def _shift_clock(_world: "World", fault: Fault, agent: Agent) -> None:
    agent.clock_offset_seconds += fault.seconds or 0.0


def _change_agent_password(_world: "World", fault: Fault, agent: Agent) -> None:
    agent.agent_password = fault.text or ""


def _keep_old_password(_world: "World", _fault: Fault, agent: Agent) -> None:
    agent.root_password = OLD_PASSWORD
    agent.sessions.clear()


def _fill_directory(_world: "World", fault: Fault, agent: Agent) -> None:
    agent.files.make(fault.text or f"{agent.home}/store", "somebody-s-data")


def _scale_in(world: "World", fault: Fault, agent: Agent) -> None:
    cluster = world.cluster(fault.cluster)
    agent.identity, agent.zone = SCALING_IN, agent.zone or cluster.zones[0].name
    agent.cluster, agent.root_password = cluster, cluster.root_password
    if agent in cluster.agents and agent not in cluster.leaving:
        cluster.leaving.append(agent)
    # Its lock outlives the scale-in: it is told to kill its observer, and sees to that by itself.
    world.create_dag(
        "Kill observer",
        [_busy("Kill observer", KILL_SECONDS)],
        executor=agent,
        owner=agent,
        maintenance_type=GLOBAL_MAINTENANCE,
    )


def _join_elsewhere(world: "World", fault: Fault, agent: Agent) -> None:
    cluster = world.cluster(fault.cluster)
    enlist(agent, cluster, cluster.zones[0].name)


def _change_root_password(_world: "World", fault: Fault, cluster: Cluster) -> None:
    cluster.root_password = fault.text or ""


def _hold_lock(world: "World", fault: Fault, cluster: Cluster) -> None:
    dag = world.create_dag(
        "Modify tenant",
        [_busy("Modify tenant", fault.seconds)],
        executor=cluster.agents[0],
        maintenance_type=TENANT_MAINTENANCE,
        cluster=cluster,
    )
    dag.facts["maintenance_key"] = "app"


def _fail_tenant_task(world: "World", _fault: Fault, cluster: Cluster) -> None:
    """Source: ob/agent/executor/tenant/scale_in_replicas.go; recorded from 4.5.0.0."""
    said = "[MySQL.Error]: MySQL error: Get in progress tenant job failed: Error 4016"
    names = ("Alter tenant locality", "Split resource pool", "Drop resource pools")
    dag = world.create_dag(
        "Scale in tenant replicas",
        [_refused(name, said) for name in names],
        executor=cluster.agents[0],
        maintenance_type=TENANT_MAINTENANCE,
        cluster=cluster,
    )
    dag.facts["maintenance_key"] = "app"


def _fail_scale_in(world: "World", _fault: Fault, cluster: Cluster) -> None:
    """Source: ob/agent/executor/ob/scale_in.go; recorded from 4.5.0.0."""
    said = "[MySQL.Error]: MySQL error: delete observer failed: Error 4016 (HY000): Internal error"
    names = (
        "Delete observer",
        "Set agent to 'SCALING IN'",
        "Wait delete observer success",
        "Delete agent",
        "Try to inform to kill observer",
    )
    world.create_dag(
        "Cluster scale in",
        [_refused(name, said) for name in names],
        executor=cluster.agents[0],
        maintenance_type=GLOBAL_MAINTENANCE,
        cluster=cluster,
    )


def _hold_local_lock(world: "World", fault: Fault, agent: Agent) -> None:
    world.create_dag(
        "Upgrade agent",
        [_busy("Upgrade agent", fault.seconds)],
        executor=agent,
        owner=agent,
        maintenance_type=GLOBAL_MAINTENANCE,
    )


def _busy(name: str, seconds: float | None) -> Step:
    def work(scene: Scene) -> Work:
        scene.log(name.lower())
        yield seconds or 0.0

    return Step(name, work, work)


def _refused(name: str, said: str) -> Step:
    """A step the database refuses at once; its DAG gives the lock up."""

    def run(scene: Scene) -> Work:
        yield 0.0
        code, _, message = said.removeprefix("[").partition("]: ")
        raise scene.failure(code, message)

    def rollback(_scene: Scene) -> Work:
        yield 0.0

    return Step(name, run, rollback, frees_lock=True)


def newest_dag_of(dags: Sequence[Dag], operation: Operation | None) -> Dag | None:
    """The newest DAG of an operation, however it stands."""
    return next((dag for dag in reversed(dags) if OPERATION_OF.get(dag.name) == operation), None)


def _operate(world: "World", fault: Fault, cluster: Cluster) -> None:
    """Refused, as obshell does, where the DAG is not in the state for it."""
    dag = newest_dag_of(cluster.dags, fault.operation_meant)
    word = fault.text or ""
    if dag is not None:
        with suppress(OperatorRefused):
            check_operator(dag, word)
            carry_out(dag, word, world.wall_of(cluster.agents[0], world.engine.now))


def _server_of(agent: Agent) -> Server | None:
    if agent.cluster is None or agent.observer is None:
        return None
    return agent.cluster.server_at(agent.ip, agent.observer.rpc_port)


def _on_server(act: Callable[["World", Cluster, Server], None]) -> Act:
    """An act on the server beside the agent that the card names, where it is listed."""

    def on_server(world: "World", _fault: Fault, agent: Agent) -> None:
        server = _server_of(agent)
        if server is not None and agent.cluster is not None:
            act(world, agent.cluster, server)

    return _on_agent(on_server)


def _hold_units(world: "World", fault: Fault, agent: Agent) -> None:
    server = _server_of(agent)
    if server is not None:
        server.holds_its_units = True
        if fault.seconds is not None:
            world.engine.after(fault.seconds, lambda: setattr(server, "holds_its_units", False))


def _take_no_unit(_world: "World", _cluster: Cluster, server: Server) -> None:
    server.takes_no_unit = True


def _fill_disk(_world: "World", _cluster: Cluster, server: Server) -> None:
    server.disk_is_full = True


def _delete_server(world: "World", cluster: Cluster, server: Server) -> None:
    if not server.deleting and not why_not_deleted(cluster, server):
        delete_server(world, cluster, server)


def _forget_server(_world: "World", cluster: Cluster, server: Server) -> None:
    forget_server(cluster, server)


def _slow_down(_world: "World", fault: Fault, cluster: Cluster) -> None:
    cluster.unit_seconds = fault.seconds


def _stop_copying(_world: "World", _fault: Fault, cluster: Cluster) -> None:
    for server in cluster.servers:
        server.observer.values["enable_rereplication"] = "False"


def _make_pool(_world: "World", fault: Fault, cluster: Cluster) -> None:
    """A pool that no tenant owns has units, too."""
    zone = fault.text or ""
    servers = cluster.servers_in(zone)
    if servers:
        of_sys = cluster.tenants()[0].pools[0]
        number = max(pool.id for pool in cluster.pools()) + 1
        pool = Pool(number, f"pool_{zone}", of_sys.unit_id, of_sys.unit, 1, (zone,), 0)
        cluster.loose_pools.append(pool)
        cluster.units.append(Unit(pool, servers[0], 0))


def _stop_rebalancing(_world: "World", fault: Fault, cluster: Cluster) -> None:
    tenant = cluster.tenant(fault.text or "")
    if tenant is not None:
        tenant.parameters["enable_rebalance"] = "False"


def _add_zone(_world: "World", fault: Fault, cluster: Cluster) -> None:
    name = fault.text or ""
    if cluster.zone(name) is None:
        cluster.zones.append(Zone(name, cluster.zones[0].region))


def _delete_zone(_world: "World", fault: Fault, cluster: Cluster) -> None:
    """The database refuses to delete a zone that has servers."""
    if all(server.zone != fault.text for server in cluster.servers):
        cluster.zones = [zone for zone in cluster.zones if zone.name != fault.text]


ACTS: Final[dict[FaultCard, Act]] = {
    "agent_down": _on_agent(lambda world, _fault, agent: world.stop_agent(agent)),
    "agent_up": _on_agent(lambda world, _fault, agent: world.start_agent(agent)),
    "agent_restart": _on_agent(_restart),
    "black_hole": _on_agent(_fall_silent),
    "database_down": _set_database(down=True),
    "database_up": _set_database(down=False),
    "observer_down": _set_observer(alive=False),
    "observer_up": _set_observer(alive=True),
    "observer_hangs": _on_agent(_hang),
    "set_parameter": _on_agent(_set_parameter),
    "rotate_key": _on_agent(_rotate_key),
    "shift_clock": _on_agent(_shift_clock),
    "change_agent_password": _on_agent(_change_agent_password),
    "stale_password": _on_agent(_keep_old_password),
    "local_task": _on_agent(_hold_local_lock),
    "fill_directory": _on_agent(_fill_directory),
    "scaling_in": _on_agent(_scale_in),
    "join_elsewhere": _on_agent(_join_elsewhere),
    "host_cleaned": _on_agent(lambda world, _fault, agent: world.wipe(agent)),
    "unit_stuck": _on_agent(_hold_units),
    "unit_no_room": _on_server(_take_no_unit),
    "receiver_disk_full": _on_server(_fill_disk),
    "gone_before_rollback": _on_server(_forget_server),
    "somebody_deletes_server": _on_server(_delete_server),
    "slow_migration": _on_cluster(_slow_down),
    "rereplication_off": _on_cluster(_stop_copying),
    "zone_not_empty": _on_cluster(_make_pool),
    "tenant_rebalance_off": _on_cluster(_stop_rebalancing),
    "change_root_password": _on_cluster(_change_root_password),
    "tenant_task": _on_cluster(_hold_lock),
    "tenant_task_fails": _on_cluster(_fail_tenant_task),
    "scale_in_fails": _on_cluster(_fail_scale_in),
    "operate_dag": _on_cluster(_operate),
    "add_zone": _on_cluster(_add_zone),
    "delete_zone": _on_cluster(_delete_zone),
}
"""Every card of kind STATE, and no other."""
