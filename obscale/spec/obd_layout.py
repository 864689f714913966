"""Finds the servers in a file of OBD's, in either of its styles, with what gives them options.

Pure. Source: oceanbase/obdeploy a3e8c47, _deploy.py and
config_parser/oceanbase/cluster_config_parser.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from obscale.errors import SpecError
from obscale.sizes import quoted
from obscale.spec.obd_options import Layer, LeftOut, Written, mapping_at, place
from obscale.spec.problems import refused
from obscale.spec.source import Path_, Source

COMPONENTS: Final = ("oceanbase-ce", "oceanbase", "oceanbase-standalone")
"""Names under which OBD deploys observers."""
META: Final = frozenset(
    {
        *("version", "tag", "release", "package_hash", "type", "image_name"),
        *("depends", "rsync", "runtime_dependencies", "env", "style"),
    }
)
"""What a component says beside its servers: how OBD installs it."""
ONLY_IN_FIRST: Final = frozenset(
    {
        *("global", "config", "version", "tag", "release", "package_hash"),
        *("rsync", "runtime_dependencies", "env", "id", "name"),
    }
)
"""What OBD forbids in an additional file; there it applies from the cluster's own."""
_OF_DEFAULT: Final = frozenset({"servers", "global"})
_OF_CLUSTER: Final = frozenset({"zones", "config", "id", "name"})


@dataclass(frozen=True)
class Placed:
    """A server with what gives it options.

    Args:
        name: The file calls it so; its IP where it gives no name.
        ip: In its shortest form.
        where: `file:line`.
        layers: Of options, from those of all servers to its own.
        zone: Where the style puts it; None: its options say so.
        is_added: Whether the additional file brings it.
    """

    name: str
    ip: str
    where: str
    layers: tuple[Layer, ...]
    zone: Written | None = None
    is_added: bool = False


@dataclass
class Layout:
    """What a file, or two, describe.

    Args:
        component: The name of the observers' component.
        servers: In the order of the file.
        everywhere: Layers that apply to all servers.
        left_out: Of the component itself.
        remarks: What deserves a word.
    """

    component: str
    servers: list[Placed] = field(default_factory=list)
    everywhere: tuple[Layer, ...] = ()
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def layout_of(first: Source, extra: Source | None) -> Layout:
    """Find the servers.

    Args:
        first: The cluster's file.
        extra: An additional file of `obd cluster scale_out`.

    Raises:
        SpecError: It describes no observers, or not as OBD would take it; one line for each fault.
    """
    component = component_of(first)
    found = Layout(component)
    problems: list[str] = []
    style = _style(first, component, "default")
    sources = [first]
    if extra is not None:
        if component_of(extra) != component:
            raise SpecError(
                f"{extra.name}: adds servers to {component_of(extra)}, {first.name} has {component}"
            )
        if _style(extra, component, style) != style:
            raise SpecError(f"{extra.name}: is of another style than {first.name}")
        sources.append(extra)
        problems += _forbidden(extra, component)
    read = _of_zones if style == "cluster" else _of_names
    for source in sources:
        problems += read(found, first, source)
    problems += _twice(found.servers)
    problems += _on_loopback(found.servers)
    if not found.servers and not problems:
        problems.append(f"{first.where((component,))}{component}: names no server")
    if problems:
        raise refused(problems)
    return found


def component_of(source: Source) -> str:
    """Give the name of the one component of observers.

    Raises:
        SpecError: There is none, or several.
    """
    data = source.data
    if not isinstance(data, Mapping):
        raise SpecError(f"{source.name}: is no file of OBD's: it must be a mapping of components")
    named = [name for name in COMPONENTS if name in data]
    if not named:
        others = [name for name, part in data.items() if isinstance(part, Mapping)]
        described = f"it describes {', '.join(map(quoted, others))}" if others else "it has none"
        raise SpecError(
            f"{source.name}: has no component of observers ({', '.join(COMPONENTS)}); {described}",
            "name the file that describes the OceanBase cluster",
        )
    if len(named) > 1:
        raise SpecError(
            f"{source.where((named[1],))}has two components of observers, {named[0]} and "
            f"{named[1]}; leave one"
        )
    return named[0]


def _style(source: Source, component: str, usual: str) -> str:
    """Check what all styles have in common, and give the style.

    Raises:
        SpecError: It is no mapping, of an unknown style, or takes a part from another file.
    """
    part = source.data[component]
    if not isinstance(part, Mapping):
        raise SpecError(f"{source.where((component,))}{component}: must be a mapping")
    if part.get("include"):
        raise SpecError(
            f"{source.where((component, 'include'))}{component}.include: another file is not "
            "followed; write its settings here",
        )
    style = part.get("style", usual)
    if style not in ("default", "cluster"):
        raise SpecError(
            f"{source.where((component, 'style'))}{component}.style: is unknown; "
            "known are default and cluster"
        )
    return str(style)


def _forbidden(extra: Source, component: str) -> Iterator[str]:
    for key in extra.data[component]:
        if key in ONLY_IN_FIRST:
            yield (
                f"{extra.where((component, key))}{component}.{key}: has no place in an additional "
                "file; it applies from the cluster's own"
            )


