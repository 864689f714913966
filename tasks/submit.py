"""Adopts the scale-out of this target that runs already, or begins exactly one.

obshell takes no idempotency key, so the cluster itself is the record: look, adopt what is ours,
post once, and after a lost answer look again until the lost request can no longer arrive.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE

from obscale.agent.models import Dag
from obscale.clock import monotonic, utc_now
from obscale.connect.connections import Link
from obscale.errors import (
    AgentError,
    AgentRefusedError,
    AgentUnreachableError,
    DagNotFoundError,
    DatabaseDownError,
    ForeignDagError,
    IdentityMismatchError,
    NotAuthorizedError,
    OutcomeUnknownError,
    PreflightError,
    UnderMaintenanceError,
)
from obscale.events import (
    BaselineFound,
    LookedAgain,
    Posting,
    Publish,
    SubmitSettled,
    WaitsForLock,
    WaitsForWindow,
    publish_line,
)
from obscale.follow.reminders import Seldom
from obscale.preflight.ageing import is_stale, judge_ageing
from obscale.preflight.read import survey
from obscale.preflight.result import Preflight, conclude
from obscale.preflight.unjudged import held_back, newly_unknown
from obscale.request.policies import Window
from obscale.request.scale_out import Order
from obscale.spec import request_body
from obscale.submit.decide import (
    Adopt,
    AlreadyMember,
    Post,
    PostAgain,
    Refuse,
    Sighting,
    Submission,
    WaitForLock,
    decide_after_lost_answer,
    decide_cluster,
    decide_submission,
)
from obscale.submit.read import look_for_dag, look_for_passed
from obscale.submit.result import Submitted
from obscale.text import markdown
from obscale.verify.baseline import (
    Baseline,
    baseline_of,
    carried_out,
    compact,
    dag_of_member,
    goes_on,
    identity_of,
    of_node,
)
from obscale.verify.run import ALONE
from tasks.posting import Shown, post_once
from tasks.runtime.baselines import Records, keep_page, kept_earlier, page_of
from tasks.runtime.blocks import linked
from tasks.runtime.journal import artifact_key, aside, publish
from tasks.runtime.retries import if_transient

TIME_LIMIT_SECONDS: Final = 1_500_000
"""Above the longest wait for a window, 16 days, and the longest for the lock, 86400 s, together."""
TAKE_UP_SECONDS: Final = 600
"""Of a look and of reading one DAG, at agents that may answer slowly."""
LONGEST_SLEEP_SECONDS: Final = 60.0
"""While waiting for a window, so that a clock that was set is noticed."""
LOOK_AGAIN_SECONDS: Final = 2.0
"""Pause between two looks, while a lock or a lost answer is waited for."""
MOST_ROUNDS: Final = 5
"""Looks that end in a POST refused because the cluster changed in between; more is not chance."""
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Between two POSTs refused by a lock nobody can see; the first comes after a look at once."""


LOOKED_AT_AGAIN: Final = (
    AgentUnreachableError,
    IdentityMismatchError,
    DatabaseDownError,
    NotAuthorizedError,
)
"""What may stand no more at the next look, or at another agent: a POST that was certainly not sent,
and refusals of one."""


WRITTEN_WITHIN_SECONDS: Final = 5.0
"""A record whose writing took longer is followed by another look before the POST."""


class Keeping(Protocol):
    """Where the records of one node are kept; see `tasks.runtime.baselines.Records`."""

    cluster: str

    async def write(self, record: Baseline) -> Baseline:
        """Write a record down before its POST.

        Raises:
            RecordError: It cannot be written down.
        """
        ...

    async def settle(self, record: Baseline, dag_id: str) -> Baseline:
        """Write down which DAG its POST has begun."""
        ...

    async def read(self) -> Sequence[Baseline]:
        """Read all records of the node."""
        ...


CalledOff = Callable[[], Awaitable[bool]]
"""Whether nothing may begin now, although it was about to."""


class CalledOffError(Exception):
    """Right before the POST it turned out that nothing may begin now; nothing was sent."""


@dataclass
class Rounds:
    """POSTs of one submit that were refused, so that nothing was created, and what bounds them.

    Args:
        give_up: When a lock is no longer waited for.
    """

    give_up: datetime
    sent: int = 0
    held: int = 0
    """Those that were refused by a lock."""
    unfinished: tuple[Dag, ...] = ()
    """What the last look has shown."""


