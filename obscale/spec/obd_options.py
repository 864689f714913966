"""Sorts the options of a server in a file of OBD's: start options, own fields, secrets, the rest.

Pure. Source: oceanbase/obdeploy a3e8c47, plugins/oceanbase/*/parameter.yaml and start_pre.py.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from obscale.preflight.rules.start_options import CAPACITY_KEYS, PATH_KEYS
from obscale.request.models import looks_secret
from obscale.sizes import quoted
from obscale.spec.source import Path_, Source

OWN_FIELDS: Final = frozenset(
    {
        *("zone", "mysql_port", "rpc_port", "obshell_port"),
        *("home_path", "appname", "cluster_id"),
    }
)
"""Options that say where a server is and of which cluster; a request has other fields for them."""
LEFT_OUT: Final[Mapping[str, str]] = {
    "production_mode": "OBD's own check of sizes",
    "scenario": "of the whole cluster, chosen when it was founded",
    "obconfig_url": "the cluster supplies it",
    "rootservice_list": "the cluster supplies it",
    "all_server_list": "the cluster supplies it",
    "devname": "obshell starts the observer at the agent's IP",
    "enable_cluster_checkout": "a setting of OBProxy",
    "skip_proxy_sys_private_check": "a setting of OBProxy",
    "enable_strict_kernel_release": "a setting of OBProxy",
    "zone_region": "of a zone, not of a node",
    "zone_idc": "of a zone, not of a node",
    "enable_auto_start": "OBD's own",
    "install_utils": "OBD's own",
    "receivers": "OBD's own",
    "ilog_dir": "of OceanBase 3",
}
"""Options that are not sent to an observer, each with why."""
_LEFT_OUT_BY_START: Final = (
    ("$_", "OBD's own"),
    ("ocp_", "of OCP"),
    ("binlog_", "of the binlog service"),
)
_IS_NUMBER: Final = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True)
class Written:
    """One value as a file has it.

    Args:
        text: As an observer would be told it.
        where: `file:line`.
    """

    text: str
    where: str


@dataclass(frozen=True)
class LeftOut:
    """Something of a file that does not become part of the request.

    Args:
        what: Its key; never its value.
        where: `file:line`.
        why: In a few words.
    """

    what: str
    where: str
    why: str


@dataclass(frozen=True)
class Layer:
    """A mapping of a file that gives options; later layers stand above earlier ones."""

    source: Source
    path: Path_

    def items(self) -> Iterator[tuple[str, Any, str]]:
        """Give key, value and `file:line` of each option."""
        for key, value in mapping_at(self.source, self.path).items():
            yield key, value, place(self.source, (*self.path, key))


@dataclass
class Options:
    """What a server's options are.

    Args:
        own: Of `OWN_FIELDS`.
        start: Start options of the observer.
        left_out: What is not sent, and why.
        secrets: Keys that hold a secret; only they are known here, no value.
        problems: What cannot be sent as it is written, by key.
    """

    own: dict[str, Written] = field(default_factory=dict)
    start: dict[str, Written] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    secrets: list[LeftOut] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def options_of(layers: Sequence[Layer], ip: str) -> Options:
    """Sort the options of one server.

    Args:
        layers: From those of all servers to its own.
        ip: Of the server.
    """
    found = Options()
    for layer in layers:
        for key, value, where in layer.items():
            if looks_secret(key):
                if value not in (None, ""):
                    found.secrets.append(LeftOut(key, where, "a secret"))
            elif why := _why_left_out(key):
                found.left_out.append(LeftOut(key, where, why))
            elif value is None:
                found.left_out.append(LeftOut(key, where, "has no value"))
            elif isinstance(value, Mapping | list):
                found.problems[key] = f"{where}: {key}: must be one value"
            else:
                path = (*layer.path, key)
                written = Written(_text(layer.source, path, value), where)
                (found.own if key in OWN_FIELDS else found.start)[key] = written
                found.problems.pop(key, None)
    found.problems |= {
        key: f"{written.where}: {key}: {problem}"
        for key, written in found.start.items()
        if (problem := _unsendable(key, written.text, ip))
    }
    return found


def mapping_at(source: Source, path: Path_) -> Mapping[str, Any]:
    """Give the mapping at a path; an empty one where there is none."""
    here = source.data
    for part in path:
        if not (isinstance(here, Mapping) and part in here):
            return {}
        here = here[part]
    return here if isinstance(here, Mapping) else {}


def place(source: Source, path: Path_) -> str:
    """Give `file:line` of a value."""
    return source.where(path).removesuffix(": ")


def _why_left_out(key: str) -> str:
    if key in LEFT_OUT:
        return LEFT_OUT[key]
    return next((why for start, why in _LEFT_OUT_BY_START if key.startswith(start)), "")


def _text(source: Source, path: Path_, value: bool | float | str) -> str:
    """Write a scalar as OBD does: true is `True`, all else as it stands in the file.

    OBD reads YAML 1.2, where `yes` and `02:00` are texts and `010` is ten.
    """
    written = source.written(path, value)
    if isinstance(value, bool) and written.lower() in {"true", "false"}:
        return written.capitalize()
    return written


def _unsendable(key: str, text: str, ip: str) -> str:
    """Say why a value would not arrive as it is meant; empty: it would, as far as OBD knows."""
    if key in PATH_KEYS and not text.startswith("/"):
        return (
            f"{quoted(text)} is not a path from the root; obshell resolves neither ~ nor "
            "variables: write it out, e.g. /data/ob"
        )
    if key in PATH_KEYS and "$" in text:
        return f"{quoted(text)} holds a variable, which obshell does not resolve; write it out"
    if key in CAPACITY_KEYS and _IS_NUMBER.fullmatch(text):
        return f"is a number alone, which counts as MB; if that is meant, write '{text[:20]}M'"
    if key == "local_ip" and not _same_ip(text, ip):
        return f"is not the server's IP, {ip}, which obshell takes; remove it"
    return ""


def _same_ip(one: str, other: str) -> bool:
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False
