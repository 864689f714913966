"""Takes up the change of a tenant's units that runs already, or begins exactly one.

Look, take up what brings this number, send one PATCH, and after a lost answer look again until the
lost request can no longer arrive.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from obscale.agent.models import Dag
from obscale.clock import monotonic, utc_now
from obscale.connect.connections import ClusterConnection
from obscale.errors import (
    AgentError,
    AgentRefusedError,
    AgentUnreachableError,
    DatabaseDownError,
    ForeignDagError,
    IdentityMismatchError,
    NotAuthorizedError,
    OutcomeUnknownError,
    PreflightError,
    UnderMaintenanceError,
)
from obscale.events import Posting, Publish, UseSettled, WaitsForLock, publish_line
from obscale.follow.reminders import Seldom
from obscale.preflight.ageing import is_stale
from obscale.preflight.finding import line_of
from obscale.reading import Unread
from obscale.request.use import Use
from obscale.submit.decide import PostAgain
from obscale.submit.result import CalledOff, CalledOffError, Keeping, never
from obscale.submit.waits import LOOK_AGAIN_SECONDS, wait_for_window
from obscale.use.decide import (
    Adopt,
    AlreadyStored,
    Refuse,
    Send,
    Sighting,
    Submission,
    Wait,
    decide_after_lost_answer,
    decide_cluster,
    decide_use,
)
from obscale.use.facts import unit_num_of
from obscale.use.judge import gain_of, judge_use
from obscale.use.read import sight, survey_use
from obscale.use.result import UNIT_NUM, UsePreflight, UseSubmitted
from obscale.use.tenant_dag import modifies
from obscale.verify.baseline import Baseline, compact, identity_of
from obscale.verify.run import ALONE

MOST_ROUNDS: Final = 5
"""Looks that end in a PATCH refused because the cluster changed in between; more is not chance."""
LOOKED_AT_AGAIN: Final = (AgentUnreachableError, DatabaseDownError, NotAuthorizedError)
"""What may stand no more at the next look, or at another agent: nothing was created."""
WRITTEN_WITHIN_SECONDS: Final = 5.0
"""A record whose writing took longer is followed by another look before the PATCH."""
UNDECIDED_SECONDS: Final = 60.0
"""How long a DAG of the same tenant may take to say which number it brings."""
Records = Callable[[str, str], Keeping]
"""Gives where the records of a target are kept, by cluster and target."""


async def look_before(
    link: ClusterConnection, order: Use, *, will_be_asked: bool = False
) -> UsePreflight:
    """Read what stands, and judge it.

    Raises:
        AgentError: No entry agent could be asked.
        SpecError: The cluster has no such tenant.
    """
    facts = await survey_use(link, order)
    told, versions = facts.cluster.info, {}
    if not isinstance(told, Unread):
        ob = told.ob_version or "not told"
        versions[facts.cluster.entry] = f"obshell {told.version}, OceanBase {ob}"
    return UsePreflight(
        findings=judge_use(facts, will_be_asked=will_be_asked),
        gain=gain_of(facts),
        unit_num=facts.unit_num,
        zones=facts.cluster.zones(),
        at=facts.now or utc_now(),
        versions=versions,
    )


def concluded(seen: UsePreflight) -> UsePreflight:
    """Give what was found on.

    Raises:
        PreflightError: A rule blocks.
    """
    if seen.findings.blockers:
        reasons = "; ".join(line_of(finding) for finding in seen.findings.blockers)
        raise PreflightError(f"blocked by preflight: {reasons}", seen.findings.remedies)
    return seen


async def begin_use(
    link: ClusterConnection,
    order: Use,
    seen: UsePreflight,
    called_off: CalledOff = never,
    gate: AbstractAsyncContextManager[object] = ALONE,
    *,
    records: Records,
    publish: Publish,
) -> UseSubmitted:
    """Look, then take up, wait or send, until it is known what brings the number.

    Before each PATCH it is written down how things stood; of a DAG that is there already, it is
    read back.

    Args:
        link: Open.
        order: What is to be done.
        seen: By preflight; judged again once it is older than a minute.
        called_off: Asked right before each PATCH: whether it is not to be sent after all.
        gate: Entered for each look and its record, where many tenants are changed at the same time.
        records: Where records are kept.
        publish: Gets each event.

    Raises:
        CalledOffError: It is not.
        PreflightError: What was right at preflight no longer is.
        ForeignDagError: Another DAG is in the way for longer than is waited.
        RecordError: It could not be written down; nothing was sent.
        OutcomeUnknownError: The answer was lost and no look could settle it.
        AgentError: The cluster refused, or nobody told.
    """
    beginning = _Beginning(link, order, seen, called_off, gate, records, publish)
    while True:
        async with gate:
            look = await beginning.look()
        if submitted := await beginning.act(look):
            return submitted


@dataclass(frozen=True)
class _Look:
    """A look at the cluster, and what follows from it.

    Args:
        cluster: That has answered.
        decision: What is to be done.
        kept: Where the records of the tenant are kept.
        record: What was written down of it; None: no PATCH may follow at once.
    """

    cluster: str
    decision: Submission
    kept: Keeping
    record: Baseline | None = None


class _Beginning:
    """One change of a tenant's units on its way to be begun: what is remembered between looks."""

    def __init__(
        self,
        link: ClusterConnection,
        order: Use,
        seen: UsePreflight,
        called_off: CalledOff,
        gate: AbstractAsyncContextManager[object],
        records: Records,
        publish: Publish,
    ) -> None:
        self._called_off, self._gate = called_off, gate
        self._link = link
        self._order = order
        self._seen = seen
        self._records = records
        self._publish = publish
        self._begun = utc_now()
        self._waits = Seldom()
        self._sent = 0
        self._kept: Keeping | None = None

    async def look(self) -> _Look:
        """Look, and write down how things stand where a PATCH may follow.

        Raises:
            CalledOffError: It may not be sent any more.
            RecordError: It could not be written down.
        """
        order, spec = self._order, self._link.known.spec
        sighting = await sight(self._link, order)
        cluster = identity_of(sighting.members)
        if self._kept is None or self._kept.cluster != cluster:
            self._kept = self._records(cluster, order.target)
        decision = decide_cluster(sighting, spec.name, spec.id) or decide_use(sighting, order)
        look = _Look(cluster, decision, self._kept)
        if not isinstance(decision, Send):
            return look
        if await self._called_off():
            raise CalledOffError
        if self._is_closed() or is_stale(self._seen.at, utc_now()) or self._sent >= MOST_ROUNDS:
            return look
        began = monotonic()
        record = await self._kept.write(
            _record(order, self._seen, cluster, decision.baseline, sighting)
        )
        # Where writing took a while, the look is not the last thing before the PATCH.
        if monotonic() - began > WRITTEN_WITHIN_SECONDS:
            return look
        return replace(look, record=record)

    def _is_closed(self) -> bool:
        window = self._order.window
        return window is not None and not window.is_open(utc_now())

    async def act(self, look: _Look) -> UseSubmitted | None:
        """Do what is decided; None: look again."""
        order = self._order
        match look.decision:
            case Send(zones=zones) if look.record is not None:
                self._sent += 1
                return await _send(self._link, order, look.record, look.kept, zones, self._publish)
            case Send() if order.window and self._is_closed():
                await wait_for_window(order.window, self._publish)
            case Send() if is_stale(self._seen.at, utc_now()):
                async with self._gate:
                    self._seen = concluded(await look_before(self._link, order))
            case Send() if self._sent >= MOST_ROUNDS:
                raise ForeignDagError(
                    f"not sent: refused {self._sent} times, each time after a look that allowed it",
                    "see who changes this tenant, then run it again",
                )
            case Send():
                # The look is not the last thing before the PATCH any more.
                pass
            case Wait() as wait:
                await self._wait(wait)
            case Refuse(reason=reason, hint=hint):
                raise IdentityMismatchError(reason, step="submit", hint=hint)
            case AlreadyStored():
                return await self._stored(look.cluster, look.kept)
            case Adopt() as adopted:
                return await _settled(adopted, look.cluster, order, look.kept, self._publish)
        return None

    async def _wait(self, wait: Wait) -> None:
        """Wait for a moment while another DAG is in the way.

        Raises:
            ForeignDagError: The time to wait for it is over.
        """
        seconds = self._order.time_limits.lock_wait_seconds
        if wait.undecided:
            seconds = max(seconds, UNDECIDED_SECONDS)
        if utc_now() >= self._begun + timedelta(seconds=seconds):
            raise ForeignDagError(
                f"not submitted: {wait.what}", "wait for its end, then run it again"
            )
        if (waited := self._waits.waited(wait.what, monotonic())) is not None:
            self._publish(WaitsForLock(what=wait.what, seconds=waited))
        await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _stored(self, cluster: str, kept: Keeping) -> UseSubmitted | None:
        """Find the DAG that has brought a number that is stored, among those that are over."""
        own = _newest(await kept.read(), cluster, self._order)
        ended = await sight(self._link, self._order, newer_than=own.newest_dag if own else 0)
        again = decide_use(ended, self._order)
        if isinstance(again, Adopt | AlreadyStored):
            return await _settled(again, cluster, self._order, kept, self._publish)
        return None


