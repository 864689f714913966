"""Tests that each row of the tables of ways to start a run is played."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAYS, E2E = "tests/deploy/test_ways.py::test_", "tests/e2e/test_runs.py::test_"
OF_THE_DEPLOYMENTS = {
    "1. `python -m obscale.deployments.serve`": WAYS
    + "one_served_process_runs_what_the_api_asks_for",
    "2. a work pool: `prefect.yaml`": WAYS + "a_worker_runs_a_scale_out_and_the_same",
    "3. containers: `container/`": E2E + "an_operator_fills_in_the_form",
    "4. the API: `trigger.py`, `trigger.sh`": WAYS + "curl_starts_a_plan_that_touches_nothing",
}
"""Row → the test that carries it out; the containers' commands are those of all of tests/e2e."""
OFFERED = {
    "`scale-out/scale-out-workers`": WAYS + "a_worker_runs_a_scale_out_and_the_same",
    "`batch/batch-workers`": WAYS + "a_batch_is_started_like_any_other_run",
    "`batch-part/batch-part-workers`": WAYS
    + "a_dispatched_batch_and_its_parts_are_runs_of_one_worker",
    "`plan/plan-workers`": WAYS + "curl_starts_a_plan_that_touches_nothing",
    "`verify/verify-workers`": WAYS + "a_held_run_is_mended_by_the_deployment",
    "`watch/watch-workers`": WAYS + "a_held_run_is_mended_by_the_deployment",
    "`recover/recover-workers`": WAYS + "a_held_run_is_mended_by_the_deployment",
    "`remove/remove-workers`": WAYS + "a_growth_is_taken_back_by_a_worker",
    "`replace/replace-workers`": WAYS + "a_dead_node_is_replaced_by_a_worker",
    "`use/use-workers`": WAYS + "a_tenants_units_are_proved_by_a_run_of_use",
    "`plan/plan-weekly-example`": WAYS + "deployments_say_what_they_are",
}


def first_cells(page: str, header: str) -> set[str]:
    """What stands in the first column of the table below this header."""
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = text.split(header, 1)[1].split("\n\n", 1)[0]
    return set(re.findall(r"^\| (.+?) \|", rows, flags=re.MULTILINE)) - {"---"}


@pytest.fixture(scope="module")
def collected():
    """The ids of the tests that may be named here."""
    files = {node.partition("::")[0] for node in (OF_THE_DEPLOYMENTS | OFFERED).values()}
    # Read, not collected: what a test imports may be installed by `make e2e` alone.
    return [
        f"{file}::{name}"
        for file in files
        for name in re.findall(
            r"^(?:async )?def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE
        )
    ]


def test_the_rows_are_those_named_here():
    """A way that is written down without a test turns this red, and the other way round."""
    assert first_cells("docs/deployments.md", "| way | for whom |") == set(OF_THE_DEPLOYMENTS)
    assert first_cells("docs/deployments.md", "| deployment | does |") == set(OFFERED)


@pytest.mark.parametrize("test", sorted({*OF_THE_DEPLOYMENTS.values(), *OFFERED.values()}))
def test_the_test_of_a_row_is_there(collected, test):
    """Renamed or removed, it turns this red."""
    assert [node for node in collected if node.startswith(test)], test


PAGES = ["README.md", "docs/events.md", "docs/screens.md"]
LARGEST_BYTES = 100_000


@pytest.mark.parametrize("page", PAGES)
def test_each_picture_of_a_page_is_there_and_small(page):
    """Made of what `make e2e` saw, by `make pictures`."""
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    sizes = {name: ((ROOT / page).parent / name).stat().st_size for name in shown}

    assert sizes
    assert [name for name, size in sizes.items() if size >= LARGEST_BYTES] == []
