"""Tests that each wrong request raises exactly its findings."""

import pytest

from obscale.agent.clock import ClockReading
from obscale.agent.models import Dag
from obscale.errors import SpecError
from obscale.preflight.facts import HOST_FACTS_MISSING
from obscale.reading import Unread
from obscale.spec import parse_spec

BLOCK, WARN, BLOCK_OR_WARN = ("block", "block"), ("warn", "info"), ("block", "warn")
UNKNOWN = ("unknown", "unknown")
BASE = {"disk-same-mount", "zone-balance"}
FOREIGN = "create local scale out dag success, genericID:20167772165028863"


def bigger(world, **sizes):
    return world.ask(**sizes)


def percentages(world):
    return world.drop("datafile_size", "log_disk_size").ask(
        datafile_disk_percentage="70", log_disk_percentage="40"
    )


def full_disk(world, make_disk):
    return world.drop("datafile_size", "log_disk_size").disks(make_disk("/", used="60G"))


def tmpfs(world, make_disk):
    return world.ask(data_dir="/data/ob", redo_dir="/redo/ob").disks(
        make_disk("/"), make_disk("/data", "tmpfs", "64G", "0")
    )


def neighbour(world, _):
    world.ask(mysql_port="3881", rpc_port="3882").set(ip="10.0.0.1", port=3886)
    return world.change("info", ip="10.0.0.1", port=3886)


def foreign_lock(world, _):
    dag = Dag.model_validate(
        {
            "id": "16",
            "dag_id": 6,
            "name": "Cluster scale out",
            "stage": 5,
            "max_stage": 9,
            "maintenance_type": 2,
            "state": "FAILED",
            "nodes": [{"name": "one"}, {"name": "two", "sub_tasks": [{"task_logs": [FOREIGN]}]}],
        }
    )
    return world.set(unfinished=(dag,), last_dag=dag)


def old_spare(world, _):
    gap = Unread("not in 4.2.6.0", supported=False, covered_by=HOST_FACTS_MISSING)
    return world.change("info", version="4.2.6.0-1", architecture="").set(host=gap)


