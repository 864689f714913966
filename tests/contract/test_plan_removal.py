"""Tests that removals are judged in simulated clusters as specified, word for word."""

import asyncio

import pytest

from obscale.errors import AgentError
from obscale.preflight.facts import TargetProgress
from obscale.preflight.read import TARGET_SECONDS
from obscale.reading import Unread
from obscale.removal.judge import before_of, judge
from obscale.removal.rules.majority import LOOKS_APART
from obscale.sandbox import Fault, ManualClock, World, default_config
from tests.contract.conftest import ENTRY, SIZES, TARGET, Asker
from tests.contract.removal_plans import (
    ENTRIES,
    cluster_of,
    facts_of,
    order_of,
    verdicts_of,
)
from tests.contract.removal_scenes import OLD, SCALE_OUT_SECONDS, Leaving
from tests.virtual_time import on_virtual_time, virtual_clock

SPARE = "127.0.1.5:2886"
WHOLE_SECONDS = 60
BLOCKED = "BLOCKED"
ALWAYS_TOLD = {"rm-backup", "rm-host-data", "rm-duty-window"}


@pytest.fixture
async def leaving(world, ask):
    """The default world, its first spare a member of zone2."""
    return await Leaving(world, ask).grow()


def loud(findings):
    """Ids of the rules that block or warn."""
    return {each.rule for each in findings if each.weight.value in {"block", "warn"}}


def told(findings):
    """Ids of those that are worth a word, and no fault."""
    infos = {each.rule for each in findings if each.answer.value == "info"}
    return infos - ALWAYS_TOLD


def answers(findings, *rules):
    """What rules say, by id."""
    return {rule: findings.of_rule(rule)[0].answer.value for rule in rules}


class TestWorkedExamples:
    """The table of the specification, its requests in their order."""

    async def test_the_undo_of_a_scale_out(self, leaving):
        """It holds nothing, so nothing has to fit; the zone is as it was before."""
        prod, lab, found, _ = await verdicts_of(leaving.world, order_of(TARGET))

        assert (prod, lab) == ("READY WITH 1 WARNING", "READY")
        assert loud(found) == {"rm-capacity-after"}
        passing = ("rm-receivers", "rm-unit-num", "rm-units-fit", "rm-data-disk", "rm-balance")
        assert set(answers(found, *passing).values()) == {"pass"}
        assert found.of_rule("rm-balance")[0].measured == "1-2-1 becomes 1-1-1"

    async def test_the_server_its_zone_had_first(self, leaving):
        """Its units have room on the new one; it is an entry agent, and proxies may name it."""
        prod, lab, found, _ = await verdicts_of(leaving.world, order_of(OLD))

        assert (prod, lab) == ("READY WITH 2 WARNINGS", "READY")
        assert loud(found) == {"rm-capacity-after", "rm-clients"}
        assert told(found) == {"rm-entry-agents"}
        fit = found.of_rule("rm-units-fit")[0]
        assert (fit.answer, fit.measured) == (
            "pass",
            "the units of sys, app take 3 cores, 6G, log 14G",
        )
        assert fit.needed == "16 cores, 8G, log 24G free on 127.0.1.4:2882"

    async def test_the_same_where_the_new_one_is_too_small(self, world, ask):
        """Each of its units fits there, both do not."""
        sizes = SIZES | {"memory_limit": "13G"}
        answer = await ask.scale_out(configs=sizes)
        assert answer.status_code == 200
        world.advance(SCALE_OUT_SECONDS)

        prod, lab, found, _ = await verdicts_of(world, order_of(OLD))

        assert (prod, lab) == (BLOCKED, BLOCKED)
        assert [each.rule for each in found.blockers] == ["rm-units-fit"]

    async def test_the_only_server_of_its_zone(self, leaving):
        """Nobody there takes the units of sys and app."""
        prod, lab, found, _ = await verdicts_of(leaving.world, order_of(ENTRY, zone="zone1"))

        assert (prod, lab) == (BLOCKED, BLOCKED)
        assert {each.rule for each in found.blockers} == {"rm-receivers", "rm-unit-num"}
        assert found.of_rule("rm-unit-num")[0].measured == "sys 1 > 0, app 1 > 0"
        assert "rm-rootservice" in told(found)

    async def test_a_whole_zone_with_units(self, leaving):
        """The tenants are named."""
        prod, lab, found, _ = await verdicts_of(leaving.world, order_of(zone="zone2"))

        assert (prod, lab) == (BLOCKED, BLOCKED)
        assert [each.rule for each in found.blockers] == ["rm-zone-empty"]
        assert found.blockers[0].measured == "tenants sys, app"

    async def test_a_whole_zone_that_is_new(self, leaving):
        """The undo of a scale-out into a new zone."""
        await leaving.grow(target=SPARE, zone="zone4")

        prod, lab, *_ = await verdicts_of(leaving.world, order_of(zone="zone4"))

        assert (prod, lab) == ("READY", "READY")

    async def test_a_node_that_is_dead_and_silent(self, leaving):
        """It holds no unit, so no tenant loses a majority with it."""
        leaving.world.play(Fault.observer_down(TARGET))
        leaving.world.play(Fault.agent_down(TARGET))

        prod, lab, found, mild = await verdicts_of(leaving.world, order_of(TARGET))

        assert (prod, lab) == ("READY WITH 3 WARNINGS", "READY WITH 1 WARNING")
        assert loud(found) == {"rm-leaving-agent", "rm-permanent-offline", "rm-capacity-after"}
        assert loud(mild) == {"rm-leaving-agent"}
        assert answers(found, "rm-majority") == {"rm-majority": "pass"}

    @pytest.mark.parametrize("leaver", [TARGET, OLD])
    async def test_a_node_while_another_one_is_down(self, leaving, leaver):
        """One fault at a time; two of three replicas are still a majority."""
        leaving.world.play(Fault.observer_down(ENTRIES[2]))

        prod, lab, found, mild = await verdicts_of(leaving.world, order_of(leaver))

        assert (prod, lab) == (BLOCKED, "READY WITH 1 WARNING")
        assert [each.rule for each in found.blockers] == ["rm-others-down"]
        assert loud(mild) == {"rm-others-down"}
        leaders = found.of_rule("rm-leaders")[0]
        assert (leaders.answer, leaders.measured) == ("pass", "sys 2/3, app 2/3")


