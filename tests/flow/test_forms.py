"""Tests of forms against a real server: what create_flow_run refuses, and what a bad run says."""

import asyncio

import pytest
import pytest_asyncio
from prefect import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_engine import run_flow

from obscale.flows.batch import batch
from obscale.flows.plan import plan
from obscale.flows.scale_out import scale_out
from tests.flow.conftest import SAMPLE

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODE = {
    "agentInfo": {"ip": "10.0.0.4", "port": 2886},
    "zone": "zone2",
    "obConfigs": {"memory_limit": "16G"},
}
SLIPS = {
    "agentInfo.ip": NODE | {"agentInfo": {"ip": "myhost"}},
    "agentInfo.port": NODE | {"agentInfo": {"ip": "10.0.0.4", "port": 65536}},
    "zone": NODE | {"zone": "zone 2"},
    "obConfigs.memory_limit": NODE | {"obConfigs": {"memory_limit": "16"}},
}
"""A node each, by the field that is wrong."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def offered():
    """The deployments of these flows, whose schema Prefect's server checks parameters by."""
    flows = (scale_out, plan, batch)
    return {flow.name: await (await flow.ato_deployment("forms")).aapply() for flow in flows}


async def refusal(deployment_id, parameters):
    """What the server says against parameters; no run may come of them."""
    async with get_client() as client:
        before = await client.read_flow_runs(limit=200)
        with pytest.raises(PrefectHTTPStatusError) as caught:
            await client.create_flow_run_from_deployment(deployment_id, parameters=parameters)
        assert len(await client.read_flow_runs(limit=200)) == len(before)
    assert caught.value.response.status_code == 409
    return caught.value.response.json()["detail"]


@pytest.mark.parametrize("field", SLIPS)
async def test_create_flow_run_refuses_a_slip_by_its_field(offered, field):
    """In each flow that takes a node, before a run exists."""
    node = SLIPS[field]

    for flow in ("scale-out", "plan"):
        said = await refusal(offered[flow], {"cluster": "prod-east", **node})
        assert f"Validation failed for field '{field}'" in said
    asked = {"clusters": [{"cluster": "prod-east", "nodes": [node]}]}
    said = await refusal(offered["batch"], asked)
    assert f"Validation failed for field 'clusters[0].nodes[0].{field}'" in said


async def test_create_flow_run_takes_what_is_right(offered):
    """The documented sample, over IPv6 too, and a table as text."""
    sample = NODE | {"obConfigs": SAMPLE, "agentInfo": {"ip": "fd00::4"}}

    async with get_client() as client:
        for flow, asked in (
            ("scale-out", {"cluster": "prod-east", **sample}),
            ("batch", {"clusters": [{"cluster": "prod-east", "nodes": [sample]}]}),
            ("batch", {"csv": "cluster,ip,zone\neast,10.0.0.4,zone2\n"}),
        ):
            run = await client.create_flow_run_from_deployment(offered[flow], parameters=asked)
            await client.delete_flow_run(run.id)


async def test_a_bad_request_tells_all_its_faults_in_its_state_and_its_log(offered, refused):
    """A table with three faults: one line each, by line and column, and nothing was asked."""
    table = "cluster\tip\tzone\tmemory_limit\neast\tdb4\tzone1\t16G\neast\t10.0.0.5\tzo ne'\t16\n"
    async with get_client() as client:
        run = await client.create_flow_run_from_deployment(
            offered["batch"], parameters={"csv": table}
        )

    error = await refused(run_flow(batch, flow_run=run, parameters=run.parameters))

    assert len(error.problems) == 3
    async with get_client() as client:
        ended = await client.read_flow_run(run.id)
        for _ in range(100):
            logs = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
            if any(error.problems[-1] in log.message for log in logs):
                break
            await asyncio.sleep(0.1)
    assert ended.name == "batch of 1 cluster"
    assert ended.state.name == "BadRequest"
    told = next(log.message for log in logs if error.problems[-1] in log.message)
    for problem in error.problems:
        assert problem in ended.state.message
        assert problem in told
