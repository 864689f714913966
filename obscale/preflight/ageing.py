"""The findings that age within a minute, and how they are judged again.

Between preflight and submit a run may wait: for a lock, for a person, for a worker. Who the target
is, who holds the lock and which DAGs are unfinished is looked at right before each submit anyway
(obscale/submit/decide.py); these rules are what that look does not see.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from obscale.preflight.facts import Facts
from obscale.preflight.finding import Findings
from obscale.preflight.judge import accepted
from obscale.preflight.registry import RULES, judge
from obscale.request.models import OverrideSpec, Profile

FRESH_SECONDS: Final = 60
"""A preflight younger than this is believed."""
AGEING: Final = (
    "agent-auth",
    "agent-address-matches",
    "target-observer-not-running",
    "server-already-registered",
    "ob-version-equal",
    "cluster-rootservice-present",
    "zone-exists-active",
    "new-zone-intent",
    "mem-available",
    "mem-start-minimum",
    "disk-fits",
    "disk-recent-usage",
    "clock-skew",
    "preflight-freshness",
)
"""Ids, in the order of the catalogue's subjects."""


def is_stale(judged_at: datetime, now: datetime) -> bool:
    """Whether a preflight is too old to submit on.

    Args:
        judged_at: When its facts were read, aware.
        now: Aware.
    """
    return now - judged_at > timedelta(seconds=FRESH_SECONDS)


def judge_ageing(
    facts: Facts, profile: Profile, overrides: Sequence[OverrideSpec] = ()
) -> Findings:
    """Judge fresh facts by the rules that age, with what the request accepts."""
    rules = [rule for rule in RULES if rule.id in AGEING]
    today = (facts.now or datetime.now(UTC)).date()
    return accepted(judge(facts, profile, rules=rules), overrides, today)
