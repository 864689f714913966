"""The words in which a removal is asked about: what leaves, and what has to move first."""

from obscale.agent.models import Server, joined_address
from obscale.removal.progress import GIB
from obscale.removal.result import BeforeRemoval
from obscale.request.removal import Removal


def question_of(order: Removal, before: BeforeRemoval) -> str:
    """Ask whether it may begin, e.g. `remove 10.0.0.4 from zone2 of prod (units: 2, data 14.0G)?`.

    Args:
        order: What is asked for.
        before: As preflight found it.
    """
    what = f"{order.node.agentInfo.ip} from {order.zone}" if order.node else f"zone {order.zone}"
    servers = {joined_address(each.ip, each.svr_port) for each in before.servers}
    units = "not known"
    if before.observers is not None:
        placed = [at for listed in before.observers.values() for at in listed]
        units = str(sum(at in servers for at in placed))
    used = sum(each.stats.disk_in_bytes_assigned for each in before.servers) / GIB
    # A dead server's own numbers are all 0 and say nothing.
    data = f"{used:.1f}G" if all(map(_tells, before.servers)) else "not known"
    count = f"servers: {len(servers)}, " if order.node is None else ""
    return f"remove {what} of {order.cluster_name} ({count}units: {units}, data {data})?"


def _tells(server: Server) -> bool:
    return bool(server.stats.cpu_core_total)
