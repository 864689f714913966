"""Decides before a PATCH: take up a DAG that runs, send one, or wait; and after a lost answer.

obshell takes no key and a DAG shows no parameters: whose it is says its tenant, what it brings the
tenant's stored number and the DAG's log. OceanBase stores the number when its job begins.
"""

from dataclasses import dataclass

from obscale.agent.models import Dag, ObInfo
from obscale.agent.resources import Tenant
from obscale.maintenance_lock import TENANT_MAINTENANCE, holds_lock
from obscale.request.use import Use
from obscale.submit.decide import KeepLooking, PostAgain
from obscale.use.facts import unit_num_of, zones_of
from obscale.use.tenant_dag import is_of_tenant, modifies, number_of


@dataclass(frozen=True)
class Sighting:
    """What stands in the cluster at this moment.

    Args:
        tenant: As stored.
        unfinished: The cluster's unfinished DAGs, with details.
        newest: The cluster's newest DAG that took a lock; None: never one.
        ended: DAGs that changed this tenant and are over, with details, oldest first; those newer
            than the number that was asked for alone.
        members: `/ob/info` of the cluster.
    """

    tenant: Tenant
    unfinished: tuple[Dag, ...]
    newest: Dag | None
    ended: tuple[Dag, ...]
    members: ObInfo

    @property
    def newest_number(self) -> int:
        """Number of the newest DAG that is known; 0: none."""
        known = [*self.unfinished, *self.ended, *([self.newest] if self.newest else [])]
        return max((dag.dag_id for dag in known), default=0)


@dataclass(frozen=True)
class Send:
    """Nothing stands in the way: send it, and remember `baseline`, the newest DAG's number."""

    baseline: int
    zones: tuple[str, ...]


@dataclass(frozen=True)
class Adopt:
    """A DAG brings this very number: follow it, or take its end."""

    dag: Dag
    why: str


@dataclass(frozen=True)
class AlreadyStored:
    """The number is stored, and no DAG that brings it is known."""

    why: str


@dataclass(frozen=True)
class Wait:
    """Another DAG is in the way.

    Args:
        what: It, in words.
        undecided: It is this tenant's and has not said its number yet: it may be our own.
    """

    what: str
    undecided: bool = False


@dataclass(frozen=True)
class Refuse:
    """The tenant cannot be changed so."""

    reason: str
    hint: str


Submission = Send | Adopt | AlreadyStored | Wait | Refuse


def decide_use(sighting: Sighting, order: Use) -> Submission:  # noqa: PLR0911 - one return for each answer
    """Decide what is to be done for a tenant, from one sighting."""
    pools, wanted = sighting.tenant.pools, order.unit_num
    running = [
        dag
        for dag in sighting.unfinished
        if not dag.is_terminal and is_of_tenant(dag, order.tenant)
    ]
    for dag in running:
        number = number_of(dag) if modifies(dag, order.tenant) else None
        if number == wanted:
            return Adopt(dag, f"a DAG that brings unit_num {wanted} is at work")
        said = f"DAG {dag.id} {dag.name!r} of this tenant is at work"
        may_be_ours = modifies(dag, order.tenant) and number is None
        return Wait(said, undecided=may_be_ours)
    stored = unit_num_of(pools)
    if stored is None:
        return Refuse(
            f"the pools of tenant {order.tenant} have different numbers of units, or it has none",
            "change it with SQL",
        )
    if stored == wanted:
        done = [dag for dag in sighting.ended if dag.is_done and number_of(dag) == wanted]
        if done:
            return Adopt(done[-1], f"it has brought unit_num {wanted}")
        return AlreadyStored(f"unit_num {wanted} is stored already")
    if lock := _lock_of(sighting.unfinished):
        return Wait(f"DAG {lock.id} {lock.name!r} holds the lock")
    return Send(sighting.newest_number, zones_of(pools))


def decide_after_lost_answer(
    sighting: Sighting, order: Use, *, baseline: int, expired: bool
) -> Adopt | AlreadyStored | KeepLooking | PostAgain:
    """Decide whether a PATCH without an answer was carried out.

    Args:
        sighting: Read after it.
        order: What was asked for.
        baseline: Number of the newest DAG before it.
        expired: Whether the request can no longer arrive or still be at work before its DAG is
            created.
    """
    known = (*sighting.unfinished, *sighting.ended)
    ours = [d for d in known if modifies(d, order.tenant) and d.dag_id > baseline]
    told = [dag for dag in ours if number_of(dag) == order.unit_num]
    if told:
        newest = max(told, key=lambda dag: dag.dag_id)
        return Adopt(newest, "begun by the PATCH whose answer was lost")
    nameless = [dag for dag in ours if number_of(dag) is None]
    failed = [dag for dag in nameless if dag.is_failed]
    if failed:
        # Refused before it said its number; nothing tells it from somebody else's, and nobody
        # else's is known.
        return Adopt(max(failed, key=lambda dag: dag.dag_id), "begun after the PATCH was sent")
    if any(not dag.is_terminal for dag in nameless):
        return KeepLooking()
    if unit_num_of(sighting.tenant.pools) == order.unit_num and expired:
        return AlreadyStored(f"unit_num {order.unit_num} is stored")
    return PostAgain() if expired else KeepLooking()


def decide_cluster(sighting: Sighting, name: str | None, number: int | None) -> Refuse | None:
    """Refuse a sighting of another cluster than the one that was meant; None: it is the right one.

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


def _lock_of(unfinished: tuple[Dag, ...]) -> Dag | None:
    """Give the newest DAG that keeps everybody out; those of other tenants keep nobody else out."""
    holding = [
        dag
        for dag in unfinished
        if holds_lock(dag)
        and not (dag.maintenance_type == TENANT_MAINTENANCE and dag.maintenance_key)
    ]
    return max(holding, key=lambda dag: dag.dag_id, default=None)
