"""Finds nodes of a batch that clash: one agent twice, one port or directory for two.

Every node is also judged by itself, so that all faults of a file are told at once. The cost grows
with the number of nodes, not with its square.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from obscale.preflight.facts import ClusterFacts, Facts, TargetFacts, asked_port
from obscale.preflight.finding import Finding
from obscale.preflight.registry import judge_request
from obscale.preflight.rules.layout import clean
from obscale.preflight.rules.start_options import PATH_KEYS
from obscale.request.models import NodeSpec

_ADDRESS: Final = ("agentInfo.ip", "agentInfo.port")
SHARED: Final = "cfg-no-cross-contamination"
"""The rule that says the same of the nodes of one cluster."""


@dataclass(frozen=True)
class Placed:
    """A node and where it was asked for.

    Args:
        node: What is asked for.
        cluster: As the request names it.
        where: Its place, with the colon and blank that separate it from a problem.
        tell: Says a finding about it as one problem, place included.
        is_whole: False: something of its address is missing, and what stands in for it is right; it
            clashes with no other.
        columns: Of a table: what a field is called there, where it is not its own name; None: it
            stands in no table.
    """

    node: NodeSpec
    cluster: str
    where: str
    tell: Callable[[Finding], str]
    is_whole: bool = True
    columns: Mapping[str, str] | None = None

    def called(self, *fields: str) -> str:
        """Name fields as whoever asked for the node wrote them."""
        if self.columns is None:
            return ", ".join(fields)
        named = ", ".join(self.columns.get(field, field) for field in fields)
        return f"column{'s' if len(fields) > 1 else ''} {named}"


def node_problems(nodes: Sequence[Placed]) -> list[str]:
    """Say what is wrong with each node alone, and which do not go together."""
    unique, problems = _once_each([placed for placed in nodes if placed.is_whole])
    problems += [
        placed.tell(finding)
        for placed in nodes
        for finding in judge_request(
            Facts(
                node=placed.node,
                batch=(placed.node,),
                cluster=ClusterFacts(entry="", scheme=""),
                target=TargetFacts(address=placed.node.address, scheme=""),
            )
        ).blockers
    ]
    return problems + list(_clashes(unique))


def _once_each(nodes: Sequence[Placed]) -> tuple[list[Placed], list[str]]:
    """Sort out what asks for the same agent again."""
    first: dict[str, Placed] = {}
    problems: list[str] = []
    for placed in nodes:
        other = first.setdefault(placed.node.address, placed)
        if other is placed:
            continue
        place = other.where.rstrip(": ")
        if other.cluster == placed.cluster:
            said = f"is asked for twice, first at {place}; remove one"
        else:
            said = (
                f"is asked for of {placed.cluster}, and of {other.cluster} at {place}; "
                "a node joins one cluster: remove one"
            )
        # In other files the place says enough: it names the node.
        what = f"{placed.called(*_ADDRESS)}: " if placed.columns is not None else ""
        problems.append(f"{placed.where}{what}{placed.node.address} {said} [{SHARED}]")
    return list(first.values()), problems


def _clashes(nodes: Sequence[Placed]) -> Iterator[str]:
    """Say who shares a port or a directory with an earlier node on the same host."""
    taken: dict[tuple[str, int | str], tuple[Placed, str]] = {}
    for placed in nodes:
        ip = placed.node.agentInfo.ip
        for field, use in _uses(placed.node):
            other, theirs = taken.setdefault((ip, use), (placed, field))
            if other is placed:
                continue
            what = f"port {use}" if isinstance(use, int) else use
            yield (
                f"{placed.where}{placed.called(field)}: {what} on {ip} is also {theirs} of "
                f"{other.node.address} at {other.where.rstrip(': ')}; choose another [{SHARED}]"
            )


def _uses(node: NodeSpec) -> Iterator[tuple[str, int | str]]:
    """Give what an observer and its agent have to themselves on a host, by field."""
    yield _ADDRESS[1], node.agentInfo.port
    for name in ("mysql_port", "rpc_port"):
        port = asked_port(node, name)
        if port is not None:
            yield name, port
    # One node may say one directory twice; that is the business of another rule.
    named = {clean(path): key for key in PATH_KEYS if (path := node.obConfigs.get(key))}
    for path, key in named.items():
        yield key, path
