"""Tests that docs/protocol.md names what the client asks, no more and no less, and since when."""

import inspect
import re
from pathlib import Path

import httpx
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import AgentEndpoint, Operator, ScaleInRequest, ScaleOutRequest
from obscale.conformity.expected import NO_SUCH_ID, QUESTIONS
from obscale.errors import AgentError
from tests.unit.conftest import VECTORS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
ROWS = dict(
    re.findall(r"^\| `((?:GET|POST|PATCH|DELETE) /[^`]+)` \| ([\d.]*) ?\|", PAGE, re.MULTILINE)
)
BODIES = {
    "submit_scale_in": ScaleInRequest(agent_info=AgentEndpoint(ip="10.0.0.4", port=2886)),
}
"""Of what takes another one than a scale-out."""
GIVEN = {
    "name": "NAME",
    "dag_id": "ID",
    "operator": Operator.RETRY,
    "server": "10.0.0.4:2882",
    "values": {"cpu_count": "8"},
    "tenant": "NAME",
    "zones": ("zone1",),
    "number": 2,
    "request": ScaleOutRequest(
        agent_info=AgentEndpoint(ip="10.0.0.4", port=2886), zone="zone1", ob_configs={}
    ),
}
ANY_PATH = "read_as_sent"
NO_TENANT = "GET /tenant/{name}"


async def endpoints():
    """Ask everything the client can ask; gives method and path of each request."""
    seen = set()
    own = {"ip": "10.0.0.1", "port": 2886, "identity": "CLUSTER AGENT", "supportedAuth": ["v2"]}
    data = {
        "info": own,
        "secret": {
            "public_key": VECTORS["keys"]["1024"]["public_key_as_served_by_secret__pkcs1_der_b64"]
        },
        "time": "2026-11-28T22:49:15+08:00",
    }

    def handle(request):
        path = request.url.path.removeprefix("/api/v1/")
        seen.add(f"{request.method} /{path.replace('NAME', '{name}').replace('ID', '{id}')}")
        return httpx.Response(200, json={"successful": True, "data": data.get(path)})

    for name, method in inspect.getmembers(AgentClient, inspect.iscoroutinefunction):
        if name.startswith("_") or name in {ANY_PATH, "aclose"}:
            continue
        async with AgentClient(
            AgentAddress("10.0.0.1"),
            root_password=SecretStr("any"),
            transport=httpx.MockTransport(handle),
        ) as agent:
            needed = set(inspect.signature(method).parameters) & set(GIVEN)
            try:
                given = {each: GIVEN[each] for each in needed}
                if name in BODIES:
                    given["request"] = BODIES[name]
                await method(agent, **given)
            except AgentError:
                continue
    return seen


async def test_each_write_says_by_whose_word_it_is_sent():
    """A method of the client that writes is named there, and each operator that is ever sent."""
    told = PAGE.partition("## What is written")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+ /[^`]+)`(.*)$", told, re.MULTILINE))

    assert {each for each in await endpoints() if not each.startswith("GET ")} == {*rows}
    for operator in Operator:
        is_sent = operator in {Operator.RETRY, Operator.ROLLBACK, Operator.CANCEL}
        assert (f"with {operator.value} |" in told) is is_sent, operator


async def test_every_endpoint_the_client_asks_has_its_row_and_no_other_has():
    """An endpoint that is added or gone changes the page."""
    assert set(ROWS) == await endpoints()


def test_each_endpoint_is_there_since_the_same_release_here_and_in_the_check():
    """And the check asks each, but for what writes."""
    asked = {}
    for question in QUESTIONS:
        path = question.path.partition("?")[0].replace(NO_SUCH_ID, "{id}")
        if not question.shows:
            asked[f"GET /{path}"] = question.since

    assert asked == {
        row: since for row, since in ROWS.items() if row.startswith("GET") and row != NO_TENANT
    }


def test_the_map_and_the_guide_lead_there():
    """Whoever meets a new version finds the page."""
    for name in ("README.md", "CONTRIBUTING.md", "docs/architecture.md"):
        assert "protocol.md" in (ROOT / name).read_text(encoding="utf-8"), name


def test_each_recording_the_page_counts_on_is_there():
    """The folder it names."""
    assert (ROOT / "tests/data/real-obshell/README.md").is_file()
