"""Judges a removal, then adopts the one that runs, or asks for exactly one.

obshell takes no key, so the cluster itself is the record: look, adopt what is ours, ask once, and
after a lost answer look again until the lost request can no longer arrive. 204 means that there is
no row of the agent, and is judged by the topology.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

from obscale.agent.client import AgentClient
from obscale.agent.models import AgentEndpoint, Dag, ScaleInRequest
from obscale.clock import monotonic
from obscale.connect.connections import Connections
from obscale.errors import (
    AgentRefusedError,
    IdentityMismatchError,
    OutcomeUnknownError,
    PreflightError,
    UnderMaintenanceError,
)
from obscale.events import (
    Judged,
    LookedAgain,
    Posting,
    Publish,
    publish_line,
)
from obscale.follow.reminders import Seldom
from obscale.preflight.ageing import is_stale
from obscale.preflight.facts import TargetProgress
from obscale.preflight.finding import Finding, line_of
from obscale.preflight.unjudged import held_back, newly_unknown
from obscale.reading import Unread
from obscale.removal.decide import (
    AlreadyGone,
    Decision,
    Sighting,
    decide_after_lost_answer,
    decide_removal,
    leaving_server,
)
from obscale.removal.facts import RemovalFacts
from obscale.removal.judge import before_of, judge
from obscale.removal.look import learn_staying, look_once_more, read_sighting
from obscale.removal.read import survey
from obscale.removal.result import BeforeRemoval, RemovalPreflight, RemovalRecord
from obscale.request.removal import Removal
from obscale.scale_in_dag import is_forced
from obscale.submit.decide import Adopt, Post, PostAgain, Refuse, WaitForLock
from obscale.submit.post import post_once
from obscale.submit.result import CalledOff, CalledOffError, Keeping, Submitted, never
from obscale.submit.run import LOOKED_AT_AGAIN, MOST_ROUNDS, WRITTEN_WITHIN_SECONDS
from obscale.submit.settle import tell_settled
from obscale.submit.waits import (
    LOOK_AGAIN_SECONDS,
    Rounds,
    naming_limit,
    now,
    wait_for_lock,
    wait_for_lost,
    wait_for_window,
    wait_unseen,
)
from obscale.verify.baseline import Baseline, compact, identity_of
from obscale.verify.run import ALONE

UNDECIDED_SECONDS: Final = 30.0
"""A removal that has just begun names its server, or shows in the topology, within five."""
GONE: Final = "already gone"
"""How a removal stands of which nothing is left to do but to prove it."""


@dataclass(frozen=True)
class Shown:
    """What the cluster has shown of a request before its answer came."""

    decision: Adopt | AlreadyGone
    sighting: Sighting


@dataclass(frozen=True)
class Looked:
    """What a look before a removal has found.

    Args:
        seen: What is kept of it for the steps after it.
        facts: As read.
        decision: Where rules block: what the DAGs and the topology say; else None.
    """

    seen: RemovalPreflight
    facts: RemovalFacts
    decision: Decision | None

    @property
    def progress(self) -> TargetProgress:
        """How far the target is on its way out."""
        match self.decision:
            case Adopt():
                return TargetProgress.LEAVING
            case AlreadyGone():
                return TargetProgress.GONE
            case _:
                return self.seen.findings.progress

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """What holds it back: nothing where nothing is asked for."""
        return () if self.progress is not TargetProgress.NEW else self.seen.findings.blockers


async def look(
    link: Connections, order: Removal, publish: Publish, *, will_be_asked: bool = False
) -> Looked:
    """Read and judge all rules; where they block, look whether its removal is at work, or done.

    Args:
        link: Open connections.
        order: What is asked for.
        publish: Gets what is waited for.
        will_be_asked: Whether a person is shown the findings before anything is begun.

    Raises:
        AgentError: No entry agent could be asked.
    """
    give_up = monotonic() + UNDECIDED_SECONDS
    while True:
        facts = await survey(link, order)
        seen = _judged(facts, order, will_be_asked=will_be_asked)
        decision = None
        if seen.findings.blockers:
            decision = decide_removal(await read_sighting(link), order)
        is_undecided = isinstance(decision, WaitForLock) and decision.undecided
        if not is_undecided or monotonic() > give_up:
            return Looked(seen, facts, decision)
        # It may be our own, of a run that died: its first seconds over, it tells whom it removes.
        publish_line(publish, "preflight", "preflight.undecided next='look again'")
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def look_before(
    link: Connections,
    order: Removal,
    publish: Publish,
    *,
    will_be_asked: bool = False,
    judged: Callable[[RemovalPreflight], Awaitable[None]] | None = None,
) -> RemovalPreflight:
    """Read and judge all rules, and tell the verdict.

    Where the removal is under way, or the node is gone already, nothing is asked for, so no rule
    holds it back.

    Args:
        link: Open connections.
        order: What is asked for.
        publish: Gets each event.
        will_be_asked: Whether a person is shown the findings before anything is begun.
        judged: Gets what was found, also where a rule blocks.

    Raises:
        PreflightError: A rule blocks, or one that could cannot be judged.
        AgentError: No entry agent could be asked.
    """
    found = await look(link, order, publish, will_be_asked=will_be_asked)
    seen = found.seen
    if judged:
        await judged(seen)
    publish(
        Judged(
            findings=seen.findings,
            zones=seen.before.zones,
            versions=_versions(found.facts),
        )
    )
    if found.blockers:
        reasons = "; ".join(line_of(finding) for finding in seen.findings.blockers)
        raise PreflightError(f"blocked by preflight: {reasons}", seen.findings.remedies)
    return seen


async def judge_order(
    link: Connections, order: Removal, *, will_be_asked: bool = False
) -> RemovalPreflight:
    """Read and judge all rules of an order, and tell nobody.

    Raises:
        AgentError: No entry agent could be asked.
    """
    return _judged(await survey(link, order), order, will_be_asked=will_be_asked)


def _judged(
    facts: RemovalFacts, order: Removal, *, will_be_asked: bool = False
) -> RemovalPreflight:
    findings = judge(facts, order.profile, order.overrides)
    if not will_be_asked:
        findings = held_back(findings, allow_unknown=order.allow_unknown)
    return RemovalPreflight(findings, before_of(facts), facts.now or now())


def _versions(facts: RemovalFacts) -> dict[str, str]:
    info = facts.cluster.info
    told = {facts.cluster.entry: info}
    return {
        agent: f"obshell {who.version}, OceanBase {who.ob_version or 'not told'}"
        for agent, who in told.items()
        if not isinstance(who, Unread)
    }


async def remove_once(
    link: Connections,
    order: Removal,
    seen: RemovalPreflight,
    called_off: CalledOff = never,
    gate: AbstractAsyncContextManager[object] = ALONE,
    *,
    records: Callable[[str, str], Keeping],
    publish: Publish,
) -> Submitted:
    """Look, then adopt, wait or ask, until one DAG is known to carry the order, or none is needed.

    Before each request it is written down how things stood; of a DAG that is there already, it is
    read back.

    Args:
        link: Open.
        order: What is to be done.
        seen: By preflight; too old, all is judged again.
        called_off: Asked right before each request: whether it is not to be sent after all.
        gate: Entered for each look and its record, where many removals are begun at the same time.
        records: Gives where the records of a node are kept, by cluster and target.
        publish: Gets each event.

    Raises:
        CalledOffError: It is not.
        RecordError: It could not be written down; nothing was sent.
        PreflightError: A rule blocks that did not before.
        ForeignDagError: Somebody else's DAG holds the lock for longer than allowed.
        OutcomeUnknownError: The answer was lost and no look could settle what happened.
        AgentRefusedError: The cluster refused; nothing was created.
    """
    await learn_staying(link, order, publish)
    removing = _Removing(link, order, seen, called_off, gate, records, publish)
    while True:
        async with gate:
            look = await removing.look()
        if submitted := await removing.act(look):
            return submitted


@dataclass(frozen=True)
class _Look:
    """A look at the cluster, and what follows from it.

    Args:
        sighting: What was seen.
        decision: What is to be done.
        record: What was written down of it; None: no request may follow at once.
    """

    sighting: Sighting
    decision: Decision
    record: Baseline | None = None


class _Removing:
    """One removal on its way to its DAG; the arguments are those of `remove_once`."""

    def __init__(
        self,
        link: Connections,
        order: Removal,
        seen: RemovalPreflight,
        called_off: CalledOff,
        gate: AbstractAsyncContextManager[object],
        records: Callable[[str, str], Keeping],
        publish: Publish,
    ) -> None:
        self._link, self._order, self._seen = link, order, seen
        self._called_off, self._gate = called_off, gate
        self._records, self._publish = records, publish
        self._begun = now()
        self._rounds = Rounds(self._begun + timedelta(seconds=order.time_limits.lock_wait_seconds))
        self._waits = Seldom()
        self._kept: Keeping = records("", order.target)

    async def look(self) -> _Look:
        """Look, and write down how things stand where a request may follow.

        Raises:
            IdentityMismatchError: Another cluster answers.
            CalledOffError: It may not be sent any more.
            RecordError: It could not be written down.
        """
        sighting = await self._sight()
        look = _Look(sighting, decide_removal(sighting, self._order))
        if not isinstance(look.decision, Post):
            return look
        if await self._called_off():
            raise CalledOffError
        if self._is_closed() or is_stale(self._seen.at, now()):
            return look
        began = monotonic()
        cluster = identity_of(sighting.members)
        record = await self._kept.write(
            _record(self._order, self._seen, cluster, look.decision.baseline)
        )
        # Where writing took a while, the look is not the last thing before the request.
        if monotonic() - began > WRITTEN_WITHIN_SECONDS:
            return look
        return replace(look, record=record)

    async def _sight(self) -> Sighting:
        """See the cluster that was meant.

        Raises:
            IdentityMismatchError: Another one answers.
        """
        sighting = await read_sighting(self._link)
        self._rounds.unfinished = sighting.unfinished
        cluster = identity_of(sighting.members)
        if self._kept.cluster != cluster:
            self._kept = self._records(cluster, self._order.target)
        if (wrong := _wrong_cluster(self._link, sighting)) is not None:
            raise wrong
        node = self._order.node
        if node is None or leaving_server(sighting.zones, self._order) or not sighting.dags():
            return sighting
        # Only a record knows the server's address any more.
        own = await self._own()
        return replace(
            sighting, rpc_address=next((r.rpc_address for r in own if r.rpc_address), "")
        )

    def _is_closed(self) -> bool:
        window = self._order.window
        return window is not None and not window.is_open(now())

    async def act(self, look: _Look) -> Submitted | None:
        """Do what is decided; None: look again."""
        order, sighting = self._order, look.sighting
        match look.decision:
            case Post() if look.record is not None:
                _tell_odd(sighting, order, self._publish)
                return await self._ask(look.record, self._seen.before.rpc_address)
            case Post() if order.window and self._is_closed():
                await wait_for_window(order.window, self._publish)
            case Post() if is_stale(self._seen.at, now()):
                # Then look again: the look is always the last thing before the request.
                async with self._gate:
                    self._seen = await _judge_again(self._link, order, self._seen, self._publish)
            case Post():
                # The look is not the last thing before the request any more.
                pass
            case WaitForLock(owner=owner, dag_id=dag_id, undecided=undecided):
                # An undecided one may be our own, of a run that died: let it name its target.
                named_by = self._begun + naming_limit(order.time_limits)
                limit = named_by if undecided else self._rounds.give_up
                what = f"DAG {dag_id} {owner!r} holds the lock"
                await wait_for_lock(what, limit, self._waits, self._publish)
            case Refuse(reason=reason, hint=hint):
                raise IdentityMismatchError(reason, step="submit", hint=hint)
            case Adopt() | AlreadyGone():
                return await self._settled(look.decision, sighting)
        return None

    async def _ask(self, record: Baseline, rpc_address: str) -> Submitted | None:
        """Ask once. None: look again, the cluster, or its agent, has changed.

        Raises:
            ForeignDagError: Refused by a lock nobody can see for longer than a lock is waited for.
        """
        link, rounds = self._link, self._rounds
        rounds.sent += 1
        agent = str(link.cluster.current.address)
        self._publish(Posting(newest_dag=record.newest_dag, agent=agent))
        look = partial(self._look_after, record.newest_dag, rpc_address)
        does = "scale_in" if self._order.node else "delete_zone"

        async def shown() -> Shown | None:
            found = await look(expired=False)
            return found if isinstance(found, Shown) else None

        async def lost_look(expired: bool) -> Shown | PostAgain | None:
            return await look(expired=expired)

        told: Dag | Shown | None
        try:
            told = await post_once(link, _write_of(self._order), shown, does, self._publish)
        except OutcomeUnknownError as lost:
            limits = self._order.time_limits
            found = await wait_for_lost(lost, limits, lost_look, self._publish)
            return await self._take_up(found) if found else None
        except UnderMaintenanceError as refused:
            await wait_unseen(refused, rounds, self._publish)
            return None
        except LOOKED_AT_AGAIN as refused:
            # Refused, so nothing was created; where all refuse, the look says so.
            if rounds.sent - rounds.held >= MOST_ROUNDS:
                raise
            words = f"submit.not_sent reason={refused.message!r}"
            if isinstance(refused, AgentRefusedError):
                words = f"submit.refused code={refused.code!r}"
            publish_line(self._publish, "submit", f"{words} next='look again'")
            return None
        if isinstance(told, Shown):
            return await self._take_up(told)
        if told is None:
            return await self._without_row(record, rpc_address)
        return await self._posted(record, told)

    async def _look_after(
        self, baseline: int, rpc_address: str, *, expired: bool
    ) -> Shown | PostAgain | None:
        """Look what a request has begun; None: nothing is settled yet."""
        sighting = await (
            look_once_more(self._link, baseline, rpc_address)
            if expired
            else read_sighting(self._link, rpc_address)
        )
        decision = decide_after_lost_answer(
            sighting, self._order, baseline=baseline, expired=expired
        )
        if isinstance(decision, Adopt | AlreadyGone):
            return Shown(decision, sighting)
        return decision if isinstance(decision, PostAgain) else None

    async def _take_up(self, shown: Shown) -> Submitted:
        found = await self._settled(shown.decision, shown.sighting)
        if found.baseline is not None and found.dag_id:
            await self._kept.settle(found.baseline, found.dag_id)
        return found

    async def _posted(self, record: Baseline, dag: Dag) -> Submitted:
        submitted = Submitted(
            dag_id=dag.id,
            how="posted",
            why="no DAG for this target",
            at=now(),
            cluster=record.cluster,
            baseline=record.model_copy(update={"dag_id": dag.id}),
        )
        tell_settled(submitted, self._publish, dag)
        await self._kept.settle(record, dag.id)
        return submitted

    async def _without_row(self, record: Baseline, rpc_address: str) -> Submitted | None:
        """Judge a 204 by the topology: it says no more than that there is no row of the agent."""
        publish_line(
            self._publish, "submit", "submit.no_row status=204 next='look in the topology'"
        )
        found = await self._look_after(record.newest_dag, rpc_address, expired=False)
        if isinstance(found, Shown):
            return await self._take_up(found)
        if self._rounds.sent - self._rounds.held >= MOST_ROUNDS:
            raise IdentityMismatchError(
                f"obshell answers 204, no such row, and yet lists {self._order.target}",
                step="submit",
                hint="see whether the entry agents are of one cluster",
            )
        # A server without a row of its agent is refused by the next look.
        return None

    async def _settled(self, decision: Adopt | AlreadyGone, sighting: Sighting) -> Submitted:
        """Give what is there already, with how things stood before as far as that is known."""
        own = await self._own()
        dag: Dag | None = None
        if isinstance(decision, Adopt):
            dag = next(each for each in sighting.dags() if each.id == decision.dag_id)
            own = [each for each in own if each.newest_dag < dag.dag_id]
            _tell_other_flag(dag, self._order, self._publish)
        named = [each for each in own if dag and each.dag_id == dag.id]
        nameless = [each for each in own[:1] if each.dag_id is None or dag is None]
        baseline = next(iter((*named, *nameless)), None)
        of_record = baseline.dag_id if baseline else None
        found = Submitted(
            dag_id=dag.id if dag else of_record,
            how="adopted" if dag else GONE,
            why=decision.why,
            at=now(),
            cluster=identity_of(sighting.members),
            baseline=baseline,
        )
        return tell_settled(found, self._publish)

    async def _own(self) -> list[RemovalRecord]:
        """Give the records of this removal's target, the newest first."""
        wanted = self._order.target, self._order.zone
        rows = [
            each
            for each in await self._kept.read()
            if isinstance(each, RemovalRecord) and (each.target, each.zone) == wanted
        ]
        return sorted(rows, key=lambda each: (each.newest_dag, each.at), reverse=True)


