"""`python -m tests.docs.json_page`: prints docs/json.md, and checks what commands write against it.

Plans, reports and evidence are described by their models; what a command makes by itself by the
rows below. `problems` holds a command's output to both.
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from obscale.batch.plan import BatchPlan
from obscale.batch.report import BatchReport
from obscale.pin.settings import PinnedServer
from obscale.plan import Plan
from obscale.plan.grow import GrowthTold
from obscale.recovery.diagnosis import Diagnosis
from obscale.report.audit import Evidence
from obscale.report.report import ScaleOutReport
from obscale.report.use import UseReport

MODELS: Final = (
    Plan,
    GrowthTold,
    PinnedServer,
    BatchPlan,
    ScaleOutReport,
    UseReport,
    BatchReport,
    Diagnosis,
    Evidence,
)
PLAIN: Final = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


@dataclass(frozen=True)
class Row:
    """One field. `optional`: it may be missing."""

    field: str
    type: str
    meaning: str
    optional: bool = False


VERSION = Row("schema_version", "integer", "see above")
EXIT = Row("exit_code", "integer", "what the command exits with")
SHAPES: Final[dict[str, tuple[Row, ...]]] = {
    "Error": (
        Row("kind", "string", "stable; `obscale explain KIND` tells what it means"),
        Row("message", "string", "what happened, and the next step"),
        Row("hint", "string", "the next step alone, may be empty"),
        EXIT,
        Row("problems", "array of string", "each fault of a request, a line each", True),
        Row("changes", "array of string", "what has changed since the plan was made", True),
        Row("agent", "string", "the agent that was asked", True),
        Row("step", "string", "what was being done", True),
        Row("trace_id", "string", "by which the agent's log names the request", True),
        Row("code", "string", "obshell's own error code", True),
    ),
    "Run": (
        Row("exit_code", "integer", "of this node"),
        Row("report", "[ScaleOutReport]", "missing where it ended before there was one", True),
        Row("error", "[Error]", "why it is not verified", True),
    ),
    "PlannedRemoval": (
        Row("target", "string", "`ip:port` of the agent that leaves; of a whole zone its name"),
        Row("zone", "string", "it leaves"),
        Row("verdict", "string", "in words"),
        Row("findings", "array of [Finding]", "the gravest first"),
    ),
    "PlannedReplacement": (
        Row("target", "string", "`ip:port` of the agent that leaves; of a whole zone its name"),
        Row("zone", "string", "it leaves"),
        Row("verdict", "string", "in words"),
        Row("findings", "array of [Finding]", "the gravest first"),
    ),
    "Proved": (Row("report", "[ScaleOutReport]", "what was proved of one node"),),
    "Undone": (
        Row("dag_id", "string", "the DAG that was rolled back"),
        Row("target", "string", "its target, `ip:port`; empty where it had named none"),
        Row("orphan", "string or null", "an observer that is left running there, in words"),
    ),
    "ConnectedAgent": (
        Row("agent", "string", "`ip:port`"),
        Row("zone", "string", "its zone"),
        Row("obshell", "string", "its version"),
        Row("oceanbase", "string", "version of its OceanBase"),
        Row("auth", "string", "how requests to it are signed"),
        Row("key", "string", "fingerprint of its public key"),
    ),
    "ComparedAgent": (
        Row("agent", "string", "`ip:port`"),
        Row("obshell", "string", "its version"),
        Row("age", "string", "`recorded`, `older`, `new` or `unknown`"),
        Row("identity", "string", "what it says it is"),
        Row("verdict", "string", "in words"),
        Row("answers", "array of [ComparedAnswer]", "one for each endpoint"),
    ),
    "ComparedAnswer": (
        Row("asked", "string", "method and path"),
        Row("since", "string", "version of obshell that has it first"),
        Row("answer", "string", "how it compares"),
        Row("words", "array of string", "what differs"),
    ),
    "SandboxCluster": (
        Row("name", "string", "of the cluster"),
        Row("id", "integer", "of the cluster"),
        Row("zones", "array of string", "their names"),
        Row("agents", "array of [SandboxAgent]", "its members"),
        Row("root_password", "string", "of root@sys; opens nothing but this simulation"),
    ),
    "SandboxAgent": (
        Row("ip", "string", "where it listens"),
        Row("port", "integer", "where it listens"),
        Row("zone", "string", "its zone"),
    ),
    "SandboxSpare": (
        Row("ip", "string", "where it listens"),
        Row("port", "integer", "where it listens"),
        Row("agent_password", "string", "its own; empty: none"),
    ),
    "ShownCluster": (
        Row("name", "string", "of the cluster"),
        Row("id", "integer", "of the cluster"),
    ),
    "ShownZone": (
        Row("zone", "string", "its name"),
        Row("region", "string", "its region"),
        Row("status", "string", "as the cluster says"),
        Row("observers", "array of [ShownObserver]", "those in it"),
    ),
    "ShownObserver": (
        Row("observer", "string", "`ip:rpc_port`, IPv6 in brackets"),
        Row("status", "string", "as the cluster says"),
        Row("inner_status", "string", "as OceanBase's own table says"),
        Row("version", "string", "its build"),
        Row("agent", "string", "`ip:port` of the agent beside it; empty: not told"),
        Row("agent_answers", "boolean or null", "null: it was not asked"),
        Row("cpu", "[ShownAmount]", "cores"),
        Row("memory_bytes", "[ShownAmount]", "for units of tenants"),
        Row("data_disk_bytes", "[ShownAmount]", "the data file"),
    ),
    "ShownAmount": (
        Row("total", "number", "offered"),
        Row("assigned", "number", "taken"),
    ),
    "ShownAgent": (
        Row("agent", "string", "`ip:port`"),
        Row("zone", "string", "its zone"),
        Row("identity", "string", "as the cluster lists it"),
        Row("obshell", "string", "its version"),
        Row("answers", "boolean or null", "null: it was not asked"),
        Row("why_silent", "string", "empty where it answers"),
    ),
    "ShownLock": (
        Row("held", "boolean or null", "null: what can be read does not tell"),
        Row("dag", "string or null", "the DAG that holds it"),
    ),
    "ShownDag": (
        Row("id", "string", "as obshell shows it"),
        Row("name", "string", "e.g. `Cluster scale out`"),
        Row("state", "string", "PENDING, READY, RUNNING, FAILED, SUCCEED"),
        Row("operator", "string", "what it was last told"),
        Row("stage", "integer", "at which it is"),
        Row("stages", "integer", "how many it has"),
        Row("node", "string", "the step of that stage"),
        Row("target", "string or null", "`ip:port` of the agent that joins, once it is told"),
        Row("lock", "string", "`holds`, `free` or `unknown`"),
    ),
    "ShownRun": (
        Row("id", "string", "of the flow run in Prefect"),
        Row("name", "string", "of the run"),
        Row("state", "string", "its name, e.g. `Verified`"),
        Row("state_type", "string", "Prefect's own type"),
        Row("targets", "array of string", "`ip:port` of its targets"),
        Row("started_at", "string or null", "time, ISO 8601"),
        Row("ended_at", "string or null", "time, ISO 8601"),
    ),
    "Topic": (
        Row("word", "string", "as plans, reports and errors write it"),
        Row("kind", "string", "rule, proof, cause, exit code, kind of error, or fault card"),
        Row("title", "string", "what it says, in a sentence"),
        Row("lines", "object", "what else is known, texts by label"),
    ),
}
RUNS = (
    VERSION,
    Row("runs", "array of [Run]", "one for each node that was begun"),
    Row("error", "[Error]", "of the node that ended the rest", True),
)
COMMANDS: Final[dict[str, tuple[str, tuple[Row, ...] | str, dict[str, Any]]]] = {
    "plan": ("A request of one cluster.", "Plan", {}),
    "plan, a batch": ("A batch or a table.", "BatchPlan", {}),
    "plan, by number": (
        "With --grow.",
        (
            VERSION,
            Row("verdict", "string", "as in a plan; `blocked` where spares are missing"),
            Row("ready", "boolean", "whether it may be applied"),
            Row("next", "string", "the one thing to do now"),
            Row("grow", "[GrowthTold]", "who is chosen of the spares, who is not, and why"),
            Row("plan", "[Plan] or null", "of the request; null: spares are missing"),
        ),
        {},
    ),
    "suggest": (
        "",
        (
            VERSION,
            Row("request", "object", "in the shape of a request file, see `obscale schema`"),
            Row("why", "object", "the reason for each value, texts by key"),
            Row("notes", "array of string", "what to look at on the host, or in the cluster"),
            Row("verdict", "string", "as in a plan"),
            Row("warnings", "array of [Finding]", "what the rules warn of"),
        ),
        {
            "request": {
                "cluster": "prod-east",
                "nodes": [{"agentInfo": {"ip": "10.0.0.4", "port": 2886}, "zone": "zone2"}],
            },
            "why": {"zone": "the smallest: zone1 2, zone2 1, zone3 2"},
            "notes": [],
            "verdict": "ready",
            "warnings": [],
        },
    ),
    "apply": ("A request of one cluster, or a plan of it.", RUNS, {}),
    "apply, a batch": (
        "A batch or a table.",
        (
            VERSION,
            Row("batch", "[BatchReport]", "how each row ended"),
            Row("error", "[Error]", "where not all rows are verified", True),
        ),
        {},
    ),
    "remove": (
        "As `apply`, one run for each node that leaves.",
        RUNS,
        {},
    ),
    "remove, with --plan": (
        "Nothing is sent.",
        (
            VERSION,
            Row("ready", "boolean", "whether no rule hinders any of them"),
            Row("removals", "array of [PlannedRemoval]", "one for each node, or the zone"),
        ),
        {},
    ),
    "replace": (
        "As `apply`, one run for each pair; its report holds one of each half below `halves`.",
        RUNS,
        {},
    ),
    "replace, with --plan": (
        "Nothing is sent.",
        (
            VERSION,
            Row("ready", "boolean", "whether no rule hinders any of them"),
            Row("replacements", "array of [PlannedReplacement]", "one for each pair"),
        ),
        {},
    ),
    "rehearse": ("As `apply`.", RUNS, {}),
    "verify": (
        "",
        (
            VERSION,
            Row("verified", "boolean", "whether all nodes are"),
            Row("runs", "array of [Proved]", "one for each node, in the order of the request"),
        ),
        {},
    ),
    "pin": (
        "",
        (
            VERSION,
            Row("pinned", "boolean", "whether all is in force, and nothing else has changed"),
            Row("servers", "array of [PinnedServer]", "one for each node of the request"),
        ),
        {},
    ),
    "watch": (
        "",
        (VERSION, EXIT, Row("report", "[ScaleOutReport]", "of the node, verified")),
        {},
    ),
    "recover": (
        "What was done; or, where nothing was, why not, and what was found.",
        (
            VERSION,
            Row("exit_code", "integer", "what the command exits with", True),
            Row("report", "[ScaleOutReport]", "after RETRY: of the node, verified", True),
            Row("undone", "[Undone]", "after ROLLBACK, also of a removal that was stopped", True),
            Row("error", "[Error]", "why it is not as wished", True),
            Row("diagnosis", "[Diagnosis]", "beside an error: what was found", True),
        ),
        {"exit_code": 0, "undone": {"dag_id": "01t6", "target": "10.0.0.4:2886", "orphan": None}},
    ),
    "use": (
        "",
        (
            VERSION,
            EXIT,
            Row("report", "[UseReport]", "missing where it ended before there was one", True),
            Row("error", "[Error]", "why the tenant is not BALANCED", True),
        ),
        {},
    ),
    "use, only planned": (
        "",
        (
            VERSION,
            Row("cluster", "string", "as a command names it"),
            Row("tenant", "string", "its name"),
            Row("unit_num", "integer", "asked for"),
            Row("unit_num_before", "integer or null", "as stored; null: not known"),
            Row("profile", "string", "`prod` or `lab`"),
            Row("ready", "boolean", "whether nothing blocks it"),
            Row("verdict", "string", "as in a plan"),
            Row("gain", "string", "what the change does, in words"),
            Row("findings", "array of [Finding]", "of all rules, the gravest first"),
            Row("next", "string", "the command, or what cures what blocks it"),
        ),
        {},
    ),
    "show": (
        "",
        (
            VERSION,
            Row("cluster", "[ShownCluster] or null", "null: it does not tell its name"),
            Row("entry", "string", "`ip:port` of the agent that was asked"),
            Row("zones", "array of [ShownZone]", "empty where the topology could not be read"),
            Row("agents", "array of [ShownAgent]", "as the cluster lists them"),
            Row("capacity", "[Capacity] or null", "of the cluster; before and after are the same"),
            Row("lock", "[ShownLock]", "the cluster's maintenance lock"),
            Row("unfinished", "array of [ShownDag]", "DAGs that have not ended well"),
            Row("last_dag", "[ShownDag] or null", "the cluster's newest"),
            Row("runs", "array of [ShownRun]", "recent runs in Prefect, newest first"),
            Row("runs_why_none", "string", "why none could be read; empty where they were"),
            Row("unread", "object", "what could not be read, with the reason, texts by name"),
        ),
        {
            "cluster": {"name": "obcluster", "id": 1},
            "entry": "10.0.0.1:2886",
            "zones": [],
            "agents": [
                {
                    "agent": "10.0.0.2:2886",
                    "zone": "zone2",
                    "identity": "CLUSTER AGENT",
                    "obshell": "4.5.0.0-12026050815",
                    "answers": False,
                    "why_silent": "10.0.0.2:2886: no connection (connection refused)",
                }
            ],
            "capacity": None,
            "lock": {"held": True, "dag": "01t6"},
            "unfinished": [
                {
                    "id": "01t6",
                    "name": "Cluster scale out",
                    "state": "FAILED",
                    "operator": "RUN",
                    "stage": 5,
                    "stages": 9,
                    "node": "Wait for local scale out start",
                    "target": "10.0.0.4:2886",
                    "lock": "holds",
                }
            ],
            "last_dag": None,
            "runs": [],
            "runs_why_none": "no Prefect is configured (PREFECT_API_URL), so no run is kept",
            "unread": {"topology": "the database did not answer"},
        },
    ),
    "connect": (
        "",
        (
            VERSION,
            Row("connection", "string", "its name"),
            Row("outcome", "string", "`stored` and the like, in words"),
            Row("cluster", "string", "name and id, as its agents say"),
            Row("agents", "array of [ConnectedAgent]", "the entry agents"),
            Row("warnings", "array of string", "what to look at"),
        ),
        {
            "connection": "prod-east",
            "outcome": "stored",
            "cluster": "obcluster, id 1",
            "agents": [
                {
                    "agent": "10.0.0.1:2886",
                    "zone": "zone1",
                    "obshell": "4.5.0.0-12026050815",
                    "oceanbase": "4.3.5.2-102000092025042111",
                    "auth": "v2",
                    "key": "SHA256:…",
                }
            ],
            "warnings": [],
        },
    ),
    "check-agent": (
        "",
        (
            VERSION,
            Row("as_expected", "boolean", "whether every agent answers as recorded"),
            Row("compared_with", "string", "the version of obshell that was recorded"),
            Row("next", "string", "what to do; empty: nothing"),
            Row("agents", "array of [ComparedAgent]", "those that answered"),
            Row("unheard", "array of [Error]", "why the others did not"),
            EXIT,
        ),
        {
            "as_expected": True,
            "compared_with": "4.5.0.0",
            "next": "",
            "agents": [
                {
                    "agent": "10.0.0.1:2886",
                    "obshell": "4.5.0.0-12026050815",
                    "age": "recorded",
                    "identity": "CLUSTER AGENT",
                    "verdict": "answers as obscale expects: all 20 answers",
                    "answers": [
                        {
                            "asked": "GET /api/v1/info",
                            "since": "4.2.2.0",
                            "answer": "as expected",
                            "words": [],
                        }
                    ],
                }
            ],
            "unheard": [],
            "exit_code": 0,
        },
    ),
    "sandbox": (
        "One line, once it listens.",
        (
            VERSION,
            Row("clusters", "array of [SandboxCluster]", "those that are served"),
            Row("spares", "array of [SandboxSpare]", "agents that may join"),
            Row("control", "string", "URL where faults are played"),
            Row(
                "tls", "object", "in a world of HTTPS: files to trust, as `tls` of a request", True
            ),
        ),
        {},
    ),
    "explain": (
        "",
        (VERSION, Row("topics", "array of [Topic]", "what goes by that word; without one: all")),
        {
            "topics": [
                {
                    "word": "3",
                    "kind": "exit code",
                    "title": "no agent could be asked, or Prefect is needed and does not answer; "
                    "nothing was sent",
                    "lines": {},
                }
            ]
        },
    ),
    "evidence": ("", "Evidence", {}),
    "any command that cannot go on": (
        "On standard output, beside the exit code.",
        (VERSION, Row("error", "[Error]", "why it ended")),
        {
            "error": {
                "kind": "spec",
                "message": "request.yaml: is empty; see the examples for what a request looks like",
                "hint": "",
                "exit_code": 2,
                "problems": [],
            }
        },
    ),
}
INTRO: Final = """# JSON of the command line

