"""Tests that the commands of the README and of the pages work and print what is shown.

All `console` blocks of a page are typed into one shell, one after the other. Lines after `$ ` are
typed; the lines below are what must come out, compared as doctest does: `...` stands for anything,
runs of blanks are one. Pages with the sandbox's own addresses stay in this file, one after another.
"""

import doctest
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from obscale.flows.scale_out import scale_out
from obscale.request.start_options import ObConfigs
from obscale.spec import read_spec

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LONGEST_SECONDS = 1200
LONGEST_README = 140
"""Lines; whatever is more stands in docs/."""
WITH_A_SERVER = {"README.md": "## From Prefect"}
"""From this heading on a Prefect server is started: `make e2e` types that too."""
SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ARGS"}
"""From a make that runs these tests the README's own make would take its arguments."""
WHILE_IT_LASTS = re.compile(
    r"^(?:installing what|make: Nothing to be done|\.\.\. ).*\n", flags=re.MULTILINE
)
"""What make says the first time, and what commands say where the machine is slow."""
NOT_TYPED = {"git clone": "the tests already stand in a clone"}
SCALE_OUT_TAKES = set(inspect.signature(scale_out.fn).parameters)
IN_CHINESE = {"README.md": "README.zh-CN.md", "docs/tutorial.md": "docs/zh/tutorial.md"}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def steps_of(text: str) -> list[tuple[str, str]]:
    """Cut the blocks of a page into (command, expected output)."""
    steps: list[tuple[str, str]] = []
    for block in BLOCK.findall(text):
        for line in block.splitlines(keepends=True):
            if line.startswith("$ "):
                steps.append((line[2:].strip(), ""))
            else:
                command, wanted = steps[-1]
                steps[-1] = (command, wanted + line)
    return [step for step in steps if not any(step[0].startswith(name) for name in NOT_TYPED)]


def type_into_one_shell(text: str, folder: Path) -> None:
    """Type a page's commands; whatever they started ends with the shell."""
    steps = steps_of(text)
    mark = "-- next --"
    script = "\n".join(f"{command}\necho '{mark}' $SECONDS" for command, _ in steps)
    environment = {
        **{k: v for k, v in os.environ.items() if k not in OF_MAKE},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
        "PREFECT_HOME": str(folder / "prefect"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "NO_COLOR": "1",
        "TERM": "dumb",
    }

    done = subprocess.run(
        ["bash", "-c", f"trap 'kill $(jobs -p) 2>/dev/null' EXIT\n{script}"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    printed = re.split(rf"{mark} (\d+)\n", WHILE_IT_LASTS.sub("", done.stdout))
    checker = doctest.OutputChecker()
    for (command, wanted), got, seconds in zip(steps, printed[::2], printed[1::2], strict=False):
        sys.stdout.write(f"{seconds:>4} s  $ {command}\n")
        assert checker.check_output(wanted or "\n", got or "\n", SAME), (
            f"$ {command}\n--- shown ---\n{wanted}\n--- printed ---\n{got}"
        )
    assert len(printed) == 2 * len(steps) + 1, done.stdout


def test_the_readme_is_short():
    """One reads it to the end."""
    assert len(text_of("README.md").splitlines()) <= LONGEST_README
    assert len(text_of("README.zh-CN.md").splitlines()) <= LONGEST_README


def test_the_readme_shows_the_demo_a_plan_an_apply_and_a_run_of_prefect():
    """In this order, in one shell."""
    typed = [command for command, _ in steps_of(text_of("README.md"))]
    wanted = ["make demo", "obscale plan", "obscale apply", "prefect server start"]
    found = [next(at for at, each in enumerate(typed) if each.startswith(w)) for w in wanted]

    assert found == sorted(found)
    assert not any("obscale sandbox" in each for each in typed[found[1] :])


@pytest.mark.parametrize("page", ["README.md", "docs/sandbox.md"])
def test_a_page_prints_what_it_shows(page, tmp_path):
    """Typing it gives the output it shows."""
    type_into_one_shell(text_of(page).partition(WITH_A_SERVER.get(page, "\0"))[0], tmp_path)


@pytest.mark.e2e
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_a_page_prints_what_it_shows_to_its_end(page, tmp_path):
    """From the first line to the last, a Prefect server among them, in one shell."""
    type_into_one_shell(text_of(page), tmp_path)


@pytest.mark.parametrize("page", IN_CHINESE)
def test_the_page_in_chinese_has_the_same_commands_and_answers(page):
    """What was tried in one language holds in the other; comments in blocks may be translated."""
    assert BLOCK.findall(text_of(IN_CHINESE[page])) == BLOCK.findall(text_of(page))


def test_the_request_and_the_parameters_that_are_shown_are_read(tmp_path):
    """What somebody copies from a page, and what the README sends, is a request."""
    shown = re.findall(
        r"^```yaml\n(cluster:.*?)^```$", text_of("docs/first-run.md"), re.MULTILINE | re.DOTALL
    )
    file = tmp_path / "request.yaml"
    parameters = [
        json.loads(text_of("examples/demo-run.json")),
        *map(
            json.loads,
            re.findall(
                r"^```json\n(.*?)^```$", text_of("docs/deployments.md"), re.MULTILINE | re.DOTALL
            ),
        ),
    ]

    assert len(shown) == 1
    file.write_text(shown[0], encoding="utf-8")
    assert read_spec(file).nodes[0].zone == "zone2"
    assert len(parameters) == 2
    for each in parameters:
        assert SCALE_OUT_TAKES.issuperset(each)
        ObConfigs.model_validate(each["obConfigs"])
