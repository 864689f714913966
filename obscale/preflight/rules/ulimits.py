"""Rules about process limits on the target, and about its clock.

Sources: obshell ob/agent/executor/host/info.go and ob/agent/secure, 4.3.2.0; documentation,
Configure the clock source; the checks of OceanBase Deployer, where said so.
"""

from dataclasses import dataclass
from typing import Final

from obscale.agent.clock import WARN_SECONDS, ClockReading, farthest_apart
from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Verdict,
    blocks_in_prod,
    fires,
    notes,
    passes,
    refuses,
    unknown,
    warns,
    warns_always,
)
from obscale.preflight.host_facts import host_of, sharing
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.rules.versions import cluster_ob_version, numbers_of, parse_agent_version
from obscale.reading import Unread

NOFILE_EACH: Final = 20_000
NOFILE_WANTED: Final = 655_350
NPROC_EACH: Final = 4_096
LIFETIME_SECONDS: Final = 10.0
"""How long a call between agents is honoured, from 4.3.2.0 on. Source: ob/agent/secure, commit
c98d37c."""
OLD_LIFETIME_SECONDS: Final = 1.0
LIFETIME_SINCE: Final = (4, 3, 2, 0)
TOLERANT_SINCE: Final = (4, 1)
"""From here on OceanBase stands 2 s, before 100 ms."""
BLOCK_SECONDS: Final = 0.5
BLOCK_SECONDS_OLD: Final = 0.1
NOTE_SECONDS: Final = 0.01
LAB_BLOCK_SECONDS: Final = 2.0
LAB_WARN_SECONDS: Final = 0.5
_RESTART: Final = "raise it in limits.conf, then restart the target's obshell: it reads limits once"


@rule(
    "ulimit-nofile",
    "the observer may open enough files",
    prod=WARN,
    lab=INFO,
    worst=(BLOCK, WARN),
    otherwise="stage 5 or RUNTIME",
    ground="B",
    source="OceanBase Deployer",
)
def ulimit_nofile(facts: Facts) -> Verdict:
    """The observer inherits the agent's soft limit."""
    host = host_of(facts)
    if isinstance(host, Unread):
        return unknown(host)
    text = host.ulimit.nofile_soft
    value, need = _limit(text), NOFILE_EACH * _observers(facts)
    if value is None:
        return unknown(f"ulimit -n reads {text!r}", f"≥ {NOFILE_WANTED}")
    if value < need:
        return blocks_in_prod(text, f"≥ {need}", _RESTART)
    if value < NOFILE_WANTED:
        return fires(text, f"≥ {NOFILE_WANTED}", _RESTART)
    return passes(text, f"≥ {NOFILE_WANTED}")


@rule(
    "ulimit-nproc",
    "the observer may start enough threads",
    prod=BLOCK,
    lab=WARN,
    otherwise="RUNTIME",
    ground="B",
    source="OceanBase Deployer",
)
def ulimit_nproc(facts: Facts) -> Verdict:
    """Each thread counts."""
    host = host_of(facts)
    if isinstance(host, Unread):
        return unknown(host)
    text = host.ulimit.max_user_processes_soft
    value, wanted = _limit(text), NPROC_EACH * _observers(facts)
    if value is None:
        return unknown(f"ulimit -u reads {text!r}", f"≥ {wanted}")
    if value < NPROC_EACH:
        return fires(text, f"≥ {NPROC_EACH}", _RESTART)
    if value < wanted:
        return warns(text, f"≥ {wanted} for {_observers(facts)} observers", _RESTART)
    return passes(text, f"≥ {wanted}")


def _observers(facts: Facts) -> int:
    shared = sharing(facts)
    return shared.starting + shared.running


def _limit(text: str) -> float | None:
    if text.strip() == "unlimited":
        return float("inf")
    return int(text) if text.isascii() and text.isdigit() else None


@dataclass(frozen=True)
class Skew:
    """The largest offset that is proved, between the target and one member.

    Args:
        proved: Seconds, errors of both readings subtracted.
        agent: The member.
        ahead: Whether the target is ahead.
    """

    proved: float
    agent: str
    ahead: bool

    def __str__(self) -> str:
        off = f"{self.proved * 1000:.0f}"
        if self.ahead:
            return f"target {off} ms ahead of {self.agent}"
        return f"target {off} ms behind {self.agent}"


def _skew(facts: Facts) -> Skew | Unread:
    mine = facts.target.clock
    if isinstance(mine, Unread):
        return mine
    told = _told(facts)
    if not told:
        gaps = [gap for gap in facts.cluster.clocks.values() if isinstance(gap, Unread)]
        return gaps[0] if gaps else Unread("no member's clock could be read")
    skews = []
    for agent, reading in told.items():
        apart = mine.offset_seconds - reading.offset_seconds
        proved = abs(apart) - mine.error_seconds - reading.error_seconds
        skews.append(Skew(max(proved, 0.0), agent, apart > 0))
    return max(skews, key=lambda skew: skew.proved)