Made by `make docs` from the models and from what the commands write; do not edit.

With `--json` a command writes one JSON object to standard output and nothing else there; progress
and warnings go to standard error. `sandbox` writes it in one line as soon as it listens. Texts are
what agents and requests said, with control characters escaped as JSON does; they are never
translated. Sizes are bytes, times are seconds, or ISO 8601 with an offset. A whole plan or report
is seen by `obscale plan examples/demo-node.yaml --json` and the like beside `obscale sandbox`.

`schema_version` stands first in each. It is 1, and is raised when a field changes its meaning or
goes away; a field that is added does not raise it, so a program must let unknown fields pass.
Plans, reports and evidence carry a number of their own, inside of other objects too, since they
are kept.

| exit code | means |
| --- | --- |
"""
EDITORS: Final = """## Request files

`obscale schema > obscale.schema.json` writes the JSON Schema of what a request file may hold, in
any of its shapes. A request that begins with

```yaml
# yaml-language-server: $schema=obscale.schema.json
```

is completed and checked while it is typed by every editor with the YAML language server (VS Code,
Neovim, Emacs and others). The path is relative to the request. Rules judge more than a schema can:
`obscale plan` stays the judge.
"""


def type_of(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Say the type of a field in the words of this page."""
    if name := schema.get("$ref"):
        target = definitions[name]
        return f"[{name}]" if "properties" in target else type_of(target, definitions)
    if "anyOf" in schema:
        parts = dict.fromkeys(type_of(each, definitions) for each in schema["anyOf"])
        return " or ".join(sorted(parts, key=lambda part: part == "null"))
    kind = schema.get("type", "any")
    if "const" in schema or ("enum" in schema and kind == "any"):
        return "integer" if isinstance(schema.get("const", ""), int) else "string"
    if kind == "array" and "items" in schema:
        return f"array of {type_of(schema['items'], definitions)}"
    return str(kind)


