"""The nodes of the DAGs that change the replicas of a tenant, and the number of its units.

All of them give the lock up where they fail, and hardly any undoes something. Sources:
ob/agent/executor/tenant/{modify,scale_out,scale_in}_replicas.go, alter_locality.go, 4.5.0.0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from obscale.sandbox.cluster import Cluster, Pool, Tenant, Unit
from obscale.sandbox.config import UnitConfig
from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.dag import Step, Work
from obscale.sandbox.dags.mishaps import exposed, failing
from obscale.sandbox.faults.fault import Fault
from obscale.sandbox.units import NO_ROOM, add_units, drop_units, seconds_left

Run = Callable[[Scene], Work]
ADD_NAME: Final = "Scale out tenant replicas"
MODIFY_NAME: Final = "Modify tenant replicas"
DROP_NAME: Final = "Scale in tenant replicas"
JOB_LOOKS: Final = 360
JOB_PAUSE_SECONDS: Final = 10.0
UNIT_NUM_JOB: Final = "ALTER_RESOURCE_TENANT_UNIT_NUM"
LOCALITY_JOB: Final = "ALTER_TENANT_LOCALITY"
LOOKING: Final = "Get in progress tenant job failed"
JOB_BUG: Final = (
    f"{LOOKING}: Unexpected error: the target locality of alter locality job is unexpect."
)
"""The look for a running job reads its id alone, and then parses what it has not read."""


@dataclass(frozen=True)
class Replica:
    """One replica that is asked for: in which zone, of what, in how many units."""

    zone: str
    kind: str
    unit_id: int
    unit: UnitConfig
    unit_num: int


def add_steps(tenant: Tenant, replicas: Sequence[Replica], stamp: int) -> list[Step]:
    """Pools for all new replicas, then one node for each zone."""
    pools = [
        Pool(
            id=0,
            name=f"{tenant.name}_{each.zone}_{stamp}",
            unit_id=each.unit_id,
            unit=each.unit,
            unit_num=each.unit_num,
            zones=(each.zone,),
            tenant_id=tenant.id,
        )
        for each in replicas
    ]
    first = _step("Create and attach resource pools", _make_pools(tenant, pools))
    first = replace(first, rollback=_take_pools_back(tenant, pools), can_pass=False)
    return [first, *(_locality(tenant, each.zone, each.kind) for each in replicas)]


def modify_steps(
    tenant: Tenant,
    *,
    kinds: Mapping[str, str],
    configs: Mapping[str, tuple[int, UnitConfig]],
    unit_num: int | None,
    stamp: int,
) -> list[Step]:
    """Only what changes: kinds of replicas by zone, unit configs by zone, the number of units."""
    in_order = sorted(kinds.items(), key=lambda change: change[1] != "FULL")
    steps = [_locality(tenant, zone, kind) for zone, kind in in_order]
    split = [
        pool
        for pool in tenant.pools
        if 0 < sum(zone in configs for zone in pool.zones) < len(pool.zones)
        or len({configs[zone] for zone in pool.zones if zone in configs}) > 1
    ]
    if split:
        steps.append(_split(tenant, split, stamp))
    if configs:
        steps.append(_unit_configs(tenant, configs))
    if unit_num is not None:
        steps.append(_unit_num(tenant, unit_num))
    return steps


def drop_steps(tenant: Tenant, zones: Sequence[str], stamp: int) -> list[Step]:
    """One node for each zone, then its pool goes, which may have to be split before."""
    steps = [_locality(tenant, zone, None) for zone in zones]
    split = [
        pool
        for pool in tenant.pools
        if len(pool.zones) > 1 and any(zone in pool.zones for zone in zones)
    ]
    if split:
        steps.append(_split(tenant, split, stamp))
    return [*steps, _drop_pools(tenant, zones)]


def _step(name: str, run: Run) -> Step:
    step = Step(name, run, _nothing, frees_lock=True, can_cancel=True, can_pass=True)
    return exposed(failing(step))


def _nothing(_scene: Scene) -> Work:
    """Its rollback is empty: what was ordered stays, or goes on."""
    yield from ()


def _make_pools(tenant: Tenant, pools: Sequence[Pool]) -> Run:
    def run(scene: Scene) -> Work:
        cluster = scene.cluster
        for pool in pools:
            what = f"{pool.name} {pool.zones[0]} {pool.unit.name} {pool.unit_num}"
            scene.log(f"Create resource pool: {{{what}}}")
            card = scene.draw("tenant_job_fails")
            why = (card and card.text) or ""
            if not why:
                pool.id = max(each.id for each in cluster.pools()) + 1
                if add_units(scene.world, cluster, pool, tenant.data_bytes) is None:
                    why = NO_ROOM
            if why:
                raise scene.failure(
                    "MySQL.Error", f"MySQL error: Create resource pool {pool.name} failed: {why}"
                )
        for pool in pools:
            names = [each.name for each in tenant.pools]
            scene.log(
                f"Modify tenant {tenant.name} resource pool list from {_go(names)} "
                f"to {_go([*names, pool.name])}"
            )
            tenant.pools.append(pool)
        yield from ()

    return run


def _take_pools_back(tenant: Tenant, pools: Sequence[Pool]) -> Run:
    def rollback(scene: Scene) -> Work:
        if scene.node.operator == "RETRY":
            return
        for pool in pools:
            names = [each.name for each in tenant.pools]
            rest = [name for name in names if name != pool.name]
            scene.log(
                f"Modify tenant {tenant.id} resource pool list from {_go(names)} to {_go(rest)}"
            )
            _drop(scene.cluster, tenant, pool)
        yield from ()

    return rollback


def _locality(tenant: Tenant, zone: str, kind: str | None) -> Step:
    """A replica of that kind in a zone, or none any more."""

    def run(scene: Scene) -> Work:
        if tenant.replicas.get(zone) == kind:
            scene.log("No need to alter tenant locality")
            return
        wanted = {name: each for name, each in tenant.replicas.items() if name != zone}
        wanted |= {zone: kind} if kind else {}
        card = _look_for_job(scene, tenant, LOCALITY_JOB)
        text = ",".join(f"{each}@{name}" for name, each in wanted.items())
        scene.log(f"Alter tenant locality to {text}")
        tenant.replicas = wanted
        there = [unit for unit in scene.cluster.units if _is_of(unit, tenant, zone)]
        yield from _job(scene, tenant, LOCALITY_JOB, there if kind else [], card)

    return _step("Alter tenant locality", run)


def _split(tenant: Tenant, pools: Sequence[Pool], stamp: int) -> Step:
    def run(scene: Scene) -> Work:
        for pool in pools:
            if pool in tenant.pools and len(pool.zones) > 1:
                scene.log(f"Split resource pool {pool.name} on {_go(pool.zones)}")
                _split_pool(scene.cluster, tenant, pool, stamp)
        yield from ()

    return replace(_step("Split resource pool", run), can_rollback=False)


def _split_pool(cluster: Cluster, tenant: Tenant, pool: Pool, stamp: int) -> None:
    number = max(each.id for each in cluster.pools())
    parts = [
        Pool(
            number + place,
            f"{tenant.id}_{zone}_{stamp}",
            pool.unit_id,
            pool.unit,
            pool.unit_num,
            (zone,),
            tenant.id,
        )
        for place, zone in enumerate(pool.zones, start=1)
    ]
    for unit in cluster.units:
        if unit.pool is pool:
            unit.pool = next(part for part in parts if unit.server.zone in part.zones)
    at = tenant.pools.index(pool)
    tenant.pools[at : at + 1] = parts


def _unit_configs(tenant: Tenant, configs: Mapping[str, tuple[int, UnitConfig]]) -> Step:
    def run(scene: Scene) -> Work:
        for pool in tenant.pools:
            wanted = next((configs[zone] for zone in pool.zones if zone in configs), None)
            if wanted is not None:
                pool.unit_id, pool.unit = wanted
                scene.log(
                    f"Alter resource pool '{pool.name}' unit config to '{pool.unit.name}' succeed."
                )
        yield from ()

    return _step("Alter resource pool unit config", run)


def _unit_num(tenant: Tenant, wanted: int) -> Step:
    def run(scene: Scene) -> Work:
        if tenant.unit_num == wanted:
            # Stored at the start of the job: units may move still.
            scene.log(f"Tenant '{tenant.name}' unit num is already {wanted}, skip.")
            return
        card = _look_for_job(scene, tenant, UNIT_NUM_JOB)
        scene.log(f"Alter tenant '{tenant.name}' unit num to {wanted}")
        added = _alter_unit_num(scene, tenant, wanted)
        yield from _job(scene, tenant, UNIT_NUM_JOB, added, card)

    return _step("Alter resource pool unit num", run)


def _alter_unit_num(scene: Scene, tenant: Tenant, wanted: int) -> list[Unit]:
    cluster, before = scene.cluster, tenant.unit_num
    added: list[Unit] = []
    for pool in tenant.pools:
        pool.unit_num = wanted
    for pool in tenant.pools:
        drop_units(cluster, pool, wanted)
        more = add_units(scene.world, cluster, pool, tenant.data_bytes)
        if more is None:
            for unit in added:
                cluster.units.remove(unit)
            for each in tenant.pools:
                each.unit_num = before
            raise scene.failure(
                "MySQL.Error",
                f"MySQL error: Alter tenant unit num failed.: {NO_ROOM}",
            )
        added += more
    return added


def _drop_pools(tenant: Tenant, zones: Sequence[str]) -> Step:
    def run(scene: Scene) -> Work:
        for pool in [pool for pool in tenant.pools if list(pool.zones) == [pool.zones[0]]]:
            if pool.zones[0] in zones:
                scene.log(f"Detach and drop resource pool {pool.zones[0]}")
                _drop(scene.cluster, tenant, pool)
        yield from ()

    return replace(_step("Drop resource pools", run), can_rollback=False)


def _drop(cluster: Cluster, tenant: Tenant, pool: Pool) -> None:
    tenant.pools = [each for each in tenant.pools if each is not pool]
    cluster.units = [unit for unit in cluster.units if unit.pool is not pool]


def _look_for_job(scene: Scene, tenant: Tenant, kind: str) -> Fault | None:
    """Look whether a job of that kind runs; give the card that makes this one fail later."""
    card = scene.draw("tenant_job_fails")
    if card is not None and card.text:
        raise scene.failure("MySQL.Error", f"MySQL error: {LOOKING}: {card.text}")
    if scene.cluster.jobs.get((tenant.id, kind)):
        raise scene.failure("Common.Unexpected", JOB_BUG)
    return card


def _job(
    scene: Scene, tenant: Tenant, kind: str, units: Sequence[Unit], fails: Fault | None
) -> Work:
    """OceanBase's job: over when the data is where its units are, or when a card says so."""
    jobs, key = scene.cluster.jobs, (tenant.id, kind)
    number = jobs[key] = jobs.get(key, 0) + 1
    slow = scene.draw("tenant_job_slow")
    seconds = seconds_left(units, scene.now)
    if slow is not None and slow.seconds is not None:
        seconds = max(seconds, slow.seconds)
    ends = scene.now + seconds
    if seconds < float("inf"):
        scene.world.engine.after(seconds, lambda: jobs.__setitem__(key, 0))
    if fails is not None:
        jobs[key] = 0
        raise scene.failure(
            "OB.Tenant.Job.Failed",
            f"Wait for {kind} failed: Job {number} failed, job status is FAILED.",
        )
    for _ in range(JOB_LOOKS):
        if scene.now >= ends:
            return
        yield JOB_PAUSE_SECONDS
    raise scene.failure("OB.Tenant.Job.WaitTimeout", f"Job {number} wait timeout.")


def _is_of(unit: Unit, tenant: Tenant, zone: str) -> bool:
    return unit.pool in tenant.pools and unit.server.zone == zone


def _go(names: Sequence[str]) -> str:
    """A list as Go prints it."""
    return f"[{' '.join(names)}]"
