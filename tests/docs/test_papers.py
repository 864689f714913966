"""Tests that hooks, workflow and papers name what exists, and that versions and dates agree."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from obscale import __version__

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
VERBS = set(re.findall(r"^([a-z0-9-]+):.*##", MAKEFILE, flags=re.MULTILINE))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
STEPS = WORKFLOW["jobs"]["verbs"]["steps"]
HOOKS = [
    hook
    for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repo["hooks"]
]
DATED = re.compile(rf"^## {re.escape(__version__)} - (\d{{4}}-\d\d-\d\d)$", re.MULTILINE)


def verbs_of(commands: list[str]) -> list[list[str]]:
    """Give the words of each `make`, verbs and arguments."""
    return sorted(shlex.split(line)[1:] for line in commands if line.startswith("make "))


def test_the_workflow_runs_what_ci_runs():
    """The same verbs with the same arguments, each of them the Makefile's."""
    here = verbs_of((ROOT / ".ci/run").read_text(encoding="utf-8").splitlines())
    there = verbs_of(WORKFLOW["jobs"]["verbs"]["strategy"]["matrix"]["verbs"])

    assert sorted(word for words in there for word in words) == sorted(
        word for words in here for word in words
    )
    assert {word for words in there for word in words if "=" not in word} <= VERBS


def test_the_workflow_uses_actions_by_exact_version():
    """A moving tag is somebody else's decision."""
    used = [step["uses"] for step in STEPS if "uses" in step]

    assert used
    assert [each for each in used if not re.fullmatch(r"[\w/-]+@v\d+\.\d+\.\d+", each)] == []


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_is_a_program_of_the_virtual_environment(hook):
    """So nothing is fetched; files it names are there, and what it looks at too."""
    program, *words = shlex.split(hook["entry"])
    tracked = [str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")]
    tracked += [str(path.relative_to(ROOT)) for path in (ROOT / "obscale").rglob("*.py")]

    assert hook["language"] == "system"
    assert program in {".venv/bin/ruff", ".venv/bin/python"}
    assert [
        word for word in words if word.startswith("tests/") and not (ROOT / word).is_file()
    ] == []
    if pattern := hook.get("files"):
        assert any(re.search(pattern, name) for name in tracked)


def test_the_release_notes_have_version_date_and_a_way_to_upgrade():
    """The same version and day as the changelog, and as the package says of itself."""
    [day] = DATED.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    notes = (ROOT / f"docs/release-notes-{__version__}.md").read_text(encoding="utf-8")

    assert notes.startswith(f"# obscale {__version__}, {day}\n")
    assert "\n## Upgrade\n" in notes


def test_the_security_policy_says_how_to_report_and_which_versions_are_mended():
    """Somebody who found something reads no further than that."""
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    minor = __version__.rpartition(".")[0]

    assert "\n## Report a vulnerability\n" in page
    assert f"\n| {minor} | yes |\n" in page
