"""Tests that a replacement goes its whole way with production's limits: both halves, once each."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.connect.connections import Connections
from obscale.errors import PreflightError
from obscale.removal.follow import follow_removal
from obscale.removal.prove import prove_removed
from obscale.removal.read import survey
from obscale.removal.run import before_known, look_before, remove_once
from obscale.replacement.facts import ReplacementFacts
from obscale.replacement.judge import judge_replacement, refuse_blocked
from obscale.replacement.proofs import Replaced
from obscale.request.models import AgentInfoSpec
from obscale.request.removal import LeavingNode
from obscale.request.replacement import ReplacedNode, Replacement
from obscale.sandbox import Fault, in_process
from obscale.verify.observation import Before, Level, ProofAnswer
from tests.contract.kept_here import KeptHere
from tests.contract.loops.stage import stage
from tests.virtual_time import on_virtual_time

DEAD, SERVER = "127.0.1.2:2886", "127.0.1.2:2882"
"""The founder of zone2: it holds a unit of sys and one of app."""
NEW = "127.0.1.4:2882"
SCALE_OUT, SCALE_IN = "/api/v1/ob/scale_out", "/api/v1/ob/scale_in"


class Halves:
    """Both halves of one replacement in a simulated cluster, as a run goes through them."""

    def __init__(self, first, link, order):
        self.first, self.link, self.order = first, link, order
        self.kept = {}
        self.before = Before()

    def records(self, cluster, target):
        """Give where the records of a removal are kept: here, for all runs of the test."""
        return self.kept.setdefault((cluster, target), KeptHere(cluster, target))

    async def plan(self, **words):
        """Judge both halves."""
        addition = await self.first.survey()
        removal = await survey(self.link, self.order.removal)
        return judge_replacement(ReplacementFacts(self.order, addition, removal), **words)

    async def add(self):
        """Plan, add the new node and prove it."""
        plan = await self.plan()
        refuse_blocked(plan)
        submitted = await self.first.begin(plan.addition)
        dag = await self.first.follow(submitted.dag_id)
        self.before = submitted.before
        return await self.first.verify_node(dag, submitted.before)

    async def look(self):
        """Plan the removal again."""
        return await look_before(self.link, self.order.removal, self.first.publish)

    async def remove(self):
        """Remove the old node and prove it gone."""
        order, publish = self.order.removal, self.first.publish
        seen = await self.look()
        begun = await remove_once(self.link, order, seen, records=self.records, publish=publish)
        before, dag = before_known(begun), None
        if begun.how != "already gone":
            dag = await follow_removal(
                self.link, order, begun.dag_id, before, publish=publish, show=self._show
            )
        replaced = Replaced(NEW, self.before.zones)
        return await prove_removed(
            self.link, order, dag, before, publish=publish, also=replaced.told
        )

    async def _show(self, _percent, _words):
        """Show nobody the bar."""

    def servers(self):
        """Give the zone of each server, and where units are."""
        cluster = self.first.world.clusters[0]
        units = sorted((unit.pool.name, unit.server.zone) for unit in cluster.units)
        return sorted(server.zone for server in cluster.servers), units


@asynccontextmanager
async def halves(*faults, **pair):
    """Open both links into a new world in which the founder of zone2 has come to harm."""
    async with AsyncExitStack() as stack, stage(*faults, not_asked=(DEAD,)) as first:
        ip, _, port = DEAD.rpartition(":")
        dead = LeavingNode(agentInfo=AgentInfoSpec(ip=ip, port=int(port)), zone="zone2")
        joins = ReplacedNode(dead=dead, by=first.order.node, **pair)
        order = Replacement(
            cluster=first.order.cluster, pair=joins, batch=(joins,), allow_unknown=True
        )
        root, transport = first.link.root_password, in_process(first.world)
        clients = [
            AgentClient(AgentAddress.parse(each), root_password=root, transport=transport)
            for each in first.members
            if each != DEAD
        ]
        opened = await stack.enter_async_context(ClusterClient(clients))
        leaving = AgentClient(AgentAddress.parse(DEAD), transport=transport)
        await stack.enter_async_context(leaving)
        link = Connections(opened, leaving, first.link.spec, None, root)
        yield Halves(first, link, order)


OBSERVER = (Fault.observer_down(DEAD),)
HOST = (Fault.observer_down(DEAD), Fault.agent_down(DEAD))


@pytest.mark.parametrize("faults", [OBSERVER, HOST], ids=["observer", "host"])
@on_virtual_time
async def test_a_dead_node_is_replaced_and_all_is_as_before(faults):
    """In production's profile, with its limits: planned, added, proved, planned again, removed."""
    async with halves(*faults) as both:
        before = both.servers()

        added = await both.add()
        gone = await both.remove()

        assert added.levels.level >= Level.CONFORMING
        assert gone.levels.level is Level.CONFORMING, gone.levels.lines
        assert both.servers() == before
        assert (len(both.first.posts(SCALE_OUT)), len(both.first.posts(SCALE_IN))) == (1, 1)
        own = {line.id: line.answer for line in gone.levels.lines if line.id.startswith("pr-")}
        assert own == {
            "pr-same-count": ProofAnswer.PASS,
            "pr-units-on-new": ProofAnswer.PASS,
        }
        assert bool(gone.levels.exceptions) is (faults is HOST), "a silent host has to be cleaned"


