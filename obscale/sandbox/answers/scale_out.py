"""The checks of `POST /api/v1/ob/scale_out`, in obshell's order.

The checks stand in obshell's order; the first failure is returned and nothing is created.
Source: ob/agent/api/obcluster_handler.go, ob/agent/executor/ob/scale_out.go, 4.5.0.0.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from obscale.sandbox.agents import SINGLE, Agent, version_tuple
from obscale.sandbox.answers.lock import check_lock_for
from obscale.sandbox.cluster import Cluster
from obscale.sandbox.dags.cluster_scale_out import DEFAULT_RPC_PORT, scale_out_steps
from obscale.sandbox.dags.dag import GLOBAL_MAINTENANCE
from obscale.sandbox.dags.local_scale_out import MAIN_NAME
from obscale.sandbox.errors import Refusal, no_database, not_supported, wrong_type
from obscale.sandbox.ids import join_address
from obscale.sandbox.request import Call, bind_failed, require

LOWEST_UPGRADABLE: Final = (4, 2, 4, 1)
"""Oldest obshell a cluster upgrades by itself when it joins."""
FORM: Final = "ClusterScaleOutParam.ScaleOutParam"
AGENT_INFO: Final = "AgentInfo.ScaleOutParam.agentInfo"
"""How Go calls the fields of a request."""
GO_NAMES: Final = {str: "string", int: "int", dict: "map[string]string"}
LEGACY_NAMES: Final = (("mysql_port", "mysqlPort"), ("rpc_port", "rpcPort"))


@dataclass(frozen=True)
class Order:
    """The request, bound."""

    ip: str
    port: int
    zone: str
    configs: dict[str, str]
    target_password: str


def scale_out(call: Call) -> dict[str, Any]:
    """Check the request and create its DAG; answers the DAG without nodes."""
    order = _bind(call)
    try:
        return _scale_out(call, order)
    except Refusal as refusal:
        raise refusal.with_data(None) from None


def _scale_out(call: Call, order: Order) -> dict[str, Any]:
    agent = call.agent
    cluster = call.own_cluster()
    target = _reach(call, order)
    if target.identity != SINGLE:
        raise not_supported(target, target.identity, SINGLE)
    if agent.has("obVersion") and agent.ob_version != target.binary_version():
        raise Refusal(
            400,
            "Agent.OB.Version.Inconsistent",
            f"OB version is not consistent between {target.address}({target.binary_version()}) "
            f"and {agent.address}({agent.ob_version})",
        )
    if agent.has("agent versions compared"):
        _compare_agents(agent, target)
    if agent.has("obVersion"):
        _check_legacy_names(order.configs)
    if agent.has("rpc port checked"):
        _check_rpc_port(order.configs)
    if not agent.has_database:
        raise no_database(agent)
    if agent.has("members refused"):
        _check_not_member(cluster, order)
    zone_existed = cluster.zone(order.zone) is not None
    check_lock_for(agent, cluster, MAIN_NAME)
    dag = call.world.create_dag(
        MAIN_NAME,
        scale_out_steps(new_zone=not zone_existed, old_names=not agent.has("obVersion")),
        executor=agent,
        maintenance_type=GLOBAL_MAINTENANCE,
        cluster=cluster,
    )
    dag.facts |= {
        "cluster": cluster,
        "target": target,
        "zone": order.zone,
        "zone_existed": zone_existed,
        "obConfigs": order.configs,
        "targetAgentPassword": order.target_password,
    }
    return call.printer.created(dag)


def _bind(call: Call) -> Order:
    body = call.json_body()
    info = _typed(body, "agentInfo", dict, {})
    info = {str(name).lower(): value for name, value in info.items()}
    ip = _typed(info, "ip", str, "", AGENT_INFO)
    port = _typed(info, "port", int, 0, AGENT_INFO)
    zone = _typed(body, "zone", str, "")
    configs = _typed(body, "obConfigs", dict, None)
    for value in (configs or {}).values():
        if not isinstance(value, str):
            raise bind_failed(wrong_type(value, f"{FORM}.obConfigs", "string"))
    require(
        FORM,
        {
            "AgentInfo.Ip": ip,
            "AgentInfo.Port": port,
            "ObConfigs": configs is not None,
            "Zone": zone,
        },
    )
    return Order(ip, port, zone, configs or {}, _typed(body, "targetAgentPassword", str, ""))


def _typed(fields: dict[str, Any], name: str, kind: type, default: Any, form: str = FORM) -> Any:
    """A field of that JSON type, `default` where it is absent or null; names ignore the case."""
    value = fields.get(name.lower())
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise bind_failed(wrong_type(value, f"{form}.{name}", GO_NAMES[kind]))
    return value


def _reach(call: Call, order: Order) -> Agent:
    address = join_address(order.ip, order.port)
    try:
        target = call.world.find(str(ip_address(order.ip)), order.port)
    except ValueError:
        target = None
    if target is None or target.down or target.silent:
        scheme = "https" if call.world.config.tls else "http"
        reason = "i/o timeout" if target and target.silent else "connect: connection refused"
        raise Refusal(
            500,
            "Agent.RPC.RequestFailed",
            f"get {address} status failed: Request [GET]{address} to /api/v1/info failed: "
            f'Get "{scheme}://{address}/api/v1/info": dial tcp {address}: {reason}',
        )
    return target


def _compare_agents(agent: Agent, target: Agent) -> None:
    mine, theirs = version_tuple(agent.version), version_tuple(target.version)
    if theirs > mine:
        raise Refusal(
            400,
            "OB.Cluster.ScaleOutHigherVersion",
            f"Scaling out a higher version agent {target.address}({_short(target)}) "
            f"into cluster agent {agent.address}({_short(agent)}) is not allowed",
        )
    if theirs < mine and theirs < LOWEST_UPGRADABLE:
        raise Refusal(
            400,
            "OB.Cluster.ScaleOutLowerVersion",
            f"Scaling out a lower version agent({_short(target)} before 4.2.4.1) "
            f"into cluster agent({_short(agent)}) is not allowed",
        )


def _short(agent: Agent) -> str:
    return agent.version.partition("-")[0]


def _check_legacy_names(configs: dict[str, str]) -> None:
    for name, legacy in LEGACY_NAMES:
        new, old = configs.get(name), configs.get(legacy)
        if new and old and new != old:
            raise Refusal(
                400,
                "Common.IllegalArgument",
                "The input parameter 'observerConfig' is illegal: "
                f"You cannot set both {name} and {legacy}, use {name} instead.",
            )


def _check_rpc_port(configs: dict[str, str]) -> None:
    text = configs.get("rpc_port")
    if text is None:
        return
    try:
        int(text)
    except ValueError:
        raise Refusal(
            400, "Common.InvalidPort", f"The port '{text}' is invalid, must be in [1024, 65535]"
        ) from None


def _check_not_member(cluster: Cluster, order: Order) -> None:
    text = order.configs.get("rpc_port") or DEFAULT_RPC_PORT
    if cluster.server_at(order.ip, int(text)) is not None:
        raise Refusal(
            500,
            "Agent.AlreadyExists",
            f"Agent {join_address(order.ip, int(text))} already exists in cluster",
        )
