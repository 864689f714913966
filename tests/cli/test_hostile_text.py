"""Nothing that agents and requests say is obeyed, whatever command tells it."""

import asyncio
import csv
import inspect
import io
import json
from copy import deepcopy

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import ScaleOutRequest
from obscale.cli.exits import end_with
from obscale.errors import SpecError
from obscale.request import models as asked
from obscale.request import policies
from obscale.sandbox import Fault
from obscale.spec import batch, read_spec
from obscale.spec.batch import is_batch, is_table, read_batch
from obscale.spec.table import COLUMNS
from tests.cli.conftest import AGENT_CANARY, ROOT_CANARY
from tests.hostile_answers import (
    LONGER,
    ROUTES,
    fields_of,
    hostile_answers,
    takes_text,
    text_fields,
)
from tests.hostile_text import HOSTILE, MARK, SHORT, faults_of_lines

WIDE = "100000"
"""Columns of the terminal: no cell is folded, so that what stands in it can be searched."""
LOOKS = 400
TAKEN = {"name", "cluster", "ca_file", "client_cert", "client_key", "zone", "memory_limit"}
"""Fields that may hold any text as far as reading goes; of the last two, only as defaults."""
OVERRIDE = {"rule": "mem-fits-total", "reason": "to see", "until": "2031-12-31"}


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Let no line be broken."""
    monkeypatch.setenv("COLUMNS", WIDE)


@pytest.fixture
def world(open_world):
    """A world of this test's own, in which a scale-out fails at stage 5."""
    return open_world(Fault.fail_stage(5, text="died of thirst"))


@pytest.fixture
def request_of(world):
    """The sample request without a name of the cluster."""
    request = world.request()
    request["nodes"][0]["zone"] = "zone2"
    del request["cluster"]["name"]
    return request


async def fail_a_scale_out(world, request):
    """Begin the scale-out of a request by the bare API, and wait until it stands FAILED."""
    (node,) = request["nodes"]
    body = {key: node[key] for key in ("agentInfo", "zone", "obConfigs")}
    entry = world.ready["clusters"][0]["agents"][0]
    where = AgentAddress(entry["ip"], entry["port"])
    async with AgentClient(where, root_password=SecretStr(ROOT_CANARY)) as agent:
        asked = ScaleOutRequest.model_validate(body | {"targetAgentPassword": AGENT_CANARY})
        dag = await agent.submit_scale_out(asked)
        for _ in range(LOOKS):
            if (await agent.read_dag(dag.id)).is_failed:
                return
            await asyncio.sleep(0.05)
    raise AssertionError("it does not fail")


def test_every_text_of_an_answer_is_told_without_being_obeyed(world, request_of, write, obscale):
    """All fields at once, and each route once with nothing kept: no command obeys one."""
    one = write(request_of, "request.json")
    many = write({"clusters": [request_of]}, "batch.json")
    faults, seen = {}, {}

    def run(*words):
        ended = obscale(*words)
        name = f"{spoiler.whole or spoiler.refuses or 'all'}: {' '.join(map(str, words[:1]))}"
        if "--json" in words:
            name += " --json"
            assert MARK in json.dumps(json.loads(ended.out)) or ended.code, name
        faults[name] = faults_of_lines(ended.out) + faults_of_lines(ended.err)
        seen[name] = ended.out + ended.err

    with hostile_answers() as spoiler:
        for words in (("plan", one), ("plan", one, "--json"), ("plan", many), ("verify", one)):
            run(*words)
        for route in ROUTES:
            spoiler.whole, spoiler.refuses = route, ""
            run("plan", one)
            spoiler.whole, spoiler.refuses = "", route
            run("plan", one)
    asyncio.run(fail_a_scale_out(world, request_of))
    with hostile_answers() as spoiler_of_dags:
        spoiler_of_dags.served |= spoiler.served
        spoiler = spoiler_of_dags
        spoiler.log = LONGER
        for words in (("plan", one), ("recover", one), ("watch", one), ("watch", one, "--json")):
            run(*words)
        spoiler.whole = "dag"
        for words in (("plan", one), ("recover", one), ("watch", one)):
            run(*words)

    assert {name: found for name, found in faults.items() if found} == {}
    assert text_fields() - spoiler.served == set()
    assert not [r.target for r in world.world.requests if "/tenant/" in r.target]
    for name in ("all: plan", "all: plan --json", "all: recover", "all: watch"):
        assert MARK in seen[name]
    assert all(told.strip() for told in seen.values())