@pytest.mark.parametrize("card", ["drop_answer", "garble_answer"])
@on_virtual_time
async def test_lost_answers_lead_to_one_dag_a_half(card):
    """Of both requests the answer is lost; each DAG is found."""
    lost = getattr(Fault, card)
    async with halves(*OBSERVER, lost(to="scale_out"), lost(to="scale_in")) as both:
        before = both.servers()

        await both.add()
        await both.remove()

        assert both.servers() == before
        names = ("Cluster scale out", "Cluster scale in")
        assert [both.first.world.count_dags(name) for name in names] == [1, 1]


@on_virtual_time
async def test_a_living_node_is_not_replaced_unasked():
    """One that serves is moved off only by the word for it, its agent being silent or not."""
    async with halves(Fault.agent_down(DEAD)) as both:
        with pytest.raises(PreflightError, match="rp-dead"):
            await both.add()
        assert both.first.posts(SCALE_OUT) == []

    async with halves(Fault.agent_down(DEAD), live=True) as both:
        await both.add()
        gone = await both.remove()

        assert gone.levels.level is Level.CONFORMING, gone.levels.lines


@on_virtual_time
async def test_one_that_came_back_between_the_halves_stays():
    """The second half is planned again by what the cluster says then."""
    async with halves(*OBSERVER) as both:
        await both.add()
        both.first.play(Fault.observer_up(DEAD))
        both.first.world.sync()

        with pytest.raises(PreflightError, match="rp-dead"):
            await both.remove()

        assert both.first.posts(SCALE_IN) == []


@on_virtual_time
async def test_another_dead_member_blocks_before_anything_is_begun():
    """One fault at a time: the node that is replaced is named, another one is not."""
    async with halves(*OBSERVER, Fault.observer_down("127.0.1.3:2886")) as both:
        plan = await both.plan()

        blocked = {each.rule for each in plan.hindrances()}
        assert {"rp-majority", "rm-others-down"} <= blocked
        assert not [each for each in blocked if each == "rm-receivers"], "the new node takes units"


@on_virtual_time
async def test_what_is_done_already_is_proved_and_nothing_is_sent():
    """A second pass finds the old node gone, and compares with what was before the first."""
    async with halves(*OBSERVER) as both:
        await both.add()
        await both.remove()
        again = await both.remove()

        assert again.levels.level is Level.CONFORMING, again.levels.lines
        assert len(both.first.posts(SCALE_IN)) == 1
        found = {line.id: line.answer for line in again.levels.lines}
        assert found["pr-same-count"] is ProofAnswer.PASS
