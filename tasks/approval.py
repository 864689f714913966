"""Asks a person for approval before the submit, with plan and findings."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import uuid4

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run
from pydantic import Field

from obscale.agent.models import joined_address
from obscale.errors import NotApprovedError, RejectedError
from obscale.events import PersonAnswered, PersonAsked
from obscale.preflight.facts import DEFAULT_PORTS, asked_port
from obscale.preflight.finding import Answer
from obscale.preflight.pictures import pictures_of
from obscale.preflight.result import Preflight
from obscale.report.page import told_finding
from obscale.report.report import Decided
from obscale.request.scale_out import ScaleOut
from obscale.tasks.runtime.journal import publish, publish_line
from obscale.tasks.runtime.page_forms import PausedForm
from obscale.text import Markdown, bullets, markdown, paragraphs

Approval = Literal["none", "ask"]
"""Whether a person is asked between preflight and submit."""
ANSWER_LOOK_SECONDS: Final = 2
"""How often a paused run looks whether somebody has answered."""
_TELLING: Final = frozenset({Answer.BLOCK, Answer.WARN})


PersonsName = Annotated[
    str,
    Field(
        title="Your name",
        description="Stands in the report.",
        min_length=1,
        max_length=100,
        pattern=r"\S",
    ),
]
PersonsReason = Annotated[
    str,
    Field(
        title="Why",
        description="Stands in the report, e.g. the number of the change.",
        min_length=1,
        max_length=1000,
        pattern=r"\S",
    ),
]
"""Who decides, and why: every form of a paused run asks for both."""


class ApprovalForm(PausedForm):
    """What the paused run asks."""

    decision: Literal["approve", "reject"] = Field(
        title="May it begin?", description="reject ends the run; nothing was touched."
    )
    name: PersonsName
    reason: PersonsReason


async def ask_approval(
    order: ScaleOut, before: Preflight, question: Markdown | None = None
) -> None:
    """Pause the run until a person approves. What ages meanwhile is judged again at the submit.

    Nobody is asked where nothing would be submitted.

    Args:
        order: What is asked for.
        before: As preflight found it.
        question: Page that is shown; None: that of a scale-out alone.

    Raises:
        RejectedError: Somebody said no.
        NotApprovedError: Nobody answered in time.
    """
    if before.findings.already_member or before.findings.will_be_adopted:
        why = "already a member" if before.findings.already_member else "already under way"
        publish_line("approval", f"approval.not_needed why={why!r}")
        return
    seconds = order.time_limits.approval_seconds
    publish(
        PersonAsked(
            step="approval", about="approval", choices=("approve", "reject"), seconds=seconds
        )
    )
    page = question or render_question(order, before)
    form = ApprovalForm.with_initial_data(description=page)
    try:
        answer = await apause_flow_run(
            wait_for_input=form,
            timeout=seconds,
            poll_interval=ANSWER_LOOK_SECONDS,
            # Never the same: a run that is tried again may not pass by an answer given before.
            key=uuid4().hex,
        )
    except FlowPauseTimeout as late:
        publish_line("approval", f"approval.not_answered seconds={seconds}")
        raise NotApprovedError(
            f"not submitted: nobody approved {order.target} within {seconds} s; "
            "nothing was touched",
            "run it again when somebody is there to answer, or raise approval_seconds",
        ) from late
    decided = Decided(
        at=datetime.now(UTC),
        about="approval",
        choice=answer.decision,
        who=answer.name.strip(),
        why=answer.reason.strip(),
    )
    publish(PersonAnswered(step="approval", decided=decided))
    if decided.choice == "reject":
        raise RejectedError(
            f"not submitted: {decided.who} rejected {order.target}: {decided.why}; "
            "nothing was touched",
            "change the request as the reason says, and run it again",
        )


def render_question(order: ScaleOut, before: Preflight) -> Markdown:
    """Write what a person must know before answering, as Markdown for a narrow window.

    Verdict, what an approval accepts, before and after; then what is not green, and the request.

    Args:
        order: What is asked for.
        before: As preflight found it.
    """
    node, findings = order.node, before.findings
    rpc_port = asked_port(node, "rpc_port") or DEFAULT_PORTS["rpc_port"]
    telling = [f for f in findings.by_weight() if f.weight in _TELLING or f.overridden_by]
    quiet = f"{findings.count(Answer.PASS)} rules pass"
    lines = [
        markdown("## Add {} to {} of {}?", order.target, node.zone, order.cluster_name),
        markdown(
            "Preflight at {} UTC: **{}**, {}.",
            *(f"{before.at:%Y-%m-%d %H:%M}", findings.verdict, quiet),
        ),
        *_unknown(before),
        markdown("Begins in the window {}.", order.window) if order.window else "",
        *pictures_of(before, node.zone, joined_address(node.agentInfo.ip, rpc_port)),
        markdown("### Observers, before → after"),
        bullets(_zones(order, before)),
        markdown("### Findings") if telling else "",
        bullets(map(told_finding, telling)),
        markdown("### Asked"),
        bullets(markdown("**{}** {}", key, value) for key, value in sorted(node.obConfigs.items()))
        or "The defaults of obshell.",
    ]
    return paragraphs(lines)


def _unknown(before: Preflight) -> Iterator[str]:
    if rules := before.findings.unknown:
        yield f"Could block, and could not be judged: {', '.join(rules)}. Approving accepts that."


def _zones(order: ScaleOut, before: Preflight) -> Iterator[str]:
    now = Counter({zone.name: len(zone.servers) for zone in before.zones})
    after = now + Counter([order.node.zone])
    for name in sorted(after):
        yield f"{name}: {now[name]} → {after[name]}"
