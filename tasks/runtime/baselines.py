"""The records of how clusters stood before a POST, written to Prefect's database and read back.

Each is an artifact, because every worker finds those: a task's stored result lies on the disk of
one. It is written before the POST, and gets the DAG's id once the POST was answered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import PrefectException
from pydantic import BaseModel, ValidationError

from obscale.errors import RecordError
from obscale.language import for_page
from obscale.removal.result import RemovalRecord
from obscale.tasks.runtime.journal import artifact_key, publish_line
from obscale.tasks.runtime.person import asked_by
from obscale.tasks.runtime.run_log import run_logger
from obscale.text import (
    Markdown,
    folded_document,
    for_json,
    for_markdown,
    from_folded,
    paragraphs,
)
from obscale.verify.baseline import Baseline
from obscale.verify.run import ALONE

R = TypeVar("R")
M = TypeVar("M", bound=BaseModel)

FENCE: Final = "```"
ONE_TRY_SECONDS: Final = 10.0
"""A server that takes a record takes it within a fraction of a second."""
TURN_SECONDS: Final = 30.0
"""For writing down the id of a DAG, the wait for its turn included; then its row follows it."""
TRIES: Final = ((10.0, 1.0), (20.0, 3.0), (40.0, 6.0), (40.0, 0.0))
"""Of writing a record: seconds each may take, and seconds after it.

A server whose database is busy takes long; one that is away refuses at once, so that more time for
each try keeps nobody waiting."""
MOST_READ: Final = 100
"""Of one node; the newest count."""
AWAY: Final = (PrefectException, httpx.HTTPError, TimeoutError, RuntimeError, OSError)


def this_run() -> FlowRun | None:
    """Give the flow run this is called in."""
    context = FlowRunContext.get()
    return context.flow_run if context else None


def signed(record: Baseline) -> Baseline:
    """Put into a record whose it is: the run, its attempt, and who asked for it."""
    run = this_run()
    if run is None:
        return record
    told = {
        "run_id": str(run.id),
        "run_name": run.name,
        "attempt": run.run_count,
        "asked_by": asked_by(run),
    }
    return record.model_copy(update=told)


def _artifact_of_run(key: str, page: Markdown, about: str) -> ArtifactCreate:
    """Give a Markdown artifact of the flow and task run this is called in."""
    run, task = this_run(), TaskRunContext.get()
    return ArtifactCreate(
        key=key,
        type="markdown",
        description=for_markdown(for_page(about)),
        data=page,
        flow_run_id=run.id if run else None,
        task_run_id=task.task_run.id if task else None,
    )


class Records:
    """The records of one node of one cluster.

    Args:
        cluster: As `obscale.verify.baseline.identity_of` gives it.
        target: `ip:port`.
        settling: Entered to write down which DAG a POST has begun, which no other POST waits for.
    """

    prefix = "baseline"
    """How the keys of such artifacts begin."""
    kind: type[Baseline] = Baseline
    done = "added"
    """What the POST does with the target, in words."""

    def __init__(
        self,
        cluster: str,
        target: str,
        *,
        settling: AbstractAsyncContextManager[object] = ALONE,
    ) -> None:
        self.cluster = cluster
        self.target = target
        self._settling = settling
        self._key = artifact_key(self.prefix, cluster, target)
        self._id: UUID | None = None
        self._written: Baseline | None = None

    async def write(self, record: Baseline) -> Baseline:
        """Write a record down before the POST it belongs to; the same one again is not.

        Returns:
            It, with whose it is.

        Raises:
            RecordError: Prefect has not taken it, asked several times.
        """
        record = signed(record)
        if self._written is not None and _says_the_same(self._written, record):
            return self._written
        about = f"How {self.cluster} stood before {self.target} was {self.done}"
        wanted = _artifact_of_run(self._key, page_of(record), about)
        why = ""
        for seconds, pause in TRIES:
            try:
                self._id = await bounded(lambda: create(wanted), seconds)
            except AWAY as error:
                why = told(error)
                run_logger().warning("baseline.not_written reason=%r", why)
                await asyncio.sleep(pause)
            else:
                self._written = record
                return record
        raise RecordError(
            f"not submitted, nothing was sent for {self.target}: Prefect cannot be reached to keep "
            f"how the cluster stood before ({why})",
            "see that Prefect's server answers, then run it again",
        )

    async def settle(self, record: Baseline, dag_id: str) -> Baseline:
        """Write down which DAG the POST has begun; where Prefect is away the numbers tell it."""
        settled = record.model_copy(update={"dag_id": dag_id})
        artifact = self._id
        if artifact is None or self._written is None:
            return settled

        async def update() -> None:
            async with get_client() as client:
                await client.update_artifact(artifact, ArtifactUpdate(data=page_of(settled)))

        async def in_turn() -> None:
            async with self._settling:
                await bounded(update)

        try:
            await bounded(in_turn, TURN_SECONDS)
        except AWAY as error:
            run_logger().warning("baseline.not_settled dag=%s reason=%r", dag_id, told(error))
        else:
            self._written = settled
        return settled

    async def read(self) -> list[Baseline]:
        """Read what Prefect has; nothing, and a line that says so, where it cannot be asked."""
        try:
            return await bounded(self._read)
        except AWAY as error:
            publish_line("submit", f"baseline.not_read reason={told(error)!r}")
            return [self._written] if self._written else []

    async def _read(self) -> list[Baseline]:
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[self._key])),
                sort=ArtifactSort.CREATED_DESC,
                limit=MOST_READ,
            )
        records = [kept for each in found if (kept := read_page(self.kind, each.data)) is not None]
        return [r for r in records if (r.cluster, r.target) == (self.cluster, self.target)]


class RemovalRecords(Records):
    """The records of one node, or zone, that leaves a cluster; as `Records`."""

    prefix = "removal"
    kind = RemovalRecord
    done = "removed"


async def create(wanted: ArtifactCreate) -> UUID:
    """Create an artifact; Prefect's own functions for it keep the whole event loop waiting."""
    async with get_client() as client:
        return (await client.create_artifact(wanted)).id


