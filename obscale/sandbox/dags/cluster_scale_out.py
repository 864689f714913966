"""The nodes of the DAG `Cluster scale out`, forward and back.

Source: ob/agent/executor/ob/scale_out.go, 4.5.0.0. Node names are exact from 4.2.4.0 on; 4.2.3.x
has two blanks before `for` in three of them.
"""

import re
from typing import Final

from obscale.sandbox.agents import CLUSTER_AGENT, SINGLE, version_tuple
from obscale.sandbox.cluster import Cluster, Server, Zone
from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.coordination import (
    POLL_PAUSE_SECONDS,
    POLL_TIMES,
    coordinate_undo,
    follow_local_node,
    known_local_dag,
    open_gate,
    unreachable_text,
)
from obscale.sandbox.dags.dag import Step, StepFailed, Work
from obscale.sandbox.dags.local_scale_out import create_local_dag
from obscale.sandbox.dags.mishaps import exposed
from obscale.sandbox.ids import join_address
from obscale.sandbox.units import delete_server, fill_up

LOWEST_PORT: Final = 1025
HIGHEST_PORT: Final = 65535
FINISH_LOOKS: Final = 30
FINISH_PAUSE_SECONDS: Final = 1.0
NEW_ZONE_REGION: Final = "default_region"
UNQUOTED_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
"""What the SQL parser takes for a name without quotes: DELETE ZONE writes it without."""
CALL_LIFETIME_SECONDS: Final = 10.0
DEFAULT_SQL_PORT: Final = "2881"
DEFAULT_RPC_PORT: Final = "2882"
MYSQL_FAILURE_TEXTS: Final = {
    "Add new zone for scale_out": "add zone {zone} failed: Error 4012: Timeout",
    "Start new zone for scale_out": "start zone {zone} failed: Error 4012: Timeout",
    "Add server for scale_out": "add server {server} failed: Error 4012: Timeout",
    "Add agent for scale_out": "Error 1062 (23000): Duplicate entry '{agent}' for key 'PRIMARY'",
}


def _integrate(scene: Scene) -> Work:
    if card := scene.draw("fail_stage", scene.stage):
        if card.text:
            # Beside the ports, this stage asks the database for the cluster's name.
            raise scene.failure("MySQL.Error", f"MySQL error: {card.text}")
        raise _bad_port(scene, "x")
    facts = scene.facts
    configs: dict[str, str] = dict(facts["obConfigs"])
    for legacy, name in (("mysqlPort", "mysql_port"), ("rpcPort", "rpc_port")):
        old = configs.pop(legacy, "")
        configs[name] = configs.get(name) or old
    configs["mysql_port"] = configs["mysql_port"] or DEFAULT_SQL_PORT
    configs["rpc_port"] = configs["rpc_port"] or DEFAULT_RPC_PORT
    for name in ("mysql_port", "rpc_port"):
        text = configs[name]
        number = int(text) if text.isascii() and text.isdigit() else 0
        if not LOWEST_PORT <= number <= HIGHEST_PORT:
            raise _bad_port(scene, text)
    home = scene.target.home
    configs["data_dir"] = configs.get("data_dir") or f"{home}/store"
    configs["redo_dir"] = configs.get("redo_dir") or configs["data_dir"]
    configs["clog_dir"] = configs.get("clog_dir") or f"{configs['redo_dir']}/clog"
    configs["slog_dir"] = configs.get("slog_dir") or f"{configs['data_dir']}/slog"
    configs |= {
        "homePath": home,
        "zone": facts["zone"],
        "cluster": scene.cluster.name,
        "cluster_id": str(scene.cluster.id),
    }
    configs.pop("rootPwd", None)
    facts["configs"] = configs
    yield from ()


def _bad_port(scene: Scene, text: str) -> StepFailed:
    return scene.failure(
        "Common.InvalidPort",
        f"fill port failed: The port '{text}' is invalid, must be in [1024, 65535]",
    )


