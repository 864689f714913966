"""The answers of an agent about itself and its host.

Source: ob/agent/api/{info,host,session,agent}_handler.go, 4.5.0.0.
"""

import secrets
from typing import Any, Final

from obscale.sandbox.agents import CLUSTER_AGENT, SINGLE, Agent
from obscale.sandbox.answers.observers import own_server, row_of_server, stats_of_server
from obscale.sandbox.auth import KEYS_BYTES, seal_answer
from obscale.sandbox.clock import GO_ZERO_TIME, NANOSECONDS, go_time
from obscale.sandbox.errors import Panic, Refusal
from obscale.sandbox.keys import served_public_key
from obscale.sandbox.request import NO_DATA, Call, require

RUNNING: Final = 2
"""`state` of a healthy agent."""
SESSION_BYTES: Final = 32
EMPTY_OBSERVER: Final[dict[str, Any]] = {
    "id": 0,
    "version": "",
    "with_rootserver": False,
    "inner_status": "",
    "start_time": GO_ZERO_TIME,
    "stop_time": GO_ZERO_TIME,
    "architecture": "",
    "obshell_port": 0,
}
COMMIT: Final = "61ee147"
"""The commit of 4.5.0.0."""


def time(call: Call) -> str:
    """`GET /time`: the agent's own clock."""
    now = call.world.clock.now()
    return go_time(call.world.wall_of(call.agent, now), call.world.config.utc_offset_minutes)


def info(call: Call) -> dict[str, Any]:
    """`GET /info`: who the agent is; fields appear with the release that brought them."""
    agent = call.agent
    data: dict[str, Any] = {
        "pid": agent.pid,
        "state": RUNNING,
        "startAt": _started_at_nanoseconds(call, agent),
        "homePath": agent.home,
    }
    if agent.has("obVersion"):
        data["obVersion"] = agent.binary_version()
    if agent.has("dashboard"):
        data["architecture"] = agent.host.config.architecture
    data |= {
        "ip": agent.ip,
        "port": agent.port,
        "zone": agent.zone,
        "identity": agent.identity,
        "version": agent.version,
    }
    if agent.has("agent password"):
        data |= {"isObproxyAgent": False, "security": bool(agent.agent_password)}
    if agent.has("supportedAuth"):
        data["supportedAuth"] = ["v2"]
    return data


def git_info(_call: Call) -> dict[str, Any]:
    """`GET /git-info`: which build this is; builds of the product name no branch and no time."""
    return {
        "branch": "",
        "commitId": COMMIT,
        "shortCommitId": COMMIT,
        "commitTime": "",
    }


def secret(call: Call) -> dict[str, Any]:
    """`GET /secret`: the public key requests to this agent are sealed with."""
    agent = call.agent
    return {"ip": agent.ip, "port": agent.port, "public_key": served_public_key(agent.key)}


def status(call: Call) -> dict[str, Any]:
    """`GET` or `POST /status`: the agent's, and its observer's, state."""
    return _printed_status(call, call.agent)


def _printed_status(call: Call, agent: Agent) -> dict[str, Any]:
    """The status of any agent, as it prints it itself."""
    data: dict[str, Any] = {
        "agent": agent.printed(),
        "state": RUNNING,
        "version": agent.version,
        "pid": agent.pid,
        "startAt": _started_at_nanoseconds(call, agent),
        "port": agent.port,
        "obState": agent.ob_state,
    }
    if agent.sql_port and agent.has("dashboard"):
        data["sqlPort"] = agent.sql_port
    return data | {"underMaintenance": agent.under_maintenance}


def agents_status(call: Call) -> dict[str, Any]:
    """`GET /agents/status`: every agent this one knows and reaches."""
    cluster = call.member_of()
    known = cluster.agents if cluster and call.agent.identity == CLUSTER_AGENT else [call.agent]
    return {
        agent.address: _printed_status(call, agent)
        for agent in known
        if not (agent.down or agent.silent)
    }


def host_info(call: Call) -> dict[str, Any]:
    """`GET /agent/host-info`: the machine, in the texts of its shell commands."""
    return call.agent.host.printed(call.agent.ip)


def observer_info(call: Call) -> dict[str, Any]:
    """`GET /observer/info`: the local server, without a database too; its stats stay empty."""
    agent = call.agent
    observer = agent.observer if agent.observer and agent.observer.reported_ports else None
    data = EMPTY_OBSERVER | {
        "ip": agent.ip,
        "svr_port": observer.rpc_port if observer else 0,
        "sql_port": observer.sql_port if observer else 0,
        "stats": stats_of_server(None, None),
    }
    server = own_server(agent) if agent.has_database else None
    if server is not None:
        data |= row_of_server(call, server)
    home = agent.home
    data |= {
        "ob_status": agent.ob_state,
        "data_dir": agent.files.real(
            agent.observer.data_dir if agent.observer else f"{home}/store"
        ),
        "redo_dir": agent.files.real(agent.observer.redo_dir) if agent.observer else "",
    }
    if agent.has("shared storage"):
        data["log_dir"] = f"{home}/log"
    return data


def login(call: Call) -> str:
    """`POST /login`: a session id, sealed with the keys of the request."""
    if len(call.keys) != KEYS_BYTES:
        raise Refusal(
            500,
            "Request.Body.Decrypt.AES.KeyAndIv.Invalid",
            "Unauthorized: AES key and IV size error",
        )
    session = secrets.token_hex(SESSION_BYTES)
    call.agent.sessions[session] = call.wall_seconds
    return seal_answer(session, call.keys)


def logout(call: Call) -> Any:
    """`POST /logout`: forget a session."""
    session = call.text("session_id")
    require("LogoutSessionParam", {"SessionID": session})
    call.agent.sessions.pop(session, None)
    return NO_DATA


def set_agent_password(call: Call) -> Any:
    """`POST /agent/password`: nothing removes it again."""
    if call.agent.identity not in (SINGLE, CLUSTER_AGENT):
        raise Panic("odd identity")
    password = call.text("password")
    require("SetAgentPasswordParam", {"Password": password})
    call.agent.agent_password = password
    return NO_DATA


def _started_at_nanoseconds(call: Call, agent: Agent) -> int:
    """`startAt`: nanoseconds since the epoch."""
    return round(call.world.wall_of(agent, agent.started_at_virtual) * NANOSECONDS)
