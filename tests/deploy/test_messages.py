"""Tests of the messages about runs: what they say, and what a hostile name cannot make them say."""

import json
from types import SimpleNamespace

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.server.events.actions import SendNotification
from prefect.server.utilities.user_templates import (
    register_user_template_filters,
    render_user_template_sync,
)

from obscale.deployments.automations import NEEDS_A_PERSON, _told
from obscale.deployments.messages import CHANNELS, SUBJECT, TAGS_SHOWN_ONLY, fault_of, tell

RUN_ID = "00000000-0000-4000-8000-000000000001"
RUN = "http://prefect/runs/flow-run/1"
FORM = "http://prefect/deployments/deployment/2/run?parameters=%7B%7D"
HELD = {
    "cluster": "prod-east",
    "target": "10.0.0.4:2886",
    "zone": "zone2",
    "dag": "11",
    "stage": 5,
    "of": 9,
    "title": "the observer died at its start",
    "cause": "observer-died",
    "error": "DAG 11 failed. Next: obscale recover prod-east 11",
    "next": "HAND_OVER: look first. obscale recover prod-east 11 asks which",
    "deployment": "recover/recover-workers",
    "form": FORM,
}
HOSTILE = 'z"1\\ <!channel> <at user_id="all"></at> {{ event }} {{address}} {% x %} @all'
ADDRESS = "https://chat.example/hook?token=canary-7c1e"


def written(event, payload):
    """Give subject and body of an event as Prefect's server writes them."""
    [action] = tell("slack", RUN_ID, _told(*NEEDS_A_PERSON)).actions
    context = {
        "event": SimpleNamespace(event=f"obscale.scale-out.{event}", payload=payload),
        "flow_run": object(),
    }
    checked = SendNotification(block_document_id=RUN_ID, subject=action.subject, body=action.body)
    # After the check, which registers Prefect's own: that one needs a server's settings.
    register_user_template_filters({"ui_url": lambda _run: RUN})
    return tuple(
        render_user_template_sync(text, context) for text in (checked.subject, checked.body)
    )


def test_a_held_run_is_told_with_verdict_next_step_and_links():
    """Verdict and next command lead; cluster, node, DAG and both links follow."""
    subject, body = written("held", HELD)

    assert subject == "obscale: 10.0.0.4:2886 of prod-east: held, its DAG failed"
    assert body.splitlines() == [
        "DAG 11 failed at stage 5 of 9: the observer died at its start [observer-died].",
        "It keeps the cluster's lock until it is retried to its end, or rolled back.",
        "Next: HAND_OVER: look first. obscale recover prod-east 11 asks which",
        f"In Prefect: recover/recover-workers {FORM}",
        "Cluster prod-east, node 10.0.0.4:2886, zone zone2, DAG 11",
        f"Run: {RUN}",
    ]


def test_what_an_event_does_not_have_leaves_no_hole():
    """A failure before any DAG, and a run that asks."""
    place = {key: HELD[key] for key in ("cluster", "target", "zone")}

    _, failed = written(
        "failed", place | {"error": "nobody answers. Next: look", "next": "look", "dag": ""}
    )
    subject, asks = written(
        "asking", place | {"waits_for": "approval", "choices": ["approve", "reject"]}
    )

    last = ["Cluster prod-east, node 10.0.0.4:2886, zone zone2", f"Run: {RUN}"]
    assert failed.splitlines() == ["nobody answers", "Next: look", *last]
    assert subject.endswith(": waits for an answer")
    assert asks.splitlines() == [
        "Paused until somebody answers: approval, approve or reject.",
        "Next: Resume, on the page of the run.",
        *last,
    ]


@pytest.mark.parametrize("channel", ["slack", "dingtalk", "feishu"])
def test_a_hostile_name_stays_a_name_in_every_body(channel):
    """Quotes break no JSON, nothing in it is a template or a call to all, no address comes in."""
    subject, body = written("held", HELD | {"zone": HOSTILE, "cluster": HOSTILE})
    block = CHANNELS[channel].block(ADDRESS)

    assert isinstance(block, CustomWebhookNotificationBlock)
    asked = block._build_request_args(body, subject)
    sent = json.loads(json.dumps(asked["json"]))
    texts = [value for value in flat(sent) if value.startswith("obscale")]

    assert asked["url"] == ADDRESS
    assert texts == [f"{subject}\n{body}"]
    shown = HOSTILE.replace("<", "‹").replace(">", "›")
    assert f"Cluster {shown}, node 10.0.0.4:2886, zone {shown}, DAG 11" in body
    assert "<" not in subject + body
    assert "canary-7c1e" not in json.dumps(sent)


def flat(found):
    """All texts in a JSON."""
    if isinstance(found, dict):
        return [text for value in found.values() for text in flat(value)]
    return [found]


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("channel", CHANNELS)
def test_an_address_stands_nowhere_where_it_is_shown(channel):
    """Prefect masks what is a secret: neither a field of the block nor its repr has it."""
    address = ADDRESS.replace("https", "mailtos") if channel == "email" else ADDRESS
    block = CHANNELS[channel].block(address)

    assert "canary-7c1e" not in repr(block) + block.model_dump_json()


@pytest.mark.parametrize(
    ("channel", "address", "is_fine"),
    [
        ("slack", "https://hooks.slack.com/services/T/B/x", True),
        ("slack", "hooks.slack.com/services/T/B/x", False),
        ("email", "mailtos://u:canary@smtp.example.org?to=a@example.org", True),
        ("email", "smtp://u:canary@smtp.example.org", False),
    ],
)
def test_an_address_of_another_kind_is_refused_without_being_repeated(channel, address, is_fine):
    """One line that names the option and the form."""
    fault = fault_of(channel, address)

    assert (fault == "") is is_fine
    assert "canary" not in fault
    assert is_fine or fault.startswith(f"--{channel}: is no address of the kind ")


def test_the_subject_begins_with_the_keyword_of_robots():
    """DingTalk and Feishu take only texts with a keyword, where a team has set one."""
    assert SUBJECT.startswith("obscale: ")
    assert "{{ " not in TAGS_SHOWN_ONLY.format("")
