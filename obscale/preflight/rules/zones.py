"""Rules about the zone: it exists or may be created, and the cluster stays even.

Sources: obshell ob/agent/executor/ob/scale_out.go, 4.5.0.0; OceanBase
src/rootserver/ob_zone_manager.cpp, 4.3.5.
"""

import re
from collections import Counter
from typing import Final

from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Answer,
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    refuses,
    unknown,
    warns,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.reading import Unread
from obscale.sizes import quoted

DEFAULT_REGION: Final = "default_region"
"""What ADD ZONE without a region gives; obshell names none."""
LONGEST_NAME_BYTES: Final = 128
"""MAX_ZONE_LENGTH of deps/oblib/src/lib/ob_define.h, 4.3.5: no zone has a longer one."""
OPEN_TO_ALL: Final = (
    "until a tenant has a unit there, whoever reaches an agent's port can delete it with its "
    "servers: obshell's DELETE /zone asks for no password"
)
"""Up to obshell 4.5.0.0, ob/agent/api/agent_route.go: the group has no Verify()."""
_NEW_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_NEVER = re.compile(r"[\"'`\\\x00-\x1f\x7f-\x9f]")
_DIGITS = re.compile(r"\d+")


@rule(
    "zone-name-syntax",
    "the zone's name survives its way through SQL",
    prod=BLOCK,
    lab=WARN,
    worst=(BLOCK, BLOCK),
    otherwise="stage 7, or a rollback that cannot end",
    ground="B",
    is_static=True,
    source="ob/agent/executor/ob/scale_out.go, 4.5.0.0: not quoted in rollback",
)
def zone_name_syntax(facts: Facts) -> Verdict:
    """Existing names are never judged, but for what no statement survives."""
    zone = facts.node.zone
    if not zone or zone != zone.strip() or _NEVER.search(zone):
        return refuses(
            f"{quoted(zone)} has quotes, control characters or blanks at its ends"
            if zone
            else "is empty",
            "a plain name",
            "write it without" if zone else "name the zone the node joins",
            subject="zone",
        )
    if len(zone.encode()) > LONGEST_NAME_BYTES:
        return refuses(
            f"{quoted(zone)} is longer than any zone's name",
            f"≤ {LONGEST_NAME_BYTES} bytes",
            "write a shorter one",
            subject="zone",
        )
    topology = facts.cluster.topology
    if _NEW_NAME.fullmatch(zone) or facts.cluster.zone(zone):
        return passes(zone)
    if isinstance(topology, Unread):
        return unknown(topology, "letters, digits, _, unless it exists")
    return fires(
        f"{quoted(zone)} is a new name with other characters than letters, digits, _",
        "letters, digits, _",
        "pick a plainer name",
        subject="zone",
    )


@rule(
    "zone-case-near-miss",
    "the zone is no slip of the pen",
    prod=BLOCK,
    lab=WARN,
    otherwise="SILENT: a new zone is created",
    ground="B",
    source="obshell creates a zone it does not find",
)
def zone_case_near_miss(facts: Facts) -> Verdict:
    """`Zone2` beside `zone2`; but `zone4` beside `zone3` is the normal next name."""
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "an existing name, or a clearly new one")
    wanted = facts.node.zone
    if facts.cluster.zone(wanted):
        return passes(f"{wanted} exists")
    near = min(
        (zone.name for zone in topology if is_near(wanted, zone.name)),
        key=lambda name: _folded(name) != _folded(wanted),
        default=None,
    )
    if near is None:
        return passes(f"{wanted} is like no other name")
    remedy = f"did you mean {near}? Otherwise pass allow_new_zone"
    if facts.allow_new_zone:
        return warns(f"{wanted} is nearly {near}", "a clearly new name", remedy, subject="zone")
    return fires(f"{wanted} is nearly {near}", near, remedy, subject="zone")


def is_near(wanted: str, existing: str) -> bool:
    """Whether one name may be a slip for the other; `zone4` beside `zone3` is none."""
    if _folded(wanted) == _folded(existing):
        return True
    if _DIGITS.sub("#", wanted) == _DIGITS.sub("#", existing):
        return False
    return _one_edit_apart(wanted.lower(), existing.lower())


def _folded(name: str) -> str:
    bare = re.sub(r"[\s_-]", "", name.lower())
    return _DIGITS.sub(lambda match: str(int(match[0])), bare)


