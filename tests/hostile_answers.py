"""Agents of the sandbox whose answers hold hostile text in every field that takes text.

The fields are listed from obscale's models, so that a new one is spoilt too. What a run goes by
(`KEPT`) stays, but where a test has one route spoilt whole.
"""

import json
import re
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints
from unittest.mock import patch

from pydantic import BaseModel

from obscale.agent import dag, models, resources, wire
from obscale.sandbox.api import Api
from tests.hostile_text import HOSTILE, LONG

ROUTES: dict[str, tuple[str, Any]] = {
    "info": (r"info", models.AgentInfo),
    "secret": (r"secret", models.AgentSecret),
    "status": (r"status", models.AgentStatus),
    "host": (r"agent/host-info", models.HostInfo),
    "members": (r"ob/info", models.ObInfo),
    "cluster": (r"obcluster/info", models.ClusterInfo),
    "topology": (r"obcluster/topology/info", models.Topology),
    "parameters": (r"obcluster/parameters", models.Parameter),
    "unit limit": (r"obcluster/unit-config-limit", models.UnitConfigLimit),
    "statistics": (r"obcluster/statistics", resources.Statistics),
    "observer": (r"observer/info", models.Server),
    "licence": (r"obcluster/license", resources.License),
    "unit configs": (r"units/config", resources.UnitConfig),
    "pools": (r"resource-pools", resources.ResourcePool),
    "tenants": (r"tenants/overview", resources.TenantOverview),
    "dag": (r"task/dags?/.+|ob/scale_out", dag.Dag),
}
"""Paths of answers, and the model that reads each."""
NOT_READ = {"ScaleInRequest", "ScaleOutRequest", "Tenant", "TenantPool"}
"""What obscale itself sends, and what no command or flow asks for."""
KEPT = {
    "AgentInfo": {"ip", "identity", "version", "zone", "ob_version", "supported_auth"},
    "AgentIdentity": {"ip", "identity"},
    "AgentSecret": {"public_key"},
    "AgentEndpoint": {"ip"},
    "ListedAgent": {"ip", "zone", "identity", "version"},
    "ListedServer": {"svr_ip", "status", "build_version"},
    "ObCluster": {"name", "version"},
    "Server": {"ip", "version", "status", "inner_status", "data_dir", "redo_dir", "log_dir"},
    "RootServer": {"ip", "role", "zone"},
    "Zone": {"name", "status", "inner_status"},
    "ClusterInfo": {"cluster_name", "status", "ob_version"},
    "Parameter": {"name"},
    "ServerParameter": {"svr_ip", "zone", "value"},
    "Memory": {"total", "free", "available"},
    "Disk": {"total", "used", "mount_hash"},
    "HostBasics": {"host_hash"},
    "ObserverStatistics": {"host_hash"},
    "TenantOverview": {"tenant_name", "status"},
    "PlacedPool": {"zone_list"},
    "ResourcePool": {"zone_list"},
    "Dag": {"id", "name", "state", "operator", "additional_data"},
    "Node": {"state", "operator"},
    "SubTask": {"state", "operator"},
}
"""What preflight, polling and proofs go by: with other values a run ends where it reads them."""
LONGER = HOSTILE + "x" * LONG
TextField = tuple[str, str]
"""Name of a model and of its field, e.g. `("Zone", "name")`."""


def _models() -> set[type]:
    found = set()
    for module in (models, dag, resources, wire):
        for each in vars(module).values():
            if not isinstance(each, type):
                continue
            if (issubclass(each, wire.Wire) and each.__name__ not in {"Wire", "SnakeWire"}) or (
                is_dataclass(each)
            ):
                found.add(each)
    return {each for each in found if each.__name__ not in NOT_READ}


def text_fields() -> set[TextField]:
    """Every field of every model of an answer that takes text."""
    found: set[TextField] = set()
    for model in _models():
        for name, (_, kind) in fields_of(model).items():
            if takes_text(kind):
                found.add((model.__name__, name))
    return found


def fields_of(model: Any) -> dict[str, tuple[str, Any]]:
    """Fields by name, each with its name on the wire and its type."""
    hints = get_type_hints(model)
    if issubclass(model, BaseModel):
        return {n: (f.alias or n, hints[n]) for n, f in model.model_fields.items()}
    return {f.name: (f.name, hints[f.name]) for f in fields(model)}


def takes_text(kind: Any) -> bool:
    if isinstance(kind, type) and get_origin(kind) is None:
        return issubclass(kind, str)
    if get_origin(kind) is dict:
        return takes_text(get_args(kind)[1]) or get_args(kind)[1] is Any
    return any(map(takes_text, get_args(kind)))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind))


