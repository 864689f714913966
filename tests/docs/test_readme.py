"""Tests that the README's commands work and print what it shows.

Each fenced `console` block is run as one shell session. Lines after `$ ` are typed; the lines below
are what must come out, compared as doctest does: `...` stands for anything, runs of blanks are one.
"""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
LONGEST_SECONDS = 420
SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ARGS"}
"""From a make that runs these tests the README's own make would take its arguments."""
NOT_RUN = {
    "git clone": "the tests already stand in a clone",
    "make test": "this is it",
    "make check": "run beside the tests",
}


def steps_of(block: str) -> list[tuple[str, str]]:
    """Cut a block into (command, expected output)."""
    steps: list[tuple[str, str]] = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            steps.append((line[2:].strip(), ""))
        else:
            command, wanted = steps[-1]
            steps[-1] = (command, wanted + line)
    return steps


def runnable(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [step for step in steps if not any(step[0].startswith(name) for name in NOT_RUN)]


def test_the_readme_has_blocks_to_run():
    """The README shows at least the demo, a plan, an apply and the exit codes as console blocks."""
    typed = [command for block in BLOCKS for command, _ in steps_of(block)]

    assert any(command == "make demo" for command in typed)
    assert any(command.startswith("obscale plan") for command in typed)
    assert any(command.startswith("obscale apply") for command in typed)


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if runnable(steps_of(b))], ids=lambda b: b.split("\n")[0][2:]
)
def test_a_console_block_of_the_readme_prints_what_it_shows(block, tmp_path):
    """Typing the block gives the output the README shows."""
    steps = runnable(steps_of(block))
    mark = "-- next --"
    script = "\n".join(f"{command}\necho '{mark}'" for command, _ in steps)
    environment = {
        **{k: v for k, v in os.environ.items() if k not in OF_MAKE},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "NO_COLOR": "1",
        "TERM": "dumb",
    }

    done = subprocess.run(
        ["bash", "-c", f"trap 'kill $(jobs -p) 2>/dev/null' EXIT\n{script}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    printed = done.stdout.split(f"{mark}\n")
    checker = doctest.OutputChecker()
    for (command, wanted), got in zip(steps, printed, strict=False):
        assert checker.check_output(wanted or "\n", got or "\n", SAME), (
            f"$ {command}\n--- shown ---\n{wanted}\n--- printed ---\n{got}"
        )
    assert len(printed) == len(steps) + 1, done.stdout
