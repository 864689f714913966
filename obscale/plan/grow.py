"""Chooses from a pool of spares who joins which zone, and says why of each, chosen or left out.

Pure. Who is like the zone's peers comes first, then who is in their network, then the lower
address: so the same pool in any order gives the same choice. Too few give none at all.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from statistics import median
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Identity
from obscale.errors import PreflightError, SpecError
from obscale.plan.suggest import Suggestion, suggest
from obscale.plan.suggest_zone import Units, unfit
from obscale.preflight.facts import Facts
from obscale.preflight.host_facts import cores, total_memory
from obscale.preflight.mounts import disks_of
from obscale.preflight.rules.cluster import ACTIVE
from obscale.preflight.rules.host import ALIKE_SHARE, peer_disks, peer_hosts
from obscale.reading import Unread
from obscale.request.models import NodeSpec, Profile
from obscale.sizes import parse_meminfo, quoted, render_bytes

MOST_A_ZONE: Final = 1000
NET_BITS: Final = {4: 24, 6: 64}
"""Of a network that hints at a rack: only addresses are known."""
_OF_ONE: Final = re.compile(r"(?P<zone>[^=\s]+)=(?P<count>\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class Growth:
    """How much is wanted.

    Args:
        each: Nodes more for every zone; 0: only where `zones` says so.
        zones: Nodes more for single zones, above `each`.
    """

    each: int
    zones: Mapping[str, int]

    def of(self, facts: Facts) -> dict[str, int]:
        """Give the nodes wanted by zone, zones by name.

        Raises:
            SpecError: The cluster has no such zone.
            PreflightError: Its zones are not known, or none is ACTIVE.
        """
        known = {zone.name: zone.inner_status for zone in facts.cluster.zones()}
        if not known:
            raise PreflightError("the cluster's zones could not be read: nothing can be chosen")
        if foreign := sorted(set(self.zones) - set(known)):
            raise SpecError(
                f"--grow: the cluster has no {foreign[0]}, it has {', '.join(sorted(known))}",
                "name one of them; a new zone is for a request, with allow_new_zone: true",
            )
        wanted = {name: self.each for name, status in known.items() if status in {"", ACTIVE}}
        wanted |= self.zones
        wanted = {name: count for name, count in sorted(wanted.items()) if count}
        if not wanted:
            raise PreflightError("no zone of the cluster is ACTIVE: nothing can be chosen")
        return wanted


def read_growth(texts: Sequence[str]) -> Growth:
    """Read what stands behind --grow: `2`, `zone2=1`, `zone1=2,zone2=1`, several times too.

    Raises:
        SpecError: It is wrong.
    """
    each, zones = 0, dict[str, int]()
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        found = _OF_ONE.fullmatch(text)
        number = found["count"] if found else text
        is_number = number.isascii() and number.isdigit() and 1 <= int(number[:9]) <= MOST_A_ZONE
        if not is_number or (found is None and each) or (found and found["zone"] in zones):
            twice = ", or says the same twice" if is_number else ""
            raise SpecError(
                f"--grow: {quoted(text)} is no number of nodes, 1 to {MOST_A_ZONE}{twice}",
                "write --grow 2 for two more in each zone, or --grow zone2=1",
            )
        if found:
            zones[found["zone"]] = int(number)
        else:
            each = int(number)
    return Growth(each, zones)


@dataclass(frozen=True)
class Machine:
    """What machines are compared by; None: not told. Sizes in bytes."""

    cores: float | None
    memory: float | None
    disk: float | None

    def __str__(self) -> str:
        if None not in (self.cores, self.memory, self.disk):
            sizes = render_bytes(self.memory or 0), render_bytes(self.disk or 0)
            return f"{self.cores:g} cores, {sizes[0]} memory, {sizes[1]} disk"
        told = (
            None if self.cores is None else f"{self.cores:g} cores",
            None if self.memory is None else f"{render_bytes(self.memory)} memory",
            None if self.disk is None else f"{render_bytes(self.disk)} disk",
        )
        return ", ".join(filter(None, told)) or "not told"

    def distance(self, other: "Machine") -> float:
        """Say how unlike another is: doublings, over all measures; 0 within a tenth of each.

        Infinite where nothing can be compared.
        """
        pairs = (
            (self.cores, other.cores),
            (self.memory, other.memory),
            (self.disk, other.disk),
        )
        told = [(one, two) for one, two in pairs if one and two]
        if not told:
            return math.inf
        return round(sum(_doublings(one, two) for one, two in told), 2)


def _doublings(one: float, two: float) -> float:
    if abs(one - two) <= ALIKE_SHARE * max(one, two):
        return 0.0
    return abs(math.log2(one / two))


@dataclass(frozen=True)
class Offer:
    """How a spare would join a zone.

    Args:
        made: What would be asked of it.
        machine: Its own.
        peers: The middle of the zone's peers.
        unfit: What units of the zone it could not host; empty: none.
        near: 0 in the network of the zone's servers, 1 in none of a zone's, 2 in another zone's.
    """

    made: Suggestion
    machine: Machine
    peers: Machine
    unfit: tuple[str, ...]
    near: int

    @property
    def order(self) -> tuple[int, float, int]:
        """What comes first is smaller."""
        return len(self.unfit), self.machine.distance(self.peers), self.near


@dataclass(frozen=True)
class Candidate:
    """A spare with its offers by zone, and why it could not join the other zones."""

    node: NodeSpec
    offers: Mapping[str, Offer]
    refusals: tuple[str, ...] = ()

    @property
    def address(self) -> tuple[int, int, int]:
        """What addresses are sorted by."""
        ip = ip_address(self.node.agentInfo.ip)
        return ip.version, int(ip), self.node.agentInfo.port

    def order(self, zone: str) -> tuple[int, float, int, tuple[int, int, int]]:
        """Give its place among those that could join the zone; no two have the same."""
        return *self.offers[zone].order, self.address


class Chosen(BaseModel):
    """A spare that is to join, and why it."""

    model_config = ConfigDict(frozen=True)

    target: str
    zone: str
    why: str


class LeftOut(BaseModel):
    """A spare that is not to join, and why."""

    model_config = ConfigDict(frozen=True)

    target: str
    why: str


class GrowthTold(BaseModel):
    """What was chosen of a pool of spares, and why."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    """`name/id` as the cluster itself says."""
    wanted: dict[str, int]
    """Nodes by zone."""
    missing: dict[str, int]
    """Nodes by zone that no spare is there for; where any is, nothing is asked for."""
    chosen: tuple[Chosen, ...]
    left_out: tuple[LeftOut, ...]
    request: dict[str, Any] | None = None
    """In the shape of a request file; null where any is missing."""


@dataclass(frozen=True)
class Choice:
    """Who is to join, in the order of the request, and what is told of it."""

    picked: tuple[tuple[str, Candidate], ...]
    told: GrowthTold


def candidates_of(
    pool: Sequence[Facts], wanted: Collection[str], profile: Profile
) -> tuple[Candidate, ...]:
    """Say of each spare how it could join each wanted zone, or why it could not.

    Args:
        pool: Facts of each spare beside the same cluster.
        wanted: Zones.
        profile: How strictly it is judged.
    """
    return tuple(_candidate(facts, wanted, profile) for facts in pool)


def _candidate(facts: Facts, wanted: Collection[str], profile: Profile) -> Candidate:
    if reason := _no_spare(facts):
        return Candidate(facts.node, {}, (reason,))
    offers, refusals = dict[str, Offer](), list[str]()
    configs, pools = facts.cluster.unit_configs, facts.cluster.pools
    units = None
    if not isinstance(configs, Unread) and not isinstance(pools, Unread):
        units = Units(configs, pools)
    for zone in wanted:
        try:
            made = suggest(facts, profile, zone=zone, units=units)
        except PreflightError as error:
            refusals.append(error.message)
            continue
        offers[zone] = Offer(
            made,
            _machine(replace(facts, node=made.node)),
            _peers(facts, zone),
            unfit(facts, made.node, units) if units else (),
            _near(facts, zone, wanted),
        )
    return Candidate(facts.node, offers, tuple(dict.fromkeys(refusals)))


def _no_spare(facts: Facts) -> str:
    """Say why an agent is no spare; empty: it is one."""
    info, ob_info = facts.target.info, facts.cluster.ob_info
    listed = () if isinstance(ob_info, Unread) else ob_info.agent_info
    if any(row.address == facts.node.address for row in listed):
        return "it is in the cluster already"
    if isinstance(info, Unread):
        return f"it does not answer: {info.reason}"
    if info.identity is not Identity.SINGLE:
        return f"it says it is {info.identity.value}, and a spare is SINGLE"
    ip = facts.node.agentInfo.ip
    if ip in facts.cluster.member_ips() and not ip_address(ip).is_loopback:
        return "a member of the cluster is on its host already"
    return ""


def _machine(facts: Facts) -> Machine:
    """Give the machine below a spare; its disk is the one its data would lie on."""
    count, memory, disks = cores(facts), total_memory(facts), disks_of(facts)
    return Machine(
        None if isinstance(count, Unread) else count,
        None if isinstance(memory, Unread) else memory,
        None if isinstance(disks, Unread) else disks.data.total.high,
    )


def _peers(facts: Facts, zone: str) -> Machine:
    """Give the middle of the machines of a zone's servers, or of all where it has none told."""
    hosts, disks = peer_hosts(facts), peer_disks(facts)
    if isinstance(hosts, Unread):
        return Machine(None, None, None)
    here = facts.cluster.zone(zone)
    ips = {server.ip for server in here.servers} if here else set()
    ips = ips & hosts.keys() or set(hosts)
    known = {} if isinstance(disks, Unread) else disks
    return Machine(
        _middle([hosts[ip].cpu_info.logical_cores for ip in ips]),
        _middle([parse_meminfo(hosts[ip].memory_info.total) or 0 for ip in ips]),
        _middle([known.get(ip, 0) for ip in ips]),
    )