class TestReading:
    """Who is asked, and what is kept."""

    async def test_the_leaving_agent_is_no_entry_agent_any_more(self, leaving):
        """Also where it is the one that is written first."""
        order = order_of(OLD, cluster=cluster_of((OLD, ENTRY, ENTRIES[2])))

        facts = await facts_of(leaving.world, order, times=2)

        assert (facts.cluster.entry, facts.dropped) == (ENTRY, (OLD,))
        assert set(facts.members) == {ENTRY, ENTRIES[2]}

    async def test_of_a_zone_all_its_agents_are_left_out(self, leaving):
        """Who that is the cluster tells."""
        facts = await facts_of(leaving.world, order_of(zone="zone2"))

        assert facts.dropped == (OLD,)
        assert facts.leaving is None

    async def test_where_nobody_else_is_written_it_is_told(self, leaving):
        """It is asked what stands there, and asked to do nothing."""
        order = order_of(OLD, cluster=cluster_of((OLD,)))

        _, _, found, _ = await verdicts_of(leaving.world, order)

        assert answers(found, "rm-entry-agents") == {"rm-entry-agents": "block"}
        assert not found.of_rule("rm-entry-agents")[0].overridable

    async def test_nobody_to_ask_is_an_error(self, leaving):
        """Not a plan full of unknowns."""
        for agent in ENTRIES:
            leaving.world.play(Fault.agent_down(agent))

        with pytest.raises(AgentError):
            await facts_of(leaving.world, order_of(TARGET))

    async def test_what_cannot_be_read_any_more_afterwards_is_kept(self, leaving):
        """Directories, where the units are, and what the cluster offered."""
        before = before_of(await facts_of(leaving.world, order_of(OLD)))

        (server,) = before.servers
        assert (server.ip, server.data_dir) == ("127.0.1.2", "/home/admin/oceanbase/store")
        assert before.home_paths == {OLD: "/home/admin/oceanbase"}
        assert before.totals.memory_in_bytes_total == 32 << 30
        assert before.observers["app"] == tuple(f"127.0.1.{n}:2882" for n in (1, 2, 3))
        assert len(before.zones) == 3

    async def test_parameters_of_sys_are_its_own(self, leaving):
        """Of tenants' parameters the cluster tells each tenant's value."""
        facts = await facts_of(leaving.world, order_of(TARGET))

        row = facts.sys_parameters["enable_rebalance"]
        assert {(value.tenant_id, value.value) for value in row.ob_parameters} == {(1, "True")}

    async def test_older_agents_tell_no_units_and_no_removal(self):
        """Below 4.2.6.0 it is the database's to do; what is not told is no emptiness."""
        content = default_config().model_dump() | {"obshell_version": "4.2.5.0-1"}
        world = World(type(default_config()).model_validate(content), clock=ManualClock())
        await Leaving(world, Asker(world)).grow()

        prod, _, found, _ = await verdicts_of(world, order_of(TARGET))

        assert prod == BLOCKED
        version = found.of_rule("rm-version")[0]
        assert version.answer == "block"
        assert "ALTER SYSTEM DELETE SERVER '127.0.1.4:2882' ZONE 'zone2';" in version.remedy
        assert answers(found, "rm-units-fit") == {"rm-units-fit": "unknown"}

    async def test_the_first_that_can_remove_tells_next_to_nothing(self):
        """It says of no server what it holds: no rule about units passes."""
        content = default_config().model_dump() | {"obshell_version": "4.2.6.0-1"}
        world = World(type(default_config()).model_validate(content), clock=ManualClock())
        await Leaving(world, Asker(world)).grow()

        for address in (TARGET, OLD):
            found = judge(await facts_of(world, order_of(address)), "prod")

            assert not found.blockers
            assert answers(found, "rm-version", "rm-leaders", "rm-units-fit", "rm-clients") == {
                "rm-version": "pass",
                "rm-leaders": "pass",
                "rm-units-fit": "unknown",
                "rm-clients": "unknown",
            }
            assert "rm-data-disk" in found.of_rule("rm-units-fit")[0].measured

    async def test_below_4_4_the_sums_say_whether_it_is_empty(self):
        """Nothing assigned on a server that reports is nothing held."""
        content = default_config().model_dump() | {"obshell_version": "4.3.1.0-1"}
        world = World(type(default_config()).model_validate(content), clock=ManualClock())
        await Leaving(world, Asker(world)).grow()

        empty = await facts_of(world, order_of(TARGET))
        full = await facts_of(world, order_of(OLD))

        assert answers(judge(empty, "prod"), "rm-units-fit") == {"rm-units-fit": "pass"}
        assert answers(judge(full, "prod"), "rm-units-fit") == {"rm-units-fit": "unknown"}


