"""The four steps of a removal: judge it, ask for it once, follow it, prove it."""

import logging
from collections.abc import Callable
from typing import Annotated, Final
from uuid import uuid4

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run
from prefect.runtime import task_run
from pydantic import Field

from obscale.agent.models import Dag
from obscale.clock import utc_now
from obscale.errors import (
    DagFailedError,
    NotApprovedError,
    RejectedError,
    SpecError,
    VerifyError,
)
from obscale.events import PersonAnswered, PersonAsked, Verified, lines_to
from obscale.follow.progress import Change
from obscale.follow.run import publish_moves
from obscale.preflight.finding import Answer
from obscale.removal.act import Does, carry_out, why_not
from obscale.removal.follow import follow_removal
from obscale.removal.look import learn_staying, read_sighting
from obscale.removal.prove import prove_removed
from obscale.removal.result import RemovalPreflight
from obscale.removal.run import GONE, before_known, look_before, remove_once
from obscale.removal.words import leads_rootservice, question_of
from obscale.replacement.proofs import Replaced
from obscale.report.lists import proofs_page
from obscale.report.page import told_finding
from obscale.report.report import Decided
from obscale.request.removal import Removal
from obscale.submit.result import Submitted
from obscale.tasks.approval import ANSWER_LOOK_SECONDS, PersonsName, PersonsReason
from obscale.tasks.poll import ALL_DONE, progress_note
from obscale.tasks.preflight import show_findings
from obscale.tasks.runtime.baselines import (
    RemovalRecords,
    keep_page,
    page_of,
)
from obscale.tasks.runtime.blocks import open_removal
from obscale.tasks.runtime.journal import artifact_key, aside, note_page, publish, publish_line
from obscale.tasks.runtime.page_forms import PausedForm
from obscale.tasks.runtime.person import person_at_terminal, person_here
from obscale.tasks.runtime.retries import repeatable_task
from obscale.text import Markdown, bullets, for_terminal, markdown, paragraphs
from obscale.verify.levels import VerifiedLevels, shortfall

PREFLIGHT_SECONDS: Final = 300
"""As that of a scale-out; looks at whether a server is dead take a minute of it."""
TIME_LIMIT_SECONDS: Final = 1_500_000
"""Above the longest wait for a window, 16 days, and the longest for the lock, together."""
FOLLOW_SECONDS: Final = 2_600_000
"""Of a wait that goes on while units move: a month."""
_TELLING: Final = frozenset({Answer.BLOCK, Answer.WARN})


class ConfirmForm(PausedForm):
    """What a run asks that was started without its address typed."""

    confirm: Annotated[
        str,
        Field(
            title="Type what is to leave",
            description="The address of the node, or the name of the zone; of a batch the words "
            "shown above. Anything else ends the run, and nothing was touched.",
        ),
    ]
    name: PersonsName
    reason: PersonsReason


@repeatable_task(
    "preflight", run_name="preflight {order.target} leaving", timeout_seconds=PREFLIGHT_SECONDS
)
async def preflight_removal(order: Removal, *, will_be_asked: bool = False) -> RemovalPreflight:
    """Read the cluster and the leaving agent, judge every rule, show the findings. Writes nothing.

    Args:
        order: What is asked for.
        will_be_asked: Whether a person is shown the findings before anything is begun.

    Raises:
        PreflightError: A rule blocks, or one that could cannot be judged.
        AgentError: No entry agent could be asked.
    """
    async with open_removal(order) as link:
        return await look_before(
            link, order, publish, will_be_asked=will_be_asked, judged=lambda s: _show(order, s)
        )


async def _show(order: Removal, seen: RemovalPreflight) -> None:
    findings = seen.findings
    await show_findings(
        artifact_key("findings", order.cluster_name, order.target),
        findings,
        f"Preflight of removing {order.target} from {order.cluster_name}: {findings.verdict}",
    )


def check_confirmed(order: Removal, confirm: str, known_dead: str) -> None:
    """See that what was typed is what leaves; an empty confirmation is asked for later.

    Raises:
        SpecError: It is something else, or `force_kill` is not confirmed by its own words.
    """
    if confirm and not is_confirmed(order, confirm):
        raise SpecError(
            f"confirm: {confirm!r} is not what is to leave, {order.target}",
            f"type {order.target}, or leave it empty and answer the paused run",
        )
    node = order.node
    if node and node.force_kill and known_dead != node.agentInfo.ip:
        raise SpecError(
            "known_dead: force_kill takes away one source of the data, and nobody says that this "
            "server is dead",
            f"type {node.agentInfo.ip} there, or leave force_kill out",
        )