def _middle(values: Sequence[float]) -> float | None:
    told = [value for value in values if value]
    return median(told) if told else None


def _near(facts: Facts, zone: str, wanted: Collection[str]) -> int:
    mine = _net(facts.node.agentInfo.ip)
    nets = {z.name: {_net(server.ip) for server in z.servers} for z in facts.cluster.zones()}
    if mine in nets.get(zone, ()):
        return 0
    return 2 if any(mine in nets.get(other, ()) for other in wanted) else 1


def _net(ip: str) -> str:
    try:
        address = ip_address(ip)
    except ValueError:
        return ip
    return str(ip_network(f"{ip}/{NET_BITS[address.version]}", strict=False))


def choose(cluster: str, wanted: Mapping[str, int], pool: Sequence[Candidate]) -> Choice:
    """Choose who joins which zone, and tell why of each.

    Places are filled zone by zone in turn, each with the spare that comes first there among those
    that leave as many places filled in the end as can be. What the request then holds of them is
    in that order.

    Args:
        cluster: As it calls itself.
        wanted: Nodes by zone.
        pool: In any order.
    """
    ordered = sorted(pool, key=lambda each: each.address)
    free, mates = _one_a_host(ordered)
    places = [
        zone for turn in range(max(wanted.values())) for zone in wanted if turn < wanted[zone]
    ]
    picked: list[tuple[str, Candidate]] = []
    missing: dict[str, int] = {}
    for at, zone in enumerate(places):
        first = _first(zone, places[at:], free)
        if first is None:
            missing[zone] = missing.get(zone, 0) + 1
            continue
        picked.append((zone, first))
        free = [each for each in free if each is not first]
    chosen = {each.node.address for _, each in picked}
    told = GrowthTold(
        cluster=cluster,
        wanted=dict(wanted),
        missing=missing,
        chosen=tuple(
            Chosen(target=each.node.address, zone=zone, why=_why(each, zone))
            for zone, each in picked
        ),
        left_out=tuple(
            LeftOut(target=each.node.address, why=_why_not(each, picked, mates))
            for each in ordered
            if each.node.address not in chosen
        ),
    )
    return Choice(tuple(picked), told)


