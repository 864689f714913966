"""Gives the report of a run as a Markdown page."""

from collections.abc import Sequence

from obscale.preflight.finding import Finding
from obscale.recovery.consequences import NOTHING, Choice, Remedy
from obscale.recovery.diagnosis import Diagnosis
from obscale.recovery.interrupted import describe_interrupted, next_step
from obscale.report.report import (
    PERSIST_EXPLAINED,
    Decided,
    EarlierEnd,
    ScaleOutReport,
    ServerRow,
    StageRow,
)
from obscale.text import Markdown, bullets, code, markdown, paragraphs, table
from obscale.verify.observation import ProofLine


def render_markdown(report: ScaleOutReport, level: int = 1) -> Markdown:
    """Write the report as a Markdown page, in the order a reader asks.

    Args:
        report: Of one run.
        level: Of its title; below the first, the title is no heading.
    """
    title = markdown(
        "{} into {} of {}: {}", report.target, report.zone, report.cluster, report.outcome
    )
    parts = [
        _head(1, "{}", title) if level == 1 else title,
        markdown("**{}**", report.error)
        if report.error
        else markdown("Verified up to **{}**.", report.verdict_reached),
        markdown("Follows a failed attempt: {}.", report.follows) if report.follows else "",
        _remains(report, level),
        _head(level + 1, "Asked"),
        table(("key", "value"), sorted(report.obConfigs.items())),
        _head(level + 1, "Findings: {}", report.verdict or "not judged"),
        _findings(report.findings),
        _decisions(report.decisions, level),
        _head(level + 1, "DAG {}", f"{report.dag_id or 'none'} {report.submitted_how}"),
        _posted(report),
        _stages(report.stages),
        render_diagnosis(report.diagnosis, level + 1) if report.diagnosis else "",
        _head(level + 1, "Proofs: {}", report.level),
        _proofs(report.proofs),
        _persist_statements(report.persist_statements, level),
        _head(level + 1, "Before and after"),
        _when_before(report),
        _before_after(report.before, report.after),
        _earlier(report.earlier, level),
        _head(level + 1, "Timeline (UTC)"),
        table(
            ("at", "task", "what"),
            [(f"{moment.at:%H:%M:%S}", moment.step, moment.text) for moment in report.timeline],
        ),
    ]
    return Markdown(f"{paragraphs(parts)}\n")


def _head(level: int, pattern: str, *values: object) -> Markdown:
    return markdown(f"{'#' * level} {pattern}", *values)


def render_diagnosis(diagnosis: Diagnosis, level: int = 2) -> Markdown:
    """Write a diagnosis as Markdown: cause, place, evidence, and what each choice deletes and does.

    Lists only: a form is narrow, and cuts off what stands on the right of a table.
    """
    place, target = diagnosis.place, diagnosis.target or "an unknown node"
    parts = [
        _head(level, "Diagnosis: {} ({})", diagnosis.title, diagnosis.cause),
        markdown(
            "DAG {} for {}, stage {}/{} {} on {}. Recommended: **{}**.",
            *(diagnosis.dag_id, target, place.stage, place.max_stage, place.node, place.agent),
            diagnosis.recommended,
        ),
        bullets(diagnosis.evidence),
        _head(level + 1, "What can be done"),
        bullets(_choices(diagnosis)),
    ]
    return paragraphs(parts)


def _choices(diagnosis: Diagnosis) -> list[Markdown]:
    """Each choice in a line that begins with what it deletes; what leads nowhere comes last."""

    def weight(choice: Choice) -> tuple[bool, bool]:
        return bool(choice.dead_end), choice.operator is not diagnosis.recommended

    return [
        _choice(choice, is_recommended=choice.operator is diagnosis.recommended)
        for choice in sorted(diagnosis.choices, key=weight)
    ]


def _choice(choice: Choice, *, is_recommended: bool) -> Markdown:
    deletes = (
        Markdown("**deletes nothing**:")
        if choice.destroys == NOTHING
        else markdown("**deletes** {}:", choice.destroys)
    )
    if choice.dead_end:
        return markdown("{} {} is a **dead end**: {}", deletes, choice.operator, choice.dead_end)
    does = choice.does
    if choice.operator is Remedy.HAND_OVER:
        does = f"leaves the DAG as it stands: {does}"
    safe = Markdown("safe" if choice.safe else "**not safe**, it may destroy data of others")
    mark = Markdown(", **recommended**" if is_recommended else "")
    return markdown("{} **{}** {} ({}{})", deletes, choice.operator, does, safe, mark)


