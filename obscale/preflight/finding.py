"""The models of a rule's verdict and of a finding in a plan."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from obscale.preflight.facts import TargetProgress
from obscale.reading import Unread
from obscale.request.models import Profile


class Answer(StrEnum):
    """Answer of one rule, the gravest first."""

    BLOCK = "block"
    WARN = "warn"
    UNKNOWN = "unknown"
    INFO = "info"
    PASS = "pass"  # noqa: S105 - an answer, no password
    NOT_APPLICABLE = "n-a"


ALREADY_GONE: Final = "already gone"
AS_ASKED: Final = "member-as-asked"
"""The rule that says in which values a member differs from what is asked."""
_QUIET: Final = frozenset({Answer.PASS, Answer.NOT_APPLICABLE, Answer.UNKNOWN})
_STAGES: Final = ("stage", "POST", "the last stage")
_PLACES: Final = {
    "SILENT": "otherwise nothing reports it",
    "RUNTIME": "otherwise it shows under load",
}
_ORDER: Final = {answer: number for number, answer in enumerate(Answer)}
Severity = Literal[Answer.BLOCK, Answer.WARN, Answer.INFO]


def otherwise(place: str) -> str:
    """Say where a finding would come out without its rule, e.g. `otherwise fails at stage 5`."""
    for mark, words in _PLACES.items():
        if place.startswith(mark):
            return words + place.removeprefix(mark)
    place = place.replace("SILENT", "unreported")
    if place.startswith(_STAGES):
        return f"otherwise fails at {place}"
    return f"otherwise: {place}" if place else ""


class Overridden(BaseModel):
    """Why, and until when, a finding is accepted."""

    model_config = ConfigDict(frozen=True)

    reason: str
    until: date
    """Last day, UTC."""


class Finding(BaseModel):
    """One answer of one rule, with what it rests on.

    `weight` is what the answer counts as in this profile: an `unknown` counts as a warning in
    production, so that it is never taken for a pass.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    answer: Answer
    weight: Answer
    subject: str
    measured: str
    needed: str
    remedy: str
    otherwise: str
    """Where it would come out without this rule: POST, `stage 5`, SILENT, RUNTIME."""
    overridable: bool
    source: str
    title: str
    overridden_by: Overridden | None = None
    """Set where the request accepts this block or warning; its weight is then `info`."""
    unjudged: tuple[str, ...] = ()
    """Ids of the rules that could block in this profile and could not be judged: its own, and those
    whose gap it reports. Without what this version of obshell never tells."""


@dataclass(frozen=True)
class Verdict:
    """What one rule says, before the profile weighs it.

    Args:
        kind: `fires`, `passes`, `notes` (worth saying, no fault), `unknown` or `n-a`.
        measured: What was found.
        needed: What is right.
        remedy: What to do; empty: the rule's own.
        subject: Which part, e.g. `memory_limit`; empty: the target.
        prod: Severity in production; None: the rule's own.
        lab: Severity in the lab; None: the rule's own.
        gap: The fact that could not be read, for `unknown`.
        is_certain: The refusal or damage is sure, so nobody may accept it, whatever the rule's
            ground is otherwise.
    """

    kind: Literal["fires", "passes", "notes", "unknown", "n-a"]
    measured: str
    needed: str = ""
    remedy: str = ""
    subject: str = ""
    prod: Severity | None = None
    lab: Severity | None = None
    gap: Unread | None = None
    is_certain: bool = False


def passes(measured: str, needed: str = "", *, subject: str = "") -> Verdict:
    """The rule is kept."""
    return Verdict("passes", measured, needed, subject=subject)


def notes(measured: str, needed: str = "", remedy: str = "", *, subject: str = "") -> Verdict:
    """Worth saying, no fault: `info` in both profiles."""
    return Verdict("notes", measured, needed, remedy, subject)


def fires(measured: str, needed: str, remedy: str = "", *, subject: str = "") -> Verdict:
    """The rule is broken, with the rule's own severity."""
    return Verdict("fires", measured, needed, remedy, subject)


def blocks(measured: str, needed: str, remedy: str = "", *, subject: str = "") -> Verdict:
    """The rule is broken in a way that forbids the submit in both profiles."""
    return Verdict("fires", measured, needed, remedy, subject, Answer.BLOCK, Answer.BLOCK)


def refuses(measured: str, needed: str, remedy: str = "", *, subject: str = "") -> Verdict:
    """Forbids the submit in both profiles and may not be overridden: the refusal is certain."""
    return replace(blocks(measured, needed, remedy, subject=subject), is_certain=True)


def blocks_in_prod(measured: str, needed: str, remedy: str = "", *, subject: str = "") -> Verdict:
    """Forbids the submit in production, warns in the lab."""
    return Verdict("fires", measured, needed, remedy, subject, Answer.BLOCK, Answer.WARN)


def warns(measured: str, needed: str, remedy: str = "", *, subject: str = "") -> Verdict:
    """Warns in production, is mentioned in the lab."""
    return Verdict("fires", measured, needed, remedy, subject, Answer.WARN, Answer.INFO)


