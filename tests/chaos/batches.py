"""Plays batches whose process is killed at seeded moments; each row ends with one DAG.

python -m tests.chaos.batches --cases 50 --seed 7           the night of that seed
python -m tests.chaos.batches --seed 7 --only 13            one case of it again
python -m tests.chaos.batches --cases 3 --break-guard       must turn red: no rule is kept
"""

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, TypeVar

import typer

from obscale.sandbox import ScaledClock, World, serve
from tests.chaos.batches_cases import STORIES, BatchCase, case_of, cases_of
from tests.chaos.batches_judge import judge
from tests.chaos.batches_play import BatchScene, Outcome, world_of
from tests.chaos.kills import counted
from tests.chaos.kills_backstage import Backstage, backstage

What = TypeVar("What")
CASES: Final = 50
SIDE_BY_SIDE: Final = 3
WALL_SECONDS: Final = 600.0
"""No case may take longer; the window of some is shut for a minute."""
COLUMNS: Final = (
    *("cases", "runs", "killed", "rows", "DAGs", "posted", "adopted", "already members"),
    *("outside window", "after a stop", "red"),
)


async def main(cases: int, seed: int, *, only: int | None = None, break_guard: bool = False) -> int:
    """Play the cases of a seed and print what became of them; 0 green, 1 red."""
    # A connection that a kill cut off ends inside the sandbox's web server, which is wordy.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    night = asyncio.current_task()
    assert night is not None
    # Ended early, the night takes its server along; it does not belong to the terminal.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, night.cancel)
    chosen = cases_of(seed, cases) if only is None else [case_of(seed, only)]
    began = time.monotonic()
    typer.echo(f"{len(chosen)} batches of seed {seed}")
    outcomes = await play_all(chosen, break_guard=break_guard)
    for line in (*table(outcomes), "", *totals(outcomes, seed, time.monotonic() - began)):
        typer.echo(line)
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


async def play_all(cases: Sequence[BatchCase], *, break_guard: bool = False) -> list[Outcome]:
    """Play cases side by side, on one Prefect server."""
    waiting = list(cases)
    outcomes: list[Outcome] = []

    async def lane(behind: Backstage) -> None:
        while waiting:
            outcome = await play(waiting.pop(0), behind, break_guard=break_guard)
            outcomes.append(outcome)
            _say(outcome, len(outcomes), len(cases))

    with tempfile.TemporaryDirectory(prefix="obscale-batches-") as folder:
        async with backstage(Path(folder)) as behind, asyncio.TaskGroup() as playing:
            for _ in range(SIDE_BY_SIDE):
                playing.create_task(lane(behind))
    return sorted(outcomes, key=lambda outcome: outcome.case.number)


async def play(case: BatchCase, behind: Backstage, *, break_guard: bool = False) -> Outcome:
    """Play one case in a world of its own."""
    outcome = Outcome(case)
    began = time.monotonic()
    world = World(world_of(case), clock=ScaledClock(speed=case.speed))
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="obscale-batch-"))
        door = await stack.enter_async_context(serve(world))
        scene = BatchScene(world, door.ready, behind, outcome)
        try:
            async with asyncio.timeout(WALL_SECONDS):
                await scene.play(Path(folder), break_guard=break_guard)
        except TimeoutError:
            outcome.wrong.append(f"not through after {WALL_SECONDS:g} s")
        finally:
            for run in scene.runs:
                run.kill()
        await judge(scene)
    outcome.seconds = time.monotonic() - began
    return outcome


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Per story, in Markdown: what was killed, what the clusters hold, what was sent too late."""
    width = max(map(len, STORIES))
    lines = [
        f"| {'story':{width}} | {' | '.join(COLUMNS)} |",
        f"| {'-' * width} | {' | '.join('-' * (len(column) - 1) + ':' for column in COLUMNS)} |",
    ]
    for story in (*dict.fromkeys(STORIES), ""):
        mine = [outcome for outcome in outcomes if story in ("", outcome.case.story)]
        dags, hows = _summed(o.dags for o in mine), _summed(o.hows for o in mine)
        counts = (
            len(mine),
            sum(outcome.runs for outcome in mine),
            sum(outcome.kills for outcome in mine),
            dags.total(),
            sum(count * rows for count, rows in dags.items()),
            *(hows[how] for how in ("posted", "adopted", "already a member")),
            sum(outcome.outside for outcome in mine),
            sum(outcome.after_stop for outcome in mine),
            sum(bool(outcome.wrong) for outcome in mine),
        )
        cells = [str(n).rjust(len(column)) for n, column in zip(counts, COLUMNS, strict=True)]
        if mine:
            lines.append(f"| {story or 'all':{width}} | {' | '.join(cells)} |")
    return lines


def totals(outcomes: Sequence[Outcome], seed: int, seconds: float) -> list[str]:
    """What the whole night comes to, and how to see its red cases again."""
    dags, states = _summed(o.dags for o in outcomes), _summed(o.states for o in outcomes)
    phases = Counter(outcome.case.kills[0].phase for outcome in outcomes)
    programs = Counter(outcome.case.program for outcome in outcomes)
    red = [outcome for outcome in outcomes if outcome.wrong]
    return [
        (
            f"seed {seed}: {len(outcomes)} batches, {sum(o.runs for o in outcomes)} runs, "
            f"{sum(o.kills for o in outcomes)} of them killed; killed more than once "
            f"{sum(o.kills > 1 for o in outcomes)}"
        ),
        f"run by: {_told(programs)}; first killed at: {_told(phases)}",
        (
            f"POSTs {sum(o.posts for o in outcomes)}; DAGs per row: "
            + ", ".join(f"{count} in {rows} rows" for count, rows in sorted(dags.items()))
        ),
        f"rows ended: {_told(states)}",
        (
            f"posts outside the window {sum(o.outside for o in outcomes)}, "
            f"posts after a stop {sum(o.after_stop for o in outcomes)}"
        ),
        f"{len(red)} red; {seconds:.0f} s",
        *(_red(outcome) for outcome in red),
    ]


def _summed(counters: Iterable[Counter[What]]) -> Counter[What]:
    total: Counter[What] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counts.most_common())


def _say(outcome: Outcome, done: int, of: int) -> None:
    case = outcome.case
    kills = ", then ".join(kill.phase for kill in case.kills)
    typer.echo(
        f"{done:3}/{of} case {case.number}: {case.story}, by {case.program}, killed at {kills}: "
        f"{_told(outcome.states) or 'no report'}; {outcome.posts} POSTs, {outcome.seconds:.0f} s"
    )
    if outcome.wrong:
        typer.echo(_red(outcome))


def _red(outcome: Outcome) -> str:
    case = outcome.case
    again = f"python -m tests.chaos.batches --seed {case.seed} --only {case.number}"
    return f"RED case {case.number}: {'; '.join(outcome.wrong)}; again: {again}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.batches", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    how_many = f"how many, {CASES} if left out"
    parser.add_argument("--cases", type=counted, default=CASES, metavar="N", help=how_many)
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="the same seed is the same night"
    )
    parser.add_argument("--only", type=counted, metavar="K", help="only case K of the seed")
    parser.add_argument("--break-guard", action="store_true", help="no rule is kept")
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    night = main(asked.cases, asked.seed, only=asked.only, break_guard=asked.break_guard)
    try:
        sys.exit(asyncio.run(night))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit("ended early; nothing is left running")
