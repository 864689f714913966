"""Plays requests whose flow processes are killed at seeded moments; each stays one.

python -m tests.chaos.kills --cases 200 --seed 7          the night of that seed, of additions
python -m tests.chaos.kills --cases 100 --operation remove    removals: nodes, zones, a dead one
python -m tests.chaos.kills --seed 7 --only 13            one case of it again
python -m tests.chaos.kills --cases 6 --break-guard       must turn red: nobody looks before a POST
"""

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from tests.chaos.kills_backstage import Backstage, backstage
from tests.chaos.kills_cases import Case, case_of, cases_of, phases_of
from tests.chaos.kills_play import Outcome, play
from tests.chaos.operations import KINDS, Kind

SIDE_BY_SIDE = 3
"""Cases at a time beside the one whose server is killed."""
CASES = 200
COLUMNS = ("cases", "adopted", "resubmitted", "nothing to do", "verified", "red")
HOWS = (("adopted",), ("posted",), ("already a member", "already gone", "already stored"))
"""How the last runs came by their DAG, by column."""


async def main(
    shares: Mapping[Kind, int],
    seed: int,
    *,
    only: int | None = None,
    break_guard: bool = False,
) -> int:
    """Play the cases of a seed and print what became of them; 0 green, 1 red.

    Args:
        shares: How many of each kind; they are played beside each other.
        seed: The same one is the same night.
        only: Only the case of that number, of each kind.
        break_guard: Nobody looks before a request.
    """
    # A connection that a kill cut off ends inside the sandbox's web server, which is wordy.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    night = asyncio.current_task()
    assert night is not None
    # Ended early, the night takes its servers along; they do not belong to the terminal.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, night.cancel)
    chosen = [
        case
        for kind, cases in shares.items()
        for case in (cases_of(seed, cases, kind) if only is None else [case_of(seed, only, kind)])
    ]
    began = time.monotonic()
    typer.echo(f"{len(chosen)} cases of seed {seed}: {', '.join(shares)}")
    outcomes = await play_all(chosen, break_guard=break_guard)
    for line in (*table(outcomes), "", *totals(outcomes, seed, time.monotonic() - began)):
        typer.echo(line)
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


async def play_all(cases: Sequence[Case], *, break_guard: bool = False) -> list[Outcome]:
    """Play cases side by side; those whose server is killed have one of their own."""
    shared = [case for case in cases if not case.server]
    apart = [case for case in cases if case.server]
    outcomes: list[Outcome] = []

    async def lane(waiting: list[Case], behind: Backstage) -> None:
        while waiting:
            outcome = await play(waiting.pop(0), behind, break_guard=break_guard)
            outcomes.append(outcome)
            _say(outcome, len(outcomes), len(cases))

    async def hall(waiting: list[Case], lanes: int) -> None:
        if not waiting:
            return
        with tempfile.TemporaryDirectory(prefix="obscale-kills-") as folder:
            async with backstage(Path(folder)) as behind, asyncio.TaskGroup() as playing:
                for _ in range(lanes):
                    playing.create_task(lane(waiting, behind))

    async with asyncio.TaskGroup() as halls:
        halls.create_task(hall(shared, SIDE_BY_SIDE))
        halls.create_task(hall(apart, 1))
    return sorted(
        outcomes,
        key=lambda outcome: (KINDS.index(outcome.case.operation.kind), outcome.case.number),
    )


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Per phase of the first kill, in Markdown: cases, and how their last runs got their DAG."""
    asked = dict.fromkeys(outcome.case.operation for outcome in outcomes)
    phases = dict.fromkeys(phase for operation in asked for phase in phases_of(operation))
    width = max(map(len, phases), default=0)
    lines = [
        f"| {'killed at':{width}} | {' | '.join(COLUMNS)} |",
        f"| {'-' * width} | {' | '.join('-' * (len(column) - 1) + ':' for column in COLUMNS)} |",
    ]
    for phase in (*phases, ""):
        rows = [outcome for outcome in outcomes if phase in ("", outcome.case.kill.phase)]
        hows = _hows(rows)
        counts = (
            len(rows),
            *(sum(hows[how] for how in column) for column in HOWS),
            hows.total(),
            sum(bool(outcome.wrong) for outcome in rows),
        )
        cells = [str(n).rjust(len(column)) for n, column in zip(counts, COLUMNS, strict=True)]
        if rows:
            lines.append(f"| {phase or 'all':{width}} | {' | '.join(cells)} |")
    return lines


def totals(outcomes: Sequence[Outcome], seed: int, seconds: float) -> list[str]:
    """What the whole night comes to, and how to see its red cases again."""
    dags = Counter(outcome.dags for outcome in outcomes)
    at_kill = Counter(outcome.dag_at_kill for outcome in outcomes)
    thens = Counter(outcome.case.then for outcome in outcomes)
    red = [outcome for outcome in outcomes if outcome.wrong]
    return [
        (
            f"seed {seed}: {len(outcomes)} cases, {sum(o.runs for o in outcomes)} runs, "
            f"{sum(o.kills for o in outcomes)} of them killed, "
            f"{sum(o.servers_killed for o in outcomes)} Prefect servers killed"
        ),
        f"run again: {_told(thens)}; twice killed {sum(o.kills > 1 for o in outcomes)}",
        f"DAG at the first kill: {_told(at_kill)}",
        f"POSTs {sum(o.posts for o in outcomes)}, carried out "
        f"{sum(o.posts_carried_out for o in outcomes)}; DAGs per case: "
        + ", ".join(f"{count} in {cases} cases" for count, cases in sorted(dags.items())),
        f"asked for: {_told(Counter(o.case.operation.name for o in outcomes))}",
        f"{len(red)} red; {seconds:.0f} s",
        *(_red(outcome) for outcome in red),
    ]


def _hows(outcomes: Sequence[Outcome]) -> Counter[str]:
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total += outcome.hows
    return total


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counts.most_common())


def _say(outcome: Outcome, done: int, of: int) -> None:
    case = outcome.case
    server = f", server killed {case.server} it" if case.server else ""
    twice = f", again at {case.second.phase}" if case.second else ""
    how = _told(outcome.hows) or "not verified"
    typer.echo(
        f"{done:3}/{of} case {case.number}, {case.operation.name}: "
        f"killed at {case.kill.phase} (DAG {outcome.dag_at_kill}){twice}, {case.then}{server}: "
        f"{how}, {outcome.dags} DAG, {outcome.seconds:.1f} s"
    )
    if outcome.wrong:
        typer.echo(_red(outcome))


def _red(outcome: Outcome) -> str:
    case = outcome.case
    again = f"python -m tests.chaos.kills --seed {case.seed} --only {case.number}"
    if case.operation.kind != "add":
        again += f" --operation {case.operation.kind}"
    return f"RED case {case.number}: {'; '.join(outcome.wrong)}; again: {again}"


def counted(text: str) -> int:
    """A night without cases would be green and say nothing."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.kills", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    how_many = f"how many, {CASES} if left out"
    parser.add_argument("--cases", type=counted, default=CASES, metavar="N", help=how_many)
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="the same seed is the same night"
    )
    parser.add_argument("--only", type=counted, metavar="K", help="only case K of the seed")
    parser.add_argument("--operation", choices=KINDS, default="add", help="what is asked for")
    parser.add_argument("--break-guard", action="store_true", help="nobody looks before a POST")
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    night = main(
        {asked.operation: asked.cases},
        asked.seed,
        only=asked.only,
        break_guard=asked.break_guard,
    )
    try:
        sys.exit(asyncio.run(night))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit("ended early; nothing is left running")
