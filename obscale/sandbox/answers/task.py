"""The answers of the task endpoints.

Source: ob/agent/api/task_handler.go, ob/agent/executor/task/{dag,node,sub_task}.go, 4.5.0.0.
"""

from typing import Any

from obscale.sandbox.agents import CLUSTER_AGENT, SCALING_OUT, SINGLE, Agent
from obscale.sandbox.answers.lock import check_lock
from obscale.sandbox.auth import wants_agent_password
from obscale.sandbox.dags.dag import Dag, Node, SubTask
from obscale.sandbox.dags.engine import order_rerun, pass_node
from obscale.sandbox.dags.operators import (
    OPERATORS,
    PREFIX,
    OperatorRefused,
    carry_out,
    check_operator,
)
from obscale.sandbox.errors import (
    ABSENT,
    NO_DATABASE_CODES,
    Panic,
    Refusal,
    no_database,
    task_not_shown,
    unexpected,
)
from obscale.sandbox.ids import join_address
from obscale.sandbox.request import NO_DATA, NO_LIST, Call, require


def dag(call: Call) -> dict[str, Any]:
    """`GET /task/dag/{id}`: the one lookup that other agents answer where this has no database."""
    agent = call.agent
    store, number = _find_store(call, forwards=True)
    try:
        found = _find_dag(call, store, number)
        return call.printer.dag(found, details=call.show_details)
    except (Panic, Refusal):
        is_the_clusters = agent.cluster is not None and store is agent.cluster.dags
        if is_the_clusters and agent.identity == CLUSTER_AGENT and not agent.has_database:
            # It asked the others in vain, and tells its own trouble.
            raise task_not_shown(agent) from None
        raise


def operate_dag(call: Call) -> Any:
    """`POST /task/dag/{id}`: 200 means accepted, nothing has happened yet."""
    call.id_of(call.names["id"])
    operator = _operator(call)
    store, number = _find_store(call)
    found = _find_dag(call, store, number)
    word = operator.upper()
    if word not in OPERATORS:
        raise Refusal(400, f"{PREFIX}NotSupport", f"Operator {operator} is not supported")
    try:
        check_operator(found, word)
    except OperatorRefused as refused:
        raise Refusal(refused.status, refused.code, refused.message) from None
    if word in ("RETRY", "ROLLBACK"):
        _take_lock_again(call.agent, found)
    carry_out(found, word, _now(call, found))
    return NO_DATA


def _take_lock_again(agent: Agent, dag: Dag) -> None:
    """A DAG that gave the lock up when it failed needs it anew, to go on as well as to go back."""
    if agent.cluster is None or dag.owner is not None or dag.holds_lock:
        return
    key = dag.facts.get("maintenance_key", "")
    check_lock(agent.cluster, key, "Operate dag failed: ")
    others = [each for each in agent.cluster.dags if each.facts.get("maintenance_key") == key]
    if key and others[-1] is not dag:
        newest = others[-1].generic_id()
        raise Refusal(
            500,
            "Task.Expired",
            f"{key} has already executed task {newest}. '{dag.generic_id()}: {dag.name}' "
            "cannot be executed. Please submit a new request",
        )


def _now(call: Call, dag: Dag) -> float:
    """What the clock of whoever schedules a DAG shows."""
    return call.world.wall_of(dag.owner or call.agent, call.world.engine.now)


def node(call: Call) -> dict[str, Any]:
    """`GET /task/node/{id}`; `show_details=false` panics, a bug obshell has kept."""
    owner, found = _find_node(call)
    if not call.show_details:
        raise Panic("nil sub tasks")
    return call.printer.node(owner, found)