class TestProgress:
    """A removal that somebody has begun, or that is done."""

    async def test_one_that_waits_is_taken_up(self, leaving):
        """Exactly this server is DELETING, and its agent's row says SCALING IN."""
        leaving.hold()
        await leaving.remove(seconds=9)

        prod, lab, found, _ = await verdicts_of(leaving.world, order_of(TARGET))

        assert found.progress is TargetProgress.LEAVING
        assert (prod, lab, found.will_be_adopted) == ("READY", "READY", True)
        assert answers(found, "rm-lock", "rm-already-leaving") == {
            "rm-lock": "info",
            "rm-already-leaving": "info",
        }

    async def test_one_of_somebody_else_blocks(self, leaving):
        """Its lock is held by another node's removal."""
        leaving.hold()
        await leaving.remove(seconds=9)

        _, _, found, _ = await verdicts_of(leaving.world, order_of(OLD))

        assert found.progress is TargetProgress.NEW
        assert "rm-lock" in {each.rule for each in found.blockers}

    async def test_one_that_has_just_begun_names_nobody(self, leaving):
        """Whose it is cannot be told yet, so it is neither adopted nor taken for another's."""
        leaving.hold()
        await leaving.remove(seconds=1)

        facts = await facts_of(leaving.world, order_of(TARGET))

        assert facts.progress() is TargetProgress.NEW
        assert facts.young_removal().id == leaving.dag_id
        assert "look again" in judge(facts, "prod").of_rule("rm-lock")[0].remedy

    async def test_a_failed_one_is_for_recover(self, leaving):
        """Cancelled, it keeps the lock; it is not gone on with unasked."""
        leaving.hold()
        await leaving.remove(seconds=9)
        await leaving.operate("CANCEL", seconds=5)

        _, _, found, _ = await verdicts_of(leaving.world, order_of(TARGET))

        lock = found.of_rule("rm-lock")[0]
        assert (lock.answer, lock.overridable) == ("block", False)

    async def test_what_has_left_is_gone(self, leaving):
        """Nothing to submit."""
        await leaving.remove(seconds=60)

        prod, lab, found, _ = await verdicts_of(leaving.world, order_of(TARGET))

        assert (prod, lab) == ("ALREADY GONE", "ALREADY GONE")
        assert found.already_gone
        assert not found.unjudged

    async def test_a_zone_that_has_left_is_gone(self, leaving):
        """Also where its name is like no other's."""
        await leaving.grow(target=SPARE, zone="far")
        await leaving.delete_zone("far", seconds=60)

        prod, *_ = await verdicts_of(leaving.world, order_of(zone="far"))

        assert prod == "ALREADY GONE"

    async def test_a_slip_is_not_gone(self, leaving):
        """The RPC port instead of the agent's would get a 204."""
        _, _, found, _ = await verdicts_of(leaving.world, order_of("127.0.1.4:2882"))

        assert found.progress is TargetProgress.NEW
        assert "rm-address" in {each.rule for each in found.blockers}


