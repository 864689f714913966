"""Tests of runs from form, schedule and API, each verified and seen in the UI."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.e2e.asked import (
    LONGEST,
    LONGEST_SECONDS,
    QUICK,
    SAMPLE,
    artifacts,
    deployment,
    ended,
    field_below,
)
from tests.e2e.backing import wait_until

UPPER_HALF = {"x": 0, "y": 0, "width": 1280, "height": 640}
"""Enough to see what it is; a picture of a page in docs/ stays small."""


@pytest.mark.usefixtures("workers")
def test_an_operator_fills_in_the_form_and_watches_the_run_to_its_report(
    deployed, page, pictures, clusters, connect
):
    """From an empty form to a verified node, with nothing but the browser."""
    opened = clusters(speed=4)
    connect("form-east", opened)
    spare = opened.ready["spares"][0]
    ui = deployed.url.removesuffix("/api")
    offered = deployment(deployed, "scale-out/scale-out-workers")
    page.goto(f"{ui}/deployments/deployment/{offered['id']}/run")
    written = {"Cluster": "form-east", "IP address": spare["ip"], "Zone": "zone2"} | SAMPLE
    for label, value in written.items():
        field_below(page, label).fill(value)
    field_below(page, "Port", "input").fill(str(spare["port"]))
    field_below(page, "Steady time (seconds)", "input").fill("2")
    field_below(page, "Cluster").scroll_into_view_if_needed()
    page.screenshot(path=pictures / "form.png")
    with page.expect_response(re.compile("create_flow_run")) as created:
        page.get_by_role("button", name="Submit").click()
    run_id = created.value.json()["id"]

    page.goto(f"{ui}/runs/flow-run/{run_id}")
    expect(page.get_by_text("scale-out").first).to_be_visible(timeout=LONGEST)
    page.get_by_role("listitem").filter(has_text="Artifacts").click()
    expect(page.get_by_text("progress-form-east", exact=False).first).to_be_visible(timeout=LONGEST)
    # The drawing above comes some moments after the list below.
    expect(page.get_by_text("has not yet generated any task")).to_be_hidden(timeout=LONGEST)
    page.screenshot(path=pictures / "running.png", clip=UPPER_HALF)
    seen = artifacts(deployed, run_id)
    [bar] = [row for key, row in seen.items() if key.startswith("progress-")]
    page.goto(f"{ui}/artifacts/artifact/{bar['id']}")
    expect(page.get_by_text(re.compile(r"stage \d/9")).first).to_be_visible(timeout=LONGEST)
    page.screenshot(path=pictures / "progress.png")
    [findings] = [row for key, row in seen.items() if key.startswith("findings-")]
    page.goto(f"{ui}/artifacts/artifact/{findings['id']}")
    expect(page.get_by_text("zone-balance").first).to_be_visible(timeout=LONGEST)
    page.screenshot(path=pictures / "findings.png")
    run = ended(deployed, run_id)

    assert run["state"]["type"] == "COMPLETED", run["state"]
    assert run["name"] == f"scale-out {spare['ip']} to zone2 of form-east"
    report = next(row for key, row in artifacts(deployed, run_id).items() if "report" in key)
    page.goto(f"{ui}/artifacts/artifact/{report['id']}")
    expect(page.get_by_text("CONFORMING").first).to_be_visible(timeout=LONGEST)
    page.screenshot(path=pictures / "report.png", clip=UPPER_HALF)
    page.goto(f"{ui}/runs/flow-run/{run_id}")
    expect(page.get_by_text("submit.posted", exact=False).first).to_be_visible(timeout=LONGEST)
    page.screenshot(path=pictures / "run.png")
    assert opened.world.count_dags("Cluster scale out") == 1


@pytest.mark.usefixtures("workers")
def test_a_request_sent_twice_with_one_key_is_one_run(deployed, clusters, connect, tmp_path):
    """A portal that sends again gets the run it has; the trigger waits for its end."""
    opened = clusters()
    connect("portal-east", opened)
    spare = opened.ready["spares"][0]
    request = tmp_path / "request.json"
    request.write_text(
        json.dumps(
            {
                "cluster": "portal-east",
                "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
                "zone": "zone3",
                "obConfigs": SAMPLE,
                "time_limits": QUICK,
            }
        )
    )

    def trigger() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "obscale.deployments.trigger", str(request)],
            env=deployed.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    first, again = trigger(), trigger()

    assert (first[0], again[0]) == (0, 0), first[1] + again[1]
    assert first[1].splitlines()[0] == again[1].splitlines()[0]
    assert opened.world.count_dags("Cluster scale out") == 1


@pytest.mark.usefixtures("workers")
def test_a_scheduled_run_starts_by_itself_and_ends_verified(deployed, clusters, connect):
    """A schedule on the deployment makes the run; a worker carries it out."""
    opened = clusters()
    connect("night-east", opened)
    spare = opened.ready["spares"][0]
    offered = deployment(deployed, "scale-out/scale-out-workers")
    begin = datetime.now(UTC) + timedelta(seconds=15)
    # More than one: what is past when the scheduler comes round is never made.
    rule = f"DTSTART:{begin:%Y%m%dT%H%M%SZ}\nFREQ=MINUTELY;INTERVAL=2;COUNT=9"
    made = deployed.api(
        "POST",
        f"/deployments/{offered['id']}/schedules",
        json=[
            {
                "active": True,
                "schedule": {"rrule": rule, "timezone": "UTC"},
                "parameters": {
                    "cluster": "night-east",
                    "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
                    "zone": "zone1",
                    "obConfigs": SAMPLE,
                    "time_limits": QUICK,
                },
            }
        ],
    )

    def scheduled() -> list[dict]:
        return deployed.api(
            "POST",
            "/flow_runs/filter",
            json={
                "flow_runs": {"tags": {"all_": ["auto-scheduled"]}},
                "deployments": {"id": {"any_": [offered["id"]]}},
            },
        )

    runs = wait_until(scheduled, "a run of the schedule")
    first = min(runs, key=lambda run: run["expected_start_time"])
    run = ended(deployed, first["id"])
    deployed.api("DELETE", f"/deployments/{offered['id']}/schedules/{made[0]['id']}")

    assert run["state"]["type"] == "COMPLETED"
    assert opened.world.count_dags("Cluster scale out") == 1
