"""Carries out on a failed DAG what the policy or a person has decided."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Literal
from uuid import uuid4

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run
from prefect.runtime import task_run
from pydantic import Field, create_model

from obscale.agent.models import Dag
from obscale.clock import monotonic, utc_now
from obscale.connect.connections import cluster_connected
from obscale.errors import AgentError, DagFailedError, DagRolledBackError
from obscale.events import DagMoved, Diagnosed, PersonAnswered, PersonAsked, RemedyDecided
from obscale.follow.progress import Change
from obscale.follow.run import learn_members
from obscale.recovery.case import subject_of
from obscale.recovery.consequences import Remedy
from obscale.recovery.diagnosis import Diagnosis
from obscale.recovery.find import nameless, read_named
from obscale.recovery.policy import Attempt, Decision, decide_recovery, refusal_of
from obscale.recovery.read import diagnose_now, diagnosed
from obscale.recovery.run import require_allowed, retry, roll_back, roll_back_untouched
from obscale.recovery.selection import Meant, diagnose_untouched, is_untouched
from obscale.report.page import render_diagnosis
from obscale.report.report import Decided
from obscale.request.file_name import command_name
from obscale.request.models import ClusterSpec
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import TimeLimits
from obscale.submit.result import Submitted
from obscale.tasks.approval import PersonsName, PersonsReason
from obscale.tasks.poll import poll
from obscale.tasks.runtime.blocks import PrefectSecrets, open_connections
from obscale.tasks.runtime.journal import publish, publish_line
from obscale.tasks.runtime.page_forms import PausedForm
from obscale.text import for_terminal

TIME_LIMIT_SECONDS: Final = 180_000
"""Above the longest deadline of a DAG plus the longest wait for the target, 86400 s each."""
LOOK_AGAIN_SECONDS: Final = 2
"""Pause between two looks at a target that does not answer."""
ANSWER_LOOK_SECONDS: Final = 2
"""How often a paused run looks whether somebody has answered."""
NEEDS_NOTHING: Final = frozenset({"under-way", "carried-out"})
"""Causes of DAGs that somebody else has taken up meanwhile."""


async def poll_and_recover(
    order: ScaleOut,
    submitted: Submitted,
    polling: Callable[[ScaleOut, Submitted], Awaitable[Dag | None]] = poll,
) -> Dag | None:
    """Follow the DAG; where it fails, do what the order's policy says, and follow it again.

    Args:
        order: What was asked for.
        submitted: Which DAG carries it.
        polling: Follows it, the task `poll` under whatever name.

    Returns:
        The DAG, carried out; None when the node was a member already.

    Raises:
        DagFailedError: It stands FAILED, and nothing (more) was decided; it is left as it is.
        DagRolledBackError: It was rolled back, by decision or by somebody else.
        DagStalledError: One of the order's time limits was reached.
    """
    history: list[Attempt] = []
    while True:
        try:
            return await polling(order, submitted)
        except (DagFailedError, DagRolledBackError) as failed:
            if order.on_failure == "hold" or submitted.dag_id is None:
                raise
            attempt = await decide(order, submitted.dag_id, history)
            if attempt is None:
                raise
            await recover(order, submitted.dag_id, attempt.remedy)
            history.append(attempt)
            if attempt.remedy is Remedy.ROLLBACK:
                raise DagRolledBackError(
                    f"DAG {submitted.dag_id} failed [{attempt.cause}] and was rolled back as "
                    f"decided: {order.target} is SINGLE again, the lock is free, nothing was added",
                    "mend the cause, then obscale plan and apply again",
                ) from failed


async def decide(order: ScaleOut, dag_id: str, history: list[Attempt]) -> Attempt | None:
    """Diagnose again and decide, by policy or by asking; None: hold."""
    async with open_connections(order, proven=True) as link:
        diagnosis = await diagnosed(link, dag_id, publish)
    if diagnosis is None:
        return None
    decision = decide_recovery(diagnosis, order.on_failure, history)
    if decision.look_again:
        diagnosis, decision = await _target_answers(order, diagnosis, history)
    remedy, why = decision.remedy, decision.why
    if decision.offered:
        remedy = await ask(order, diagnosis, decision.offered)
        why = "a person was asked"
    publish(RemedyDecided(remedy=remedy, why=why))
    if remedy is Remedy.HAND_OVER:
        return None
    if remedy is Remedy.RETRY and not decision.offered:
        await asyncio.sleep(order.time_limits.retry_pause_seconds)
    return Attempt(remedy, diagnosis.cause)


async def _target_answers(
    order: ScaleOut, diagnosis: Diagnosis, history: list[Attempt]
) -> tuple[Diagnosis, Decision]:
    """Wait for a silent target, within the silence limit; give what is known and decided then."""
    publish_line("recover", f"recover.waiting why='{order.target} does not answer'")
    give_up = monotonic() + order.time_limits.silence_seconds
    while True:
        async with open_connections(order, proven=True) as link:
            with suppress(AgentError):
                diagnosis = await diagnose_now(link, diagnosis.dag_id)
        decision = decide_recovery(diagnosis, order.on_failure, history)
        if not decision.look_again or monotonic() > give_up:
            return diagnosis, decision
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def ask(order: ScaleOut, diagnosis: Diagnosis, offered: tuple[Remedy, ...]) -> Remedy:
    """Pause the run and let a person choose; no answer in time hands over."""
    form = _decision_form(offered).with_initial_data(description=render_diagnosis(diagnosis))
    seconds = order.time_limits.ask_seconds
    publish(PersonAsked(step="recover", about="recovery", choices=offered, seconds=seconds))
    try:
        answer: Any = await apause_flow_run(
            wait_for_input=form,
            timeout=seconds,
            poll_interval=ANSWER_LOOK_SECONDS,
            # Never the same: a run that is tried again may not pass by an answer given before.
            key=uuid4().hex,
        )
    except FlowPauseTimeout:
        publish_line("recover", f"recover.not_answered seconds={seconds}")
        return Remedy.HAND_OVER
    decided = Decided(
        at=utc_now(),
        about="recovery",
        choice=answer.choice,
        who=answer.name.strip(),
        why=answer.reason.strip(),
    )
    publish(PersonAnswered(step="recover", decided=decided))
    return Remedy(answer.choice)


def _decision_form(offered: tuple[Remedy, ...]) -> type[PausedForm]:
    """Make the form: the values of its choice are exactly the offered remedies."""
    # The values are known at run time only, so no type checker can follow.
    choices: Any = Literal[tuple(remedy.value for remedy in offered)]
    field = Field(
        title="What shall be done?",
        description="Only what is safe is offered; HAND_OVER leaves the DAG as it stands.",
    )
    return create_model(
        "Decision",
        __base__=PausedForm,
        choice=(choices, field),
        name=(PersonsName, ...),
        reason=(PersonsReason, ...),
    )


def recover_name() -> str:
    """Name the task run after the DAG and what is done about it."""
    asked = task_run.parameters
    return for_terminal(f"recover DAG {asked.get('dag_id')}: {asked.get('remedy')}")


@task(
    name="recover",
    task_run_name=recover_name,
    retries=0,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def recover(
    order: ScaleOut, dag_id: str, remedy: Remedy, *, acknowledged: bool = False
) -> None:
    """Carry out one decision: RETRY until it is taken, ROLLBACK to its real end.

    The DAG is diagnosed once more right before, because a decision may be an hour old.

    Args:
        order: Of the node the DAG is about.
        dag_id: Of the one DAG that is operated.
        remedy: RETRY or ROLLBACK.
        acknowledged: Whether a person accepts that data may be lost that the scale-out did not
            make. It opens no dead end.

    Raises:
        DagFailedError: The remedy is not safe any more, or the rollback stopped half-way.
        DagStalledError: The rollback did not end within the order's time limits.
        AgentError: No agent took the operation.
    """
    async with open_connections(order, proven=True) as link:
        await learn_members(link, say)
        diagnosis = await diagnose_now(link, dag_id)
        if diagnosis.cause in NEEDS_NOTHING and remedy is Remedy.RETRY:
            say(f"recover.not_needed cause={diagnosis.cause}")
            return
        if refusal_of(diagnosis, remedy, acknowledged=acknowledged):
            publish(Diagnosed(step="recover", diagnosis=diagnosis))
        require_allowed(diagnosis, remedy, order.cluster, acknowledged=acknowledged)
        if remedy is Remedy.RETRY:
            await retry(link, diagnosis, say)
        else:
            await roll_back(
                link, diagnosis, order.time_limits, saw=saw, say=say, acknowledged=acknowledged
            )


async def saw(dag: Dag, changes: tuple[Change, ...]) -> None:
    """Tell each change of a rollback."""
    for change in changes:
        publish(DagMoved(step="recover", dag=dag, change=change))


def say(text: str) -> None:
    """Tell one line of the recovery."""
    publish_line("recover", text)


@task(
    name="recover",
    task_run_name="recover DAG {dag_id}: ROLLBACK, no node was called",
    retries=0,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def roll_back_nameless(
    cluster: str | ClusterSpec, dag_id: str, time_limits: TimeLimits
) -> None:
    """Undo a scale-out that failed before it named a node, so that the cluster's lock is free.

    Raises:
        DagFailedError: It is none of that kind any more, or its stage could not be undone.
        DagStalledError: It did not end within the time limits.
        AgentError: No agent took the operation.
    """
    async with cluster_connected(cluster, PrefectSecrets()) as opened:
        dag = await read_named(opened.client, dag_id)
        if not is_untouched(Meant(dag, subject_of(dag))):
            raise nameless(dag, command_name(cluster))
        require_allowed(diagnose_untouched(dag), Remedy.ROLLBACK, cluster)
        await roll_back_untouched(opened.client, dag_id, time_limits, saw=saw, say=say)