def _tell_other_flag(dag: Dag, order: Removal, publish: Publish) -> None:
    """Say of a DAG that is taken up that it kills the observer unlike what is asked for."""
    if order.node is None or is_forced(dag) is order.node.force_kill:
        return
    does = "kills the observer first" if is_forced(dag) else "lets the observer serve to the end"
    words = f"submit.other_flag dag={dag.id} why='it {does}, unlike what is asked for'"
    publish_line(publish, "submit", words, logging.WARNING)


def _wrong_cluster(link: Connections, sighting: Sighting) -> IdentityMismatchError | None:
    """Refuse a sighting of another cluster than the one that was meant."""
    told, name, number = sighting.members.obcluster_info, link.spec.name, link.spec.id
    if not told.name or (name in (None, told.name) and number in (None, told.id)):
        return None
    return IdentityMismatchError(
        f"the agent that answers now is of cluster {told.name}/{told.id}, not of "
        f"{name or told.name}/{number or told.id}",
        step="submit",
        hint="name agents of one cluster as endpoints",
    )


def _record(order: Removal, seen: RemovalPreflight, cluster: str, newest: int) -> RemovalRecord:
    return RemovalRecord(
        cluster=cluster,
        target=order.target,
        zone=order.zone,
        newest_dag=newest,
        at=now(),
        zones=compact(seen.before.zones),
        totals=seen.before.totals,
        forced=bool(order.node and order.node.force_kill),
        # The whole topology stands above already.
        leaving=seen.before.model_copy(update={"zones": (), "totals": None}),
    )


