"""Tests that the pages of a run can be read whole at 1280 px, in both of Prefect's UIs."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from obscale.sandbox import Fault, WorldConfig, default_config
from tests.e2e.asked import (
    LONGEST,
    QUICK,
    SAMPLE,
    artifacts,
    deployment,
    ended,
    ended_as,
    look_in_the_newer_ui,
    start_run,
)

UIS = {"": "", "-v2": "/v2"}
"""How its screenshots end, and where it is served."""
BODY = "article.markdown-renderer, .prose"
CUT_OFF = f"""() => {{
  const body = document.querySelector('{BODY}');
  if (!body) return ['no page'];
  const parts = [...body.querySelectorAll('*')].filter((part) => {{
    const style = getComputedStyle(part);
    return part.clientWidth > 0 && style.overflowX !== 'visible' && style.overflowX !== 'clip'
      && part.scrollWidth > part.clientWidth + 1;
  }});
  const images = [...body.querySelectorAll('img')].filter(
    (image) => !image.complete || !image.naturalWidth || image.width > body.clientWidth,
  );
  return [...parts, ...images].map((part) => `${{part.tagName}} ${{part.textContent}}`);
}}"""
"""Gives what of a page would have to be scrolled to the side to be read, and broken pictures."""
TALL = {"width": 1280, "height": 2000}
WIDE = {"width": 1280, "height": 960}


@pytest.fixture
def look(deployed, page, pictures) -> Callable[[str, str, str], None]:
    """Give a function that opens a path in both UIs, keeps a picture, and finds what is cut off."""

    def open_both(path: str, words: str, name: str) -> None:
        ui = deployed.url.removesuffix("/api")
        page.set_viewport_size(TALL)
        for suffix, base in UIS.items():
            page.goto(f"{ui}{base}{path}")
            expect(page.get_by_text(words).first).to_be_visible(timeout=LONGEST)
            page.screenshot(path=pictures / f"{name}{suffix}.png")
            if path.startswith("/artifacts/"):
                page.wait_for_selector(BODY)
                assert page.evaluate(CUT_OFF) == [], f"{name}{suffix}"
        page.set_viewport_size(WIDE)

    return open_both


@pytest.fixture
def run_of(deployed, clusters, connect):
    """Give a function that runs a scale-out of a new cluster to its end: run and artifacts."""

    def run(name: str, *faults: Fault, world: WorldConfig | None = None, **configs: str):
        opened = clusters(world, speed=15)
        for fault in faults:
            opened.world.play(fault)
        connect(name, opened)
        spare = opened.ready["spares"][0]
        run_id = start_run(
            deployed,
            "scale-out/scale-out-workers",
            {
                "cluster": name,
                "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
                "zone": "zone2",
                "obConfigs": SAMPLE | configs,
                "time_limits": QUICK,
            },
        )
        run = ended(deployed, run_id)
        kinds = {key.split("-")[0]: row for key, row in artifacts(deployed, run_id).items()}
        return run, kinds

    return run


@pytest.mark.usefixtures("workers")
def test_pages_of_a_run_that_goes_well(run_of, look):
    """Report, findings and proofs."""
    run, kinds = run_of("seen-east")

    assert run["state"]["type"] == "COMPLETED", run["state"]
    for kind, words in (
        ("report", "CONFORMING"),
        ("findings", "zone-balance"),
        ("verification", "Proofs that hold"),
    ):
        look(f"/artifacts/artifact/{kinds[kind]['id']}", words, f"{kind}-success")


@pytest.mark.usefixtures("workers")
def test_pages_of_a_run_that_is_blocked(run_of, look):
    """What is too large, and what would fit."""
    run, kinds = run_of("blocked-east", memory_limit="80G", datafile_size="500G")

    assert run["state"]["type"] == "FAILED"
    look(f"/artifacts/artifact/{kinds['report']['id']}", "What to do", "report-blocked")
    look(f"/artifacts/artifact/{kinds['findings']['id']}", "disk-fits", "findings-blocked")


@pytest.mark.usefixtures("workers")
def test_pages_of_a_run_whose_dag_fails(run_of, look):
    """Cause, choices and what each of them destroys."""
    run, kinds = run_of("failed-east", Fault.fail_stage(5, text="observer start failed"))

    assert run["state"]["type"] == "FAILED"
    look(f"/artifacts/artifact/{kinds['report']['id']}", "Recommended", "report-failed")


@pytest.mark.usefixtures("workers")
def test_what_a_failed_dag_asks(deployed, page, pictures, clusters, connect):
    """Cause, choices and what each deletes, above the form; handed over, the run ends Held."""
    opened = clusters(speed=15)
    opened.world.play(Fault.fail_stage(5, text="observer start failed"))
    connect("asked-east", opened)
    spare = opened.ready["spares"][0]
    run_id = start_run(
        deployed,
        "scale-out/scale-out-workers",
        {
            "cluster": "asked-east",
            "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
            "zone": "zone2",
            "obConfigs": SAMPLE,
            "on_failure": "ask",
            "time_limits": QUICK,
        },
    )

    ui = deployed.url.removesuffix("/api")
    page.goto(f"{ui}/runs/flow-run/{run_id}")
    page.get_by_role("button", name="Resume").first.click(timeout=LONGEST)
    question = page.locator(".p-modal__card")
    expect(question.get_by_text("What can be done").first).to_be_visible(timeout=LONGEST)
    question.screenshot(path=pictures / "ask.png")
    look_in_the_newer_ui(page, f"{ui}/v2/runs/flow-run/{run_id}", pictures / "ask-v2.png")
    answer = {"choice": "HAND_OVER", "name": "Ana Ruiz", "reason": "the morning shift decides"}
    deployed.api("POST", f"/flow_runs/{run_id}/resume", json={"run_input": answer})

    run = ended_as(deployed, run_id, "Held")
    assert "recover" in run["state"]["message"]
    assert opened.world.count_dags("Cluster scale out") == 1


@pytest.mark.usefixtures("workers")
def test_the_page_of_a_batch(deployed, clusters, connect, look):
    """Two clusters, of which one is refused."""
    two = clusters(default_config(), speed=15)
    other = clusters(default_config(), speed=15)
    connect("batch-east", two)
    connect("batch-west", other)
    columns = ["cluster", "ip", "port", "zone", *SAMPLE]
    rows = [columns]
    chosen = (("batch-east", two, 0, "zone2"), ("batch-west", other, 1, "zone9"))
    for name, opened, number, zone in chosen:
        spare = opened.ready["spares"][number]
        rows.append([name, spare["ip"], str(spare["port"]), zone, *SAMPLE.values()])
    table = "\n".join(map(",".join, rows))
    run_id = start_run(deployed, "batch/batch-workers", {"csv": table, "time_limits": QUICK})
    ended(deployed, run_id)

    [report] = [row for key, row in artifacts(deployed, run_id).items() if "report" in key]
    look(f"/artifacts/artifact/{report['id']}", "batch-east", "report-batch")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("scale-out", "IP address"),
        ("batch", "spreadsheet"),
        ("plan", "IP address"),
        ("verify", "IP address"),
        ("watch", "DAG"),
        ("recover", "What shall be done?"),
    ],
)
def test_the_forms(deployed, look, name, label):
    """Each opens in both UIs."""
    offered = deployment(deployed, f"{name}/{name}-workers")

    look(f"/deployments/deployment/{offered['id']}/run", label, f"form-{name}")
