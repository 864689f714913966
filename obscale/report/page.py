"""Gives the report of a run as a Markdown page, what somebody has to do at its top."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from obscale.errors import DagFailedError, VerifyError
from obscale.language import for_page
from obscale.preflight.finding import Answer, Finding, line_of
from obscale.preflight.tenant_room import TenantRoom
from obscale.recovery.consequences import NOTHING, Choice, Remedy
from obscale.recovery.diagnosis import Diagnosis
from obscale.recovery.interrupted import describe_interrupted, next_step
from obscale.report.report import (
    PERSIST_EXPLAINED,
    PIN_EXPLAINED,
    Decided,
    EarlierEnd,
    Moment,
    PrefectForm,
    ScaleOutReport,
    ServerRow,
    StageRow,
)
from obscale.request.file_name import NO_NAME
from obscale.text import Markdown, bullets, code, folded, for_markdown, markdown, paragraphs
from obscale.verify.observation import ProofAnswer, ProofLine

NO_PICTURES: Final[tuple[Markdown, ...]] = ()
QUIET: Final = frozenset({Answer.PASS, Answer.NOT_APPLICABLE})
"""Answers that only the evidence lists one by one."""
_FLAGS: Final = {Remedy.RETRY: "--retry", Remedy.ROLLBACK: "--roll-back"}
_BY_HAND: Final = {ProofAnswer.FAIL, ProofAnswer.AGAINST}
"""Answers of proofs that keep a node back by themselves; what waits mostly follows from them."""
_DONE: Final = "SUCCEED"
NOTHING_BY_ITSELF: Final = (
    "OceanBase gives no tenant more units by itself: 0 units on the new server is a legitimate "
    "end. With enable_rebalance True it may move whole units there, to even the zone's load; with "
    "False nothing comes."
)
"""Said after a plain scale-out, wherever there is a tenant."""
USE_IT: Final = "Units of these tenants would use it; each is asked for by itself:"


def render_markdown(
    report: ScaleOutReport,
    level: int = 1,
    *,
    pictures: Sequence[Markdown] = NO_PICTURES,
    whole: bool = False,
) -> Markdown:
    """Write the report as a Markdown page: verdict, what to do, before and after, then the rest.

    Lists only, no table: Prefect's pages are narrow, and cut off what stands on the right.

    Args:
        report: Of one run.
        level: Of its title; below the first, the title is no heading.
        pictures: Stand between what to do, and before and after.
        whole: Whether all else is a part of the page, for a file. False: it is folded below, and
            what only repeats itself is left to the evidence.
    """
    title = _named(report)
    parts = [
        _head(1, "{}", title) if level == 1 else title,
        markdown("**{}**", _verdict(report)),
        markdown("Follows a failed attempt: {}.", report.follows) if report.follows else "",
        _section(level, "What to do", _to_do(report)),
        *pictures,
        _section(level, "Before and after", _before_after(report)),
        *_not_green(report, level),
        *_halves(report, level, whole=whole),
        *_rest(report, level, whole=whole),
        *_file(report, whole=whole),
    ]
    return Markdown(f"{paragraphs(parts)}\n")


def _named(report: ScaleOutReport) -> Markdown:
    """Give the title of a report."""
    told = report.target, report.zone, report.cluster, report.outcome
    if report.operation == "replacement":
        return markdown("{} replaced by {} in {} of {}: {}", told[0], report.by, *told[1:])
    if report.operation == "scale-out":
        return markdown("{} into {} of {}: {}", *told)
    if report.target == report.zone:
        return markdown("zone {} out of {}: {}", report.zone, report.cluster, report.outcome)
    return markdown("{} out of {} of {}: {}", *told)


def told_as(report: ScaleOutReport) -> str:
    """Say what a report is about, e.g. `10.0.0.4:2886 into zone2 of prod`."""
    if report.operation == "replacement":
        return f"{report.target} replaced by {report.by} in {report.zone} of {report.cluster}"
    if report.operation == "scale-out":
        return f"{report.target} into {report.zone} of {report.cluster}"
    if report.target == report.zone:
        return f"zone {report.zone} out of {report.cluster}"
    return f"{report.target} out of {report.zone} of {report.cluster}"


_HALVES: Final = ("First half: the new node joins", "Second half: the old node leaves")


def _halves(report: ScaleOutReport, level: int, *, whole: bool) -> Iterator[Markdown]:
    """Give each half of a replacement as a part of the page, without what the whole says itself."""
    for title, half in zip(_HALVES, report.halves, strict=False):
        parts = [
            markdown("**{}**", _verdict(half)),
            *_section_parts(half, level + 1),
            *_rest(half, level + 1, whole=whole),
        ]
        yield _section(level, title, parts)


def _section_parts(half: ScaleOutReport, level: int) -> Iterator[Markdown]:
    told = list(_left_to_do(half) if half.outcome == "verified" else _cures(half))
    yield _section(level, "What to do", told)
    yield from _not_green(half.model_copy(update={"decisions": ()}), level)


def render_refusal(run: str, problems: Sequence[str], hint: str = "") -> Markdown:
    """Write a Markdown page of a run that was refused before it began.

    Args:
        run: Its name.
        problems: All that is wrong, one line each.
        hint: The next step; empty: to correct what is wrong.
    """
    parts = [
        markdown("# {}: refused", run),
        markdown("**It could not begin; no cluster and no target was touched.**"),
        markdown("## What to do"),
        bullets(problems),
        markdown("{}.", hint or "Correct this, and start a new run"),
    ]
    return Markdown(f"{paragraphs(parts)}\n")


def _file(report: ScaleOutReport, *, whole: bool) -> Iterator[Markdown]:
    """Say what prints all of it; with `--out` the line would be too long for Prefect's page."""
    if report.run_id and not whole:
        yield markdown("All of it, with each rule and each line of the DAG's logs:")
        yield code([shlex.join(["obscale", "evidence", report.run_id])])