def _of_names(found: Layout, first: Source, source: Source) -> Iterator[str]:
    """Style default: servers, and a block for each by its name."""
    component = found.component
    part = source.data[component]
    everywhere = Layer(first, (component, "global"))
    found.everywhere = (everywhere,)
    yield from _no_mappings(source, (component,), ("global",))
    names = set()
    for placed in _servers(source, (component, "servers")):
        if isinstance(placed, str):
            yield placed
            continue
        name, ip, where = placed
        names.add(name)
        layers = (everywhere, Layer(source, (component, name)))
        found.servers.append(Placed(name, ip, where, layers, is_added=source is not first))
    yield from _no_mappings(source, (component,), sorted(names))
    _say_rest(found, source, part, _OF_DEFAULT | names)


def _of_zones(found: Layout, first: Source, source: Source) -> Iterator[str]:
    """Style cluster: zones with their servers, and options of all, of a zone and of a server."""
    component = found.component
    known = mapping_at(first, (component, "zones"))
    everywhere = Layer(first, (component, "config"))
    found.everywhere = (everywhere,)
    yield from _no_mappings(source, (component,), ("config", "zones"))
    for zone, part in mapping_at(source, (component, "zones")).items():
        path: Path_ = (component, "zones", zone)
        if not isinstance(part, Mapping):
            yield f"{source.where(path)}zone {zone}: must be a mapping"
            continue
        yield from _no_mappings(source, path, ("config",))
        names = {"global"}
        forced = Written(zone, place(source, path))
        for placed in _servers(source, (*path, "servers")):
            if isinstance(placed, str):
                yield placed
                continue
            name, ip, where = placed
            names.add(name)
            layers = (
                everywhere,
                Layer(first, (*path, "config", "global")),
                *((Layer(source, (*path, "config", "global")),) if source is not first else ()),
                Layer(source, (*path, "config", name)),
            )
            found.servers.append(
                Placed(name, ip, where, layers, forced, is_added=source is not first)
            )
        configs = mapping_at(source, (*path, "config"))
        yield from _no_mappings(source, (*path, "config"), sorted(names & configs.keys()))
        if source is not first and zone in known and "global" in configs:
            yield (
                f"{source.where((*path, 'config', 'global'))}zone {zone}: its global is set in "
                f"{first.name}; say it for the server"
            )
        for name in configs.keys() - names:
            where = place(source, (*path, "config", name))
            found.remarks.append(
                f"{where}: the block {quoted(name)} belongs to no server of {zone}"
            )
        if "idc" in part:
            found.left_out.append(
                LeftOut("idc", place(source, (*path, "idc")), "of a zone, not of a node")
            )
    _say_rest(found, source, source.data[component], _OF_CLUSTER)


def _servers(source: Source, path: Path_) -> Iterator[tuple[str, str, str] | str]:
    """Give name, IP and place of each server, or what is wrong with it."""
    listed = mapping_at(source, path[:-1]).get(str(path[-1]))
    if listed is None:
        return
    if not isinstance(listed, list):
        yield f"{source.where(path)}servers: must be a list"
        return
    for at, item in enumerate(listed):
        here: Path_ = (*path, at)
        where = place(source, here)
        written = item.get("ip") if isinstance(item, Mapping) else item
        ip = _ip(written)
        if ip is None:
            shown = quoted(written) if isinstance(written, str) else "this"
            yield f"{where}: servers: {shown} is no IP; OBD and obshell know servers by IP alone"
        else:
            name = item.get("name") if isinstance(item, Mapping) else None
            name = source.written((*here, "name"), name) if name is not None else str(written)
            yield name, ip, where


def _ip(written: object) -> str | None:
    try:
        return str(ip_address(written)) if isinstance(written, str) else None
    except ValueError:
        return None


def _no_mappings(source: Source, path: Path_, keys: tuple[str, ...] | list[str]) -> Iterator[str]:
    part = mapping_at(source, path)
    for key in keys:
        if part.get(key) is not None and not isinstance(part[key], Mapping):
            yield f"{source.where((*path, key))}{key}: must be a mapping"


def _twice(servers: list[Placed]) -> Iterator[str]:
    """Say which names stand for two servers."""
    first: dict[str, Placed] = {}
    for server in servers:
        other = first.setdefault(server.name, server)
        if other is not server:
            yield (
                f"{server.where}: servers: {quoted(server.name)} stands twice, first at "
                f"{other.where}; remove one"
            )


def _on_loopback(servers: list[Placed]) -> Iterator[str]:
    """Say which servers no other one reaches; a simulated cluster is on loopback as a whole."""
    alone = [server for server in servers if ip_address(server.ip).is_loopback]
    if 1 < len(alone) == len(servers):
        return
    for server in alone:
        yield (
            f"{server.where}: servers: {server.ip} is loopback: an observer there cannot have "
            "peers; write the host's address"
        )


def _say_rest(
    found: Layout, source: Source, part: Mapping[str, object], known: frozenset[str]
) -> None:
    """List what a component says beside its servers."""
    component = found.component
    for key in part:
        where = place(source, (component, key))
        if key == "style" or key in known:
            continue
        if key in META:
            found.left_out.append(LeftOut(key, where, "how OBD installs"))
        elif key != "include":
            found.remarks.append(f"{where}: the block {quoted(key)} belongs to no server")
