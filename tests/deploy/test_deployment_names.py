"""Tests of the deployments' names: told apart in Prefect's list, and found by whoever asks."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from obscale.deployments.trigger import FURTHER
from obscale.flows.batch import batch
from obscale.flows.batch_worker import batch_part
from obscale.flows.plan import plan
from obscale.flows.recover import recover
from obscale.flows.remove import remove
from obscale.flows.replace import replace
from obscale.flows.scale_out import scale_out
from obscale.flows.use import use
from obscale.flows.verify import verify
from obscale.flows.watch import watch
from obscale.tasks.dispatch.start import USUAL_NAMES, names_beside
from obscale.tasks.runtime.forms import RECOVER, USUAL, VERIFY, WATCH, Mend, names_of

FLOWS = {
    f"obscale.{each.fn.__module__.removeprefix('obscale.')}:{each.fn.__name__}": each.name
    for each in (scale_out, plan, batch, batch_part, verify, watch, recover, remove, replace, use)
}
FILE = Path(__file__).parents[2] / "deployments" / "prefect.yaml"
NAMES = {
    each["name"]: FLOWS[each["entrypoint"]]
    for each in yaml.safe_load(FILE.read_text(encoding="utf-8"))["deployments"]
}


def test_each_name_is_there_once_and_begins_with_its_flow():
    """Prefect's list shows the name without the flow."""
    listed = yaml.safe_load(FILE.read_text(encoding="utf-8"))["deployments"]

    assert Counter(each["name"] for each in listed) == Counter(list(NAMES))
    assert [name for name, flow in NAMES.items() if not name.startswith(f"{flow}-")] == []


def test_what_asks_for_a_deployment_by_default_asks_for_one_of_these():
    """The trigger examples, and a batch that hands its clusters over."""
    known = {f"{flow}/{name}" for name, flow in NAMES.items()}

    assert FURTHER[0] in known
    assert USUAL_NAMES[0] in NAMES


@pytest.mark.parametrize("flow", [RECOVER, VERIFY, WATCH])
def test_what_mends_a_run_is_one_of_these(flow):
    """A run of a deployment links the one that is called as it is itself, else the usual ones."""
    known = {f"{flow}/{name}" for name, flow in NAMES.items()}
    mend = Mend(flow=flow, does="", parameters={})

    assert names_of(mend)[0] in known
    assert names_of(mend, "served")[0] == f"{flow}/{flow}-served"
    assert names_of(mend, "night") == [f"{flow}/{flow}-{end}" for end in ("night", *USUAL)]


@pytest.mark.parametrize(
    ("own", "first"),
    [
        ("batch-workers", "batch-part-workers"),
        ("batch-served", "batch-part-served"),
        ("batch-night", "batch-part-night"),
    ],
)
def test_a_batch_looks_first_for_the_deployment_beside_its_own(own, first):
    """Then for one of its own name, as a team may have called both alike."""
    assert names_beside(own) == [first, own]
    assert names_beside("night") == ["batch-part-night", "night"]
