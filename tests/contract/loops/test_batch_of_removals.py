"""Tests of batches whose rows take nodes out of clusters, or change tenants' units."""

import asyncio
from collections import Counter

import pytest

from obscale.batch.schedule import RowState
from obscale.preflight.facts import TargetProgress
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.request.removal import LeavingNode, RemovalSpec
from obscale.request.replacement import ReplacedNode, ReplacementSpec
from obscale.request.time_limits import TimeLimits
from obscale.request.use import TenantUnits, UseSpec
from obscale.sandbox import Fault
from obscale.tasks.batch_row import SUBMITTING_AT_ONCE
from tests.conftest import SAMPLE
from tests.contract.kept_here import SlowServer
from tests.contract.loops.batch_stage import batch_stage, world_config
from tests.virtual_time import on_virtual_time

SCALE_IN = "/api/v1/ob/scale_in"
LIMITS = TimeLimits(poll_seconds=10)


def leaving(number, *lasts):
    """Give nodes of a cluster that leave: of 127.0.N.4 zone2, of 127.0.N.6 zone3."""
    return tuple(
        LeavingNode(
            agentInfo=AgentInfoSpec(ip=f"127.0.{number}.{last}", port=2886),
            zone=f"zone{(last + 1) // 2}",
        )
        for last in lasts
    )


def two_leave(number, cluster):
    """The second server of zone2 and of zone3."""
    return RemovalSpec(
        cluster=cluster, remove=leaving(number, 4, 6), profile="lab", time_limits=LIMITS
    )


def states_of(report):
    """Give the states of the rows of each cluster."""
    return {
        cluster.cluster: [row.state for row in report.rows if row.cluster == cluster.cluster]
        for cluster in report.clusters
    }


@on_virtual_time
async def test_two_nodes_leave_each_of_two_clusters_one_at_a_time():
    """One request and one DAG a node; in a cluster never two at once; each is proved gone."""
    with batch_stage(two_leave) as scene:
        report = await scene.run()

        assert report.summary == "4 of 4 removals verified"
        assert {row.kind for row in report.rows} == {"remove"}
        assert {row.level for row in report.rows} == {"CONFORMING"}
        assert (scene.requests("POST", SCALE_IN), scene.dags("Cluster scale in")) == (4, 4)
        assert scene.most_at_work == {"c1": 1, "c2": 1}
        for number in (1, 2):
            left = [f"127.0.{number}.4:2886", f"127.0.{number}.6:2886"]
            assert not set(left) & set(scene.agents(number))
        assert report.clusters[0].zones_before == {"zone1": 2, "zone2": 2, "zone3": 2}
        assert report.clusters[0].zones_after == {"zone1": 2, "zone2": 1, "zone3": 1}


@on_virtual_time
async def test_the_largest_zone_gives_up_a_node_first():
    """So that the zones are as even as they can be wherever the batch stops."""

    def three_leave(number, cluster):
        nodes = (*leaving(number, 2), *leaving(number, 5, 6))
        moved = tuple(n.model_copy(update={"zone": "zone2"}) for n in nodes[1:])
        return RemovalSpec(
            cluster=cluster, remove=(nodes[0], *moved), profile="lab", time_limits=LIMITS
        )

    config = world_config(1)
    zones = config.clusters[0].zones
    uneven = (zones[0], zones[1].model_copy(update={"agents": zones[1].agents * 2}), zones[2])
    one = config.clusters[0].model_copy(update={"zones": uneven})
    with batch_stage(three_leave, config=config.model_copy(update={"clusters": (one,)})) as scene:
        report = await scene.run()

        assert report.is_verified, report.rows
        order = [target.split()[1] for target in scene.begun]
        assert order == ["127.0.1.5:2886", "127.0.1.6:2886", "127.0.1.2:2886"]


