"""Rules about ports and directories: with the host, each other, and the batch.

Sources: obshell ob/agent/executor/ob/config.go and deploy.go, utils/path.go, 4.5.0.0.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from obscale.agent.models import joined_address
from obscale.preflight.facts import HOST_FACTS_MISSING, OLD_NAMES, Facts, asked_port
from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    not_applicable,
    unknown,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.rules.start_options import PATH_KEYS, PORT_KEYS, or_pass
from obscale.preflight.sizing import directories_of
from obscale.reading import Unread
from obscale.request.models import NodeSpec
from obscale.request.patterns import HIGHEST_PORT, LOWEST_PORT
from obscale.sizes import quoted

SYSTEM_PATHS: Final = ("/", "/tmp", "/etc", "/root")  # noqa: S108 - named to be refused
SYSTEM_TREES: Final = ("/dev", "/proc", "/sys", "/boot")
LONGEST_PATH: Final = 4095
LONGEST_NAME: Final = 255
"""PATH_MAX and NAME_MAX of Linux, in bytes: mkdir refuses more."""
_PATH = re.compile(r"[A-Za-z0-9\u4e00-\u9fa5\-_:@/.]+")
"""What obshell's own command line lets through; the API does not look."""


def _ports(node: NodeSpec) -> dict[str, int | None]:
    """Ports of a node by field; None: no number."""
    return {
        "obConfigs.mysql_port": asked_port(node, "mysql_port"),
        "obConfigs.rpc_port": asked_port(node, "rpc_port"),
        "agentInfo.port": node.agentInfo.port,
    }


@rule(
    "cfg-port-range",
    "ports are numbers obshell accepts",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 1, POST for an rpc_port that is no number",
    ground="A",
    only_new=False,
    is_static=True,
    source="ob/agent/executor/ob/config.go, 4.5.0.0",
)
def port_range(facts: Facts) -> list[Verdict]:
    """The handler looks at rpc_port only, and only whether it is a number."""
    told = ", ".join(f"{field.split('.')[-1]} {port}" for field, port in _ports(facts.node).items())
    return or_pass(_bad_ports(facts), told)


def _bad_ports(facts: Facts) -> Iterator[Verdict]:
    needed = f"{LOWEST_PORT} to {HIGHEST_PORT}"
    for key in sorted(PORT_KEYS & facts.configs.keys()):
        text = facts.configs[key]
        if text and not re.fullmatch(r"[1-9][0-9]*", text, re.ASCII):
            yield blocks(
                f"{quoted(text)} is not a port",
                needed,
                f"write digits, {needed}",
                subject=f"obConfigs.{key}",
            )
        elif text and not (len(text) < 6 and LOWEST_PORT <= int(text) <= HIGHEST_PORT):  # noqa: PLR2004 - digits
            yield blocks(
                f"port {text[:20]} is out of range",
                needed,
                f"pick one from {needed}",
                subject=f"obConfigs.{key}",
            )
    for key, old in OLD_NAMES.items():
        one, other = facts.configs.get(key), facts.configs.get(old)
        if one and other and one != other:
            yield blocks(
                f"{key} and {old} differ",
                "one of both",
                f"remove {old}",
                subject=f"obConfigs.{old}",
            )
    if not LOWEST_PORT <= facts.node.agentInfo.port <= HIGHEST_PORT:
        yield blocks(
            f"port {facts.node.agentInfo.port} is out of range",
            needed,
            f"pick one from {needed}",
            subject="agentInfo.port",
        )


@rule(
    "cfg-port-distinct",
    "the node's three ports differ",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5",
    ground="A",
    only_new=False,
    is_static=True,
    source="ob/agent/executor/ob/config.go, 4.5.0.0",
)
def port_distinct(facts: Facts) -> list[Verdict]:
    """Defaults count: 2881, 2882, 2886."""
    ports = [(field, port) for field, port in _ports(facts.node).items() if port is not None]
    found = (
        blocks(
            f"{one.split('.')[-1]} and {other.split('.')[-1]} both use port {port}",
            "three different ports",
            "pick another port for one of them",
            subject=one,
        )
        for at, (one, port) in enumerate(ports)
        for other, same in ports[at + 1 :]
        if port == same
    )
    return or_pass(found, ", ".join(str(port) for _, port in ports))


