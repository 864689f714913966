"""Tests that the client reads all that a real obshell 4.5.0.0 answered, and judges it rightly."""

import base64
import json
import re
from collections import defaultdict
from dataclasses import fields
from datetime import datetime
from functools import cache
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import BaseModel, SecretStr

from obscale.agent import dag, models, resources
from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.envelope import read_envelope
from obscale.agent.models import (
    AgentEndpoint,
    Operator,
    ScaleInRequest,
    ScaleOutRequest,
    ServerParameter,
)
from obscale.agent.wire import SnakeWire, Wire
from obscale.errors import AgentError
from obscale.follow.progress import progress_of
from obscale.maintenance_lock import holds_lock
from obscale.recovery.case import Case, subject_of
from obscale.recovery.diagnosis import diagnose
from obscale.scale_out_dag import is_hollow, is_scale_out_of

REAL = Path(__file__).parents[2] / "data" / "real-obshell"
FOLDERS = ("single", "cluster", "cluster-observer-down", "scaling-out", "answers", "dags")
REQUEST = ScaleOutRequest(
    agent_info=AgentEndpoint(ip="10.77.0.4", port=2886), zone="zone1", ob_configs={}
)
ASKED = {
    r"GET info": lambda agent, _: agent.read_info(),
    r"GET secret": lambda agent, _: agent.read_secret(),
    r"GET status": lambda agent, _: agent.read_status(),
    r"GET time": lambda agent, _: agent.read_time(),
    r"GET agent/host-info": lambda agent, _: agent.read_host_info(),
    r"GET ob/info": lambda agent, _: agent.read_ob_info(),
    r"GET obcluster/info": lambda agent, _: agent.read_cluster_info(),
    r"GET obcluster/topology/info": lambda agent, _: agent.read_topology(),
    r"GET obcluster/parameters": lambda agent, _: agent.read_parameters(),
    r"GET obcluster/unit-config-limit": lambda agent, _: agent.read_unit_config_limit(),
    r"GET obcluster/statistics": lambda agent, _: agent.read_statistics(),
    r"GET obcluster/license": lambda agent, _: agent.read_license(),
    r"GET observer/info": lambda agent, _: agent.read_observer_info(),
    r"GET units/config": lambda agent, _: agent.read_unit_configs(),
    r"GET resource-pools": lambda agent, _: agent.read_resource_pools(),
    r"GET tenants/overview": lambda agent, _: agent.read_tenants(),
    r"GET tenant/(\w+)": lambda agent, name: agent.read_tenant(name),
    r"GET task/dag/unfinish": lambda agent, _: agent.read_unfinished_dags(),
    r"GET task/dag/ob/unfinish": lambda agent, _: agent.read_unfinished_cluster_dags(),
    r"GET task/dag/agent/unfinish": lambda agent, _: agent.read_unfinished_agent_dags(),
    r"GET task/dag/maintain/ob": lambda agent, _: agent.read_last_cluster_dag(),
    r"GET task/dag/maintain/agent": lambda agent, _: agent.read_last_agent_dag(),
    r"GET task/dags/ob": lambda agent, _: agent.read_cluster_dags(),
    r"GET task/dag/(\w+)": lambda agent, dag_id: agent.read_dag(dag_id),
    r"POST task/dag/(\w+)": lambda agent, dag_id: agent.operate_dag(dag_id, Operator.RETRY),
    r"POST ob/scale_out": lambda agent, _: agent.submit_scale_out(REQUEST),
}
"""How the client asks what was recorded; whatever else was recorded is read by its envelope."""