def _record(
    order: Use, seen: UsePreflight, cluster: str, newest: int, sighting: Sighting
) -> Baseline:
    stored = unit_num_of(sighting.tenant.pools)
    return Baseline(
        cluster=cluster,
        target=order.target,
        zone="",
        newest_dag=newest,
        at=utc_now(),
        zones=compact(seen.zones),
        judged={UNIT_NUM: str(stored)},
    )


async def _send(
    link: ClusterConnection,
    order: Use,
    record: Baseline,
    kept: Keeping,
    zones: tuple[str, ...],
    publish: Publish,
) -> UseSubmitted | None:
    """Send the PATCH once. None asks the caller to look again: cluster or agent has changed."""
    publish(Posting(newest_dag=record.newest_dag, agent=str(link.client.current.address)))
    try:
        dag = await link.client.send(
            lambda agent: agent.modify_unit_num(order.tenant, zones, order.unit_num)
        )
    except OutcomeUnknownError as lost:
        return await _find_lost(link, order, record, kept, lost, publish)
    except (UnderMaintenanceError, *LOOKED_AT_AGAIN) as refused:
        # Nothing was created; the look also finds an agent whose database is there.
        code = refused.code if isinstance(refused, AgentRefusedError) else refused.kind
        words = f"submit.refused code={code!r} next='look again' why={refused.message!r}"
        publish_line(publish, "submit", words)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return None
    if dag is None:
        publish_line(publish, "submit", "submit.nothing_changes next='look again'")
        return None
    settled = await kept.settle(record, dag.id)
    return _tell(
        UseSubmitted(
            dag_id=dag.id,
            how="posted",
            why=f"unit_num {order.unit_num} was not stored",
            at=utc_now(),
            cluster=record.cluster,
            baseline=settled,
        ),
        publish,
    )


