"""The report of a run: request, findings, deeds and proofs, as model and JSON."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from obscale.agent.models import Dag, Node, State, Zone, joined_address
from obscale.follow.progress import last_words_of
from obscale.preflight.capacity import Capacity
from obscale.preflight.disk_room import DiskRoom
from obscale.preflight.finding import Finding
from obscale.recovery.diagnosis import Diagnosis
from obscale.recovery.interrupted import InterruptedState
from obscale.request.file_name import NO_NAME
from obscale.request.renamed import with_new_names
from obscale.verify.levels import verdict_of
from obscale.verify.observation import NO_MOMENT, ProofLine

SCHEMA_VERSION = 1
"""Raised when a field of the JSON report changes its meaning or goes away."""


PERSIST_EXPLAINED: Final = (
    "These live as start options only, and other servers have other values. Run as root@sys to "
    "keep them for this server"
)

PIN_EXPLAINED: Final = "Or have them set and read back, asked first: obscale pin {}"


class Moment(BaseModel):
    """One entry of the timeline; `at` is this machine's clock, UTC."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    step: str
    text: str


class Decided(BaseModel):
    """What a person was asked during the run, and answered."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    about: Literal["approval", "recovery"]
    choice: str
    who: str
    why: str


class StageRow(BaseModel):
    """How one stage of the DAG ended."""

    model_config = ConfigDict(frozen=True)

    stage: int
    node: str
    state: str
    operator: str
    agent: str
    last_log: str
    """Why it FAILED, or that nobody knows any more; else its last line."""
    logs: tuple[str, ...] = ()
    """All lines of all its sub tasks, each as `ip:port: line`."""
    started_at: datetime | None = None
    """By the agent's clock; None: it has not begun, or the agent does not tell."""
    ended_at: datetime | None = None
    """Likewise; None also while it goes on."""


class ServerRow(BaseModel):
    """One observer of the cluster before or after."""

    model_config = ConfigDict(frozen=True)

    zone: str
    server: str
    status: str
    memory_bytes: int
    cpu: float
    cpu_used: float = 0.0
    memory_used_bytes: int = 0
    data_disk_bytes: int = 0
    """0: it has not reported, or this version does not tell; so of all that is told here."""
    data_disk_used_bytes: int = 0


class Posted(BaseModel):
    """Which attempt of which run has sent the POST, as it was kept before."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    run_id: str
    run_name: str
    attempt: int
    asked_by: str
    newest_dag: int
    """Number of the cluster's newest DAG before."""
    was_answered: bool = True
    """False: its answer was lost, and the DAG was told by its number and its target."""


class EarlierEnd(BaseModel):
    """How an earlier attempt of a run, or an earlier run of the same DAG, has ended."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    run_id: str
    run_name: str = ""
    attempt: int = 0
    asked_by: str = ""
    outcome: str
    level: str = "NONE"
    dag_id: str | None = None
    submitted_how: str = ""
    error_kind: str = ""
    error: str = ""

    @model_validator(mode="before")
    @classmethod
    def _as_stored_before(cls, data: Any) -> Any:
        return with_new_names(data, cls.model_fields)

    @property
    def words(self) -> str:
        """Say it in one line."""
        run = self.run_name or self.run_id
        attempt = f", attempt {self.attempt}" if self.attempt else ""
        why = f": {self.error}" if self.error else f" up to {self.level}"
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC, run {run}{attempt}: {self.outcome}{why}"


class PrefectForm(BaseModel):
    """A form in Prefect's UI that mends how a run ended. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    deployment: str
    """As Prefect names it, `flow/deployment`."""
    does: str
    """What a run of it does, in one line."""
    url: str = ""
    """Of the form, with what is known filled in; empty: where the UI is, is not known."""


