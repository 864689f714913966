"""Rules about a request of several nodes: as a whole, and in their order.

Within a cluster the nodes of a request join one after the other, because its maintenance lock lets
one in at a time (ob/agent/service/task/status_maintainer.go, 4.5.0.0). Whatever stops half-way
should leave a cluster that is still even.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from obscale.preflight.facts import Facts, TargetFacts
from obscale.preflight.finding import (
    Verdict,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
)
from obscale.preflight.host_facts import memory_asked
from obscale.preflight.rule import BLOCK, INFO, WARN, Rule, rule
from obscale.preflight.rules import layout, members, values, zones
from obscale.preflight.rules import start_options as request
from obscale.preflight.rules.cluster_mode import covered
from obscale.preflight.sizing import memory_of
from obscale.reading import Unread
from obscale.request.models import NodeSpec
from obscale.sizes import render_bytes

FRESH_MINUTES: Final = 15
"""Facts older than this are read again before anything rests on them."""
EVEN_SHARE: Final = 0.1
_ALONE: Final = not_applicable("one node only")
_STATIC: Final[tuple[Rule[Facts], ...]] = tuple(
    each
    for subject in (request, values, layout, members, zones)
    for each in subject.RULES
    if each.is_static
)


@rule(
    "batch-serial-per-cluster",
    "it is known that the nodes join one after the other",
    prod=INFO,
    lab=INFO,
    otherwise="POST",
    source="ob/agent/service/task/status_maintainer.go, 4.5.0.0: one lock for a cluster",
)
def batch_serial_per_cluster(facts: Facts) -> Verdict:
    """Nodes of other clusters may join meanwhile."""
    count = len(facts.joining())
    if count < 2:  # noqa: PLR2004 - a pair
        return _ALONE
    return fires(f"{count} nodes for one cluster", "one at a time", "allow time for all of them")


@rule(
    "batch-zone-order",
    "the order of the nodes keeps the zones even at every step",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT, if it stops half-way",
    source="a tenant's unit_num is one number for all zones",
)
def batch_zone_order(facts: Facts) -> Verdict:
    """Each node into the zone with the fewest servers, a new zone first."""
    nodes = facts.joining()
    if len(nodes) < 2:  # noqa: PLR2004 - a pair
        return _ALONE
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "even at every step")
    counts = Counter({zone.name: len(zone.servers) for zone in topology})
    asked = [node.zone for node in nodes]
    best = _best_order(asked, counts)
    measured = ", ".join(asked)
    worse = any(
        mine > least
        for mine, least in zip(_spreads(asked, counts), _spreads(best, counts), strict=True)
    )
    if worse:
        return fires(measured, ", ".join(best), "write the nodes in that order of their zones")
    return passes(measured, "even at every step")


def _best_order(asked: Sequence[str], counts: Counter[str]) -> list[str]:
    left, now, order = Counter(asked), Counter(counts), list[str]()
    while left := +left:
        zone = min(left, key=lambda name: (now[name], name))
        order.append(zone)
        now[zone] += 1
        left[zone] -= 1
    return order


def _spreads(order: Sequence[str], counts: Counter[str]) -> Iterator[int]:
    """Largest less smallest number of servers in a zone after each step."""
    now = Counter(counts)
    names = {*counts, *order}
    for zone in order:
        now[zone] += 1
        yield max(now[name] for name in names) - min(now[name] for name in names)


@rule(
    "batch-preflight-all-first",
    "no other node of the request is sure to be refused",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="the cluster is left half grown",
    ground="B",
    source="the rules of the request alone, for each of its nodes",
)
def batch_preflight_all_first(facts: Facts) -> Verdict:
    """What can be said of a node without asking its agent is said of the first, before it joins."""
    first, *others = facts.joining() or (facts.node,)
    if not others:
        return _ALONE
    if first.address != facts.node.address:
        return not_applicable(f"told with {first.address}, which joins first")
    on_ip: dict[str, list[NodeSpec]] = {}
    for node in facts.batch:
        on_ip.setdefault(node.agentInfo.ip, []).append(node)
    found = {
        node.address: ids
        for node in others
        if (ids := _refusals(facts, node, on_ip[node.agentInfo.ip]))
    }
    if found:
        return fires(
            "; ".join(f"{address}: {', '.join(ids)}" for address, ids in found.items()),
            "every node in order",
            "mend those first: nothing of the request is submitted before",
        )
    return passes(f"{len(others)} others in order", "every node in order")


def _refusals(facts: Facts, node: NodeSpec, on_ip: Sequence[NodeSpec]) -> list[str]:
    """Ids of the rules that block a node in every profile, by the request alone.

    Only nodes on its own IP can be in its way, so it is judged beside those.
    """
    target = TargetFacts(node.address, facts.target.scheme)
    elsewhere = replace(facts, node=node, batch=tuple(on_ip), target=target)
    return [
        each.id
        for each in _STATIC
        if any(
            verdict.kind == "fires" and (verdict.lab or each.lab) is BLOCK
            for verdict in each.verdicts(elsewhere, elsewhere.progress())
        )
    ]


@rule(
    "batch-capacity-final",
    "in the end all zones offer as much memory",
    prod=INFO,
    lab=INFO,
    otherwise="SILENT: the smallest zone limits every tenant",
    source="obshell GET /obcluster/info, stats; obConfigs of all nodes",
)
def batch_capacity_final(facts: Facts) -> Verdict:
    """Of the whole request; servers are counted by `zone-balance`, licences by `license-valid`."""
    nodes = facts.joining()
    if len(nodes) < 2:  # noqa: PLR2004 - a pair
        return _ALONE
    if isinstance(facts.cluster.cluster_info, Unread):
        return unknown(covered(facts.cluster.cluster_info), "as much in each zone")
    offers: list[tuple[str, int | None]] = [
        (zone.name, server.stats.memory_in_bytes_total) for zone, server in facts.cluster.servers()
    ]
    # Another node's machine has not been looked at here: only its sizes can be counted.
    offers += [
        (node.zone, memory_asked(facts).for_units)
        if node.address == facts.node.address
        else (node.zone, memory_of(node.obConfigs, None).for_units)
        for node in nodes
    ]
    if any(not memory for _, memory in offers):
        return unknown("not every server tells its memory", "as much in each zone")
    final = Counter[str]()
    for zone, memory in offers:
        final[zone] += memory or 0
    measured = ", ".join(f"{zone} {render_bytes(final[zone])}" for zone in sorted(final))
    if max(final.values()) - min(final.values()) > EVEN_SHARE * max(final.values()):
        return fires(measured, "as much in each zone", "grow the smaller zones too")
    return passes(measured, "as much in each zone")


@rule(
    "batch-stop-on",
    "it is known what a failure leaves undone",
    prod=INFO,
    lab=INFO,
    otherwise="POST: the lock of a failed DAG refuses all others",
    source="ob/agent/service/task/status_maintainer.go, 4.5.0.0: a failed DAG keeps its lock",
)
def batch_stop_on(facts: Facts) -> Verdict:
    """A node that fails keeps the lock, so the later ones are not begun."""
    nodes = facts.joining()
    addresses = [node.address for node in nodes]
    if len(nodes) < 2 or facts.node.address not in addresses:  # noqa: PLR2004 - a pair
        return _ALONE
    if facts.node.address == addresses[-1]:
        return passes("the last of the request: nothing waits for it")
    # The same words for each node, so that a plan says them once.
    return notes(
        f"of {len(nodes)} nodes those behind one that fails are not begun",
        remedy="run the request again afterwards: it does only what is missing",
    )


@rule(
    "preflight-freshness",
    "what was decided on was read a short time ago",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT: another state than the one judged",
    source="disks, locks and members change between a plan, or a preflight, and the submit",
)
def preflight_freshness(facts: Facts) -> Verdict:
    """What was decided on an earlier look is judged again on a new one, and its age is told."""
    if facts.judged_before is None:
        return not_applicable("judged for the first time")
    needed = f"≤ {FRESH_MINUTES} minutes"
    if facts.now is None:
        return unknown("when the facts were read is not known", needed)
    age = facts.now - facts.judged_before
    measured = f"decided on what was true {max(age.total_seconds(), 0) / 60:.0f} minutes before"
    if age > timedelta(minutes=FRESH_MINUTES):
        return fires(measured, needed, "all was read again; compare it with what was decided on")
    return passes(measured, needed)


RULES: Final = (
    batch_serial_per_cluster,
    batch_zone_order,
    batch_preflight_all_first,
    batch_capacity_final,
    batch_stop_on,
    preflight_freshness,
)
