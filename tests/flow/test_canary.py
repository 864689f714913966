"""Searches everything a run leaves for a secret, however the run ends.

Every flow runs to every kind of ending with secrets that stand out. Then all places in which a run
leaves something are searched for them, as they are and in Base64. That a place was really searched
shows in what must be found there: the target's address, or the name of the connection.
"""

import asyncio
import base64
import json
import logging
import sqlite3
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from prefect import get_client
from prefect.blocks.system import Secret
from prefect.settings import get_current_settings
from pydantic import SecretStr

from obscale.cli.exits import error_object
from obscale.errors import ObscaleError
from obscale.events import Reported
from obscale.flows.batch import batch
from obscale.flows.plan import plan
from obscale.report.page import render_markdown
from obscale.request.models import AgentInfoSpec, ScaleOutSpec, SecretName
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Fault, default_config
from obscale.tasks.runtime.cluster_block import ObshellCluster
from tests.flow.conftest import QUICK, SAMPLE, Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT, SPARE, OWN, WRONG, NEW = (
    f"canary-{what}-5Qz7" for what in ("root", "spare", "own", "wrong", "new")
)
SECRETS = (ROOT, SPARE, OWN, WRONG, NEW)
BASE64_STARTS = (0, 2, 3)
"""Characters of Base64 that depend on 0, 1 and 2 bytes before a text."""


def forms_of(secret: str) -> set[str]:
    """A secret as it is, and as it looks in Base64 wherever it begins in what is encoded."""
    encoded = (base64.b64encode(b"-" * at + secret.encode()).decode() for at in range(3))
    return {secret} | {text[start:-4] for text, start in zip(encoded, BASE64_STARTS, strict=True)}


FORMS = [form for secret in SECRETS for form in forms_of(secret)]
CONNECTION = "canary-connection"
SHORT = QUICK.model_copy(update={"deadline_seconds": 0.2, "lost_answer_seconds": 1.0})
PATIENT = TimeLimits(**(QUICK.model_dump() | {"silence_seconds": 3, "undo_seconds": 60}))
SURE_TO_BE_FOUND = {
    "process list": "python",
    "blocks as the API shows them": CONNECTION,
    "results on disk": "obscale.errors",
    "requests as agents see them": "/api/v1/ob/info",
}
"""Where it is not an agent's address that shows that the place was searched."""


@dataclass
class Ending:
    """One way a run goes: what is prepared, what is asked, how it ends."""

    kind: str
    """Of the error, or `verified`, or `ready`."""
    faults: Callable[[Stage], list[Fault]] = lambda _stage: []
    asks: dict[str, Any] = field(default_factory=dict)
    flow: Literal["scale-out", "plan", "batch"] = "scale-out"
    answer: dict[str, str] | None = None
    """What a person says, if the run asks."""
    stored: Callable[[Stage], dict[str, Any]] = lambda _stage: {}
    """What is different about the stored connection."""
    speed: float = 60


def everybody(stage: Stage) -> list[str]:
    """All agents of the cluster."""
    return [f"{a['ip']}:{a['port']}" for a in stage.ready["clusters"][0]["agents"]]