async def looked_at(*faults):
    """Ask for a removal with force_kill; gives the findings, and how many seconds that took."""
    world = World(default_config(), clock=virtual_clock())
    ask = Asker(world)
    assert (await ask.scale_out()).status_code == 200
    await asyncio.sleep(SCALE_OUT_SECONDS)
    for fault in faults:
        world.play(fault)
    begun = world.clock.now()
    facts = await facts_of(world, order_of(TARGET, force=True))
    return facts, judge(facts, "lab"), world.clock.now() - begun


@on_virtual_time
async def test_with_force_a_server_that_lives_is_looked_at_once():
    """One look that shows it alive is enough."""
    facts, found, seconds = await looked_at()

    assert seconds < LOOKS_APART.total_seconds()
    assert {look.ob_state for look in facts.dead_looks} == {3}
    blockers = {each.rule: each.overridable for each in found.blockers}
    assert blockers == {"rm-force-live": False, "rm-force-dead-proof": False}


@on_virtual_time
async def test_with_force_a_dead_one_is_looked_at_for_a_minute_by_two():
    """Its observer does not run, so that there is nothing to kill."""
    facts, found, seconds = await looked_at(Fault.observer_down(TARGET))

    assert 60 <= seconds < 90
    assert {look.entry for look in facts.dead_looks} == {ENTRY, OLD}
    assert len({look.at for look in facts.dead_looks}) == 3
    proof = found.of_rule("rm-force-dead-proof")[0]
    assert (proof.answer, proof.overridable) == ("block", False)
    assert "does not run" in proof.measured
    assert answers(found, "rm-force-live") == {"rm-force-live": "pass"}


@on_virtual_time
async def test_with_force_an_agent_that_is_silent_would_do_nothing():
    """Nor can anybody know that its observer is dead."""
    faults = (Fault.observer_down(TARGET), Fault.black_hole(TARGET))

    facts, found, seconds = await looked_at(*faults)

    assert seconds < 60 + 4 * TARGET_SECONDS
    assert all(isinstance(look.ob_state, Unread) for look in facts.dead_looks)
    assert "would do nothing" in found.of_rule("rm-force-dead-proof")[0].measured