def _create_local(scene: Scene) -> Work:
    target = scene.target
    # Executed a second time, the sub task does not know what the first one made.
    scene.facts.pop("local", None)
    card = scene.draw("fail_stage", scene.stage)
    if target.down or target.silent or card is not None:
        yield 0.0 if target.down or card else 180.0
        why = (card and card.text) or unreachable_text(scene)
        raise scene.failure(
            "Agent.RPC.RequestFailed",
            "send scale out rpc to target agent failed: Request [POST]"
            f"{target.address} to /rpc/v1/ob/scale_out failed: {why}",
        )
    if refusal := _refusal_of_target(scene):
        raise scene.failure(
            "Agent.RPC.RequestError",
            "send scale out rpc to target agent failed: Request [POST]/rpc/v1/ob/scale_out to "
            f"{target.address} error: {refusal}",
        )
    if version_tuple(target.version) < version_tuple(scene.task.agent.version):
        number = scene.task.agent.version.partition("-")[0]
        scene.log(f"create local scale out dag, target version: {number}")
    local = create_local_dag(scene)
    if scene.draw("orphan_local_dag") is not None:
        raise scene.failure(
            "Agent.RPC.RequestFailed",
            "send scale out rpc to target agent failed: Request [POST]"
            f"{target.address} to /rpc/v1/ob/scale_out failed: EOF",
        )
    scene.facts["local"] = local
    scene.log(f"create local scale out dag success, genericID:{local.generic_id()}")


def _refusal_of_target(scene: Scene) -> str:
    """Why the joining agent refuses the call, empty when it does not."""
    target = scene.target
    if target.agent_password and scene.facts["targetAgentPassword"] != target.agent_password:
        return "Unauthorized: Agent password is incorrect"
    ahead = target.clock_offset_seconds - scene.task.agent.clock_offset_seconds
    if target.agent_password and ahead > CALL_LIFETIME_SECONDS:
        return "Unauthorized: Authentication expired"
    if target.identity != SINGLE:
        if target.agent_password:
            return (
                f"'{target.address}' is '{target.identity}', instead of 'CLUSTER AGENT', "
                "does not support this operation"
            )
        return (
            "Unauthorized: Should use oceanbase_password to verify: "
            "agent password is not initialized"
        )
    for dag in target.dags:
        if dag.is_unfinished:
            held = f"DAG [{dag.generic_id()}:{dag.name}]"
            return f"agent {target.address} is under maintenance by {held}"
    return ""


def _wait_ready(scene: Scene) -> Work:
    local = known_local_dag(scene)
    if card := scene.draw("fail_stage", scene.stage):
        raise scene.failure(
            "Task.RemoteTask.Failed",
            card.text
            or f"wait scaling out ready failed: Remote task {local.generic_id()} "
            "Local scale out failed",
        )
    for _ in range(POLL_TIMES):
        if scene.target.down or scene.target.silent:
            message = f"get remote dag failed: {unreachable_text(scene)}"
            scene.log(f"{scene.failure('Agent.RPC.RequestFailed', message)}")
        elif local.nodes[0].state == "SUCCEED":
            scene.log("local scale out dag task Be scaling agent is succeed")
            return
        elif local.state == "FAILED" or local.operator == "ROLLBACK":
            raise scene.failure(
                "Task.RemoteTask.Failed",
                f"wait scaling out ready failed: Remote task {local.generic_id()} "
                "Local scale out failed",
            )
        yield POLL_PAUSE_SECONDS
    raise scene.failure("OB.Cluster.AsyncOperationTimeout", "wait scaling out ready timeout")


def _wait_deploy(scene: Scene) -> Work:
    yield from open_gate(scene, 2, "wait remote deploy task finish timeout")
    yield from follow_local_node(scene, 3, "wait remote deploy task finish timeout")


def _wait_start(scene: Scene) -> Work:
    timeout_text = "wait remote start observer task finish timeout"
    yield from open_gate(scene, 4, timeout_text)
    yield from follow_local_node(scene, 5, timeout_text)


