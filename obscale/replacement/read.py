"""Reads the facts about both halves of a replacement; it only reads."""

from obscale.connect.connections import Connections
from obscale.events import Publish
from obscale.preflight.run import read_facts
from obscale.reading import side_by_side
from obscale.removal.read import survey
from obscale.replacement.facts import ReplacementFacts
from obscale.request.replacement import Replacement


async def read_both(
    joining: Connections, leaving: Connections, order: Replacement, publish: Publish
) -> ReplacementFacts:
    """Read all facts of an order.

    Args:
        joining: Open connections of the first half.
        leaving: Of the second; from then on they ask the agent that leaves no more.
        order: What is asked for.
        publish: Gets each event.

    Raises:
        AgentError: No entry agent could be asked.
    """
    async with side_by_side() as reads:
        addition = reads.create_task(read_facts(joining, order.addition, publish))
        removal = reads.create_task(survey(leaving, order.removal))
    return ReplacementFacts(order, addition.result(), removal.result())
