"""The facts about a failed scale-out: its DAG, the target's own DAG, and the target.

Facts only, and how far the target has come; what follows from them stands in `consequences` and
`diagnosis`. Sources: ob/agent/executor/ob/scale_out.go, obshell 4.5.0.0.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    Dag,
    HostInfo,
    Identity,
    ListedAgent,
    Node,
    Operator,
    State,
    Zone,
    joined_address,
)
from obscale.follow.progress import Failure, failure_of
from obscale.scale_out_dag import (
    CHECK_ZONE,
    CREATE_LOCAL,
    LOCAL_SCALE_OUT,
    STAGES_WITH_UPGRADE,
    START,
    START_STAGE,
    WAIT_DEPLOY,
    WAIT_START,
    WORKDIR,
    target_of,
)

_ADDRESS: Final = re.compile(
    r"(?:\bto |dial tcp |'|\[POST\])(\[[0-9a-f:]+\]:\d+|\d+\.\d+\.\d+\.\d+:\d+)"
)
_SERVER: Final = re.compile(r"add server (\[[0-9a-f:]+\]|[\d.]+):(\d+) failed")
_STARTED: Final = re.compile(r"start cmd: .*(?: -P '|\brpc_port=)(?P<port>\d+)")
_QUOTED: Final = re.compile(r".*Unexpected error: (?P<said>.+?)\s*: exit status \d+", re.DOTALL)
_NOT_LOADED: Final = re.compile(
    r"error while loading shared libraries|[Ee]xec format error|cannot execute|symbol lookup error"
    r"|version `[^']*' not found|exit status 12[67]\b"
)
"""What is said where a program could not be executed: words of the loader, of Go and of shells."""
_MAKES_STORE: Final = re.compile(r"mkdir \w+_dir: (?P<path>/.*/store)$")


class Phase(StrEnum):
    """How far the target's own DAG has come, as far as it matters for what may be done."""

    UNREAD = "could not be read"
    NONE = "there is none for this scale-out"
    WAITING = "waits for the cluster's DAG"
    COMING = "is on its way to the start of the observer"
    DEPLOY_FAILED = "failed to make its directories"
    STARTING = "is still starting the observer"
    START_FAILED = "failed to start the observer"
    PAST_START = "has started the observer"
    JOINED = "is done: the target has joined"
    UNDOING = "is being rolled back"
    UNDO_FAILED = "failed while it was rolled back"
    UNDONE = "is rolled back"


