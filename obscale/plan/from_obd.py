"""Makes a request of a file of OBD's and of what the cluster says about its servers.

Pure. The cluster decides which servers are new; a member the file does not name is only told, and
never a removal. What the file says otherwise than the cluster about a member forbids the request.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Identity, ListedAgent, Parameter, Server, Zone, joined_address
from obscale.errors import PreflightError
from obscale.request.models import ClusterSpec, Profile, ScaleOutSpec, SecretName
from obscale.spec.obd import DEFAULT_ID, DEFAULT_NAME, ObdFile, ObdServer
from obscale.spec.obd_options import LeftOut
from obscale.spec.problems import refused

SIZES: Final = ("memory_limit", "log_disk_size", "datafile_size")
"""Without these an observer sizes itself by its host."""
OWN_RECORD: Final = (
    "OBD's own record will not know the new nodes: `obd cluster` does not manage them until they "
    "stand in its configuration (obd cluster takeover, or the file below ~/.obd/cluster)"
)


@dataclass(frozen=True)
class ClusterTold:
    """What the cluster says about itself.

    Args:
        name: Of the cluster.
        number: Its id.
        version: Of OceanBase.
        scheme: `http` or `https`, which its agents speak.
        zones: With their servers.
        agents: As it lists them.
        parameters: Empty where they were not read.
    """

    name: str
    number: int
    version: str
    scheme: str
    zones: tuple[Zone, ...]
    agents: tuple[ListedAgent, ...]
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class Sorted:
    """The servers of a file, as the cluster knows them.

    Args:
        members: Those that are in it.
        new: Those that are not, or whose scale-out is under way.
        unnamed: `ip:port` of the agents of members the file does not name.
    """

    members: tuple[ObdServer, ...]
    new: tuple[ObdServer, ...]
    unnamed: tuple[str, ...]


class TakenValue(BaseModel):
    """One value of a node, and where it comes from."""

    model_config = ConfigDict(frozen=True)

    field: str
    value: str
    where: str
    """`file:line`, or `OBD's default`."""


class TakenNode(BaseModel):
    """One server that is to be added."""

    model_config = ConfigDict(frozen=True)

    name: str
    target: str
    values: tuple[TakenValue, ...]


class NotTaken(BaseModel):
    """One key that is not part of the request; its value stays untold."""

    model_config = ConfigDict(frozen=True)

    key: str
    where: str
    why: str


class ObdImport(BaseModel):
    """What was taken of a file of OBD's, what was defaulted, and what was left out."""

    model_config = ConfigDict(frozen=True)

    file: str
    extra: str | None
    component: str
    cluster: str
    """`name/id` as the cluster itself says."""
    scheme: str
    members: tuple[str, ...]
    """Servers of the file that are in the cluster: `ip:port` of their agents."""
    unnamed_members: tuple[str, ...]
    nodes: tuple[TakenNode, ...]
    left_out: tuple[NotTaken, ...]
    secrets: tuple[NotTaken, ...]
    ignored: tuple[str, ...]
    warnings: tuple[str, ...]
    afterwards: str


def sort_servers(file: ObdFile, told: ClusterTold) -> Sorted:
    """Say which servers of the file are members, by (ip, rpc_port) and (ip, obshell_port).

    Raises:
        PreflightError: None is, none is new, or the file says otherwise than the cluster.
    """
    rows = [(zone, server) for zone in told.zones for server in zone.servers]
    joining = {
        (_ip(row.ip), row.port) for row in told.agents if row.identity is Identity.SCALING_OUT
    }
    members, new, seen = [], [], set()
    differences = list(_other_identity(file, told))
    for server in file.servers:
        here = _row_of(server, rows)
        agent = (server.ip, server.ports["obshell_port"])
        is_listed = any(
            (_ip(row.ip), row.port) == agent and row.identity is Identity.CLUSTER_AGENT
            for row in told.agents
        )
        if agent in joining or (here is None and not is_listed):
            new.append(server)
            continue
        members.append(server)
        seen.add(agent)
        if here is not None:
            zone, row = here
            seen.add((_ip(row.ip), row.obshell_port))
            differences += _drift(server, zone, row)
    if not members:
        raise PreflightError(
            f"{file.name}: no server of it is a member of {told.name}/{told.number}: that cluster "
            "is not founded, or the file is another's",
            "name the file of the cluster that grows; the additional one goes after --extra",
        )
    if differences:
        raise PreflightError(
            f"{file.name} and the cluster differ: {'; '.join(differences)}",
            "correct the file, or name the file of this cluster",
        )
    if not new:
        raise PreflightError(
            f"{file.name}: names no new server: all {len(members)} are members of "
            f"{told.name}/{told.number}",
            "add the new server to it, or name the additional file after --extra",
        )
    unnamed = tuple(
        joined_address(row.ip, row.port)
        for row in told.agents
        if row.identity is Identity.CLUSTER_AGENT and (_ip(row.ip), row.port) not in seen
    )
    return Sorted(tuple(members), tuple(new), unnamed)


