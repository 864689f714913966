"""Tests of the one text on cleaning a host by hand."""

import ast
import re
from html import unescape
from pathlib import Path

import pytest

from obscale.agent.models import AgentInfo, Identity, ListedAgent, Zone
from obscale.cleaning import (
    CLEAN_BY_HAND,
    NOT_WHILE_LISTED,
    clean_by_hand,
    steps_after_removal,
    way_out_of,
)
from obscale.language.translations import translations_of
from obscale.recovery.causes import CAUSES
from obscale.recovery.consequences import Remedy
from obscale.recovery.diagnosis import diagnose
from tests.unit.test_rules_diagnosis import TABLE, TARGET

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for room in ("obscale", "tasks", "flows", "deployments")
    for path in (ROOT / room).rglob("*.py")
    # The simulator advises nobody.
    if "sandbox" not in path.parts
)
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("deployments/*.md")])
HALF_AN_ADVICE = re.compile(
    r"\.meta\b(?!_)|\bwip(?:e|es|ed|ing)\b|clean(?:s|ing)? (?:its|the) home"
)
"""Words with which somebody is sent to clean a host."""
CLEANS = [row for row in TABLE if CLEAN_BY_HAND in diagnose(row[1]).choices[-1].does.replace(
    "/home/admin/oceanbase", "<home>")]  # fmt: skip


def test_the_advice_is_whole_and_in_its_order():
    """What is left out here leaves an agent that never opens its port."""
    told = clean_by_hand("/home/admin/ob7")

    steps = (
        "stop obshell",
        "kill the observer",
        "remove /home/admin/ob7/store and what it",
        "link to",
        "/home/admin/ob7/log",
        "/home/admin/ob7/etc/observer.config.bin*",
        "/home/admin/ob7/.meta*",
        "start obshell",
    )
    assert [told.index(step) for step in steps] == sorted(told.index(step) for step in steps)
    assert told.startswith("only if no cluster lists this node")
    assert "deletes all data, redo logs, logs and settings" in told


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_text_of_the_program_sends_somebody_to_clean(path):
    """Whoever names `.meta`, or says wipe, says the whole advice; a shorter one strands a host."""
    texts = [
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]

    if path.name != "cleaning.py":
        assert [text for text in texts if HALF_AN_ADVICE.search(text)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_names_half_of_what_has_to_be_removed(path):
    """In the pages the advice stands word for word, in Chinese pages in the catalogue's words."""
    known = translations_of("zh")
    advice = known.text(CLEAN_BY_HAND) if known and path.parent.name == "zh" else CLEAN_BY_HAND
    for line in path.read_text(encoding="utf-8").splitlines():
        if HALF_AN_ADVICE.search(line):
            assert advice in unescape(line).replace("\\*", "*"), line


def test_the_pages_and_hints_give_the_advice():
    """Where somebody needs it: a target that was scaled in, and the causes that end with it."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    (row,) = [line for line in page.splitlines() if '<a id="scaling-in">' in line]
    assert CLEAN_BY_HAND in row
    gone = AgentInfo.model_validate({"ip": "10.0.0.4", "port": 2886, "identity": "SCALING IN"})
    assert CLEAN_BY_HAND in way_out_of(gone)
    assert clean_by_hand("/ob") in way_out_of(gone.model_copy(update={"home_path": "/ob"}))
    member = gone.model_copy(update={"identity": Identity.CLUSTER_AGENT})
    assert "observer.config.bin" not in way_out_of(member)
    assert {cause.id for cause in CAUSES if CLEAN_BY_HAND in cause.by_hand} == {
        "hollow-success",
        "target-stuck",
        "undone-member",
    }


@pytest.mark.parametrize("row", CLEANS, ids=lambda row: row[0])
@pytest.mark.parametrize("listed_as", ["agent", "server"])
def test_a_node_the_cluster_lists_is_not_to_be_cleaned(row, listed_as):
    """Server or row are there all the same, and may hold what is needed."""
    seen = dict(vars(row[1]))
    if listed_as == "agent":
        ip, port = TARGET.split(":")
        seen["members"] = (ListedAgent(ip=ip, port=int(port), zone="zone2"),)
    else:
        server = {"ip": "10.0.0.4", "svr_port": 2882, "obshell_port": 2886}
        seen["zones"] = (Zone.model_validate({"name": "zone2", "servers": [server]}),)

    does = diagnose(type(row[1])(**seen)).choice(Remedy.HAND_OVER).does

    assert NOT_WHILE_LISTED in does
    assert "observer.config.bin" not in does


def test_each_cause_that_advises_it_is_among_those_cases():
    """The list above is not empty by accident."""
    assert {row[0] for row in CLEANS} == {"hollow-success", "target-stuck", "undone-member"}


HOME = "/home/admin/ob4"


def steps(home=HOME, **paths):
    return steps_after_removal(home, ip="10.0.0.4", port=2886, **paths)


def test_a_removed_host_is_cleaned_in_this_order():
    """Real paths, each once, and the settings without which obshell would start an orphan."""
    told = steps(data_dir="/data/ob4", redo_dir="/redo/ob 4", log_dir=f"{HOME}/log")

    assert told == (
        f"{HOME}/bin/obshell admin stop",
        f"! pgrep -af {HOME}/bin/observer",
        f"find {HOME}/store -type l -exec readlink -f {{}} +",
        f"rm -rf -- {HOME}/store {HOME}/log /data/ob4 '/redo/ob 4'",
        f"rm -rf -- {HOME}/etc/observer.config.bin* {HOME}/.meta*",
        f"{HOME}/bin/obshell admin start --ip 10.0.0.4 -P 2886",
    )


def test_what_lies_inside_of_another_is_named_once():
    """The redo log below the store goes with it."""
    told = steps(data_dir=f"{HOME}/store", redo_dir=f"{HOME}/store/clog")

    assert f"rm -rf -- {HOME}/store {HOME}/log" in told


@pytest.mark.parametrize(
    "path",
    [
        *(
            "store",
            "/",
            "/data",
            "//data",
            "/data/../home",
            "/data/./x",
            "/a/b\nreboot",
            "/a/\x1b[2J",
        ),
        *("~/store", "$HOME/store", HOME, "/home/admin", "/home/admin/"),
    ],
)
def test_a_path_that_can_be_no_data_directory_stands_in_no_command(path):
    """An agent's word is nothing to delete by: not whole, of the root's, or around its own home."""
    told = steps(data_dir=path)

    assert told[0].startswith("# its data directory was told as ")
    assert told[1:] == steps()
    assert "\n" not in "".join(told)
    assert "\x1b" not in "".join(told)


@pytest.mark.parametrize("home", ["", "relative", "/", "/home/../root/x"])
def test_without_a_home_no_command_can_be_run_as_it_stands(home):
    """A shell refuses the mark in its place."""
    told = steps(home, data_dir="/data/ob4")

    assert told[0] == "# put its home in the place of <home>"
    assert told[-1].startswith("<home>/bin/obshell admin start")
    assert home in {"", "/"} or home not in "".join(told)


def test_a_name_in_a_path_is_no_command():
    """Blanks, quotes and semicolons stay inside of the word."""
    told = steps("/home/ad min/o'b", data_dir="/data/$(reboot); x")

    assert told[0] == """'/home/ad min/o'"'"'b/bin/obshell' admin stop"""
    assert "'/data/$(reboot); x'" in told[3]
    assert told[4].endswith("""'/home/ad min/o'"'"'b/.meta'*""")
