"""Probes whether the ports of the new observer are already in use."""

import asyncio
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from obscale.preflight.facts import PortState, asked_port
from obscale.request.scale_out import ScaleOut

PROBE_SECONDS: Final = 3.0
"""Who neither accepts nor refuses a connection for so long is behind a firewall."""


async def probe_ports(order: ScaleOut, *, probing: bool) -> dict[int, PortState]:
    """Try the ports of the new observer; not on loopback, where simulated agents only pretend.

    Args:
        order: Names the target and its ports.
        probing: False: nothing is tried.

    Returns:
        What each port answered; empty where none was tried.
    """
    ip = order.node.agentInfo.ip
    try:
        if not probing or ip_address(ip).is_loopback:
            return {}
    except ValueError:  # no IP at all is the business of `ip-literal`
        return {}
    asked = {asked_port(order.node, name) for name in ("rpc_port", "mysql_port")}
    ports = sorted(port for port in asked if port)
    states = await asyncio.gather(*(probe_port(ip, port) for port in ports))
    return dict(zip(ports, states, strict=True))


async def probe_port(ip: str, port: int, seconds: float = PROBE_SECONDS) -> PortState:
    """Open a connection to a port and close it again; nothing is sent on it.

    Args:
        ip: Literal IP.
        port: TCP port.
        seconds: Longest wait.
    """
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(ip, port)
    except ConnectionRefusedError:
        return PortState.FREE
    except (OSError, OverflowError):  # a time limit is an OSError; a port may be out of range
        return PortState.SILENT
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return PortState.TAKEN
