"""Nothing of what others say is obeyed by the log, pages, forms and events of a run."""

import asyncio
import json
import logging
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from prefect import get_client
from typer.testing import CliRunner

from obscale.cli.commands import app
from obscale.errors import ObscaleError
from obscale.flows.batch import batch
from obscale.flows.plan import plan
from obscale.flows.scale_out import scale_out
from obscale.request.models import AgentInfoSpec, NodeSpec, ScaleOutSpec
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, default_config
from tests.flow.test_canary import all_events, through_the_api
from tests.hostile_answers import LONGER, hostile_answers
from tests.hostile_text import HOSTILE, MARK, SHORT, faults_of_lines, faults_of_page

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIME_LIMITS = TimeLimits(
    steady_seconds=0.2,
    poll_seconds=0.1,
    verify_seconds=20,
    against_seconds=1,
    approval_seconds=120,
    ask_seconds=120,
    undo_seconds=60,
)
ZONE = f"z {SHORT}"
BY = {"name": MARK + "\x1b[31m\r\nERROR forged", "reason": HOSTILE}


class Heard(logging.Handler):
    """Keeps what is logged, as a handler that writes lines would write it."""

    def __init__(self):
        super().__init__()
        self.told = []

    def emit(self, record):
        """Keep one record."""
        self.told.append((record.name, self.format(record), bool(record.exc_info)))


@pytest.fixture
def heard():
    """Hear all runs' logs."""
    handler = Heard()
    loggers = [logging.getLogger(name) for name in ("prefect.flow_runs", "prefect.task_runs")]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)


def world_of():
    """A cluster whose name, and whose other zones' names, are hostile."""
    plain = default_config()
    (cluster,) = plain.clusters
    zones = tuple(
        zone if zone.name == "zone2" else zone.model_copy(update={"name": f"{zone.name}{ZONE}"})
        for zone in cluster.zones
    )
    hostile = cluster.model_copy(update={"name": HOSTILE, "zones": zones})
    return plain.model_copy(update={"clusters": (hostile,)})


def texts(data):
    """Every text inside of data."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield key
            yield from texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from texts(value)


def faults_of_artifact(artifact):
    """Faults of its data and of what is said about it: Prefect's UI reads both as Markdown."""
    found = faults_of_page(artifact["description"] or "")
    data = artifact["data"]
    if artifact["type"] == "markdown":
        return found + faults_of_page(data)
    if artifact["type"] == "table":
        return found + [f for cell in texts(json.loads(data)) for f in faults_of_page(cell)]
    return found


async def answer(run, **words):
    """Answer a paused run as the UI does."""
    async with get_client() as client:
        await client.resume_flow_run(run.id, run_input=words | BY)


async def run_all(stage, asked, pages):
    """Runs that are approved, fail, are recovered and proved; that are refused; and a batch."""
    scene = await stage(world_of(), speed=60)
    scene.world.play(Fault.fail_stage(5, text=LONGER))
    ends = []

    async def end_of(run):
        with suppress(ObscaleError):
            await run
            ends.append("done")
            return
        ends.append("refused")

    with hostile_answers() as spoiler:
        spoiler.log = LONGER
        wanted = {"allow_unknown": True, "profile": "lab", "time_limits": TIME_LIMITS}
        going = asyncio.create_task(scene.scale_out(approval="ask", on_failure="ask", **wanted))
        for words in ({"decision": "approve"}, {"choice": "RETRY"}):
            paused, _, page = await asked(going)
            pages.append(page)
            await answer(paused, **words)
        await end_of(going)
        report = scene.report
        known = scene.asked()
        spare = scene.ready["spares"][1]
        where = AgentInfoSpec(ip=spare["ip"], port=spare["port"])
        options = {"agentInfo": where, "obConfigs": scene.sample}
        await end_of(plan(cluster=known["cluster"], zone="zone2", **options))
        await end_of(plan(cluster=known["cluster"], zone=HOSTILE, **options))
        await end_of(scale_out(cluster=HOSTILE, zone="zone2", **options))
        node = NodeSpec(agentInfo=where, zone="zone2", obConfigs=scene.sample)
        rows = ScaleOutSpec(cluster=known["cluster"], nodes=(node,), profile="lab")
        spoiler.refuses = "cluster"
        await end_of(batch(clusters=[rows], time_limits=TIME_LIMITS))
        spoiler.refuses, spoiler.whole = "", "dag"
        await end_of(scene.scale_out(agentInfo=where, **wanted))
    return report, ends


async def test_nothing_that_is_said_is_obeyed_wherever_it_is_kept(stage, asked, heard, capfd):
    """Agents, requests and persons: log, pages, tables, forms, names, states, events, evidence."""
    pages, began = [], datetime.now(UTC)

    async def kept(kind):
        """What these runs left, and not those of the tests before."""
        rows = await through_the_api(kind)
        return [
            row
            for row in rows
            if datetime.fromisoformat(row.get("created") or row["timestamp"]) >= began
        ]

    report, ends = await run_all(stage, asked, pages)
    evidence = [
        await asyncio.to_thread(CliRunner().invoke, app, ["evidence", report.target, *words])
        for words in ((), ("--json",))
    ]

    assert report.diagnosis is not None, "it failed, and was diagnosed"
    assert report.outcome == "verified", report.error
    shown = {
        "the forms": [(page, faults_of_page(json.loads(page))) for page in pages],
        "the evidence": [(evidence[0].stdout, faults_of_page(evidence[0].stdout))],
        "the evidence as JSON": [(evidence[1].stdout, faults_of_lines(evidence[1].stdout))],
        "the log": [
            (text, faults_of_lines(text) + (["lines"] if "\n" in text and not is_bug else []))
            for _, text, is_bug in heard.told
        ],
        "artifacts": [(a["key"], faults_of_artifact(a)) for a in await kept("artifacts")],
        "logs at the server": [
            (row["message"], faults_of_lines(row["message"])) for row in await kept("logs")
        ],
    }
    for kind in ("flow_runs", "task_runs"):
        shown[kind] = [
            (text, faults_of_lines(text))
            for run in await kept(kind)
            for text in texts([run["name"], run["tags"], run["state"]["message"]])
        ]
    shown["events"] = [
        (text, faults_of_lines(text)) for event in await all_events() for text in texts(event)
    ]
    out, err = capfd.readouterr()
    shown["standard output and error"] = [("", faults_of_lines(out)), ("", faults_of_lines(err))]

    wrong = {
        where: [(text[:200], found) for text, found in told if found]
        for where, told in shown.items()
    }
    assert all(shown.values()), "nothing was read"
    assert {where: told[:3] for where, told in wrong.items() if told} == {}
    for where in ("the forms", "the evidence", "the log", "flow_runs", "events"):
        assert any(MARK in str(text) for text, _ in shown[where]), where
    assert json.loads(evidence[1].stdout)["report"]["cluster"] == HOSTILE
    assert ends == ["done", *["refused"] * 5]