def _says_the_same(one: Baseline, other: Baseline) -> bool:
    return one == other.model_copy(update={"at": one.at})


def page_of(kept: BaseModel, words: str = "") -> Markdown:
    """Write a model as a Markdown page a person can read, and `read_page` too."""
    text = for_json(kept.model_dump_json(indent=1, exclude_defaults=True))
    # No line of it begins with the fence: JSON has its line breaks between values only.
    return Markdown(f"{paragraphs([words, Markdown(f'{FENCE}json')])}\n{text}\n{FENCE}\n")


def folded_page_of(kept: BaseModel, words: Markdown) -> Markdown:
    """As `page_of`, for a large model: the page is its words, and the model is folded below."""
    text = for_json(kept.model_dump_json(indent=1, exclude_defaults=True))
    size = f"{len(text) / 1000:.0f} KB"
    return Markdown(f"{paragraphs([words, folded_document(f'As JSON, {size}', text)])}\n")


def read_page(kind: type[M], data: object) -> M | None:
    """Read a model from its page; one of another release that does not fit is none."""
    page = str(data)
    for text in (page.partition(f"{FENCE}json")[2].rpartition(FENCE)[0], from_folded(page)):
        with suppress(ValidationError):
            return kind.model_validate_json(text)
    return None


async def bounded(asking: Callable[[], Awaitable[R]], seconds: float = ONE_TRY_SECONDS) -> R:
    """Ask Prefect once, for no longer than a server takes that answers at all."""
    async with asyncio.timeout(seconds):
        return await asking()


def told(error: BaseException) -> str:
    """Give the first line of an error."""
    return str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__


async def keep_page(key: str, page: Markdown, about: str) -> None:
    """Keep a page as an artifact of this run; where Prefect is away, a line says so."""
    try:
        await bounded(lambda: create(_artifact_of_run(key, page, about)))
    except AWAY as error:
        run_logger().warning("artifact.not_written reason=%r", told(error))


async def kept_earlier(kind: type[M], prefix: str) -> M | None:
    """Read the newest page of a kind an earlier attempt of this flow run has kept; None: nothing.

    Args:
        kind: Of what was kept.
        prefix: How the keys of such artifacts begin.
    """
    run = this_run()
    if run is None or run.run_count <= 1:
        return None

    async def read() -> M | None:
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(like_=prefix)),
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
                sort=ArtifactSort.CREATED_DESC,
                limit=MOST_READ,
            )
        own = [each for each in found if (each.key or "").startswith(prefix)]
        return read_page(kind, own[0].data) if own else None

    try:
        return await bounded(read)
    except AWAY as error:
        publish_line("submit", f"attempt.not_read reason={told(error)!r}")
        return None
