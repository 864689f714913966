"""`make bench`: which parts are measured, how much, and where does the table go?"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import expanding, holding, running, signing
from benchmarks.figures import Row, render
from benchmarks.machine import machine_lines
from benchmarks.scale import SMALLEST, Scale

Measure = Callable[[Scale], Coroutine[None, None, list[Row]]]
PARTS: Final[dict[str, Measure]] = {
    "a": signing.measure,
    "b": expanding.measure,
    "c": running.measure,
    "d": expanding.measure,
    "f": holding.measure,
}
"""By letter; b and d come out of the same expansions. A batch part, e, has its place here."""


def main() -> int:
    """Measure and print; gives the exit code."""
    asked = _asked()
    scale = SMALLEST if asked.smallest else Scale()
    if asked.repeat is not None:
        scale = replace(
            scale, rounds=asked.repeat, waves=asked.repeat, runs=scale.runs * asked.repeat
        )
    parts = tuple(asked.parts) or tuple(PARTS)
    head = machine_lines()
    rows: list[Row] = []
    for measure in dict.fromkeys(PARTS[part] for part in parts):
        began = time.monotonic()
        name = measure.__module__.rpartition(".")[2]
        _say(f"{name} ...")
        rows += asyncio.run(measure(scale))
        _say(f"{name}: {time.monotonic() - began:.0f} s")
    rows.sort(key=lambda row: row.part)
    page = "\n".join((*(f"- {line}" for line in (*head, *_pace(scale))), "", render(rows), ""))
    if asked.out:
        asked.out.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
    return 0


def _pace(scale: Scale) -> list[str]:
    sizes = f"{scale.rounds} rounds of a and f, {scale.waves} waves of {scale.dags} DAGs of b and d"
    return [
        f"one sandbox per part, its own process, {scale.speed:g} × real pace, all contenders in it",
        f"{sizes}, {scale.runs} runs of c; medians, in brackets lowest to highest",
    ]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="letters; none means all")
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds, waves, and tens of runs")
    parser.add_argument("--smallest", action="store_true", help="prove that it runs; no figures")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the page there as well")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
