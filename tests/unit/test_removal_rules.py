"""Tests that each rule of a removal passes, fires, and is unknown without its evidence."""

import re
from dataclasses import replace

import pytest

from obscale.agent.models import AgentStatus
from obscale.language.translations import translations_of
from obscale.preflight.rule import Rule
from obscale.reading import Unread
from obscale.removal.judge import RULES
from tests.unit.removal_facts import (
    ENTRY,
    GIB,
    LEAVING,
    NEVER,
    Case,
    changed_info,
    failed,
    server,
    stats,
    stray,
    unit,
)

GAP = Unread("it did not answer")
SILENT = Unread("10.0.0.4:2886: no answer within 9 s")
ZH = translations_of("zh")
CHINESE = re.compile("[\u4e00-\u9fff]")
OLD = "4.2.5.0-1"
BIG = unit("u_big", cores=2, memory=9, log=2)
SCALE_IN, REPLICAS = "Cluster scale in", "Scale in tenant replicas"
BUSY = AgentStatus.model_validate({"agent": {}, "obState": 3, "underMaintenance": True})
HALF = AgentStatus.model_validate({"agent": {}, "obState": 1})


def entry(case, **changes):
    """Have the entry agent say other things of itself."""
    return case.of_cluster(info=changed_info(case.facts().cluster.info, changes))


def leaving(case, **facts):
    """Replace what the leaving agent has told."""
    return case.set(leaving=replace(case.facts().leaving, **facts))


def untold(case):
    """This version does not tell where units are."""
    return case.asks(tells_units=False)


def called(case, zone):
    """A zone of this name is to go."""
    return case.asks(servers=case.servers | {zone: [server(5)]}).zone_leaves(zone)


def three(case, *, memory=(4, 4)):
    """zone2 has two receivers and three tenants on the leaving server."""
    case.servers["zone2"] += [server(5)]
    case.alter(2, stats=stats(memory[0])).alter(5, stats=stats(memory[1]))
    sizes = {"a": 2, "b": 2, "c": 3}
    case.units = {
        name: (1000 + n, unit(name, cores=1, memory=size, log=1, number=n), 1)
        for n, (name, size) in enumerate(sizes.items())
    }
    return case.holding()