def _head(level: int, pattern: str, *values: object) -> Markdown:
    return markdown(f"{'#' * level} {pattern}", *values)


def _section(level: int, title: str, parts: Iterable[str]) -> Markdown:
    """Write a part with its heading; nothing where it is empty."""
    told = paragraphs(parts)
    return paragraphs([_head(level + 1, "{}", _title(title)), told]) if told else told


def _title(title: str) -> str:
    return for_page(title, is_ours=True)


def _verdict(report: ScaleOutReport) -> str:
    """Say in one line how the run ended."""
    if report.operation == "replacement":
        return _verdict_of_both(report)
    return _verdict_of_one(report)


def _verdict_of_one(report: ScaleOutReport) -> str:
    how = f"DAG {report.dag_id} {report.submitted_how}" if report.dag_id else report.submitted_how
    if report.outcome == "verified":
        carried = f" ({how})" if how else ""
        held = sum(proof.answer is ProofAnswer.PASS for proof in report.proofs)
        left = report.exceptions or report.persist_statements or _gaining(report)
        idle = "" if left else "; nothing is left to do"
        return f"Verified up to {report.verdict_reached}{carried}: {held} proofs hold{idle}."
    if report.outcome == "rolled-back":
        return (
            f"DAG {report.dag_id} was rolled back, as decided: {report.target} is SINGLE again, "
            "the cluster's lock is free, nothing was added."
        )
    found, failed = report.diagnosis, report.error_kind
    if blockers := _blockers(report):
        rules = len({finding.rule for finding in report.findings})
        return f"Blocked by {len(blockers)} of {rules} rules; nothing was sent to the cluster."
    if found and failed == DagFailedError.kind:
        place = found.place
        return (
            f"DAG {found.dag_id} failed at stage {place.stage}/{place.max_stage} {place.node!r} "
            f"on {place.agent}: {found.title} [{found.cause}]."
        )
    if failed == VerifyError.kind and (missing := _missing(report)):
        return (
            f"{report.target} reached {report.level}, not CONFORMING{f' ({how})' if how else ''}: "
            f"{len(missing)} of {len(report.proofs)} proofs do not hold."
        )
    return _without_hint(report) or "Not verified."


def _verdict_of_both(report: ScaleOutReport) -> str:
    if report.outcome == "verified":
        held = sum(p.answer is ProofAnswer.PASS for half in report.halves for p in half.proofs)
        return (
            f"Verified: {report.by} serves in the place of {report.target}, which is gone: {held} "
            "proofs hold."
        )
    blockers = [each for half in report.halves for each in _blockers(half)]
    if report.outcome == "blocked" and blockers:
        return f"Blocked by {len(blockers)} rules; nothing was sent to the cluster."
    return _without_hint(report) or "Not verified."