def operate_node(call: Call) -> Any:
    """`POST /task/node/{id}`: only PASS; what comes after the node is then executed."""
    call.id_of(call.names["id"])
    operator = _operator(call)
    prefix = "Task.Node.Operator."
    if operator.upper() != "PASS":
        raise Refusal(400, f"{prefix}NotSupport", f"Operator {operator} is not supported")
    owner, found = _find_node(call)
    failed = "Failed to pass node:"
    if owner.state != "FAILED":
        raise Refusal(400, f"{prefix}PassNotFailedDag", f"{failed} assigned DAG is not failed")
    name = found.step.name
    if found.state != "FAILED":
        raise Refusal(400, f"{prefix}PassNotFailedNode", f"{failed} node {name} is not failed")
    if not found.step.can_pass:
        raise Refusal(400, f"{prefix}PassNotAllowed", f"{failed} node {name} cannot pass")
    _take_lock_again(call.agent, owner)
    pass_node(found, _now(call, owner))
    order_rerun(owner)
    return NO_DATA


def sub_task(call: Call) -> dict[str, Any]:
    """`GET /task/sub_task/{id}`."""
    owner, found = _find_sub_task(call)
    return call.printer.sub_task(owner, found)


def sub_task_logs(call: Call) -> list[dict[str, Any]]:
    """`GET /task/sub_task/{id}/logs`: full log rows; none of a sub task that does not exist."""
    try:
        return call.printer.logs(_find_sub_task(call)[1])
    except Refusal as refusal:
        if refusal.code == "Task.NotFound":
            return []
        if refusal.code in NO_DATABASE_CODES:
            # This handler does not say that it was a task it could not look up.
            raise no_database(call.agent) from None
        raise


def unfinished(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dag/unfinish`: local ones of all reachable agents, then those of the cluster."""
    agent = call.agent
    if agent.identity == SINGLE:
        return unfinished_of_agent(call)
    if agent.identity != CLUSTER_AGENT or agent.cluster is None:
        raise Refusal(500, "Agent.Identify.Unknown", f"Agent identify is unknown: {agent.identity}")
    answering = [each for each in agent.cluster.agents if each in _reachable(call)]
    found = [dag for each in answering for dag in each.dags]
    if agent.has_database:
        found += agent.cluster.dags
    printed = _print_all(call, [dag for dag in found if dag.is_unfinished])
    return printed or NO_LIST


def unfinished_of_cluster(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dag/ob/unfinish`."""
    dags = _cluster_dags(call, {"contents": None})
    return _print_all(call, [dag for dag in dags if dag.is_unfinished])


def unfinished_of_agent(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dag/agent/unfinish`."""
    return _print_all(call, [dag for dag in call.agent.dags if dag.is_unfinished])


def dags_of_cluster(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dags/ob`."""
    dags = _cluster_dags(call)
    return _print_all(call, dags) if dags else []


def dags_of_agent(call: Call) -> list[dict[str, Any]]:
    """`GET /task/dags/agent`."""
    return _print_all(call, call.agent.dags) if call.agent.dags else []


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


def _cluster_dags(call: Call, data: Any = ABSENT) -> list[Dag]:
    """The cluster's DAGs; `data` stands beside the refusal of an agent without a database."""
    agent = call.agent
    if agent.identity != CLUSTER_AGENT or agent.cluster is None:
        # The handler forgets to answer.
        raise unexpected("ocsagent cannot build response body")
    if not agent.has_database:
        raise no_database(agent).with_data(data)
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
        address = join_address(parsed.ip, parsed.port)
        raise Refusal(
            500,
            "Common.Unexpected",
            f'Get "http://{address}/rpc/v1/task/dag/{call.names["id"]}": '
            f"dial tcp {address}: connect: connection refused",
        )
    if owner is not call.agent and owner.agent_password and owner.identity == SINGLE:
        # It is asked with what the others know of it: no password of its own.
        raise wants_agent_password()
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


def _find_dag(call: Call, store: list[Dag], number: int) -> Dag:
    for each in store:
        if each.number == number:
            if each.generic_id() != call.names["id"]:
                raise Refusal(404, "Task.NotFound", "Task not found: dag id not match")
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
    operator = call.text("operator")
    require("DagOperator", {"Operator": operator})
    return operator


def _not_found() -> Refusal:
    return Refusal(404, "Task.NotFound", "Task not found: record not found")