@on_virtual_time
async def test_a_failure_stops_its_cluster_alone():
    """The other cluster goes on; the row after the failure says what it would have followed."""
    refused = Fault.delete_refused(text="Error 1235: not allowed")
    with batch_stage(two_leave, refused, max_clusters_at_once=1) as scene:
        report = await scene.run()

        states = states_of(report)
        assert states == {
            "c1": [RowState.FAILED, RowState.SKIPPED],
            "c2": [RowState.VERIFIED, RowState.VERIFIED],
        }
        assert report.rows[0].error_kind == "dag-failed"
        assert "delete-refused" in report.rows[0].why
        assert "127.0.1.4:2886 failed, and the cluster stops after that" in report.rows[1].why
        assert scene.requests("POST", SCALE_IN) == 3


@on_virtual_time
async def test_what_is_blocked_is_never_asked_for():
    """All rules judge each row first; its cluster is not begun, and no other one suffers."""

    def both_of_zone2_in_the_first(number, cluster):
        nodes = leaving(number, 3, 4) if number == 1 else leaving(number, 4)
        return RemovalSpec(cluster=cluster, remove=nodes, profile="lab", time_limits=LIMITS)

    with batch_stage(both_of_zone2_in_the_first) as scene:
        report = await scene.run()

        assert states_of(report)["c2"] == [RowState.VERIFIED]
        assert RowState.VERIFIED not in states_of(report)["c1"]
        blocked = next(row for row in report.rows if row.state is RowState.BLOCKED)
        assert "rm-receivers" in blocked.why
        assert scene.requests("POST", SCALE_IN) == 1


@pytest.mark.parametrize("words", ["submit.posting", "poll.", "verify."])
@on_virtual_time
async def test_a_batch_that_was_killed_does_only_what_is_missing(words):
    """Killed at a request, while its DAG runs, or at the proof: no node gets a second request."""
    with batch_stage(two_leave, max_clusters_at_once=1) as scene:
        first = asyncio.create_task(scene.run())
        while not any(line.startswith(words) for _, line in scene.lines):
            assert not first.done()
            await asyncio.sleep(0.2)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.sleep(5)

        report = await scene.run()

        assert report.is_verified, report.rows
        assert scene.dags("Cluster scale in") == 4
        hows = Counter(row.submitted_how for row in report.rows)
        assert hows["posted"] == 3 or (words == "submit.posting" and hows["posted"] == 4), hows


@on_virtual_time
async def test_run_again_after_its_end_it_sends_nothing():
    """Each row is already gone, and proved again."""
    with batch_stage(two_leave) as scene:
        await scene.run()
        sent = scene.requests("POST", SCALE_IN)

        ledger = await scene.judged()
        report = await scene.run()

        assert {entry.progress for entry in ledger.entries} == {TargetProgress.GONE}
        assert report.is_verified, report.rows
        assert {(row.submitted_how, row.why) for row in report.rows} == {
            ("already gone", "already gone")
        }
        assert scene.requests("POST", SCALE_IN) == sent
        assert report.clusters[0].zones_after == {"zone1": 2, "zone2": 1, "zone3": 1}


def use_twice(_number, cluster):
    """Two units a zone for both tenants."""
    return UseSpec(
        cluster=cluster,
        use=(TenantUnits(tenant="app", unit_num=2), TenantUnits(tenant="web", unit_num=2)),
        profile="lab",
        time_limits=LIMITS,
    )


@on_virtual_time
async def test_tenants_of_two_clusters_get_their_units_one_after_the_other():
    """One PATCH a tenant, as written; run again, nothing is sent."""
    with batch_stage(use_twice) as scene:
        report = await scene.run()
        sent = scene.requests("PATCH", "/api/v1/tenant/")
        again = await scene.run()

        assert report.summary == "4 of 4 tenants verified"
        assert {row.level for row in report.rows} == {"BALANCED"}
        assert [row.what for row in report.rows[:2]] == [
            "tenant app → 2 units",
            "tenant web → 2 units",
        ]
        assert scene.most_at_work == {"c1": 1, "c2": 1}
        mine = [target for target in scene.begun if target.startswith("c1")]
        assert mine == ["c1 tenant app", "c1 tenant web"]
        assert sent == 4
        assert scene.requests("PATCH", "/api/v1/tenant/") == sent
        assert {row.why for row in again.rows} == {"units already 2"}