@dataclass(frozen=True)
class Case:
    """Everything a diagnosis may look at; what could not be read says so.

    Args:
        dag: The cluster's scale-out, with details.
        target: `ip:port` of the agent it is about; empty where nobody tells.
        info: `/info` of the target; a text says why it could not be read.
        status: `/status` of the target.
        local: The target's newest local DAG, whosever it is; a text: not readable; None: none.
        host: The machine below the target.
        unfinished: The cluster's unfinished DAGs, this one included; None: not readable.
        zones: The cluster's topology; None: not readable.
        members: The cluster's agents; None: not readable.
    """

    dag: Dag
    target: str
    info: AgentInfo | str
    status: AgentStatus | None = None
    local: Dag | str | None = None
    host: HostInfo | None = None
    unfinished: tuple[Dag, ...] | None = None
    zones: tuple[Zone, ...] | None = None
    members: tuple[ListedAgent, ...] | None = None

    @property
    def failure(self) -> Failure:
        """Where the cluster's DAG stands or failed, and why."""
        return failure_of(self.dag, self.own)

    @property
    def failed_node(self) -> str:
        """Title of the node the DAG failed at; empty unless it is FAILED on its way forwards."""
        if not self.dag.is_failed or self.dag.operator is Operator.ROLLBACK:
            return ""
        return self.failure.node

    @property
    def own(self) -> Dag | None:
        """The target's local DAG of this very scale-out."""
        local = self.local
        if not isinstance(local, Dag) or local.name != LOCAL_SCALE_OUT:
            return None
        return local if str(local.additional_data.get("main_dag_id", "")) == self.dag.id else None

    @property
    def answers(self) -> bool:
        """Whether the target answers now."""
        return isinstance(self.info, AgentInfo)

    @property
    def identity(self) -> Identity | None:
        """What the target says it is; None where it does not answer."""
        return self.info.identity if isinstance(self.info, AgentInfo) else None

    @property
    def zone(self) -> str:
        """The zone the target joins; empty where nobody tells."""
        return self.info.zone if isinstance(self.info, AgentInfo) else ""

    @property
    def home(self) -> str:
        """The target's home directory; `<home>` where it does not tell."""
        home = self.info.home_path if isinstance(self.info, AgentInfo) else ""
        return home or "<home>"

    @property
    def phase(self) -> Phase:
        """How far the target has come."""
        if isinstance(self.local, str):
            return Phase.UNREAD
        return _phase_of(self.own, self.dag) if self.own else Phase.NONE

    @property
    def checked_zone(self) -> bool:
        """Whether the cluster's node `Prev check` was ever executed; rollbacks wait for it."""
        node = node_named(self.dag, CHECK_ZONE)
        return node is not None and (
            node.state is not State.PENDING or node.operator is not Operator.RUN
        )

    @property
    def is_upgrading(self) -> bool:
        """Whether the target's obshell is upgraded on the way, which restarts it."""
        return self.own is not None and self.own.max_stage >= STAGES_WITH_UPGRADE

    @property
    def workdir_logs(self) -> tuple[str, ...]:
        """What the making of directories said, from the target or else as the cluster copied it."""
        node = node_named(self.own, WORKDIR) if self.own else None
        if node is not None and (logs := tuple(_logs(node))):
            return logs
        mark = f"task {WORKDIR}: "
        copied = node_named(self.dag, WAIT_DEPLOY)
        lines = _logs(copied) if copied else ()
        return tuple(line.removeprefix(mark) for line in lines if line.startswith(mark))

    @property
    def store_is_ours(self) -> bool:
        """Whether the log shows that `<home>/store` was made, or was empty, in this scale-out.

        obshell deletes it at a rollback whoever made it: it never looks into it where `data_dir`
        is elsewhere. It names a directory before it makes it, so the line after it is the proof;
        a link it names whether it makes it or not.
        Source: ob/agent/executor/ob/{deploy,destroy}.go, 4.5.0.0, and recorded.
        """
        made = [
            match["path"]
            for line, following in pairwise(self.workdir_logs)
            if (match := _MAKES_STORE.search(line)) and not following.startswith("ERROR")
        ]
        known = self.home != "<home>"
        return any(path == f"{self.home}/store" or not known for path in made)

    @property
    def observer_is_dead(self) -> bool:
        """Whether no observer runs on the target, as its agent tells; an agent may not tell."""
        status = self.status
        return status is not None and "ob_state" in status.model_fields_set and not status.ob_state

    @property
    def loader_says(self) -> str:
        """Why the system could not execute the observer, in its words; empty: it was executed."""
        if self.failed_node != WAIT_START:
            return ""
        # Below 4.2.4.0 the target's lines are not copied to the cluster's DAG.
        own = failure_of(self.own).reason if self.own and self.own.is_failed else ""
        told = next((text for text in (self.failure.reason, own) if _NOT_LOADED.search(text)), "")
        match = _QUOTED.match(told)
        return match["said"] if match else told

    @property
    def is_listed(self) -> bool:
        """Whether the cluster lists the target, as an agent or as a server."""
        ip = self.info.ip if isinstance(self.info, AgentInfo) else ""
        return any(member.address == self.target for member in self.members or ()) or any(
            joined_address(server.ip, server.obshell_port) == self.target
            or (server.ip, server.svr_port) == (ip, self._rpc_port)
            for zone in self.zones or ()
            for server in zone.servers
        )

    @property
    def server(self) -> tuple[str, int] | None:
        """IP and RPC port of the server that is added: as the refusal names it, else as started."""
        if match := _SERVER.search(self.failure.reason):
            return match[1].strip("[]"), int(match[2])
        ip = self.target.rpartition(":")[0].strip("[]")
        return (ip, self._rpc_port) if ip and self._rpc_port else None

    @property
    def _rpc_port(self) -> int:
        """With which the observer was started, from the log of its start; 0: not told."""
        lines = [
            line
            for dag, title in ((self.own, START), (self.dag, WAIT_START))
            if dag is not None and (node := node_named(dag, title)) is not None
            for line in _logs(node)
        ]
        ports = [match["port"] for line in lines if (match := _STARTED.search(line))]
        return int(ports[0]) if ports else 0

    @property
    def server_is_listed(self) -> bool:
        """Whether the server that could not be added is in the cluster nevertheless."""
        return self.server is not None and any(
            (server.ip, server.svr_port) == self.server
            for zone in self.zones or ()
            for server in zone.servers
        )


def _phase_of(own: Dag, main: Dag) -> Phase:  # noqa: PLR0911 - one return for each answer
    """Say how far a target's own DAG of a scale-out has come.

    Its FAILED at a gate, `Start preparations`, is part of every normal run.
    """
    if own.operator is Operator.ROLLBACK:
        if own.is_undone:
            return Phase.UNDONE
        return Phase.UNDO_FAILED if own.is_failed else Phase.UNDOING
    if own.is_done:
        return Phase.JOINED
    if own.stage > START_STAGE:
        return Phase.PAST_START
    if own.stage == START_STAGE:
        return Phase.START_FAILED if own.is_failed else Phase.STARTING
    if own.is_failed:
        failed = own.current_node
        return Phase.DEPLOY_FAILED if failed and failed.title == WORKDIR else Phase.WAITING
    return Phase.COMING if main.stage >= START_STAGE else Phase.WAITING


def subject_of(dag: Dag) -> str:
    """Give `ip:port` of the agent a scale-out is about; empty while the DAG does not tell."""
    if known := target_of(dag):
        return known
    node = node_named(dag, CREATE_LOCAL)
    for line in _logs(node) if node else ():
        if match := _ADDRESS.search(line):
            return match[1]
    return ""


def node_named(dag: Dag, title: str) -> Node | None:
    """Give a DAG's first node of this title; None without details."""
    return next((node for node in dag.nodes if node.title == title), None)


def _logs(node: Node) -> Iterator[str]:
    for sub_task in node.sub_tasks:
        yield from sub_task.task_logs
