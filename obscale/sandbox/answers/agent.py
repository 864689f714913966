"""The answers of an agent about itself and its host.

Source: ob/agent/api/{info,host,session,agent}_handler.go, 4.5.0.0.
"""

import secrets
from typing import Any, Final

from obscale.sandbox.agents import CLUSTER_AGENT, SINGLE, Agent
from obscale.sandbox.auth import KEYS_BYTES, seal_answer
from obscale.sandbox.clock import GO_ZERO_TIME, NANOSECONDS, go_time
from obscale.sandbox.errors import Panic, Refusal
from obscale.sandbox.keys import served_public_key
from obscale.sandbox.request import NO_DATA, Call, bind_failed

RUNNING: Final = 2
"""`state` of a healthy agent."""
SESSION_BYTES: Final = 32


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


def git_info(call: Call) -> dict[str, Any]:
    """`GET /git-info`: which build this is."""
    return {
        "gitBranch": "sandbox",
        "gitCommitId": "0" * 40,
        "gitShortCommitId": "0" * 7,
        "gitCommitTime": "",
        "version": call.agent.version,
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
    """`GET /observer/info`: the local server, without a database too."""
    agent = call.agent
    cluster, observer = call.member_of(), agent.observer
    server = None
    if cluster and observer:
        server = cluster.server_at(agent.ip, observer.rpc_port)
    real = agent.files.real
    data: dict[str, Any] = {
        "id": server.id if server and agent.has_database else 0,
        "ip": agent.ip,
        "svr_port": observer.rpc_port if observer else 0,
        "sql_port": observer.sql_port if observer else 0,
        "version": agent.ob_version.replace("-", "_"),
        "with_rootserver": bool(server and server.id == 1),
        "ob_status": agent.ob_state,
        "inner_status": "ACTIVE" if server and agent.has_database else "",
        "start_time": GO_ZERO_TIME,
        "stop_time": GO_ZERO_TIME,
        "architecture": "",
        "data_dir": real(observer.data_dir) if observer else "",
        "redo_dir": real(observer.redo_dir) if observer else "",
        "obshell_port": 0,
    }
    if agent.has("shared storage"):
        data["log_dir"] = f"{agent.home}/log"
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
    session = call.json_body().get("session_id")
    if not isinstance(session, str):
        raise bind_failed("Key: 'SessionId' Error:Field validation failed on the 'required' tag")
    call.agent.sessions.pop(session, None)
    return NO_DATA


def set_agent_password(call: Call) -> Any:
    """`POST /agent/password`: nothing removes it again."""
    if call.agent.identity not in (SINGLE, CLUSTER_AGENT):
        raise Panic("odd identity")
    password = call.json_body().get("password")
    if not isinstance(password, str):
        raise bind_failed("Key: 'Password' Error:Field validation failed on the 'required' tag")
    call.agent.agent_password = password
    return NO_DATA


def _started_at_nanoseconds(call: Call, agent: Agent) -> int:
    """`startAt`: nanoseconds since the epoch."""
    return round(call.world.wall_of(agent, agent.started_at_virtual) * NANOSECONDS)
