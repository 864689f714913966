"""How long an objection has held, when it fails a node, and when it has passed.

A peer that restarts is away for seconds and comes back; one that stays away for a minute does not
come back by waiting. Each statement of a line counts by itself, so that two peers that restart one
after the other are not taken for one that is dead.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from obscale.verify.levels import VerifiedLevels
from obscale.verify.observation import ProofAnswer, ProofLine

Statement = tuple[str, str]
"""Id of a proof, and one thing its line says is wrong."""


@dataclass(frozen=True)
class Held:
    """The levels, judged with regard to how long things have stood so.

    Args:
        levels: What has held for long enough fails.
        since: When each statement that stands was first seen without a break, in seconds.
        risen: Statements that were not there at the look before.
        passed: Statements that stand no more, and for how many seconds they did.
    """

    levels: VerifiedLevels
    since: Mapping[Statement, float]
    risen: tuple[Statement, ...]
    passed: Mapping[Statement, float]


def hold(
    levels: VerifiedLevels, since: Mapping[Statement, float], at: float, limit_seconds: float
) -> Held:
    """Let what has stood against the request for the limit fail.

    Args:
        levels: As judged by this look alone.
        since: Of the look before.
        at: When this look was, in seconds of a clock that only moves forward.
        limit_seconds: 0: at once.
    """
    standing = [
        (line.id, words)
        for line in levels.lines
        if line.answer is ProofAnswer.AGAINST
        for words in line.found.split(", ")
    ]
    now = {statement: since.get(statement, at) for statement in standing}
    lines = tuple(_judged(line, now, at, limit_seconds) for line in levels.lines)
    return Held(
        levels=levels.model_copy(update={"lines": lines}),
        since=now,
        risen=tuple(statement for statement in now if statement not in since),
        passed={s: at - then for s, then in since.items() if s not in now},
    )


def _judged(
    line: ProofLine, since: Mapping[Statement, float], at: float, limit_seconds: float
) -> ProofLine:
    held = [at - then for (name, _), then in since.items() if name == line.id]
    if line.answer is not ProofAnswer.AGAINST or max(held) < limit_seconds:
        return line
    found = f"{line.found}, for {max(held):.0f} s"
    return line.model_copy(update={"answer": ProofAnswer.FAIL, "found": found})
