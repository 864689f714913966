"""Tests of access to a team's Prefect server, and of obscale's words when refused."""

import json
import subprocess
import sys

import httpx


def test_the_api_is_closed_and_the_health_check_open(server):
    """Without the password 401; the health check stays open, for load balancers."""
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{server.url}/health").status_code == 200
        assert client.post(f"{server.url}/flow_runs/filter", json={}).status_code == 401
    assert isinstance(server.api("POST", "/flow_runs/filter", json={}), list)


def test_apply_without_the_password_says_so_and_sends_nothing(server, clusters, tmp_path):
    """One line that names Prefect's setting; the cluster sees no POST."""
    opened = clusters()
    spare = opened.ready["spares"][0]
    request = tmp_path / "request.json"
    request.write_text(
        json.dumps(
            {
                "cluster": {
                    "endpoints": opened.endpoints(),
                    "password": {"env": "E2E_ROOT_PASSWORD"},
                },
                "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
                "zone": "zone2",
            }
        )
    )
    wrong = server.environment | {"PREFECT_API_AUTH_STRING": "operator:wrong"}

    ended = subprocess.run(
        [sys.executable, "-m", "obscale.cli", "apply", request, "--yes"],
        env=wrong,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert ended.returncode == 3
    assert "PREFECT_API_AUTH_STRING" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [r.target for r in opened.world.requests if r.method == "POST"] == []


def test_the_ui_opens_for_whoever_has_the_password(deployed, page, pictures):
    """Chromium, logged in, sees what the server offers."""
    page.goto(deployed.url.removesuffix("/api") + "/deployments")
    page.get_by_text("weekly-example").first.wait_for()
    page.screenshot(path=pictures / "deployments.png")
