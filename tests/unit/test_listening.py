"""Tests of who hears the events of a run, and for how long."""

import asyncio
import gc
import weakref

from obscale import events
from obscale.tasks.runtime.journal import listening, publish_line


class Hearer:
    """Somebody who keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[events.Event] = []

    def hear(self, event: events.Event) -> None:
        """Keep it."""
        self.heard.append(event)


def test_an_event_is_heard_inside_the_block_only():
    """By all who listen there, the outer ones too."""
    outer, inner = Hearer(), Hearer()

    with listening(outer.hear):
        with listening(inner.hear):
            publish_line("batch", "batch.one")
        publish_line("batch", "batch.two")
    publish_line("batch", "batch.three")

    assert [len(outer.heard), len(inner.heard)] == [2, 1]


async def test_who_hears_no_more_is_not_kept_by_what_was_opened_meanwhile():
    """A connection keeps the context it was opened in, and rows of a cluster share connections."""
    closed = asyncio.Event()
    hearer = Hearer()
    gone = weakref.ref(hearer)

    with listening(hearer.hear):
        opened = asyncio.create_task(closed.wait())
    del hearer
    gc.collect()

    assert gone() is None
    closed.set()
    await opened
