"""Tests of the documented sample request in both profiles."""

import pytest

from obscale.preflight.facts import HOST_FACTS_MISSING
from obscale.reading import Unread

TABLE = {
    "cfg-values-are-strings": ("pass", "pass"),
    "cfg-key-known": ("pass", "pass"),
    "cfg-key-charset": ("pass", "pass"),
    "cfg-key-reserved": ("pass", "pass"),
    "cfg-value-delimiters": ("pass", "pass"),
    "cfg-capacity-syntax": ("pass", "pass"),
    "cfg-int-range": ("pass", "pass"),
    "cfg-mutual-precedence": ("n-a", "n-a"),
    "cfg-port-range": ("pass", "pass"),
    "cfg-port-distinct": ("pass", "pass"),
    "zone-name-syntax": ("pass", "pass"),
    "zone-case-near-miss": ("pass", "pass"),
    "mem-floor": ("pass", "pass"),
    "mem-tenant-headroom": ("pass", "pass"),
    "mem-system-vs-hidden": ("pass", "pass"),
    "mem-system-ratio": ("info", "info"),
    "mem-production-floor": ("pass", "pass"),
    "mem-fits-total": ("pass", "pass"),
    "mem-available": ("pass", "pass"),
    "mem-start-minimum": ("pass", "pass"),
    "mem-percentage-range": ("n-a", "n-a"),
    "mem-container": ("n-a", "n-a"),
    "cpu-floor": ("pass", "pass"),
    "cpu-count-overcommit": ("pass", "pass"),
    "disk-path-resolvable": ("pass", "pass"),
    "disk-fits": ("pass", "pass"),
    "disk-default-percent-trap": ("n-a", "n-a"),
    "disk-percent-sum": ("n-a", "n-a"),
    "disk-growth-fits": ("n-a", "n-a"),
    "datafile-autoextend-consistent": ("n-a", "n-a"),
    "disk-same-mount": ("warn", "info"),
    "disk-home-shared": ("n-a", "n-a"),
    "disk-fs-type": ("pass", "pass"),
    "log-disk-min": ("pass", "pass"),
    "log-disk-ratio": ("info", "info"),
    "datafile-min": ("pass", "pass"),
    "datafile-ratio": ("info", "info"),
    "ulimit-nofile": ("pass", "pass"),
    "ulimit-nproc": ("pass", "pass"),
    "clock-skew": ("pass", "pass"),
    "clock-precision": ("pass", "pass"),
    "zone-balance": ("warn", "info"),
    "rebalance-impact": ("info", "info"),
    "spec-drift": ("pass", "pass"),
    "param-override-drift": ("pass", "pass"),
    "param-omitted-vs-peers": ("pass", "pass"),
    "units-fit": ("pass", "pass"),
}
BASE = {"disk-same-mount", "zone-balance"}


def loud(findings):
    """Ids of what has to be acknowledged or forbids the submit."""
    return {finding.rule for finding in (*findings.blockers, *findings.warnings)}


@pytest.mark.parametrize(("rule", "answers"), TABLE.items(), ids=TABLE)
def test_each_row_of_the_worked_example_is_answered_as_printed(world, rule, answers):
    """The sample on a 64 GiB host against a healthy three-zone cluster."""
    found = tuple(world.finding(rule, profile).answer.value for profile in ("prod", "lab"))

    assert found == answers


def test_the_sample_is_ready_with_two_warnings_in_production_and_ready_in_the_lab(world):
    """Nothing else warns, nothing is unknown."""
    prod, lab = world.judge("prod"), world.judge("lab")

    assert prod.verdict == "ready with 2 warnings"
    assert loud(prod) == BASE
    assert lab.verdict == "ready"
    assert prod.count("unknown") == 0


