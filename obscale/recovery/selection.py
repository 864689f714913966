"""Decides which of a cluster's scale-outs a request or an id means.

A scale-out is told by the target its DAG names (`obscale.recovery.case.subject_of`), never by being
the newest: with a request's file, only one of its own nodes is taken without being named.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from obscale.agent.models import Dag, Operator
from obscale.recovery.case import Case, subject_of
from obscale.recovery.consequences import Choice, Remedy
from obscale.recovery.diagnosis import Diagnosis, diagnose
from obscale.scale_out_dag import SCALE_OUT, is_undecided


@dataclass(frozen=True)
class Meant:
    """This one.

    Args:
        dag: Read with details.
        target: `ip:port` as the DAG names it; empty only for one named by its id that ended before
            it named a target.
    """

    dag: Dag
    target: str


@dataclass(frozen=True)
class LookAgain:
    """This one has just begun and does not name its target yet; it takes some seconds."""

    dag: Dag


@dataclass(frozen=True)
class NotMeant:
    """None may be taken without being named by its id.

    Args:
        why: What stands in the cluster instead.
        dag: The one that may be named; None: there is none.
    """

    why: str
    dag: Dag | None = None


Decision = Meant | LookAgain | NotMeant


def scale_outs(dags: Iterable[Dag | None]) -> tuple[Dag, ...]:
    """Give the scale-outs among the DAGs, each once, the newest first."""
    known = {dag.id: dag for dag in dags if dag is not None and dag.name == SCALE_OUT}
    return tuple(sorted(known.values(), key=lambda dag: -dag.dag_id))


def named_by_id(dag: Dag) -> Meant | LookAgain:
    """Take the scale-out somebody has named, once it tells whom it is about."""
    return LookAgain(dag) if is_undecided(dag) and not subject_of(dag) else _meant(dag)


def of_nodes(seen: Sequence[Dag], targets: frozenset[str], named: str) -> Decision:
    """Choose for the nodes of a request: an unfinished scale-out of theirs, else their newest.

    Args:
        seen: The scale-outs in sight, newest first.
        targets: `ip:port` of the request's nodes.
        named: What the request is called, for the refusal.
    """
    ours = [dag for dag in seen if subject_of(dag) in targets]
    if standing := next((dag for dag in ours if not dag.is_done and not dag.is_undone), None):
        return _meant(standing)
    # One that tells nothing may be of these nodes too, and what it does is not over.
    nameless = [dag for dag in seen if not subject_of(dag)]
    if young := next((dag for dag in nameless if is_undecided(dag)), None):
        return LookAgain(young)
    if nameless:
        return unnamed(nameless[0])
    if ours:
        return _meant(ours[0])
    if not seen:
        return NONE
    other = seen[0]
    return NotMeant(
        f"the scale-out that stands in the cluster, DAG {other.id}, is of {subject_of(other)}, "
        f"which is not in {named}",
        other,
    )


def of_cluster(seen: Sequence[Dag], *, unasked: bool) -> Decision:
    """Choose where only a cluster is named: its newest scale-out.

    Args:
        seen: The scale-outs in sight, newest first.
        unasked: Whether it is to be operated without anybody being asked about it. Then there must
            be no doubt: exactly one FAILED one, and it names its target.
    """
    if not seen:
        return NONE
    newest = seen[0]
    if not subject_of(newest):
        return LookAgain(newest) if is_undecided(newest) else unnamed(newest)
    if unasked:
        failed = [dag for dag in seen if dag.is_failed]
        if len(failed) != 1:
            return NotMeant(
                f"{len(failed) or 'no'} FAILED scale-outs stand in the cluster: what is operated "
                "without a question must be the only one",
                newest,
            )
        return _meant(failed[0])
    return _meant(newest)


def unnamed(dag: Dag) -> NotMeant:
    """Say that a scale-out does not tell whom it is about."""
    return NotMeant(
        f"the scale-out that stands in the cluster, DAG {dag.id} "
        f"({standing(dag)}), does not name its target",
        dag,
    )


def is_untouched(meant: Meant) -> bool:
    """Whether a scale-out failed before it called, or named, any node.

    Only its second stage calls the target, and whatever comes of that names it.
    Source: ob/agent/executor/ob/scale_out.go, 4.5.0.0.
    """
    return not meant.target and meant.dag.is_failed and meant.dag.stage == 1


def diagnose_untouched(dag: Dag) -> Diagnosis:
    """Diagnose a scale-out that failed before it called any node: it can be undone, and no more."""
    found = diagnose(Case(dag, target="", info="the DAG does not tell which node it is about"))
    back = Choice(
        operator=Remedy.ROLLBACK,
        safe=True,
        does="undoes stage 1 and frees the cluster's lock; no node was called yet",
    )
    again = Choice(
        operator=Remedy.RETRY,
        safe=False,
        does="repeats stage 1, then goes on",
        dead_end="nobody can tell which node it would go on to add",
    )
    left = (choice for choice in found.choices if choice.operator is Remedy.HAND_OVER)
    return found.model_copy(
        update={"choices": (again, back, *left), "recommended": Remedy.ROLLBACK}
    )


def standing(dag: Dag) -> str:
    """Say where a DAG stands, e.g. `FAILED at stage 5/9`; `undone` for one that was rolled back."""
    if dag.is_undone:
        return "rolled back"
    back = ", rolling back" if dag.operator is Operator.ROLLBACK else ""
    return f"{dag.state.value} at stage {dag.stage}/{dag.max_stage}{back}"


NONE = NotMeant("the cluster's newest DAG is no scale-out, and none is unfinished")


def _meant(dag: Dag) -> Meant:
    return Meant(dag, subject_of(dag))
