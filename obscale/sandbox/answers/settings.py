"""The answer to who sets parameters of a cluster, its servers or its tenants.

Source: ob/agent/api/obcluster_handler.go, ob/agent/executor/ob/parameter.go,
ob/agent/service/obcluster/obcluster.go, 4.5.0.0.
"""

import re
from typing import Any, Final

from obscale.sandbox.capacity import read_capacity, read_integer
from obscale.sandbox.cluster import Cluster, Server, Tenant
from obscale.sandbox.errors import Refusal, no_database, wrong_type
from obscale.sandbox.parameters import PARAMETERS, Parameter
from obscale.sandbox.request import NO_DATA, Call, bind_failed, require

FORM: Final = "SetObclusterParametersParam"
OF_ONE: Final = "SetSingleObclusterParameterParam.params"
TEXTS: Final = ("name", "value", "scope")
LISTS: Final = ("zones", "servers", "tenants")
CLUSTER: Final = "CLUSTER"
TENANT: Final = "TENANT"
SETTING: Final = re.compile(r"`?(\w+)`?\s*=\s*\"([^\"]*)\"")
"""One of the settings in a statement: name and value go in without being escaped."""
UNKNOWN: Final = "Error 5099 (42000): System config unknown"
WRONG_VALUE: Final = "Error 1210 (HY000): Incorrect arguments to config value"
READONLY: Final = "Error 4179 (HY000): config item not editable"
NO_SQL: Final = "Error 1064 (42000): You have an error in your SQL syntax"


def set_parameters(call: Call) -> Any:
    """`PATCH /obcluster/parameters`: one after another; what was set before an error stays set."""
    cluster = call.own_cluster()
    entries = _bind(call)
    for entry in entries:
        _check(entry)
    for entry in entries:
        if not call.agent.has_database:
            raise no_database(call.agent)
        for kind, name in _places(entry):
            _carry_out(call, cluster, entry, kind, name)
    return NO_DATA


def _bind(call: Call) -> list[dict[str, Any]]:
    listed = call.json_body().get("params")
    if listed is not None and not isinstance(listed, list):
        raise bind_failed(wrong_type(listed, f"{FORM}.params", f"[]param.{OF_ONE}"))
    require(FORM, {"Params": listed is not None})
    entries = []
    for each in listed or []:
        if not isinstance(each, dict):
            raise bind_failed(wrong_type(each, f"{FORM}.params", "param.SetSingle"))
        entry = {str(name).lower(): value for name, value in each.items() if value is not None}
        for name in TEXTS:
            if not isinstance(entry.setdefault(name, ""), str):
                raise bind_failed(wrong_type(entry[name], f"{OF_ONE}.{name}", "string"))
        for name in LISTS:
            if not isinstance(entry.setdefault(name, []), list):
                raise bind_failed(wrong_type(entry[name], f"{OF_ONE}.{name}", "[]string"))
        if not isinstance(entry.setdefault("all_user_tenant", False), bool):
            raise bind_failed(
                wrong_type(entry["all_user_tenant"], f"{OF_ONE}.all_user_tenant", "bool")
            )
        entries.append(entry)
    return entries


def _check(entry: dict[str, Any]) -> None:
    scope = entry["scope"]
    of_tenants = entry["tenants"], entry["all_user_tenant"]
    if scope not in (CLUSTER, TENANT):
        raise Refusal(400, "OB.Parameter.Scope.Invalid", f"Parameter scope '{scope}' is invalid")
    if entry["zones"] and entry["servers"]:
        raise _illegal("zones or servers", "zones and servers cannot be set at the same time")
    if scope == TENANT and all(of_tenants):
        raise _illegal(
            "tenants or all_user_tenant",
            "parameter tenants and all_user_tenant cannot be set at the same time",
        )
    if scope == CLUSTER and any(of_tenants):
        raise _illegal(
            "tenants or all_user_tenant",
            "parameter tenants and all_user_tenant cannot be set when scope is CLUSTER",
        )


def _illegal(what: str, why: str) -> Refusal:
    return Refusal(400, "Common.IllegalArgument", f"The input parameter '{what}' is illegal: {why}")


def _places(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """One statement each: what kind of place it names, and which."""
    if entry["scope"] == TENANT:
        if entry["all_user_tenant"]:
            return [("tenants", "ALL_USER")]
        return [("tenants", name) for name in entry["tenants"]] or [("tenants", "sys")]
    for kind in ("zones", "servers"):
        if entry[kind]:
            return [(kind, name) for name in entry[kind]]
    return [("everywhere", "")]


def _carry_out(call: Call, cluster: Cluster, entry: dict[str, Any], kind: str, place: str) -> None:
    card = call.world.hand.draw("parameter_refused", target=call.agent, cluster=cluster.name)
    if card is not None:
        raise _sql_error(card.text or WRONG_VALUE)
    settings = SETTING.findall(f'`{entry["name"]}` = "{entry["value"]}"')
    if not settings:
        raise _sql_error(NO_SQL)
    rows = [_row(name, value) for name, value in settings]
    for row, (_, value) in zip(rows, settings, strict=True):
        for server in _servers(cluster, kind, place) if row.scope == CLUSTER else ():
            server.observer.values[row.name] = value
        for tenant in _tenants(cluster, kind, place) if row.scope == TENANT else ():
            tenant.parameters[row.name] = value


def _row(name: str, value: str) -> Parameter:
    row = next((each for each in PARAMETERS if each.name == name), None)
    if row is None:
        raise _sql_error(UNKNOWN)
    if row.edit_level == "READONLY":
        raise _sql_error(READONLY)
    try:
        if row.data_type == "CAPACITY":
            read_capacity(value)
        elif row.data_type == "INT":
            read_integer(value)
    except ValueError:
        raise _sql_error(WRONG_VALUE) from None
    return row


def _servers(cluster: Cluster, kind: str, place: str) -> list[Server]:
    return [
        server
        for server in cluster.servers
        if kind == "everywhere"
        or (kind == "zones" and server.zone == place)
        or (kind == "servers" and server.address == place)
    ]


def _tenants(cluster: Cluster, kind: str, place: str) -> list[Tenant]:
    if kind != "tenants":
        return cluster.tenants()[:1]
    everybody = cluster.tenants()
    return [
        tenant
        for tenant in everybody
        if place == tenant.name or (place == "ALL_USER" and tenant is not everybody[0])
    ]


def _sql_error(text: str) -> Refusal:
    return Refusal(400, "MySQL.Error", f"MySQL error: {text}")
