"""Publishes what a run tells: as log lines, artifacts, and to listeners in the process.

Every event is published once, to the run's log and to whoever listens: the command line draws its
progress bar from it. Artifacts are conveniences of the UI: where Prefect does not take one in time,
the run goes on and says so.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from obscale import events
from obscale.language import for_page
from obscale.tasks.runtime.run_log import run_logger
from obscale.tasks.runtime.writing import ended, written
from obscale.text import Markdown, each_text, for_markdown


class _Listener:
    """Who hears events, until its block ends.

    A connection that is opened inside the block keeps the context it was opened in for as long as
    it stays open, and with it whatever stands there: so who hears no more is let go of.
    """

    def __init__(self, hear: events.Publish) -> None:
        self.hear: events.Publish | None = hear


_LISTENERS: ContextVar[tuple[_Listener, ...]] = ContextVar("obscale_listeners", default=())
_ASIDE: ContextVar[set[asyncio.Task[None]] | None] = ContextVar("obscale_aside", default=None)


@contextmanager
def listening(listener: events.Publish) -> Iterator[None]:
    """Hear every event of the flows run inside this block, in this process, until it ends."""
    told = _Listener(listener)
    token = _LISTENERS.set((*_LISTENERS.get(), told))
    try:
        yield
    finally:
        _LISTENERS.reset(token)
        told.hear = None


def publish(event: events.Event) -> None:
    """Write an event into the run's log, and give it to whoever listens."""
    run_logger().log(event.severity, "%s", events.text_of(event))
    for listener in _LISTENERS.get():
        if listener.hear:
            listener.hear(event)


def publish_line(step: str, words: str, severity: int = logging.INFO) -> None:
    """Write a line into the run's log that nothing else is made from."""
    events.publish_line(publish, step, words, severity)


def artifact_key(*parts: str) -> str:
    """Make an artifact key: lower case, digits and dashes, stable for the same parts.

    >>> artifact_key("report", "prod-east", "10.0.0.4:2886")
    'report-prod-east-10-0-0-4-2886'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


@asynccontextmanager
async def written_by_its_end() -> AsyncIterator[None]:
    """Let what is written `aside` inside this block go on beside the work, and be there at its end.

    However the block ends: what was found is shown also of a run that failed. While Prefect is
    away, its end waits for seconds only.
    """
    writing: set[asyncio.Task[None]] = set()
    token = _ASIDE.set(writing)
    try:
        yield
    finally:
        _ASIDE.reset(token)
        await ended(writing)


async def aside(writing: Coroutine[None, None, None]) -> None:
    """Write without keeping the work waiting, for what no later step depends on.

    Each artifact costs Prefect's server tens of milliseconds, and more where it is busy or away.
    Outside of `written_by_its_end` it is waited for.
    """
    beside = _ASIDE.get()
    if beside is None:
        await writing
    else:
        beside.add(asyncio.create_task(writing))


def _said(words: str) -> Markdown:
    return for_markdown(for_page(words))


def shown_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give rows as a table artifact has them: Prefect's UI reads each text in it as Markdown."""
    shown: list[dict[str, Any]] = each_text(rows, for_markdown)
    return shown


async def note_page(key: str, page: Markdown, description: str) -> None:
    """Show a Markdown page as an artifact."""
    await written(
        _kind_of(key),
        lambda: acreate_markdown_artifact(markdown=page, key=key, description=_said(description)),
        key=key,
    )


class ProgressNote:
    """One progress artifact that moves with the DAG; asks Prefect only when something changed.

    It is written aside: where Prefect is slow, it shows the newest place once it can.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._id: UUID | None = None
        self._wanted: tuple[float, str] | None = None
        self._is_moving = False

    async def show(self, percent: float, words: str) -> None:
        """Move the bar to `percent` and say `words` below it."""
        wanted = (percent, _said(words))
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if not self._is_moving:
            self._is_moving = True
            await aside(self._move())

    async def _move(self) -> None:
        shown = None
        try:
            while shown != self._wanted and self._wanted is not None:
                shown = self._wanted
                await self._write(*shown)
        finally:
            self._is_moving = False

    async def _write(self, percent: float, words: str) -> None:
        known = self._id
        if known is None:
            self._id = await written(
                "progress",
                lambda: acreate_progress_artifact(
                    progress=percent, key=self._key, description=words
                ),
            )
        else:
            await written(
                "progress",
                lambda: aupdate_progress_artifact(
                    artifact_id=known, progress=percent, description=words
                ),
            )


class TableNote:
    """One table artifact that is replaced as a whole; whoever shows it decides how often."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._id: UUID | None = None

    async def show(self, rows: list[dict[str, str]], description: str) -> None:
        """Show these rows, and say `description` above them."""
        known, shown = self._id, shown_rows(rows)
        if known is None:
            self._id = await written(
                "table",
                lambda: acreate_table_artifact(
                    table=shown, key=self._key, description=_said(description)
                ),
            )
            return
        changed = ArtifactUpdate(data=json.dumps(shown), description=_said(description))

        async def replace() -> None:
            async with get_client() as client:
                await client.update_artifact(known, changed)

        await written("table", replace)


def _kind_of(key: str) -> str:
    """Name an artifact for people: the first word of its key, e.g. `report`."""
    return key.partition("-")[0]