async def _find_lost(
    link: ClusterConnection,
    order: Use,
    record: Baseline,
    kept: Keeping,
    lost: OutcomeUnknownError,
    publish: Publish,
) -> UseSubmitted | None:
    """Look for the DAG of a PATCH whose answer was lost, until it can no longer arrive."""
    deadline = (lost.header_expires_at or utc_now()) + timedelta(
        seconds=order.time_limits.lost_answer_seconds
    )
    words = f"submit.answer_lost until={deadline:%H:%M:%S} reason={lost.message!r}"
    publish_line(publish, "submit", words)
    while True:
        expired = utc_now() > deadline
        sighting: Sighting | None = None
        try:
            sighting = await sight(link, order, newer_than=record.newest_dag)
        except AgentError as error:
            publish_line(publish, "submit", f"submit.look_failed reason={str(error)!r}")
        if sighting is not None:
            decision = decide_after_lost_answer(
                sighting, order, baseline=record.newest_dag, expired=expired
            )
            if isinstance(decision, Adopt):
                await kept.settle(record, decision.dag.id)
            if isinstance(decision, Adopt | AlreadyStored):
                cluster = identity_of(sighting.members)
                return await _settled(decision, cluster, order, kept, publish)
            if isinstance(decision, PostAgain):
                return None
        if expired and (
            sighting is None or utc_now() > deadline + timedelta(seconds=UNDECIDED_SECONDS)
        ):
            raise lost
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _settled(
    decision: Adopt | AlreadyStored, cluster: str, order: Use, kept: Keeping, publish: Publish
) -> UseSubmitted:
    """Give what is there already, with how things stood before as far as that is known."""
    dag: Dag | None = decision.dag if isinstance(decision, Adopt) else None
    records = [r for r in await kept.read() if (r.cluster, r.target) == (cluster, order.target)]
    return _tell(
        UseSubmitted(
            dag_id=dag.id if dag else None,
            how="adopted" if dag else "already stored",
            why=decision.why,
            at=utc_now(),
            cluster=cluster,
            baseline=_of_dag(records, dag),
            dag=dag if dag and dag.is_terminal else None,
        ),
        publish,
    )


def _of_dag(records: list[Baseline], dag: Dag | None) -> Baseline | None:
    """Give the record of the PATCH that began a DAG; None: somebody else's, or not known."""
    if dag is None:
        return None
    named = [record for record in records if record.dag_id == dag.id]
    older = [r for r in records if r.dag_id is None and r.newest_dag < dag.dag_id]
    return max(named or older, key=lambda record: record.newest_dag, default=None)


def _newest(records: Sequence[Baseline], cluster: str, order: Use) -> Baseline | None:
    own = [r for r in records if (r.cluster, r.target) == (cluster, order.target)]
    return max(own, key=lambda record: record.newest_dag, default=None)


def _tell(submitted: UseSubmitted, publish: Publish) -> UseSubmitted:
    publish(UseSettled(submitted=submitted))
    return submitted


async def read_begun(
    link: ClusterConnection, order: Use, begun: UseSubmitted
) -> UseSubmitted | None:
    """Confirm in the cluster the DAG an earlier attempt has begun; None: begin anew. Sends nothing.

    Raises:
        AgentError: No cluster agent told.
    """
    if begun.dag_id is None:
        return None
    sighting = await sight(link, order)
    if identity_of(sighting.members) != begun.cluster:
        return None
    dag_id = begun.dag_id
    dag = await link.client.ask(lambda agent: agent.read_dag(dag_id))
    if not modifies(dag, order.tenant) or dag.is_undone:
        return None
    return begun.model_copy(update={"how": "adopted", "dag": dag if dag.is_terminal else None})
