"""Tests of the rules about a tenant's units: each passes, fires, and is unknown where unread."""

from dataclasses import replace
from datetime import date

import pytest

from obscale.agent.models import ClusterInfo, Dag, Parameter, Zone
from obscale.agent.resources import ResourcePool, Tenant, TenantOverview, UnitConfig
from obscale.errors import SpecError
from obscale.preflight.facts import ClusterFacts
from obscale.preflight.finding import Answer
from obscale.reading import Unread
from obscale.request.models import OverrideSpec
from obscale.request.use import Use
from obscale.sizes import GIB
from obscale.use.facts import UseFacts
from obscale.use.judge import checked_use, gain_of, judge_use
from obscale.use.rules import RULES

ZONES = ("zone1", "zone2")
GAP = Unread("nobody tells")


def row(number, **changes):
    """A server with 16 cores and 8G for units."""
    stats = {"cpu_core_total": 16, "memory_in_bytes_total": 8 * GIB}
    told = {
        "ip": f"10.0.0.{number}",
        "svr_port": 2882,
        "status": "RUNNING",
        "inner_status": "ACTIVE",
        "stats": stats,
    }
    return told | changes


def config(**changes):
    """A unit config of 2 cores, 4G and a log of 12G."""
    told = {
        "unit_config_id": 7,
        "name": "u_app",
        "min_cpu": 2,
        "max_cpu": 2,
        "memory_size": 4 * GIB,
        "log_disk_size": 12 * GIB,
    }
    return told | changes


def parameter(name, value, *, tenant=None):
    """One value on each of four servers."""
    values = [
        {"svr_ip": f"10.0.0.{n}", "svr_port": 2882, "value": value}
        | ({"tenant_id": tenant} if tenant else {})
        for n in (1, 2, 3, 4)
    ]
    return Parameter.model_validate({"name": name, "ob_parameters": values})


def dag(**changes):
    """A DAG of tenant app that is at work."""
    told = {
        "id": "112",
        "dag_id": 12,
        "name": "Modify tenant replicas",
        "state": "RUNNING",
        "maintenance_type": 3,
        "maintenance_key": "app",
    }
    return Dag.model_validate(told | changes)


class Scene:
    """Tenant app with one unit in each of two zones of two servers, and what is asked of it."""

    def __init__(self):
        self.servers = {"zone1": [row(1), row(2)], "zone2": [row(3), row(4)]}
        self.pools = [
            self.pool(zone_list="zone1;zone2", observer_list="10.0.0.1:2882,10.0.0.3:2882")
        ]
        self.units = [config()]
        self.locality = "FULL{1}@zone1, FULL{1}@zone2"
        self.tenant_id = 1004
        self.parameters = [
            parameter("enable_rebalance", "True", tenant=1004),
            parameter("enable_transfer", "True", tenant=1004),
            parameter("log_disk_size", "24G"),
        ]
        self.unfinished = ()
        self.order = Use(cluster="prod-east", tenant="app", unit_num=2)
        self.gaps = {}

    @staticmethod
    def pool(**changes):
        """A pool of the tenant."""
        told = {"pool_id": 1004, "pool_name": "p", "unit_num": 1, "unit_config": config()}
        return told | changes

    def facts(self):
        """What the rules judge."""
        zones = tuple(
            Zone.model_validate({"name": name, "servers": servers})
            for name, servers in self.servers.items()
        )
        tenant = Tenant.model_validate(
            {
                "tenant_id": self.tenant_id,
                "tenant_name": "app",
                "locality": self.locality,
                "pools": self.pools,
            }
        )
        placed = [
            {"tenant_name": "app", "pools": [{k: p.get(k) for k in ("pool_id", "observer_list")}]}
            for p in self.pools
        ]
        info = ClusterInfo.model_validate(
            {"cluster_name": "obcluster", "cluster_id": 1, "tenants": placed}
        )
        pools = tuple(
            ResourcePool.model_validate(
                {
                    "id": p["pool_id"],
                    "name": "p",
                    "zone_list": p["zone_list"],
                    "unit_num": p["unit_num"],
                    "unit_config_id": 7,
                    "tenant_id": self.tenant_id,
                }
            )
            for p in self.pools
        )
        cluster = ClusterFacts(
            entry="10.0.0.1:2886",
            scheme="http",
            cluster_info=info,
            topology=zones,
            parameters=tuple(self.parameters),
            unit_configs=tuple(UnitConfig.model_validate(each) for each in self.units),
            pools=pools,
            tenants=(TenantOverview(tenant_id=self.tenant_id, tenant_name="app"),),
            unfinished=self.unfinished,
        )
        cluster = replace(cluster, **{k: v for k, v in self.gaps.items() if k != "tenant"})
        return UseFacts(
            self.order,
            cluster,
            self.gaps.get("tenant", tenant),
            expected_name="obcluster",
            expected_id=1,
        )

    def told(self, rule):
        """The one finding of a rule."""
        (finding, *_more) = judge_use(self.facts(), will_be_asked=True).of_rule(rule)
        return finding