def is_confirmed(order: Removal, typed: str) -> bool:
    """Whether what was typed is what leaves: the zone's name, or the node's address or IP."""
    return typed.strip() in {order.target, order.node.agentInfo.ip if order.node else order.zone}


async def ask_confirmation(order: Removal, seen: RemovalPreflight) -> None:
    """Pause the run until a person types what is to leave; who is at the terminal types it there.

    Nobody is asked where nothing would be sent.

    Raises:
        RejectedError: Something else was typed.
        NotApprovedError: Nobody answered in time.
    """
    if seen.findings.already_gone or seen.findings.will_be_adopted:
        return
    if ask := person_at_terminal():
        typed = await ask(question_of(order, seen.before), order.target)
        why = "typed at the terminal"
        _settle(order.target, is_confirmed(order, typed), who=person_here(), why=why)
        return
    telling = [f for f in seen.findings.by_weight() if f.weight in _TELLING]
    if leads := leads_rootservice(seen.findings):
        telling.append(leads)
    page = paragraphs(
        [
            markdown("## {}", question_of(order, seen.before)),
            markdown("Preflight: **{}**.", seen.findings.verdict),
            bullets(map(told_finding, telling)),
        ]
    )
    await ask_typed(
        order.target,
        page,
        order.time_limits.approval_seconds,
        lambda typed: is_confirmed(order, typed),
    )


async def ask_typed(
    wanted: str, page: Markdown, seconds: int, is_right: Callable[[str], bool]
) -> None:
    """Pause the run until a person types a word.

    Args:
        wanted: The word.
        page: What is shown beside the field.
        seconds: For how long it is waited for.
        is_right: Whether what was typed will do.

    Raises:
        RejectedError: Something else was typed.
        NotApprovedError: Nobody answered in time.
    """
    publish(PersonAsked(step="approval", about="approval", choices=(wanted,), seconds=seconds))
    form = ConfirmForm.with_initial_data(description=page)
    try:
        answer = await apause_flow_run(
            wait_for_input=form,
            timeout=seconds,
            poll_interval=ANSWER_LOOK_SECONDS,
            key=uuid4().hex,
        )
    except FlowPauseTimeout as late:
        raise NotApprovedError(
            f"not submitted: nobody typed {wanted} within {seconds} s; nothing was touched",
            "run it again when somebody is there to answer, or give `confirm`",
        ) from late
    who, why = answer.name.strip(), answer.reason.strip()
    _settle(wanted, is_right(answer.confirm), who=who, why=why)


def _settle(wanted: str, is_right: bool, *, who: str, why: str) -> None:
    """Tell what a person has typed.

    Raises:
        RejectedError: It is something else than what was asked for.
    """
    choice = "approve" if is_right else "reject"
    decided = Decided(at=utc_now(), about="approval", choice=choice, who=who, why=why)
    publish(PersonAnswered(step="approval", decided=decided))
    if not is_right:
        raise RejectedError(
            f"not submitted: {decided.who} typed something else than {wanted}; nothing was touched",
            "run it again, and type what is to leave",
        )


