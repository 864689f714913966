"""The facts about both halves of a replacement, and the cluster as it will be between them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from obscale.agent.models import Parameter, Server, ServerParameter, Stats, Zone
from obscale.preflight.facts import Facts, TargetProgress
from obscale.preflight.offers import LOG_DISK, expected_of, log_disk_asked
from obscale.reading import Unread
from obscale.removal.facts import RemovalFacts
from obscale.removal.units import takes_units
from obscale.request.replacement import Replacement
from obscale.sizes import MIB


@dataclass(frozen=True)
class ReplacementFacts:
    """What the rules about both halves judge.

    Args:
        order: What is asked for.
        addition: About the node that joins, as read.
        removal: About the node that leaves, as read.
    """

    order: Replacement
    addition: Facts
    removal: RemovalFacts

    @property
    def subject(self) -> str:
        """`ip:port` of the agent that leaves."""
        return self.order.target

    def progress(self) -> TargetProgress:
        """How far the removal is: not begun, at work, or done already."""
        return self.removal.progress()

    @property
    def is_added(self) -> bool:
        """Whether the new node is a member, or is becoming one."""
        return self.addition.progress() is not TargetProgress.NEW

    def after(self) -> Facts:
        """Give the facts about the addition without the servers that the request replaces.

        For rules that ask whether the cluster is well and even: what is replaced is named, so it is
        not counted against it.
        """
        cluster = self.addition.cluster
        gone = {(row.ip, row.svr_port) for row in self.removal.replaced_servers()}
        if isinstance(cluster.topology, Unread) or not gone:
            return self.addition
        zones = tuple(
            zone.model_copy(
                update={"servers": tuple(s for s in zone.servers if (s.ip, s.svr_port) not in gone)}
            )
            for zone in cluster.topology
        )
        return replace(self.addition, cluster=replace(cluster, topology=zones))

    def between(self) -> RemovalFacts:
        """Give the facts about the removal as they will be once the new node serves, empty.

        Where it serves already, they are as read.
        """
        cluster = self.removal.cluster
        if isinstance(cluster.topology, Unread):
            return self.removal
        row = _row(self.addition)
        zones = tuple(_with(zone, row, self.addition.node.zone) for zone in cluster.topology)
        grown = replace(cluster, topology=zones)
        if not isinstance(cluster.parameters, Unread):
            grown = replace(grown, parameters=tuple(_logs(cluster.parameters, self.addition)))
        return replace(self.removal, cluster=grown)


def _row(facts: Facts) -> Server:
    """Give the row of the new server as the topology will have it."""
    offer = expected_of(facts)
    return Server(
        ip=facts.node.agentInfo.ip,
        svr_port=facts.rpc_port or 0,
        sql_port=facts.mysql_port or 0,
        obshell_port=facts.node.agentInfo.port,
        status="RUNNING",
        inner_status="ACTIVE",
        start_time=facts.now,
        stats=Stats(
            cpu_core_total=offer.cpu or 0,
            memory_in_bytes_total=offer.memory_bytes or 0,
            disk_in_bytes_total=offer.data_disk_bytes or 0,
        ),
    )


def _with(zone: Zone, row: Server, wanted: str) -> Zone:
    if zone.name != wanted:
        return zone
    there = next((s for s in zone.servers if (s.ip, s.svr_port) == (row.ip, row.svr_port)), None)
    if there is not None and takes_units(there):
        return zone
    others = tuple(each for each in zone.servers if each is not there)
    return zone.model_copy(update={"servers": (*others, row)})


def _logs(parameters: Iterable[Parameter], facts: Facts) -> Iterable[Parameter]:
    """Give the parameters with the log disk that the new server is asked to have."""
    size, ip, port = log_disk_asked(facts), facts.node.agentInfo.ip, facts.rpc_port
    for row in parameters:
        told = any((each.svr_ip, each.svr_port) == (ip, port) for each in row.ob_parameters)
        if row.name != LOG_DISK or told or not size or port is None:
            yield row
            continue
        own = ServerParameter(svr_ip=ip, svr_port=port, value=f"{size // MIB}M")
        yield row.model_copy(update={"ob_parameters": (*row.ob_parameters, own)})
