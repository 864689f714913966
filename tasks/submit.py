"""Is a scale-out for this target under way already, and if not, how is exactly one begun?

obshell takes no idempotency key, so the cluster itself is the record: look, adopt what is ours,
post once, and after a lost answer look again until the lost request can no longer arrive.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from obscale.climb import ALONE
from obscale.errors import (
    AgentError,
    DatabaseDownError,
    ForeignDagError,
    IdentityMismatchError,
    NotAuthorizedError,
    OutcomeUnknownError,
    PreflightError,
    UnderMaintenanceError,
)
from obscale.link import Link
from obscale.order import Order
from obscale.rules.adoption import (
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
from obscale.rules.policies import Window
from obscale.rules.preflight.ageing import is_stale, judge_ageing
from obscale.rules.preflight.facts import Earlier
from obscale.sight import look_for_dag, look_for_passed
from obscale.spec import request_body
from obscale.survey import survey
from tasks.connection import linked
from tasks.notes import artifact_key, note_page, tell

TIME_LIMIT_SECONDS: Final = 1_500_000
"""Above the longest wait for a window, 16 days, and the longest for the lock, 86400 s, together."""
LONGEST_SLEEP_SECONDS: Final = 60.0
"""While waiting for a window, so that a clock that was set is noticed."""
LOOK_AGAIN_SECONDS: Final = 2.0
"""Pause between two looks, while a lock or a lost answer is waited for."""
MOST_ROUNDS: Final = 5
"""Looks that end in a POST refused because the cluster changed in between; more is not chance."""


LOOKED_AT_AGAIN: Final = (
    UnderMaintenanceError,
    IdentityMismatchError,
    DatabaseDownError,
    NotAuthorizedError,
)
"""Refusals of a POST that may stand no more at the next look, or at another agent."""


CalledOff = Callable[[], Awaitable[bool]]
"""Whether nothing may begin now, although it was about to."""


class CalledOffError(Exception):
    """Right before the POST it turned out that nothing may begin now; nothing was sent."""


class Submitted(BaseModel):
    """Which DAG carries the order; no DAG when the node is a member already."""

    model_config = ConfigDict(frozen=True)

    dag_id: str | None
    how: str
    """`posted`, `adopted` or `already a member`."""
    why: str
    at: datetime


@task(
    name="submit",
    task_run_name="submit {order.target}",
    retries=0,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
    persist_result=True,
    result_serializer="json",
)
async def submit(order: Order, earlier: Earlier | None = None) -> Submitted:
    """Begin the scale-out exactly once, or take up the one already begun.

    Args:
        order: What is to be done.
        earlier: Preflight's look; what ages is judged again after a minute.

    Raises:
        PreflightError: Something that was right at preflight, say a free disk, no longer is.
        ForeignDagError: Somebody else's DAG holds the cluster's lock for longer than allowed.
        OutcomeUnknownError: The answer was lost and no look could settle what happened.
        AgentRefusedError: The cluster refused the request; nothing was created.
    """
    async with linked(order, proven=True) as link:
        submitted = await begin_once(link, order, earlier)
    await note_page(
        artifact_key("dag", order.cluster_name, order.target),
        f"DAG **{submitted.dag_id or 'none'}** — {submitted.how}: {submitted.why}\n",
        f"The DAG that adds {order.target} to {order.cluster_name}",
    )
    return submitted


async def never() -> bool:
    """Call nothing off: what one run begins is nobody else's."""
    return False


async def begin_once(
    link: Link,
    order: Order,
    earlier: Earlier | None = None,
    called_off: CalledOff = never,
    gate: AbstractAsyncContextManager[object] = ALONE,
) -> Submitted:
    """Look, then adopt, wait or post, until one DAG is known to carry the order.

    Args:
        link: Open.
        order: What is to be done.
        earlier: Preflight's look.
        called_off: Asked right before each POST: whether it is not to be sent after all.
        gate: Entered for each look, where many nodes are begun at the same time.

    Raises:
        CalledOffError: It is not.
    """
    look = earlier or Earlier(_now())
    give_up = _now() + timedelta(seconds=order.patience.lock_wait_seconds)
    begun = _now()
    rounds = 0
    while True:
        async with gate:
            sighting = await look_for_dag(link)
        decision = decide_cluster(sighting, link.spec.name, link.spec.id) or decide_submission(
            sighting, order.node
        )
        match decision:
            case Post() if await called_off():
                raise CalledOffError
            case Post() if order.window and not order.window.is_open(_now()):
                await _wait_for_window(order.window)
            case Post() if is_stale(look.at, _now()):
                # Then look again: the look is always the last thing before the POST.
                async with gate:
                    look = await _judge_again(link, order, look)
            case Post(baseline=baseline):
                rounds += 1
                if dag_id := await _post(link, order, baseline, rounds):
                    return dag_id
            case WaitForLock(owner=owner, dag_id=dag_id, undecided=undecided):
                # An undecided one may be our own, of a run that died: let it name its target.
                limit = begun + _patience_with_youth(order) if undecided else give_up
                await _wait_for(f"DAG {dag_id} {owner!r} holds the lock", limit)
            case _:
                return _settled(decision)