def test_the_arithmetic_of_the_example_is_shown(world):
    """Measured and needed name the numbers of the worked example."""
    headroom, disk = world.finding("mem-tenant-headroom"), world.finding("disk-fits")

    assert (headroom.measured, headroom.needed) == ("16G - 8G leaves 8G", "≥ 5G")
    assert disk.measured == "53G in all on /"
    assert disk.needed == "≤ 421.1G to 446G free, as far as df shows"
    assert world.finding("mem-fits-total").needed == "≤ 56.5G"


def three_disks(world, make_disk):
    return world.ask(data_dir="/data/ob", redo_dir="/redo/ob").disks(
        make_disk("/"),
        make_disk("/data", "/dev/vdb1", "466G", "3.3G"),
        make_disk("/redo", "/dev/vdc1", "466G", "3.3G"),
    )


VARIANTS = {
    "plain http everywhere": (
        lambda w, d: w.set(schemes=("http", "http")),
        {"agent-tls-scheme": ("warn", "info")},
        set(),
    ),
    "three disks": (three_disks, {}, {"disk-same-mount"}),
    "a 16 GiB machine": (
        lambda w, d: w.memory("16252928 kB", "15204352 kB"),
        {"mem-fits-total": ("block", "warn"), "mem-available": ("block", "warn")},
        set(),
    ),
    "a 24 GiB machine": (lambda w, d: w.memory("24536678 kB", "23068672 kB"), {}, set()),
    "400G used": (
        lambda w, d: w.disks(d("/", used="400G")),
        {"disk-fits": ("warn", "info")},
        set(),
    ),
    "a 70G disk": (
        lambda w, d: w.disks(d("/", total="70G")),
        {"disk-fits": ("warn", "info")},
        set(),
    ),
    "a 55G disk": (
        lambda w, d: w.disks(d("/", total="55G", used="10G")),
        {"disk-fits": ("block", "block")},
        set(),
    ),
    "a cluster of OceanBase 4.1": (
        lambda w, d: (
            w.change("info", ob_version="4.1.0.0-1")
            .change("entry", ob_version="4.1.0.0-1")
            .change("cluster_info", ob_version="4.1.0.0")
            .change_server(1, version="4.1.0.0_1")
            .change_server(2, version="4.1.0.0_1")
            .change_server(3, version="4.1.0.0_1")
        ),
        {},
        set(),
    ),
    "a spare with obshell 4.2.6.0": (
        lambda w, d: w.change("info", version="4.2.6.0-1", architecture="").set(
            host=Unread("not in 4.2.6.0", supported=False, covered_by=HOST_FACTS_MISSING)
        ),
        {
            "host-facts-missing": ("unknown", "unknown"),
            "agent-version-equal": ("warn", "info"),
            "agent-binary-arch": ("unknown", "unknown"),
        },
        {"disk-same-mount"},
    ),
}


@pytest.mark.parametrize(("change", "raised", "gone"), VARIANTS.values(), ids=VARIANTS)
def test_the_same_request_elsewhere_raises_just_what_the_example_says(
    world, make_disk, change, raised, gone
):
    """Each variant adds its own findings and no others."""
    change(world, make_disk)

    prod, lab = world.judge("prod"), world.judge("lab")

    assert loud(prod) == (BASE - gone) | set(raised)
    for rule, (in_prod, in_lab) in raised.items():
        assert prod.of_rule(rule)[0].answer == in_prod
        assert lab.of_rule(rule)[0].answer == in_lab
    blocked = any(answer == "block" for answer, _ in raised.values())
    assert (prod.verdict == "blocked") is blocked


def test_a_spare_that_hides_its_machine_names_what_was_not_judged(world):
    """One finding lists the rules that need the machine; none of them is shown as passed."""
    world.set(host=Unread("not in 4.2.6.0", supported=False, covered_by=HOST_FACTS_MISSING))

    findings = world.judge()

    told = findings.of_rule("host-facts-missing")[0]
    assert "mem-fits-total" in told.measured
    assert "ulimit-nofile" in told.measured
    assert not findings.of_rule("mem-fits-total")
    assert findings.of_rule("mem-floor")[0].answer == "pass"
    assert "df -B1" in told.remedy
