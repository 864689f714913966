"""Part g: memory and ending of `obscale plan` where every agent is hostile.

Run as a program with the arguments of `obscale`, it is that command, and writes the most memory it
took, in KiB, as the last line of standard error.
"""

import asyncio
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.figures import NOTHING, Row, short
from benchmarks.hostile_agents import FROM_THE_START, SIGNED, hostile
from benchmarks.scale import Scale
from benchmarks.world import crowd, played

MORE_MIB: Final = 100
"""A hostile plan may take so much more than a healthy one."""
ENDPOINTS: Final = 3
AT_ONCE: Final = 2
KIB: Final = 1024
LONGEST_SECONDS: Final = 400
SECRET: Final = "BENCH_ROOT_PASSWORD"  # noqa: S105 - a name, no password
WORDS_OF_AN_ENDING: Final = 90
_PEAK: Final = re.compile(r"VmHWM:\s*(\d+)")


async def measure(scale: Scale) -> list[Row]:
    """Plan with a healthy cluster, then with none but hostile agents.

    The ratio is what the most memory of these is above the healthy plan's, by the hundred MiB that
    are allowed.
    """
    with tempfile.TemporaryDirectory() as folder:
        with played(crowd(1), scale.speed) as stage:
            place = stage.places[0]
            asked = _request(place.endpoints, place.spare_ip, place.spare_port)
            healthy, ending = await _plan(Path(folder, "healthy.json"), asked, place.password)
        rows = [Row("g", "plan, healthy agents: most memory, MiB; ending", _said(healthy, ending))]
        with hostile(ENDPOINTS + 1) as ports:
            turns = asyncio.Semaphore(AT_ONCE)

            async def meet(variant: str, since: str) -> Row:
                endpoints = [f"127.0.0.1:{port}" for port in ports[variant][since][:ENDPOINTS]]
                asked = _request(endpoints, "127.0.0.1", ports[variant][since][ENDPOINTS])
                path = Path(folder, f"{variant} {since}.json")
                async with turns:
                    memory, ending = await _plan(path, asked, "bench-root")
                return Row(
                    part="g",
                    measure=f"plan, hostile {since}: {variant}",
                    ours=_said(memory, ending),
                    theirs=NOTHING,
                    ratio=max(memory - healthy, 0) / MORE_MIB,
                    at_most=1,
                )

            variants = list(ports)[: scale.hostile]
            rows += await asyncio.gather(
                *(
                    meet(variant, since)
                    for variant in variants
                    for since in (FROM_THE_START, SIGNED)
                )
            )
    return rows


def _request(endpoints: list[str] | tuple[str, ...], ip: str, port: int) -> dict[str, object]:
    return {
        "cluster": {"endpoints": list(endpoints), "password": {"env": SECRET}},
        "nodes": [{"agentInfo": {"ip": ip, "port": port}, "zone": "zone2"}],
        "profile": "lab",
    }


async def _plan(path: Path, asked: dict[str, object], password: str) -> tuple[float, str]:
    """Run `obscale plan`; gives the most memory it took, in MiB, and how it ended."""
    await asyncio.to_thread(path.write_text, json.dumps(asked), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.hostile", "plan", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {SECRET: password},
    )
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            page, told = await process.communicate()
    except TimeoutError:
        process.kill()
        return float("inf"), f"none within {LONGEST_SECONDS} s"
    *said, peak = told.decode(errors="replace").split("\n")[:-1]
    # What refuses says so on standard error; the page begins with its verdict.
    words = next(filter(None, (*said, *page.decode(errors="replace").split("\n"))), "")
    return int(peak) / KIB, f"exit {process.returncode}: {words[:WORDS_OF_AN_ENDING]}"


def _said(memory: float, ending: str) -> str:
    return f"{short(memory)}; {ending.replace('|', '/')}"


def _as_command() -> None:
    from obscale.cli.commands import main  # noqa: PLC0415 - the parent measures, and needs none of it

    try:
        main()
    finally:
        # Not getrusage: its figure begins with what the parent held when it forked.
        peak = _PEAK.search(Path("/proc/self/status").read_text(encoding="ascii"))
        sys.stderr.write(f"\n{peak[1] if peak else 0}\n")


if __name__ == "__main__":
    _as_command()
