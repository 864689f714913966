"""Rules about our own clock and about the target's time zone.

The offset of the target from the cluster is the business of `ulimits.py`. Source: obshell
ob/agent/secure/auth.go and GET /time, 4.5.0.0.
"""

from collections.abc import Iterable
from statistics import median
from typing import Final

from obscale.agent.clock import ClockReading
from obscale.preflight.facts import Facts
from obscale.preflight.finding import Verdict, fires, passes, unknown
from obscale.preflight.rule import INFO, WARN, rule
from obscale.reading import Unread

SIGNER_SECONDS: Final = 2.0


@rule(
    "signer-clock",
    "this machine's clock is right",
    prod=INFO,
    lab=INFO,
    otherwise="",
    source="ob/agent/secure/auth.go, 4.5.0.0: a header expires by the agent's clock",
)
def signer_clock(facts: Facts) -> Verdict:
    """Headers are built on the agent's clock, so ours does no harm; it is told all the same."""
    readings = [r for r in facts.cluster.clocks.values() if isinstance(r, ClockReading)]
    mine = facts.target.clock
    if not readings and isinstance(mine, ClockReading):
        readings = [mine]
    needed = f"≤ {SIGNER_SECONDS:.0f} s"
    if not readings:
        return unknown(_gap(facts.cluster.clocks.values()), needed)
    # One wrong member is no wrong runner: what half of them agree on counts.
    off = median(reading.offset_seconds for reading in readings)
    sure = max(abs(off) - max(reading.error_seconds for reading in readings), 0.0)
    if sure > SIGNER_SECONDS:
        behind = f"this machine is {sure:.1f} s behind the cluster"
        ahead = f"this machine is {sure:.1f} s ahead of the cluster"
        return fires(
            behind if off > 0 else ahead,
            needed,
            "have chrony or NTP correct this machine's clock",
        )
    return passes(f"within {SIGNER_SECONDS:.0f} s of the cluster", needed)


def _gap(clocks: Iterable[ClockReading | Unread]) -> Unread:
    gaps = [reading for reading in clocks if isinstance(reading, Unread)]
    return gaps[0] if gaps else Unread("no clock could be read")


@rule(
    "tz-match",
    "the target is in the cluster's time zone",
    prod=WARN,
    lab=INFO,
    otherwise="logs that do not line up",
    source="obshell GET /time",
)
def tz_match(facts: Facts) -> Verdict:
    """The offset from UTC in force there at this moment."""
    mine, told = facts.target.utc_offset_seconds, facts.cluster.utc_offsets_seconds
    if isinstance(mine, Unread):
        return unknown(mine, "as its peers")
    if not told:
        return unknown(_gap(facts.cluster.clocks.values()), "as its peers")
    theirs = sorted(set(told.values()))
    needed = ", ".join(map(_told, theirs))
    if theirs != [mine]:
        return fires(_told(mine), needed, "set one time zone on all hosts")
    return passes(_told(mine), needed)


def _told(offset_seconds: float) -> str:
    minutes = round(abs(offset_seconds) / 60)
    return f"UTC{'-' if offset_seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


RULES: Final = (signer_clock, tz_match)
