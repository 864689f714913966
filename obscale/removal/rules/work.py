"""Rules about who is at work in the cluster, and when a removal should not begin.

Sources: obshell ob/agent/service/task/status_maintainer.go and ob/agent/executor/ob/scale_in.go,
4.5.0.0.
"""

from collections.abc import Sequence
from typing import Final

from obscale.agent.models import Dag
from obscale.maintenance_lock import Lock, lock_held_by
from obscale.preflight.finding import (
    Verdict,
    blocks,
    not_applicable,
    notes,
    passes,
    unknown,
    warns_always,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.rules.cluster import named
from obscale.preflight.rules.cluster_mode import duty_window, upgrade_mode
from obscale.preflight.rules.versions import ob_version_cluster_uniform
from obscale.reading import Unread
from obscale.removal.facts import DELETING, RemovalFacts
from obscale.removal.rules.shared import verdict_of


@rule(
    "rm-lock",
    "no unfinished DAG holds the cluster's maintenance lock",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    only_new=False,
    softens=True,
    source="ob/agent/service/task/status_maintainer.go, 4.5.0.0",
)
def rm_lock(facts: RemovalFacts) -> Verdict:
    """Listed as unfinished are DAGs too that failed and gave it up: those are told, and no more."""
    dags, needed = facts.cluster.unfinished, "no holder"
    if isinstance(dags, Unread):
        return unknown(dags, needed)
    own = facts.own_dag()
    holders = [dag for dag in dags if lock_held_by(dag) is Lock.HOLDS]
    if own is not None and holders == [own] and not own.is_failed:
        return notes(named(own), needed, "it is this removal's own and will be adopted")
    if holders:
        return blocks(", ".join(map(named, holders)), needed, _way_out(facts, holders))
    if doubtful := [dag for dag in dags if lock_held_by(dag) is Lock.UNKNOWN]:
        return warns_always(
            f"{', '.join(map(named, doubtful))}: whether it holds the lock cannot be told",
            needed,
            "go on: where it does, obshell refuses the request and creates nothing; or have "
            f"DAG {', '.join(dag.id for dag in doubtful)} retried or rolled back by its owner",
        )
    if dags:
        return warns_always(
            f"{', '.join(map(named, dags))}: it holds no lock",
            needed,
            "a node can be removed beside it; its owner may retry or roll it back at any time",
        )
    return passes("free", needed)


def _way_out(facts: RemovalFacts, holders: Sequence[Dag]) -> str:
    if (own := facts.own_dag()) is not None and own.is_failed:
        cluster = facts.order.cluster if isinstance(facts.order.cluster, str) else "SPEC"
        return (
            f"it is an earlier removal of {facts.subject}: obscale recover {cluster} {own.id} "
            "says what can be done about it; RETRY goes on with it"
        )
    if (young := facts.young_removal()) is not None and young in holders:
        return "it does not name whom it removes yet: look again in some seconds"
    if stuck := [dag.id for dag in holders if dag.is_failed]:
        return (
            f"have DAG {', '.join(stuck)} retried or rolled back by its owner; it never ends itself"
        )
    return "wait for its end"


@rule(
    "rm-already-leaving",
    "nobody else is deleting the server",
    prod=WARN,
    lab=WARN,
    otherwise="",
    only_new=False,
    source="ob/agent/executor/ob/scale_in.go, 4.5.0.0: stage 1 skips what is DELETING",
)
def rm_already_leaving(facts: RemovalFacts) -> Verdict:
    """With a DAG that is ours it is adopted; without, somebody has given the statement by SQL."""
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology, "not DELETING")
    going = [s.ip for s in facts.leaving_servers() if s.inner_status == DELETING]
    own = facts.own_dag()
    if own is not None and not own.is_failed:
        return notes(
            f"{named(own)} removes it already", "not DELETING", "it is followed to its end"
        )
    if not going:
        return passes("not DELETING", "not DELETING")
    if own is not None:
        return not_applicable("of a removal that failed: see rm-lock")
    return warns_always(
        f"{', '.join(going)} DELETING, and no removal of obshell's: somebody's DELETE SERVER",
        "not DELETING",
        "ask who it was; a removal finishes it, and ends agent and observer as well",
    )


@rule(
    "rm-upgrade",
    "the cluster is not being upgraded",
    prod=BLOCK,
    lab=WARN,
    otherwise="the wait stage, which never ends",
    ground="B",
    source="OceanBase parameter enable_upgrade_mode: in a major upgrade no replica is copied",
)
def rm_upgrade(facts: RemovalFacts) -> Verdict:
    """By enable_upgrade_mode, and by the builds its servers run."""
    mode, builds = verdict_of(upgrade_mode, facts), verdict_of(ob_version_cluster_uniform, facts)
    return next(
        (each for each in (mode, builds) if each.kind == "fires"), _first_open(mode, builds)
    )


def _first_open(*verdicts: Verdict) -> Verdict:
    return next((each for each in verdicts if each.kind != "passes"), verdicts[0])


@rule(
    "rm-order",
    "nodes leave one after the other",
    prod=INFO,
    lab=INFO,
    otherwise="",
    source="obshell removes one node with one DAG; the next waits for its lock",
)
def rm_order(facts: RemovalFacts) -> Verdict:
    """The rules about units judge the cluster as it will be when all of them have left."""
    count = len(facts.nodes)
    if count <= 1:
        return not_applicable("one node leaves" if count else "a whole zone leaves")
    return notes(
        f"{count} nodes leave one after the other; judged with all of them gone",
        remedy="all rules are judged again before each",
    )


@rule(
    "rm-duty-window",
    "the daily merge is not near",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME load",
    source="OceanBase parameter major_freeze_duty_time",
)
def rm_duty_window(facts: RemovalFacts) -> Verdict:
    """By the time of day in the members' own time zone."""
    return verdict_of(duty_window, facts)


RULES: Final = (rm_lock, rm_already_leaving, rm_upgrade, rm_order, rm_duty_window)
