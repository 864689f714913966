"""Compares the obConfigs of a request with the parameters in force."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from obscale.agent.models import Parameter, joined_address
from obscale.preflight.facts import DEFAULT_PORTS, asked_port
from obscale.request.models import NodeSpec
from obscale.sizes import SizeError, parse_capacity

START_ONLY: Final = frozenset(
    {
        *("mysql_port", "rpc_port", "mysqlPort", "rpcPort"),
        *("data_dir", "redo_dir", "clog_dir", "slog_dir", "homePath"),
        *("zone", "cluster", "cluster_id", "local_ip", "devname", "rootPwd", "rootservice_list"),
    }
)
"""obConfigs keys obshell consumes itself; the topology proves them, not the parameters."""
NO_PARAMETER: Final = "the cluster knows no such parameter: it was ignored"
TENANTS_PARAMETER: Final = "a parameter of tenants: as a start option it has no effect"
PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_READ_ONLY: Final = "READONLY"
OF_TENANTS: Final = "TENANT"


def same_value(asked: str, found: str) -> bool:
    """Whether two parameter values mean the same: capacities by bytes, words without case.

    >>> same_value("16G", "16384M"), same_value("0M", "0"), same_value("True", "true")
    (True, True, True)
    """
    if asked == found:
        return True
    one, other = _bytes_of(asked), _bytes_of(found)
    if one is not None and other is not None:
        return one == other
    return asked.strip().lower() == found.strip().lower()


def _bytes_of(text: str) -> int | None:
    if text.strip() == "0":  # zero is read back without its unit
        return 0
    try:
        return parse_capacity(text.strip())
    except SizeError:
        return None


def asked_keys(node: NodeSpec) -> tuple[str, ...]:
    """Give the requested keys that are parameters, sorted."""
    configs = node.obConfigs
    return tuple(sorted(key for key in configs if key not in START_ONLY and configs[key]))


def values_unlike(node: NodeSpec, parameters: Sequence[Parameter]) -> Iterator[tuple[str, str]]:
    """Give each requested key whose value on the node's server is not as asked, with that value.

    Hidden parameters are not shown, and a server may have no value yet: neither is a difference.
    """
    rows = {row.name: row for row in parameters}
    for key in asked_keys(node):
        if key.startswith("_"):
            continue
        if (row := rows.get(key)) is None:
            yield key, NO_PARAMETER
        elif row.scope.upper() == OF_TENANTS:
            yield key, TENANTS_PARAMETER
        elif (value := value_on(row, node)) is not None and not same_value(
            node.obConfigs[key], value
        ):
            yield key, value


def setting_statement(node: NodeSpec, parameters: Sequence[Parameter], key: str) -> str:
    """Give what root@sys may run to set a requested value on this one server.

    Returns:
        Empty: it is no parameter that can be set so.
    """
    row = next((row for row in parameters if row.name == key), None)
    if row is None or not is_of_servers(row) or not PLAIN_NAME.fullmatch(key):
        return ""
    where = joined_address(node.agentInfo.ip, rpc_port(node))
    return f"ALTER SYSTEM SET {key}={in_sql(node.obConfigs[key])} SERVER={in_sql(where)};"


def is_of_servers(row: Parameter) -> bool:
    """Whether each server has one value of it, and ALTER SYSTEM may set it."""
    return row.scope.upper() == "CLUSTER" and row.edit_level.upper() != _READ_ONLY


def value_on(row: Parameter, node: NodeSpec) -> str | None:
    """Give the value on the new server; None where it has none yet."""
    here = (node.agentInfo.ip, rpc_port(node))
    return next((v.value for v in row.ob_parameters if (v.svr_ip, v.svr_port) == here), None)


def rpc_port(node: NodeSpec) -> int:
    """Give the RPC port asked for, or the one observers have by default."""
    return asked_port(node, "rpc_port") or DEFAULT_PORTS["rpc_port"]


def in_sql(text: str) -> str:
    """Write a text as a literal of SQL, e.g. `'10.0.0.4:2882'`."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