# name: (change, raised, gone from the base, submit in prod, submit in lab)
ROWS = {
    "1 no unit": (
        lambda w, d: w.ask(memory_limit="16"),
        {"cfg-capacity-syntax": BLOCK}, set(), False, False,
    ),
    "2 GiB": (
        lambda w, d: w.ask(memory_limit="16GiB"),
        {"cfg-capacity-syntax": BLOCK}, set(), False, False,
    ),
    "2 Gi": (
        lambda w, d: w.ask(memory_limit="16Gi"),
        {"cfg-capacity-syntax": BLOCK}, set(), False, False,
    ),
    "2 blank": (
        lambda w, d: w.ask(memory_limit="16 G"),
        {"cfg-capacity-syntax": BLOCK}, set(), False, False,
    ),
    "2 negative": (
        lambda w, d: w.ask(memory_limit="-16G"),
        {"cfg-capacity-syntax": BLOCK}, set(), False, False,
    ),
    "3 decimals": (
        lambda w, d: w.ask(datafile_size="1.5T"),
        {"cfg-capacity-syntax": BLOCK}, set(), False, False,
    ),
    "4 octal": (
        lambda w, d: w.ask(log_disk_size="010G"),
        {"cfg-capacity-syntax": BLOCK}, set(), False, False,
    ),
    "4 hexadecimal": (
        lambda w, d: w.ask(log_disk_size="0x18G"),
        {"cfg-capacity-syntax": BLOCK}, set(), False, False,
    ),
    "6 misspelt key": (
        lambda w, d: w.drop("log_disk_size").ask(log_disk_sise="24G"),
        {"cfg-key-known": BLOCK, "disk-default-percent-trap": WARN}, set(), False, False,
    ),
    "7 comma": (
        lambda w, d: w.ask(leak_mod_to_check="A,B"),
        {"cfg-value-delimiters": BLOCK}, set(), False, False,
    ),
    "7 comma where it is allowed": (
        lambda w, d: w.ask(syslog_level="INFO,SQL.*:WARN"), {}, set(), True, True,
    ),
    "8 rootservice_list": (
        lambda w, d: w.ask(rootservice_list="10.0.0.9:2882:2881"),
        {"cfg-key-reserved": BLOCK}, set(), False, False,
    ),
    "9 one port twice": (
        lambda w, d: w.ask(mysql_port="2882"),
        {"cfg-port-distinct": BLOCK}, set(), False, False,
    ),
    "10 port 80": (
        lambda w, d: w.ask(rpc_port="80"),
        {"cfg-port-range": BLOCK}, set(), False, False,
    ),
    "11 redo above data": (
        lambda w, d: w.ask(data_dir="/data/ob", redo_dir="/data"),
        {"cfg-dirs-nesting": BLOCK}, set(), False, False,
    ),
    "12 unit where none belongs": (
        lambda w, d: w.ask(__min_full_resource_pool_memory="2G"),
        {"cfg-int-range": BLOCK}, set(), False, False,
    ),
    "13 6G/2G": (
        lambda w, d: w.ask(memory_limit="6G", system_memory="2G"),
        {"mem-tenant-headroom": BLOCK, "mem-production-floor": WARN, "spec-drift": WARN},
        set(), False, False,
    ),
    "14 6G/2G with a smaller unit": (
        lambda w, d: w.ask(
            memory_limit="6G", system_memory="2G", __min_full_resource_pool_memory="2147483648"
        ),
        {"mem-production-floor": WARN, "spec-drift": WARN}, set(), True, True,
    ),
    "15 3G": (
        lambda w, d: w.drop("system_memory").ask(memory_limit="3G"),
        {"mem-floor": BLOCK, "mem-tenant-headroom": BLOCK, "mem-production-floor": WARN,
         "spec-drift": WARN, "units-fit": WARN},
        set(), False, False,
    ),
    "16 all of it for the system": (
        lambda w, d: w.ask(system_memory="16G"),
        {"mem-tenant-headroom": BLOCK, "mem-system-ratio": BLOCK, "units-fit": WARN},
        set(), False, False,
    ),
    "17 system_memory 512M": (
        lambda w, d: w.ask(system_memory="512M"),
        {"mem-system-vs-hidden": BLOCK, "log-disk-ratio": WARN, "spec-drift": WARN},
        set(), False, False,
    ),
    "18 80G": (
        lambda w, d: w.ask(memory_limit="80G"),
        {"mem-fits-total": BLOCK_OR_WARN, "mem-available": BLOCK_OR_WARN, "log-disk-ratio": WARN},
        set(), False, True,
    ),
    "19 24M for 24G": (
        lambda w, d: w.ask(log_disk_size="24M"),
        {"log-disk-min": BLOCK_OR_WARN, "log-disk-ratio": WARN, "units-fit": WARN,
         "spec-drift": WARN}, set(), False, True,
    ),
    "20 500G": (
        lambda w, d: w.ask(datafile_size="500G"),
        {"disk-fits": BLOCK}, set(), False, False,
    ),
    "21 defaults on a used disk": (
        full_disk, {"disk-fits": BLOCK, "disk-default-percent-trap": WARN}, set(), False, False,
    ),
    "22 110 %": (
        lambda w, d: percentages(w),
        {"disk-percent-sum": BLOCK, "disk-fits": BLOCK}, set(), False, False,
    ),
    "23 size and percentage": (
        lambda w, d: w.ask(datafile_disk_percentage="60"),
        {"cfg-mutual-precedence": WARN}, set(), True, True,
    ),
    "24 Zone2": (
        lambda w, d: w.set(zone="Zone2"),
        {"zone-case-near-miss": BLOCK_OR_WARN, "new-zone-intent": BLOCK_OR_WARN,
         "new-zone-region": WARN}, {"zone-balance"}, False, True,
    ),
    "25 zone4": (
        lambda w, d: w.set(zone="zone4"),
        {"new-zone-intent": BLOCK_OR_WARN, "new-zone-region": WARN}, {"zone-balance"}, False, True,
    ),
    "26 zone-4 on purpose": (
        lambda w, d: w.set(zone="zone-4", allow_new_zone=True),
        {"zone-name-syntax": BLOCK_OR_WARN, "new-zone-region": WARN}, {"zone-balance"}, False, True,
    ),
    "27 odd names that exist": (
        lambda w, d: w.rename_zones("cn-a", "cn-b", "cn-c").set(zone="cn-b"),
        {}, set(), True, True,
    ),
    "28 another version": (
        lambda w, d: w.change("info", ob_version="4.3.5.1-102000092025042111"),
        {"ob-version-equal": BLOCK}, set(), False, False,
    ),
    "28 another build": (
        lambda w, d: w.change("info", ob_version="4.3.5.2-102000092025042112"),
        {"ob-version-equal": BLOCK}, set(), False, False,
    ),
    "29 700 ms ahead": (
        lambda w, d: w.set(clock=ClockReading(0.706, 0.001)),
        {"clock-skew": BLOCK_OR_WARN}, set(), False, True,
    ),
    "29 3 s ahead": (
        lambda w, d: w.set(clock=ClockReading(3.0, 0.001)),
        {"clock-skew": BLOCK}, set(), False, False,
    ),
    "30 on a machine of another zone": (
        neighbour, {"duplicate-host": BLOCK_OR_WARN}, set(), False, True,
    ),
    "31 a foreign FAILED scale-out": (
        foreign_lock,
        {"cluster-unfinished-dag": BLOCK, "cluster-maintenance": BLOCK}, set(), False, False,
    ),
    "32 a password nobody gave": (
        lambda w, d: w.change("info", security=True),
        {"agent-auth": BLOCK}, set(), False, False,
    ),
    "33 an agent on loopback": (
        lambda w, d: w.change("info", ip="127.0.0.1"),
        {"agent-address-matches": BLOCK}, set(), False, False,
    ),
    "34 data on tmpfs": (
        tmpfs,
        {"disk-fs-type": BLOCK_OR_WARN, "disk-home-shared": WARN}, {"disk-same-mount"}, False, True,
    ),
    "35 an old spare": (
        old_spare,
        {"host-facts-missing": UNKNOWN, "agent-version-equal": WARN, "agent-binary-arch": UNKNOWN},
        {"disk-same-mount"}, True, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "raised", "gone", "in_prod", "in_lab"), ROWS.values(), ids=ROWS)