def _without_hint(report: ScaleOutReport) -> str:
    return report.error.removesuffix(f". Next: {report.next}") if report.next else report.error


def _blockers(report: ScaleOutReport) -> list[Finding]:
    if report.outcome != "blocked":
        return []
    return [finding for finding in report.findings if finding.weight is Answer.BLOCK]


def _missing(report: ScaleOutReport) -> list[ProofLine]:
    """Give the proofs that keep the node back: what failed, or else what is still missing."""
    failed = [proof for proof in report.proofs if proof.answer in _BY_HAND]
    return failed or [proof for proof in report.proofs if proof.hinders]


def _to_do(report: ScaleOutReport) -> Iterator[Markdown]:
    """Say all that somebody has to do, and the commands for it."""
    if report.outcome == "verified":
        if report.operation == "replacement":
            yield markdown("What each half leaves to do stands with it.")
        yield from _left_to_do(report)
        return
    if report.outcome == "rolled-back":
        yield Markdown("Mend what it had failed of, then plan again.")
        return
    yield from _cures(report)
    left = report.remains
    if left and left.was_sent:
        yield markdown("{}.", describe_interrupted(left))
        step = next_step(left, report.command_name, report.again or _AGAIN)
        yield markdown("Next: {}.", step)
    commands = _commands(report)
    if commands:
        yield code(commands)
    if any(NO_NAME in command.split() for command in commands):
        yield markdown("{} is a file that holds the request, or a stored connection.", NO_NAME)
    if form := report.in_prefect:
        yield _in_prefect(form)


def _in_prefect(form: PrefectForm) -> Markdown:
    """Link the form that does the same; its address is ours, its parameters are quoted in it."""
    if not form.url:
        return markdown("Or in Prefect: **{}** {}.", form.deployment, form.does)
    link = Markdown(f"[{for_markdown(form.deployment)}]({form.url})")
    return markdown("Or in Prefect: {} {}.", link, form.does)


def _cures(report: ScaleOutReport) -> Iterator[Markdown]:
    """Say what cures what the run ended by; all of it, not the first only."""
    blockers, found = _blockers(report), report.diagnosis
    if blockers:
        yield bullets(map(_cure, blockers))
        yield _then_again(report)
    elif found and report.error_kind == DagFailedError.kind:
        yield markdown("Recommended: **{}**.", found.recommended)
        yield bullets(_choices(found))
    elif report.error_kind == VerifyError.kind and (missing := _missing(report)):
        yield bullets(map(told_proof, missing))
        yield _then_again(report)
    elif report.next:
        yield markdown("{}.", report.next)


def _commands(report: ScaleOutReport) -> list[str]:
    """Give the commands for it, as a shell reads them: ids are what an agent has said."""
    found, left = report.diagnosis, report.remains
    if found and report.error_kind == DagFailedError.kind:
        return recover_commands(found, report.command_name)
    if left and left.was_sent:
        watch = ["obscale", "watch", report.command_name, left.dag_id]
        return [shlex.join(filter(None, watch))] if left.dag_id else []
    return [report.again] if report.again else []


_AGAIN: Final = "running the same request again"


def _then_again(report: ScaleOutReport) -> Markdown:
    if report.again.startswith("prefect"):
        return markdown("Then Retry on the run's page; where a value has to change, a new run.")
    return markdown("Then run again:" if report.again else "Then run the same request again.")


def _left_to_do(report: ScaleOutReport) -> Iterator[Markdown]:
    """What a verified run leaves to do."""
    yield from _to_use(report)
    if report.exceptions:
        yield markdown(
            "Members that did not serve before either need somebody: {}.",
            ", ".join(report.exceptions),
        )
    if report.host_steps:
        yield markdown(
            "Its host still holds data, logs and settings. To use it again, on the host, as the "
            "user obshell runs as; they delete for good:"
        )
        yield code(report.host_steps)
    if report.undo:
        yield markdown("To take it back:")
        yield code(report.undo)
    if report.persist_statements:
        yield markdown("Settings a restart may take back. {}.", PERSIST_EXPLAINED)
        yield code(report.persist_statements, "sql")
        yield markdown(PIN_EXPLAINED.format("SPEC"))


