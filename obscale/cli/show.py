"""`obscale show CLUSTER`: zones with their observers, capacity, who is at work, and recent runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from obscale.agent.models import Dag, ListedAgent, Server, joined_address
from obscale.cli.bars import show_capacity
from obscale.cli.busy import busy, silence_shown
from obscale.cli.exits import end_with
from obscale.cli.follow_scale_out import named_cluster
from obscale.cli.loudness import Quiet, Verbose, aloud
from obscale.cli.options import AsJson, ClusterName
from obscale.cli.plan_view import show_unit_rooms
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, label, open_console, reader_line, say_json
from obscale.connect.connections import SecretStore, cluster_connected
from obscale.errors import ObscaleError, PrefectUnreachableError
from obscale.maintenance_lock import Lock, lock_held_by, lock_of
from obscale.preflight.capacity import capacity_now
from obscale.preflight.facts import ClusterFacts, server_address
from obscale.preflight.pictures import capacity_bars
from obscale.preflight.read import survey_cluster
from obscale.reading import Unread
from obscale.recovery.selection import standing
from obscale.request.models import ClusterSpec
from obscale.scale_out_dag import target_of

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

MOST_RUNS: Final = 10
NO_PREFECT: Final = "no Prefect is configured (PREFECT_API_URL), so no run is kept"
_GOOD: Final = {"ACTIVE", "RUNNING"}
_COLOURS: Final = {"COMPLETED": "green", "FAILED": "red", "CRASHED": "red", "RUNNING": "cyan"}


@dataclass(frozen=True)
class Runs:
    """Recent runs of a cluster, newest first; or why there are none to show."""

    rows: tuple[dict[str, Any], ...] = ()
    why_none: str = ""


def show(
    cluster: ClusterName,
    as_json: AsJson = False,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Show a cluster as it is: observers by zone, capacity, the running DAG, and recent runs.

    Reads only, and works where an agent is silent. Runs are read from the Prefect that is
    configured; without one the rest is shown.

    Exit: 0 shown, 2 bad input, 3 cannot reach.
    """
    console = open_console()
    try:
        where, _orders, secret_store = named_cluster(cluster)
        with (
            busy(f"show: looks at {cluster}"),
            silence_shown(open_console(stderr=True)),
        ):
            facts = PROGRAM.run(_look(where, secret_store))
            runs = _runs_of(_names_of(where, facts))
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        say_json(data_of(facts, runs))
    else:
        _show(console, facts, runs)


async def _look(where: str | ClusterSpec, secret_store: SecretStore) -> ClusterFacts:
    async with cluster_connected(where, secret_store) as opened:
        return await survey_cluster(opened.client)


def _names_of(where: str | ClusterSpec, facts: ClusterFacts) -> tuple[str, ...]:
    """Give the names by which runs may know the cluster."""
    named = where if isinstance(where, str) else where.name or where.endpoints[0]
    identity = facts.identity()
    return tuple(dict.fromkeys((named, *((identity[0],) if identity else ()))))


def _runs_of(names: Sequence[str]) -> Runs:
    """Read recent runs where a Prefect is configured; that it is away hides nothing else."""
    from obscale.cli.local_prefect import out_of_reach, require_prefect, settle  # noqa: PLC0415 - takes a second
    from obscale.cli.prefect_address import configured_address  # noqa: PLC0415

    settle()
    if configured_address() is None:
        return Runs(why_none=NO_PREFECT)
    import httpx  # noqa: PLC0415 - as its client is

    try:
        require_prefect()
        return Runs(PROGRAM.run(_read_runs(names)))
    except PrefectUnreachableError as error:
        return Runs(why_none=error.message)
    except httpx.HTTPError as error:
        return Runs(why_none=out_of_reach(error).message)


async def _read_runs(names: Sequence[str]) -> tuple[dict[str, Any], ...]:
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - reads settings
    from prefect.client.schemas.filters import (  # noqa: PLC0415
        FlowRunFilter,
        FlowRunFilterTags,
        TaskRunFilter,
        TaskRunFilterTags,
    )
    from prefect.client.schemas.sorting import FlowRunSort  # noqa: PLC0415

    from obscale.text import for_terminal  # noqa: PLC0415

    tags = [for_terminal(f"cluster:{name}") for name in names]
    by: list[dict[str, Any]] = [
        {"flow_run_filter": FlowRunFilter(tags=FlowRunFilterTags(any_=tags))},
        # A batch of many clusters has their tags at its task runs alone.
        *({"task_run_filter": TaskRunFilter(tags=TaskRunFilterTags(all_=[tag]))} for tag in tags),
    ]
    async with get_client() as client:
        newest = FlowRunSort.EXPECTED_START_TIME_DESC
        found = {
            run.id: run
            for each in by
            for run in await client.read_flow_runs(**each, sort=newest, limit=MOST_RUNS)
        }
    runs = sorted(found.values(), key=_expected_at, reverse=True)
    return tuple(
        {
            "id": str(run.id),
            "name": run.name,
            "state": run.state_name or "",
            "state_type": run.state_type.value if run.state_type else "",
            "targets": sorted(
                tag.removeprefix("target:") for tag in run.tags if tag.startswith("target:")
            ),
            "started_at": run.start_time.isoformat() if run.start_time else None,
            "ended_at": run.end_time.isoformat() if run.end_time else None,
        }
        for run in runs[:MOST_RUNS]
    )


