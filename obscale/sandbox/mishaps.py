"""What may befall any stage of a scale-out, whatever the stage does?"""

from typing import Final

from obscale.sandbox.dag import Step, StepFailed, Work
from obscale.sandbox.scene import Scene

NEVER_SECONDS: Final = 1e6
"""Longer than the 3600 s after which the scheduler gives a sub task up."""


def exposed(step: Step) -> Step:
    """The same step, but cards that any stage may draw are drawn at it."""

    def run(scene: Scene) -> Work:
        if card := scene.draw("lose_executor", scene.stage):
            yield NEVER_SECONDS if card.seconds is None else card.seconds
            raise StepFailed("sub task timeout")
        yield from step.run(scene)
        if scene.draw("repeat_stage", scene.stage):
            scene.task.execute_times += 1
            yield from step.run(scene)

    def rollback(scene: Scene) -> Work:
        if card := scene.draw("fail_rollback", scene.stage):
            text = card.text or f"Unexpected error: rollback of stage {scene.stage} failed"
            raise scene.failure("Common.Unexpected", text)
        yield from step.rollback(scene)

    return Step(step.name, run, rollback)
