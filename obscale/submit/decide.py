"""Decides before a POST: adopt a DAG that runs, begin one, or wait.

A DAG is ours by its target, never by its name alone: obshell shows no parameters of a DAG, so the
target is read from what its second node logged, or from the main DAG the target itself names.
Sources: ob/agent/executor/ob/scale_out.go, ob/agent/engine/task/task_dto.go, obshell 4.5.0.0.
"""

from dataclasses import dataclass

from obscale.agent.models import AgentInfo, Dag, Identity, ObInfo
from obscale.cleaning import way_out_of
from obscale.maintenance_lock import lock_of
from obscale.request.models import NodeSpec
from obscale.scale_out_dag import is_scale_out_of, is_undecided, target_of


@dataclass(frozen=True)
class Candidates:
    """What stands in the cluster and at the target at this moment.

    Args:
        target: `/info` of the target; a text says why it could not be read.
        target_dag: The target's newest local DAG; None: none, or not readable.
        last_dag: The cluster's newest maintenance DAG, with details; None: never one.
        unfinished: The cluster's unfinished DAGs, with details.
        members: `/ob/info` of the cluster.
        passed: Further scale-outs since a POST, ended and followed by other DAGs, with details.
    """

    target: AgentInfo | str
    target_dag: Dag | None
    last_dag: Dag | None
    unfinished: tuple[Dag, ...]
    members: ObInfo
    passed: tuple[Dag, ...] = ()


@dataclass(frozen=True)
class Post:
    """Nothing stands in the way: post, and remember `baseline`, the newest DAG's number."""

    baseline: int


@dataclass(frozen=True)
class Adopt:
    """A DAG of this target exists: follow it, also where it is FAILED."""

    dag_id: str
    why: str


@dataclass(frozen=True)
class AlreadyMember:
    """The node is in this cluster and zone: nothing to submit, but to verify."""

    why: str


@dataclass(frozen=True)
class WaitForLock:
    """Another DAG is known to be in the way.

    Args:
        owner: Its name, with the agent where it is a local one.
        dag_id: As obshell handed it out.
        undecided: It may still turn out to be ours: a scale-out that has not named its target yet,
            which takes it some seconds. Worth waiting for even where locks are not.
    """

    owner: str
    dag_id: str
    undecided: bool = False


@dataclass(frozen=True)
class Refuse:
    """The target cannot be scaled out into this cluster."""

    reason: str
    hint: str


@dataclass(frozen=True)
class KeepLooking:
    """Not settled yet: the lost request may still arrive, or has not named its target yet."""


@dataclass(frozen=True)
class PostAgain:
    """The lost request can no longer arrive and left nothing: begin anew, by looking."""


Submission = Post | Adopt | AlreadyMember | WaitForLock | Refuse


def decide_submission(sighting: Candidates, node: NodeSpec) -> Submission:  # noqa: PLR0911 - one return for each answer
    """Decide what is to be done for a node, from one sighting.

    A DAG of which nobody can tell whether it holds the lock is no reason to wait: obshell refuses
    the POST where it does, and creates nothing.

    Args:
        sighting: As complete as it could be read.
        node: What is asked for.
    """
    ours = _ours(sighting, node)
    unfinished = next((dag for dag in ours if dag in sighting.unfinished), None)
    if unfinished is not None:
        return Adopt(
            unfinished.id, f"an unfinished scale-out of this target: {_stands(unfinished)}"
        )
    if isinstance(sighting.target, str):
        return Refuse(
            f"the target agent {node.address} does not answer: {sighting.target}",
            "start obshell on the target, or open its port",
        )
    if sighting.target.identity is Identity.CLUSTER_AGENT:
        return _member_or_not(sighting, node)
    lock = lock_of(sighting.unfinished)
    done = next((dag for dag in ours if dag.is_done), None)
    if sighting.target.identity is Identity.SCALING_OUT:
        if done is not None:
            return Adopt(done.id, "the scale-out of this target, just finished")
        return _half_way(sighting, node, lock)
    if sighting.target.identity is not Identity.SINGLE:
        return Refuse(
            f"the target agent {node.address} is {sighting.target.identity.value!r}, not 'SINGLE'",
            way_out_of(sighting.target),
        )
    if lock is not None:
        return _wait_for(lock)
    if _is_busy(sighting.target_dag):
        assert sighting.target_dag is not None  # noqa: S101 - _is_busy(None) is False
        return _wait_for_local(sighting.target_dag, node)
    return Post(sighting.last_dag.dag_id if sighting.last_dag else 0)


