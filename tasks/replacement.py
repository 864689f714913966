"""The first of a replacement's eight steps: one plan of both halves; the others are theirs."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final, ParamSpec, TypeVar

from prefect import Task

from obscale.agent.models import Zone, joined_address
from obscale.preflight.facts import asked_port
from obscale.preflight.finding import Answer
from obscale.preflight.pictures import pictures_of
from obscale.preflight.run import judged_event
from obscale.removal.words import question_of
from obscale.replacement.judge import ReplacementPlan, judge_replacement, refuse_blocked
from obscale.replacement.proofs import Replaced
from obscale.replacement.read import read_both
from obscale.report.page import told_finding
from obscale.request.models import NodeSpec
from obscale.request.replacement import Replacement
from obscale.submit.result import Submitted
from obscale.tasks.preflight import show_findings
from obscale.tasks.runtime.blocks import open_connections, open_removal
from obscale.tasks.runtime.journal import artifact_key, publish
from obscale.tasks.runtime.retries import repeatable_task
from obscale.text import Markdown, bullets, for_terminal, markdown, paragraphs
from obscale.verify.observation import Before

TIME_LIMIT_SECONDS: Final = 300
"""As that of a scale-out; looks at whether a server is dead take a minute of it."""
STEPS: Final = 8
"""The four of a scale-out, then the four of a removal."""
SECOND_HALF: Final = 5
"""The number of the first step of the removal."""
_TELLING: Final = frozenset({Answer.BLOCK, Answer.WARN})
P = ParamSpec("P")
R = TypeVar("R")


def named(step: Task[P, R], number: int, order: Replacement) -> Task[P, R]:
    """Give a step under the name it has here, e.g. `replace 10.0.0.4 by 10.0.0.5: add 3/8, poll`.

    Args:
        step: A task of a scale-out, or of a removal.
        number: From 1.
        order: What is asked for.
    """
    half = "remove" if number >= SECOND_HALF else "add"
    old, new = order.pair.dead.agentInfo.ip, order.pair.by.agentInfo.ip
    name = f"replace {old} by {new}: {half} {number}/{STEPS}, {step.name}"
    return step.with_options(task_run_name=for_terminal(name).replace("{", "").replace("}", ""))


@repeatable_task(
    "preflight",
    run_name="preflight {order.target}",
    timeout_seconds=TIME_LIMIT_SECONDS,
)
async def preflight_replacement(
    order: Replacement, *, will_be_asked: bool = False
) -> ReplacementPlan:
    """Read cluster and both agents, judge both halves in one plan, show the findings.

    Writes nothing. The removal is judged as it will be once the new node is there.

    Args:
        order: What is asked for.
        will_be_asked: Whether a person is shown the findings before anything is begun.

    Raises:
        PreflightError: A rule blocks, or one that could cannot be judged.
        AgentError: No entry agent could be asked.
    """
    async with AsyncExitStack() as stack:
        joining = await stack.enter_async_context(open_connections(order.addition))
        leaving = await stack.enter_async_context(open_removal(order.removal))
        facts = await read_both(joining, leaving, order, publish)
    plan = judge_replacement(facts, will_be_asked=will_be_asked)
    findings = plan.findings
    await show_findings(
        artifact_key("findings", order.cluster_name, order.target, "replaced"),
        findings,
        f"Preflight of replacing {order.target} by {order.joining}: {findings.verdict}",
    )
    publish(judged_event(plan.addition))
    refuse_blocked(plan)
    return plan


def render_replacement(order: Replacement, plan: ReplacementPlan) -> Markdown:
    """Write what a person must know before answering: both halves, before and after.

    Args:
        order: What is asked for.
        plan: Of both halves.
    """
    seen, findings = plan.addition, plan.findings
    telling = [f for f in findings.by_weight() if f.weight in _TELLING or f.overridden_by]
    unknown = findings.unknown
    second = question_of(order.removal, plan.leaving).rstrip("?")
    return paragraphs(
        [
            markdown("## Replace {} by {} in {}?", order.target, order.joining, order.zone),
            markdown("Preflight at {} UTC: **{}**.", f"{seen.at:%Y-%m-%d %H:%M}", findings.verdict),
            markdown("First: **add {}**, until it is proved CONFORMING.", order.joining),
            markdown("Then: **{}**, planned again, and begun only by who types it.", second),
            markdown(
                "Could block, and could not be judged: {}. Approving accepts that.",
                ", ".join(unknown),
            )
            if unknown
            else "",
            markdown("Each half begins in the window {}.", order.window) if order.window else "",
            *pictures_of(seen, order.zone, server_of(order.pair.by)),
            markdown("### Observers: before → between → after"),
            bullets(_zones(order, seen.zones)),
            markdown("### Findings") if telling else "",
            bullets(map(told_finding, telling)),
            markdown("### Asked"),
            bullets(
                markdown("**{}** {}", key, value)
                for key, value in sorted(order.pair.by.obConfigs.items())
            )
            or "The defaults of obshell.",
        ]
    )


def _zones(order: Replacement, zones: tuple[Zone, ...]) -> Iterator[str]:
    now = Counter({zone.name: len(zone.servers) for zone in zones})
    for name in sorted(now):
        count = now[name]
        yield (
            f"{name}: {count} → {count + 1} → {count}"
            if name == order.zone
            else (f"{name}: {count}")
        )


def before_added(order: Replacement, submitted: Submitted) -> Before:
    """Give what was seen before the new node joined; the old one may be gone since.

    Args:
        order: What is asked for.
        submitted: Which DAG has added the new node.
    """
    return replace(submitted.before, leaving=order.target)


def server_of(node: NodeSpec) -> str:
    """Give `ip:rpc port` of the observer a node asks for."""
    return joined_address(node.agentInfo.ip, asked_port(node, "rpc_port") or 0)


def replaced_by(order: Replacement, zones: tuple[Zone, ...]) -> Replaced:
    """Give what the proofs of a replacement compare with.

    Args:
        order: What is asked for.
        zones: The topology before the new node joined; empty: nobody has kept it.
    """
    return Replaced(server_of(order.pair.by), zones)