class TestHostileAnswers:
    """What an agent says is judged, never believed or run."""

    async def test_a_tenant_that_cannot_be_read_leaves_all_unread(self, leaving):
        """Not a shorter list, of which every tenant has its majority."""
        leaving.world.play(Fault.garble_answer(to="app", times=99))

        _, _, found, _ = await verdicts_of(leaving.world, order_of(TARGET))

        assert set(answers(found, "rm-leaders", "rm-units-fit").values()) == {"unknown"}

    async def test_a_database_that_is_away_is_no_empty_cluster(self, leaving):
        """Nothing of what depends on it is fine."""
        for agent in (*ENTRIES, TARGET):
            leaving.world.play(Fault.database_down(agent))

        _, _, found, _ = await verdicts_of(leaving.world, order_of(OLD))

        assert found.verdict == "blocked"
        assert not found.already_gone
        asked = ("rm-units-fit", "rm-leaders", "rm-lock", "rm-others-down")
        assert "pass" not in answers(found, *asked).values()

    async def test_who_is_no_member_any_more_gets_no_password(self, leaving):
        """Nor is it asked what it shows to nobody else."""
        await leaving.remove(seconds=WHOLE_SECONDS)

        facts = await facts_of(leaving.world, order_of(TARGET))

        assert facts.leaving.info.identity == "SCALING IN"
        assert isinstance(facts.leaving.last_dag, Unread)
        assert "root@sys" in facts.leaving.last_dag.reason

    async def test_a_member_is_asked_as_one(self, leaving):
        """Once the cluster lists it."""
        facts = await facts_of(leaving.world, order_of(TARGET))

        assert facts.leaving.last_dag.name == "Local scale out"


class TestWhatComesOfIt:
    """The simulator refuses what is blocked, and takes the rest."""

    async def test_what_has_no_room_is_refused_at_stage_1(self, world, ask):
        """With the lock freed, as the rule says."""
        answer = await ask.scale_out(configs=SIZES | {"memory_limit": "13G"})
        assert answer.status_code == 200
        world.advance(SCALE_OUT_SECONDS)
        leaving = Leaving(world, ask)
        await leaving.remove(OLD, seconds=WHOLE_SECONDS)

        assert await leaving.stands() == ("FAILED", "RUN", 1)
        facts = await facts_of(world, order_of(OLD))
        assert facts.own_dag().id == leaving.dag_id
        assert answers(judge(facts, "prod"), "rm-lock") == {"rm-lock": "warn"}

    async def test_what_is_ready_leaves(self, leaving):
        """The server its zone had first, with all its units."""
        await leaving.remove(OLD, seconds=WHOLE_SECONDS)

        assert await leaving.stands() == ("SUCCEED", "RUN", 5)
        assert await leaving.units() == ["1", "3", "4"]

    async def test_the_only_server_of_its_zone_is_refused_at_stage_1(self, leaving):
        """Asked through another agent."""
        await leaving.remove(ENTRY, seconds=WHOLE_SECONDS, agent=ENTRIES[2])

        dag = leaving.world.cluster().dags[-1]
        assert (dag.state, dag.stage) == ("FAILED", 1)

    async def test_a_zone_with_units_is_refused(self, leaving):
        """And creates nothing."""
        answer = await leaving.delete_zone("zone2")

        assert answer.json()["error"]["errCode"] == "OB.Zone.NotEmpty"

    async def test_without_a_majority_it_is_refused_at_stage_1(self, leaving):
        """Two of three are down: told before, in both profiles."""
        for agent in ENTRIES[1:]:
            leaving.world.play(Fault.observer_down(agent))
        _, _, found, mild = await verdicts_of(leaving.world, order_of(TARGET))

        await leaving.remove(seconds=WHOLE_SECONDS)

        assert "rm-leaders" in {each.rule for each in found.blockers}
        assert "rm-leaders" in {each.rule for each in mild.blockers}
        assert await leaving.stands() == ("FAILED", "RUN", 1)

    @pytest.mark.parametrize("card", ["tenant_task_fails", "scale_in_fails"])
    async def test_beside_a_dag_that_holds_nothing_it_is_taken(self, leaving, card):
        """Told, and no more."""
        leaving.world.play(getattr(Fault, card)())
        leaving.world.advance(5)
        _, _, found, _ = await verdicts_of(leaving.world, order_of(TARGET))

        answer = await leaving.remove(seconds=WHOLE_SECONDS)

        assert answers(found, "rm-lock") == {"rm-lock": "warn"}
        assert not found.blockers
        assert answer.status_code == 200
        assert await leaving.stands() == ("SUCCEED", "RUN", 5)
