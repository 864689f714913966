"""One recorded question, beside what a simulated agent answers to it."""

from dataclasses import dataclass

from tests.contract.real.comparing import Difference, compare, kind_of
from tests.contract.real.meant import MEANT
from tests.contract.real.recordings import Answer, Recording


@dataclass(frozen=True)
class Asked:
    """One recorded question, what the simulated agent answered, and where that differs."""

    recording: Recording
    answer: Answer
    differences: tuple[Difference, ...]

    @property
    def unnamed(self) -> list[Difference]:
        """The differences that are not meant."""
        meant = MEANT.get(self.recording.name)
        return [each for each in self.differences if not (meant and meant.is_about(each.path))]


def asked(recording: Recording, answer: Answer) -> Asked:
    """Compare an answer with the recorded one."""
    found = compare(kind_of(recording), recording.answer, answer)
    return Asked(recording, answer, tuple(found))
