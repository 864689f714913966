"""Tests of what an installation brings: one package, and the block in Prefect's catalogue."""

import ast
import email
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from obscale.tasks.runtime.cluster_block import ObshellCluster
from tests.deploy.conftest import LONGEST_SECONDS, ROOT, plain_environment, project

EVERYTHING = """
import importlib, json, pkgutil, sys
from collections import defaultdict
from pathlib import Path

import deployments, flows, tasks
import obscale

for found in pkgutil.walk_packages(obscale.__path__, "obscale."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
files = defaultdict(list)
for name, module in list(sys.modules.items()):
    if name != "__main__" and (file := getattr(module, "__file__", None)):
        files[str(Path(file).resolve())].append(name)
own = [module.WHOSE for module in (flows, tasks, deployments)]
print(json.dumps({"own": own, "files": files}))
"""
BLOCK_TYPES = """
import json
from prefect.plugins import load_prefect_collections
from prefect.blocks.core import Block

print(json.dumps({name: str(found) for name, found in load_prefect_collections().items()}))
print(Block.get_block_class_from_key("obshell-cluster").__module__)
"""


BY_FILE = """
from prefect.flows import load_flow_from_entrypoint
from obscale.flows.scale_out import scale_out

found = load_flow_from_entrypoint("flows/scale_out.py:scale_out")
used, usual = (flow.fn.__globals__["submit"] for flow in (found, scale_out))
print(found.name == scale_out.name, used is usual)
"""


def in_project(bin_folder: Path, folder: Path, program: str) -> str:
    """Run a program in a project that has flows, tasks and deployments of its own."""
    return run_in(project(folder), bin_folder, program, home=folder / "home")


def run_in(folder: Path, bin_folder: Path, program: str, home: Path) -> str:
    """Run a program in a folder; give what it prints."""
    return subprocess.run(
        [bin_folder / "python", "-c", program],
        cwd=folder,
        env=plain_environment() | {"PREFECT_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LONGEST_SECONDS,
        check=True,
    ).stdout


def test_a_wheel_has_one_package_and_is_the_same_from_tree_and_source_distribution(built):
    """Links are followed in both ways: no folder is empty, and none stands beside the package."""
    files = set(zipfile.ZipFile(built.wheel).namelist())
    here = {
        f"obscale/{path.relative_to(ROOT)}"
        for room in ("flows", "tasks", "deployments", "docs")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {name.partition("/")[0].partition("-")[0] for name in files} == {"obscale"}
    assert here <= files
    assert built.wheel.read_bytes() == built.wheel_of_sdist.read_bytes()


def test_a_wheel_leads_to_what_it_works_with(built):
    """What an index shows beside the name."""
    [name] = [
        n for n in zipfile.ZipFile(built.wheel).namelist() if n.endswith("dist-info/METADATA")
    ]
    metadata = email.message_from_bytes(zipfile.ZipFile(built.wheel).read(name))
    urls = dict(str(line).split(", ", 1) for line in metadata.get_all("Project-URL"))

    assert {"obshell", "OceanBase documentation"} <= set(urls)
    assert [url for url in urls.values() if not url.startswith("https://")] == []


NAMED = re.compile(r"\b(?:docs|deployments|examples)/[\w/.-]+\.(?:md|yaml|json|py|sh)\b|\bREADME\b")


def said_to_people() -> Iterator[tuple[str, str]]:
    """Give each file named in a text of the package, and where; comments and docstrings are ours.

    But a command's docstring is its help.
    """
    for room in ("obscale", "flows", "tasks", "deployments"):
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            ours = {
                id(node.value)
                for each in ast.walk(tree)
                if isinstance(each, ast.Module | ast.ClassDef | ast.FunctionDef)
                if not (isinstance(each, ast.FunctionDef) and path.parent.name == "cli")
                for node in each.body
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    for name in () if id(node) in ours else NAMED.findall(node.value):
                        yield name, str(path.relative_to(ROOT))


def test_what_the_program_points_to_is_in_the_wheel(built):
    """A page that a hint, a help text or an error names is there after `pip install`."""
    files = set(zipfile.ZipFile(built.wheel).namelist())
    named = set(said_to_people())

    assert named
    assert [(name, where) for name, where in named if f"obscale/{name}" not in files] == []


def test_every_module_is_found_beside_a_project_s_own_each_file_once(bin_folder, tmp_path):
    """Loaded under two names, a block or an error would not be an instance of its own class."""
    told = json.loads(in_project(bin_folder, tmp_path, EVERYTHING))
    ours = {
        file: names
        for file, names in told["files"].items()
        if any(name.partition(".")[0] == "obscale" for name in names)
    }

    assert told["own"] == [f"{name} of the project" for name in ("flows", "tasks", "deployments")]
    assert len(ours) > 200
    assert not [names for names in ours.values() if len(names) > 1]


def test_a_flow_named_by_its_file_in_a_checkout_runs_the_same_tasks(tmp_path):
    """`flows/scale_out.py:scale_out` works from the root: only the flow itself is loaded anew."""
    told = run_in(ROOT, Path(sys.executable).parent, BY_FILE, home=tmp_path)

    assert told.split() == ["True", "True"]


def test_whatever_loads_prefect_s_collections_knows_the_block(bin_folder, tmp_path):
    """So a worker or a script loads a connection without importing anything of obscale's."""
    collections, module = in_project(bin_folder, tmp_path, BLOCK_TYPES).splitlines()

    assert "cluster_block" in json.loads(collections)["obscale"]
    assert module == ObshellCluster.__module__


def test_what_prefect_s_collections_load_changes_nothing(tmp_path, wheel_bin):
    """In a server, and in runs of others, the block brings itself and nothing of what uses it."""
    program = """
import sys, prefect.main, prefect.blocks.core
import obscale.tasks.runtime.cluster_block
print(sorted(name for name in sys.modules if name.partition(".")[0] == "obscale"))
"""

    assert in_project(wheel_bin, tmp_path, program).split("'")[1::2] == [
        "obscale",
        "obscale.tasks",
        "obscale.tasks.runtime",
        "obscale.tasks.runtime.cluster_block",
    ]


@pytest.mark.e2e
def test_a_server_beside_obscale_offers_the_block_before_any_connect(api):
    """Who searches the catalogue for OceanBase, or for obshell, finds it; the UI looks at names."""
    found = api.get("/block_types/slug/obshell-cluster").raise_for_status().json()
    schemas = {"block_schemas": {"block_type_id": {"any_": [found["id"]]}}}
    [schema] = api.post("/block_schemas/filter", json=schemas).raise_for_status().json()

    assert "OceanBase" in found["name"]
    assert "obshell" in found["name"]
    assert "obscale connect" in found["description"]
    assert found["documentation_url"].startswith("https://")
    assert set(ObshellCluster.model_fields) <= set(schema["fields"]["properties"])