@pytest.fixture
def scene():
    """Give a cluster that has grown."""
    return Scene()


def test_every_rule_passes_where_all_is_right(scene):
    """Ready, without a word."""
    findings = judge_use(scene.facts())

    assert [(f.rule, f.answer) for f in findings] == [(rule.id, Answer.PASS) for rule in RULES]
    assert findings.verdict == "ready"


def three(scene):
    scene.order = scene.order.model_copy(update={"unit_num": 3})


def dead(scene):
    scene.servers["zone2"][1] = row(4, inner_status="INACTIVE")


def small(scene):
    stats = {"cpu_core_total": 16, "memory_in_bytes_total": 2 * GIB}
    scene.servers["zone1"][1] = row(2, stats=stats)


def short_log(scene):
    scene.parameters[2] = parameter("log_disk_size", "10G")


def no_cores(scene):
    stats = {"cpu_core_total": 1, "memory_in_bytes_total": 8 * GIB}
    scene.servers["zone2"][1] = row(4, stats=stats)


def rebalance_off(scene):
    scene.parameters[0] = parameter("enable_rebalance", "False", tenant=1004)


def transfer_off(scene):
    scene.parameters[1] = parameter("enable_transfer", "False", tenant=1004)


def read_only(scene):
    scene.locality = "FULL{1}@zone1, READONLY{1}@zone2"


def without_pool(scene):
    scene.locality += ", FULL{1}@zone3"


def two_numbers(scene):
    scene.pools = [
        scene.pool(pool_id=1, zone_list="zone1", observer_list="10.0.0.1:2882"),
        scene.pool(
            pool_id=2, zone_list="zone2", unit_num=2, observer_list="10.0.0.3:2882,10.0.0.4:2882"
        ),
    ]


def no_pool(scene):
    scene.pools = []


def sys_tenant(scene):
    scene.tenant_id = 1


def at_work(scene):
    scene.unfinished = (dag(),)


def global_lock(scene):
    scene.unfinished = (
        dag(name="Cluster scale out", maintenance_type=2, maintenance_key="OBCluster"),
    )


def unknown_lock(scene):
    scene.unfinished = (dag(maintenance_type=None, maintenance_key="", state="FAILED"),)


def fewer(scene):
    scene.pools = [
        scene.pool(
            zone_list="zone1;zone2",
            unit_num=2,
            observer_list="10.0.0.1:2882,10.0.0.2:2882,10.0.0.3:2882,10.0.0.4:2882",
        )
    ]
    scene.order = scene.order.model_copy(update={"unit_num": 1})


FIRES = [
    ("un-max", three, "block", "block", "zone1 2, zone2 2"),
    ("un-max", dead, "block", "block", "zone1 2, zone2 1"),
    ("un-room", three, "block", "block", "no further server in zone1"),
    ("un-room", small, "block", "block", "memory in zone1: 2G free on 10.0.0.2:2882, 4G a unit"),
    ("un-room", short_log, "block", "block", "log disk in zone1: 10G free on 10.0.0.2:2882"),
    ("un-room", no_cores, "block", "block", "cpu in zone2: 1 cores free on 10.0.0.4:2882"),
    ("un-rebalance", rebalance_off, "block", "block", "enable_rebalance False"),
    ("un-rebalance", transfer_off, "warn", "info", "enable_transfer False"),
    ("un-locality", read_only, "block", "warn", "zone2 READONLY"),
    ("un-locality", without_pool, "block", "warn", "zone3 has no pool"),
    ("un-hetero", two_numbers, "block", "block", "zone1 1, zone2 2"),
    ("un-hetero", no_pool, "block", "block", "no resource pool"),
    ("un-sys", sys_tenant, "block", "warn", "tenant sys"),
    ("un-job", at_work, "block", "block", "DAG 112 'Modify tenant replicas' RUNNING"),
    ("un-job", global_lock, "block", "block", "holds the cluster's lock"),
    ("un-job", unknown_lock, "warn", "info", "whether it holds the lock is not told"),
    ("un-down", fewer, "warn", "info", "2 → 1"),
]