def _check_zone(scene: Scene) -> Work:
    scene.log("PrevCheckTask execute")
    exists = scene.cluster.zone(scene.facts["zone"]) is not None
    card = scene.draw("fail_stage", scene.stage)
    if card is not None or exists != scene.facts["zone_existed"]:
        text = (card and card.text) or "Unexpected error: zone has been changed"
        raise scene.failure("Common.Unexpected", text)
    yield from ()


def _add_zone(scene: Scene) -> Work:
    scene.log("AddZoneTask execute")
    _let_database_fail(scene)
    name = scene.facts["zone"]
    if scene.cluster.zone(name) is not None:
        raise scene.failure(
            "MySQL.Error",
            f"MySQL error: add zone {name} failed: Error 4017: zone already exist",
        )
    scene.cluster.zones.append(Zone(name, NEW_ZONE_REGION, active=False))
    yield from ()


def _delete_zone(scene: Scene) -> Work:
    yield from coordinate_undo(scene)
    cluster, name = scene.cluster, scene.facts["zone"]
    if any(server.zone == name for server in cluster.servers):
        raise scene.failure(
            "MySQL.Error",
            f"MySQL error: delete zone {name} failed: Error 4668: The zone is not empty",
        )
    if not UNQUOTED_NAME.fullmatch(name):
        raise scene.failure(
            "MySQL.Error",
            f"MySQL error: delete zone {name} failed: Error 1064 (42000): You have an error in "
            "your SQL syntax",
        )
    cluster.zones = [zone for zone in cluster.zones if zone.name != name]


def _start_zone(scene: Scene) -> Work:
    scene.log("StartZoneTask execute")
    _let_database_fail(scene)
    _set_zone(scene.cluster, scene.facts["zone"], active=True)
    yield from ()


def _stop_zone(scene: Scene) -> Work:
    yield from coordinate_undo(scene)
    _set_zone(scene.cluster, scene.facts["zone"], active=False)


def _set_zone(cluster: Cluster, name: str, *, active: bool) -> None:
    zone = cluster.zone(name)
    if zone is not None:
        zone.active = active


def _add_server(scene: Scene) -> Work:
    scene.log("AddServerTask execute")
    _let_database_fail(scene)
    cluster, target = scene.cluster, scene.target
    # As above: its rollback deletes only a server whose success was noted.
    scene.facts.pop("server", None)
    if target.observer is None or not target.observer.alive:
        raise scene.failure(
            "MySQL.Error",
            f"MySQL error: add server {_server_text(scene)} failed: Error 4070: "
            "server is not alive",
        )
    if cluster.zone(scene.facts["zone"]) is None:
        raise scene.failure(
            "MySQL.Error",
            f"MySQL error: add server {_server_text(scene)} failed: Error 4018: zone not exist",
        )
    if cluster.server_at(target.ip, target.observer.rpc_port) is not None:
        raise scene.failure(
            "MySQL.Error",
            f"MySQL error: add server {_server_text(scene)} failed: Error 4142: "
            "Server already exist",
        )
    zone = cluster.zone(scene.facts["zone"])
    if zone is not None and not zone.active:
        raise scene.failure(
            "MySQL.Error",
            f"MySQL error: add server {_server_text(scene)} failed: Error 4179: "
            "zone is not active, add server not allowed",
        )
    highest = max((server.id for server in cluster.servers), default=0)
    scene.facts["server"] = server = Server(
        id=highest + 1,
        zone=scene.facts["zone"],
        agent=target,
        observer=target.observer,
        serves_from=None,
    )
    cluster.servers.append(server)
    fill_up(scene.world, cluster, server)
    for name, value in cluster.config.parameters.items():
        if name in target.observer.values and name not in scene.facts["configs"]:
            target.observer.values[name] = value
    yield from ()