def _expected_at(run: "FlowRun") -> tuple[bool, Any]:
    return run.expected_start_time is not None, run.expected_start_time


def data_of(facts: ClusterFacts, runs: Runs) -> dict[str, object]:
    """Give all that is shown as one object for --json."""
    identity, capacity = facts.identity(), capacity_now(facts)
    unfinished = () if isinstance(facts.unfinished, Unread) else facts.unfinished
    last = facts.last_dag
    return {
        "cluster": {"name": identity[0], "id": identity[1]} if identity else None,
        "entry": facts.entry,
        "zones": [
            {
                "zone": zone.name,
                "region": zone.region_name,
                "status": zone.inner_status or zone.status,
                "observers": [_observer(facts, server) for server in zone.servers],
            }
            for zone in facts.zones()
        ],
        "agents": [_agent(facts, row) for row in _agents(facts)],
        "capacity": capacity.model_dump(mode="json") if capacity else None,
        "lock": _lock(facts),
        "unfinished": [_dag(dag) for dag in unfinished],
        "last_dag": _dag(last) if isinstance(last, Dag) else None,
        "runs": list(runs.rows),
        "runs_why_none": runs.why_none,
        "unread": _unread(facts),
    }


def _observer(facts: ClusterFacts, server: Server) -> dict[str, object]:
    agent = joined_address(server.ip, server.obshell_port) if server.obshell_port else ""
    stats = server.stats
    return {
        "observer": server_address(server),
        "status": server.status or server.inner_status,
        "inner_status": server.inner_status,
        "version": server.version,
        "agent": agent,
        "agent_answers": _answers(facts, agent),
        "cpu": {"total": stats.cpu_core_total, "assigned": stats.cpu_core_assigned},
        "memory_bytes": {
            "total": stats.memory_in_bytes_total,
            "assigned": stats.memory_in_bytes_assigned,
        },
        "data_disk_bytes": {
            "total": stats.disk_in_bytes_total,
            "assigned": stats.disk_in_bytes_assigned,
        },
    }


def _agents(facts: ClusterFacts) -> tuple[ListedAgent, ...]:
    return () if isinstance(facts.ob_info, Unread) else facts.ob_info.agent_info


def _agent(facts: ClusterFacts, row: ListedAgent) -> dict[str, object]:
    return {
        "agent": row.address,
        "zone": row.zone,
        "identity": row.identity.value,
        "obshell": row.version,
        "answers": _answers(facts, row.address),
        "why_silent": _why_silent(facts, row.address),
    }


def _answers(facts: ClusterFacts, agent: str) -> bool | None:
    """Whether an agent has told its time just now; None: it was not asked."""
    if agent == facts.entry:
        return True
    clock = facts.clocks.get(agent)
    return None if clock is None else not isinstance(clock, Unread)


def _why_silent(facts: ClusterFacts, agent: str) -> str:
    clock = facts.clocks.get(agent)
    return clock.reason if isinstance(clock, Unread) and agent != facts.entry else ""


def _lock(facts: ClusterFacts) -> dict[str, object]:
    """Say who holds the maintenance lock, as far as unfinished DAGs tell."""
    if isinstance(facts.unfinished, Unread):
        return {"held": None, "dag": None}
    holder = lock_of(facts.unfinished)
    if holder is not None:
        return {"held": True, "dag": holder.id}
    unclear = any(lock_held_by(dag) is Lock.UNKNOWN for dag in facts.unfinished)
    return {"held": None if unclear else False, "dag": None}


def _dag(dag: Dag) -> dict[str, object]:
    node = dag.current_node
    return {
        "id": dag.id,
        "name": dag.name,
        "state": dag.state.value,
        "operator": dag.operator.value,
        "stage": dag.stage,
        "stages": dag.max_stage,
        "node": node.title if node else "",
        "target": target_of(dag),
        "lock": lock_held_by(dag).value,
    }


def _unread(facts: ClusterFacts) -> dict[str, str]:
    """Give what could not be read although this version of obshell has it, with the reason."""
    return {
        name: value.reason
        for name, value in vars(facts).items()
        if isinstance(value, Unread) and value.supported
    }


def _show(console: Console, facts: ClusterFacts, runs: Runs) -> None:
    told: dict[str, Any] = data_of(facts, runs)
    known = told["cluster"]
    name = (
        f"{known['name']}, id {known['id']}" if known else "a cluster that does not tell its name"
    )
    with aloud(console):
        line = as_text(f"{name}: ", style="bold")
        line.append_text(as_text(_verdict(told), style="bold"))
        console.print(line, soft_wrap=True)
    _show_zones(console, told)
    if capacity := capacity_now(facts):
        show_capacity(console, capacity_bars(capacity), label("Capacity"))
        show_unit_rooms(console, capacity.units)
    _show_work(console, facts)
    _show_runs(console, runs)
    for what, why in told["unread"].items():
        console.print(as_text(f"not read: {what}: {why}", style="magenta"), soft_wrap=True)