def _settled(decision: Submission) -> Submitted:
    match decision:
        case AlreadyMember(why=why):
            tell("submit", f"submit.already_member why={why!r}", how="already a member")
            return Submitted(dag_id=None, how="already a member", why=why, at=_now())
        case Adopt(dag_id=dag_id, why=why):
            tell("submit", f"submit.adopted dag={dag_id} why={why!r}", dag_id=dag_id, how="adopted")
            return Submitted(dag_id=dag_id, how="adopted", why=why, at=_now())
        case Refuse(reason=reason, hint=hint):
            raise IdentityMismatchError(reason, step="submit", hint=hint)
        case _:
            raise AssertionError(decision)


async def _judge_again(link: Link, order: Order, earlier: Earlier) -> Earlier:
    """Judge what ages by fresh facts; gives the new look.

    Raises:
        PreflightError: One of these rules blocks now.
    """
    facts = await survey(link, order, earlier=earlier)
    findings = judge_ageing(facts, order.profile, order.overrides)
    tell("submit", f"submit.judged_again rules={len(findings)} verdict={findings.verdict!r}")
    for finding in findings.warnings:
        told = f"submit.{finding.answer} {finding.rule}: {finding.measured}"
        tell("submit", f"{told}; needed {finding.needed}", level=logging.WARNING)
    if findings.blockers:
        reasons = "; ".join(f"{f.rule}: {f.measured}" for f in findings.blockers)
        raise PreflightError(
            f"not submitted, no longer as at preflight: {reasons}", findings.blockers[0].remedy
        )
    return facts.look()


async def _post(link: Link, order: Order, baseline: int, rounds: int) -> Submitted | None:
    """Post once. None asks the caller to look again: the cluster, or its agent, has changed."""
    password = link.target_password.get_secret_value() if link.target_password else None
    words = f"submit.posting baseline={baseline} agent={link.cluster.current.address}"
    tell("submit", words, posting=True)
    try:
        body = request_body(order.node, password)
        dag = await link.cluster.send(lambda agent: agent.submit_scale_out(body))
    except OutcomeUnknownError as lost:
        return await _find_lost(link, order, baseline, lost)
    except LOOKED_AT_AGAIN as refused:
        # Refused, so nothing was created; the look also finds an agent whose database is there, or
        # which knows the password, and reads its clock anew. Where all refuse, the look says so.
        if rounds >= MOST_ROUNDS:
            raise
        tell("submit", f"submit.refused code={refused.code!r} next='look again'")
        return None
    tell(
        "submit", f"submit.posted dag={dag.id} stages={dag.max_stage}", dag_id=dag.id, how="posted"
    )
    return Submitted(dag_id=dag.id, how="posted", why="no DAG for this target", at=_now())


async def _find_lost(
    link: Link, order: Order, baseline: int, lost: OutcomeUnknownError
) -> Submitted | None:
    """Look for the DAG of a POST whose answer was lost, until it can no longer arrive."""
    deadline = (lost.header_expires_at or _now()) + timedelta(
        seconds=order.patience.lost_answer_seconds
    )
    tell("submit", f"submit.answer_lost until={deadline:%H:%M:%S} reason={lost.message!r}")
    while True:
        expired = _now() > deadline
        sighting: Sighting | None = None
        try:
            sighting = await (_look_once_more(link, baseline) if expired else look_for_dag(link))
        except AgentError as error:
            tell("submit", f"submit.look_failed reason={str(error)!r}")
        if sighting is not None:
            decision = decide_after_lost_answer(
                sighting, order.node, baseline=baseline, expired=expired
            )
            if isinstance(decision, Adopt | AlreadyMember):
                return _settled(decision)
            if isinstance(decision, PostAgain):
                return None
        # A young scale-out that never names its target, its executor being lost, ends it too.
        if expired and (sighting is None or _now() > deadline + _patience_with_youth(order)):
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


async def _wait_for(what: str, give_up: datetime) -> None:
    if _now() >= give_up:
        raise ForeignDagError(
            f"not submitted: {what}", "wait for its end, or have its owner retry or roll it back"
        )
    tell("submit", f"submit.waiting why={what!r}")
    await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _wait_for_window(window: Window) -> None:
    """Wait until the window opens; what was seen before must be looked at again."""
    opens = window.opens(_now())
    tell("submit", f"submit.waiting_for_window until={opens:%Y-%m-%dT%H:%M}Z window='{window}'")
    while True:
        left = (opens - _now()).total_seconds()
        if left <= 0:
            return
        await asyncio.sleep(min(left, LONGEST_SLEEP_SECONDS))


def _patience_with_youth(order: Order) -> timedelta:
    return timedelta(
        seconds=max(order.patience.lock_wait_seconds, order.patience.lost_answer_seconds)
    )


def _now() -> datetime:
    return datetime.now(UTC)
