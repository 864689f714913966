"""Tests that a removal is asked for once, followed by what moves, and proved from the cluster."""

from obscale.verify.observation import Level
from tests.contract.loops.removal_stage import removal_stage
from tests.virtual_time import on_virtual_time


@on_virtual_time
async def test_a_grown_node_leaves_and_is_proved_gone():
    """The undo of a scale-out: one request, one DAG, all proofs."""
    async with removal_stage() as scene:
        submitted, proved = await scene.whole()

        assert (submitted.how, scene.posts(), scene.removals()) == ("posted", 1, 1)
        assert proved.levels.level is Level.CONFORMING, proved.levels.lines
        assert proved.levels.exceptions == ()
