"""Tests of overrides: for a reason and a time, never hidden."""

from copy import deepcopy
from datetime import UTC, date, datetime, timedelta

import pytest

from obscale.errors import SpecError
from obscale.preflight.finding import Answer
from obscale.preflight.judge import (
    accepted,
    judge_with_overrides,
    may_be_overridden,
    override_problems,
    unneeded,
)
from obscale.preflight.registry import RULES
from obscale.report.page import render_markdown
from obscale.report.report import ScaleOutReport
from obscale.request.models import AgentInfoSpec, NodeSpec, OverrideSpec
from obscale.request.scale_out import scale_outs_of
from obscale.spec import checked, parse_spec

TODAY = datetime.now(UTC).date()
TOMORROW = TODAY + timedelta(days=1)
REQUEST = """
cluster: prod
nodes:
  - {agentInfo: {ip: 10.0.0.4}, zone: zone2}
overrides:
  - RULE
"""


def shares(world, data, log):
    """Ask for shares of the disk instead of sizes."""
    world.drop("datafile_size", "log_disk_size")
    return world.ask(datafile_disk_percentage=data, log_disk_percentage=log)


def override(rule, *, until=TOMORROW, reason="bought, DBA-17"):
    return OverrideSpec(rule=rule, reason=reason, until=until)


def refused(line):
    """The problems of a request with one line of overrides."""
    with pytest.raises(SpecError) as caught:
        parse_spec(REQUEST.replace("RULE", line), "request.yaml")
    return caught.value.problems


def test_an_accepted_block_keeps_its_answer_and_loses_its_weight(world):
    """16 GiB on a machine of 15.5: blocked, unless somebody answers for it until a day."""
    world.memory("16252928 kB", "15204352 kB")
    plain = world.judge()

    findings = judge_with_overrides(
        world.facts(), "prod", (override("mem-fits-total"), override("mem-available"))
    )

    (finding,) = findings.of_rule("mem-fits-total")
    assert {f.rule for f in plain.blockers} == {"mem-fits-total", "mem-available"}
    assert (finding.answer, finding.weight) == (Answer.BLOCK, Answer.INFO)
    assert finding.overridden_by is not None
    assert finding.overridden_by.reason == "bought, DBA-17"
    assert finding.overridden_by.until == TOMORROW
    assert not findings.blockers
    assert findings.verdict == "ready with 2 warnings and 2 overrides"


def test_an_accepted_warning_is_counted_as_an_override(world):
    """The base case has two warnings; one of them is accepted."""
    findings = judge_with_overrides(world.facts(), "prod", (override("disk-same-mount"),))

    assert findings.verdict == "ready with 1 warning and 1 override"
    assert [f.rule for f in findings.overridden] == ["disk-same-mount"]


def test_what_passes_or_merely_informs_is_never_marked(world):
    """An override of a rule that found nothing changes nothing, and is named as not needed."""
    wanted = (override("mem-fits-total"), override("rebalance-impact"))

    findings = judge_with_overrides(world.facts(), "prod", wanted)

    assert not findings.overridden
    assert unneeded(findings, wanted) == ("mem-fits-total", "rebalance-impact")


def test_an_override_holds_on_its_last_day_and_not_on_the_next(world):
    """`until` is inclusive; a run that starts the day after is judged without it."""
    findings, last = world.judge(), date(2026, 12, 31)
    wanted = (override("zone-balance", until=last),)

    on_it = accepted(findings, wanted, last)
    after = accepted(findings, wanted, last + timedelta(days=1))

    assert [f.rule for f in on_it.overridden] == ["zone-balance"]
    assert not after.overridden
    assert after.warnings == findings.warnings


@pytest.mark.parametrize(
    "rule", [r for r in RULES if not may_be_overridden(r)], ids=lambda rule: rule.id
)
def test_a_sure_refusal_cannot_be_overridden(world, rule):
    """Identity, version, syntax, lock: neither as input nor behind its back."""
    problems = override_problems([override(rule.id)], TODAY)
    findings = judge_with_overrides(
        world.ask(memory_limit="3G").facts(), "prod", (override(rule.id),)
    )

    assert len(problems) == 1
    assert f"{rule.id} may not be overridden" in problems[0][1]
    assert "SILENT" not in problems[0][1]
    assert not findings.of_rule(rule.id) or not findings.of_rule(rule.id)[0].overridden_by


