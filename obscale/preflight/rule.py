"""Declares one rule, and weighs its verdict."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from obscale.preflight.facts import TargetProgress
from obscale.preflight.finding import Answer, Finding, Severity, Verdict
from obscale.request.models import Profile

Ground = Literal["A", "B", "C", ""]
"""Why a rule may block: A sure refusal, B silent or lasting damage, C unknown with B at stake."""
Judgement = Verdict | Iterable[Verdict]
F = TypeVar("F")
"""The facts a rule judges: of a scale-out, say."""

BLOCK: Final = Answer.BLOCK
WARN: Final = Answer.WARN
INFO: Final = Answer.INFO

_MOOT: Final = {
    TargetProgress.MEMBER: "already a member",
    TargetProgress.UNDER_WAY: "a scale-out of this target is under way",
}


@dataclass(frozen=True)
class Rule(Generic[F]):
    """One rule of the catalogue.

    Args:
        id: Stable name.
        title: What it asks, in words.
        prod: Its severity in production where it fires.
        lab: The same in the lab.
        otherwise: Where it would come out without it.
        ground: Why it may block; a block of ground A cannot be overridden.
        source: What it rests on.
        judge: The rule itself.
        only_new: It asks whether a scale-out could begin, so it is moot once one has begun.
        is_static: It needs nothing but the request.
        softens: It has milder answers than a block of ground A, and those may be accepted.
        worst: The gravest severities of any of its answers, in production and in the lab, where
            they are graver than `prod` and `lab`.
    """

    id: str
    title: str
    prod: Severity
    lab: Severity
    otherwise: str
    ground: Ground
    source: str
    judge: Callable[[F], Judgement]
    only_new: bool
    is_static: bool
    softens: bool
    worst: tuple[Severity, Severity] | None = None

    def could_block(self, profile: Profile) -> bool:
        """Whether some answer of this rule would forbid the submit in this profile."""
        severities = self.worst or (self.prod, self.lab)
        return severities[profile == "lab"] is Answer.BLOCK

    def leaves_open(self, verdict: Verdict, profile: Profile) -> bool:
        """Whether a verdict leaves open what could forbid the submit in this profile.

        What a version of obshell never tells is not open, but as known as it will ever be: people
        who have to wave it through each time learn to wave everything through.
        """
        gap = verdict.gap
        return gap is not None and gap.supported and self.could_block(profile)

    def verdicts(self, facts: F, progress: TargetProgress) -> list[Verdict]:
        """Judge the facts; a rule that crashes is a bug and crashes the plan."""
        if self.only_new and progress in _MOOT:
            return [Verdict("n-a", _MOOT[progress])]
        verdict = self.judge(facts)
        return [verdict] if isinstance(verdict, Verdict) else list(verdict)

    def weigh(self, verdict: Verdict, subject: str, profile: Profile) -> Finding:
        """Make a finding of a verdict, as this profile sees it; about `subject` if not said."""
        answer = weight = self._answer(verdict, profile)
        if answer is Answer.UNKNOWN:
            weight = Answer.WARN if profile == "prod" else Answer.INFO
            if profile == "prod" and verdict.prod is not None:
                weight = verdict.prod
                answer = verdict.prod
        return Finding(
            rule=self.id,
            answer=answer,
            weight=weight,
            subject=verdict.subject or subject,
            measured=verdict.measured,
            needed=verdict.needed,
            remedy=verdict.remedy,
            otherwise=self.otherwise,
            overridable=self._may_be_accepted(weight) and not verdict.is_certain,
            source=self.source,
            title=self.title,
        )

    def _may_be_accepted(self, weight: Answer) -> bool:
        return self.ground != "A" or (self.softens and weight is not Answer.BLOCK)

    def _answer(self, verdict: Verdict, profile: Profile) -> Answer:
        match verdict.kind:
            case "passes":
                return Answer.PASS
            case "notes":
                return Answer.INFO
            case "unknown":
                return Answer.UNKNOWN
            case "n-a":
                return Answer.NOT_APPLICABLE
            case "fires":
                if profile == "prod":
                    return verdict.prod or self.prod
                return verdict.lab or self.lab


def rule(
    id: str,  # noqa: A002 - what it is called everywhere
    title: str,
    *,
    prod: Severity,
    lab: Severity,
    otherwise: str,
    source: str,
    ground: Ground = "",
    only_new: bool = True,
    is_static: bool = False,
    softens: bool = False,
    worst: tuple[Severity, Severity] | None = None,
) -> Callable[[Callable[[F], Judgement]], Rule[F]]:
    """Make a rule of a function; see `Rule` for the arguments."""

    def declare(judge: Callable[[F], Judgement]) -> Rule[F]:
        return Rule(
            *(id, title, prod, lab, otherwise, ground, source, judge, only_new, is_static),
            softens,
            worst,
        )

    return declare
