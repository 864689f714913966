"""Rules about versions of observer, agent and machine.

Sources: obshell ob/agent/executor/ob/scale_out.go, 4.2.4.0 to 4.5.0.0.
"""

import re
from dataclasses import dataclass
from typing import Final

from obscale.agent.models import AgentInfo
from obscale.preflight.facts import Facts, OfCluster
from obscale.preflight.finding import (
    Answer,
    Verdict,
    blocks,
    fires,
    not_applicable,
    passes,
    unknown,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.reading import Unread

LOWEST_UPGRADABLE: Final = (4, 2, 4, 1)
"""An older agent is upgraded on its way in; below this it is refused."""
TELLS_OB_VERSION: Final = (4, 2, 4, 0)
TELLS_ARCHITECTURE: Final = (4, 3, 0, 0)

_OB_VERSION = re.compile(r"(?P<version>\d+(?:\.\d+){3})(?:[-_](?P<build>\d+))?", re.ASCII)
_AGENT_VERSION = re.compile(r"\d+(?:\.\d+)*", re.ASCII)


@dataclass(frozen=True)
class ObVersion:
    """Version of an observer; `build` is empty where it was not told."""

    version: str
    build: str

    def __str__(self) -> str:
        return f"{self.version}-{self.build}" if self.build else self.version


def parse_ob_version(text: str) -> ObVersion | None:
    """Read `4.3.5.2-102…`, `4.3.5.2_102…-<hash>(<date>)` or `4.3.5.2`; None for anything else."""
    match = _OB_VERSION.match(text.strip())
    return ObVersion(match["version"], match["build"] or "") if match else None


def parse_agent_version(text: str) -> tuple[int, ...] | None:
    """Read obshell's version, without the release behind `-`; None for anything else."""
    match = _AGENT_VERSION.match(text.strip())
    return tuple(int(part) for part in match[0].split(".")) if match else None


def numbers_of(version: str) -> tuple[int, ...]:
    """Give the parts of `4.3.5.2` as numbers, so that 4.10 is newer than 4.9."""
    return tuple(int(part) for part in version.split("."))


def cluster_ob_version(facts: OfCluster) -> ObVersion | None:
    """Give the version of the observer we ask: with its build, if any source tells that."""
    told = _entry_server_versions(facts) + _cluster_versions(facts)
    parsed = [version for text in told if (version := parse_ob_version(text))]
    if not parsed:
        return None
    same = [version for version in parsed if version.version == parsed[0].version]
    return next((version for version in same if version.build), parsed[0])


def _entry_server_versions(facts: OfCluster) -> list[str]:
    """The handler compares the target with the binary of the agent it was sent to."""
    info = facts.cluster.info
    if isinstance(info, Unread):
        return []
    own = [info.ob_version] if info.ob_version else []
    for _, server in facts.cluster.servers():
        if server.ip == info.ip and server.obshell_port in {0, info.port} and server.version:
            own.append(server.version)
    return own


def _cluster_versions(facts: OfCluster) -> list[str]:
    told = []
    if not isinstance(facts.cluster.cluster_info, Unread):
        told.append(facts.cluster.cluster_info.ob_version)
    if not isinstance(facts.cluster.ob_info, Unread):
        told.append(facts.cluster.ob_info.obcluster_info.version)
    builds = {server.version for _, server in facts.cluster.servers() if server.version}
    return told + (list(builds) if len(builds) == 1 else [])


@rule(
    "ob-version-equal",
    "target and cluster run the same observer build",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST since 4.2.4.0; stage 7 or SILENT before",
    ground="A",
    source="ob/agent/executor/ob/scale_out.go, 4.2.4.0",
)
def ob_version_equal(facts: Facts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """Joining a foreign build goes wrong later, or silently."""
    info = facts.target.info
    if isinstance(info, Unread):
        return unknown(info, "the cluster's build")
    theirs = cluster_ob_version(facts)
    install = f"install the cluster's build {theirs or ''} on the target".replace("  ", " ")
    if not info.ob_version:
        agent = parse_agent_version(info.version)
        if agent is None or agent < TELLS_OB_VERSION:
            words = f"obshell {info.version or '?'} does not tell the observer's version"
            return unknown(
                Unread(words, supported=False),
                str(theirs or "the cluster's build"),
                "upgrade the target's obshell to 4.2.4.0 or newer, which tells it; bin/observer -V "
                "there says it at once",
                prod=Answer.BLOCK,
            )
        return blocks("no observer binary on the target", str(theirs or "the same build"), install)
    mine = parse_ob_version(info.ob_version)
    if mine is None or theirs is None:
        return unknown(
            f"target {info.ob_version}, cluster {theirs or 'not told'}",
            "the same build",
            "compare bin/observer -V on both",
        )
    if mine.version != theirs.version or (
        mine.build and theirs.build and mine.build != theirs.build
    ):
        return blocks(f"target {mine}, cluster {theirs}", str(theirs), install)
    if not (mine.build and theirs.build):
        return unknown(
            f"both {mine.version}, but the build is told on one side only",
            str(mine if mine.build else theirs),
            "compare bin/observer -V on both",
        )
    return passes(str(mine), str(theirs))


@rule(
    "ob-version-cluster-uniform",
    "the cluster itself runs one build",
    prod=BLOCK,
    lab=WARN,
    otherwise="stage 7 or RUNTIME",
    ground="B",
    source="a mixed cluster is in the middle of an upgrade",
)
def ob_version_cluster_uniform(facts: OfCluster) -> Verdict:
    """By the servers' own words."""
    topology = facts.cluster.topology
    if isinstance(topology, Unread):
        return unknown(topology, "one version")
    versions = {
        str(parse_ob_version(s.version) or s.version)
        for _, s in facts.cluster.servers()
        if s.version
    }
    if not versions:
        return unknown("no server tells its version", "one version")
    if len(versions) > 1:
        return fires(" and ".join(sorted(versions)), "one version", "finish the upgrade")
    return passes(versions.pop())


def _agent_versions(facts: Facts) -> tuple[str, str] | Unread:
    """The target's and the entry agent's obshell version."""
    for info in (facts.target.info, facts.cluster.info):
        if isinstance(info, Unread):
            return info
    assert isinstance(facts.target.info, AgentInfo)  # noqa: S101 - the loop saw to it
    assert isinstance(facts.cluster.info, AgentInfo)  # noqa: S101
    return facts.target.info.version, facts.cluster.info.version


@rule(
    "agent-version-order",
    "the target's obshell is not newer, nor too old",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST since 4.2.5.0, SILENT before",
    ground="A",
    source="ob/agent/executor/ob/scale_out.go, 4.2.5.0",
)
def agent_version_order(facts: Facts) -> Verdict:
    """The text before `-`, part by part as numbers."""
    versions = _agent_versions(facts)
    if isinstance(versions, Unread):
        return unknown(versions, "not newer than the cluster's")
    mine, theirs = (parse_agent_version(text) for text in versions)
    measured = f"target {versions[0] or '?'}, cluster {versions[1] or '?'}"
    if mine is None or theirs is None:
        return unknown(measured, "not newer than the cluster's")
    if mine > theirs:
        return blocks(
            measured,
            f"at most {_dotted(theirs)}",
            "upgrade the cluster's obshell first, or install the older one on the target",
        )
    if mine < theirs and mine < LOWEST_UPGRADABLE:
        return blocks(
            measured, f"at least {_dotted(LOWEST_UPGRADABLE)}", "upgrade the target's obshell"
        )
    return passes(measured)


@rule(
    "agent-version-equal",
    "both sides run the same obshell",
    prod=WARN,
    lab=INFO,
    otherwise="the local DAG, after the node has joined",
    source="ob/agent/executor/ob/scale_out.go, 4.2.5.0: an extra node upgrades the target",
)
def agent_version_equal(facts: Facts) -> Verdict:
    """An older one upgrades and restarts itself at the end, which the last stage waits 30 s for."""
    versions = _agent_versions(facts)
    if isinstance(versions, Unread):
        return unknown(versions, "equal")
    mine, theirs = (parse_agent_version(text) for text in versions)
    measured = f"target {versions[0] or '?'}, cluster {versions[1] or '?'}"
    if mine is None or theirs is None:
        return unknown(measured, "equal")
    if mine < theirs:
        return fires(measured, _dotted(theirs), "upgrade the target's obshell beforehand")
    if mine > theirs:
        return not_applicable("newer than the cluster's: see agent-version-order")
    return passes(measured)


@rule(
    "agent-binary-arch",
    "an upgrade would find a binary that runs on the target",
    prod=BLOCK,
    lab=WARN,
    otherwise="the last stage",
    ground="B",
    source="ob/agent/executor/ob/scale_out.go, 4.2.5.0: looks for its own architecture's binary",
)
def agent_binary_arch(facts: Facts) -> Verdict:
    """Only where an upgrade is due."""
    versions = _agent_versions(facts)
    if isinstance(versions, Unread):
        return unknown(versions, "one architecture")
    mine, theirs = (parse_agent_version(text) for text in versions)
    if mine == theirs or (mine and theirs and mine > theirs):
        return not_applicable("no upgrade is due")
    there, here = _architectures(facts)
    if not there or not here:
        return unknown(
            f"target {there or 'not told'}, cluster {here or 'not told'}",
            "one architecture",
            "compare uname -m on both, or upgrade the target's obshell beforehand",
        )
    if there != here:
        return fires(
            f"target {there}, cluster {here}",
            "one architecture",
            "upgrade the target's obshell beforehand",
        )
    return passes(there)


@rule(
    "arch-match",
    "the machine has the architecture of its peers",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME",
    source="mixed clusters run, but unevenly",
)
def arch_match(facts: Facts) -> Verdict:
    """Told since 4.3.0.0."""
    info = facts.target.info
    if isinstance(info, Unread):
        return unknown(info, "as its peers")
    peers = {server.architecture for _, server in facts.cluster.servers() if server.architecture}
    if not isinstance(facts.cluster.info, Unread) and facts.cluster.info.architecture:
        peers.add(facts.cluster.info.architecture)
    if not info.architecture:
        agent = parse_agent_version(info.version)
        if agent is not None and agent < TELLS_ARCHITECTURE:
            return not_applicable("this version does not tell")
        return unknown("the target does not tell its architecture", "as its peers")
    if not peers:
        return unknown("no peer tells its architecture", info.architecture)
    if peers != {info.architecture}:
        return fires(
            f"target {info.architecture}, peers {', '.join(sorted(peers))}",
            "one architecture",
            "is that intended?",
        )
    return passes(info.architecture)


def _architectures(facts: Facts) -> tuple[str, str]:
    target, entry = facts.target.info, facts.cluster.info
    return (
        "" if isinstance(target, Unread) else target.architecture,
        "" if isinstance(entry, Unread) else entry.architecture,
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


RULES: Final = (
    ob_version_equal,
    ob_version_cluster_uniform,
    agent_version_order,
    agent_version_equal,
    agent_binary_arch,
    arch_match,
)