async def _judge_again(
    link: Connections, order: Removal, earlier: RemovalPreflight, publish: Publish
) -> RemovalPreflight:
    """Judge all rules by fresh facts; what an earlier look left open was gone on with.

    Raises:
        PreflightError: One of them blocks now.
    """
    known = earlier.unjudged
    fresh = await judge_order(link, order, will_be_asked=True)
    findings = held_back(newly_unknown(fresh.findings, known), allow_unknown=order.allow_unknown)
    seen = replace(fresh, findings=findings, gone_on_with=known)
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
    publish(LookedAgain(zones=seen.before.zones))
    return seen


def _tell_odd(sighting: Sighting, order: Removal, publish: Publish) -> None:
    """Say of a server that is being deleted already, but by no removal, that somebody does it."""
    server = leaving_server(sighting.zones, order)
    if server and server.inner_status == "DELETING":
        publish_line(
            publish,
            "submit",
            "submit.deleted_by_others why='the server is DELETING without a removal of obshell: "
            "somebody has sent DELETE SERVER by SQL; asking for the removal does no harm'",
            logging.WARNING,
        )


def _write_of(order: Removal) -> Callable[[AgentClient], Awaitable[Dag | None]]:
    if order.node is None:
        return lambda agent: agent.delete_zone(order.zone)
    where = order.node.agentInfo
    body = ScaleInRequest(
        agent_info=AgentEndpoint(ip=where.ip, port=where.port), force_kill=order.node.force_kill
    )
    return lambda agent: agent.submit_scale_in(body)


def before_known(submitted: Submitted) -> BeforeRemoval | None:
    """Give how the cluster stood before, of what is settled; None: nobody has kept it."""
    return before_in(submitted.baseline)


def before_in(record: Baseline | None) -> BeforeRemoval | None:
    """Give how the cluster stood before, of a record; None: it does not tell."""
    if not isinstance(record, RemovalRecord) or record.leaving is None:
        return None
    return record.leaving.model_copy(update={"zones": record.zones, "totals": record.totals})
