"""Tests of orders that Prefect cannot begin."""

import logging
import socket

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from rich.console import Console

from obscale.cli.apply import run_all
from obscale.cli.exits import Exit
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut

CLUSTER = ClusterSpec(endpoints=("10.0.0.1:2886",), password=SecretName(env="OBSCALE_TEST_ROOT"))


def order(last: int) -> ScaleOut:
    """An order nobody comes to look at."""
    node = NodeSpec(
        agentInfo=AgentInfoSpec(ip=f"10.0.0.{last}", port=2886),
        zone="zone2",
        obConfigs={"mysql_port": "2881", "rpc_port": "2882"},
    )
    return ScaleOut(cluster=CLUSTER, node=node)


@pytest.fixture
def dead_api(monkeypatch):
    """Prefect's API at a port where nobody listens."""
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        yield


@pytest.mark.usefixtures("dead_api")
async def test_a_server_that_went_away_between_two_orders_begins_nothing(capsys):
    """One line for the order, one for each after it; no error nobody foresaw."""
    endings = await run_all((order(4), order(5)), Console(quiet=True))

    (report, code, error), *others = endings
    assert not others
    assert report is None
    assert code == Exit.OUT_OF_REACH
    assert "not begun, nothing was sent: Prefect does not answer" in str(error)
    assert "not started: 10.0.0.5:2886" in capsys.readouterr().err
