"""The answers to who removes an observer or a zone.

The checks stand in obshell's order; the first failure is returned and nothing is created. Source:
ob/agent/api/{obcluster,zone}_handler.go, ob/agent/executor/ob/{scale_in,delete_zone}.go, 4.5.0.0.
"""

from typing import Any, Final

from obscale.sandbox.agents import Agent
from obscale.sandbox.answers.lock import check_lock_for
from obscale.sandbox.cluster import Cluster
from obscale.sandbox.dags.dag import GLOBAL_MAINTENANCE, Dag, Step
from obscale.sandbox.dags.removal import (
    DELETE_ZONE_NAME,
    NOT_ALIVE,
    SCALE_IN_NAME,
    Leaver,
    all_paxos_alive,
    delete_zone_steps,
    leaver_of,
    scale_in_steps,
)
from obscale.sandbox.errors import Refusal, no_database, wrong_type
from obscale.sandbox.request import NO_CONTENT, Call, bind_failed, require

FORM: Final = "ClusterScaleInParam"
UNKNOWN: Final = "check server exist failed: "


def scale_in(call: Call) -> Any:
    """`POST /ob/scale_in` and `DELETE /observer`: no content where the agent has no row."""
    ip, port, force = _bind(call)
    agent = call.agent
    if agent.is_self(ip, port):
        if call.member_of() is None:
            return NO_CONTENT
        raise Refusal(400, "OB.Server.DeleteSelf", "Cannot delete the current server")
    cluster = call.own_cluster()
    if not agent.has_database:
        raise no_database(agent, UNKNOWN).with_data(None)
    leaving = next((each for each in cluster.agents if each.is_self(ip, port)), None)
    if leaving is None:
        return NO_CONTENT
    if force and not _keeps_majority(call, cluster, leaving):
        raise Refusal(400, "OB.Cluster.MultiPaxosNotAlive", NOT_ALIVE, data=None)
    dag = _create(call, cluster, SCALE_IN_NAME, scale_in_steps(leaving, force=force))
    dag.facts["target"] = leaving
    return call.printer.created(dag)


def _bind(call: Call) -> tuple[str, int, bool]:
    body = call.json_body()
    info = body.get("agent_info")
    if info is not None and not isinstance(info, dict):
        raise bind_failed(wrong_type(info, f"{FORM}.agent_info", "meta.AgentInfo"))
    named = {str(name).lower(): value for name, value in (info or {}).items()}
    ip, port = named.get("ip") or "", named.get("port") or 0
    for value, kind, field, go_name in (
        (ip, str, "ip", "string"),
        (port, int, "port", "int"),
    ):
        if not isinstance(value, kind) or isinstance(value, bool):
            raise bind_failed(wrong_type(value, f"AgentInfo.agent_info.{field}", go_name))
    force = body.get("force_kill")
    if force is not None and not isinstance(force, bool):
        raise bind_failed(wrong_type(force, f"{FORM}.force_kill", "bool"))
    require(FORM, {"AgentInfo.Ip": ip, "AgentInfo.Port": port})
    return ip, port, bool(force)


def _keeps_majority(call: Call, cluster: Cluster, leaving: Agent) -> bool:
    if call.world.hand.draw("paxos_not_alive", target=leaving, cluster=cluster.name) is not None:
        return False
    leaver = leaver_of(leaving)
    server = cluster.server_at(leaver.ip, leaver.rpc_port)
    return server is None or all_paxos_alive(cluster, server)


def delete_zone(call: Call) -> Any:
    """`DELETE /zone/{name}`: no content where there is none of that name."""
    agent, name = call.agent, call.names["name"]
    cluster = call.own_cluster()
    if not agent.has_database:
        raise no_database(agent, "check zone exist failed: ").with_data(None)
    if cluster.zone(name) is None:
        return NO_CONTENT
    if any(unit.server.zone == name for unit in cluster.units):
        raise Refusal(
            400,
            "OB.Zone.NotEmpty",
            f"The zone '{name}' is not empty and cannot be deleted",
            data=None,
        )
    if any(not zone.active for zone in cluster.zones if zone.name != name):
        raise Refusal(
            400,
            "OB.Server.StoppedInMultiZone",
            "Cannot stop server or stop zone in multiple zones",
            data=None,
        )
    leaving = [each for each in cluster.agents if each.zone == name]
    if agent in leaving:
        raise Refusal(
            400,
            "OB.Zone.DeleteSelf",
            f"The current agent is in '{name}', please initiate the request through another agent",
            data=None,
        )
    leavers = [
        Leaver(server.agent.ip, server.observer.rpc_port) for server in cluster.servers_in(name)
    ]
    dag = _create(call, cluster, DELETE_ZONE_NAME, delete_zone_steps(name, leaving, leavers))
    dag.facts["target"] = leaving[0] if leaving else agent
    return call.printer.created(dag)


def _create(call: Call, cluster: Cluster, name: str, steps: list[Step]) -> Dag:
    try:
        check_lock_for(call.agent, cluster, name)
    except Refusal as refusal:
        raise refusal.with_data(None) from None
    dag = call.world.create_dag(
        name, steps, executor=call.agent, maintenance_type=GLOBAL_MAINTENANCE, cluster=cluster
    )
    dag.facts["cluster"] = cluster
    return dag