def warns_always(measured: str, needed: str, remedy: str = "", *, subject: str = "") -> Verdict:
    """Warns in both profiles."""
    return Verdict("fires", measured, needed, remedy, subject, Answer.WARN, Answer.WARN)


def unknown(
    gap: Unread | str, needed: str = "", remedy: str = "", *, prod: Severity | None = None
) -> Verdict:
    """The evidence should have been there and was not.

    Args:
        gap: The fact that could not be read, or the reason in words.
        needed: What would be right.
        remedy: How to find out.
        prod: `Answer.BLOCK` where not knowing is too dangerous in production.
    """
    if isinstance(gap, str):
        gap = Unread(gap)
    return Verdict("unknown", gap.reason, needed, remedy, prod=prod, gap=gap)


def not_applicable(reason: str) -> Verdict:
    """The rule's subject does not exist here."""
    return Verdict("n-a", reason)


def verdict_of_members(differing: int) -> str:
    """Say the verdict of nodes that are members, by how many values are not as asked."""
    if not differing:
        return "already a member"
    return f"already a member, {differing} value{'s differ' if differing > 1 else ' differs'}"


@dataclass(frozen=True)
class Findings(Sequence[Finding]):
    """All findings about one node, in the order of the rules.

    Args:
        items: The findings.
        profile: They were weighed in.
        progress: How far the target is on its way.
    """

    items: tuple[Finding, ...]
    profile: Profile
    progress: TargetProgress = TargetProgress.NEW

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 - int and slice, as tuple has it
        return self.items[index]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.items)

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """What forbids the submit."""
        return self._of_weight(Answer.BLOCK)

    @property
    def remedies(self) -> str:
        """What cures all that forbids the submit, each said once."""
        cures = dict.fromkeys(f.remedy for f in self.blockers if f.remedy)
        return "; also: ".join(cures)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What must be acknowledged, an unknown in production included."""
        return self._of_weight(Answer.WARN)

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Ids of the rules that could forbid the submit and could not be judged, each once.

        None where nothing would be submitted.
        """
        return self._unjudged(self.items)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Those of them that no override acknowledges."""
        return self._unjudged(f for f in self.items if f.overridden_by is None)

    @property
    def overridden(self) -> tuple[Finding, ...]:
        """What would block or warn, and is accepted by the request."""
        return tuple(finding for finding in self.items if finding.overridden_by is not None)

    @property
    def already_member(self) -> bool:
        """Whether the target is in this cluster and zone already: nothing to submit."""
        return self.progress is TargetProgress.MEMBER

    @property
    def differing(self) -> tuple[Finding, ...]:
        """One for each value in which a member is not as it is asked for."""
        return tuple(f for f in self.of_rule(AS_ASKED) if f.answer not in _QUIET)

    @property
    def already_gone(self) -> bool:
        """Whether what is to leave is in the cluster no more: nothing to submit."""
        return self.progress is TargetProgress.GONE

    @property
    def will_be_adopted(self) -> bool:
        """Whether a scale-out, or a removal, of this target is at work, to be taken up."""
        return self.progress in {TargetProgress.UNDER_WAY, TargetProgress.LEAVING}

    @property
    def verdict(self) -> str:
        """`ready`, `ready with 2 warnings and 1 override`, `ready, 4 unknown`, or `blocked`.

        Of a member: `already a member`, or `already a member, 2 values differ`. Of what was to
        leave and is there no more: `already gone`.
        """
        if self.already_gone and not self.blockers:
            return ALREADY_GONE
        if self.already_member:
            return verdict_of_members(len(self.differing))
        if self.blockers:
            return "blocked"
        warnings = [f for f in self.warnings if not (f.answer is Answer.UNKNOWN and f.unjudged)]
        counts = {"warning": len(warnings), "override": len(self.overridden)}
        told = [f"{n} {word}{'s' if n > 1 else ''}" for word, n in counts.items() if n]
        verdict = f"ready with {' and '.join(told)}" if told else "ready"
        return f"{verdict}, {len(self.unknown)} unknown" if self.unknown else verdict

    def count(self, answer: object) -> int:
        """How many findings have this answer."""
        return sum(finding.answer == answer for finding in self.items)

    def of_rule(self, rule: str) -> tuple[Finding, ...]:
        """The findings of one rule."""
        return tuple(finding for finding in self.items if finding.rule == rule)

    def by_weight(self) -> tuple[Finding, ...]:
        """All findings, the gravest first."""
        return tuple(sorted(self.items, key=lambda f: (_ORDER[f.weight], _ORDER[f.answer])))

    def _unjudged(self, items: Iterable[Finding]) -> tuple[str, ...]:
        if self.progress is not TargetProgress.NEW:
            return ()
        return tuple(dict.fromkeys(rule for finding in items for rule in finding.unjudged))

    def _of_weight(self, weight: Answer) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.items if finding.weight is weight)


def line_of(finding: Finding) -> str:
    """Say one finding in one line, e.g. `mem-fits-total: 80G; needed ≤ 62.8G`."""
    line = f"{finding.rule}: {finding.measured}"
    if finding.needed:
        line += f"; needed {finding.needed}"
    if accepted := finding.overridden_by:
        line += f"; overridden until {accepted.until}: {accepted.reason!r}"
    return line