@rule(
    "cfg-paths-absolute",
    "directories are plain absolute paths",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 4",
    ground="A",
    only_new=False,
    is_static=True,
    source="utils/path.go, 4.5.0.0: obshell's command line enforces it, its API does not",
)
def paths_absolute(facts: Facts) -> list[Verdict]:
    """The paths end up in shell commands."""
    given = {key: facts.configs[key] for key in PATH_KEYS if facts.configs.get(key)}
    if not given:
        return [not_applicable("no directory given")]
    return or_pass(_bad_paths(given), ", ".join(given.values()))


def _bad_paths(given: dict[str, str]) -> Iterator[Verdict]:
    for key, path in given.items():
        where = f"obConfigs.{key}"
        if not path.startswith("/"):
            yield blocks(
                f"{quoted(path)} is not absolute",
                "an absolute path",
                "begin it with /",
                subject=where,
            )
        elif ".." in PurePosixPath(path).parts:
            yield blocks(
                f"{quoted(path)} climbs by ..", "no ..", "write the path it means", subject=where
            )
        elif len(path.encode()) > LONGEST_PATH or any(
            len(part.encode()) > LONGEST_NAME for part in path.split("/")
        ):
            yield blocks(
                f"{quoted(path)} is longer than a path may be",
                f"≤ {LONGEST_PATH} bytes, each name ≤ {LONGEST_NAME}",
                "choose a shorter path",
                subject=where,
            )
        elif not _PATH.fullmatch(path):
            yield blocks(
                f"{quoted(path)} has characters obshell's shell commands do not stand",
                "letters, digits, - _ : @ / .",
                "choose a plainer path",
                subject=where,
            )


def clean(path: str) -> str:
    """Give a path without doubled or trailing slashes and without `.`."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return "/" + "/".join(parts)


def _is_below(path: str, above: str) -> bool:
    """Whether a clean path lies strictly below another one."""
    return path != above and (above == "/" or path.startswith(f"{above}/"))


@rule(
    "cfg-dirs-nesting",
    "no directory holds one that is made before it",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 4, and a retry cannot mend it",
    ground="A",
    only_new=False,
    is_static=True,
    source="ob/agent/executor/ob/deploy.go, 4.5.0.0",
)
def dirs_nesting(facts: Facts) -> list[Verdict]:
    """Obshell makes data, redo, clog, slog in this order and wants each empty at its turn."""
    home = None if isinstance(facts.target.info, Unread) else facts.target.info.home_path or None
    dirs = directories_of(facts.configs, home)
    made = [
        (key, clean(path))
        for key, path in zip(PATH_KEYS, (dirs.data, dirs.redo, dirs.clog, dirs.slog), strict=True)
        if path
    ]
    if not any(facts.configs.get(key) for key in PATH_KEYS):
        return [not_applicable("no directory given")]
    found = (
        blocks(
            f"{later} {path} would hold {earlier} {inner}, which is made first",
            "each directory empty at its turn",
            f"make {later} a sibling of {earlier}",
            subject=f"obConfigs.{later}",
        )
        for at, (later, path) in enumerate(made)
        for earlier, inner in made[:at]
        if _is_below(inner, path)
    )
    return or_pass(found, ", ".join(path for _, path in made))


@rule(
    "cfg-dir-not-mount-root",
    "no directory is a mount point itself",
    prod=WARN,
    lab=INFO,
    otherwise="stage 4",
    source="inferred: the root of an ext4 disk holds lost+found, so it is not empty",
)
def dir_not_mount_root(facts: Facts) -> Verdict | list[Verdict]:
    """A mount point is told by its hash only."""
    given = {key: clean(facts.configs[key]) for key in PATH_KEYS if facts.configs.get(key)}
    if not given:
        return not_applicable("no directory given")
    host = facts.target.host
    if isinstance(host, Unread):
        return unknown(Unread(host.reason, host.supported, host.covered_by or HOST_FACTS_MISSING))
    mounts = {disk.mount_hash for disk in host.disks}
    found = (
        fires(
            f"{path} is a mount point",
            "a directory below it",
            f"use e.g. {path}/ob",
            subject=f"obConfigs.{key}",
        )
        for key, path in given.items()
        if mount_hash(path) in mounts
    )
    return or_pass(found, ", ".join(given.values()))


def mount_hash(path: str) -> str:
    """Hash a mount point as obshell does. Source: utils/sha1.go, 4.5.0.0."""
    return hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()


@rule(
    "cfg-dir-not-system",
    "directories belong to OceanBase alone",
    prod=BLOCK,
    lab=WARN,
    otherwise="stage 4 or RUNTIME",
    ground="B",
    only_new=False,
    is_static=True,
    source="ob/agent/executor/ob/destroy.go, 4.5.0.0: a rollback removes them",
)
def dir_not_system(facts: Facts) -> list[Verdict]:
    """Obshell's rollback removes the directories with all they hold."""
    given = {key: clean(facts.configs[key]) for key in PATH_KEYS if facts.configs.get(key)}
    if not given:
        return [not_applicable("no directory given")]
    info = facts.target.info
    home = None if isinstance(info, Unread) or not info.home_path else clean(info.home_path)
    return or_pass(_dangerous(facts, given, home), ", ".join(given.values()))


