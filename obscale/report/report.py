"""The report of a run: request, findings, deeds and proofs, as model, JSON and Markdown."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from obscale.agent.models import Dag, Node, State, Zone, joined_address
from obscale.follow.progress import last_words_of
from obscale.preflight.finding import Finding
from obscale.recovery.consequences import NOTHING, Choice, Remedy
from obscale.recovery.diagnosis import Diagnosis
from obscale.recovery.interrupted import InterruptedState, describe_interrupted, next_step
from obscale.request.renamed import with_new_names
from obscale.text import Markdown, bullets, code, markdown, paragraphs, table
from obscale.verify.levels import verdict_of
from obscale.verify.observation import ProofLine

SCHEMA_VERSION = 1
"""Raised when a field of the JSON report changes its meaning or goes away."""


PERSIST_EXPLAINED: Final = (
    "These live as start options only, and other servers have other values. Run as root@sys to "
    "keep them for this server"
)


class Moment(BaseModel):
    """One entry of the timeline; `at` is this machine's clock, UTC."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    step: str
    text: str


class Decided(BaseModel):
    """What a person was asked during the run, and answered."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    about: Literal["approval", "recovery"]
    choice: str
    who: str
    why: str


class StageRow(BaseModel):
    """How one stage of the DAG ended."""

    model_config = ConfigDict(frozen=True)

    stage: int
    node: str
    state: str
    operator: str
    agent: str
    last_log: str
    """Why it FAILED, or that nobody knows any more; else its last line."""
    logs: tuple[str, ...] = ()
    """All lines of all its sub tasks, each as `ip:port: line`."""


class ServerRow(BaseModel):
    """One observer of the cluster before or after."""

    model_config = ConfigDict(frozen=True)

    zone: str
    server: str
    status: str
    memory_bytes: int
    cpu: float


class Posted(BaseModel):
    """Which attempt of which run has sent the POST, as it was kept before."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    run_id: str
    run_name: str
    attempt: int
    asked_by: str
    newest_dag: int
    """Number of the cluster's newest DAG before."""
    was_answered: bool = True
    """False: its answer was lost, and the DAG was told by its number and its target."""


class EarlierEnd(BaseModel):
    """How an earlier attempt of a run, or an earlier run of the same DAG, has ended."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    run_id: str
    run_name: str = ""
    attempt: int = 0
    asked_by: str = ""
    outcome: str
    level: str = "NONE"
    dag_id: str | None = None
    submitted_how: str = ""
    error_kind: str = ""
    error: str = ""

    @model_validator(mode="before")
    @classmethod
    def _as_stored_before(cls, data: Any) -> Any:
        return with_new_names(data, cls.model_fields)

    @property
    def words(self) -> str:
        """Say it in one line."""
        run = self.run_name or self.run_id
        attempt = f", attempt {self.attempt}" if self.attempt else ""
        why = f": {self.error}" if self.error else f" up to {self.level}"
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC, run {run}{attempt}: {self.outcome}{why}"


class ScaleOutReport(BaseModel):
    """What was asked, what was found, what happened, and what stands now. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    outcome: Literal["verified", "blocked", "failed", "cancelled"]
    cluster: str
    target: str
    zone: str
    obConfigs: dict[str, str]  # noqa: N815 - spelled as the API spells it
    verdict: str = ""
    findings: tuple[Finding, ...] = ()
    decisions: tuple[Decided, ...] = ()
    """By persons; what policies decided stands in the timeline."""
    dag_id: str | None = None
    submitted_how: str = ""
    stages: tuple[StageRow, ...] = ()
    diagnosis: Diagnosis | None = None
    """Of the last failure of the DAG, also where it was healed afterwards."""
    level: str = "NONE"
    exceptions: tuple[str, ...] = ()
    """Members that do not serve, and did not before the scale-out either."""
    proofs: tuple[ProofLine, ...] = ()
    persist_statements: tuple[str, ...] = ()
    """Statements that would keep for this server what a restart may take back."""
    before: tuple[ServerRow, ...] = ()
    after: tuple[ServerRow, ...] = ()
    timeline: tuple[Moment, ...] = ()
    error_kind: str = ""
    error: str = ""
    command_name: str = "SPEC"
    """How a command names the cluster: a stored connection's name, or the request's file."""
    remains: InterruptedState | None = None
    """What stands in the cluster; only where the run ended before its DAG did."""
    told_cluster: str = ""
    """`name/id` as the cluster itself says; empty: it was not asked."""
    run_id: str = ""
    run_name: str = ""
    attempt: int = 0
    """Of the flow run, from 1; 0: no flow run."""
    asked_by: str = ""
    posted: Posted | None = None
    """None: nothing is known of the POST of this DAG."""
    before_at: datetime | None = None
    """When the view of before was taken; None: what was before is not known."""
    earlier: tuple[EarlierEnd, ...] = ()
    """Earlier attempts of this run, and earlier runs of the same DAG; oldest first."""

    @model_validator(mode="before")
    @classmethod
    def _as_stored_before(cls, data: Any) -> Any:
        return with_new_names(data, cls.model_fields)

    @property
    def verdict_reached(self) -> str:
        """The level in words, with what is excepted from it."""
        return verdict_of(self.level, self.exceptions)

    @property
    def follows(self) -> str:
        """Say which failed attempt a verified one follows; empty where there is none."""
        red = [end for end in self.earlier if end.outcome != "verified"]
        return red[-1].words if red and self.outcome == "verified" else ""


def stage_rows(dag: Dag | None, diagnosis: Diagnosis | None = None) -> tuple[StageRow, ...]:
    """Give one row per stage of a DAG read with details.

    Args:
        dag: None gives none.
        diagnosis: Of its failure; it may know a reason that the DAG itself has lost.
    """
    if dag is None:
        return ()
    rows = []
    for number, node in enumerate(dag.nodes, start=1):
        sub_task = node.sub_tasks[0] if node.sub_tasks else None
        agent = sub_task.execute_agent if sub_task else None
        rows.append(
            StageRow(
                stage=number,
                node=node.title,
                state=node.state.value,
                operator=node.operator.value,
                agent=f"{agent.ip}:{agent.port}" if agent else "",
                last_log=_last_words(dag, node, diagnosis),
                logs=_all_logs(node),
            )
        )
    return tuple(rows)


def _last_words(dag: Dag, node: Node, diagnosis: Diagnosis | None) -> str:
    if diagnosis and node.state is State.FAILED and diagnosis.place.node == node.title:
        return diagnosis.reason or last_words_of(dag, node)
    return last_words_of(dag, node)


def _all_logs(node: Node) -> tuple[str, ...]:
    lines = []
    for sub_task in node.sub_tasks:
        agent = sub_task.execute_agent
        where = f"{joined_address(agent.ip, agent.port)}: " if agent else ""
        lines += [f"{where}{line}" for line in sub_task.task_logs]
    return tuple(lines)


def server_rows(zones: Iterable[Zone]) -> tuple[ServerRow, ...]:
    """Give one row per observer of a topology, ordered by zone."""
    return tuple(
        ServerRow(
            zone=zone.name,
            server=f"{server.ip}:{server.svr_port}",
            status=server.status or server.inner_status,
            memory_bytes=server.stats.memory_in_bytes_total,
            cpu=server.stats.cpu_core_total,
        )
        for zone in sorted(zones, key=lambda zone: zone.name)
        for server in zone.servers
    )


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
