"""The questions that the tests ask of Prefect's UI and API."""

import threading
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

LONGEST_SECONDS = 300
LONGEST = LONGEST_SECONDS * 1000
"""For Playwright, milliseconds."""
SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
QUICK = {"steady_seconds": 2, "poll_seconds": 0.5}


def field_below(place: Page | Locator, label: str, kind: str = "textarea") -> Locator:
    """Find the field a label of the form stands over; Prefect's form does not tie them."""
    return place.locator(f"//label[starts-with(normalize-space(), '{label}')]/following::{kind}[1]")


def look_in_the_newer_ui(page: Page, address: str, picture: Path) -> None:
    """Open what a paused run asks in Prefect's newer UI, where Resume stands in a menu; keep it."""
    page.set_viewport_size({"width": 1280, "height": 1700})
    page.goto(address)
    page.locator("button[aria-haspopup=menu]:visible").first.click(timeout=LONGEST)
    page.get_by_role("menuitem", name="Resume").click(timeout=LONGEST)
    question = page.locator("[role=dialog]")
    expect(question.get_by_text("Your name").first).to_be_visible(timeout=LONGEST)
    question.screenshot(path=picture)
    page.set_viewport_size({"width": 1280, "height": 960})


def deployment(server: Any, name: str) -> dict[str, Any]:
    """What Prefect knows of a deployment."""
    found: dict[str, Any] = server.api("GET", f"/deployments/name/{name}")
    return found


def start_run(server: Any, name: str, parameters: dict[str, Any]) -> str:
    """Create a run of a deployment; gives its id."""
    offered = deployment(server, name)
    made = server.api(
        "POST",
        f"/deployments/{offered['id']}/create_flow_run",
        json={"parameters": parameters},
    )
    run_id: str = made["id"]
    return run_id


def artifacts(server: Any, run_id: str) -> dict[str, dict[str, Any]]:
    """The artifacts of a run, by key."""
    rows = server.api(
        "POST", "/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [run_id]}}}
    )
    return {row["key"]: row for row in rows if row["key"]}


def ended_as(server: Any, run_id: str, name: str) -> dict[str, Any]:
    """Wait until a run has ended and its state is called so: it is Failed at first, then named."""
    pause = threading.Event()
    for _ in range(LONGEST_SECONDS):
        run = ended(server, run_id)
        if run["state"]["name"] == name:
            return run
        pause.wait(1)
    raise AssertionError(f"not {name}: {run['state']}")


def ended(server: Any, run_id: str) -> dict[str, Any]:
    """Wait for the end of a run; gives it."""
    pause = threading.Event()
    for _ in range(LONGEST_SECONDS):
        run: dict[str, Any] = server.api("GET", f"/flow_runs/{run_id}")
        if run["state"]["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            return run
        pause.wait(1)
    raise AssertionError(f"not ended: {run['state']}")
