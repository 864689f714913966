"""Reads a configuration file of OBD's: its servers, each with what it would be asked for as a node.

Style `default` and style `cluster`, and an additional file of `obd cluster scale_out` beside it.
Passwords in it are never copied: only the keys that hold one are named. Nothing is sent from here.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from obscale.agent.address import DEFAULT_PORT, MAX_PORT
from obscale.errors import SpecError
from obscale.preflight.facts import DEFAULT_PORTS, ClusterFacts, Facts, TargetFacts
from obscale.preflight.registry import judge_request
from obscale.request.models import AgentInfoSpec, NodeSpec, looks_secret
from obscale.sizes import quoted
from obscale.spec.obd_layout import Layout, Placed, component_of, layout_of
from obscale.spec.obd_options import LeftOut, Options, Written, mapping_at, options_of, place
from obscale.spec.problems import refused
from obscale.spec.source import Source, read_source, read_text

DEFAULT_ZONE: Final = "zone1"
"""OBD puts a server there of which no zone is said."""
DEFAULT_NAME: Final = "obcluster"
DEFAULT_ID: Final = 1
FIRST_WITH_OBSHELL: Final = 4
"""Versions of OceanBase below have no obshell."""
_OF_A_REQUEST: Final = frozenset(
    {"cluster", "nodes", "agentInfo", "clusters", "rows", "connections", "policies", "defaults"}
)
_DIGITS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_PORTS: Final[Mapping[str, int]] = {**DEFAULT_PORTS, "obshell_port": DEFAULT_PORT}


@dataclass(frozen=True)
class ObdServer:
    """One server of the file.

    Args:
        name: As the file calls it.
        where: `file:line`.
        node: What it would be asked for, were it no member yet.
        ports: `mysql_port`, `rpc_port` and `obshell_port`.
        wheres: Where each of its values stands, by field, e.g. `zone`, `memory_limit`; one that is
            not in it is OBD's default.
        home_path: As the file says; None: it does not.
        is_added: Whether the additional file brings it.
        problems: What cannot be asked for as it is written, one line each.
    """

    name: str
    where: str
    node: NodeSpec
    ports: Mapping[str, int]
    wheres: Mapping[str, str]
    home_path: Written | None
    is_added: bool
    problems: tuple[str, ...]

    @property
    def ip(self) -> str:
        """In its shortest form."""
        return self.node.agentInfo.ip

    def said(self, key: str) -> str:
        """Say where a value comes from."""
        return self.wheres.get(key, "OBD's default")


@dataclass(frozen=True)
class ObdFile:
    """What a file of OBD's, or two, say of a cluster.

    Args:
        name: Of the cluster's file.
        extra: Of the additional one.
        component: Under which OBD deploys its observers.
        servers: In the order of the files.
        cluster_name: None: not said; OBD then takes `obcluster`.
        cluster_id: None: not said; OBD then takes 1.
        version: Of OceanBase; None: not said.
        left_out: What does not become part of a request, each key once.
        secrets: Keys that hold a secret, each once.
        ignored: Other components.
        remarks: What deserves a word.
    """

    name: str
    extra: str | None
    component: str
    servers: tuple[ObdServer, ...]
    cluster_name: Written | None
    cluster_id: Written | None
    version: Written | None
    left_out: tuple[LeftOut, ...]
    secrets: tuple[LeftOut, ...]
    ignored: tuple[str, ...]
    remarks: tuple[str, ...]


def is_obd(data: object) -> bool:
    """Whether what a file says is of OBD: components with their servers, and nothing of a request.

    Args:
        data: Of any shape.
    """
    if not isinstance(data, Mapping) or not _OF_A_REQUEST.isdisjoint(data):
        return False
    return any(
        isinstance(part, Mapping)
        and (isinstance(part.get("servers"), list) or isinstance(part.get("zones"), Mapping))
        for part in data.values()
    )


def refuse_obd(data: object, source: str) -> None:
    """Refuse a file of OBD's where a request is expected.

    Args:
        data: What the file says.
        source: What to call it.

    Raises:
        SpecError: It is one.
    """
    if is_obd(data):
        raise SpecError(
            f"{source}: is a file of OBD's, not a request",
            f"obscale plan --from-obd {shlex.quote(source)}",
        )


def read_obd(path: Path, extra: Path | None = None) -> ObdFile:
    """Read the file of a cluster, and an additional one of `obd cluster scale_out`.

    Raises:
        SpecError: It cannot be read, or says what is not followed; one line for each fault.
    """
    second = None if extra is None else parse_source(read_text(extra), str(extra))
    return obd_file(parse_source(read_text(path), str(path)), second)


def parse_source(text: str, name: str) -> Source:
    """Read the YAML of a file of OBD's.

    Raises:
        SpecError: It is none, or holds what is not followed.
    """
    with suppress(yaml.YAMLError):  # reading it says why
        _refuse_tags(text, name)
    try:
        read = read_source(text, name)
    except SpecError as error:
        hint = error.hint or "quote a value that begins with *, & or !, a password say"
        raise SpecError(error.message, hint, error.problems) from None
    if read.data is None:
        raise SpecError(f"{name}: is empty")
    return read


def obd_file(first: Source, extra: Source | None = None) -> ObdFile:
    """Give what the file says.

    Args:
        first: The cluster's.
        extra: The additional one's.

    Raises:
        SpecError: One line for each fault.
    """
    component = component_of(first)
    version = _version(first, component)
    found = layout_of(first, extra)
    sorted_options = [(placed, options_of(placed.layers, placed.ip)) for placed in found.servers]
    problems: list[str] = []
    servers = []
    for placed, options in sorted_options:
        ports: dict[str, int] = {}
        for key, usual in _PORTS.items():
            written = options.own.get(key)
            if written is None or _is_port(written.text):
                ports[key] = int(written.text) if written else usual
            else:
                problems.append(
                    f"{written.where}: {key}: {quoted(written.text)} is no port; e.g. {usual}"
                )
        if len(ports) == len(_PORTS):
            servers.append(_server(placed, options, ports))
    problems += _shared_ports(servers)
    every = [options for _, options in sorted_options]
    named = _of_all(every, "appname") or _of_style(first, component, "name")
    number = _of_all(every, "cluster_id") or _of_style(first, component, "id")
    for key, of_all in (("appname", named), ("cluster_id", number)):
        problems += _differing(every, key, of_all)
    if number is not None and not _DIGITS.fullmatch(number.text):
        problems.append(f"{number.where}: cluster_id: {quoted(number.text)} is no number")
    if problems:
        raise refused(problems)
    return ObdFile(
        name=first.name,
        extra=extra.name if extra else None,
        component=component,
        servers=tuple(servers),
        cluster_name=named,
        cluster_id=number,
        version=version,
        left_out=_once((*found.left_out, *(left for o in every for left in o.left_out))),
        secrets=_once((*_of_the_user(first), *(left for o in every for left in o.secrets))),
        ignored=tuple(_other_parts(first, extra, found)),
        remarks=tuple(found.remarks),
    )


def _refuse_tags(text: str, name: str) -> None:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{name}:{event.start_mark.line + 1}" if event.start_mark else name
        if getattr(event, "tag", None) is not None:
            raise SpecError(
                f"{where}: a value with a tag (!…), an encrypted one say, is not read; take it out"
            )
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.style is None:
            raise SpecError(f"{where}: merging (<<) is not followed; write the values out")


def _version(source: Source, component: str) -> Written | None:
    value = mapping_at(source, (component,)).get("version")
    if value is None:
        return None
    path = (component, "version")
    written = Written(source.written(path, value), place(source, path))
    major = written.text.partition(".")[0]
    if _DIGITS.fullmatch(major) and int(major) < FIRST_WITH_OBSHELL:
        raise SpecError(
            f"{written.where}: version: OceanBase {quoted(written.text)} has no obshell; "
            "obscale grows clusters from 4.x on"
        )
    return written


def _server(placed: Placed, options: Options, ports: Mapping[str, int]) -> ObdServer:
    zone = placed.zone or options.own.get("zone")
    wheres = {key: written.where for key, written in {**options.own, **options.start}.items()}
    if zone:
        wheres["zone"] = zone.where
    configs = {key: str(ports[key]) for key in DEFAULT_PORTS}
    configs |= {key: written.text for key, written in options.start.items()}
    node = NodeSpec(
        agentInfo=AgentInfoSpec(ip=placed.ip, port=ports["obshell_port"]),
        zone=zone.text if zone else DEFAULT_ZONE,
        obConfigs=configs,
    )
    problems = dict(options.problems)
    for finding in _blockers(node):
        key = finding.subject.rpartition(".")[2]
        key = "obshell_port" if key == "port" else key
        said = f"{finding.measured}; {finding.remedy or f'needed {finding.needed}'}"
        told = f"{wheres.get(key, placed.where)}: {key or placed.name}: {said} [{finding.rule}]"
        problems.setdefault(key, told)
    return ObdServer(
        name=placed.name,
        where=placed.where,
        node=node,
        ports=ports,
        wheres=wheres,
        home_path=options.own.get("home_path"),
        is_added=placed.is_added,
        problems=tuple(problems.values()),
    )


def _blockers(node: NodeSpec) -> Sequence[Any]:
    facts = Facts(
        node=node,
        batch=(node,),
        cluster=ClusterFacts(entry="", scheme=""),
        target=TargetFacts(address=node.address, scheme=""),
    )
    return judge_request(facts).blockers


def _is_port(text: str) -> bool:
    return bool(_DIGITS.fullmatch(text)) and 0 < int(text) <= MAX_PORT


def _shared_ports(servers: Sequence[ObdServer]) -> Iterator[str]:
    """Say which servers of one IP share a port."""
    taken: dict[tuple[str, int], tuple[ObdServer, str]] = {}
    for server in servers:
        for key, port in server.ports.items():
            other, theirs = taken.setdefault((server.ip, port), (server, key))
            if other is not server:
                yield (
                    f"{server.wheres.get(key, server.where)}: {key}: {port} on {server.ip} is also "
                    f"{theirs} of {quoted(other.name)}; give each its own"
                )


def _of_all(every: Sequence[Options], key: str) -> Written | None:
    """Give what the servers' options say of the cluster; None: nothing."""
    return next((options.own[key] for options in every if key in options.own), None)


