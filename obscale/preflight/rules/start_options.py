"""Rules about start options: the observer reads them, and reads them as meant.

Sources: obshell ob/agent/executor/ob/config.go, ob/param/ob.go, utils/shell.go, 4.5.0.0; OceanBase
src/share/config/ob_config_helper.cpp and ob_common_config.cpp, 4.3.5.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Final

from obscale.agent.models import ClusterInfo
from obscale.preflight.facts import OLD_NAMES, Facts
from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    notes,
    passes,
    unknown,
    warns,
)
from obscale.preflight.rule import BLOCK, rule
from obscale.preflight.sizing import MIN_POOL_KEY
from obscale.reading import CLUSTER_FACTS_MISSING, Unread
from obscale.request.models import looks_secret
from obscale.sizes import GIB, quoted

PORT_KEYS: Final = frozenset({*OLD_NAMES, *OLD_NAMES.values()})
PATH_KEYS: Final = ("data_dir", "redo_dir", "clog_dir", "slog_dir")
IDENTITY_KEYS: Final = ("cluster", "cluster_id", "zone", "homePath")
"""obshell overwrites them with its own values."""
REFUSED_KEYS: Final = ("rootservice_list", "rootPwd", "obconfig_url", "all_server_list")
"""Denied for obshell's own server configuration, or the business of RootService; here they would
reach the observer unfiltered."""
CAPACITY_KEYS: Final = frozenset(
    {
        "memory_limit",
        "system_memory",
        "datafile_size",
        "datafile_maxsize",
        "datafile_next",
        "log_disk_size",
        "memory_reserved",
        "cache_wash_threshold",
        "stack_size",
        "syslog_io_bandwidth_limit",
    }
)
RANGES: Final = {
    "memory_limit_percentage": (10, 95),
    "datafile_disk_percentage": (0, 99),
    "log_disk_percentage": (0, 99),
    "cpu_count": (0, (1 << 63) - 1),
    "cluster_id": (1, 4_294_901_759),
    "max_syslog_file_count": (0, (1 << 63) - 1),
    MIN_POOL_KEY: (GIB, (1 << 63) - 1),
}
"""Inclusive. Source: src/share/parameter/ob_parameter_seed.ipp."""
_OBSHELLS_OWN: Final = frozenset(
    {
        *(*PORT_KEYS, *PATH_KEYS, *IDENTITY_KEYS, *REFUSED_KEYS),
        *("local_ip", "devname", MIN_POOL_KEY),
    }
)
"""Names that obshell takes or that are hidden, so that no list of parameters has them."""
_DOCUMENTED: Final = frozenset({*CAPACITY_KEYS, *RANGES, "syslog_level"})
"""Names known without asking the cluster."""

_KEY = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_SEPARATORS: Final = {",": "a comma", "\n": "a line break", "\r": "a line break", "\0": "a NUL"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Nothing an observer has a use for, and a terminal that shows the plan might obey it."""
_COMMA_ALLOWED: Final = frozenset({"syslog_level"})
"""Travels as an option of its own, `-l`."""


def where_is(key: str) -> str:
    """Name the field of a key."""
    return f"obConfigs.{key}"


def or_pass(found: Iterator[Verdict], measured: str, needed: str = "") -> list[Verdict]:
    """Give the faults found, or one pass."""
    return list(found) or [passes(measured, needed)]


@rule(
    "cfg-values-are-strings",
    "obConfigs is a flat map of texts",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    only_new=False,
    is_static=True,
    source="ob/param/ob.go, 4.5.0.0",
)
def values_are_strings(facts: Facts) -> Verdict:
    """The model of the request lets nothing else in; this line says that it was looked at."""
    return passes(f"{len(facts.configs)} keys, all texts")


@rule(
    "cfg-key-known",
    "every key is a parameter of this version",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT",
    ground="B",
    only_new=False,
    source="obshell GET /obcluster/parameters; observer skips unknown names with a log line only",
)
def key_known(facts: Facts) -> list[Verdict]:
    """A key the observer does not know is skipped with a log line only."""
    return or_pass(_unknown_keys(facts), f"{len(facts.configs)} keys known")


def _unknown_keys(facts: Facts) -> Iterator[Verdict]:
    parameters = facts.cluster.parameters
    scopes = {} if isinstance(parameters, Unread) else {row.name: row.scope for row in parameters}
    for key in facts.configs:
        if key in _OBSHELLS_OWN or (isinstance(parameters, Unread) and key in _DOCUMENTED):
            continue
        if key in scopes:
            if scopes[key].upper() == "TENANT":
                yield warns(
                    "is a parameter of tenants",
                    "one of the cluster",
                    "it has no effect here; remove it",
                    subject=where_is(key),
                )
        elif key.startswith("_"):
            yield notes("is a hidden parameter, not listed by obshell", subject=where_is(key))
        elif isinstance(parameters, Unread):
            yield unknown(
                Unread(
                    f"{key}: the cluster's parameters could not be read: {parameters.reason}",
                    covered_by=CLUSTER_FACTS_MISSING,
                ),
                "a parameter of this version",
            )
        else:
            yield _unlisted(key, sorted({*scopes, *_OBSHELLS_OWN}))


