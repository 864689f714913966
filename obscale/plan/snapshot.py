"""The state of the cluster a plan was made for, and what has changed since.

A plan is signed for one cluster in one state. What would make it another decision is held as facts,
so that a refusal can say what changed, and as one hash, so that two states compare at a glance.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import joined_address
from obscale.maintenance_lock import Lock, lock_held_by
from obscale.preflight.facts import Facts, TargetProgress, server_address
from obscale.reading import Unread
from obscale.scale_out_dag import is_scale_out_of


class ServerSnapshot(BaseModel):
    """Where a server is and how it is."""

    model_config = ConfigDict(frozen=True)

    zone: str
    status: str


class TargetSnapshot(BaseModel):
    """Who a target is, and how far on its way: `new`, `under way` or `member`."""

    model_config = ConfigDict(frozen=True)

    identity: str
    progress: str
    zone: str
    server: str
    """`ip:rpc_port` of the observer it will have."""


class Snapshot(BaseModel):
    """The state a plan was made for. None: it could not be read."""

    model_config = ConfigDict(frozen=True)

    cluster: str
    """`name/id` as the cluster itself says."""
    zones: Mapping[str, str] | None
    """State by name."""
    servers: Mapping[str, ServerSnapshot] | None
    """By `ip:rpc_port`."""
    unfinished: Mapping[str, str] | None
    """Name by id of each unfinished DAG that may hold the lock; of a target's own scale-out, its
    `ip:port`."""
    targets: Mapping[str, TargetSnapshot]
    """By `ip:port`."""


def snapshot_of(rows: Sequence[Facts]) -> Snapshot:
    """Give the state of the cluster and of all targets of one request."""
    cluster = rows[0].cluster
    known = not isinstance(cluster.topology, Unread)
    return Snapshot(
        cluster=_name(rows[0]),
        zones={zone.name: zone.inner_status for zone in cluster.zones()} if known else None,
        servers={
            server_address(server): ServerSnapshot(
                zone=zone.name,
                status=" ".join(dict.fromkeys(filter(None, (server.status, server.inner_status)))),
            )
            for zone, server in cluster.servers()
        }
        if known
        else None,
        unfinished=_unfinished(rows),
        targets={facts.node.address: _target(facts) for facts in rows},
    )


def topology_hash(snapshot: Snapshot) -> str:
    """Give `sha256:…` of a state; the same state gives the same text in whatever order it came."""
    text = json.dumps(
        snapshot.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def changes(then: Snapshot, now: Snapshot) -> tuple[str, ...]:
    """Say what has changed since, one line each; nothing that the plan itself has brought about.

    A target that is under way, or has joined, is the plan at work: running it again takes it up.
    """
    begun = {
        address: target
        for address, target in now.targets.items()
        if target.progress != TargetProgress.NEW.value
    }
    return (
        *_unlike_cluster(then, now),
        *_unlike_topology(then, now, begun.values()),
        *_unlike_dags(then, now, begun.keys()),
        *_unlike_targets(then, now, begun.keys()),
    )


def _unlike_cluster(then: Snapshot, now: Snapshot) -> Iterator[str]:
    if then.cluster != now.cluster:
        yield f"the cluster was {then.cluster} and is now {now.cluster}"
    for what, was_read, is_read in (
        ("zones and servers", then.zones is not None, now.zones is not None),
        ("unfinished DAGs", then.unfinished is not None, now.unfinished is not None),
    ):
        if was_read and not is_read:
            yield f"the {what} can no longer be read"
        elif is_read and not was_read:
            yield f"the {what} could not be read when it was planned"


def _unlike_topology(
    then: Snapshot, now: Snapshot, begun: Collection[TargetSnapshot]
) -> Iterator[str]:
    own_zones, own_servers = {t.zone for t in begun}, {t.server for t in begun}
    for name, was, is_ in _compared(then.zones, now.zones):
        if was is not None or name not in own_zones:
            yield _told(f"zone {name}", was, is_)
    for name, was, is_ in _compared(_words(then.servers), _words(now.servers)):
        if name not in own_servers:
            yield _told(f"server {name}", was, is_)


def _unlike_dags(then: Snapshot, now: Snapshot, begun: Collection[str]) -> Iterator[str]:
    for name, was, is_ in _compared(then.unfinished, now.unfinished):
        if is_ is None:
            yield f"DAG {name} ({was}) has ended"
        elif is_ not in begun:
            yield f"DAG {name} ({is_}) is under way or failed"


def _unlike_targets(then: Snapshot, now: Snapshot, begun: Collection[str]) -> Iterator[str]:
    for address, target in now.targets.items():
        before = then.targets.get(address)
        was = before.identity if before else "not planned"
        if was != target.identity and address not in begun:
            yield f"target {address} was {was} and is now {target.identity}"


def _compared(
    then: Mapping[str, str] | None, now: Mapping[str, str] | None
) -> Iterator[tuple[str, str | None, str | None]]:
    """Give each name whose value differs; nothing where one side could not be read."""
    if then is None or now is None:
        return
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            yield name, then.get(name), now.get(name)


def _told(what: str, was: str | None, is_: str | None) -> str:
    if was is None:
        return f"{what} was added ({is_})"
    if is_ is None:
        return f"{what} is gone (was {was})"
    return f"{what} was {was} and is now {is_}"


def _words(servers: Mapping[str, ServerSnapshot] | None) -> dict[str, str] | None:
    if servers is None:
        return None
    return {
        name: f"{server.status or 'of unknown state'} in {server.zone}"
        for name, server in servers.items()
    }


def _name(facts: Facts) -> str:
    known = facts.cluster.identity()
    return f"{known[0]}/{known[1]}" if known else "unknown"


def _unfinished(rows: Sequence[Facts]) -> dict[str, str] | None:
    dags = rows[0].cluster.unfinished
    if isinstance(dags, Unread):
        return None
    found: dict[str, str] = {}
    for dag in dags:
        if lock_held_by(dag) is Lock.FREE:
            continue
        found[dag.id] = dag.name
        for facts in rows:
            local = facts.target.last_dag
            local_dag = None if isinstance(local, Unread) else local
            if is_scale_out_of(dag, facts.node.address, local_dag):
                found[dag.id] = facts.node.address
    return found


def _target(facts: Facts) -> TargetSnapshot:
    info = facts.target.info
    return TargetSnapshot(
        identity="silent" if isinstance(info, Unread) else info.identity.value,
        progress=facts.progress().value,
        zone=facts.node.zone,
        server=joined_address(facts.node.agentInfo.ip, facts.rpc_port or 0),
    )