def unsized(server: ObdServer) -> tuple[str, ...]:
    """Name the sizes the file does not give a server."""
    return tuple(size for size in SIZES if size not in server.node.obConfigs)


def request_from(
    found: Sorted,
    told: ClusterTold,
    cluster: str | SecretName | None,
    profile: Profile | None,
) -> ScaleOutSpec:
    """Make the request that adds the new servers.

    Args:
        found: The file's servers.
        told: What the cluster says.
        cluster: A stored connection; or where the password of root@sys is kept, None for an empty
            one.
        profile: None: prod.

    Raises:
        SpecError: A new server's options cannot be sent as they are written; a line for each.
    """
    problems = [problem for server in found.new for problem in server.problems]
    if problems:
        raise refused(problems)
    asked: str | ClusterSpec
    if isinstance(cluster, str):
        asked = cluster
    else:
        asked = ClusterSpec(
            endpoints=tuple(f"{told.scheme}://{server.node.address}" for server in found.members),
            password=cluster,
            name=told.name,
            id=told.number,
        )
    return ScaleOutSpec(
        cluster=asked, nodes=tuple(server.node for server in found.new), profile=profile or "prod"
    )


def import_of(file: ObdFile, found: Sorted, told: ClusterTold, homes: dict[str, str]) -> ObdImport:
    """Say what became of the file.

    Args:
        file: As read.
        found: Its servers.
        told: What the cluster says.
        homes: Home of each new server's agent, by `ip:port`, where it answered.
    """
    return ObdImport(
        file=file.name,
        extra=file.extra,
        component=file.component,
        cluster=f"{told.name}/{told.number}",
        scheme=told.scheme,
        members=tuple(server.node.address for server in found.members),
        unnamed_members=found.unnamed,
        nodes=tuple(_taken(server) for server in found.new),
        left_out=tuple(_not_taken(each) for each in file.left_out),
        secrets=tuple(_not_taken(each) for each in file.secrets),
        ignored=file.ignored,
        warnings=(
            *_warned_of_cluster(file, told),
            *(said for server in found.new for said in _warned(server, told, homes)),
            *file.remarks,
        ),
        afterwards=OWN_RECORD,
    )


def render_request(spec: ScaleOutSpec, made: ObdImport) -> str:
    """Write the request as YAML, with the place in OBD's file beside each value.

    It holds no secret: where the password is kept is named.
    """
    names = made.file if made.extra is None else f"{made.file} and {made.extra}"
    lines = [f"# Made of {names} by `obscale plan --from-obd`."]
    lines += [f"# - {warning}" for warning in made.warnings]
    if made.secrets:
        kept = ", ".join(f"{each.key} ({each.where})" for each in made.secrets)
        lines.append(f"# Secrets of the file are not copied: {kept}")
    lines.append(f"# Afterwards: {made.afterwards}")
    if isinstance(spec.cluster, str):
        lines.append(f"cluster: {_flow(spec.cluster)}")
    else:
        written = spec.cluster.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        lines.append("cluster:")
        lines += [f"  {key}: {_flow(value)}" for key, value in written.items()]
    lines.append("nodes:")
    for node, taken in zip(spec.nodes, made.nodes, strict=True):
        wheres = {value.field: value.where for value in taken.values}
        lines.append(
            f"  - agentInfo: {_flow({'ip': node.agentInfo.ip, 'port': node.agentInfo.port})}"
            f"  # {taken.name}, {wheres['obshell_port']}"
        )
        lines.append(f"    zone: {_flow(node.zone)}  # {wheres['zone']}")
        lines.append("    obConfigs:")
        lines += [
            f"      {key}: {_flow(value)}  # {wheres[key]}" for key, value in node.obConfigs.items()
        ]
    if spec.profile != "prod":
        lines.append(f"profile: {spec.profile}")
    # A comment must not end early: a name may hold a line break.
    return "".join(f"{' '.join(line.splitlines())}\n" for line in lines)