TOO_BIG = SAMPLE | {"memory_limit": "800G"}
ENDINGS = {
    "verified": Ending("verified"),
    "planned": Ending("ready", flow="plan"),
    "plan blocked": Ending("blocked", asks={"obConfigs": TOO_BIG}, flow="plan"),
    "blocked": Ending("blocked", asks={"obConfigs": TOO_BIG}),
    "approved": Ending(
        "verified",
        asks={"approval": "ask"},
        answer={"decision": "approve", "name": "Ana", "reason": "CHG-1"},
    ),
    "rejected": Ending(
        "rejected",
        asks={"approval": "ask"},
        answer={"decision": "reject", "name": "Ana", "reason": "closing"},
    ),
    "failed and held": Ending("dag-failed", lambda _: [Fault.fail_stage(7)]),
    "failed and rolled back": Ending(
        "dag-rolled-back", lambda _: [Fault.observer_dies()], {"on_failure": "roll-back"}
    ),
    "not in time": Ending("dag-stalled", asks={"time_limits": SHORT}, speed=1),
    "answer lost and found": Ending("verified", lambda _: [Fault.drop_answer(to="scale_out")]),
    "answer garbled": Ending("protocol", lambda _: [Fault.garble_answer(to="info", times=99)]),
    "handler panicked": Ending("agent-trouble", lambda _: [Fault.panic(to="info", times=99)]),
    "agents gone": Ending(
        "unreachable", lambda stage: [Fault.agent_down(each) for each in everybody(stage)]
    ),
    "lock of somebody else": Ending("blocked", lambda _: [Fault.tenant_task(9999)]),
    "wrong password of the target": Ending(
        "blocked", asks={"targetAgentPassword": SecretName(block="canary-wrong")}
    ),
    "batch verified": Ending("verified", flow="batch"),
    "batch stopped": Ending("batch-incomplete", lambda _: [Fault.fail_stage(7)], flow="batch"),
    "batch blocked": Ending("batch-incomplete", asks={"obConfigs": TOO_BIG}, flow="batch"),
    "unknown connection": Ending("spec", asks={"cluster": "no-such"}),
    "unknown secret": Ending("spec", asks={"targetAgentPassword": SecretName(block="no-such")}),
    "variable not set": Ending("spec", asks={"targetAgentPassword": SecretName(env="NOT_SET")}),
    "wrong root password": Ending(
        "not-authorized", stored=lambda _: {"root_password": SecretStr(WRONG)}
    ),
    "root password changed": Ending(
        "verified", lambda _: [Fault.change_root_password(NEW, after_seconds=1)]
    ),
    "changed key": Ending(
        "untrusted-key",
        stored=lambda stage: {
            "key_trust": "pinned",
            "pinned_keys": dict.fromkeys(everybody(stage), "SHA256:another"),
        },
    ),
    "TLS where there is none": Ending(
        "protocol",
        stored=lambda stage: {"endpoints": [f"https://{each}" for each in everybody(stage)]},
    ),
}


class Overheard(logging.Handler):
    """Everything any logger of interest says, with its exception."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(logging.Formatter("%(name)s %(message)s").format(record))


@pytest.fixture
def overheard():
    """Listen to obscale, to Prefect's runs and to the HTTP libraries, at their most talkative."""
    handler = Overheard()
    names = ("obscale", "prefect.flow_runs", "prefect.task_runs", "httpx", "httpcore")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield handler
    for name, level in levels.items():
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).setLevel(level)


def arguments_of_all_processes() -> str:
    """What any user of this machine may read of its processes."""
    told = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # ended meanwhile
            continue
    return "\n".join(told)


def database() -> Path:
    """The file of the test server's SQLite database."""
    url = get_current_settings().server.database.connection_url
    assert url is not None
    return Path(url.get_secret_value().split(":///", 1)[1])


def rows_of_all_tables(path: Path) -> str:
    """The whole database as text, table by table."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        names = [
            r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        rows = [
            f"{name}: {row!r}"
            for name in names
            for row in connection.execute(f'SELECT * FROM "{name}"')  # names are the schema's own
        ]
    return "\n".join(rows)


async def through_the_api(path: str, body: dict[str, Any] | None = None) -> list[Any]:
    """All rows of one of the API's filters."""
    found: list[Any] = []
    async with get_client() as client:
        while True:
            page = await client._client.post(
                f"/{path}/filter", json={"limit": 200, "offset": len(found)} | (body or {})
            )
            rows = page.raise_for_status().json()
            found += rows
            if len(rows) < 200:
                return found


async def all_events() -> list[Any]:
    """Every event, page by page."""
    async with get_client() as client:
        page = (await client._client.post("/events/filter", json={"limit": 50})).json()
        found: list[Any] = page["events"]
        while page.get("next_page"):
            page = (await client._client.get(page["next_page"])).json()
            found += page["events"]
    return found


