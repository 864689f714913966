"""Asks every recorded question of a simulated agent in the same state, and counts what agrees."""

import asyncio
import sys
from functools import cache

from tests.contract.real.asked import Asked, asked
from tests.contract.real.evening import evening
from tests.contract.real.meant import MEANT
from tests.contract.real.recordings import STATES
from tests.contract.real.worlds import SCENES, Scene, Story, asked_in


async def ask_scene(scene: Scene) -> list[Asked]:
    """Ask all recorded questions of one state."""
    story = Story(scene.old)
    await scene.prepare(story)
    return [asked(each, await story.ask(each)) for each in asked_in(scene)]


@cache
def all_asked() -> tuple[Asked, ...]:
    """Ask all recorded questions, each once in a process."""

    async def ask() -> list[Asked]:
        return [each for scene in SCENES for each in await ask_scene(scene)]

    return (*asyncio.run(ask()), *evening().asked)


def counts() -> dict[str, tuple[int, int, int]]:
    """By folder: how many answers there are, how many agree, how many differ on purpose."""
    told = {}
    for folder in STATES:
        here = [each for each in all_asked() if each.recording.name.startswith(f"{folder}/")]
        agree = sum(not each.differences for each in here)
        named = sum(each.recording.name in MEANT for each in here)
        told[folder] = (len(here), agree, named)
    return told


def table() -> str:
    """The counts, and the differences that are meant, for people."""
    rows = [("folder", "answers", "agree", "meant to differ")]
    rows += [(folder, *map(str, numbers)) for folder, numbers in counts().items()]
    lines = [f"{a:24}{b:>9}{c:>8}{d:>18}" for a, b, c, d in rows]
    lines += ["", *(f"{name}: {meant.reason}" for name, meant in MEANT.items())]
    for each in all_asked():
        lines += [f"{each.recording.name} {where}" for where in each.unnamed]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