def _to_use(report: ScaleOutReport) -> Iterator[Markdown]:
    """Say that the new server stays without units of its own accord, and the command that uses it.

    OceanBase may move whole units there to even a zone's load, and gives no tenant more of them.
    Source: OceanBase src/rootserver/ob_server_balancer.cpp.
    """
    tenants = report.capacity.tenants if report.capacity else ()
    if not tenants:
        return
    yield markdown("{}", NOTHING_BY_ITSELF)
    if commands := use_commands(report):
        yield markdown("{}", USE_IT)
        yield code(commands)
        return
    yield bullets(room.told for room in tenants)


def _gaining(report: ScaleOutReport) -> list[TenantRoom]:
    """Give the tenants that could have more units now."""
    tenants = report.capacity.tenants if report.capacity else ()
    return [room for room in tenants if room.gains]


def _cure(finding: Finding) -> Markdown:
    """Say of a blocker first what to do."""
    needed = f", needed {finding.needed}" if finding.needed else ""
    return markdown(
        "**{}** ({}: measured {}{})",
        *(finding.remedy or f"mend {finding.rule}", finding.rule, finding.measured, needed),
    )


def told_finding(finding: Finding) -> Markdown:
    """Write a finding as one item of a list: answer, rule, measured, needed, remedy."""
    why = finding.overridden_by
    accepted = f", overridden until {why.until}: {why.reason}" if why else ""
    needed = f"; needed {finding.needed}" if finding.needed else ""
    remedy = f". Remedy: {finding.remedy}" if finding.remedy else ""
    return markdown(
        "**{}{}** {}: measured {}{}{}",
        *(finding.answer, accepted, finding.rule, finding.measured, needed, remedy),
    )


def told_proof(proof: ProofLine) -> Markdown:
    """Write a proof as one item of a list: answer, level, expected, found."""
    return markdown(
        "**{}** {} ({}): expected {}; found {}",
        *(proof.answer, proof.id, proof.level.name, proof.expected, proof.found),
    )


def use_commands(report: ScaleOutReport) -> list[str]:
    """Give the command for each tenant that could have more units with the new server."""
    name = report.command_name
    return [use_command(name, room.tenant, room.grown or 0) for room in _gaining(report)]


def use_command(cluster: str, tenant: str, number: int) -> str:
    """Give the command that asks for a number of units of a tenant, as a shell reads it.

    Args:
        cluster: How a command names the cluster.
        tenant: Its name.
        number: Of units in each zone.
    """
    return shlex.join(["obscale", "use", cluster, "--tenant", tenant, "--unit-num", str(number)])


def recover_commands(diagnosis: Diagnosis, cluster: str) -> list[str]:
    """Give the commands that carry out the safe remedies of a DAG.

    Args:
        diagnosis: Of the DAG.
        cluster: How a command names the cluster.
    """
    return [
        shlex.join(["obscale", "recover", cluster, diagnosis.dag_id, _FLAGS[choice.operator]])
        for choice in diagnosis.choices
        if choice.safe and choice.operator in _FLAGS
    ]


def render_diagnosis(diagnosis: Diagnosis, level: int = 2) -> Markdown:
    """Write a diagnosis as Markdown: cause, place, evidence, and what each choice deletes and does.

    Lists only: a form is narrow, and cuts off what stands on the right of a table.
    """
    parts = [
        _head(level, "Diagnosis: {} ({})", diagnosis.title, diagnosis.cause),
        markdown("{} Recommended: **{}**.", _place(diagnosis), diagnosis.recommended),
        bullets(diagnosis.evidence),
        _head(level + 1, "What can be done"),
        bullets(_choices(diagnosis)),
    ]
    return paragraphs(parts)


def _place(diagnosis: Diagnosis) -> Markdown:
    place, target = diagnosis.place, diagnosis.target or "an unknown node"
    return markdown(
        "DAG {} for {}, stage {}/{} {} on {}.",
        *(diagnosis.dag_id, target, place.stage, place.max_stage, place.node, place.agent),
    )


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
        markdown("**deletes nothing**:")
        if choice.destroys == NOTHING
        else markdown("**deletes** {}:", choice.destroys)
    )
    if choice.dead_end:
        return markdown("{} {} is a **dead end**: {}", deletes, choice.operator, choice.dead_end)
    does = choice.does
    if choice.operator is Remedy.HAND_OVER:
        does = f"leaves the DAG as it stands: {does}"
    safe = markdown("safe" if choice.safe else "**not safe**, it may destroy data of others")
    mark = markdown(", **recommended**" if is_recommended else "")
    return markdown("{} **{}** {} ({}{})", deletes, choice.operator, does, safe, mark)