def _unlisted(key: str, known: list[str]) -> Verdict:
    guess = get_close_matches(key, known, n=1)
    meant = f"; did you mean {guess[0]}?" if guess else ""
    return fires(
        "is not a parameter of this cluster's version",
        "a listed parameter",
        f"correct or remove it: observer would silently ignore it{meant}",
        subject=where_is(key),
    )


@rule(
    "cfg-key-charset",
    "keys consist of letters, digits and _",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT",
    ground="A",
    only_new=False,
    is_static=True,
    source="utils/shell.go, 4.5.0.0",
)
def key_charset(facts: Facts) -> list[Verdict]:
    """Obshell skips other keys with a log line only."""
    return or_pass(
        (
            blocks(
                f"the key {quoted(key)} has other characters than letters, digits and _",
                "letters, digits, _",
                "correct the key; obshell would silently skip it",
                subject="obConfigs",
            )
            for key in facts.configs
            if not _KEY.fullmatch(key)
        ),
        "letters, digits, _",
    )


@rule(
    "cfg-key-reserved",
    "no key the cluster itself supplies",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT, or stage 7 for local_ip",
    ground="A",
    softens=True,
    only_new=False,
    is_static=True,
    source="ob/agent/executor/ob/config.go, 4.5.0.0",
)
def key_reserved(facts: Facts) -> list[Verdict]:
    """Keys that would redirect the observer, or that obshell overwrites."""
    return or_pass(_reserved(facts), "none")


def _reserved(facts: Facts) -> Iterator[Verdict]:
    for key, value in facts.configs.items():
        where, remove = where_is(key), "remove it: the cluster supplies it"
        if looks_secret(key):
            yield blocks(
                "looks like a password", "no secret among start options", "remove it", subject=where
            )
        elif key in REFUSED_KEYS:
            yield blocks("membership is not set here", "not sent", remove, subject=where)
        elif key in IDENTITY_KEYS:
            yield _overwritten(facts, key, value)
        elif key == "local_ip":
            same = _same_ip(value, facts.node.agentInfo.ip)
            yield (
                notes("equals the agent's IP; not needed", subject=where)
                if same
                else blocks(
                    "differs from the agent's IP",
                    facts.node.agentInfo.ip,
                    "remove it",
                    subject=where,
                )
            )
        elif key == "devname":
            yield warns("names a network device", "left out", "local_ip decides", subject=where)


def _overwritten(facts: Facts, key: str, value: str) -> Verdict:
    """The same value is a word too many, another one a wish that will not be fulfilled."""
    info, entry = facts.cluster.cluster_info, facts.target.info
    ours: dict[str, str | None] = {"zone": facts.node.zone, "homePath": None}
    if isinstance(info, ClusterInfo):
        ours |= {"cluster": info.cluster_name, "cluster_id": str(info.cluster_id)}
    if not isinstance(entry, Unread):
        ours["homePath"] = entry.home_path
    wanted = ours.get(key)
    if wanted is None:
        return notes("obshell overwrites it", "left out", "remove it", subject=where_is(key))
    if value == wanted:
        return notes("equals what obshell sets", subject=where_is(key))
    return blocks(
        f"obshell overwrites it by {quoted(wanted)}", "left out", "remove it", subject=where_is(key)
    )


def _same_ip(one: str, other: str) -> bool:
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False


@rule(
    "cfg-value-delimiters",
    "no value is cut by a separator",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="SILENT, or stage 5",
    ground="A",
    only_new=False,
    is_static=True,
    source="src/share/config/ob_common_config.cpp, 4.3.5",
)
def value_delimiters(facts: Facts) -> list[Verdict]:
    """The options travel as one list, split at line breaks or commas."""
    return or_pass(_delimited(facts), "no separators", "no comma, line break or NUL")


def _delimited(facts: Facts) -> Iterator[Verdict]:
    for key, value in facts.configs.items():
        found = next((name for mark, name in _SEPARATORS.items() if mark in value), "")
        if found and not (found == "a comma" and key in _COMMA_ALLOWED):
            yield blocks(
                f"its value holds {found}",
                "none",
                "the observer would cut the value there; write it without",
                subject=where_is(key),
            )
        elif not found and _CONTROL.search(value):
            yield blocks(
                "its value holds a control character",
                "none",
                "write it without",
                subject=where_is(key),
            )
        elif not value and key in {"rpc_port", "rpcPort"}:
            yield blocks(
                "is empty", "a port", "leave it out for 2882, or write it", subject=where_is(key)
            )
        elif not value and key not in CAPACITY_KEYS and key not in RANGES:
            yield warns(
                "is empty and counts as not set", "a value", "leave it out", subject=where_is(key)
            )


RULES: Final = (
    values_are_strings,
    key_known,
    key_charset,
    key_reserved,
    value_delimiters,
)
