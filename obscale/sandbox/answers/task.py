"""The answers of the task endpoints.

Source: ob/agent/api/task_handler.go, ob/agent/executor/task/{dag,node,sub_task}.go, 4.5.0.0.
"""

from typing import Any, Final

from obscale.sandbox.agents import CLUSTER_AGENT, SCALING_OUT, Agent
from obscale.sandbox.dags.dag import Dag, Node, SubTask
from obscale.sandbox.dags.engine import order_retry, order_rollback
from obscale.sandbox.errors import Panic, Refusal, no_database, task_not_shown, unexpected
from obscale.sandbox.request import NO_DATA, Call, bind_failed

OPERATORS: Final = {"ROLLBACK": "Rollback", "RETRY": "Retry", "CANCEL": "Cancel", "PASS": "Pass"}


def dag(call: Call) -> dict[str, Any]:
    """`GET /task/dag/{id}`: the one lookup that other agents answer where this has no database."""
    agent = call.agent
    store, number = _find_store(call, forwards=True)
    try:
        details = call.show_details
        return call.printer.dag(_find_dag(store, number), details=details)
    except (Panic, Refusal):
        is_the_clusters = agent.cluster is not None and store is agent.cluster.dags
        if is_the_clusters and agent.identity == CLUSTER_AGENT and not agent.has_database:
            # It asked the others in vain, and tells its own trouble.
            raise task_not_shown(agent) from None
        raise


def operate_dag(call: Call) -> Any:
    """`POST /task/dag/{id}`: 200 means accepted, nothing has happened yet."""
    operator = _operator(call)
    store, number = _find_store(call)
    found = _find_dag(store, number)
    if operator not in OPERATORS:
        raise Refusal(
            400, "Task.Dag.Operator.NotSupport", f"Dag operator '{operator}' is not supported"
        )
    prefix = f"Task.Dag.Operator.{OPERATORS[operator]}"
    if operator == "CANCEL":
        if not found.is_active:
            raise Refusal(400, f"{prefix}FinishedDag", f"Dag {found.generic_id()} is finished")
    elif found.state != "FAILED":
        raise Refusal(400, f"{prefix}NotFailedDag", f"Dag {found.generic_id()} is not failed")
    else:
        _take_lock_again(call.agent, found)
    match operator:
        case "ROLLBACK":
            order_rollback(found)
        case "RETRY":
            order_retry(found)
        case _:
            # No node of a scale-out can be cancelled or passed.
            raise Refusal(
                400,
                f"{prefix}NotAllowed",
                f"Dag {found.generic_id()} contains a node that cannot {operator.lower()}",
            )
    return NO_DATA


def _take_lock_again(agent: Agent, dag: Dag) -> None:
    """A DAG that gave the lock up when it failed needs it anew, to go on as well as to go back."""
    holder = agent.cluster.lock_holder if agent.cluster and dag.owner is None else None
    if holder is not None and not dag.holds_lock:
        raise Refusal(
            500,
            "OB.Cluster.UnderMaintenanceWithDag",
            f"Operate dag failed: OceanBase cluster is under maintenance by DAG: {holder.name}, "
            "please try again later",
        )


def node(call: Call) -> dict[str, Any]:
    """`GET /task/node/{id}`; `show_details=false` panics, a bug obshell has kept."""
    owner, found = _find_node(call)
    if not call.show_details:
        raise Panic("nil sub tasks")
    return call.printer.node(owner, found)


def operate_node(call: Call) -> Any:
    """`POST /task/node/{id}`: only PASS, and no node of a scale-out can be passed."""
    operator = _operator(call)
    prefix = "Task.Node.Operator."
    owner, found = _find_node(call)
    if operator != "PASS":
        raise Refusal(400, f"{prefix}NotSupport", f"Node operator '{operator}' is not supported")
    if owner.state != "FAILED":
        raise Refusal(400, f"{prefix}PassNotFailedDag", f"Dag {owner.generic_id()} is not failed")
    name = owner.generic_id(found.number)
    if found.state != "FAILED":
        raise Refusal(400, f"{prefix}PassNotFailedNode", f"Node {name} is not failed")
    raise Refusal(400, f"{prefix}PassNotAllowed", f"Node {name} cannot pass")


def sub_task(call: Call) -> dict[str, Any]:
    """`GET /task/sub_task/{id}`."""
    owner, found = _find_sub_task(call)
    return call.printer.sub_task(owner, found)


def sub_task_logs(call: Call) -> list[dict[str, Any]]:
    """`GET /task/sub_task/{id}/logs`: full log rows."""
    try:
        return call.printer.logs(_find_sub_task(call)[1])
    except Refusal as refusal:
        if refusal.code == "Task.NotFound":
            raise
        # This handler does not say that it was a task it could not look up.
        raise no_database(call.agent) from None