class Spoiler:
    """Puts hostile text into answers.

    Attributes:
        whole: Route of which nothing is kept; empty: none.
        served: Fields that were answered with hostile text.
    """

    def __init__(self) -> None:
        self.whole = ""
        self.refuses = ""
        self.log = HOSTILE
        self.served: set[TextField] = set()

    def body(self, path: str, body: bytes) -> bytes:
        """Spoil one answer."""
        found = next(
            (
                (route, model)
                for route, (pattern, model) in ROUTES.items()
                if re.fullmatch(rf"/api/v1/(?:{pattern})", path)
            ),
            None,
        )
        try:
            told = json.loads(body)
        except ValueError:
            return body
        if found is None or not isinstance(told, dict):
            return body
        route, model = found
        told["traceId"] = HOSTILE
        if route == self.refuses:
            told |= {"successful": False, "status": 500, "data": None}
            told["error"] = {"errCode": HOSTILE, "code": 1, "msg": LONGER, "message": LONGER}
        elif route == "licence":
            told |= {"successful": True, "status": 200, "error": None}
            told["data"] = self._of(model, {"node_num": 100}, route)
        elif told.get("successful"):
            told["data"] = self._data(model, told.get("data"), route)
        elif isinstance(told.get("error"), dict):
            told["error"] |= {"msg": LONGER, "message": LONGER}
        return json.dumps(told).encode()

    def _data(self, model: Any, data: Any, route: str) -> Any:
        if isinstance(data, list):
            return [self._of(model, each, route) for each in data]
        if isinstance(data, dict) and "contents" in data:
            return data | {"contents": self._data(model, data["contents"] or [], route)}
        return self._of(model, data, route) if isinstance(data, dict) else data

    def _of(self, model: Any, data: dict[str, Any], route: str) -> dict[str, Any]:
        told = dict(data)
        for name, (key, kind) in fields_of(model).items():
            at = (model.__name__, name)
            is_kept = route != self.whole and name in KEPT.get(model.__name__, set())
            spoilt = self._value(kind, told.get(key), route, at, is_kept=is_kept)
            if spoilt is not None:
                told[key] = spoilt
        return told

    def _value(self, kind: Any, value: Any, route: str, at: TextField, *, is_kept: bool) -> Any:
        origin, inner = get_origin(kind), get_args(kind)
        if origin in {Union, types.UnionType}:
            kind = next(each for each in inner if each is not type(None))
            return self._value(kind, value, route, at, is_kept=is_kept)
        if origin is tuple:
            return self._list(inner[0], value, route, at, is_kept=is_kept)
        if origin is dict:
            return self._mapping(inner[1], value, route, at, is_kept=is_kept)
        if _is_model(kind):
            return self._of(kind, value or {}, route) if value or _is_free(kind) else value
        if isinstance(kind, type) and issubclass(kind, str):
            return value if is_kept else self._hostile(at)
        return value

    def _list(self, kind: Any, value: Any, route: str, at: TextField, *, is_kept: bool) -> Any:
        if _is_model(kind):
            told = value or ([{}] if _is_free(kind) else [])
            return [self._of(kind, each, route) for each in told]
        if not takes_text(kind) or is_kept:
            return value
        return [*(value or []), self._hostile(at)]

    def _mapping(self, kind: Any, value: Any, route: str, at: TextField, *, is_kept: bool) -> Any:
        if not value:
            return value
        if kind is Any or (isinstance(kind, type) and issubclass(kind, str)):
            return (
                value if is_kept else {HOSTILE: HOSTILE} | dict.fromkeys(value, self._hostile(at))
            )
        return {
            (HOSTILE if route == self.whole else key): self._value(
                kind, each, route, at, is_kept=is_kept
            )
            for key, each in value.items()
        }

    def _hostile(self, at: TextField) -> str:
        self.served.add(at)
        return self.log if at == ("SubTask", "task_logs") else HOSTILE


def _is_free(kind: Any) -> bool:
    """Whether a model reads an empty answer."""
    return issubclass(kind, BaseModel) and not any(
        each.is_required() for each in kind.model_fields.values()
    )


@contextmanager
def hostile_answers() -> Iterator[Spoiler]:
    """Let every agent of every world in this process answer so."""
    spoiler, answer = Spoiler(), Api.answer

    def spoilt(api: Api, agent: Any, request: Any) -> Any:
        reply = answer(api, agent, request)
        path = request.target.partition("?")[0]
        return replace(reply, body=spoiler.body(path, reply.body))

    with patch.object(Api, "answer", spoilt):
        yield spoiler