def _verdict(told: dict[str, Any]) -> str:
    """Say in a line how many observers serve, who is silent, and whether the lock is free."""
    observers = [each for zone in told["zones"] for each in zone["observers"]]
    serve = sum(map(_serves, observers))
    parts = [f"{serve} of {len(observers)} observers serve"] if observers else ["topology not read"]
    if silent := [each["agent"] for each in told["agents"] if each["answers"] is False]:
        parts.append(f"silent: {', '.join(silent)}")
    held = told["lock"]["held"]
    words = {True: f"DAG {told['lock']['dag']} holds the lock", False: "the lock is free"}
    return ", ".join((*parts, words.get(held, "whether the lock is free is not known")))


def _show_zones(console: Console, told: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    columns = ("zone", "observer", "status", "agent", "agent says", "obshell")
    for column in columns:
        table.add_column(overflow="fold", no_wrap=column == "observer")
    table.add_row(*(as_text(label(column), style="bold") for column in columns))
    agents = {each["agent"]: each for each in told["agents"]}
    for zone in told["zones"]:
        for at, each in enumerate(zone["observers"]):
            listed = agents.pop(each["agent"], {})
            states = dict.fromkeys(filter(None, (each["status"], each["inner_status"])))
            is_good = _serves(each)
            table.add_row(
                as_text("" if at else f"{zone['zone']} {_not_active(zone)}".strip()),
                as_text(each["observer"]),
                as_text(
                    next(iter(states), "") if is_good else " ".join(states),
                    style="green" if is_good else "red",
                ),
                as_text(_beside(each["agent"], each["observer"])),
                *_agent_cells(listed or {"answers": each["agent_answers"]}),
            )
    for listed in agents.values():
        table.add_row(
            as_text(listed["zone"] or "—"),
            as_text("—"),
            as_text("no observer listed", style="yellow"),
            as_text(listed["agent"]),
            *_agent_cells(listed),
        )
    console.print(table)


def _serves(observer: dict[str, Any]) -> bool:
    """Whether all that is told of an observer's state is good."""
    told = {observer["status"], observer["inner_status"]} - {""}
    return bool(told) and told <= _GOOD


def _beside(agent: str, observer: str) -> str:
    """Give an agent's address, its port alone where it is on the observer's host."""
    host, _, port = agent.rpartition(":")
    if not agent:
        return "—"
    return f":{port}" if host == observer.rpartition(":")[0] else agent


def _not_active(zone: dict[str, Any]) -> str:
    return "" if zone["status"] in {"", *_GOOD} else f"({zone['status']})"


def _agent_cells(listed: dict[str, Any]) -> tuple[Any, Any]:
    identity = listed.get("identity", "")
    told, style = {
        True: (identity or label("answers"), "green"),
        False: (label("silent"), "red"),
        None: (reader_line(f"{identity}, not asked".strip(", ")), ""),
    }[listed.get("answers")]
    return as_text(told, style=style, is_said=True), as_text(
        listed.get("obshell", "").partition("-")[0]
    )


def _show_work(console: Console, facts: ClusterFacts) -> None:
    console.print(as_text("At work", style="bold"))
    if isinstance(facts.unfinished, Unread):
        return
    for dag in facts.unfinished:
        row = _dag(dag)
        target = f" of {row['target']}" if row["target"] else ""
        node = f", {row['node']}" if row["node"] else ""
        lock = f"; the lock: {row['lock']}"
        line = f"  DAG {dag.id} {dag.name}{target}: {standing(dag)}{node}{lock}"
        console.print(as_text(line, style="red" if dag.is_failed else "cyan"), soft_wrap=True)
    if not facts.unfinished:
        last = facts.last_dag
        before = f"; the last was {last.name}: {standing(last)}" if isinstance(last, Dag) else ""
        idle = as_text(f"  {label('nothing')}", is_said=True)
        idle.append_text(as_text(before))
        console.print(idle, soft_wrap=True)


def _show_runs(console: Console, runs: Runs) -> None:
    console.print(as_text("Recent runs", style="bold"))
    if runs.why_none:
        console.print(as_text(f"  {runs.why_none}", style="dim"), soft_wrap=True)
        return
    if not runs.rows:
        console.print(as_text(f"  {label('none')}", style="dim"))
    table = Table.grid(padding=(0, 2))
    for run in runs.rows:
        began = (run["started_at"] or "not begun")[:16].replace("T", " ")
        table.add_row(
            as_text(f"  {began}"),
            as_text(run["name"]),
            as_text(run["state"], style=_COLOURS.get(run["state_type"], "")),
            as_text(", ".join(run["targets"]), style="dim"),
        )
    console.print(table)