def unfinished(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dag/unfinish`: local ones of all reachable agents, then those of the cluster."""
    if call.agent.identity == SCALING_OUT:
        raise Refusal(
            500, "Agent.Identify.Unknown", f"Unknown agent identity: {call.agent.identity}"
        ).with_data({"contents": None})
    found = [dag for agent in _reachable(call) for dag in agent.dags]
    if call.agent.identity == CLUSTER_AGENT and call.agent.cluster and call.agent.has_database:
        found += call.agent.cluster.dags
    return _print_all(call, [dag for dag in found if dag.is_unfinished])


def unfinished_of_cluster(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dag/ob/unfinish`."""
    return _print_all(call, [dag for dag in _cluster_dags(call) if dag.is_unfinished])


def unfinished_of_agent(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dag/agent/unfinish`."""
    return _print_all(call, [dag for dag in call.agent.dags if dag.is_unfinished])


def dags_of_cluster(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dags/ob`."""
    return _print_all(call, _cluster_dags(call))


def dags_of_agent(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dags/agent`."""
    return _print_all(call, call.agent.dags)


def maintenance_of_cluster(call: Call) -> dict[str, Any]:
    """`GET /task/dag/maintain/ob`: the newest DAG that holds or held the lock."""
    agent = call.agent
    if not agent.has_database or agent.cluster is None:
        raise no_database(agent)
    dags = agent.cluster.dags
    if not dags:
        raise Refusal(404, "Task.NotFound", "Task not found: Cluster is not under maintenance")
    return call.printer.dag(dags[-1], details=call.show_details)


def maintenance_of_agent(call: Call) -> dict[str, Any]:
    """`GET /task/dag/maintain/agent`: the same for this agent's local DAGs."""
    if not call.agent.dags:
        raise Refusal(404, "Task.NotFound", "Task not found: Agent is not under maintenance")
    return call.printer.dag(call.agent.dags[-1], details=call.show_details)


def maintenance_of_agents(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dag/maintain/agents`: the last local DAG of every reachable agent."""
    if not call.agent.dags:
        raise Panic("nil dag")
    return [call.printer.dag(agent.dags[-1]) for agent in _reachable(call) if agent.dags]


def main_dags(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dag/agent/main_dags`: main DAGs of last local DAGs that did not succeed."""
    if not call.agent.dags:
        raise Panic("nil dag")
    found = [
        agent.dags[-1].facts["main"]
        for agent in _reachable(call)
        if agent.dags and agent.dags[-1].state != "SUCCEED" and "main" in agent.dags[-1].facts
    ]
    return [call.printer.dag(each) for each in found]


def _print_all(call: Call, dags: list[Dag]) -> list[dict[str, Any]]:
    details = call.show_details
    return [call.printer.dag(each, details=details) for each in dags]


def _reachable(call: Call) -> list[Agent]:
    """This agent first, then those of its cluster that answer."""
    cluster = call.agent.cluster if call.agent.identity == CLUSTER_AGENT else None
    others = cluster.agents if cluster else []
    return [call.agent] + [
        other for other in others if other is not call.agent and not (other.down or other.silent)
    ]


def _cluster_dags(call: Call) -> list[Dag]:
    agent = call.agent
    if agent.identity != CLUSTER_AGENT or agent.cluster is None:
        # The handler forgets to answer.
        raise unexpected("ocsagent cannot build response body")
    if not agent.has_database:
        raise no_database(agent).with_data({"contents": None})
    return agent.cluster.dags


def _find_store(call: Call, *, forwards: bool = False) -> tuple[list[Dag], int]:
    """The DAGs among which an id is to be looked up, and its number there."""
    parsed = call.id_of(call.names["id"])
    if parsed.obproxy:
        raise _not_found()
    if parsed.ip is None:
        found = _asked_of_others(call, parsed.number) if forwards else _own_store(call)
        return found, parsed.number
    owner = call.world.find(parsed.ip, parsed.port)
    if owner is None or owner.down or owner.silent:
        address = f"{parsed.ip}:{parsed.port}"
        raise Refusal(
            500,
            "Common.Unexpected",
            f'Get "http://{address}/rpc/v1/task/dag/{call.names["id"]}": '
            f"dial tcp {address}: connect: connection refused",
        )
    return owner.dags, parsed.number


def _own_store(call: Call) -> list[Dag]:
    """The cluster's DAGs as this agent's own database has them."""
    agent = call.agent
    if not agent.has_database or agent.cluster is None:
        raise task_not_shown(agent)
    return agent.cluster.dags


def _asked_of_others(call: Call, number: int) -> list[Dag]:
    """The cluster's DAGs, from another agent's database where this one has none."""
    agent = call.agent
    cluster = call.member_of()
    if cluster is None:
        raise task_not_shown(agent)
    if agent.identity == SCALING_OUT:
        main = agent.dags[-1].facts.get("main") if agent.dags else None
        if main is None or main.number != number:
            raise unexpected("coordinate cluster agent is not found or not match")
        return cluster.dags
    asked = [agent, *(other for other in cluster.agents if other is not agent)]
    if not any(each.has_database and not (each.down or each.silent) for each in asked):
        raise task_not_shown(agent)
    return cluster.dags


def _find_dag(store: list[Dag], number: int) -> Dag:
    for each in store:
        if each.number == number:
            return each
    raise _not_found()


def _find_node(call: Call) -> tuple[Dag, Node]:
    store, number = _find_store(call)
    for each in store:
        for candidate in each.nodes:
            if candidate.number == number:
                return each, candidate
    raise _not_found()


def _find_sub_task(call: Call) -> tuple[Dag, SubTask]:
    store, number = _find_store(call)
    for each in store:
        for candidate in each.nodes:
            if candidate.sub_task.number == number:
                return each, candidate.sub_task
    raise _not_found()


def _operator(call: Call) -> str:
    operator = call.json_body().get("operator")
    if not isinstance(operator, str) or not operator:
        raise bind_failed(
            "Key: 'DagOperator.Operator' Error:Field validation for 'Operator' "
            "failed on the 'required' tag"
        )
    return operator.upper()


def _not_found() -> Refusal:
    return Refusal(404, "Task.NotFound", "Task not found: record not found")