def shapes() -> dict[str, tuple[Row, ...]]:
    """Give the rows of everything that is named on the page."""
    _, whole = models_json_schema(
        [(model, "serialization") for model in MODELS], ref_template="{model}"
    )
    definitions = whole["$defs"]
    known = {each.__name__: each for each in _models(BaseModel) if each.__module__[:7] == "obscale"}
    found = {}
    for name, schema in definitions.items():
        words = _words_of(known[name]) if name in known else {}
        found[name] = tuple(
            Row(field, type_of(told, definitions), words.get(field, ""))
            for field, told in schema.get("properties", {}).items()
        )
    return {name: rows for name, rows in found.items() if rows} | SHAPES


def _models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in base.__subclasses__():
        yield each
        yield from _models(each)


def _words_of(model: type[BaseModel]) -> dict[str, str]:
    """Read what stands below each field of a class, or in its description."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(model)))
    (body,) = (node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    words = {name: field.description or "" for name, field in model.model_fields.items()}
    for field, text in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            words[field.target.id] = " ".join(str(text.value.value).split())
    return words


def problems(command: str, data: Any) -> list[str]:
    """Hold what a command wrote to the page: fields that it does not name, types it does not say.

    Args:
        command: Heading of the page.
        data: What was written.
    """
    known = shapes()
    _, rows, _ = COMMANDS[command]
    return list(_problems(known[rows] if isinstance(rows, str) else rows, data, command, known))


def _problems(
    rows: tuple[Row, ...], data: Any, where: str, known: dict[str, tuple[Row, ...]]
) -> Iterator[str]:
    if not isinstance(data, dict):
        yield f"{where}: is no object"
        return
    named = {row.field: row for row in rows}
    for field in data.keys() - named.keys():
        yield f"{where}.{field}: is not on the page"
    for field, row in named.items():
        if field in data:
            yield from _typed(row.type, data[field], f"{where}.{field}", known)
        elif not row.optional:
            yield f"{where}.{field}: is missing"


def _typed(told: str, value: Any, where: str, known: dict[str, tuple[Row, ...]]) -> Iterator[str]:
    # An array of one or the other is written without the second `array of`.
    parts = [told] if told.startswith("array of ") else told.split(" or ")
    answers = [list(_of_type(part, value, where, known)) for part in parts]
    if all(answers):
        yield from min(answers, key=len)


def _of_type(told: str, value: Any, where: str, known: dict[str, tuple[Row, ...]]) -> Iterator[str]:
    if told.startswith("array of "):
        if not isinstance(value, list):
            yield f"{where}: is no array"
            return
        for at, each in enumerate(value):
            yield from _typed(told.removeprefix("array of "), each, f"{where}[{at}]", known)
    elif told.startswith("["):
        yield from _problems(known[told.strip("[]")], value, where, known)
    elif told != "any":
        is_other = isinstance(value, bool) and told != "boolean"
        if is_other or not isinstance(value, PLAIN[told]):
            yield f"{where}: {value!r} is no {told}"


def page() -> str:
    """Give docs/json.md."""
    from obscale.cli.exits import MEANINGS  # noqa: PLC0415 - only the page needs it

    known = shapes()
    parts = [INTRO + "".join(f"| {int(code)} | {means} |\n" for code, means in MEANINGS.items())]
    parts.append("## Commands\n")
    for command, (words, rows, example) in COMMANDS.items():
        parts.append(f"### {command}\n")
        if words:
            parts.append(f"{words}\n")
        if isinstance(rows, str):
            parts.append(f"The object is a {_linked(f'[{rows}]')}.\n")
            continue
        parts.append(_table(rows))
        if example:
            text = json.dumps({"schema_version": 1} | example, indent=2, ensure_ascii=False)
            parts.append(f"```json\n{text}\n```\n")
    parts.append("## Objects\n")
    for name in sorted(known):
        parts.append(f'### <a id="{name.lower()}"></a>{name}\n')
        parts.append(_table(known[name]))
    parts.append(EDITORS)
    return "\n".join(parts)


def _table(rows: tuple[Row, ...]) -> str:
    lines = ["| field | type | meaning |", "| --- | --- | --- |"]
    for row in rows:
        field = f"`{row.field}`" + (", may be missing" if row.optional else "")
        meaning = row.meaning.replace("|", "\\|")
        lines.append(f"| {field} | {_linked(row.type)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _linked(told: str) -> str:
    words = told.split(" ")
    return " ".join(
        f"[{word[1:-1]}](#{word[1:-1].lower()})" if word.startswith("[") else word for word in words
    )


if __name__ == "__main__":
    sys.stdout.write(page())
