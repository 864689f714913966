"""Tests of Prefect's own metrics: what docs/metrics.md lists is what server and worker offer."""

import json
import re
import socket
import subprocess
import sys
from contextlib import suppress

import httpx
import pytest

from tests.deploy.conftest import AUTH, ROOT, end, run_in, wait_until

pytestmark = pytest.mark.e2e
PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
OFFERED = {
    where: set(re.findall(r"^\| `(\w+)` \|", PAGE.split(title)[1].split("\n#")[0], re.MULTILINE))
    for where, title in (("server", "\n## The server\n"), ("worker", "\n## A worker\n"))
}
"""Names of the metrics in the page's tables."""


def scraped(url, **options):
    """What Prometheus would read at an address: the names, and the value of each line."""
    answer = httpx.get(url, trust_env=False, timeout=60, **options).raise_for_status()
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    values = {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }
    return names, values


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_server_offers_what_the_page_lists_to_whoever_has_its_password(alone):
    """Every metric of the page is there, and of Prefect's own every one is on the page."""
    url = f"{alone.url}/metrics"
    closed = httpx.get(url, trust_env=False)

    names, values = scraped(url, auth=tuple(AUTH.split(":")))

    assert closed.status_code == httpx.codes.UNAUTHORIZED
    assert OFFERED["server"]
    assert OFFERED["server"] - names == set()
    assert values["process_resident_memory_bytes"] > 50e6
    # Nothing of obscale's own is beside Prefect's, and the page leaves none of Prefect's own out.
    own = {name for name in names if not name.startswith(("python_", "process_"))}
    assert {name.removesuffix("_created") for name in own} - {
        name.removesuffix("_total") for name in OFFERED["server"]
    } - OFFERED["server"] == set()


def test_the_server_tells_no_run_by_its_metrics_and_its_api_does(alone):
    """What the page sends an operator to: numbers of late, held and failed runs, and of queues."""
    questions = re.findall(r"^\| .+ \| `POST (/\S+)` with `(\{.+\})` \|$", PAGE, re.MULTILINE)
    names, _ = scraped(f"{alone.url}/metrics", auth=tuple(AUTH.split(":")))

    answers = [
        alone.api("POST", path.removeprefix("/api"), json=json.loads(body))
        for path, body in questions
    ]

    assert len(questions) >= 4
    assert all(isinstance(answer, int | list) for answer in answers)
    assert not [name for name in names if "flow_run" in name]


def test_a_worker_offers_its_own_and_its_runs_do_not_want_its_port(
    deployed_alone, clusters, write, tmp_path
):
    """A run of a worker with metrics is carried out; with Prefect's default it crashes."""
    port = free_port()
    metered = deployed_alone.environment | {
        "PREFECT_CLIENT_METRICS_ENABLED": "true",
        "PREFECT_CLIENT_METRICS_PORT": str(port),
    }
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    request = clusters.request()
    request.pop("time_limits")
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [*prefect, "worker", "start", "--pool", "obscale", "--type", "process"],
            env=metered,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:

        def answers():
            assert worker.poll() is None, (tmp_path / "worker.log").read_text()[-2000:]
            with suppress(httpx.TransportError):
                return scraped(f"http://127.0.0.1:{port}/metrics")
            return None

        names, values = wait_until(answers, "the worker's metrics")
        done = run_in(
            tmp_path,
            [
                sys.executable,
                "-m",
                "obscale.deployments.trigger",
                write(request),
                "plan/plan-workers",
            ],
            deployed_alone.environment,
        )
    finally:
        end(worker)

    assert done.returncode == 0, done.stdout + done.stderr
    assert OFFERED["worker"]
    assert OFFERED["worker"] - names == set()
    assert values["process_resident_memory_bytes"] > 50e6