def _delete_server(scene: Scene) -> Work:
    yield from coordinate_undo(scene)
    server = scene.facts.pop("server", None)
    if server is not None and server in scene.cluster.servers and not server.deleting:
        # DELETE SERVER is asynchronous: the row stays DELETING until the server is gone.
        delete_server(scene.world, scene.cluster, server)


def _add_agent(scene: Scene) -> Work:
    _let_database_fail(scene)
    if scene.target in scene.cluster.agents:
        raise scene.failure(
            "MySQL.Error",
            f"MySQL error: Error 1062 (23000): Duplicate entry '{scene.target.address}' "
            "for key 'PRIMARY'",
        )
    scene.cluster.agents.append(scene.target)
    yield from ()


def _delete_agent(scene: Scene) -> Work:
    yield from coordinate_undo(scene)
    if scene.target in scene.cluster.agents:
        scene.cluster.agents.remove(scene.target)


def _check_finished(scene: Scene) -> Work:
    scene.log("FinishTask execute")
    card = scene.draw("fail_stage", scene.stage)
    for _ in range(FINISH_LOOKS):
        target = scene.target
        answers = not (target.down or target.silent) and card is None
        if answers and target.identity == CLUSTER_AGENT:
            server = scene.facts["server"]
            late = scene.draw("slow_service")
            usual = scene.world.config.service_start_delay_seconds
            server.serves_from = scene.now + ((late and late.seconds) or usual)
            server.clock_offset_seconds = server.agent.clock_offset_seconds
            return
        if target.down or target.silent:
            scene.log(f"WARN: send info api to {target.address} failed")
        yield FINISH_PAUSE_SECONDS
    raise scene.failure(
        "Common.Unexpected",
        (card and card.text) or "Unexpected error: agent has not been cluster agent",
    )


def _let_database_fail(scene: Scene) -> None:
    card = scene.draw("fail_stage", scene.stage)
    if card is None:
        return
    name = " ".join(scene.node.step.name.split())
    text = card.text or MYSQL_FAILURE_TEXTS[name].format(
        zone=scene.facts["zone"], server=_server_text(scene), agent=scene.target.address
    )
    raise scene.failure("MySQL.Error", f"MySQL error: {text}")


def _server_text(scene: Scene) -> str:
    return join_address(scene.target.ip, scene.facts["configs"]["rpc_port"])


def _nothing(_scene: Scene) -> Work:
    yield from ()


_STEPS: Final = (
    Step("Integrate server config", _integrate, _nothing),
    Step("Create local scale out dag", _create_local, coordinate_undo),
    Step("Wait scale out ready", _wait_ready, coordinate_undo),
    Step("Wait remote deploy finish", _wait_deploy, coordinate_undo),
    Step("Wait remote start finish", _wait_start, coordinate_undo),
    Step("Prev check for scale_out", _check_zone, coordinate_undo),
)
_ZONE_STEPS: Final = (
    Step("Add new zone for scale_out", _add_zone, _delete_zone),
    Step("Start new zone for scale_out", _start_zone, _stop_zone),
)
_LAST_STEPS: Final = (
    Step("Add server for scale_out", _add_server, _delete_server),
    Step("Add agent for scale_out", _add_agent, _delete_agent),
    Step("Check cluster scale_out whether finished", _check_finished, coordinate_undo),
)
_TWO_BLANKS: Final = ("Add new zone", "Start new zone", "Add agent")


def scale_out_steps(*, new_zone: bool, old_names: bool) -> tuple[Step, ...]:
    """The nine nodes for an existing zone, eleven for a new one."""
    zone_steps = _ZONE_STEPS if new_zone else ()
    steps = tuple(exposed(step) for step in (*_STEPS, *zone_steps, *_LAST_STEPS))
    if not old_names:
        return steps
    return tuple(
        Step(step.name.replace(" for", "  for"), step.run, step.rollback)
        if step.name.startswith(_TWO_BLANKS)
        else step
        for step in steps
    )