# rule: list of (change, answer in production, answer in the lab)
FIRES = {
    "rm-version": [(lambda c: entry(c, version=OLD), "block", "block")],
    "rm-cluster-pinned": [
        (lambda c: c.set(expected_name="other"), "block", "warn"),
        (lambda c: c.set(expected_id=None), "warn", "info"),
    ],
    "rm-address": [
        (lambda c: c.leaves(4, zone="zone3"), "block", "block"),
        (lambda c: c.leaves(4, port=2882), "block", "block"),
        (lambda c: c.zone_leaves("zone_2"), "block", "block"),
        # Two servers that say they are beside this agent.
        (lambda c: c.alter(2, ip="10.0.0.4", svr_port=3882), "block", "block"),
    ],
    "rm-target-known": [
        (lambda c: c.asks(agents={4: None}), "block", "block"),
        (lambda c: c.asks(agents={4: "SCALING IN"}).drop(4), "warn", "warn"),
        (lambda c: c.leaves(9), "info", "info"),
        (lambda c: c.zone_leaves("zone9"), "info", "info"),
    ],
    "rm-entry-agents": [
        (lambda c: entry(c, identity="SINGLE"), "block", "block"),
        (lambda c: c.of_cluster(status=HALF), "block", "block"),
        (lambda c: c.leaves(1, zone="zone1"), "block", "block"),
        (lambda c: c.of_cluster(entry=LEAVING), "block", "block"),
        (lambda c: c.zone_leaves("zone1"), "block", "block"),
        (lambda c: c.set(dropped=(LEAVING,)), "info", "info"),
    ],
    "rm-leaving-agent": [
        (lambda c: leaving(c, info=SILENT), "warn", "warn"),
        (lambda c: c.leaving_says(identity="UNIDENTIFIED"), "warn", "warn"),
        (lambda c: c.leaves(9), "warn", "warn"),
        (lambda c: c.zone_leaves().alter(4, data_dir=""), "warn", "warn"),
    ],
    "rm-leaving-busy": [(lambda c: leaving(c, status=BUSY), "warn", "info")],
    "rm-lock": [
        (lambda c: c.unfinished(failed("Cluster scale out", stage=5)), "block", "block"),
        (lambda c: c.unfinished(failed(SCALE_IN, stage=3)), "block", "block"),
        (lambda c: c.unfinished(failed(REPLICAS, kind=3, state="RUNNING")), "block", "block"),
        (
            lambda c: c.unfinished(failed(SCALE_IN, stage=1, state="RUNNING")),
            "block",
            "block",
        ),
        (lambda c: c.unfinished(failed(REPLICAS, kind=3)), "warn", "warn"),
        (lambda c: c.unfinished(failed(SCALE_IN, stage=1)), "warn", "warn"),
        (lambda c: c.unfinished(failed(REPLICAS, kind=3, operator="CANCEL")), "warn", "warn"),
        (
            lambda c: c.unfinished(failed("Set obcluster backup config of app", kind=3)),
            "block",
            "block",
        ),
    ],
    "rm-already-leaving": [
        (lambda c: c.alter(4, inner_status="DELETING"), "warn", "warn"),
        (
            lambda c: (
                c.alter(4, inner_status="DELETING")
                .asks(agents={4: "SCALING IN"})
                .unfinished(failed(SCALE_IN, stage=3, state="RUNNING"))
            ),
            "info",
            "info",
        ),
    ],
    "rm-single-server": [
        (lambda c: c.drop(1).drop(2).drop(3), "block", "block"),
        (lambda c: c.drop(1).drop(3).leaves(4, 2), "block", "block"),
    ],
    "rm-receivers": [
        (lambda c: c.holding().drop(2), "block", "block"),
        (lambda c: c.holding().dead(2), "block", "block"),
        (lambda c: c.holding().alter(2, stop_time="2026-11-28T22:48:04+08:00"), "block", "block"),
        (lambda c: c.holding().alter(2, start_time=NEVER), "block", "block"),
        (lambda c: c.holding().alter(2, status="SERVICE_STOPPED"), "block", "block"),
        (lambda c: c.holding().leaves(4, 2), "block", "block"),
    ],
    "rm-last-in-zone": [(lambda c: c.drop(2).place(), "warn", "info")],
    "rm-unit-num": [
        (lambda c: c.asks(units={"app": (1002, unit("u"), 2)}).place(2, 4), "block", "block"),
        (
            lambda c: untold(c.asks(units={"app": (1002, unit("u"), 2)}).place(2, 4)),
            "block",
            "block",
        ),
    ],
    "rm-units-fit": [
        (lambda c: c.holding().alter(2, stats=stats(5)), "block", "block"),
        (lambda c: c.holding().alter(2, stats=stats(cores=2)), "block", "block"),
        # A unit of the same tenant is there already.
        (lambda c: c.place(2, 4, tenant="app"), "block", "block"),
        # It fits as a whole, but not where the small ones go apart.
        (three, "warn", "warn"),
    ],
    "rm-log-disk-fit": [(lambda c: c.holding().asks(logs={2: "13G"}), "block", "block")],
    "rm-data-disk": [
        (
            lambda c: c.holding().alter(4, stats=stats(used_disk=30)),
            "block",
            "block",
        ),
        (
            lambda c: (
                c.holding()
                .asks(servers=c.servers | {"zone2": [*c.servers["zone2"], server(5)]})
                .alter(4, stats=stats(used_disk=10))
                .alter(5, stats=stats(used_disk=20))
            ),
            "warn",
            "info",
        ),
    ],
    "rm-rereplication": [
        (lambda c: c.holding().parameter(enable_rereplication="False"), "block", "block"),
        (lambda c: c.parameter(enable_rereplication="False"), "warn", "warn"),
        (
            lambda c: untold(c.holding().parameter(enable_rereplication="False")),
            "block",
            "block",
        ),
        (lambda c: c.zone_leaves().parameter(enable_rereplication="False"), "warn", "warn"),
    ],
    "rm-rebalance": [(lambda c: c.asks(of_sys={"enable_rebalance": "False"}), "info", "info")],
    "rm-upgrade": [
        (lambda c: c.parameter(enable_upgrade_mode="True"), "block", "warn"),
        (lambda c: c.alter(3, version="4.3.5.1_1-0(x)"), "block", "warn"),
    ],
    "rm-leaders": [
        (lambda c: c.dead(1).dead(3), "block", "block"),
        (lambda c: c.drop(3).dead(1), "block", "block"),
        (lambda c: c.place(tenant="app", zone="zone3").dead(1), "block", "block"),
    ],
    "rm-majority": [
        (lambda c: c.holding().dead(4).dead(3), "block", "block"),
        (lambda c: c.holding().leaves(4, force=True).dead(1), "block", "block"),
        (lambda c: untold(c.holding().dead(4).dead(3)), "block", "block"),
    ],
    "rm-force-live": [
        (lambda c: c.leaves(4, force=True), "block", "block"),
        (lambda c: c.leaves(4, force=True).dead(4), "block", "block"),
        (
            lambda c: leaving(
                c.leaves(4, force=True).alter(4, inner_status="DELETING"), status=HALF
            ),
            "block",
            "block",
        ),
    ],
    "rm-force-dead-proof": [
        (lambda c: c.leaves(4, force=True).looked(inner_status="ACTIVE"), "block", "block"),
        (lambda c: c.leaves(4, force=True).looked(state=0), "block", "block"),
        (lambda c: c.leaves(4, force=True).looked(state=3), "block", "block"),
        (lambda c: c.leaves(4, force=True).looked(state=GAP), "block", "block"),
        (lambda c: c.leaves(4, force=True).looked(times=2), "block", "block"),
        (lambda c: c.leaves(4, force=True).looked(apart=29.0), "block", "block"),
        (lambda c: c.leaves(4, force=True).looked(entries=1), "block", "block"),
        (
            lambda c: c.leaves(4, force=True).looked(entries=1).set(members={ENTRY: GAP}),
            "info",
            "info",
        ),
    ],
    "rm-others-down": [
        (lambda c: c.dead(3), "block", "warn"),
        (lambda c: c.alter(1, inner_status=""), "block", "warn"),
        (lambda c: c.zone_leaves().dead(3), "block", "warn"),
    ],
    "rm-permanent-offline": [(lambda c: c.dead(4), "warn", "info")],
    "rm-rootservice": [
        (lambda c: c.alter(1, with_rootserver=False), "block", "block"),
        (lambda c: c.alter(3, with_rootserver=True), "block", "block"),
        (lambda c: c.leaves(1, zone="zone1"), "info", "info"),
    ],
    "rm-zone-stopped": [
        (lambda c: c.asks(zone_states={"zone3": "INACTIVE"}), "warn", "warn"),
        (lambda c: c.alter(3, stop_time="2026-11-28T22:48:04+08:00"), "warn", "warn"),
        (lambda c: c.zone_leaves().asks(zone_states={"zone3": "INACTIVE"}), "block", "block"),
    ],
    "rm-balance": [
        (lambda c: c.leaves(1, zone="zone1"), "warn", "info"),
        (
            lambda c: c.asks(servers=c.servers | {"zone1": [server(1), server(5)]}),
            "info",
            "info",
        ),
    ],
    "rm-capacity-after": [
        (lambda c: c, "warn", "info"),
        (lambda c: c.holding(), "warn", "info"),
    ],
    "rm-duration": [(lambda c: c.holding().alter(4, stats=stats(used_disk=200)), "info", "info")],
    "rm-duty-window": [
        (
            lambda c: c.asks(of_sys={"major_freeze_duty_time": "17:30"}),
            "warn",
            "info",
        )
    ],
    "rm-backup": [(lambda c: c, "info", "info")],
    "rm-clients": [
        (lambda c: c.asks(strings={"app": _string("10.0.0.4")}), "warn", "info"),
        (lambda c: c.leaves(2), "warn", "info"),
        (lambda c: c.holding(), "warn", "info"),
        (lambda c: c.parameter(obconfig_url="http://10.0.0.9/ob"), "info", "info"),
    ],
    "rm-shared-storage": [
        (
            lambda c: c.of_cluster(
                cluster_info=c.facts().cluster.cluster_info.model_copy(
                    update={"is_shared_storage": True}
                )
            ),
            "warn",
            "warn",
        )
    ],
    "rm-host-data": [
        (lambda c: c, "info", "info"),
        (lambda c: c.zone_leaves(), "info", "info"),
    ],
    "rm-order": [(lambda c: c.leaves(4, 2), "info", "info")],
    "rm-zone-name": [
        (lambda c: called(c, "zone-4"), "block", "block"),
        (lambda c: called(c, "4"), "block", "block"),
        (lambda c: called(c, "Select"), "block", "block"),
    ],
    "rm-zone-empty": [
        (lambda c: c.zone_leaves(), "block", "block"),
        (lambda c: empty_zone(c).asks(pools=[stray()]), "block", "block"),
        (lambda c: empty_zone(c).asks(pools=[stray(tenant_id=1009)]), "block", "block"),
        (
            lambda c: empty_zone(c).asks(primary_zone={"app": "zone1;zone2,zone3"}),
            "block",
            "block",
        ),
        (
            lambda c: empty_zone(c).asks(locality={"app": "FULL{1}@zone1, READONLY{1}@zone2"}),
            "block",
            "block",
        ),
    ],
    "rm-zone-self": [
        (lambda c: c.zone_leaves("zone1"), "block", "block"),
        (lambda c: entry(c.zone_leaves(), zone="zone2"), "block", "block"),
    ],
    "rm-zone-last": [
        (lambda c: c.zone_leaves().drop(1).drop(3), "block", "block"),
    ],
    "cluster-facts-missing": [],
}


