"""DAGs with their logs, brought into texts in which a recorded and a played one are the same.

Every rule takes away one thing that differs between two runs of the same kind.
"""

import json
import re
from typing import Any

from tests.contract.real.timelines import RECORDED

RULES = {
    "addresses": (r"\b(?:10\.77\.0|127\.0\.1)\.\d+\b", "IP"),
    "homes": (r"/home/admin/(?:ob\d+|oceanbase)\b", "HOME"),
    "ids of local DAGs": (r"\b\d{15,}\b", "ID"),
    "ids of cluster DAGs": (r"\bDAG 1\d+\b", "DAG ID"),
    "process ids": (r"/proc/\d+/|--pid \d+", "PID"),
    "versions": (r"\b\d+\.\d+\.\d+\.\d+\b(?!:)", "VERSION"),
    "the zone": (r"'zone\d'", "'ZONE'"),
    "words of the database": (r"failed: Error 40\d\d.*", "failed: DATABASE"),
    "when a pool was made": (r"_zone4_\d{10}\b", "_zone4_STAMP"),
}
"""Name of a rule: what it looks for, what stands there afterwards."""
_USERS_LOG_STREAM = re.compile(
    r"  check multi paxos member alive of tenant '1\d{3}', log stream .*"
)
"""The stand-in observers had none but that of `sys`."""
_UNORDERED = "start cmd: ", "clear dir HOME/etc", "clear dir HOME/log"


def read_dag(name: str, folder: str = "dags") -> dict[str, Any]:
    """The DAG of `dags/NAME.json`: alone there, or in an answer."""
    text = (RECORDED / folder / f"{name}.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    answer: dict[str, Any] = content["json"]["data"] if "json" in content else content
    return answer


def shape(dag: dict[str, Any]) -> list[str]:
    """A DAG as lines: its head, then each node with its sub task, then that one's log."""
    agents: dict[tuple[str, int], int] = {}
    head = (
        f"{dag['name']} {dag['state']}/{dag['operator']} {dag['stage']}/{dag['max_stage']} "
        f"maintenance {dag['maintenance_type']} '{dag['maintenance_key']}' "
        f"data {dag['additional_data'] and sorted(dag['additional_data'])}"
    )
    lines = [head]
    for node in dag["nodes"]:
        (task,) = node["sub_tasks"]
        where = (task["execute_agent"]["ip"], task["execute_agent"]["port"])
        lines.append(
            f"'{node['name']}' {node['state']}/{node['operator']} data {node['additional_data']} | "
            f"'{task['name']}' {task['state']}/{task['operator']} x{task['execute_times']} "
            f"data {task['additional_data']} agent {agents.setdefault(where, len(agents) + 1)}"
        )
        lines += _log(task["task_logs"])
    return lines


def _log(lines: list[str] | None) -> list[str]:
    if lines is None:
        return ["  log: null"]
    told = [f"  {_plain(line)}" for line in lines]
    told = [line for line in told if not _USERS_LOG_STREAM.fullmatch(line)]
    # How many looks fell into the time an agent was away, a second tells.
    told = [
        line
        for place, line in enumerate(told)
        if not line.startswith("  WARN: send info api") or told[place - 1] != line
    ]
    # obshell goes through a map, in no order.
    for place in range(1, len(told)):
        pair = told[place - 1 : place + 1]
        if all(line.endswith(_UNORDERED[1:]) for line in pair):
            told[place - 1 : place + 1] = sorted(pair)
    return told


def _plain(line: str) -> str:
    for pattern, instead in RULES.values():
        line = re.sub(pattern, instead, line)
    head, found, command = line.partition(_UNORDERED[0])
    if not found:
        return line
    program, _, options = command.partition("/bin/observer")
    letters = sorted(re.findall(r"-(?!o)\w '[^']*'", options))
    others = sorted(
        name for text in re.findall(r"-o '([^']*)'", options) for name in text.split(",")
    )
    return f"{head}{found}{program}/bin/observer {letters} {others}"