def _one_edit_apart(one: str, other: str) -> bool:
    """One letter more, less or other, or two neighbours swapped."""
    while one and other and one[0] == other[0]:
        one, other = one[1:], other[1:]
    while one and other and one[-1] == other[-1]:
        one, other = one[:-1], other[:-1]
    if max(len(one), len(other)) <= 1:
        return True
    return len(one) == 2 and one == other[::-1]  # noqa: PLR2004 - a pair


@rule(
    "zone-exists-active",
    "the zone takes servers",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 7",
    ground="A",
    source="RootService refuses ADD SERVER into an inactive zone; obshell does not look",
)
def zone_exists_active(facts: Facts) -> Verdict:
    """A zone that is to be created is the business of `new-zone-intent`."""
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "ACTIVE")
    zone = facts.cluster.zone(facts.node.zone)
    if zone is None:
        return not_applicable("the zone does not exist yet")
    if not zone.inner_status:
        gap = Unread("this version does not tell the zone's state", supported=False)
        return unknown(gap, "ACTIVE")
    if zone.inner_status != "ACTIVE":
        return blocks(f"{zone.name} is {zone.inner_status}", "ACTIVE", "start the zone first")
    return passes("ACTIVE", "ACTIVE")


@rule(
    "new-zone-intent",
    "a zone is created on purpose only",
    prod=BLOCK,
    lab=WARN,
    otherwise="SILENT: a new zone is created",
    ground="B",
    source="obshell creates a zone it does not find",
)
def new_zone_intent(facts: Facts) -> Verdict:
    """Not knowing is as dangerous as not existing."""
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "an existing zone", prod=Answer.BLOCK)
    wanted = facts.node.zone
    if facts.cluster.zone(wanted):
        return passes(f"{wanted} exists")
    if facts.allow_new_zone:
        return notes(f"{wanted} will be created", "allow_new_zone", OPEN_TO_ALL)
    known = ", ".join(zone.name for zone in topology)
    return fires(
        f"zone {wanted} does not exist",
        f"one of {known}",
        "correct the zone, or pass allow_new_zone",
        subject="zone",
    )


@rule(
    "new-zone-region",
    "a new zone lands in its peers' region",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT",
    source="src/rootserver/ob_zone_manager.cpp, 4.3.5: ADD ZONE without region",
)
def new_zone_region(facts: Facts) -> Verdict:
    """Obshell names no region, so it becomes default_region; clusters usually are in sys_region."""
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "its peers' region")
    if facts.cluster.zone(facts.node.zone):
        return not_applicable("the zone exists")
    regions = {zone.region_name for zone in topology if zone.region_name}
    if not regions:
        return unknown("this version does not tell regions", DEFAULT_REGION)
    if regions != {DEFAULT_REGION}:
        region = min(regions)
        return fires(
            f"it would be in {DEFAULT_REGION}, its peers are in {', '.join(sorted(regions))}",
            "its peers' region",
            f"after joining: ALTER SYSTEM ALTER ZONE {facts.node.zone} SET REGION '{region}'",
        )
    return passes(DEFAULT_REGION)


@rule(
    "zone-balance",
    "all zones end up with as many servers",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT",
    source="a tenant's unit_num is one number for all zones",
)
def zone_balance(facts: Facts) -> Verdict:
    """After the whole batch; the surplus of one zone is room to move, not more capacity."""
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "as many in each zone")
    before = {zone.name: len(zone.servers) for zone in topology}
    if facts.node.zone not in before:
        return not_applicable("a new zone begins empty")
    joining = Counter(node.zone for node in facts.joining())
    after = {name: count + joining[name] for name, count in before.items()}
    measured = f"{row_of(before)} becomes {row_of(after)}"
    spread, was = spread_of(after), spread_of(before)
    if spread == 0:
        return passes(measured, "as many in each zone")
    if spread <= was:
        return notes(measured, "as many in each zone")
    return fires(measured, "as many in each zone", "add the same number to every zone")


def row_of(counts: dict[str, int]) -> str:
    """Write servers per zone in the order of the zones' names, e.g. `1-2-1`."""
    return "-".join(str(counts[name]) for name in sorted(counts))


def spread_of(counts: dict[str, int]) -> int:
    """Give by how many servers the largest zone is larger than the smallest."""
    return max(counts.values()) - min(counts.values())


RULES: Final = (
    zone_name_syntax,
    zone_case_near_miss,
    zone_exists_active,
    new_zone_intent,
    new_zone_region,
    zone_balance,
)
