"""Tests of approval in the browser: a person decides by name and with a reason."""

import pytest
from playwright.sync_api import expect

from tests.e2e.asked import (
    LONGEST,
    QUICK,
    SAMPLE,
    artifacts,
    ended,
    ended_as,
    field_below,
    look_in_the_newer_ui,
    start_run,
)


@pytest.fixture
def asking(deployed, clusters, connect, page):
    """Give a function that starts a run which asks, and opens what it asks in the browser."""

    def ask(connection: str):
        opened = clusters(speed=15)
        connect(connection, opened)
        spare = opened.ready["spares"][0]
        run_id = start_run(
            deployed,
            "scale-out/scale-out-workers",
            {
                "cluster": connection,
                "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
                "zone": "zone2",
                "obConfigs": SAMPLE,
                "approval": "ask",
                "time_limits": QUICK,
            },
        )
        page.goto(f"{deployed.url.removesuffix('/api')}/runs/flow-run/{run_id}")
        page.get_by_role("button", name="Resume").first.click(timeout=LONGEST)
        return opened, run_id, page.locator(".p-modal__card")

    return ask


def answer(page, question, decision: str, reason: str) -> None:
    """Fill in the form and send it."""
    field_below(question, "Your name").fill("Ana Ruiz")
    field_below(question, "Why").fill(reason)
    question.locator(".p-select-button__icon").first.click()
    page.locator(".p-select-option", has_text=decision).click()
    question.get_by_role("button", name="Submit").click()
    expect(question).to_be_hidden(timeout=LONGEST)


@pytest.mark.usefixtures("workers")
def test_approved_in_the_browser_the_run_goes_on_to_a_verified_node(
    asking, deployed, page, pictures
):
    """The question shows verdict, findings and plan; who, when and why stand in the report."""
    opened, run_id, question = asking("approved-east")

    for words in ("ready with", "zone-balance", "memory_limit", "zone2: 1 → 2"):
        expect(question.get_by_text(words).first).to_be_visible(timeout=LONGEST)
    assert opened.world.count_dags("Cluster scale out") == 0
    question.screenshot(path=pictures / "approval.png")
    answer(page, question, "approve", "CHG-4711")
    run = ended(deployed, run_id)

    assert run["state"]["type"] == "COMPLETED", run["state"]
    report = next(row for key, row in artifacts(deployed, run_id).items() if "report" in key)
    for words in ("Ana Ruiz", "CHG-4711", "approve", run["start_time"][:10]):
        assert words in report["data"]
    assert opened.world.count_dags("Cluster scale out") == 1


@pytest.mark.usefixtures("workers")
def test_rejected_in_the_browser_nothing_is_posted_and_the_state_says_so(
    asking, deployed, page, pictures
):
    """State Rejected, with the person's words; no agent was sent anything that writes."""
    opened, run_id, question = asking("rejected-east")
    ui = deployed.url.removesuffix("/api")
    look_in_the_newer_ui(page, f"{ui}/v2/runs/flow-run/{run_id}", pictures / "approval-v2.png")
    page.goto(f"{ui}/runs/flow-run/{run_id}")
    page.get_by_role("button", name="Resume").first.click(timeout=LONGEST)

    answer(page, question, "reject", "month-end closing")
    run = ended_as(deployed, run_id, "Rejected")

    assert "Ana Ruiz rejected" in run["state"]["message"]
    assert [r.target for r in opened.world.requests if r.method == "POST"] == []
    page.goto(f"{ui}/runs/flow-run/{run_id}")
    expect(page.get_by_text("Rejected", exact=True).first).to_be_visible(timeout=LONGEST)
    expect(page.get_by_text("month-end closing").first).to_be_visible(timeout=LONGEST)
    page.screenshot(path=pictures / "rejected.png")
    report = next(row for key, row in artifacts(deployed, run_id).items() if "report" in key)
    for words in ("Ana Ruiz", "month-end closing", "reject"):
        assert words in report["data"]