@dataclass(frozen=True)
class Compared:
    """How closely the target's clock was compared with that of the member read worst.

    Args:
        error: Seconds, the errors of both readings together.
        most: Seconds the two may be apart at most, as far as is proved.
    """

    error: float
    most: float


def _compared(facts: Facts) -> Compared | None:
    """Give the worst comparison; None: there was none."""
    mine = facts.target.clock
    if isinstance(mine, Unread) or not (told := _told(facts)):
        return None
    return Compared(
        error=mine.error_seconds + max(reading.error_seconds for reading in told.values()),
        most=max(farthest_apart(mine, reading) for reading in told.values()),
    )


def _told(facts: Facts) -> dict[str, ClockReading]:
    return {a: r for a, r in facts.cluster.clocks.items() if isinstance(r, ClockReading)}


@rule(
    "clock-skew",
    "the target's clock agrees with the cluster's",
    prod=BLOCK,
    lab=WARN,
    worst=(BLOCK, BLOCK),
    otherwise="stage 2, or SILENT trouble with leases and elections",
    ground="B",
    source="documentation, Configure the clock source; ob/agent/secure, 4.3.2.0",
)
def clock_skew(facts: Facts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """Only what is proved, with the round trips subtracted."""
    skew = _skew(facts)
    if isinstance(skew, Unread):
        return unknown(skew, f"≤ {WARN_SECONDS * 1000:.0f} ms")
    lifetime, block = _lifetime(facts), _block_seconds(facts)
    remedy = "have chrony or NTP correct the clock of the host that is wrong"
    offset = skew.proved
    if offset > lifetime:
        return refuses(str(skew), f"≤ {lifetime:.0f} s, or calls between agents expire", remedy)
    if offset > LAB_BLOCK_SECONDS:
        return refuses(str(skew), f"≤ {LAB_BLOCK_SECONDS:.0f} s", remedy)
    needed = f"≤ {block * 1000:.0f} ms"
    if offset > block:
        if offset > LAB_WARN_SECONDS:
            return blocks_in_prod(str(skew), needed, remedy)
        return Verdict("fires", str(skew), needed, remedy, prod=BLOCK, lab=INFO)
    if offset > LAB_WARN_SECONDS:
        return warns_always(str(skew), f"≤ {WARN_SECONDS * 1000:.0f} ms", remedy)
    if offset > WARN_SECONDS:
        return warns(str(skew), f"≤ {WARN_SECONDS * 1000:.0f} ms", remedy)
    if offset > NOTE_SECONDS:
        return notes(str(skew), f"≤ {WARN_SECONDS * 1000:.0f} ms")
    return passes(_nothing_proved(facts), f"≤ {WARN_SECONDS * 1000:.0f} ms")


def _nothing_proved(facts: Facts) -> str:
    """Say how far apart they are at most; beyond what is warned of, how closely it was looked."""
    compared = _compared(facts)
    if compared is None or compared.most <= WARN_SECONDS:
        # No closer: two looks at the same clocks would read differently by some milliseconds.
        return f"within {WARN_SECONDS * 1000:.0f} ms"
    return f"no offset is proved, to {compared.error * 1000:.0f} ms"


def _lifetime(facts: Facts) -> float:
    """How long calls between target and cluster are honoured: the shorter of both sides'."""
    for info in (facts.target.info, facts.cluster.info):
        version = None if isinstance(info, Unread) else parse_agent_version(info.version)
        if version is not None and version < LIFETIME_SINCE:
            return OLD_LIFETIME_SECONDS
    return LIFETIME_SECONDS


def _block_seconds(facts: Facts) -> float:
    version = cluster_ob_version(facts)
    if version is not None and numbers_of(version.version)[:2] < TOLERANT_SINCE:
        return BLOCK_SECONDS_OLD
    return BLOCK_SECONDS


@rule(
    "clock-precision",
    "the clocks could be compared closely enough",
    prod=WARN,
    lab=INFO,
    otherwise="",
    source="half the round trip is the possible error",
)
def clock_precision(facts: Facts) -> Verdict:
    """A slow line proves little; as long as it rules out what OceanBase does not bear, enough."""
    mine = facts.target.clock
    if isinstance(mine, Unread):
        return unknown(mine)
    compared = _compared(facts)
    if compared is None:
        return unknown("no member's clock could be read")
    needed = f"≤ {WARN_SECONDS * 1000:.0f} ms"
    if compared.error <= WARN_SECONDS:
        return passes(f"to {compared.error * 1000:.1f} ms", needed)
    said = f"clocks are compared to {compared.error * 1000:.0f} ms only"
    if compared.most <= _bearable_seconds(facts):
        return notes(
            f"{said}: they are no further than {compared.most * 1000:.0f} ms apart", needed
        )
    return unknown(said, needed, "run closer to the cluster")


def _bearable_seconds(facts: Facts) -> float:
    """How far apart clocks may be before OceanBase or calls between agents suffer."""
    old = _block_seconds(facts) < BLOCK_SECONDS
    return min(_lifetime(facts), BLOCK_SECONDS_OLD if old else LAB_BLOCK_SECONDS)


RULES: Final = (ulimit_nofile, ulimit_nproc, clock_skew, clock_precision)