@task(
    name="submit",
    task_run_name="submit removal of {order.target}",
    retries=0,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def submit_removal(order: Removal, seen: RemovalPreflight) -> Submitted:
    """Ask for the removal exactly once, or take up the one already begun.

    Raises:
        RecordError: How the cluster stood before cannot be written down; nothing was sent.
        PreflightError: A rule blocks that did not at preflight.
        ForeignDagError: Somebody else's DAG holds the cluster's lock for longer than allowed.
        OutcomeUnknownError: The answer was lost and no look could settle what happened.
        AgentRefusedError: The cluster refused; nothing was created.
    """
    async with open_removal(order, proven=True) as link:
        submitted = await remove_once(link, order, seen, records=RemovalRecords, publish=publish)
    found = submitted.dag_id or "none"
    words = markdown("DAG **{}** — {}: {}", found, submitted.how, submitted.why)
    await aside(
        keep_page(
            artifact_key("dag", order.cluster_name, order.target),
            page_of(submitted, words),
            f"The DAG that removes {order.target} from {order.cluster_name}",
        )
    )
    return submitted


@task(
    name="recover",
    task_run_name="recover DAG {dag_id}: {does}",
    retries=0,
    timeout_seconds=TIME_LIMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def recover_removal(order: Removal, dag_id: str, does: Does) -> None:
    """Carry out one decision about a removal: go on, undo a failed one, or end a running one.

    Raises:
        DagFailedError: It may not be carried out as things stand, or could not be.
        DagStalledError: It did not end within the time limits.
        AgentError: No agent took it.
    """

    async def saw(dag: Dag, changes: tuple[Change, ...]) -> None:
        publish_moves(publish, dag, changes)

    async with open_removal(order, proven=True) as link:
        await learn_staying(link, order, publish)
        dag = await link.cluster.ask(lambda agent: agent.read_dag(dag_id))
        if why := why_not(dag, await read_sighting(link), order.target, does):
            raise DagFailedError(
                f"DAG {dag_id}, the removal of {order.target}, was not touched, nothing was sent: "
                f"{why}",
                "choose stop for one that runs, retry or roll-back for one that is FAILED",
            )
        await carry_out(link, order, dag, does, saw=saw, say=lines_to(publish, "recover"))


def poll_name() -> str:
    """Name the task run after the DAG it follows."""
    submitted = task_run.parameters.get("submitted")
    dag_id = getattr(submitted, "dag_id", None)
    return for_terminal(f"poll DAG {dag_id}") if dag_id else "poll: nothing was begun"


@repeatable_task(
    "poll", run_name=poll_name, timeout_seconds=FOLLOW_SECONDS, pauses_seconds=(1, 5, 15)
)
async def poll_removal(order: Removal, submitted: Submitted) -> Dag | None:
    """Follow the DAG to its end by its stages, and while it waits by units and data.

    Returns:
        The DAG as it ended; None where the node was gone already.

    Raises:
        DagFailedError: It ended FAILED; names stage, agent, last log line and the diagnosis.
        DagRolledBackError: It was undone: the server stays.
        DagStalledError: Nothing moves any more, or nobody answers; the DAG goes on.
    """
    note = progress_note(order)
    if submitted.how == GONE or submitted.dag_id is None:
        publish_line("poll", "poll.skipped why='already gone'")
        await note.show(ALL_DONE, "it is gone already")
        return None
    before = before_known(submitted)
    async with open_removal(order, proven=True) as link:
        await learn_staying(link, order, publish)
        return await follow_removal(
            link, order, submitted.dag_id, before, publish=publish, show=note.show
        )


@repeatable_task(
    "verify", run_name="verify {order.target} gone", timeout_seconds=TIME_LIMIT_SECONDS
)
async def verify_removal(
    order: Removal, dag: Dag | None, submitted: Submitted, replaced: Replaced | None = None
) -> VerifiedLevels:
    """Prove the levels LEAVING → LEFT → RELEASED → CONFORMING; show one line a proof.

    Args:
        order: What was asked for.
        dag: As it ended; None: nothing was asked for.
        submitted: Which DAG has carried it.
        replaced: Of a replacement, with what its own proofs compare.

    Raises:
        VerifyError: CONFORMING was not reached by the deadline, or a proof failed for good.
    """
    async with open_removal(order, proven=True) as link:
        await learn_staying(link, order, publish)
        proved = await prove_removed(
            link,
            order,
            dag,
            before_known(submitted),
            publish=publish,
            also=replaced.told if replaced else None,
        )
    levels = proved.levels
    await aside(
        note_page(
            artifact_key("verification", order.cluster_name, order.target),
            proofs_page(levels.lines, ()),
            f"{order.target} gone from {order.cluster_name}: {levels.verdict}",
        )
    )
    publish(Verified(levels=levels, zones=proved.view.zones or ()))
    for host in levels.exceptions:
        publish_line("verify", f"verify.except host={host!r}", logging.WARNING)
    if not levels.is_verified:
        raise VerifyError(
            f"{order.target} {shortfall(levels.level.name, levels.lines)}",
            "look at the named proofs; the DAG's success alone proves nothing",
        )
    return levels
