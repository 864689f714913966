"""What a scale-out DAG of obshell is: its names, nodes, stages and target."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from obscale.agent.models import (
    Dag,
    joined_address,
)

SCALE_OUT: Final = "Cluster scale out"
LOCAL_SCALE_OUT: Final = "Local scale out"
CREATE_LOCAL: Final = "Create local scale out dag"
WAIT_READY: Final = "Wait scale out ready"
WAIT_DEPLOY: Final = "Wait remote deploy finish"
WAIT_START: Final = "Wait remote start finish"
CHECK_ZONE: Final = "Prev check for scale_out"
ADD_SERVER: Final = "Add server for scale_out"
ADD_AGENT: Final = "Add agent for scale_out"
CHECK_FINISHED: Final = "Check cluster scale_out whether finished"
WORKDIR: Final = "Create observer workdir"
START: Final = "Start observer"
"""Nodes that decide something here; 4.2.3.x has a second blank in some, `Node.title` puts it right.

Source: ob/agent/executor/ob/scale_out.go, 4.5.0.0."""
DEPLOY_STAGE: Final = 4
WORKDIR_STAGE: Final = 3
START_STAGE: Final = 5
"""Stages of the cluster's and of the target's own DAG. Source: as above."""
STAGES_WITH_UPGRADE: Final = 8
"""The target's own DAG has one node more where its obshell is to be upgraded. Source: as above."""

STAGES_FOR_NEW_ZONE: Final = 11
"""`max_stage` of a scale-out that makes its zone. Source: ob/agent/executor/ob/scale_out.go."""
ADDS: Final = frozenset({ADD_SERVER, ADD_AGENT})
"""Nodes without which nothing was added."""


def is_hollow(dag: Dag) -> bool:
    """Whether a DAG says SUCCEED although what adds the node was undone and then skipped."""
    return dag.is_done and not ADDS.isdisjoint(dag.skipped)


STAGE_THAT_NAMES_THE_TARGET: Final = 2
_PORT_DIGITS: Final = 5
_KINDS: Final = {"2": ("local", 10), "3": ("local", 39), "4": ("obproxy", 10), "5": ("obproxy", 39)}
_ADDRESS_DIGITS_V4: Final = 10
_GENERIC_ID = re.compile(r"genericID:\s*([0-9]+)")


@dataclass(frozen=True)
class GenericId:
    """An id of obshell's taken apart; `ip` and `port` only for what one agent keeps itself."""

    kind: Literal["cluster", "local", "obproxy"]
    ip: str | None
    port: int | None
    number: int


def decode_generic_id(text: str) -> GenericId:
    """Take an id apart; only to learn whose it is, never to make one.

    Raises:
        ValueError: obshell itself would refuse it, or it is not in its canonical form.

    Source: ob/agent/engine/task/task_dto.go, 4.5.0.0
    """
    if not (text.isascii() and text.isdigit()):  # also refuses the empty text
        raise ValueError(f"{text!r} is no generic id")
    first, rest = text[0], text[1:]
    if first == "1":
        if not rest or rest[0] == "0":
            raise ValueError(f"{text!r} is no generic id of a cluster")
        return GenericId("cluster", None, None, int(rest))
    if first not in _KINDS:
        raise ValueError(f"{text!r} is of no known kind")
    kind, width = _KINDS[first]
    address, port = rest[:width], rest[width : width + _PORT_DIGITS]
    number = rest[width + _PORT_DIGITS :]
    if not number or number[0] == "0":
        raise ValueError(f"{text!r} is no generic id of an agent")
    ip = (IPv4Address if width == _ADDRESS_DIGITS_V4 else IPv6Address)(int(address))
    return GenericId("local" if kind == "local" else "obproxy", str(ip), int(port), int(number))


def target_of(dag: Dag) -> str | None:
    """Give the target of a scale-out DAG read with details, as `ip:port`.

    Returns:
        None: not a scale-out, or its second node has not spoken yet.
    """
    return next((target for target, _ in _local_dags(dag)), None)


def local_dag_of(dag: Dag, target: str) -> str | None:
    """Give the id of the DAG that a target keeps itself for a scale-out, as the cluster logged it.

    Args:
        dag: Read with details.
        target: `ip:port`, IPv6 in brackets.

    Returns:
        The newest; None: the cluster's DAG names none of this target.
    """
    return next((local for other, local in reversed(_local_dags(dag)) if other == target), None)


def _local_dags(dag: Dag) -> list[tuple[str, str]]:
    """The targets a scale-out's second node has logged, each with the id of its own DAG."""
    if dag.name != SCALE_OUT:
        return []
    found = []
    for log in _second_node_logs(dag):
        if match := _GENERIC_ID.search(log):
            try:
                local = decode_generic_id(match[1])
            except ValueError:
                continue
            if local.ip is not None and local.port is not None:
                found.append((joined_address(local.ip, local.port), match[1]))
    return found


def is_scale_out_of(dag: Dag, target: str, local_dag: Dag | None) -> bool:
    """Whether a cluster DAG scales out this target.

    Args:
        dag: Read with details.
        target: `ip:port`, IPv6 in brackets.
        local_dag: The newest local DAG of the target itself; it names its main DAG. That alone
            would not do, because the numbers of two clusters may meet.
    """
    if dag.name != SCALE_OUT:
        return False
    known = target_of(dag)
    if known is not None:
        return known == target
    if is_part_of(local_dag, dag.id):
        return True
    # A refused second node has no generic id, but its error names the target.
    return any(_mentions(log, target) for log in _second_node_logs(dag))


def is_undecided(dag: Dag) -> bool:
    """Whether a scale-out has not named its target yet, but soon will."""
    return (
        dag.name == SCALE_OUT
        and not dag.is_terminal
        and dag.stage <= STAGE_THAT_NAMES_THE_TARGET
        and target_of(dag) is None
    )


def _second_node_logs(dag: Dag) -> list[str]:
    if len(dag.nodes) < STAGE_THAT_NAMES_THE_TARGET:
        return []
    node = dag.nodes[STAGE_THAT_NAMES_THE_TARGET - 1]
    return [log for sub_task in node.sub_tasks for log in sub_task.task_logs]


def is_part_of(local: Dag | None, dag_id: str) -> bool:
    """Whether a target's local DAG is its part of this cluster DAG."""
    return (
        local is not None
        and local.name == LOCAL_SCALE_OUT
        and str(local.additional_data.get("main_dag_id", "")) == dag_id
    )


def _mentions(log: str, address: str) -> bool:
    return re.search(rf"(?<![\w.:\]]){re.escape(address)}(?![\w:])", log) is not None
