"""`make bench`: runs the chosen parts of the benchmark and writes their table."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from benchmarks import (
    batches,
    dispatching,
    expanding,
    holding,
    hostile,
    planning,
    running,
    signing,
    silent,
    starting,
    transports,
)
from benchmarks.figures import Row, render
from benchmarks.machine import machine_lines
from benchmarks.scale import SMALLEST, Scale

INTERRUPTED: Final = 130
Measure = Callable[[Scale], Coroutine[None, None, list[Row]]]
PARTS: Final[dict[str, Measure]] = {
    "a": signing.measure,
    "b": expanding.measure,
    "c": running.measure,
    "d": expanding.measure,
    "e": batches.measure,
    "f": holding.measure,
    "g": hostile.measure,
    "h": silent.measure,
    "i": starting.measure,
    "j": transports.measure,
    "k": planning.measure,
    "l": dispatching.measure,
}
"""By letter; b and d come out of the same expansions."""


def main() -> int:
    """Measure and print; gives the exit code."""
    asked = _asked()
    scale = SMALLEST if asked.smallest else Scale()
    if asked.repeat is not None:
        times = asked.repeat
        scale = replace(scale, rounds=times, waves=times, runs=scale.runs * times)
    parts = tuple(asked.parts) or tuple(PARTS)
    head = machine_lines()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    try:
        rows = sorted(_measured(parts, scale), key=lambda row: row.part)
    except KeyboardInterrupt:
        _say("ended; nothing is left running")
        return INTERRUPTED
    page = "\n".join((*(f"- {line}" for line in (*head, *_pace(scale))), "", render(rows), ""))
    if asked.out:
        asked.out.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
    return 0


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    # Not Python's own handler: for that one, asyncio would wait until the contenders are done.
    raise KeyboardInterrupt


def _measured(parts: tuple[str, ...], scale: Scale) -> list[Row]:
    rows: list[Row] = []
    for measure in dict.fromkeys(PARTS[part] for part in parts):
        began = time.monotonic()
        name = measure.__module__.rpartition(".")[2]
        _say(f"{name} ...")
        rows += asyncio.run(measure(scale))
        _say(f"{name}: {time.monotonic() - began:.0f} s")
    return rows


def _pace(scale: Scale) -> list[str]:
    sizes = f"{scale.rounds} rounds of a and f, {scale.waves} waves of {scale.dags} DAGs of b and d"
    return [
        f"one sandbox per part, its own process, {scale.speed:g} × real pace, all contenders in it",
        f"{sizes}, {scale.runs} runs of c; medians, in brackets lowest to highest",
        "batches of e one after the other, each once, in a sandbox of its own",
    ]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("parts", nargs="*", type=_part, help=f"{', '.join(PARTS)}; none means all")
    parser.add_argument("--repeat", type=_count, metavar="N", help="rounds, waves, tens of runs")
    parser.add_argument("--smallest", action="store_true", help="prove that it runs; no figures")
    parser.add_argument(
        "--out", type=_writable, metavar="FILE", help="write the page there as well"
    )
    return parser.parse_args()


def _part(letter: str) -> str:
    if letter not in PARTS:
        raise argparse.ArgumentTypeError(f"no part {letter!r}; there are {', '.join(PARTS)}")
    return letter


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of times")
    return int(text)


def _writable(text: str) -> Path:
    path = Path(text)
    try:
        path.open("a").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from None
    return path


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