@on_virtual_time
async def test_a_tenant_that_does_not_fit_is_blocked_and_stops_its_cluster():
    """Three units need three servers a zone; the other tenant of its cluster is not begun."""

    def too_many_in_the_first(number, cluster):
        units = (
            TenantUnits(tenant="app", unit_num=3 if number == 1 else 2),
            TenantUnits(tenant="web", unit_num=2),
        )
        return UseSpec(cluster=cluster, use=units, profile="lab", time_limits=LIMITS)

    with batch_stage(too_many_in_the_first) as scene:
        report = await scene.run()

        assert states_of(report) == {
            "c1": [RowState.BLOCKED, RowState.SKIPPED],
            "c2": [RowState.VERIFIED, RowState.VERIFIED],
        }
        assert "un-max" in report.rows[0].why
        assert scene.requests("PATCH", "/api/v1/tenant/") == 2


def one_leaves(number, cluster):
    """The second server of zone2."""
    return RemovalSpec(
        cluster=cluster, remove=leaving(number, 4), profile="lab", time_limits=LIMITS
    )


def use_once(_number, cluster):
    """Two units a zone for one tenant."""
    units = (TenantUnits(tenant="app", unit_num=2),)
    return UseSpec(cluster=cluster, use=units, profile="lab", time_limits=LIMITS)


async def looks_before_the_first_request(asked, server):
    """Play one row for each of twenty clusters; gives how often each asked for unfinished DAGs."""
    policies = {"max_clusters_at_once": 20, "max_removals": 20}
    with batch_stage(asked, config=world_config(20), **policies) as scene:
        scene.server = server
        report = await scene.run()

        assert report.is_verified, report.rows
        cluster_of = {a.address: c.name for c in scene.world.clusters for a in c.agents}
        looks, begun = Counter(), set()
        for record in scene.world.requests:
            name = cluster_of.get(record.agent)
            if record.method in ("POST", "PATCH") and name:
                begun.add(name)
            if "unfinish" in record.target and name not in begun:
                looks[name] += 1
        assert len(begun) == 20
        return looks


@pytest.mark.parametrize("asked", [one_leaves, use_once])
@on_virtual_time
async def test_a_server_that_takes_records_slowly_has_nobody_look_twice(asked):
    """Twenty clusters at once, six seconds for all their records: no look grows old meanwhile."""
    server = SlowServer(0.3)

    looks = await looks_before_the_first_request(asked, server)

    assert looks == await looks_before_the_first_request(asked, None)
    assert server.most_waiting <= SUBMITTING_AT_ONCE
    assert server.taken == ["record"] * 20 + ["dag"] * 20


def replaced_by_a_spare(number, cluster):
    """The server of zone2 by the spare of that number."""
    dead = LeavingNode(agentInfo=AgentInfoSpec(ip=f"127.0.{number}.2", port=2886), zone="zone2")
    by = NodeSpec(
        agentInfo=AgentInfoSpec(ip=f"127.0.1.{3 + number}", port=2886),
        zone="zone2",
        obConfigs=dict(SAMPLE),
    )
    return ReplacementSpec(
        cluster=cluster, replace=(ReplacedNode(dead=dead, by=by),), profile="lab"
    )


@on_virtual_time
async def test_both_halves_of_a_replacement_are_judged_before_anything_is_sent():
    """The node of the first cluster is dead: ready; that of the second is alive: blocked."""
    config = world_config(2, servers=1, spares=2, tenants=("app",))
    dead = Fault.observer_down("127.0.1.2:2886")
    with batch_stage(replaced_by_a_spare, dead, config=config, max_removals=2) as scene:
        ledger = await scene.judged()

        first, second = ledger.entries
        assert (first.state, first.progress) == (RowState.WAITING, TargetProgress.NEW), first.note
        assert second.state is RowState.BLOCKED
        assert "rp-dead" in second.note
        assert ledger.sizes["c1"] == {"zone1": 1, "zone2": 1, "zone3": 1}
        assert scene.requests("POST", "/api/v1/ob/") == 0