def _before_after(report: ScaleOutReport) -> Iterator[Markdown]:
    """Count the observers of each zone, and name those that are not as before."""
    old, new = report.before, report.after
    if old and not new:
        yield bullets(_counted(old))
        yield (
            markdown("{}. Since then they were not read.", _when_before(report))
            if _was_sent(report)
            else markdown("Nothing was sent: all stands as before.")
        )
    elif new and not old:
        yield bullets(_counted(new))
        yield markdown("What was before is not known: nobody has kept a look from before the POST.")
    elif new:
        yield bullets(_zone(name, old, new) for name in sorted({r.zone for r in (*old, *new)}))
        yield markdown("{}.", _when_before(report))


def _was_sent(report: ScaleOutReport) -> bool:
    left = report.remains
    return bool(report.dag_id or report.submitted_how or (left and left.was_sent))


def _counted(rows: Sequence[ServerRow]) -> Iterator[Markdown]:
    for name, count in sorted(Counter(row.zone for row in rows).items()):
        yield markdown("**{}**: {}", name, _observers(count))


def _observers(count: int) -> str:
    return f"{count} observer{'' if count == 1 else 's'}"


def _zone(name: str, before: Sequence[ServerRow], after: Sequence[ServerRow]) -> Markdown:
    old = {row.server: row for row in before if row.zone == name}
    new = {row.server: row for row in after if row.zone == name}
    count = f"{len(old)} → {_observers(len(new))}" if len(old) != len(new) else _observers(len(new))
    told = [count]
    for server in sorted(old | new):
        was, now = old.get(server), new.get(server)
        if now and not was:
            told.append(f"new {server} {now.status}, {_memory(now)}")
        elif was and not now:
            told.append(f"gone {server}, was {was.status}")
        elif was and now and was.status != now.status:
            told.append(f"{server} {was.status} → {now.status}")
    return markdown("**{}**: {}", name, "; ".join(told))


def _memory(row: ServerRow) -> str:
    return f"{row.memory_bytes / 2**30:.1f} GiB for units"


def _when_before(report: ScaleOutReport) -> str:
    at = f" of {report.before_at:%Y-%m-%d %H:%M:%S} UTC" if report.before_at else " preflight read"
    return f"Before is as{at}"


def _not_green(report: ScaleOutReport, level: int) -> Iterator[Markdown]:
    """Give a part for each kind of thing that is not green and not told above."""
    found = report.diagnosis
    if found:
        healed = "Healed on the way" if report.outcome == "verified" else "Diagnosis"
        yield _section(
            level,
            f"{healed}: {found.title} ({found.cause})",
            [_place(found), bullets(found.evidence)],
        )
    yield _section(level, "Stages that are not done", [bullets(_undone(report.stages))])
    told = _missing(report) if report.error_kind == VerifyError.kind else []
    hindering = [proof for proof in report.proofs if proof.hinders and proof not in told]
    yield _section(level, "Proofs that do not hold", [bullets(map(told_proof, hindering))])
    yield _section(level, "Findings", [bullets(map(told_finding, _telling(report)))])
    yield _section(level, "Decisions", [bullets(map(_decision, report.decisions))])
    yield _section(level, "Earlier attempts", [bullets(map(_earlier, report.earlier))])


def _telling(report: ScaleOutReport) -> list[Finding]:
    """Give the findings that are not green and not told above."""
    told = _blockers(report)
    return [
        finding
        for finding in report.findings
        if finding not in told
        and (finding.weight in {Answer.BLOCK, Answer.WARN} or finding.overridden_by)
    ]


def _undone(stages: Sequence[StageRow]) -> Iterator[Markdown]:
    for state, rows in groupby((s for s in stages if s.state != _DONE), key=lambda s: s.state):
        same = list(rows)
        first = same[0]
        if len(same) > 1:
            yield markdown("**{}** {} to {}", state, first.stage, same[-1].stage)
        else:
            said = f": {first.last_log}" if first.last_log else ""
            where = first.agent or "no agent"
            yield markdown("**{}** {} {} on {}{}", state, first.stage, first.node, where, said)


