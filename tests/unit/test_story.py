"""Tests of a run's report: ended by somebody, or broken."""

import asyncio

import pytest
from prefect.exceptions import TerminationSignal

from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.request.scale_out import ScaleOut
from obscale.tasks.runtime.report import ReportBuilder

NODE = NodeSpec(
    agentInfo=AgentInfoSpec(ip="10.0.0.4", port=2886),
    zone="zone2",
    obConfigs={"mysql_port": "2881", "rpc_port": "2882"},
)


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (asyncio.CancelledError(), "cancelled", "cancelled from outside"),
        (TerminationSignal(15), "cancelled", "cancelled from outside"),
        (KeyboardInterrupt(), "cancelled", "cancelled from outside"),
        (SystemExit(143), "cancelled", "cancelled from outside"),
        (TimeoutError(), "failed", "a time limit"),
        (RuntimeError("wires crossed"), "failed", "RuntimeError: wires crossed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_how_a_run_ended_is_told_by_what_ended_it(error, outcome, words):
    """SIGTERM, as Prefect sends it, strikes the flow itself or what the flow waits for."""
    report = ReportBuilder(ScaleOut(cluster="east", node=NODE)).report(error)

    assert report.outcome == outcome
    assert words in report.error