def _one_a_host(ordered: Sequence[Candidate]) -> tuple[list[Candidate], dict[str, str]]:
    """Keep one spare of each host; gives also, of the others, whom each has to leave the host to.

    On loopback addresses hosts are simulated, and several may share one.
    """
    kept: list[Candidate] = []
    first: dict[str, str] = {}
    mates: dict[str, str] = {}
    for each in ordered:
        ip = each.node.agentInfo.ip
        if not each.offers:
            continue
        if ip in first and not ip_address(ip).is_loopback:
            mates[each.node.address] = first[ip]
            continue
        first.setdefault(ip, each.node.address)
        kept.append(each)
    return kept, mates


def _first(zone: str, places: Sequence[str], free: Sequence[Candidate]) -> Candidate | None:
    """Give who comes first in a zone, of those that cost the later places nothing."""
    most = _most_filled(places, free)
    able = sorted((each for each in free if zone in each.offers), key=lambda c: c.order(zone))
    for each in able:
        others = [other for other in free if other is not each]
        if _most_filled(places[1:], others) == most - 1:
            return each
    return None


def _most_filled(places: Sequence[str], free: Sequence[Candidate]) -> int:
    """Give how many places can be filled at most, each by another spare."""
    if all(zone in each.offers for each in free for zone in places):
        return min(len(places), len(free))
    holder: dict[int, int] = {}

    def seat(place: int, tried: set[int]) -> bool:
        for at, each in enumerate(free):
            if at in tried or places[place] not in each.offers:
                continue
            tried.add(at)
            if at not in holder or seat(holder[at], tried):
                holder[at] = place
                return True
        return False

    return sum(seat(place, set()) for place in range(len(places)))