def _string(ip):
    return [{"type": "DIRECT", "connection_string": f"obclient -h{ip} -P2881 -uroot@app -p"}]


def empty_zone(case):
    """No tenant has anything in zone2, and it is to go."""
    return case.place().zone_leaves()


# rule: a change after which it passes; the rest passes in the case itself
PASSES = {
    "rm-receivers": [lambda c: c.holding(), lambda c: c.drop(2).place()],
    "rm-unit-num": [lambda c: c.holding(), lambda c: c],
    "rm-units-fit": [
        lambda c: c.holding(),
        # Three receivers with room for all: no order can go wrong.
        lambda c: three(c, memory=(8, 8)),
        # A pool that does not say where its units are, and a server that has none.
        untold,
    ],
    "rm-log-disk-fit": [lambda c: c.holding(), lambda c: c.asks(logs={2: "0M"})],
    "rm-data-disk": [lambda c: c.holding(), lambda c: c.dead(4)],
    "rm-majority": [
        lambda c: c.holding().dead(4),
        # It holds nothing, so nobody loses anything.
        lambda c: c.dead(4).dead(3),
    ],
    "rm-leaders": [lambda c: c, lambda c: c.dead(3), lambda c: c.alter(4, inner_status="DELETING")],
    "rm-force-live": [
        lambda c: leaving(c.leaves(4, force=True).dead(4), status=HALF),
        lambda c: leaving(
            c.leaves(4, force=True).alter(4, inner_status="DELETING", start_time=NEVER), status=HALF
        ),
    ],
    "rm-force-dead-proof": [
        lambda c: c.leaves(4, force=True).looked(),
        lambda c: c.leaves(4, force=True).looked(state=2),
        lambda c: c.leaves(4, force=True).looked(inner_status="DELETING"),
    ],
    "rm-capacity-after": [
        lambda c: c.asks(servers=c.servers | {"zone2": [*c.servers["zone2"], server(5)]}),
        lambda c: c.place(),
    ],
    "rm-duration": [lambda c: c.holding(), lambda c: c],
    "rm-lock": [lambda c: c],
    "rm-zone-name": [lambda c: c.zone_leaves(), lambda c: called(c, "_z")],
    "rm-zone-empty": [empty_zone],
    "rm-zone-self": [lambda c: c.zone_leaves()],
    "rm-zone-last": [lambda c: c.zone_leaves()],
    "rm-shared-storage": [lambda c: c],
    "rm-zone-stopped": [
        lambda c: c,
        lambda c: c.zone_leaves().asks(zone_states={"zone2": "INACTIVE"}),
    ],
    "rm-clients": [lambda c: c, lambda c: c.asks(strings={"app": _string("10.0.0.44")})],
    "rm-balance": [lambda c: c, lambda c: c.drop(4).zone_leaves()],
    "rm-address": [lambda c: c, lambda c: c.zone_leaves()],
    "rm-target-known": [lambda c: c, lambda c: c.zone_leaves()],
    "rm-leaving-agent": [
        lambda c: c,
        lambda c: c.leaving_says(identity="SCALING IN").asks(agents={4: "SCALING IN"}),
    ],
}
NEVER_PASSES = {
    "rm-backup": "nobody looks at backups",
    "rm-host-data": "something always stays",
    "rm-order": "it does not apply to one node",
    "rm-permanent-offline": "it does not apply to a server that lives",
}
# rule: changes after which it is unknown, with the answer in production
UNKNOWN = {
    "rm-version": [
        (lambda c: c.of_cluster(info=GAP), "unknown"),
        (lambda c: entry(c, version=""), "unknown"),
    ],
    "rm-cluster-pinned": [(lambda c: c.of_cluster(cluster_info=GAP, ob_info=GAP), "unknown")],
    "rm-address": [(lambda c: c.of_cluster(topology=GAP), "unknown")],
    "rm-target-known": [
        (lambda c: c.of_cluster(topology=GAP), "unknown"),
        (lambda c: c.of_cluster(ob_info=GAP), "unknown"),
    ],
    "rm-entry-agents": [
        (lambda c: c.of_cluster(info=GAP), "unknown"),
        (lambda c: c.of_cluster(status=GAP), "unknown"),
    ],
    "rm-leaving-busy": [(lambda c: leaving(c, status=GAP), "unknown")],
    "rm-lock": [(lambda c: c.of_cluster(unfinished=GAP), "unknown")],
    "rm-already-leaving": [(lambda c: c.of_cluster(topology=GAP), "unknown")],
    "rm-single-server": [(lambda c: c.of_cluster(topology=GAP), "unknown")],
    "rm-receivers": [
        (lambda c: c.of_cluster(topology=GAP), "unknown"),
        (lambda c: untold(c.holding().drop(2)), "unknown"),
    ],
    "rm-last-in-zone": [(lambda c: untold(c.holding().drop(2)), "unknown")],
    "rm-unit-num": [(lambda c: c.set(tenants=GAP), "unknown")],
    "rm-units-fit": [
        (lambda c: c.set(tenants=GAP), "unknown"),
        (lambda c: c.of_cluster(pools=GAP), "unknown"),
        (lambda c: untold(c.holding()), "unknown"),
        # Silence is no emptiness.
        (lambda c: untold(c.dead(4)), "unknown"),
        (lambda c: untold(c.alter(4, stats=stats(0, 0, 0))), "unknown"),
        (lambda c: c.alter(4, stats=stats(0, 0, 0)), "unknown"),
        # Units of nobody that is listed, and more than is told.
        (lambda c: c.asks(pools=[stray()]), "unknown"),
        (lambda c: c.alter(4, stats=stats(used_cores=1)), "unknown"),
        (lambda c: c.alter(4, stats=stats(used_memory=1)), "unknown"),
        # What a receiver has left is not told.
        (lambda c: c.holding().alter(2, stats=stats(0, 0, 0)), "unknown"),
    ],
    "rm-log-disk-fit": [
        (lambda c: c.holding().asks(logs={2: "0M"}), "unknown"),
        (lambda c: c.holding().parameter(log_disk_size=None), "unknown"),
        (lambda c: c.holding().of_cluster(parameters=GAP), "unknown"),
        (lambda c: untold(c.holding()), "unknown"),
    ],
    "rm-data-disk": [
        (lambda c: c.holding().dead(4), "unknown"),
        (lambda c: untold(c.holding()), "unknown"),
        (lambda c: c.holding().parameter(data_disk_usage_limit_percentage=None), "unknown"),
        (lambda c: c.holding().alter(2, stats=stats(disk=0, used_disk=0)), "unknown"),
        (lambda c: c.holding().of_cluster(parameters=GAP), "unknown"),
    ],
    "rm-rereplication": [
        (lambda c: c.of_cluster(parameters=GAP), "unknown"),
        (lambda c: c.parameter(enable_rereplication=None), "unknown"),
    ],
    "rm-rebalance": [
        (lambda c: c.set(sys_parameters=GAP), "unknown"),
        (lambda c: c.set(sys_parameters={}), "unknown"),
    ],
    "rm-upgrade": [
        (lambda c: c.of_cluster(parameters=GAP), "unknown"),
        (lambda c: c.parameter(enable_upgrade_mode=None), "unknown"),
    ],
    "rm-leaders": [
        (lambda c: c.set(tenants=GAP), "unknown"),
        (lambda c: c.of_cluster(topology=GAP), "unknown"),
        (lambda c: c.asks(locality={"app": "whatever it is"}), "unknown"),
    ],
    "rm-majority": [
        (lambda c: c.dead(4).set(tenants=GAP), "block"),
        (lambda c: c.of_cluster(topology=GAP), "block"),
        (lambda c: c.holding().dead(4).asks(locality={"app": ""}), "block"),
    ],
    "rm-force-live": [
        (lambda c: c.asks(agents={4: "CLUSTER AGENT"}).drop(4).leaves(4, force=True), "block")
    ],
    "rm-force-dead-proof": [(lambda c: c.leaves(4, force=True), "block")],
    "rm-others-down": [(lambda c: c.of_cluster(topology=GAP), "unknown")],
    "rm-permanent-offline": [(lambda c: c.of_cluster(topology=GAP), "unknown")],
    "rm-rootservice": [(lambda c: c.of_cluster(topology=GAP), "unknown")],
    "rm-zone-stopped": [(lambda c: c.of_cluster(topology=GAP), "unknown")],
    "rm-balance": [(lambda c: c.of_cluster(topology=GAP), "unknown")],
    "rm-capacity-after": [
        (untold, "unknown"),
        (lambda c: c.asks(pools=[stray()]), "unknown"),
    ],
    "rm-duration": [(lambda c: c.holding().alter(4, stats=stats(used_disk=0)), "unknown")],
    "rm-duty-window": [(lambda c: c.of_cluster(parameters=GAP), "unknown")],
    "rm-clients": [
        # `/ob/info` alone, below 4.3.0.0: no ids, and no units.
        (lambda c: untold(c).alter(2, id=0).alter(4, id=0), "unknown"),
        (lambda c: c.set(tenants=GAP), "unknown"),
        (lambda c: c.of_cluster(topology=GAP), "unknown"),
    ],
    "rm-shared-storage": [(lambda c: c.of_cluster(cluster_info=GAP), "unknown")],
    "rm-zone-empty": [
        (lambda c: c.zone_leaves().of_cluster(pools=GAP), "unknown"),
        (lambda c: c.zone_leaves().set(tenants=GAP), "unknown"),
        (lambda c: empty_zone(c).asks(locality={"app": "whatever it is"}), "unknown"),
    ],
    "rm-zone-self": [(lambda c: c.zone_leaves().of_cluster(info=GAP), "unknown")],
    "rm-zone-last": [(lambda c: c.zone_leaves().of_cluster(topology=GAP), "unknown")],
    "cluster-facts-missing": [(lambda c: c.of_cluster(pools=GAP), "unknown")],
}
NEVER_UNKNOWN = {
    "rm-leaving-agent": "its silence is what it is about",
    "rm-backup": "it always tells that nobody has looked",
    "rm-host-data": "what stays is known; paths that are not are named so",
    "rm-order": "by the request alone",
    "rm-zone-name": "by the request alone",
}


