"""The faults that can meet any stage of a cluster's DAG."""

from dataclasses import replace
from typing import Final

from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.dag import Step, StepFailed, Work
from obscale.sandbox.faults.fault import Fault

NEVER_SECONDS: Final = 1e6
"""Longer than the 3600 s after which the scheduler gives a sub task up."""
TURNS_UP_SECONDS: Final = 5.0
"""After the end of a sub task whose log was lost; on a real server it was "later"."""


def exposed(step: Step) -> Step:
    """The same step, but cards that any stage may draw are drawn at it."""

    def run(scene: Scene) -> Work:
        if card := scene.draw("lose_executor", scene.stage):
            yield NEVER_SECONDS if card.seconds is None else card.seconds
            raise StepFailed("sub task timeout")
        _turn_up(scene)
        if card := scene.draw("lose_log", scene.stage):
            yield from _without_its_log(scene, step, card)
        else:
            yield from step.run(scene)
        if scene.draw("repeat_stage", scene.stage):
            yield from step.run(scene)

    def rollback(scene: Scene) -> Work:
        _turn_up(scene)
        if card := scene.draw("fail_rollback", scene.stage):
            text = card.text or f"Unexpected error: rollback of stage {scene.stage} failed"
            raise scene.failure("Common.Unexpected", text)
        yield from step.rollback(scene)

    return replace(step, run=run, rollback=rollback)


def failing(step: Step) -> Step:
    """The same step, but it fails where the card for its stage is played."""

    def run(scene: Scene) -> Work:
        if card := scene.draw("fail_stage", scene.stage):
            text = card.text or f"Unexpected error: stage {scene.stage} failed"
            raise scene.failure("Common.Unexpected", text)
        yield from step.run(scene)

    return replace(step, run=run)


def _without_its_log(scene: Scene, step: Step, card: Fault) -> Work:
    """The stage is executed, but its lines go to the second sub task, some time after its end.

    Seen on a real server of 4.5.0.0, whose agent was killed at stage 5 and started again.
    """
    scene.task.lost = []
    seconds = TURNS_UP_SECONDS if card.seconds is None else card.seconds
    try:
        yield from step.run(scene)
    except StepFailed:
        scene.world.engine.after(seconds, lambda: _turn_up(scene))
        raise
    scene.world.engine.after(seconds, lambda: _turn_up(scene))


def _turn_up(scene: Scene) -> None:
    lost, scene.task.lost = scene.task.lost or [], None
    second = scene.dag.nodes[min(1, scene.dag.max_stage - 1)].sub_task.logs
    second += [replace(row, number=len(second) + more) for more, row in enumerate(lost, start=1)]
