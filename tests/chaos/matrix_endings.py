"""The endings and reasons that rows of the matrix share."""

from tests.chaos.matrix import STAGES

UNDONE = "dag-rolled-back:add-server-timeout"
"""What the column `undo` is about: stage 7 fails, and the run rolls it back."""
HEALS = {"*": "healed", "undo": UNDONE}
ONE_STAGE = "it is about this one stage"
STAGES_ONLY = "it is about a stage on the way forwards"


def at_stages(ending: str, **but: str) -> dict[str, str]:
    """The same ending at all stages but some, named `s4` for stage 4."""
    return {stage: but.get(f"s{stage}", ending) for stage in STAGES}