VERDICTS = {
    "single": {
        "AgentProtocolError": """
            any-path dag-empty double-slash info-head info-slash ob-agents-slash-post prefix-path
            root upper
        """,
        "AgentRefusedError": """
            agent-password-empty dag-op-missing si-empty so-array so-configs-missing
            so-configs-number so-empty so-garbage-json so-nobody so-nokeys so-nozone so-plain-16
            so-port-0 so-port-string so-shortkeys so-wrongkeys
        """,
        "AgentTroubleError": """
            dag-main-dags dag-maintain-agents dag-ob-unfinish dags-ob-nodetails dags-ob
        """,
        "DagNotFoundError": "dag-9 dag-far-local dag-malformed",
        "DatabaseDownError": """
            dag-1 dag-maintain-ob dag-noncanon dag-op-bad dag-op-cancel dag-op-pass dag-op-retry
            dag-op-rollback dag-op-unknown dag-showbad dag-unknown node-1 node-nodetails
            node-unknown subtask-1 subtask-logs subtask-unknown tenant-app tenant-none
        """,
        "IdentityMismatchError": """
            obcluster-charsets obcluster-info obcluster-license obcluster-parameters
            obcluster-topology resource-pools si-unknown so-both-ports so-existing-ip
            so-not-obshell so-rpc-empty so-rpc-x so-self so-unreachable tenants-overview-bad
            tenants-overview-mysql tenants-overview unit-config-limit unit-config-none
            unit-config-one units-config zone-delete-none
        """,
        "NotAuthorizedError": """
            hostinfo-noheader hostinfo-uri hostinfo-v1-header hostinfo-zh hostinfo-zhlist
            so-noheader
        """,
        "NotSupportedError": """
            info-delete info-options info-post rpc-noauth unknown-rpc unknown-v1-auth unknown-v1
        """,
        "OutcomeUnknownError": "so-keys-17 so-plain-json",
        "StaleKeyError": """
            hostinfo-badkeys hostinfo-notb64 hostinfo-otherkey hostinfo-truncated-header
            hostinfo-ts-number info-garbage-header
        """,
        "nothing": "dag-maintain-agent",
        "read": """
            dag-agent-unfinish dag-unfinish hostinfo-agent-header hostinfo-expired
            hostinfo-ts-empty hostinfo-ts-now hostinfo-ts-text hostinfo-wrongpw hostinfo http10
            info-gzip info-query info-trace info-with-header ob-info obcluster-statistics
            observer-info open-info open-secret open-status open-time status-trace
        """,
        "readable": """
            agents-status dags-agent encoded login ob-agents observer-delete-self open-git-info
            open-status-post si-self
        """,
    },
    "cluster": {
        "AgentProtocolError": """
            any-path dag-empty double-slash info-head info-slash ob-agents-slash-post prefix-path
            root upper
        """,
        "AgentRefusedError": """
            agent-password-empty dag-op-missing observer-delete-self si-empty si-self so-array
            so-both-ports so-configs-missing so-configs-number so-empty so-existing-ip
            so-garbage-json so-nobody so-nokeys so-not-obshell so-nozone so-plain-16 so-port-0
            so-port-string so-rpc-empty so-rpc-x so-shortkeys so-unreachable tenant-none
            tenants-overview-bad unit-config-none
        """,
        "AgentTroubleError": "obcluster-info tenant-app",
        "DagNotFoundError": """
            dag-1 dag-9 dag-far-local dag-malformed dag-noncanon dag-op-bad dag-op-cancel
            dag-op-pass dag-op-retry dag-op-rollback dag-op-unknown dag-showbad dag-unknown node-1
            node-nodetails node-unknown subtask-1 subtask-unknown
        """,
        "IdentityMismatchError": "so-self",
        "NotAuthorizedError": """
            hostinfo-agent-header hostinfo-expired hostinfo-noheader hostinfo-ts-empty
            hostinfo-ts-text hostinfo-uri hostinfo-v1-header hostinfo-wrongpw hostinfo-zh
            hostinfo-zhlist so-noheader
        """,
        "NotSupportedError": """
            info-delete info-options info-post rpc-noauth unknown-rpc unknown-v1-auth unknown-v1
        """,
        "OutcomeUnknownError": "so-keys-17 so-plain-json so-wrongkeys",
        "StaleKeyError": """
            hostinfo-badkeys hostinfo-notb64 hostinfo-otherkey hostinfo-truncated-header
            hostinfo-ts-number info-garbage-header
        """,
        "nothing": "dag-maintain-ob obcluster-license",
        "read": """
            dag-agent-unfinish dag-maintain-agent dag-ob-unfinish dag-unfinish dags-ob-nodetails
            dags-ob hostinfo-ts-now hostinfo http10 info-gzip info-query info-trace
            info-with-header ob-info obcluster-parameters obcluster-statistics obcluster-topology
            observer-info open-info open-secret open-status open-time resource-pools status-trace
            tenants-overview-mysql tenants-overview unit-config-limit units-config
        """,
        "readable": """
            agents-status dag-main-dags dag-maintain-agents dags-agent encoded login ob-agents
            obcluster-charsets open-git-info open-status-post si-unknown subtask-logs
            unit-config-one zone-delete-none
        """,
    },
    "cluster-observer-down": {
        "AgentProtocolError": "dag-empty ob-agents-slash-post",
        "AgentRefusedError": "dag-op-missing tenants-overview-bad",
        "DagNotFoundError": "dag-9 dag-malformed",
        "DatabaseDownError": """
            dag-maintain-ob dag-noncanon dag-ob-unfinish dag-op-bad dag-op-cancel dag-op-pass
            dag-op-retry dag-op-rollback dag-op-unknown dag-showbad dag-unknown dags-ob-nodetails
            dags-ob node-1 node-nodetails node-unknown obcluster-charsets obcluster-license
            obcluster-parameters resource-pools subtask-1 subtask-logs subtask-unknown tenant-app
            tenant-none unit-config-none unit-config-one units-config
        """,
        "NotAuthorizedError": """
            hostinfo-agent-header hostinfo-expired hostinfo-noheader hostinfo-ts-empty
            hostinfo-ts-text hostinfo-uri hostinfo-v1-header hostinfo-wrongpw hostinfo-zh
            hostinfo-zhlist
        """,
        "StaleKeyError": """
            hostinfo-badkeys hostinfo-notb64 hostinfo-otherkey hostinfo-truncated-header
            hostinfo-ts-number
        """,
        "read": """
            dag-1 dag-agent-unfinish dag-far-local dag-maintain-agent dag-unfinish hostinfo-ts-now
            hostinfo ob-info obcluster-info obcluster-statistics obcluster-topology observer-info
            open-info open-status tenants-overview-mysql tenants-overview unit-config-limit
        """,
        "readable": """
            agents-status dag-main-dags dag-maintain-agents dags-agent login ob-agents
            open-status-post
        """,
    },
    "scaling-out": {
        "AgentProtocolError": "dag-empty info-head info-slash ob-agents-slash-post",
        "AgentRefusedError": "dag-op-missing",
        "AgentTroubleError": """
            dag-1 dag-noncanon dag-ob-unfinish dag-showbad dag-unknown dags-ob-nodetails dags-ob
            ob-agents
        """,
        "DagNotFoundError": "dag-9 dag-malformed",
        "DatabaseDownError": """
            dag-maintain-ob dag-op-bad dag-op-cancel dag-op-pass dag-op-retry dag-op-rollback
            dag-op-unknown node-1 node-nodetails node-unknown subtask-1 subtask-logs
            subtask-unknown tenant-app tenant-none
        """,
        "IdentityMismatchError": """
            dag-unfinish obcluster-charsets obcluster-info obcluster-license obcluster-parameters
            obcluster-topology tenants-overview-bad tenants-overview-mysql tenants-overview
        """,
        "NotAuthorizedError": """
            dag-far-local hostinfo-agent-header hostinfo-expired hostinfo-noheader
            hostinfo-ts-empty hostinfo-ts-text hostinfo-uri hostinfo-v1-header hostinfo-wrongpw
            hostinfo-zh hostinfo-zhlist
        """,
        "NotSupportedError": "info-delete info-options info-post",
        "StaleKeyError": """
            hostinfo-badkeys hostinfo-notb64 hostinfo-otherkey hostinfo-truncated-header
            hostinfo-ts-number info-garbage-header
        """,
        "read": """
            dag-agent-unfinish dag-maintain-agent hostinfo-ts-now hostinfo info-gzip info-query
            info-trace info-with-header ob-info obcluster-statistics observer-info open-info
            open-status status-trace
        """,
        "readable": """
            agents-status dag-main-dags dag-maintain-agents dags-agent login open-git-info
            open-status-post
        """,
    },
    "answers": {
        "AgentProtocolError": "nan-obcluster-info nan-obcluster-topology-info",
        "DatabaseDownError": "post-via-agent-without-db",
        "IdentityMismatchError": "post-target-scaling scalein-scaleout-again",
        "NotAuthorizedError": """
            agentpw-hostinfo-agent-expired agentpw-hostinfo-agent-header-empty
            agentpw-hostinfo-agent-header-wrong agentpw-hostinfo-root-header-empty
            agentpw-hostinfo-root-header agentpw-set-again-noauth pwchange-agent2-empty-expired
            pwchange-agent3-old-after-new pwchange-agent3-wrong
        """,
        "UnderMaintenanceError": """
            post-target-in-maintenance-single post-under-maintenance-via2 post-under-maintenance
        """,
        "read": """
            agentpw-hostinfo-agent-header-ok agentpw-info ob-info-real obcluster-info-real
            post-scaleout-newzone-real post-scaleout-older-obshell pwchange-agent3-status
            scalein-dag-end scalein-info-after scalein-status-after
        """,
        "readable": """
            agentpw-set pwchange-agent2-old-still pwchange-agent3-back pwchange-agent3-new
            pwchange-agent3-old scalein-post
        """,
    },
}
"""Folder, verdict, recordings. `read`: a value of the client's models; `nothing`: there is none,
and that is no error; `readable`: obshell's own, of an endpoint the client does not ask; else the
error.
"""
NOT_RECORDED = {
    "License": "the recorded cluster was no standalone one",
    "Tenant": "the stand-ins' pools had no unit configs, so it was refused",
    "TenantPool": "as above",
}
"""Models that no recording fills, and why."""
CARRIED_OUT, UNDONE, FAILED = "carried out", "undone", "failed"
DAGS = {
    "dag-scaleout-succeed": (CARRIED_OUT, "9/9", "10.77.0.4:2886", "carried-out"),
    "dag-scaleout-older-obshell": (CARRIED_OUT, "9/9", "10.77.0.6:2886", "carried-out"),
    "dag-dirnotempty-after-retry": (CARRIED_OUT, "9/9", "10.77.0.9:2886", "carried-out"),
    "dag-executor-crash": (CARRIED_OUT, "9/9", "10.77.0.4:2886", "carried-out"),
    "dag-scaleout-maintainer-killed-rolledback": (
        UNDONE,
        "1/9 undoing",
        "10.77.0.7:2886",
        "rolled-back",
    ),
    # Its second node has not run, so nobody tells whose it is: it is waited for, never adopted.
    "dag-scaleout-failed-stage1": (FAILED, "1/9", "", "database-refused"),
    "dag-scaleout-failed-stage2-agentpw": (FAILED, "2/9", "10.77.0.8:2886", "wrong-agent-password"),
    "dag-scaleout-dirnotempty": (FAILED, "4/9", "10.77.0.9:2886", "directory-not-empty"),
    "dag-scaleout-failed-stage5": (FAILED, "5/9", "10.77.0.6:2886", "observer-not-loaded"),
    "dag-scaleout-maintainer-killed": (FAILED, "5/9", "10.77.0.7:2886", "observer-died"),
    "dag-scaleout-observer-died": (FAILED, "7/9", "10.77.0.7:2886", "add-server-refused"),
    # What a joining agent keeps itself is no scale-out of the cluster's.
    "dag-local-succeed": (CARRIED_OUT, "7/7", "", None),
    "dag-local-upgrade": (CARRIED_OUT, "8/8", "", None),
    "dag-local-after-kill": (CARRIED_OUT, "7/7", "", None),
    "dag-local-failed-start": (FAILED, "5/7", "", None),
    "dag-local-watch-failed": (FAILED, "6/7", "", None),
}
"""Recording: how it ended, where it stands, whose it is, and the cause as the DAG alone tells."""


