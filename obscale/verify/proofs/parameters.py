"""Proofs of parameters: requested ones are in force, and survive a restart.

Start options are as young as the observer's start, so they win at first; a later set for the whole
cluster, or a restart without the options, lets the cluster's value win. A value set for one server
stays. Sources: OceanBase src/share/config/ob_server_config.cpp and ob_system_config.cpp, 4.3.5;
obshell GET /obcluster/parameters, 4.3.0.0.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from obscale.agent.models import Parameter
from obscale.preflight.parameters import (
    NO_PARAMETER,
    OF_TENANTS,
    PLAIN_NAME,
    START_ONLY,
    TENANTS_PARAMETER,
    asked_keys,
    is_of_servers,
    rpc_port,
    same_value,
    setting_statement,
    value_on,
)
from obscale.request.models import NodeSpec
from obscale.verify.observation import (
    NO_SERVER,
    Level,
    Observation,
    ProofAnswer,
    ProofInput,
    ProofLine,
    Row,
    Verdict,
    pass_if,
)

RESOURCES: Final = frozenset(
    {
        *("memory_limit", "memory_limit_percentage", "system_memory", "cpu_count"),
        *("datafile_size", "datafile_disk_percentage", "datafile_maxsize", "datafile_next"),
        *("log_disk_size", "log_disk_percentage"),
    }
)
"""Sizes, which servers may differ in; preflight compares them before."""
NOT_COMPARED: Final = RESOURCES | START_ONLY
UNREAD: Final = "the parameters could not be read"
UNTOLD: Final = "this version does not show parameters"


def fits(node: NodeSpec, after: Observation) -> bool | None:
    """Whether every requested parameter the cluster shows for the new server is as asked.

    Returns:
        None: the parameters were not read, or the server has no values yet.
    """
    if after.parameters is None:
        return None
    rows = {row.name: row for row in after.parameters if row.scope.upper() != OF_TENANTS}
    known = [key for key in asked_keys(node) if key in rows]
    found = [(key, value_on(rows[key], node)) for key in known]
    told = [same_value(node.obConfigs[key], value) for key, value in found if value is not None]
    return all(told) if told or not known else None


def parameter_lines(e: ProofInput) -> Iterator[ProofLine]:
    """Give one line per requested key, so that a difference names its key."""
    for key in asked_keys(e.node):
        asked = e.node.obConfigs[key]
        answer, found = _in_force(e, key, asked)
        yield ProofLine(
            id=f"pv-params-effective:{key}",
            level=Level.CONFORMING,
            answer=answer,
            expected=asked,
            found=found,
        )


def _in_force(  # noqa: PLR0911 - one return for each answer
    e: ProofInput, key: str, asked: str
) -> tuple[ProofAnswer, str]:
    if key.startswith("_"):
        return ProofAnswer.INFO, "hidden parameters are not shown by obshell"
    if not e.after.parameters_supported:
        return ProofAnswer.INFO, UNTOLD
    if e.after.parameters is None:
        return ProofAnswer.UNKNOWN, UNREAD
    row = next((p for p in e.after.parameters if p.name == key), None)
    if row is None:
        return ProofAnswer.FAIL, NO_PARAMETER
    if row.scope.upper() == OF_TENANTS:
        return ProofAnswer.FAIL, TENANTS_PARAMETER
    value = value_on(row, e.node)
    if value is None:
        return _no_value(e)
    if not same_value(asked, value):
        reverted = ", and was as asked at first: it was set back" if e.steady.was_fitting else ""
        return ProofAnswer.FAIL, value + reverted
    if e.steady.fitting < e.steady.wanted:
        return ProofAnswer.WAITING, f"{value}, looked at again after {e.steady.wanted:g} s"
    return ProofAnswer.PASS, value


def _vs_peers(e: ProofInput) -> Verdict:
    expected = "as its peers, sizes aside"
    if (blind := _blind(e, expected)) is not None:
        return blind
    rows = [
        row
        for row in e.after.parameters or ()
        if is_of_servers(row) and row.name not in NOT_COMPARED
    ]
    told = {row.name: (value_on(row, e.node), _values_elsewhere(row, e.node)) for row in rows}
    if told and not any(mine is not None for mine, _ in told.values()):
        answer, found = _no_value(e)
        return answer, expected, found
    differing = [
        f"{name} {mine}, others {' or '.join(sorted(set(others)))}"
        for name, (mine, others) in told.items()
        if mine is not None and others and not all(same_value(mine, other) for other in others)
    ]
    return pass_if(not differing, ProofAnswer.INFO), expected, "; ".join(differing) or "all alike"


def _restart_safety(e: ProofInput) -> Verdict:
    expected = "what was asked for survives a restart"
    if (blind := _blind(e, expected)) is not None:
        return blind
    if e.server is None:
        return e.not_yet, expected, NO_SERVER
    keys = [row.name for row in _start_option_only(e)]
    if not keys:
        return ProofAnswer.PASS, expected, "nothing asked for differs from its peers"
    return ProofAnswer.INFO, expected, f"may revert: {', '.join(keys)}; persist them as told below"


def persist_statements_of(e: ProofInput) -> tuple[str, ...]:
    """Give the statements that persist for this one server what lives as start option only.

    A person runs them as root@sys; values are quoted for OceanBase's MySQL mode.
    """
    rows = e.after.parameters or ()
    return tuple(setting_statement(e.node, rows, row.name) for row in _start_option_only(e))


def _start_option_only(e: ProofInput) -> Iterator[Parameter]:
    return start_option_only(e.node, e.after.parameters or ()) if e.server else iter(())


def start_option_only(node: NodeSpec, parameters: Sequence[Parameter]) -> Iterator[Parameter]:
    """Give, of a member, what the other servers do not all have as it was asked for, by name.

    No set for the cluster can have given it. Where all have it alike, the cluster's value, if there
    is one, is the same.
    """
    wanted = asked_keys(node)
    for row in sorted(parameters, key=lambda row: row.name):
        if row.name not in wanted or not is_of_servers(row) or not PLAIN_NAME.fullmatch(row.name):
            continue
        others = _values_elsewhere(row, node)
        if others and not all(same_value(node.obConfigs[row.name], other) for other in others):
            yield row


def _no_value(e: ProofInput) -> tuple[ProofAnswer, str]:
    if e.after.zones is not None and e.server is None:
        return e.not_yet, NO_SERVER
    return ProofAnswer.WAITING, "no value for the new server yet"


def _blind(e: ProofInput, expected: str) -> Verdict | None:
    """Say why nothing can be compared; None where it can."""
    if not e.after.parameters_supported:
        return ProofAnswer.INFO, expected, UNTOLD
    if e.after.parameters is None:
        return ProofAnswer.UNKNOWN, expected, UNREAD
    if e.after.zones is not None and not e.peers:
        return ProofAnswer.NOT_APPLICABLE, expected, "no other server"
    return None


def _values_elsewhere(row: Parameter, node: NodeSpec) -> list[str]:
    here = (node.agentInfo.ip, rpc_port(node))
    return [v.value for v in row.ob_parameters if (v.svr_ip, v.svr_port) != here]


PROOFS: Final[tuple[Row, ...]] = (
    ("pv-params-vs-peers", Level.CONFORMING, _vs_peers),
    ("pv-restart-safety", Level.CONFORMING, _restart_safety),
)
