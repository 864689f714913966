"""Rules about what TCP connections from here show of ports.

Sources: none of obshell's; a connection that is refused means that nobody listens.
"""

from typing import Final

from obscale.agent.clock import ClockReading
from obscale.preflight.facts import Facts, PortState
from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
)
from obscale.preflight.rule import BLOCK, INFO, rule
from obscale.reading import Unread


@rule(
    "port-free-probe",
    "nobody listens on the new observer's ports",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5",
    ground="A",
    source="a TCP connection from here to rpc_port and mysql_port",
)
def port_free_probe(facts: Facts) -> Verdict:
    """Refused is what is wanted; silence is a firewall's and shows nothing."""
    ports = facts.target.ports
    if not ports:
        return not_applicable("not tried")
    taken = [str(port) for port, state in ports.items() if state is PortState.TAKEN]
    if taken:
        return blocks(
            f"somebody listens on {', '.join(taken)}", "free ports", "free them, or pick others"
        )
    silent = [str(port) for port, state in ports.items() if state is PortState.SILENT]
    if silent:
        return notes(f"no answer from {', '.join(silent)}: a firewall hides them", "free ports")
    return passes(f"{', '.join(map(str, ports))} refuse connections", "free ports")


@rule(
    "port-open-probe",
    "the members' agents answer from here",
    prod=INFO,
    lab=INFO,
    otherwise="",
    source="obshell GET /time of each member asked; says nothing of the ways between them",
)
def port_open_probe(facts: Facts) -> Verdict:
    """A member out of our reach cannot stand in when the entry agent falls silent."""
    clocks = facts.cluster.clocks
    if not clocks:
        members = facts.cluster.ob_info
        return unknown(members if isinstance(members, Unread) else "no member was asked")
    mute = [agent for agent, reading in clocks.items() if not isinstance(reading, ClockReading)]
    if mute:
        return fires(
            f"{len(mute)} of {len(clocks)} do not answer: {', '.join(mute)}",
            "all",
            "see whether obshell runs there, or a firewall stands between",
        )
    return passes(f"{len(clocks)} answer", "all")


RULES: Final = (port_free_probe, port_open_probe)