@cache
def public_key() -> str:
    """Any key: nobody opens what is sealed with it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()


def recordings(folder):
    """Every recording of a folder by its name."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((REAL / folder).glob("*.json"))
    }


def response_of(recorded):
    """What was recorded, as it came over the wire."""
    status = int(recorded["status_line"].split()[1])
    told = recorded.get("json")
    text = recorded.get("text") or "" if told is None else json.dumps(told, ensure_ascii=False)
    headers = [
        (name, value)
        for name, value in recorded["headers"]
        if name.lower() not in {"content-length", "transfer-encoding", "content-encoding"}
    ]
    return httpx.Response(status, headers=headers, content=text.encode())


def envelope(data):
    """An answer of obshell's beside the recorded one."""
    return httpx.Response(
        200, json={"successful": True, "timestamp": "", "status": 200, "traceId": "", "data": data}
    )


async def read(recorded):
    """Ask the client for what was recorded; gives the verdict and the value that was read."""
    asked, answer = recorded["request"], response_of(recorded)
    path = asked["target"].partition("?")[0]
    who = {"ip": "10.77.0.1", "port": 2886, "identity": "CLUSTER AGENT", "version": "4.5.0.0"}
    beside = {
        "/api/v1/info": who | {"supportedAuth": ["v2"]},
        "/api/v1/secret": {"public_key": public_key()},
        "/api/v1/time": "2026-11-28T22:49:15+08:00",
    }

    def handle(request):
        own = request.method == asked["method"] and request.url.path == path
        return response_of(recorded) if own else envelope(beside[request.url.path])

    words = f"{asked['method']} {path.removeprefix('/api/v1/')}"
    ways = [(match, ask) for how, ask in ASKED.items() if (match := re.fullmatch(how, words))]
    try:
        if not ways:
            read_envelope(answer.status_code, answer.headers, answer.content)
            return "readable", None
        match, ask = ways[0]
        async with AgentClient(
            AgentAddress("10.77.0.1"),
            root_password=SecretStr("any"),
            transport=httpx.MockTransport(handle),
        ) as agent:
            value = await ask(agent, match[1] if match.lastindex else None)
    except AgentError as error:
        return type(error).__name__, None
    return "nothing" if value is None else "read", value