def cases(table):
    """Each case of a table with an id of its own."""
    return [
        pytest.param(rule, *(case if isinstance(case, tuple) else (case,)), id=f"{rule}-{number}")
        for rule, changes in table.items()
        for number, case in enumerate(changes)
    ]


@pytest.mark.parametrize(("rule", "change", "prod", "lab"), cases(FIRES))
def test_a_rule_fires_on_what_it_is_for(rule, change, prod, lab):
    """In both profiles, and what blocks or warns says what to do."""
    case = change(Case())

    found = [case.finding(rule, profile) for profile in ("prod", "lab")]

    assert [finding.answer.value for finding in found] == [prod, lab]
    assert found[0].measured
    assert found[0].remedy or prod == "info"


@pytest.mark.parametrize(
    ("rule", "change"),
    cases(PASSES | {rule.id: [lambda c: c] for rule in RULES if rule.id not in PASSES}),
)
def test_a_rule_passes_where_it_is_kept(rule, change):
    """A rule that never passes says nothing loud either."""
    answer = change(Case()).finding(rule).answer.value

    assert answer in ({"pass"} if rule not in NEVER_PASSES else {"n-a", "info"})


@pytest.mark.parametrize(("rule", "change", "prod"), cases(UNKNOWN))
def test_a_rule_without_its_evidence_is_unknown_and_never_fine(rule, change, prod):
    """It weighs as a warning in production at least."""
    case = change(Case())

    found = case.finding(rule)

    assert found.answer.value == prod
    assert found.weight.value == ("warn" if prod == "unknown" else prod)