def decide_cluster(sighting: Candidates, name: str | None, number: int | None) -> Refuse | None:
    """Refuse a sighting of another cluster than the one that was meant; None: it is the right one.

    An entry agent that was silent during preflight may answer for the others now.

    Args:
        sighting: As read.
        name: The cluster's name, None: any.
        number: Its id, None: any.
    """
    told = sighting.members.obcluster_info
    if not told.name or (name in (None, told.name) and number in (None, told.id)):
        return None
    return Refuse(
        f"the agent that answers now is of cluster {told.name}/{told.id}, not of "
        f"{name or told.name}/{number or told.id}",
        "name agents of one cluster as endpoints",
    )


def decide_after_lost_answer(
    sighting: Candidates, node: NodeSpec, *, baseline: int, expired: bool
) -> Adopt | AlreadyMember | KeepLooking | PostAgain:
    """Decide whether a POST without an answer was carried out.

    Args:
        sighting: Read after the POST.
        node: What was asked for.
        baseline: Number of the newest DAG before the POST.
        expired: Whether the request can no longer arrive or still be at work before its DAG is
            created.
    """
    ours = [dag for dag in _ours(sighting, node) if dag.dag_id > baseline]
    if ours:
        return Adopt(
            ours[0].id, "the DAG of the lost answer: newer than before, and of this target"
        )
    if (
        not isinstance(sighting.target, str)
        and sighting.target.identity is Identity.CLUSTER_AGENT
        and isinstance(decision := _member_or_not(sighting, node), AlreadyMember)
    ):
        return decision
    newer = [dag for dag in _seen(sighting) if dag.dag_id > baseline]
    if any(is_undecided(dag) for dag in newer):
        return KeepLooking()
    return PostAgain() if expired else KeepLooking()


def _ours(sighting: Candidates, node: NodeSpec) -> list[Dag]:
    """The scale-outs of this target among the DAGs in sight, the newest first."""
    return [
        dag for dag in _seen(sighting) if is_scale_out_of(dag, node.address, sighting.target_dag)
    ]


def _seen(sighting: Candidates) -> list[Dag]:
    dags = (sighting.last_dag, *sighting.unfinished, *sighting.passed)
    seen = {dag.id: dag for dag in dags if dag is not None}
    return sorted(seen.values(), key=lambda dag: -dag.dag_id)


def _member_or_not(sighting: Candidates, node: NodeSpec) -> AlreadyMember | Refuse:
    row = next((row for row in sighting.members.agent_info if row.address == node.address), None)
    if row is None:
        return Refuse(
            f"the target agent {node.address} is a member of another cluster",
            "choose an agent that belongs to no cluster, or scale it in there first",
        )
    if row.zone != node.zone:
        return Refuse(
            f"{node.address} is in this cluster already, in zone {row.zone!r}, not {node.zone!r}",
            "correct the zone, or scale the node in first",
        )
    return AlreadyMember(f"{node.address} is listed as {row.identity.value} in zone {row.zone}")


def _half_way(sighting: Candidates, node: NodeSpec, lock: Dag | None) -> Submission:
    """The target is SCALING OUT, but no DAG of the cluster in sight is its own."""
    if lock is not None and is_undecided(lock):
        return _wait_for(lock)
    local = sighting.target_dag
    if local is not None and not local.is_terminal:
        return _wait_for_local(local, node)
    main = f" of main DAG {local.additional_data.get('main_dag_id')}" if local else ""
    return Refuse(
        f"the target agent {node.address} is 'SCALING OUT'{main}, which is no unfinished "
        "scale-out of this cluster",
        "roll back its local DAG first: GET /api/v1/task/dag/maintain/agent on the target names it",
    )


def _wait_for(dag: Dag) -> WaitForLock:
    target = target_of(dag)
    owner = f"{dag.name} of {target}" if target else dag.name
    return WaitForLock(owner, dag.id, undecided=is_undecided(dag))


def _wait_for_local(dag: Dag, node: NodeSpec) -> WaitForLock:
    return WaitForLock(f"{dag.name} on {node.address}", dag.id, undecided=not dag.is_terminal)


def _is_busy(local: Dag | None) -> bool:
    """Whether a target that is SINGLE still has a local DAG at work, e.g. cleaning up."""
    return local is not None and not local.is_terminal


def _stands(dag: Dag) -> str:
    state = f"{dag.state.value}/{dag.operator.value}"
    return f"DAG {dag.id} stands {state} at stage {dag.stage}/{dag.max_stage}"