class ScaleOutReport(BaseModel):
    """What was asked, what was found, what happened, and what stands now. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    outcome: Literal["verified", "blocked", "failed", "cancelled", "rolled-back", "half-done"]
    """`rolled-back`: the scale-out was undone, as this run was asked to do. `half-done`: of a
    replacement the new node is verified, and the old one still there."""
    operation: Literal["scale-out", "removal", "replacement"] = "scale-out"
    cluster: str
    target: str
    """`ip:port` of the agent; where a whole zone was removed the zone's name."""
    by: str = ""
    """Of a replacement `ip:port` of the agent that joins; `target` is the one that leaves."""
    halves: tuple["ScaleOutReport", ...] = ()
    """Of a replacement: how the new node was added, and how the old one was removed, as far as it
    came to that. What is told of one half alone stands there and not here."""
    zone: str
    obConfigs: dict[str, str]  # noqa: N815 - spelled as the API spells it
    verdict: str = ""
    findings: tuple[Finding, ...] = ()
    decisions: tuple[Decided, ...] = ()
    """By persons; what policies decided stands in the timeline."""
    dag_id: str | None = None
    submitted_how: str = ""
    stages: tuple[StageRow, ...] = ()
    diagnosis: Diagnosis | None = None
    """Of the last failure of the DAG, also where it was healed afterwards."""
    level: str = "NONE"
    exceptions: tuple[str, ...] = ()
    """Members that do not serve, and did not before the scale-out either."""
    proofs: tuple[ProofLine, ...] = ()
    persist_statements: tuple[str, ...] = ()
    """Statements that would keep for this server what a restart may take back."""
    host_steps: tuple[str, ...] = ()
    """Of a removal: commands that clean the host so that it can join again; nobody runs them."""
    undo: tuple[str, ...] = ()
    """Of a growth: the command that takes it back, and what that would do now, as comments."""
    before: tuple[ServerRow, ...] = ()
    after: tuple[ServerRow, ...] = ()
    capacity: Capacity | None = None
    """Of the cluster, as preflight saw and foresaw it; None: there was no preflight."""
    disk_rooms: tuple[DiskRoom, ...] = ()
    """Disks of the node that did not fit, or might not."""
    timeline: tuple[Moment, ...] = ()
    error_kind: str = ""
    error: str = ""
    next: str = ""
    """What the error says is to be done; `error` ends with it."""
    command_name: str = NO_NAME
    """How a command names the cluster: a stored connection's name, or the request's file."""
    again: str = ""
    """The command that runs the same request again; empty: none is known."""
    in_prefect: PrefectForm | None = None
    """What mends it from Prefect's UI; None: nothing is to be mended, or nothing is offered."""
    remains: InterruptedState | None = None
    """What stands in the cluster; only where the run ended before its DAG did."""
    told_cluster: str = ""
    """`name/id` as the cluster itself says; empty: it was not asked."""
    run_id: str = ""
    run_name: str = ""
    attempt: int = 0
    """Of the flow run, from 1; 0: no flow run."""
    asked_by: str = ""
    posted: Posted | None = None
    """None: nothing is known of the POST of this DAG."""
    before_at: datetime | None = None
    """When the view of before was taken; None: what was before is not known."""
    earlier: tuple[EarlierEnd, ...] = ()
    """Earlier attempts of this run, and earlier runs of the same DAG; oldest first."""

    @model_validator(mode="before")
    @classmethod
    def _as_stored_before(cls, data: Any) -> Any:
        return with_new_names(data, cls.model_fields)

    @property
    def verdict_reached(self) -> str:
        """The level in words, with what is excepted from it."""
        return verdict_of(self.level, self.exceptions)

    @property
    def follows(self) -> str:
        """Say which failed attempt a verified one follows; empty where there is none."""
        red = [end for end in self.earlier if end.outcome != "verified"]
        return red[-1].words if red and self.outcome == "verified" else ""


def stage_rows(dag: Dag | None, diagnosis: Diagnosis | None = None) -> tuple[StageRow, ...]:
    """Give one row per stage of a DAG read with details.

    Args:
        dag: None gives none.
        diagnosis: Of its failure; it may know a reason that the DAG itself has lost.
    """
    if dag is None:
        return ()
    rows = []
    for number, node in enumerate(dag.nodes, start=1):
        sub_task = node.sub_tasks[0] if node.sub_tasks else None
        agent = sub_task.execute_agent if sub_task else None
        started, ended = times_of(node)
        rows.append(
            StageRow(
                stage=number,
                node=node.title,
                state=node.state.value,
                operator=node.operator.value,
                agent=joined_address(agent.ip, agent.port) if agent else "",
                last_log=_last_words(dag, node, diagnosis),
                logs=_all_logs(node),
                started_at=started,
                ended_at=ended,
            )
        )
    return tuple(rows)


def times_of(node: Node) -> tuple[datetime | None, datetime | None]:
    """Give when a node began and ended by its agent's clock; never to judge by.

    A node that waits bears the time it was made at, one that runs ends when it began, and one that
    is told to go on or back begins in 1970.
    """
    begun = node.state in {State.RUNNING, State.SUCCEED, State.FAILED}
    started, ended = (
        at if begun and at is not None and at > NO_MOMENT else None
        for at in (node.start_time, node.end_time)
    )
    if started is None or node.state is State.RUNNING or (ended is not None and ended < started):
        ended = None
    return started, ended


def _last_words(dag: Dag, node: Node, diagnosis: Diagnosis | None) -> str:
    if diagnosis and node.state is State.FAILED and diagnosis.place.node == node.title:
        return diagnosis.reason or last_words_of(dag, node)
    return last_words_of(dag, node)


def _all_logs(node: Node) -> tuple[str, ...]:
    lines = []
    for sub_task in node.sub_tasks:
        agent = sub_task.execute_agent
        where = f"{joined_address(agent.ip, agent.port)}: " if agent else ""
        lines += [f"{where}{line}" for line in sub_task.task_logs]
    return tuple(lines)


def server_rows(zones: Iterable[Zone]) -> tuple[ServerRow, ...]:
    """Give one row per observer of a topology, ordered by zone."""
    return tuple(
        ServerRow(
            zone=zone.name,
            server=joined_address(server.ip, server.svr_port),
            status=server.status or server.inner_status,
            memory_bytes=server.stats.memory_in_bytes_total,
            cpu=server.stats.cpu_core_total,
            cpu_used=server.stats.cpu_core_assigned,
            memory_used_bytes=server.stats.memory_in_bytes_assigned,
            data_disk_bytes=server.stats.disk_in_bytes_total,
            data_disk_used_bytes=server.stats.disk_in_bytes_assigned,
        )
        for zone in sorted(zones, key=lambda zone: zone.name)
        for server in zone.servers
    )
