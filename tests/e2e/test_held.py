"""Tests that a held run is mended from Prefect's UI: by the form its message links, in both UIs."""

import re

import pytest
from playwright.sync_api import expect

from obscale.sandbox import Fault
from tests.e2e.asked import (
    LONGEST,
    QUICK,
    SAMPLE,
    artifacts,
    ended,
    ended_as,
    field_below,
    start_run,
)


@pytest.mark.usefixtures("workers")
def test_a_held_run_is_carried_to_verified_by_one_click_on_the_form_it_links(
    deployed, page, pictures, clusters, connect
):
    """Cluster, DAG and retry are filled in, in both UIs; Submit retries it to verified."""
    opened = clusters(speed=40)
    opened.world.play(Fault.observer_dies())
    connect("held-east", opened)
    spare = opened.ready["spares"][0]
    asked = {
        "cluster": "held-east",
        "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
        "zone": "zone2",
        "obConfigs": SAMPLE,
        "time_limits": QUICK,
    }
    run = ended_as(deployed, start_run(deployed, "scale-out/scale-out-workers", asked), "Held")
    [link] = re.findall(r"http\S+/run\?parameters=\S+", run["state"]["message"])
    ui = deployed.url.removesuffix("/api")

    assert link.startswith(f"{ui}/deployments/deployment/")
    page.goto(link.replace(ui, f"{ui}/v2", 1))
    expect(page.get_by_text("held-east").first).to_be_visible(timeout=LONGEST)
    page.screenshot(path=pictures / "held-form-v2.png")
    page.goto(link)
    expect(field_below(page, "Cluster")).to_have_value("held-east", timeout=LONGEST)
    expect(field_below(page, "DAG")).to_have_value(re.compile(r"\d+"))
    expect(page.get_by_text("deletes the directories given to it").first).to_be_visible()
    page.screenshot(path=pictures / "held-form.png")
    with page.expect_response(re.compile("create_flow_run")) as created:
        page.get_by_role("button", name="Submit").click()
    mended = ended(deployed, created.value.json()["id"])

    assert mended["state"]["type"] == "COMPLETED", mended["state"]
    assert mended["parameters"]["decision"] == "retry"
    pages = artifacts(deployed, mended["id"])
    report = next(row for key, row in pages.items() if key.startswith("report-"))
    assert "Verified up to CONFORMING" in report["data"]
    posts = [r for r in opened.world.requests if r.target == "/api/v1/ob/scale_out"]
    assert len(posts) == opened.world.count_dags("Cluster scale out") == 1
    left = next(row for key, row in artifacts(deployed, run["id"]).items() if "report" in key)
    page.goto(f"{ui}/artifacts/artifact/{left['id']}")
    expect(page.get_by_role("link", name="recover/recover-workers")).to_have_attribute(
        "href", link, timeout=LONGEST
    )
    page.screenshot(path=pictures / "held-report.png", full_page=True)