def _ip(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return text


def _row_of(server: ObdServer, rows: Sequence[tuple[Zone, Server]]) -> tuple[Zone, Server] | None:
    """Find the cluster's row of a server: by RPC port, else by its agent's."""
    mine = [(zone, row) for zone, row in rows if _ip(row.ip) == server.ip]
    by_rpc = (each for each in mine if each[1].svr_port == server.ports["rpc_port"])
    by_agent = (each for each in mine if each[1].obshell_port == server.ports["obshell_port"])
    return next(by_rpc, None) or next(by_agent, None)


def _drift(server: ObdServer, zone: Zone, row: Server) -> Iterator[str]:
    compared = (
        ("zone", server.node.zone, zone.name),
        ("rpc_port", server.ports["rpc_port"], row.svr_port),
        ("mysql_port", server.ports["mysql_port"], row.sql_port),
        ("obshell_port", server.ports["obshell_port"], row.obshell_port),
    )
    for key, ours, theirs in compared:
        # 0: this version does not say.
        if theirs and ours != theirs:
            yield f"{server.name}: {key} is {ours} ({server.said(key)}) but {theirs} in the cluster"


def _other_identity(file: ObdFile, told: ClusterTold) -> Iterator[str]:
    """What the file says itself must be so; its defaults are guesses."""
    name, number = file.cluster_name, file.cluster_id
    if name is not None and name.text != told.name:
        yield f"the cluster's name is {name.text} ({name.where}), and it says {told.name}"
    if number is not None and int(number.text) != told.number:
        yield f"the cluster's id is {number.text} ({number.where}), and it says {told.number}"


def _warned_of_cluster(file: ObdFile, told: ClusterTold) -> Iterator[str]:
    guessed = []
    if file.cluster_name is None:
        guessed.append(("appname", DEFAULT_NAME, told.name))
    if file.cluster_id is None:
        guessed.append(("cluster_id", str(DEFAULT_ID), str(told.number)))
    for key, usual, said in guessed:
        if said != usual:
            yield (
                f"{key} is not in the file and would be {usual} by default; the cluster says "
                f"{said}: is it the one that is meant?"
            )
    version = file.version
    if version is not None and not _is_of(told.version, version.text):
        yield f"version is {version.text} ({version.where}), the cluster runs {told.version}"


def _is_of(build: str, version: str) -> bool:
    """Whether a build, `4.3.5.2-102000092025042111` say, is of a version, `4.3.5` say."""
    return f"{build}-".startswith((f"{version}-", f"{version}."))


def _warned(server: ObdServer, told: ClusterTold, homes: dict[str, str]) -> Iterator[str]:
    if "zone" not in server.wheres:
        yield (
            f"{server.name}: its zone is not in the file, so it is OBD's default, "
            f"{server.node.zone}: is that meant?"
        )
    home = homes.get(server.node.address)
    if server.home_path is not None and home and server.home_path.text.rstrip("/") != home:
        yield (
            f"{server.name}: home_path is {server.home_path.text} ({server.home_path.where}), its "
            f"agent's home is {home}; obshell takes its own"
        )
    missing = unsized(server)
    if missing:
        peers = ", ".join(
            f"{size} {value}"
            for size in missing
            if (value := _of_peers(size, server.node.zone, told)) is not None
        )
        offer = f"; its peers have {peers}: add that if it is meant" if peers else ""
        yield (
            f"{server.name}: no {', '.join(missing)} in the file, so the observer takes a share of "
            f"its host{offer}"
        )


def _of_peers(key: str, zone: str, told: ClusterTold) -> str | None:
    """What all servers of the zone have, or of the cluster where it has no such zone."""
    servers = {each.name: each.servers for each in told.zones}
    peers = servers.get(zone) or tuple(one for some in servers.values() for one in some)
    here = {(peer.ip, peer.svr_port) for peer in peers}
    row = next((row for row in told.parameters if row.name == key), None)
    values = {
        each.value
        for each in (row.ob_parameters if row else ())
        if (each.svr_ip, each.svr_port) in here
    }
    return values.pop() if len(values) == 1 and values != {"0M"} else None


def _taken(server: ObdServer) -> TakenNode:
    fields = {
        "obshell_port": str(server.ports["obshell_port"]),
        "zone": server.node.zone,
        **server.node.obConfigs,
    }
    return TakenNode(
        name=server.name,
        target=server.node.address,
        values=tuple(
            TakenValue(field=key, value=value, where=server.said(key))
            for key, value in fields.items()
        ),
    )


def _not_taken(each: LeftOut) -> NotTaken:
    return NotTaken(key=each.what, where=each.where, why=each.why)


def _flow(value: Any) -> str:
    """Write a value as JSON, which is YAML too and needs no guess about quotes."""
    return json.dumps(value, ensure_ascii=False)
