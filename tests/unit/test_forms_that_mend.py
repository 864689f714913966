"""Tests of which form of Prefect's UI mends how a run ended, and what it holds already."""

import json
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from obscale.recovery.consequences import Choice, Remedy
from obscale.recovery.interrupted import InterruptedState
from obscale.report.page import render_markdown
from obscale.report.report import PrefectForm
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.removal import LeavingNode, Removal
from obscale.request.scale_out import ScaleOut
from obscale.tasks.runtime.forms import filled_in, mend_of
from tests.unit.test_report_page import DIAGNOSIS, report

NODE = NodeSpec(
    agentInfo=AgentInfoSpec(ip="10.0.0.4", port=2886),
    zone="zone2",
    obConfigs={"memory_limit": "16G"},
)
ORDER = ScaleOut(cluster="east", node=NODE)
RETRY = Choice(operator=Remedy.RETRY, safe=True, does="repeats it")
BACK = Choice(operator=Remedy.ROLLBACK, safe=True, does="undoes it", destroys="a directory")


def held(*choices, recommended=Remedy.HAND_OVER):
    """A report of a run that is held, with these choices."""
    found = DIAGNOSIS.model_copy(update={"choices": choices, "recommended": recommended})
    return report("failed", error_kind="dag-failed", diagnosis=found, dag_id=found.dag_id)


def dead(choice):
    """The same choice where it leads nowhere."""
    return choice.model_copy(update={"safe": False, "dead_end": "it leads nowhere"})


@pytest.mark.parametrize(
    ("choices", "recommended", "decision"),
    [
        ((RETRY, BACK), Remedy.HAND_OVER, "retry"),
        ((RETRY, BACK), Remedy.RETRY, "retry"),
        ((RETRY, BACK), Remedy.ROLLBACK, None),
        ((dead(RETRY), BACK), Remedy.ROLLBACK, None),
        ((RETRY.model_copy(update={"safe": False}), BACK), Remedy.HAND_OVER, None),
    ],
)
def test_only_a_safe_retry_is_filled_in(choices, recommended, decision):
    """A rollback, and what may destroy somebody's data, is for a person to choose."""
    mend = mend_of(held(*choices, recommended=recommended), ORDER)

    assert mend.flow == "recover"
    assert mend.parameters.get("decision") == decision
    assert {key: mend.parameters[key] for key in ("cluster", "dag")} == {
        "cluster": "east",
        "dag": "17",
    }
    assert "acknowledge_data_loss" not in mend.parameters


def test_where_every_way_is_a_dead_end_no_form_is_named():
    """Nothing that can be sent puts it right."""
    assert mend_of(held(dead(RETRY), dead(BACK)), ORDER) is None
    assert mend_of(held(), ORDER) is None


def test_other_ends_name_what_only_reads():
    """Not verified: verify with what was asked. Ended before its DAG: watch. Blocked: nothing."""
    left = InterruptedState(target=ORDER.target, was_sent=True, dag_id="17", stands="stage 4/9")
    unproved = mend_of(report("failed", error_kind="verify"), ORDER)
    stalled = mend_of(report("failed", error_kind="dag-stalled", remains=left), ORDER)

    assert unproved.flow == "verify"
    assert unproved.parameters == {"cluster": "east", **NODE.model_dump(exclude_none=True)}
    assert (stalled.flow, stalled.parameters) == ("watch", {"cluster": "east", "dag": "17"})
    assert mend_of(report("blocked", error_kind="blocked"), ORDER) is None
    assert mend_of(report("verified"), ORDER) is None


def test_a_removal_names_the_same_flows_and_decides_nothing():
    """FAILED: recover, with the DAG alone. Ended before its DAG: watch. Not proved: nothing."""
    node = LeavingNode(agentInfo=NODE.agentInfo, zone=NODE.zone)
    order = Removal(cluster="east", zone=NODE.zone, node=node)
    left = InterruptedState(target=ORDER.target, was_sent=True, dag_id="17", stands="stage 3/5")
    only_the_dag = {"cluster": "east", "dag": "17"}

    failed = mend_of(held(RETRY, BACK), order)
    stalled = mend_of(report("failed", error_kind="dag-stalled", remains=left), order)

    assert (failed.flow, failed.parameters) == ("recover", only_the_dag)
    assert (stalled.flow, stalled.parameters) == ("watch", only_the_dag)
    assert mend_of(report("failed", error_kind="verify"), order) is None
    assert mend_of(report("blocked", error_kind="blocked"), order) is None


def test_a_password_is_named_and_never_written():
    """A cluster that is written out goes along with where its password is kept."""
    spec = ClusterSpec(endpoints=("10.0.0.1:2886",), password=SecretName(env="OB_ROOT"))
    node = NODE.model_copy(update={"targetAgentPassword": SecretName(block="agent")})

    mend = mend_of(held(RETRY), ScaleOut(cluster=spec, node=node))

    assert mend.parameters["cluster"] == {
        "endpoints": ["10.0.0.1:2886"],
        "password": {"env": "OB_ROOT"},
    }
    assert mend.parameters["targetAgentPassword"] == {"block": "agent"}


def test_an_address_is_read_alike_by_whoever_decodes_it_once_or_twice():
    """The older UI decodes once more than it was encoded: `%41` in a name would become `A`."""
    asked = {"cluster": 'e%41"st & (co) [x] #1', "dag": "17"}

    url = filled_in("http://prefect/deployments/deployment/1", asked)
    [text] = parse_qs(urlsplit(url).query)["parameters"]

    assert urlsplit(url).path == "/deployments/deployment/1/run"
    assert json.loads(text) == json.loads(unquote(text)) == asked
    assert not set("()[]<> ") & set(url), "it can stand in a Markdown link"


@pytest.mark.parametrize("url", ["http://prefect/x/run?parameters=%7B%7D", ""])
def test_the_page_links_the_form_below_the_commands(url):
    """Where the UI's address is not known, the deployment's name stands alone."""
    form = PrefectForm(deployment="recover/recover-workers", does="retries it", url=url)

    page = render_markdown(held(RETRY).model_copy(update={"in_prefect": form}))

    shown = f"[recover/recover-workers]({url})" if url else "**recover/recover-workers**"
    assert f"Or in Prefect: {shown} retries it." in page
    assert page.index("obscale recover east 17 --retry") < page.index("Or in Prefect")