def _decision(decided: Decided) -> Markdown:
    return markdown(
        "{} UTC, {}: **{}** by {}: {}",
        *(f"{decided.at:%Y-%m-%d %H:%M:%S}", decided.about, decided.choice),
        *(decided.who, decided.why),
    )


def _earlier(end: EarlierEnd) -> str:
    dag = f"; DAG {end.dag_id} {end.submitted_how}".rstrip() if end.dag_id else ""
    by = f"; asked by {end.asked_by}" if end.asked_by else ""
    return f"{end.words}{dag}{by}"


def _rest(report: ScaleOutReport, level: int, *, whole: bool) -> Iterator[Markdown]:
    """Give all else, each part by itself."""
    asked = [f"{key} {value}" for key, value in sorted(report.obConfigs.items())]
    asked += [f"by {report.asked_by}"] if report.asked_by else []
    stages = f"{report.dag_id or 'none'} {report.submitted_how}".strip()
    parts = (
        ("Asked", asked),
        (f"Preflight: {report.verdict or 'not judged'}", list(_findings(report, whole=whole))),
        (f"DAG {stages}", [*_posted(report), *map(_stage, report.stages)]),
        (f"Proofs: {report.level}", [_proof_line(proof) for proof in report.proofs]),
        ("Observers", list(_servers(report.before, report.after))),
        ("Timeline (UTC)", list(_timeline(report.timeline))),
    )
    for title, lines in parts:
        if not lines:
            continue
        yield _section(level, title, [bullets(lines)]) if whole else folded(title, lines)


def _findings(report: ScaleOutReport, *, whole: bool) -> Iterator[str]:
    """List what preflight found and the page does not tell above; what passes is only counted."""
    above = [] if whole else [*_blockers(report), *_telling(report)]
    for finding in report.findings:
        if whole or (finding not in above and finding.answer not in QUIET):
            remedy = f". Remedy: {finding.remedy}" if finding.remedy else ""
            yield f"{finding.answer} {line_of(finding)}{remedy}"
    counts = Counter(finding.answer for finding in report.findings)
    if counts:
        yield f"{counts[Answer.PASS]} rules pass, {counts[Answer.NOT_APPLICABLE]} do not apply"


def _posted(report: ScaleOutReport) -> Iterator[str]:
    sent = report.posted
    if sent is not None:
        lost = "" if sent.was_answered else ", and its answer was lost"
        yield (
            f"POST sent {sent.at:%Y-%m-%d %H:%M:%S} UTC by attempt {sent.attempt} of run "
            f"{sent.run_name} ({sent.run_id}), asked by {sent.asked_by}; the newest DAG before "
            f"was number {sent.newest_dag}{lost}"
        )


def _stage(row: StageRow) -> str:
    said = f": {row.last_log}" if row.last_log else ""
    return f"{row.stage} {row.node}, {row.state} on {row.agent or 'no agent'}{said}"


def _proof_line(proof: ProofLine) -> str:
    expected = "" if proof.found == proof.expected else f"; expected {proof.expected}"
    return f"{proof.level.name} {proof.answer} {proof.id}: {proof.found}{expected}"


def _servers(before: Sequence[ServerRow], after: Sequence[ServerRow]) -> Iterator[str]:
    old, new = ({row.server: row for row in rows} for rows in (before, after))
    for server in sorted(old | new, key=lambda name: ((new.get(name) or old[name]).zone, name)):
        row = new.get(server) or old[server]
        was = old[server].status if server in old else "not there" if old else ""
        now = new[server].status if server in new else "not there" if new else ""
        told = " → ".join(filter(None, (was, now)))
        yield f"{row.zone} {server}: {told}, {_memory(row)}"


def _timeline(moments: Sequence[Moment]) -> Iterator[str]:
    """Give a line for each moment; of preflight only the last one, its verdict."""
    for is_preflight, same in groupby(moments, key=lambda moment: moment.step == "preflight"):
        told = list(same)
        for moment in told[-1:] if is_preflight else told:
            yield f"{moment.at:%H:%M:%S} {moment.step}: {moment.text}"