def requested_fields():
    """Names of all fields of requests that take text."""
    models = {
        each
        for module in (asked, policies, batch)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, asked.RequestModel)
    }
    return {
        name
        for model in models
        for name, (_, kind) in fields_of(model).items()
        if takes_text(kind) or name == "until"
    }


def places(data, path=()):
    """Every text, key and mapping of a document, as the path to it."""
    if isinstance(data, dict):
        yield (*path, None)
        for key, value in data.items():
            yield from places(value, (*path, key))
    elif isinstance(data, list):
        for at, value in enumerate(data):
            yield from places(value, (*path, at))
    elif isinstance(data, str):
        yield path


def spoilt(data, path):
    """The document with hostile text at one place; an unknown key where that is a mapping."""
    told = deepcopy(data)
    at = told
    for step in path[:-1]:
        at = at[step]
    at[HOSTILE if path[-1] is None else path[-1]] = HOSTILE
    return told


def documents(request):
    """A request with every field, and a batch with every field."""
    secret = {"env": "OBSCALE_TEST_ROOT"}
    tls = {"ca_file": "ca.pem", "client_cert": "cert.pem", "client_key": "key.pem"}
    cluster = request["cluster"] | {"name": "obcluster"}
    whole = request | {"profile": "lab", "overrides": [OVERRIDE], "cluster": cluster}
    whole["defaults"] = {"zone": "zone2", "obConfigs": {"memory_limit": "16G"}}
    window = {"start": "02:00", "end": "06:00", "days": ["sat"], "time_zone": "Europe/Berlin"}
    workers = {"deployment": "batch-part/batch-part-workers"}
    choices = {"canary": "node", "on_failure": "hold", "dispatch": "process"}
    many = {
        "connections": {"one": cluster | {"tls": tls}, "two": cluster | {"password": secret}},
        "policies": choices | {"window": window, "workers": workers},
        "clusters": [{"cluster": "one", "nodes": request["nodes"]}],
    }
    table = {"rows": "nodes.csv", "cluster": "one", "connections": many["connections"]}
    named = deepcopy(whole)
    named["nodes"][0]["targetAgentPassword"] = {"block": "spare"}
    return whole, many, table, named


def told_of(path, capsys):
    """What the command line says of a request that is refused; None where it is taken."""
    try:
        if is_table(path) or is_batch(json.loads(path.read_text())):
            read_batch(path)
        else:
            read_spec(path)
    except SpecError as error:
        with pytest.raises(SystemExit):
            end_with(error)
        return capsys.readouterr().err
    return None


def test_every_text_of_a_request_is_told_without_being_obeyed(request_of, write, obscale, capsys):
    """Each field, each unknown key and each cell of a table: one line a problem, or a plan."""
    faults, keys, taken = {}, set(), set()
    write("agentInfo.ip,zone\n10.0.0.4,zone1\n", "nodes.csv")
    tables = {
        "cells.csv": [list(COLUMNS), [HOSTILE] * len(COLUMNS)],
        "heads.csv": [[HOSTILE, *COLUMNS], ["x"]],
    }
    for name, rows in tables.items():
        cells = io.StringIO()
        csv.writer(cells).writerows(rows)
        faults[name] = faults_of_lines(told_of(write(cells.getvalue(), name), capsys))
    for document in documents(request_of):
        for path in places(document):
            keys |= {step for step in path if isinstance(step, str)}
            said = told_of(write(spoilt(document, path), "request.json"), capsys)
            if said is None:
                taken.add(next(step for step in reversed(path) if isinstance(step, str)))
            else:
                assert MARK in said or path[-1] is not None, path
                faults[str(path)] = faults_of_lines(said)
    told = request_of | {"overrides": [OVERRIDE | {"reason": SHORT}]}
    tls = {"endpoints": ["https://127.0.0.1:9"], "tls": {"ca_file": HOSTILE}}
    for name, changes in {"name": {"name": HOSTILE}, "tls": tls}.items():
        told["cluster"] = request_of["cluster"] | changes
        ended = obscale("plan", write(told, "request.json"))
        faults[f"taken {name}"] = faults_of_lines(ended.out + ended.err)
        assert MARK in ended.out + ended.err

    assert {name: found for name, found in faults.items() if found} == {}
    assert requested_fields() - keys == set()
    assert taken == TAKEN
