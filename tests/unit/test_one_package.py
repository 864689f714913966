"""Tests that everything is imported below `obscale`, each file under one name."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("flows", "tasks", "deployments")


def imported(path):
    """Names of the modules a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=str(module)):
                yield module


def python(*words):
    """Run this Python in the checkout's root, where the folders themselves can be seen."""
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_nothing_is_imported_beside_the_package():
    """Neither the product nor its tests say `tasks` where they mean `obscale.tasks`."""
    files = [
        path
        for top in ("benchmarks", "obscale", "tests", *ROOMS)
        for path in (ROOT / top).rglob("*.py")
    ]
    wrong = {
        str(path.relative_to(ROOT))
        for path in files
        if any(name.split(".")[0] in ROOMS for name in imported(path))
    }

    assert len(files) > 400
    assert not wrong


def test_flows_define_no_classes():
    """Prefect may load a flow by its file, under another name: a class in it would be two."""
    files = sorted((ROOT / "flows").glob("*.py"))
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in files}

    assert len(files) > 3
    assert not [
        f"{name}: {node.name}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_the_old_name_says_what_to_write(room):
    """In a checkout the folder can be seen by its own name: it is refused, not loaded again."""
    done = python("-c", f"import {room}")

    assert done.returncode == 1
    assert f"obscale.{room}" in done.stderr.splitlines()[-1]


def test_the_old_command_ends_in_one_line():
    """Who types what older pages showed reads the new name, without a traceback."""
    done = python("-m", "deployments.where")

    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert "obscale.deployments" in line


def test_the_folder_of_the_files_is_the_one_in_the_checkout():
    """The link is followed, so that what is printed is where people edit."""
    done = python("-m", "obscale.deployments.where")

    assert done.stdout.strip() == str(ROOT / "deployments")