def test_every_rule_has_its_three_tests():
    """Or it stands here why not."""
    ids = {rule.id for rule in RULES}

    assert set(FIRES) == ids
    assert {rule for rule, changes in FIRES.items() if not changes} == {"cluster-facts-missing"}
    assert ids - set(UNKNOWN) == set(NEVER_UNKNOWN)
    assert set(PASSES) <= ids


def test_ids_are_unique():
    """Whoever overrides or explains one means one."""
    ids = [rule.id for rule in RULES]

    assert len(ids) == len(set(ids))
    assert all(isinstance(rule, Rule) for rule in RULES)


def test_a_server_in_a_small_zone_is_told_by_bytes():
    """What does not fit says what it needs and what is there."""
    found = Case().holding().alter(2, stats=stats(5)).finding("rm-units-fit")

    assert found.measured == (
        "the units of sys, app take 3 cores, 6G, log 14G, and no way to place them"
    )
    assert found.needed == "16 cores, 5G, log 24G free on 10.0.0.2:2882"
    assert stats(5)["memory_in_bytes_total"] == 5 * GIB


@pytest.mark.parametrize(("rule", "change"), [case.values[:2] for case in cases(FIRES)])
def test_what_is_told_is_told_in_chinese(rule, change):
    """Whatever the rule has found; a command or a statement stays what it is."""
    finding = change(Case()).finding(rule)

    told = (finding.title, finding.measured, finding.needed, finding.remedy)
    left = [text for text in told if re.search("[a-z]{2} [a-z]{2,}", text)]
    assert [text for text in left if not CHINESE.search(ZH.text(text, is_ours=True))] == []