@task(
    name="submit",
    task_run_name="submit {order.target}",
    retries=0,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def submit(order: Order, seen: Preflight) -> Submitted:
    """Begin the scale-out exactly once, or take up the one already begun.

    Args:
        order: What is to be done.
        seen: By preflight; what ages is judged again after a minute.

    Raises:
        RecordError: How the cluster stood before cannot be written down; nothing was sent.
        PreflightError: Something that was right at preflight, say a free disk, no longer is.
        ForeignDagError: Somebody else's DAG holds the cluster's lock for longer than allowed.
        OutcomeUnknownError: The answer was lost and no look could settle what happened.
        AgentRefusedError: The cluster refused the request; nothing was created.
    """
    async with linked(order, proven=True) as link:
        submitted = await begin_once(link, order, seen, records=Records, publish=publish)
    await aside(keep_submitted(order, submitted))
    return submitted


@task(
    name="submit",
    task_run_name="submit {order.target}: take up DAG {begun.dag_id}",
    retries=2,
    retry_delay_seconds=[2, 5],
    retry_condition_fn=if_transient,
    timeout_seconds=TAKE_UP_SECONDS,
    cache_policy=NO_CACHE,
)
async def take_up(order: Order, begun: Submitted) -> Submitted | None:
    """Confirm in the cluster the DAG an earlier attempt of this run has begun. Sends nothing.

    Returns:
        It, with how things stood before its POST; None: it is not there, not this target's, undone,
        or followed by another one, so that the run begins anew.

    Raises:
        AgentError: No cluster agent told.
    """
    async with linked(order) as link:
        sighting = await look_for_dag(link)
        cluster = identity_of(sighting.members)
        dag = await _read_begun(link, order, begun, sighting)
        if dag is None or cluster != begun.cluster:
            publish_line(
                publish, "submit", f"submit.not_taken_up dag={begun.dag_id} next='begin anew'"
            )
            return None
        records = await Records(cluster, order.target).read()
        baseline = baseline_of(records, cluster=cluster, node=order.node, dag=dag)
    why = f"begun by an earlier attempt of this run, {begun.how} {begun.at:%Y-%m-%d %H:%M:%S} UTC"
    return _told(
        Submitted(
            dag_id=dag.id, how="adopted", why=why, at=_now(), cluster=cluster, baseline=baseline
        ),
        publish,
        dag,
    )


async def _read_begun(link: Link, order: Order, begun: Submitted, sighting: Sighting) -> Dag | None:
    """Read a DAG an earlier attempt has begun; None where it is not the one to follow."""
    if begun.dag_id is None or decide_cluster(sighting, link.spec.name, link.spec.id):
        return None
    dag_id = begun.dag_id
    try:
        dag = await link.cluster.ask(lambda agent: agent.read_dag(dag_id))
    except DagNotFoundError:
        return None
    return dag if goes_on(dag, sighting, order.node) else None


async def earlier_attempt(order: Order) -> Submitted | None:
    """Take up what an earlier attempt of this flow run has begun; None where there is nothing."""
    begun = await kept_earlier(Submitted, "dag-")
    if begun is None and (record := await kept_earlier(Baseline, "baseline-")):
        # Killed right after the answer to its POST came.
        begun = Submitted(
            dag_id=record.dag_id, how="posted", why="", at=record.at, cluster=record.cluster
        )
    return await take_up(order, begun) if begun is not None and begun.dag_id else None


async def keep_submitted(order: Order, submitted: Submitted) -> None:
    """Keep which DAG carries the order, for the page of the run and for its later attempts."""
    found = submitted.dag_id or "none"
    words = markdown("DAG **{}** — {}: {}", found, submitted.how, submitted.why)
    await keep_page(
        artifact_key("dag", order.cluster_name, order.target),
        page_of(submitted, words),
        f"The DAG that adds {order.target} to {order.cluster_name}",
    )


async def never() -> bool:
    """Call nothing off: what one run begins is nobody else's."""
    return False


async def begin_once(
    link: Link,
    order: Order,
    seen: Preflight,
    called_off: CalledOff = never,
    gate: AbstractAsyncContextManager[object] = ALONE,
    *,
    records: Callable[[str, str], Keeping],
    publish: Publish,
) -> Submitted:
    """Look, then adopt, wait or post, until one DAG is known to carry the order.

    Before each POST it is written down how things stood; of a DAG that is there already, it is read
    back.

    Args:
        link: Open.
        order: What is to be done.
        seen: By preflight.
        called_off: Asked right before each POST: whether it is not to be sent after all.
        gate: Entered for each look, where many nodes are begun at the same time.
        records: Gives where the records of a node are kept, by cluster and target.
        publish: Gets each event.

    Raises:
        CalledOffError: It is not.
        RecordError: It could not be written down; nothing was sent.
    """
    give_up = _now() + timedelta(seconds=order.time_limits.lock_wait_seconds)
    begun = _now()
    rounds = Rounds(give_up)
    kept: Keeping | None = None
    waits = Seldom()
    while True:
        async with gate:
            sighting = await look_for_dag(link)
        rounds.unfinished = sighting.unfinished
        cluster = identity_of(sighting.members)
        if kept is None or kept.cluster != cluster:
            kept = records(cluster, order.target)
        decision = decide_cluster(sighting, link.spec.name, link.spec.id) or decide_submission(
            sighting, order.node
        )
        match decision:
            case Post() if await called_off():
                raise CalledOffError
            case Post() if order.window and not order.window.is_open(_now()):
                await _wait_for_window(order.window, publish)
            case Post() if is_stale(seen.at, _now()):
                # Then look again: the look is always the last thing before the POST.
                async with gate:
                    seen = await _judge_again(link, order, seen, publish)
            case Post(baseline=newest):
                began = monotonic()
                record = await kept.write(_record(order, seen, cluster, newest))
                # Where writing took a while, the look is not the last thing before the POST.
                if monotonic() - began > WRITTEN_WITHIN_SECONDS:
                    continue
                if submitted := await _post(link, order, record, kept, rounds, publish):
                    return submitted
            case WaitForLock(owner=owner, dag_id=dag_id, undecided=undecided):
                # An undecided one may be our own, of a run that died: let it name its target.
                limit = begun + _limits_with_youth(order) if undecided else give_up
                await _wait_for(f"DAG {dag_id} {owner!r} holds the lock", limit, waits, publish)
            case _:
                return await _settled(link, order, decision, sighting, kept, publish)


def _record(order: Order, seen: Preflight, cluster: str, newest: int) -> Baseline:
    return Baseline(
        cluster=cluster,
        target=order.target,
        zone=order.node.zone,
        newest_dag=newest,
        at=_now(),
        zones=compact(seen.zones),
        totals=seen.totals,
        host=seen.host,
        judged=seen.judged,
    )


async def _settled(
    link: Link,
    order: Order,
    decision: Submission,
    sighting: Sighting,
    kept: Keeping,
    publish: Publish,
) -> Submitted:
    """Give what is there already, with how things stood before its POST as far as that is known."""
    cluster = identity_of(sighting.members)
    match decision:
        case AlreadyMember(why=why):
            own = of_node(await kept.read(), cluster=cluster, node=order.node)
            dag = await _dag_of_member(link, order, sighting, own, publish)
            how, dag_id = "already a member", dag.id if dag else None
        case Adopt(dag_id=dag_id, why=why):
            own = of_node(await kept.read(), cluster=cluster, node=order.node)
            seen = (sighting.last_dag, *sighting.unfinished, *sighting.passed)
            dag = next(each for each in seen if each is not None and each.id == dag_id)
            how = "adopted"
        case Refuse(reason=reason, hint=hint):
            raise IdentityMismatchError(reason, step="submit", hint=hint)
        case _:
            raise AssertionError(decision)
    baseline = baseline_of(own, cluster=cluster, node=order.node, dag=dag) if dag else None
    return _told(
        Submitted(
            dag_id=dag_id,
            how=how,
            why=why,
            at=_now(),
            cluster=cluster,
            baseline=baseline,
            dag=dag if dag and carried_out(dag, sighting, order.node) else None,
        ),
        publish,
    )


def _told(submitted: Submitted, publish: Publish, dag: Dag | None = None) -> Submitted:
    """Tell how a node comes by its DAG, and what is known of before."""
    publish(SubmitSettled(submitted=submitted, dag=dag))
    if submitted.how != "posted":
        publish(BaselineFound(baseline=submitted.baseline))
    return submitted


async def baseline_of_member(
    link: Link, order: Order, records: Callable[[str, str], Keeping], publish: Publish
) -> Baseline | None:
    """Read how things stood before the POST that has made a node a member; None: not known.

    Raises:
        AgentError: No cluster agent told its DAGs or members.
    """
    sighting = await look_for_dag(link)
    cluster = identity_of(sighting.members)
    own = of_node(await records(cluster, order.target).read(), cluster=cluster, node=order.node)
    dag = await _dag_of_member(link, order, sighting, own, publish)
    return baseline_of(own, cluster=cluster, node=order.node, dag=dag) if dag else None


async def _dag_of_member(
    link: Link, order: Order, sighting: Sighting, own: Sequence[Baseline], publish: Publish
) -> Dag | None:
    """Read the DAG that has made the node a member; None where nobody tells, or it is not there."""
    dag_id = dag_of_member(sighting, order.node, own)
    if dag_id is None:
        return None
    try:
        dag = await link.cluster.ask(lambda agent: agent.read_dag(dag_id))
    except AgentError as error:
        publish_line(publish, "submit", f"submit.dag_not_read dag={dag_id} reason={str(error)!r}")
        return None
    return dag if carried_out(dag, sighting, order.node) else None


async def _judge_again(link: Link, order: Order, earlier: Preflight, publish: Publish) -> Preflight:
    """Judge what ages by fresh facts; gives the new look.

    Raises:
        PreflightError: One of these rules blocks now.
    """
    look = earlier.look()
    facts = await survey(link, order, earlier=look)
    findings = held_back(
        newly_unknown(judge_ageing(facts, order.profile, order.overrides), look.unjudged),
        allow_unknown=order.allow_unknown,
    )
    publish_line(
        publish, "submit", f"submit.judged_again rules={len(findings)} verdict={findings.verdict!r}"
    )
    for finding in findings.warnings:
        words = f"submit.{finding.answer} {finding.rule}: {finding.measured}"
        publish_line(publish, "submit", f"{words}; needed {finding.needed}", logging.WARNING)
    if findings.blockers:
        reasons = "; ".join(f"{f.rule}: {f.measured}" for f in findings.blockers)
        raise PreflightError(
            f"not submitted, no longer as at preflight: {reasons}", findings.blockers[0].remedy
        )
    now = conclude(facts, findings)
    publish(LookedAgain(zones=now.zones or earlier.zones))
    return replace(
        now,
        zones=now.zones or earlier.zones,
        totals=now.totals or earlier.totals,
        host=now.host or earlier.host,
        judged=earlier.judged | now.judged,
        gone_on_with=look.unjudged,
    )


async def _post(
    link: Link,
    order: Order,
    record: Baseline,
    kept: Keeping,
    rounds: Rounds,
    publish: Publish,
) -> Submitted | None:
    """Post once. None asks the caller to look again: the cluster, or its agent, has changed.

    Raises:
        ForeignDagError: Refused by a lock nobody can see for longer than a lock is waited for.
    """
    rounds.sent += 1
    password = link.target_password.get_secret_value() if link.target_password else None
    publish(Posting(newest_dag=record.newest_dag, agent=str(link.cluster.current.address)))
    try:
        body = request_body(order.node, password)
        told = await post_once(link, order.node, body, record.newest_dag, publish)
    except OutcomeUnknownError as lost:
        return await _find_lost(link, order, record, kept, lost, publish)
    except UnderMaintenanceError as refused:
        await _wait_unseen(refused, rounds, publish)
        return None
    except LOOKED_AT_AGAIN as refused:
        # Refused, so nothing was created; the look also finds an agent whose database is there, or
        # which knows the password, and reads its clock anew. Where all refuse, the look says so.
        if rounds.sent - rounds.held >= MOST_ROUNDS:
            raise
        words = f"submit.not_sent reason={refused.message!r}"
        if isinstance(refused, AgentRefusedError):
            words = f"submit.refused code={refused.code!r}"
        publish_line(publish, "submit", f"{words} next='look again'")
        return None
    if isinstance(told, Shown):
        return await _found(link, order, told.decision, told.sighting, kept, publish)
    submitted = Submitted(
        dag_id=told.id,
        how="posted",
        why="no DAG for this target",
        at=_now(),
        cluster=record.cluster,
        baseline=record.model_copy(update={"dag_id": told.id}),
    )
    _told(submitted, publish, told)
    await kept.settle(record, told.id)
    return submitted


async def _found(
    link: Link,
    order: Order,
    decision: Adopt | AlreadyMember,
    sighting: Sighting,
    kept: Keeping,
    publish: Publish,
) -> Submitted:
    """Take up what a POST without an answer has begun, and write down that it has."""
    found = await _settled(link, order, decision, sighting, kept, publish)
    if found.baseline is not None and found.dag_id:
        await kept.settle(found.baseline, found.dag_id)
    return found


async def _find_lost(
    link: Link,
    order: Order,
    record: Baseline,
    kept: Keeping,
    lost: OutcomeUnknownError,
    publish: Publish,
) -> Submitted | None:
    """Look for the DAG of a POST whose answer was lost, until it can no longer arrive."""
    deadline = (lost.header_expires_at or _now()) + timedelta(
        seconds=order.time_limits.lost_answer_seconds
    )
    publish_line(
        publish, "submit", f"submit.answer_lost until={deadline:%H:%M:%S} reason={lost.message!r}"
    )
    baseline = record.newest_dag
    while True:
        expired = _now() > deadline
        sighting: Sighting | None = None
        try:
            sighting = await (_look_once_more(link, baseline) if expired else look_for_dag(link))
        except AgentError as error:
            publish_line(publish, "submit", f"submit.look_failed reason={str(error)!r}")
        if sighting is not None:
            decision = decide_after_lost_answer(
                sighting, order.node, baseline=baseline, expired=expired
            )
            if isinstance(decision, Adopt | AlreadyMember):
                return await _found(link, order, decision, sighting, kept, publish)
            if isinstance(decision, PostAgain):
                return None
        # A young scale-out that never names its target, its executor being lost, ends it too.
        if expired and (sighting is None or _now() > deadline + _limits_with_youth(order)):
            raise lost
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _look_once_more(link: Link, baseline: int) -> Sighting:
    """Look when the lost request can come no more: also among what is over and not the newest.

    It may have been carried out, rolled back by somebody, and followed by another DAG.
    """
    sighting = await look_for_dag(link)
    if sighting.last_dag is None or sighting.last_dag.dag_id <= baseline:
        return sighting
    return replace(sighting, passed=await look_for_passed(link, baseline))


async def _wait_for(what: str, give_up: datetime, waits: Seldom, publish: Publish) -> None:
    if _now() >= give_up:
        raise ForeignDagError(
            f"not submitted: {what}", "wait for its end, or have its owner retry or roll it back"
        )
    waited = waits.waited(what, monotonic())
    if waited is not None:
        publish(WaitsForLock(what=what, seconds=waited))
    await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _wait_unseen(refused: UnderMaintenanceError, rounds: Rounds, publish: Publish) -> None:
    """Wait where a POST was refused by a lock of which the look before it showed no holder.

    Nothing was created. Somebody may have taken the lock in between, so the first refusal is
    followed by a look at once; after that obshell's refusal is all that tells, and each POST comes
    later than the one before.

    Raises:
        ForeignDagError: The time to wait for the lock is over.
    """
    rounds.held += 1
    if rounds.held > 1 and _now() >= rounds.give_up:
        seen = ", ".join(f"{dag.name} {dag.id} {dag.state.value}" for dag in rounds.unfinished)
        raise ForeignDagError(
            f"not submitted: {refused.message} (unfinished: {seen or 'none'})",
            "wait for its end, or have its owner retry or roll it back",
        )
    words = f"submit.refused code={refused.code!r} next='look again' why={refused.message!r}"
    publish_line(publish, "submit", words)
    if rounds.held > 1:
        pause = LOOK_AGAIN_SECONDS * (rounds.held - 1)
        await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))


async def _wait_for_window(window: Window, publish: Publish) -> None:
    """Wait until the window opens; what was seen before must be looked at again."""
    opens = window.opens(_now())
    publish(WaitsForWindow(window=window, opens=opens))
    while True:
        left = (opens - _now()).total_seconds()
        if left <= 0:
            return
        await asyncio.sleep(min(left, LONGEST_SLEEP_SECONDS))


def _limits_with_youth(order: Order) -> timedelta:
    return timedelta(
        seconds=max(order.time_limits.lock_wait_seconds, order.time_limits.lost_answer_seconds)
    )


def _now() -> datetime:
    return utc_now()