def compared(value, told, where):
    """Compare what was read with the JSON it was read from; gives how many values that were."""
    match value:
        case BaseModel():
            aliases = {info.alias or name: name for name, info in type(value).model_fields.items()}
            known = {alias for alias in aliases if alias in told}
            assert {aliases[alias] for alias in known} == value.model_fields_set, where
            return sum(
                compared(getattr(value, aliases[alias]), told[alias], f"{where}.{alias}")
                for alias in known
            )
        case ServerParameter():
            return sum(
                compared(getattr(value, each.name), told.get(each.name), f"{where}.{each.name}")
                for each in fields(value)
            )
        case dict():
            assert value.keys() == (told or {}).keys(), where
            return sum(compared(value[key], told[key], f"{where}.{key}") for key in value)
        case tuple():
            told = told or []
            assert len(value) == len(told), where
            return sum(compared(a, b, where) for a, b in zip(value, told, strict=True))
        case datetime():
            assert value == datetime.fromisoformat(told), where
        case _:
            assert value == told, where
    return 1


def parts(value):
    """Give every model within a value that was read."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from parts(getattr(value, name))
    elif isinstance(value, dict | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from parts(each)


def answer_models():
    """Give every model of an answer that obscale reads."""
    return {
        each
        for module in (dag, models, resources)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Wire) and each not in {Wire, SnakeWire}
    } - {ScaleInRequest, ScaleOutRequest}


@pytest.mark.parametrize("folder", VERDICTS)
async def test_each_recorded_answer_has_its_verdict(folder):
    """No recording is left out, and none is judged otherwise than its row says."""
    expected = {
        name: verdict for verdict, names in VERDICTS[folder].items() for name in names.split()
    }

    judged = {name: (await read(each))[0] for name, each in recordings(folder).items()}

    assert judged == expected


@pytest.mark.parametrize("folder", FOLDERS)
async def test_what_is_read_is_what_was_recorded(folder):
    """Every field of a model holds the very value of the JSON, in every answer that is read."""
    values = 0
    for name, each in recordings(folder).items():
        verdict, value = await read(each)
        if verdict == "read":
            told = each["json"]["data"]
            is_list = isinstance(value, tuple) and told is not None
            values += compared(value, told["contents"] if is_list else told or {}, name)

    assert values > 0


async def test_every_field_of_every_model_is_filled_by_some_recording():
    """A field whose name is not obshell's would stay at its default for ever."""
    filled = defaultdict(set)
    for folder in FOLDERS:
        for each in recordings(folder).values():
            for part in parts((await read(each))[1]):
                filled[type(part)] |= part.model_fields_set
    empty = {
        f"{kind.__name__}.{name}"
        for kind in answer_models() & set(filled)
        for name in set(kind.model_fields) - filled[kind]
    }

    assert not empty
    assert {kind.__name__ for kind in answer_models() - set(filled)} == set(NOT_RECORDED)


@pytest.mark.parametrize("name", sorted(recordings("dags")))
async def test_each_recorded_dag_is_judged(name):
    """Progress, ending, whose it is, whether it keeps the lock, and why it failed."""
    _, seen = await read(recordings("dags")[name])
    ending, stands, target, cause = DAGS[name]
    place, _, undoing = stands.partition(" ")
    found = diagnose(Case(dag=seen, target=subject_of(seen), info="not asked"))

    assert [seen.is_done, seen.is_undone, seen.is_failed] == [
        ending == each for each in (CARRIED_OUT, UNDONE, FAILED)
    ]
    assert progress_of(seen).text.startswith(" ".join(filter(None, ("stage", place, undoing))))
    assert (progress_of(seen).percent == 100) == (ending == CARRIED_OUT)
    assert not is_hollow(seen)
    assert holds_lock(seen) == (ending == FAILED)
    assert subject_of(seen) == target
    assert is_scale_out_of(seen, target, None) == (target != "")
    assert not is_scale_out_of(seen, "10.77.0.1:2886", None)
    if cause is not None:
        assert found.cause == cause