@pytest.mark.parametrize(
    ("rule", "change", "prod", "lab", "words"),
    FIRES,
    ids=[f"{rule}-{change.__name__}" for rule, change, *_rest in FIRES],
)
def test_a_rule_fires_and_is_weighed(scene, rule, change, prod, lab, words):
    """In production and in the lab."""
    change(scene)
    strictly = scene.told(rule)
    scene.order = scene.order.model_copy(update={"profile": "lab"})

    assert (strictly.weight, scene.told(rule).weight) == (prod, lab)
    assert words in strictly.measured


def test_a_server_that_is_away_is_not_to_be_added_to(scene):
    """Where a zone has servers enough, they are to serve; where it has too few, more are added."""
    dead(scene)
    alone = scene.told("un-max").remedy
    scene.order = scene.order.model_copy(update={"unit_num": 3})
    del scene.servers["zone1"][1]
    fewer_yet = scene.told("un-max").remedy

    assert alone == "have 10.0.0.4:2882 serve again, or ask for --unit-num 1"
    assert fewer_yet == "add servers to zone1, zone2, or ask for --unit-num 1"


def test_another_cluster_is_never_changed(scene):
    """The entry agent answers for another one."""
    facts = replace(scene.facts(), expected_id=9)
    (finding,) = judge_use(facts).of_rule("un-cluster")

    assert (finding.weight, finding.measured) == ("block", "obcluster/1")


UNREAD = {
    "un-cluster": {"cluster_info": GAP, "ob_info": GAP},
    "un-sys": {"tenant": GAP},
    "un-hetero": {"tenant": GAP},
    "un-locality": {"tenant": GAP},
    "un-max": {"topology": GAP},
    "un-room": {"pools": GAP},
    "un-rebalance": {"parameters": GAP},
    "un-job": {"unfinished": GAP},
    "un-down": {"tenant": GAP},
}


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_what_could_not_be_read_is_unknown_and_never_a_pass(scene, rule):
    """And holds a run back that nobody watches, where it could block."""
    scene.gaps = UNREAD[rule]
    finding = scene.told(rule)
    known = next(each for each in RULES if each.id == rule)

    assert finding.answer is Answer.UNKNOWN
    assert (rule in finding.unjudged) is known.could_block("prod")


def test_where_units_are_is_not_guessed(scene):
    """Below 4.4.0.0 nobody tells."""
    scene.pools = [scene.pool(zone_list="zone1;zone2", observer_list=None)]

    assert scene.told("un-room").answer is Answer.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "FAILED"}, "a newer one takes its place"),
        (
            {"nodes": [{"sub_tasks": [{"task_logs": ["Alter tenant 'app' unit num to 2"]}]}]},
            "it is taken up",
        ),
    ],
)
def test_what_does_not_hinder_is_told(scene, changes, words):
    """A FAILED DAG of the tenant, and one that brings this very number."""
    scene.unfinished = (dag(**changes),)
    finding = scene.told("un-job")

    assert finding.answer is Answer.INFO
    assert words in finding.measured


def test_a_dag_of_another_tenant_keeps_nobody_out(scene):
    """They may run side by side."""
    scene.unfinished = (dag(maintenance_key="other"),)

    assert scene.told("un-job").answer is Answer.PASS


def test_what_is_done_is_said_in_words(scene):
    """Units, cores and memory over all zones."""
    more = gain_of(scene.facts())
    fewer(scene)

    assert more.startswith(
        "tenant app: unit_num 1 → 2 in zone1, zone2: 2 units more of u_app (4 cores, 8G)"
    )
    assert "2 units less" in gain_of(scene.facts())


def test_an_override_of_what_obshell_refuses_is_refused():
    """And one of a rule of another verb is not known here."""
    until = date(2199, 1, 1)
    overrides = tuple(
        OverrideSpec(rule=rule, reason="because", until=until) for rule in ("un-max", "mem-floor")
    )
    order = Use(cluster="prod-east", tenant="app", unit_num=2, overrides=overrides)
    with pytest.raises(SpecError) as caught:
        checked_use(order)

    assert "un-max may not be overridden" in caught.value.problems[0]
    assert "no rule is called 'mem-floor'" in caught.value.problems[1]
