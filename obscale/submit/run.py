"""Adopts the scale-out of this target that runs already, or begins exactly one.

obshell takes no idempotency key, so the cluster itself is the record: look, adopt what is ours,
post once, and after a lost answer look again until the lost request can no longer arrive.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from obscale.clock import monotonic
from obscale.connect.connections import Connections
from obscale.errors import (
    AgentRefusedError,
    AgentUnreachableError,
    DatabaseDownError,
    IdentityMismatchError,
    NotAuthorizedError,
    OutcomeUnknownError,
    PreflightError,
    UnderMaintenanceError,
)
from obscale.events import LookedAgain, Posting, Publish, publish_line
from obscale.follow.reminders import Seldom
from obscale.preflight.ageing import is_stale, judge_ageing
from obscale.preflight.read import survey
from obscale.preflight.result import Preflight, conclude
from obscale.preflight.unjudged import held_back, newly_unknown
from obscale.request.scale_out import ScaleOut
from obscale.spec import request_body
from obscale.submit.decide import (
    Adopt,
    AlreadyMember,
    Candidates,
    Post,
    Submission,
    WaitForLock,
    decide_after_lost_answer,
    decide_cluster,
    decide_submission,
)
from obscale.submit.post import post_once
from obscale.submit.read import read_candidates
from obscale.submit.result import CalledOff, CalledOffError, Keeping, Submitted, never
from obscale.submit.settle import find_lost, settled, take_up_posted, tell_settled
from obscale.submit.waits import (
    Rounds,
    naming_limit,
    now,
    wait_for_lock,
    wait_for_window,
    wait_unseen,
)
from obscale.verify.baseline import Baseline, compact, identity_of
from obscale.verify.run import ALONE

MOST_ROUNDS: Final = 5
"""Looks that end in a POST refused because the cluster changed in between; more is not chance."""
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


@dataclass(frozen=True)
class Shown:
    """What the cluster has shown of a POST before its answer came."""

    decision: Adopt | AlreadyMember
    sighting: Candidates


async def begin_once(
    link: Connections,
    order: ScaleOut,
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
        gate: Entered for each look and its record, where many nodes are begun at the same time.
        records: Gives where the records of a node are kept, by cluster and target.
        publish: Gets each event.

    Raises:
        CalledOffError: It is not.
        RecordError: It could not be written down; nothing was sent.
    """
    give_up = now() + timedelta(seconds=order.time_limits.lock_wait_seconds)
    begun = now()
    rounds = Rounds(give_up)
    kept: Keeping | None = None
    waits = Seldom()
    while True:
        async with gate:
            look = await _look(link, order, seen, kept, records=records, called_off=called_off)
        rounds.unfinished, kept = look.sighting.unfinished, look.kept
        match look.decision:
            case Post() if look.record is not None:
                if submitted := await _post(link, order, look.record, kept, rounds, publish):
                    return submitted
            case Post() if order.window and not order.window.is_open(now()):
                await wait_for_window(order.window, publish)
            case Post() if is_stale(seen.at, now()):
                # Then look again: the look is always the last thing before the POST.
                async with gate:
                    seen = await _judge_again(link, order, seen, publish)
            case Post():
                # The look is not the last thing before the POST any more.
                continue
            case WaitForLock(owner=owner, dag_id=dag_id, undecided=undecided):
                # An undecided one may be our own, of a run that died: let it name its target.
                limit = begun + naming_limit(order.time_limits) if undecided else give_up
                await wait_for_lock(f"DAG {dag_id} {owner!r} holds the lock", limit, waits, publish)
            case _:
                return await settled(link, order, look.decision, look.sighting, kept, publish)


@dataclass(frozen=True)
class _Look:
    """A look at the cluster, and what follows from it.

    Args:
        sighting: What was seen.
        decision: What is to be done.
        kept: Where the records of the node are kept.
        record: What was written down of it; None: no POST may follow at once.
    """

    sighting: Candidates
    decision: Submission
    kept: Keeping
    record: Baseline | None = None


async def _look(
    link: Connections,
    order: ScaleOut,
    seen: Preflight,
    kept: Keeping | None,
    *,
    records: Callable[[str, str], Keeping],
    called_off: CalledOff,
) -> _Look:
    """Look, and write down how things stand where a POST may follow.

    Raises:
        CalledOffError: It may not be sent any more.
        RecordError: It could not be written down.
    """
    sighting = await read_candidates(link)
    cluster = identity_of(sighting.members)
    if kept is None or kept.cluster != cluster:
        kept = records(cluster, order.target)
    decision = decide_cluster(sighting, link.spec.name, link.spec.id) or decide_submission(
        sighting, order.node
    )
    look = _Look(sighting, decision, kept)
    if not isinstance(decision, Post):
        return look
    if await called_off():
        raise CalledOffError
    if not _may_begin(order, seen):
        return look
    began = monotonic()
    record = await kept.write(_record(order, seen, cluster, decision.baseline))
    if monotonic() - began > WRITTEN_WITHIN_SECONDS:
        return look
    return replace(look, record=record)


def _may_begin(order: ScaleOut, seen: Preflight) -> bool:
    """Whether the window is open, and what was judged still holds."""
    is_open = order.window is None or order.window.is_open(now())
    return is_open and not is_stale(seen.at, now())


def _record(order: ScaleOut, seen: Preflight, cluster: str, newest: int) -> Baseline:
    return Baseline(
        cluster=cluster,
        target=order.target,
        zone=order.node.zone,
        newest_dag=newest,
        at=now(),
        zones=compact(seen.zones),
        totals=seen.totals,
        host=seen.host,
        judged=seen.judged,
    )


async def _judge_again(
    link: Connections, order: ScaleOut, earlier: Preflight, publish: Publish
) -> Preflight:
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
            f"not submitted, no longer as at preflight: {reasons}", findings.remedies
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
    link: Connections,
    order: ScaleOut,
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

    async def shown() -> Shown | None:
        sighting = await read_candidates(link)
        decision = decide_after_lost_answer(
            sighting, order.node, baseline=record.newest_dag, expired=False
        )
        return Shown(decision, sighting) if isinstance(decision, Adopt | AlreadyMember) else None

    try:
        body = request_body(order.node, password)
        told = await post_once(
            link, lambda agent: agent.submit_scale_out(body), shown, "scale_out", publish
        )
    except OutcomeUnknownError as lost:
        return await find_lost(link, order, record, kept, lost, publish)
    except UnderMaintenanceError as refused:
        await wait_unseen(refused, rounds, publish)
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
        return await take_up_posted(link, order, told.decision, told.sighting, kept, publish)
    submitted = Submitted(
        dag_id=told.id,
        how="posted",
        why="no DAG for this target",
        at=now(),
        cluster=record.cluster,
        baseline=record.model_copy(update={"dag_id": told.id}),
    )
    tell_settled(submitted, publish, told)
    await kept.settle(record, told.id)
    return submitted
