"""Is a scale-out of this target under way, done, or free to be begun: what may submit do?

obshell takes no idempotency key and shows no DAG's parameters, so a DAG is ours only by its target: the local
DAG's id in node 2's log, the main DAG's id on the joining agent, or the address in a failed call's log. Never by
name alone. Sources: ob/agent/executor/ob/scale_out.go and ob/agent/engine/task/task_dto.go, 4.5.0.0.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from obscale.agent.models import AgentInfo, Dag, Identity, ListedAgent, State, joined_address

SCALE_OUT: Final = "Cluster scale out"
LOCAL_SCALE_OUT: Final = "Local scale out"
LOCKING_TYPES: Final = {2, 3}
"""maintenance_type global and tenant; both exclude a scale-out. Before 4.3.1.0 it is not told."""
_V4 = re.compile(r"([24])(\d{10})(\d{5})(\d+)")
_V6 = re.compile(r"([35])(\d{39})(\d{5})(\d+)")
_CREATED = re.compile(r"genericID:(\d+)")
_CALLED = re.compile(r"to (\[[0-9a-fA-F:.]+\]:\d+|[0-9.]+:\d+) (?:error|failed)")


@dataclass(frozen=True)
class GenericId:
    """An id as obshell hands it out: `agent` is empty for a task of the cluster."""

    agent: str
    number: int


@dataclass(frozen=True)
class Sighting:
    """What can be seen of a target and of the cluster's DAGs at one moment.

    Args:
        target: `ip:port` of the agent that is to join.
        target_info: Its `/info`; None when it does not answer.
        target_dag: Its newest local DAG, with details; None when it has none or does not say.
        last_dag: The cluster's newest maintenance DAG, with details.
        unfinished: The cluster's unfinished DAGs, with details. A FAILED one is unfinished.
        members: The cluster's agents.
    """

    target: str
    target_info: AgentInfo | None
    target_dag: Dag | None
    last_dag: Dag | None
    unfinished: tuple[Dag, ...]
    members: tuple[ListedAgent, ...]


@dataclass(frozen=True)
class Post:
    """Nothing stands in the way; `baseline` is the number of the newest DAG before."""

    baseline: int


@dataclass(frozen=True)
class Adopt:
    """A DAG of this target exists: follow it."""

    dag_id: str
    why: str


@dataclass(frozen=True)
class AlreadyMember:
    """The node is in this cluster and zone: verify it."""

    why: str


@dataclass(frozen=True)
class WaitForLock:
    """Somebody else's DAG holds the cluster's lock."""

    dag_id: str
    owner: str
    state: State


@dataclass(frozen=True)
class LookAgain:
    """Cannot be told yet: a young DAG has not named its target."""

    dag_id: str
    why: str


@dataclass(frozen=True)
class Refuse:
    """Nothing may be posted, and waiting does not help."""

    reason: str
    hint: str


@dataclass(frozen=True)
class PostAgain:
    """The lost request can no longer arrive and left no trace."""


Submission = Post | Adopt | AlreadyMember | WaitForLock | LookAgain | Refuse
AfterLoss = Adopt | AlreadyMember | LookAgain | PostAgain


def decode_generic_id(text: str) -> GenericId:
    """Take an id apart for correlation; it stays opaque for everything else.

    Raises:
        ValueError: It has none of obshell's layouts.
    """
    if re.fullmatch(r"1\d+", text):
        return GenericId("", int(text[1:]))
    if match := _V4.fullmatch(text):
        return GenericId(_address(ipaddress.IPv4Address, match), int(match[4]))
    if match := _V6.fullmatch(text):
        return GenericId(_address(ipaddress.IPv6Address, match), int(match[4]))
    raise ValueError(f"{text!r} is no generic id")


def target_of(dag: Dag) -> str:
    """Name the agent a scale-out DAG adds, `ip:port`; empty while its logs do not tell."""
    for log in _logs(dag):
        if match := _CREATED.search(log):
            try:
                return decode_generic_id(match[1]).agent
            except ValueError:
                continue
    # A failed call names the target too; only node 2 calls it before the local DAG exists.
    for log in _logs(dag):
        if "/rpc/v1/ob/scale_out" in log and (match := _CALLED.search(log)):
            return match[1]
    return ""


def holds_lock(dag: Dag) -> bool:
    """Whether an unfinished cluster DAG excludes a scale-out."""
    kind_locks = dag.maintenance_type is None or dag.maintenance_type in LOCKING_TYPES
    return kind_locks and dag.state is not State.SUCCEED


def is_scale_out_of(dag: Dag, target: str, local: Dag | None) -> bool:
    """Whether a cluster DAG adds a target: by the DAG's own log, or by the target's word.

    Args:
        dag: The cluster DAG, with details.
        target: `ip:port` of the agent.
        local: The target's newest local DAG.
    """
    if dag.name != SCALE_OUT:
        return False
    if named := target_of(dag):
        return named == target
    return main_dag_of(local) == dag.id


def main_dag_of(local: Dag | None) -> str:
    """Give the id of the cluster DAG a local scale-out belongs to; empty when it is none."""
    if local is None or local.name != LOCAL_SCALE_OUT:
        return ""
    return str(local.additional_data.get("main_dag_id", ""))


def decide_submission(sighting: Sighting, zone: str) -> Submission:
    """Decide what submit may do. A pure function of what was seen; it needs no memory.

    Args:
        sighting: Target and DAGs at this moment.
        zone: The zone asked for.
    """
    for dag in sighting.unfinished:
        if is_scale_out_of(dag, sighting.target, sighting.target_dag):
            how = "stands FAILED" if dag.is_failed else f"is {dag.state}"
            return Adopt(dag.id, f"a scale-out of {sighting.target} {how}")
    if membership := _membership(sighting, zone):
        return membership
    for dag in sighting.unfinished:
        if not holds_lock(dag):
            continue
        if _is_unnamed(dag):
            return LookAgain(dag.id, "a young scale-out has not named its target yet")
        return WaitForLock(dag.id, _owner(dag), dag.state)
    return _judge_identity(sighting)


def decide_after_lost_answer(
    sighting: Sighting, zone: str, *, baseline: int, expired: bool
) -> AfterLoss:
    """Decide what a POST whose answer was lost has done.

    Args:
        sighting: What is seen now.
        zone: The zone asked for.
        baseline: Number of the newest DAG before the POST.
        expired: Whether the lost request can no longer arrive or still be at work.
    """
    seen = [*sighting.unfinished, *([sighting.last_dag] if sighting.last_dag else [])]
    newer = [dag for dag in seen if dag.dag_id > baseline and dag.name == SCALE_OUT]
    for dag in newer:
        if is_scale_out_of(dag, sighting.target, sighting.target_dag):
            return Adopt(dag.id, "found after its answer was lost")
    membership = _membership(sighting, zone)
    if isinstance(membership, AlreadyMember):
        return membership
    for dag in newer:
        if _is_unnamed(dag):
            return LookAgain(dag.id, "a young scale-out has not named its target yet")
    if expired:
        return PostAgain()
    return LookAgain("", "the lost request may still arrive")


def _membership(sighting: Sighting, zone: str) -> AlreadyMember | Refuse | None:
    info = sighting.target_info
    listed = next((row for row in sighting.members if row.address == sighting.target), None)
    if info is None or info.identity is not Identity.CLUSTER_AGENT:
        return None
    if listed is None:
        return Refuse(
            f"{sighting.target} is a CLUSTER AGENT, but not of this cluster",
            "look which cluster it belongs to; choose another target",
        )
    if listed.zone != zone:
        return Refuse(
            f"{sighting.target} is a member already, in {listed.zone}, not in {zone}",
            f"ask for {listed.zone}, or choose another target",
        )
    return AlreadyMember(f"{sighting.target} is a CLUSTER AGENT of this cluster in {zone}")


def _judge_identity(sighting: Sighting) -> Post | Refuse:
    info = sighting.target_info
    if info is None:
        return Refuse(f"{sighting.target} does not answer", "start obshell on the target")
    if info.identity is not Identity.SINGLE:
        main = main_dag_of(sighting.target_dag)
        of_dag = f", its local DAG belongs to cluster DAG {main}" if main else ""
        return Refuse(
            f"{sighting.target} is {info.identity.value}, not SINGLE{of_dag}",
            "finish or roll back what it is part of; see its local DAG",
        )
    return Post(sighting.last_dag.dag_id if sighting.last_dag else 0)


def _is_unnamed(dag: Dag) -> bool:
    """Whether a running scale-out has yet to name its target. A FAILED one never will."""
    return dag.name == SCALE_OUT and not dag.is_terminal and not target_of(dag)


def _owner(dag: Dag) -> str:
    target = target_of(dag) if dag.name == SCALE_OUT else ""
    return f"{dag.name} of {target}" if target else dag.name


def _logs(dag: Dag) -> Iterable[str]:
    return (log for node in dag.nodes for task in node.sub_tasks for log in task.task_logs)


def _address(
    family: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], match: re.Match[str]
) -> str:
    return joined_address(str(family(int(match[2]))), int(match[3]))