def _why(each: Candidate, zone: str) -> str:
    offer = each.offers[zone]
    beside = [other.near for name, other in each.offers.items() if name != zone]
    # Where all zones share a network, it says nothing.
    tells_net = offer.near == 0 and (any(beside) or not beside)
    return "; ".join(_reasons(offer, zone, tells_net=tells_net))


def _reasons(offer: Offer, zone: str, *, tells_net: bool) -> Iterator[str]:
    far = offer.machine.distance(offer.peers)
    if math.isinf(far):
        yield f"{offer.machine}"
        yield "the machines of its peers are not told"
    elif far:
        yield f"the nearest to the peers in {zone} that is left: {offer.machine}"
        yield f"they have {offer.peers}"
    else:
        yield f"as the peers in {zone}: {offer.machine}"
    if tells_net:
        yield f"in the network of {zone}"
    limit = offer.made.node.obConfigs.get("memory_limit", "")
    yield f"has room for memory_limit {limit}"
    yield from offer.unfit


def _why_not(
    each: Candidate, picked: Sequence[tuple[str, Candidate]], mates: Mapping[str, str]
) -> str:
    if not each.offers:
        return "; ".join(each.refusals)
    if mate := mates.get(each.node.address):
        return f"on the same host as {mate}, which goes before it"
    return _why_not_needed(each, picked)


def _why_not_needed(each: Candidate, picked: Sequence[tuple[str, Candidate]]) -> str:
    zone = min(each.offers, key=lambda name: (each.offers[name].order, name))
    mine = each.offers[zone]
    theirs = [other.offers[zone] for name, other in picked if name == zone]
    if not theirs:
        return f"it could join {', '.join(sorted(each.offers))} only, where nobody is missing"
    last = max(theirs, key=lambda offer: offer.order)
    if len(mine.unfit) > len(last.unfit):
        return f"not needed; {'; '.join(mine.unfit)}"
    if mine.machine.distance(mine.peers) > last.machine.distance(last.peers):
        told = f"{mine.machine}; they have {mine.peers}"
        return f"not needed, and less like the peers in {zone}: {told}"
    if mine.near > last.near:
        return f"not needed, and not in the network of {zone}"
    return "not needed: as good as those chosen, and its address comes later"