def _dangerous(facts: Facts, given: dict[str, str], home: str | None) -> Iterator[Verdict]:
    others = [
        clean(path)
        for _, server in facts.cluster.servers()
        if server.ip == facts.node.agentInfo.ip and server.svr_port != facts.rpc_port
        for path in (server.data_dir, server.redo_dir)
        if path
    ]
    for key, path in given.items():
        why = ""
        if path in SYSTEM_PATHS or any(path == t or _is_below(path, t) for t in SYSTEM_TREES):
            why = "belongs to the system"
        elif path == home:
            why = "is the agent's home itself"
        elif home and _is_below(home, path):
            why = f"holds the agent's home {home}"
        elif any(path == other or _is_below(path, other) for other in others):
            why = "belongs to another observer on this host"
        elif theirs := next((other for other in others if _is_below(other, path)), None):
            why = f"holds {theirs} of another observer on this host"
        if why:
            yield fires(
                f"{path} {why}",
                "a directory of its own",
                "choose a directory that belongs to this observer alone",
                subject=f"obConfigs.{key}",
            )


@rule(
    "cfg-no-cross-contamination",
    "nodes of one request do not share ports or directories",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 4 or 5 of the second node",
    ground="A",
    only_new=False,
    is_static=True,
    source="obshell looks at one node at a time",
)
def no_cross_contamination(facts: Facts) -> list[Verdict]:
    """Only nodes on the same IP can meet."""
    mine = facts.node
    here = [node for node in facts.batch if node.agentInfo.ip == mine.agentInfo.ip]
    if here.count(mine) > 1:
        return [
            blocks(
                f"{mine.address} is asked for twice",
                "one node an agent",
                "remove one of them",
                subject="agentInfo",
            )
        ]
    neighbours = [node for node in here if node != mine]
    if not neighbours:
        return [not_applicable("no other node of the request on this IP")]
    found = (verdict for other in neighbours for verdict in _clashes(mine, other))
    return or_pass(found, f"{len(neighbours)} other nodes on {mine.agentInfo.ip}")


def _clashes(mine: NodeSpec, other: NodeSpec) -> Iterator[Verdict]:
    if mine.agentInfo.port == other.agentInfo.port:
        yield blocks(
            f"{mine.address} is asked for twice",
            "one node an agent",
            "remove one of them",
            subject="agentInfo",
        )
        return
    for field, port in _ports(mine).items():
        theirs = [name for name, used in _ports(other).items() if used == port]
        if port is not None and theirs:
            yield blocks(
                f"port {port} on {mine.agentInfo.ip} is also {theirs[0].split('.')[-1]} of "
                f"{joined_address(other.agentInfo.ip, other.agentInfo.port)}",
                "every port once an IP",
                "pick another port",
                subject=field,
            )
    theirs_at = {clean(path) for key in PATH_KEYS if (path := other.obConfigs.get(key))}
    for key in PATH_KEYS:
        path = mine.obConfigs.get(key)
        if path and clean(path) in theirs_at:
            yield blocks(
                f"{path} is also a directory of {other.address}",
                "own directories",
                "choose another directory",
                subject=f"obConfigs.{key}",
            )


RULES: Final = (
    port_range,
    port_distinct,
    paths_absolute,
    dirs_nesting,
    dir_not_mount_root,
    dir_not_system,
    no_cross_contamination,
)
