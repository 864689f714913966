"""What a proof counts for whose evidence cannot be read: told after a while, then judged otherwise.

Unknown is never passed, so it holds its level back. Held back for good by something nobody will
ever read, a node would be watched until the deadline and then not verified. What preflight has
judged before the POST stands then; where it never has, nobody waits any longer, and the node is
not verified. A proof whose evidence decides, say the topology, is waited for until the deadline.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from obscale.preflight.result import JUDGED_BEFORE
from obscale.verify.observation import Before, ProofAnswer, ProofLine

NEVER_AGAINST: Final = {
    "pv-capacity-cluster": "what the new server offers is proved by pv-capacity-server",
    "pv-disk-after": "it tells, and fails no node",
    "pv-params-vs-peers": "it tells, and fails no node",
    "pv-restart-safety": "it tells, and fails no node",
}
"""Proofs that hinder no node where they are read, or that another one proves too, with the reason
told."""


@dataclass(frozen=True)
class Unreadable:
    """For how long proofs could not be read, without a break.

    Args:
        seconds: By the id of the proof.
        limit_seconds: After so long one is judged otherwise.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    limit_seconds: float = float("inf")

    def settle(self, line: ProofLine, before: Before) -> ProofLine:
        """Give a line as it counts: one that could not be read for the limit is judged otherwise.

        Args:
            line: As judged by this look alone.
            before: What was known before the POST.
        """
        if line.answer is not ProofAnswer.UNKNOWN or not self.is_over(line.id):
            return line
        found = f"not read for {self.seconds.get(line.id, 0):.0f} s: {line.found}"
        rule = JUDGED_BEFORE.get(line.id, "")
        instead = NEVER_AGAINST.get(line.id, "")
        if rule in before.judged:
            instead = f"preflight judged {rule}: {before.judged[rule]}"
        if instead:
            told = {"answer": ProofAnswer.INFO, "found": f"{found}; {instead}"}
            return line.model_copy(update=told)
        doubt = f"; how preflight judged {rule} is not known" if rule else ""
        return line.model_copy(update={"found": f"{found}{doubt}"})

    def is_over(self, proof: str) -> bool:
        """Whether a proof that cannot be read now has not been for the limit."""
        return self.seconds.get(proof, 0.0) >= self.limit_seconds

    def given_up(self, lines: Iterable[ProofLine]) -> Iterator[str]:
        """Give the proofs that are not waited for any longer, although they hinder."""
        for line in lines:
            is_unread = line.answer is ProofAnswer.UNKNOWN and self.is_over(line.id)
            if is_unread and line.id in JUDGED_BEFORE:
                yield line.id


def unread_since(
    unread: Iterable[str], since: Mapping[str, float], at: float
) -> Mapping[str, float]:
    """Give since when each proof cannot be read, in seconds of a clock that only moves forward.

    Args:
        unread: Ids of those that cannot be read at this look.
        since: Of the look before.
        at: When this look was.
    """
    return {proof: since.get(proof, at) for proof in unread}