async def run(stage: Stage, ending: Ending, left: dict[str, list[str]], asked: Any) -> str:
    """Run one ending; keep what it left in this process; give how it ended."""
    block = ObshellCluster(
        **{
            "endpoints": everybody(stage),
            "root_password": SecretStr(ROOT),
            "agent_password": SecretStr(OWN),
            "name": "obcluster",
            "cluster_id": 1,
        }
        | ending.stored(stage)
    )
    await block.asave(CONNECTION, overwrite=True)
    left["objects' own words"] += [repr(block), str(block), block.model_dump_json()]
    for fault in ending.faults(stage):
        stage.world.play(fault)
    spare = stage.ready["spares"][0]
    where = AgentInfoSpec(ip=spare["ip"], port=spare["port"])
    named = SecretName(block="canary-spare")
    request = {"cluster": CONNECTION, "targetAgentPassword": named} | ending.asks
    try:
        if ending.flow == "plan":
            options = {"obConfigs": SAMPLE} | request
            left["reports"].append(await plan(agentInfo=where, zone="zone2", **options))
            return "ready"
        if ending.flow == "batch":
            cluster = request.pop("cluster")
            node = {"agentInfo": where, "zone": "zone2", "obConfigs": SAMPLE} | request
            rows = ScaleOutSpec.model_validate({"cluster": cluster, "nodes": [node]})
            done = await batch(clusters=[rows], time_limits=PATIENT)
            left["reports"] += [done.model_dump_json(), repr(done)]
            return "verified"
        going = asyncio.create_task(stage.scale_out(**({"time_limits": PATIENT} | request)))
        if ending.answer:
            paused, schema, page = await asked(going)
            left["questions"] += [json.dumps(schema), str(page)]
            async with get_client() as client:
                await client.resume_flow_run(paused.id, run_input=ending.answer)
        report = await going
    except ObscaleError as error:
        words = "".join(traceback.format_exception(error))
        left["exceptions"] += [words, repr(error), repr(error.__dict__), str(error_object(error))]
        return error.kind
    else:
        return report.outcome
    finally:
        reports = [event.report for event in stage.events if isinstance(event, Reported)]
        left["reports"] += [r.model_dump_json() + repr(r) + render_markdown(r) for r in reports]
        left["process list"].append(arguments_of_all_processes())
        left["requests as agents see them"] += [
            f"{r.agent} {r.method} {r.target}" for r in stage.world.requests
        ]


def result_of(file: Path) -> str:
    """A stored result; pickled ones, which stand there in Base64, as they were before that."""
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        pickled = json.loads(text)["result"]
    except (ValueError, KeyError, TypeError):
        # Prefect keeps some beside a file of their own that describes them.
        pickled = text
    try:
        return text + base64.b64decode(pickled).decode("latin-1")
    except (ValueError, TypeError):
        return text


async def known_to_prefect() -> dict[str, str]:
    """What the server shows, and what lies in its database and beside it."""
    runs = await through_the_api("flow_runs")
    path = database()
    files = [*path.parent.glob(f"{path.name}*")]
    results = get_current_settings().results.local_storage_path
    return {
        "parameters": json.dumps([run["parameters"] for run in runs]),
        "flow runs and states": json.dumps(runs),
        "task runs": json.dumps(await through_the_api("task_runs")),
        "artifacts": json.dumps(await through_the_api("artifacts")),
        "logs at the server": json.dumps(await through_the_api("logs")),
        "events": json.dumps(await all_events()),
        "blocks as the API shows them": json.dumps(await through_the_api("block_documents")),
        "database, all tables": rows_of_all_tables(path),
        "database, its files": b"".join(file.read_bytes() for file in files).decode("latin-1"),
        "results on disk": "\n".join(result_of(f) for f in results.rglob("*") if f.is_file()),
    }


@pytest.mark.e2e
async def test_no_place_holds_a_secret(stage, asked, overheard, monkeypatch, capsys):
    """Places searched × hits = 0, after every flow has ended in every way."""
    plain = default_config()
    clusters = tuple(c.model_copy(update={"root_password": ROOT}) for c in plain.clusters)
    spares = tuple(s.model_copy(update={"agent_password": SPARE}) for s in plain.spares)
    config = plain.model_copy(update={"clusters": clusters, "spares": spares})
    await Secret(value=SPARE).asave("canary-spare", overwrite=True)
    await Secret(value=WRONG).asave("canary-wrong", overwrite=True)
    monkeypatch.delenv("NOT_SET", raising=False)
    left: dict[str, list[str]] = defaultdict(list)

    ended = {
        name: await run(await stage(config, ending.speed), ending, left, asked)
        for name, ending in ENDINGS.items()
    }

    places = {
        **{name: "\n".join(texts) for name, texts in left.items()},
        **await known_to_prefect(),
        "logs of this process": "\n".join(overheard.lines),
    }
    hits = {name: sum(text.count(form) for form in FORMS) for name, text in places.items()}
    rows = [(name, len(text), hits[name]) for name, text in places.items()]
    rows.append(("all", sum(map(len, places.values())), sum(hits.values())))
    table = [f"{len(ended)} endings × {len(SECRETS)} secrets", "characters  hits  place searched"]
    table += [f"{size:>10,}  {found:>4}  {name}" for name, size, found in rows]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(table) + "\n")
    assert ended == {name: ending.kind for name, ending in ENDINGS.items()}
    for name, text in places.items():
        assert SURE_TO_BE_FOUND.get(name, "127.0.") in text, f"{name} was not really searched"
    assert sum(hits.values()) == 0