def test_each_row_of_the_oracle_raises_what_it_must_and_nothing_else(
    world, make_disk, change, raised, gone, in_prod, in_lab
):
    """The named rules answer as printed; no other rule warns or blocks."""
    change(world, make_disk)

    prod, lab = world.judge("prod"), world.judge("lab")

    loud = {finding.rule for finding in (*prod.blockers, *prod.warnings)}
    assert loud == (BASE - gone) | set(raised)
    for rule, answers in raised.items():
        gravest = [
            next(f.answer for f in side.by_weight() if f.rule == rule) for side in (prod, lab)
        ]
        assert tuple(gravest) == answers, rule
    assert (not prod.blockers) is in_prod
    assert (not lab.blockers) is in_lab


def test_row_5_a_json_number_is_refused_where_it_is_read():
    """A number never becomes a start option: the reader of the request names the rule."""
    text = """{"cluster": "prod", "zone": "zone2", "agentInfo": {"ip": "10.0.0.4"},
               "obConfigs": {"memory_limit": 17179869184}}"""

    with pytest.raises(SpecError) as caught:
        parse_spec(text, "node.json")

    assert caught.value.problems == (
        (
            "node.json: obConfigs.memory_limit: is a number, not text; quote it with its unit: "
            "'17179869184M' or '17179869184G'? [cfg-values-are-strings]"
        ),
    )


@pytest.mark.parametrize(
    ("change", "rule", "text"),
    [
        (lambda w: w.ask(datafile_size="1.5T"), "cfg-capacity-syntax", "'1536G'"),
        (lambda w: w.drop("log_disk_size").ask(log_disk_sise="24G"), "cfg-key-known",
         "log_disk_size"),
        (lambda w: w.ask(memory_limit="6G", system_memory="2G"), "mem-tenant-headroom",
         "__min_full_resource_pool_memory: '2147483648'"),
        (lambda w: w.set(zone="Zone2"), "zone-case-near-miss", "zone2"),
        (lambda w: w.set(zone="zone4"), "new-zone-region", "SET REGION 'sys_region'"),
    ],
    ids=["1.5T", "log_disk_sise", "smaller unit", "Zone2", "region"],
)  # fmt: skip
def test_the_remedy_offers_the_exact_words(world, change, rule, text):
    """What to write instead stands in the finding, ready to be copied."""
    change(world)

    assert text in world.finding(rule).remedy
