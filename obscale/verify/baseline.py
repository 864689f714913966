"""The record of a cluster before a scale-out's POST, and the choice among records.

What a scale-out has harmed can only be told by a look from before it. Of one DAG there is one such
look, however many attempts, runs and workers follow it: the one before its POST. So it is written
down before the POST, where every worker finds it, and it is known again by DAG numbers, which rise
with age: the newest DAG of the cluster had a smaller number then. Times only rule a record out
where they are told at all: after a RETRY or ROLLBACK obshell shows the epoch.
Source: ob/agent/engine/task/task_dto.go, 4.5.0.0.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from obscale.agent.models import Dag, HostInfo, Identity, ObInfo, Server, Stats, Zone
from obscale.request.models import NodeSpec
from obscale.scale_out_dag import LOCAL_SCALE_OUT, SCALE_OUT, is_hollow, is_scale_out_of
from obscale.submit.decide import Candidates
from obscale.verify.observation import NO_MOMENT, Before

LONGEST_BEFORE: Final = timedelta(hours=6)
"""A DAG that began later than this after a look was not begun by the POST that followed it: a lost
request arrives within minutes. The rest is for clocks that disagree."""
LONGEST_AFTER: Final = timedelta(hours=1)
"""So far the clocks of a worker and a database may be apart before a look is later than a DAG."""


class Baseline(BaseModel):
    """How cluster and target stood before one POST, and who sent it. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    """`name/id` as the cluster itself says; what a request calls it may be anything."""
    target: str
    """`ip:port`."""
    zone: str
    newest_dag: int
    """Number of the cluster's newest DAG then; 0: it had none."""
    at: datetime
    """When it was looked, on the clock of the machine that looked; aware."""
    dag_id: str | None = None
    """The DAG the POST has begun; None: not known, its answer was lost or never came."""
    run_id: str = ""
    run_name: str = ""
    attempt: int = 0
    """Of the flow run."""
    asked_by: str = ""
    zones: tuple[Zone, ...] = ()
    totals: Stats | None = None
    host: HostInfo | None = None
    judged: dict[str, str] = Field(default_factory=dict)
    """How preflight judged what the verification asks again, in words by the id of its rule."""

    @property
    def before(self) -> Before:
        """Give the view of before."""
        return Before(self.zones, self.totals, self.host, self.at, self.judged)


def identity_of(known: ObInfo) -> str:
    """Give `name/id` of a cluster as it says itself; `/0` where it says nothing."""
    told = known.obcluster_info
    return f"{told.name}/{told.id}"


def compact(zones: Iterable[Zone]) -> tuple[Zone, ...]:
    """Give a topology without what no later step compares: a cluster may have hundreds of servers.

    Kept are states, times, the root service and what each server offers.
    """
    return tuple(
        Zone(
            name=zone.name,
            region_name=zone.region_name,
            inner_status=zone.inner_status,
            root_server=zone.root_server,
            servers=tuple(_compact(server) for server in zone.servers),
        )
        for zone in zones
    )


def _compact(server: Server) -> Server:
    return Server(
        ip=server.ip,
        svr_port=server.svr_port,
        status=server.status,
        inner_status=server.inner_status,
        with_rootserver=server.with_rootserver,
        start_time=server.start_time,
        stop_time=server.stop_time,
        stats=server.stats,
    )


def baseline_of(
    records: Iterable[Baseline], *, cluster: str, node: NodeSpec, dag: Dag
) -> Baseline | None:
    """Give the look before the POST that began a DAG; None: what was before is not known.

    Args:
        records: In any order, also of other clusters and targets.
        cluster: As `identity_of` gives it.
        node: Whose DAG it is.
        dag: That carries its scale-out.
    """
    own = [row for row in of_node(records, cluster=cluster, node=node) if _is_older(row, dag)]
    named = [row for row in own if row.dag_id == dag.id]
    # An older one than the newest belongs to a POST before the newest one's, so to another DAG.
    nameless = [row for row in own[-1:] if row.dag_id is None and _may_be(row, dag)]
    # Of a cluster that was founded anew under its old name, numbers begin anew; and a DAG that was
    # retried long after tells a later time than that of its POST.
    by_time = [row for row in named if _may_be(row, dag)]
    return next(iter(by_time[-1:] or nameless or named[-1:]), None)


def of_node(records: Iterable[Baseline], *, cluster: str, node: NodeSpec) -> list[Baseline]:
    """Give the records of a node of a cluster, oldest first."""
    own = [
        row
        for row in records
        if (row.cluster, row.target, row.zone) == (cluster, node.address, node.zone)
    ]
    return sorted(own, key=lambda row: (row.newest_dag, row.at))


def _is_older(record: Baseline, dag: Dag) -> bool:
    """Whether a record was made before a DAG of the same cluster began, by the numbers of DAGs."""
    return record.newest_dag < dag.dag_id


def _may_be(record: Baseline, dag: Dag) -> bool:
    """Whether the DAG may have been begun by the POST after this record, by the times told."""
    began = dag.start_time
    if began is None or began.tzinfo is None or began <= NO_MOMENT:
        return True
    return began - LONGEST_BEFORE <= record.at <= began + LONGEST_AFTER


def dag_of_member(
    sighting: Candidates, node: NodeSpec, records: Sequence[Baseline] = ()
) -> str | None:
    """Name the DAG that has made a node a member; None: nobody tells.

    The DAGs in sight tell, or the target's own newest local DAG, which names its main DAG, or a
    record of the node. Whoever uses it reads that DAG and asks `carried_out`.

    Args:
        sighting: Of a node that is a member.
        node: It.
        records: Of this node and cluster only, oldest first.
    """
    seen = [dag for dag in (sighting.last_dag, *sighting.passed) if dag is not None]
    done = [dag for dag in seen if carried_out(dag, sighting, node)]
    if done:
        return max(done, key=lambda dag: dag.dag_id).id
    local = sighting.target_dag
    if local is not None and local.name == LOCAL_SCALE_OUT:
        main = str(local.additional_data.get("main_dag_id") or "")
        return main or None
    return next((row.dag_id for row in reversed(records) if row.dag_id), None)


def carried_out(dag: Dag, sighting: Candidates, node: NodeSpec) -> bool:
    """Whether a DAG, read with details, has added this node."""
    return (
        dag.is_done
        and not is_hollow(dag)
        and is_scale_out_of(dag, node.address, sighting.target_dag)
    )


def goes_on(dag: Dag, sighting: Candidates, node: NodeSpec) -> bool:
    """Whether a DAG that an attempt began is still the one to follow: its own, and not undone.

    Args:
        dag: Read with details.
        sighting: Of its node and cluster.
        node: What was asked for.
    """
    if dag.name != SCALE_OUT or not is_scale_out_of(dag, node.address, sighting.target_dag):
        return False
    newer = (sighting.last_dag, *sighting.unfinished)
    if any(
        other is not None
        and other.dag_id > dag.dag_id
        and is_scale_out_of(other, node.address, sighting.target_dag)
        for other in newer
    ):
        return False
    if not dag.is_terminal or dag.is_failed:
        return True
    # Undone, or scaled in again since: whoever tries it again begins anew.
    is_single = not isinstance(sighting.target, str) and sighting.target.identity is Identity.SINGLE
    return carried_out(dag, sighting, node) and not is_single