@pytest.mark.parametrize(
    ("rule", "warn", "block"),
    [
        (
            "disk-fits",
            lambda w, d: w.disks(d("/", used="400G")),
            lambda w, d: w.ask(datafile_size="500G"),
        ),
        (
            "disk-percent-sum",
            lambda w, d: shares(w, "55", "40"),
            lambda w, d: shares(w, "70", "40"),
        ),
        (
            "mem-system-ratio",
            lambda w, d: w.ask(system_memory="13G"),
            lambda w, d: w.ask(system_memory="16G"),
        ),
        (
            "agent-tls-scheme",
            lambda w, d: w.set(schemes=("http", "http")),
            lambda w, d: w.set(schemes=("https", "http")),
        ),
    ],
    ids=["disk-fits", "disk-percent-sum", "mem-system-ratio", "agent-tls-scheme"],
)
def test_the_warnings_of_a_rule_that_may_block_for_sure_can_be_accepted(
    world, make_disk, rule, warn, block
):
    """Too close to call is somebody's to answer for; a disk proved too small is not."""
    wanted = (override(rule),)
    warned = judge_with_overrides(warn(deepcopy(world), make_disk).facts(), "prod", wanted)
    blocked = judge_with_overrides(block(deepcopy(world), make_disk).facts(), "prod", wanted)

    assert override_problems(wanted, TODAY) == []
    assert [f.rule for f in warned.overridden] == [rule]
    refused = next(f for f in blocked.blockers if f.rule == rule)
    assert "its override does not help, the refusal is certain" in refused.remedy
    assert unneeded(blocked, wanted) == ()


@pytest.mark.parametrize(
    "rule", [r for r in RULES if may_be_overridden(r)], ids=lambda rule: rule.id
)
def test_every_other_rule_may_be_overridden(rule):
    """Damage that somebody answers for is theirs to accept."""
    assert override_problems([override(rule.id)], TODAY) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "{rule: mem-fit-total, reason: known, until: 2999-01-01}",
            "request.yaml:6: overrides[0]: no rule is called 'mem-fit-total'; did you mean",
        ),
        (
            "{rule: zzz, reason: known, until: 2999-01-01}",
            "no rule is called 'zzz'; obscale explain lists all rules",
        ),
        (
            "{rule: zone-balance, reason: known, until: 2020-02-02}",
            "the override of zone-balance ended on 2020-02-02",
        ),
        (
            "{rule: zone-balance, reason: '  ', until: 2999-01-01}",
            "is empty; say why the finding is accepted",
        ),
        (
            "{rule: ob-version-equal, reason: known, until: 2999-01-01}",
            "ob-version-equal may not be overridden",
        ),
        (
            "{rule: zone-balance, reason: known}",
            "overrides[0].until: missing; write the last day it is accepted, e.g. 2026-12-31",
        ),
        (
            "{rule: zone-balance, reason: known, until: 20261231}",
            "overrides[0].until: must be a day, e.g. 2026-12-31",
        ),
        (
            "{rule: zone-balance, reason: known, until: 2026-02-30}",
            "overrides[0].until",
        ),
        (
            "{rule: zone-balance, cause: known, until: 2999-01-01}",
            "overrides[0].cause: unknown field",
        ),
    ],
)
def test_an_unusable_override_is_bad_input_told_in_one_line(line, told):
    """Where, what is wrong, what to write instead; nothing was asked of any agent."""
    problems = refused(line)

    assert any(told in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_two_overrides_of_one_rule_are_refused():
    """Which reason holds would be anybody's guess."""
    node = NodeSpec(agentInfo=AgentInfoSpec(ip="10.0.0.4"), zone="zone2")

    with pytest.raises(SpecError, match="zone-balance is overridden twice"):
        checked(node, overrides=[override("zone-balance"), override("zone-balance")])


def test_overrides_reach_every_order_of_a_request():
    """The tasks judge by them, for each node of the file."""
    line = "{rule: zone-balance, reason: '  two more   follow ', until: 2999-01-01}"

    (order,) = scale_outs_of(parse_spec(REQUEST.replace("RULE", line), "request.yaml"))

    assert order.overrides == (
        override("zone-balance", until=date(2999, 1, 1), reason="two more follow"),
    )


def test_the_report_carries_the_reason(world):
    """An accepted finding is never quietly gone."""
    findings = judge_with_overrides(world.facts(), "prod", (override("disk-same-mount"),))

    page = render_markdown(
        ScaleOutReport(
            outcome="verified",
            cluster="obcluster",
            target="10.0.0.4:2886",
            zone="zone2",
            obConfigs={},
            findings=findings.by_weight(),
        )
    )

    assert f"warn, overridden until {TOMORROW}: bought, DBA-17" in page