def _of_style(source: Source, component: str, key: str) -> Written | None:
    """Give the field that style cluster has for the same."""
    part = source.data[component]
    value = part.get(key)
    if part.get("style") != "cluster" or value is None or isinstance(value, Mapping | list):
        return None
    return Written(source.written((component, key), value), place(source, (component, key)))


def _differing(every: Sequence[Options], key: str, of_all: Written | None) -> Iterator[str]:
    for options in every:
        own = options.own.get(key)
        if own is not None and of_all is not None and own.text != of_all.text:
            yield f"{own.where}: {key}: differs from {of_all.where}; a cluster has one"


def _once(listed: Sequence[LeftOut]) -> tuple[LeftOut, ...]:
    """List each key once, at its first place."""
    first: dict[str, LeftOut] = {}
    for each in listed:
        first.setdefault(each.what, each)
    return tuple(first.values())


def _of_the_user(source: Source) -> Iterator[LeftOut]:
    """Name what OBD logs in by."""
    for key, value in mapping_at(source, ("user",)).items():
        if looks_secret(key) and value not in (None, ""):
            yield LeftOut(f"user.{key}", place(source, ("user", key)), "a secret")


def _other_parts(first: Source, extra: Source | None, found: Layout) -> Iterator[str]:
    names = [*first.data, *(extra.data if extra else ())]
    yield from dict.fromkeys(name for name in names if name != found.component)