def _remains(report: ScaleOutReport, level: int) -> Markdown:
    if report.remains is None:
        return Markdown()
    left = report.remains
    step = next_step(left, report.command_name)
    return paragraphs(
        [
            _head(level + 1, "What stands where"),
            markdown("{}.", describe_interrupted(left)),
            markdown("Next: {}.", step) if step else "",
        ]
    )


def _posted(report: ScaleOutReport) -> Markdown:
    sent = report.posted
    if sent is None:
        return markdown("Asked by {}.", report.asked_by) if report.asked_by else Markdown()
    return markdown(
        "POST sent {} UTC by attempt {} of run {} ({}), asked by {}; "
        "the newest DAG before was number {}{}.",
        *(f"{sent.at:%Y-%m-%d %H:%M:%S}", sent.attempt, sent.run_name, sent.run_id, sent.asked_by),
        *(sent.newest_dag, Markdown("" if sent.was_answered else ", and its answer was lost")),
    )


def _when_before(report: ScaleOutReport) -> Markdown:
    if report.before_at is not None:
        return markdown("Before is as of {} UTC.", f"{report.before_at:%Y-%m-%d %H:%M:%S}")
    if report.dag_id or report.submitted_how:
        return Markdown(
            "What was before is not known: nobody has kept a look from before the POST."
        )
    return Markdown()


def _earlier(ends: Sequence[EarlierEnd], level: int) -> Markdown:
    told = table(
        ("at (UTC)", "run", "attempt", "asked by", "outcome", "DAG", "reached", "error"),
        [
            (
                f"{end.at:%Y-%m-%d %H:%M:%S}",
                end.run_name or end.run_id,
                str(end.attempt or ""),
                end.asked_by,
                end.outcome,
                f"{end.dag_id or 'none'} {end.submitted_how}".strip(),
                end.level,
                end.error,
            )
            for end in ends
        ],
    )
    return paragraphs([_head(level + 1, "Earlier attempts"), told]) if told else Markdown()


def _decisions(decisions: Sequence[Decided], level: int) -> Markdown:
    told = table(
        ("at (UTC)", "about", "decided", "who", "why"),
        [(f"{d.at:%Y-%m-%d %H:%M:%S}", d.about, d.choice, d.who, d.why) for d in decisions],
    )
    return paragraphs([_head(level + 1, "Decisions"), told]) if told else Markdown()


def _findings(findings: Sequence[Finding]) -> Markdown:
    if not findings:
        return Markdown()
    telling = [finding for finding in findings if finding.answer not in {"pass", "n-a"}]
    quiet = len(findings) - len(telling)
    told = table(
        ("answer", "rule", "measured", "needed", "remedy"),
        [(_answer(f), f.rule, f.measured, f.needed, f.remedy) for f in telling],
    )
    return paragraphs([told, markdown("{} further rules pass or do not apply.", quiet)])


def _answer(finding: Finding) -> str:
    why = finding.overridden_by
    accepted = f", overridden until {why.until}: {why.reason}" if why else ""
    return f"{finding.answer}{accepted}"


def _stages(stages: Sequence[StageRow]) -> Markdown:
    return table(
        ("stage", "node", "state", "agent", "last log"),
        [(str(s.stage), s.node, s.state, s.agent, s.last_log) for s in stages],
    )


def _proofs(proofs: Sequence[ProofLine]) -> Markdown:
    return table(
        ("proof", "level", "answer", "expected", "found"),
        [(p.id, p.level.name, p.answer.value, p.expected, p.found) for p in proofs],
    )


def _persist_statements(persist_statements: Sequence[str], level: int) -> Markdown:
    if not persist_statements:
        return Markdown()
    head = _head(level + 1, "Settings a restart may take back")
    return paragraphs([head, markdown("{}.", PERSIST_EXPLAINED), code(persist_statements, "sql")])


def _before_after(before: Sequence[ServerRow], after: Sequence[ServerRow]) -> Markdown:
    old = {row.server: row for row in before}
    new = {row.server: row for row in after}
    rows = []
    for server in sorted(old | new, key=lambda name: ((new.get(name) or old[name]).zone, name)):
        row = new.get(server) or old[server]
        was = old[server].status if server in old else "—"
        now = new[server].status if server in new else "—"
        rows.append((row.zone, server, was, now, f"{row.memory_bytes / 2**30:.1f} GiB"))
    return table(("zone", "observer", "before", "after", "memory for units"), rows)
