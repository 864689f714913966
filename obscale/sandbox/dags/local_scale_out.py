"""The nodes of the DAG `Local scale out` on the joining agent, forward and back.

Source: ob/agent/executor/ob/{scale_out,deploy,destroy,start_obsvr,stop_obsvr}.go, 4.5.0.0.
"""

import uuid
from collections.abc import Callable
from typing import Final, cast

from obscale.sandbox.agents import CLUSTER_AGENT, SCALING_OUT, SINGLE, Observer, version_tuple
from obscale.sandbox.capacity import read_capacity
from obscale.sandbox.dags.context import Scene
from obscale.sandbox.dags.coordination import LOCAL_NAME, POST_SECONDS, UNDONE_TOO
from obscale.sandbox.dags.dag import GLOBAL_MAINTENANCE, Dag, Step, StepFailed, Work
from obscale.sandbox.dags.engine import order_rollback
from obscale.sandbox.dags.local_observer import kill_observer
from obscale.sandbox.hosts import is_below
from obscale.sandbox.observer_start import effective_values, why_it_dies

MAIN_NAME: Final = "Cluster scale out"
GATE_NAME: Final = "Start preparations"
PREVIOUS_CHECK_NAME: Final = "Prev check for scale_out"
WATCH_PAUSE_SECONDS: Final = 1.0
FIRST_HEALTH_CHECK_SECONDS: Final = 2.0
HEALTH_CHECK_PAUSE_SECONDS: Final = 2.0
HEALTH_CHECKS: Final = 300
SILENT_EVERY: Final = 10
"""Every tenth health-check line is missing from the log."""
UPGRADE_DOWN_SECONDS: Final = 5.0
"""Between two connections that obshell took. Recorded from 4.5.0.0."""
RESTART_LATER_SECONDS: Final = 2.0
"""The new binary is copied and called; until it ends the old process, that one still answers."""
STARTED_LATER_SECONDS: Final = 2.0
"""From the first answer of the new obshell until this stage is done. Both recorded from 4.5.0.0."""
DEPLOY_STAGE: Final = 4
START_STAGE: Final = 5
DIRECTORIES: Final = ("data_dir", "redo_dir", "clog_dir", "slog_dir")
"""In the order they are made, each empty at its turn. Source: deploy.go."""
START_OPTIONS: Final = {
    "cluster": "-n",
    "cluster_id": "-c",
    "zone": "-z",
    "mysql_port": "-p",
    "rpc_port": "-P",
    "data_dir": "-d",
    "local_ip": "-I",
}
"""Options of the observer with a letter of their own; all others travel behind `-o`."""
NO_OPTIONS: Final = frozenset({"homePath", "redo_dir", "clog_dir", "slog_dir"})
"""What obshell itself does with a directory, the observer is not told. Source: start_obsvr.go."""
TRY_TO_CONNECT: Final = "get ocs instance failed: Agent is not holding OceanBase, try to connect"


def create_local_dag(main: Scene) -> Dag:
    """The DAG the target makes when stage 2 of the cluster DAG calls it."""
    target, executor = main.target, main.task.agent
    facts = main.facts
    steps = [
        Step("Be scaling agent", _become_scaling, _become_single),
        Step(GATE_NAME, _gate(DEPLOY_STAGE), _undo_gate),
        Step("Create observer workdir", _make_directories, _clear_directories),
        Step(GATE_NAME, _gate(START_STAGE), _undo_gate),
        Step("Start observer", _start_observer, kill_observer),
        Step("Watch cluster scale_out dag", _watch, _wait_until_check_undone),
        Step("Sync from observer", _sync, _ask_main_to_undo),
    ]
    if version_tuple(target.version) < version_tuple(executor.version):
        # The name meant for this node is set on the wrong struct, so it stays empty.
        steps.insert(6, Step("", _upgrade, _ask_main_to_undo))
    dag = main.world.create_dag(
        LOCAL_NAME, steps, owner=target, executor=target, maintenance_type=GLOBAL_MAINTENANCE
    )
    dag.additional_data = {
        "scaleOutUUID": str(uuid.uuid4()),
        "main_dag_id": main.dag.generic_id(),
    }
    dag.facts |= {
        "cluster": main.cluster,
        "target": target,
        "main": main.dag,
        "zone": facts["zone"],
        "configs": facts["configs"],
        "root_password": executor.root_password,
        "version": executor.version,
    }
    return dag


def _main(scene: Scene) -> Dag:
    return cast("Dag", scene.facts["main"])


def _configs(scene: Scene) -> dict[str, str]:
    return cast("dict[str, str]", scene.facts["configs"])


def _ask_main_to_undo(scene: Scene) -> Work:
    """The rollback of some local nodes asks the cluster DAG to roll back too."""
    main = _main(scene)
    if scene.dag.operator != "ROLLBACK":
        return
    if main.state == "FAILED" and main.operator == "RUN":
        order_rollback(main)
        yield POST_SECONDS
    if main.operator == "ROLLBACK" and main.state != "FAILED":
        scene.log(UNDONE_TOO)


def _become_scaling(scene: Scene) -> Work:
    target = scene.target
    target.identity = SCALING_OUT
    target.zone = scene.facts["zone"]
    target.cluster = scene.cluster
    target.root_password = scene.facts["root_password"]
    scene.log("set agent identity to follower")
    yield from ()


def _become_single(scene: Scene) -> Work:
    yield from _ask_main_to_undo(scene)
    target = scene.target
    target.identity, target.zone = SINGLE, ""
    target.cluster = target.root_password = None
    target.connected = False


def _gate(main_stage: int) -> Callable[[Scene], Work]:
    def run(scene: Scene) -> Work:
        if _main(scene).stage < main_stage:
            scene.log("wait for notification to start task")
            raise StepFailed("wait operator to advance")
        scene.log("start to execute the task")
        yield from ()

    return run


def _undo_gate(_scene: Scene) -> Work:
    yield from ()


def _make_directories(scene: Scene) -> Work:
    target, configs = scene.target, _configs(scene)
    files, home = target.files, target.home
    card = scene.draw("fail_stage", DEPLOY_STAGE)
    for name in DIRECTORIES:
        path = configs[name]
        scene.log(f"mkdir {name}: {path}")
        if card is not None:
            text = card.text or f"mkdir {path}: permission denied"
            raise scene.failure("Common.Unexpected", text)
        if not files.is_empty(path) and not _made_here(scene, name):
            raise scene.failure("Common.DirNotEmpty", f"Directory '{path}' is not empty")
        files.make(path)
    store = f"{home}/store"
    for name, link in zip(DIRECTORIES, _links_below(store), strict=True):
        # Logged for each, also where it is the directory itself, or lies there already.
        scene.log(f"symlink {configs[name]}: {link}")
        there = files.real(link)
        if there != files.real(configs[name]) and there not in files.dirs:
            files.links[there] = configs[name]
    for path in (f"{home}/etc", f"{home}/log", f"{store}/sstable"):
        scene.log(f"mkdir {path}")
        files.make(path)
    yield from ()


def _links_below(store: str) -> tuple[str, ...]:
    """Where the observer looks for `DIRECTORIES`."""
    return store, store, f"{store}/clog", f"{store}/slog"


def _made_here(scene: Scene, name: str) -> bool:
    """A retry finds what comes later below it; what comes earlier is in its way at once."""
    configs, files = _configs(scene), scene.target.files
    path = configs[name]
    later = {configs[other] for other in DIRECTORIES[DIRECTORIES.index(name) + 1 :]}
    inside = [other for other in files.dirs if other != path and is_below(other, path)]
    return not files.dirs.get(path) and all(other in later for other in inside)


def _clear_directories(scene: Scene) -> Work:
    target = scene.target
    files, home = target.files, target.home
    doomed: list[str] = []
    for path in _links_below(f"{home}/store"):
        if files.exists(path):
            real = files.real(path)
            doomed += [path] if real == path else [path, real]
    for path in doomed:
        scene.log(f"clear dir {path}")
        target.host.release(files.clear(path))
    scene.log(f"clear dir {home}/etc")
    etc = files.dirs.get(f"{home}/etc", [])
    etc[:] = [name for name in etc if not name.startswith("observer.config.bin")]
    scene.log(f"clear dir {home}/log")
    target.host.release(files.clear(f"{home}/log"))
    yield from ()


def _start_observer(scene: Scene) -> Work:
    target, configs = scene.target, _configs(scene)
    first_start = not target.files.dirs.get(target.files.real(f"{configs['data_dir']}/sstable"))
    scene.log("start observer")
    scene.log("check if first start")
    if not first_start:
        scene.log("not first start, skip require check")
    scene.log("generate start cmd")
    scene.log(f"start cmd: {_start_command(scene, first_start=first_start)}")
    card = scene.draw("fail_stage", START_STAGE)
    if card is not None and card.text:
        # What a program says that ends at once, as the shell that started it passes it on.
        raise scene.failure("Common.Unexpected", card.text)
    values = effective_values(configs, target)
    observer = target.observer
    if observer is None or not observer.alive:
        target.observer = observer = Observer(
            sql_port=int(configs["mysql_port"]),
            rpc_port=int(configs["rpc_port"]),
            data_dir=configs["data_dir"],
            redo_dir=configs["clog_dir"],
            values=values,
        )
    dies = why_it_dies(configs, values, target, first_start=first_start)
    if card or scene.draw("observer_dies") or dies:
        yield FIRST_HEALTH_CHECK_SECONDS
        scene.log(f"observer health check, retry [1/{HEALTH_CHECKS}]")
        observer.alive = False
        raise scene.failure(
            "OB.Server.Process.NotExist",
            "observer health check failed: Observer process does not exist",
        )
    slow = scene.draw("slow_observer")
    seconds = target.start_seconds if slow is None or slow.seconds is None else slow.seconds
    if first_start:
        _allocate(scene, values)
    yield from _health_checks(scene, seconds)
    scene.log("update self OB port")
    scene.log("update OB port in all_agent")
    observer.reported_ports = True
    target.files.make(f"{target.home}/etc", "observer.config.bin")


def _start_command(scene: Scene, *, first_start: bool) -> str:
    """The line a shell is given; a later start finds data and address in the observer's own files.

    obshell goes through both lists in no order.
    """
    home, configs = scene.target.home, dict(_configs(scene))
    configs["local_ip"] = scene.target.ip
    if not first_start:
        del configs["data_dir"], configs["local_ip"]
    letters = [
        f"{START_OPTIONS[name]} '{configs[name]}'" for name in START_OPTIONS if name in configs
    ]
    others = [
        f"{name}={value}"
        for name, value in sorted(configs.items())
        if name not in START_OPTIONS and name not in NO_OPTIONS
    ]
    more = f" -o '{','.join(others)}'" if others else ""
    return f"export LD_LIBRARY_PATH='{home}/lib'; {home}/bin/observer  {' '.join(letters)} {more}"


def _health_checks(scene: Scene, seconds: float) -> Work:
    passed = 0.0
    for number in range(1, HEALTH_CHECKS + 1):
        pause = min(HEALTH_CHECK_PAUSE_SECONDS, seconds - passed)
        if pause > 0:
            yield pause
            passed += pause
        if number % SILENT_EVERY:
            scene.log(f"observer health check, retry [{number}/{HEALTH_CHECKS}]")
        observer = scene.target.observer
        if observer is None or not observer.alive:
            # It has left the file with its number, unlike one that never came so far.
            raise scene.failure(
                "OB.Server.Process.CheckFailed",
                "observer health check failed: Check observer process exist: readlink "
                f"/proc/{scene.target.observer_pid}/cwd: no such file or directory",
            )
        if passed >= seconds:
            return
    raise scene.failure(
        "Task.Dag.ExecuteTimeout", "observer health check failed: observer health check timeout"
    )


def _allocate(scene: Scene, values: dict[str, str]) -> None:
    """Data file and log pool are preallocated at first start."""
    target, configs = scene.target, _configs(scene)
    real = target.files.real
    data_file = f"{real(configs['data_dir'])}/sstable/block_file"
    log_pool = f"{real(configs['clog_dir'])}/log_pool"
    target.host.allocate(data_file, read_capacity(values["datafile_size"]))
    target.host.allocate(log_pool, read_capacity(values["log_disk_size"]))
    target.files.make(f"{configs['data_dir']}/sstable", "block_file")
    target.files.make(configs["clog_dir"], "log_pool")


def _watch(scene: Scene) -> Work:
    scene.log("Watch cluster scale out dag")
    main = _main(scene)
    while main.stage != main.max_stage or main.operator == "ROLLBACK":
        if main.state == "FAILED" or main.operator == "ROLLBACK":
            raise scene.failure(
                "Task.DagFailed", f"watch dag failed: DAG {main.generic_id()} {main.name} failed"
            )
        yield WATCH_PAUSE_SECONDS


def _wait_until_check_undone(scene: Scene) -> Work:
    """Waits for the main node `Prev check` to be SUCCEED; if it never ran, for ever."""
    yield from _ask_main_to_undo(scene)
    check = _main(scene).node(PREVIOUS_CHECK_NAME)
    while check.state != "SUCCEED":
        yield WATCH_PAUSE_SECONDS


def _upgrade(scene: Scene) -> Work:
    target, version = scene.target, scene.facts["version"]
    # Started again it has no connection any more.
    scene.log(TRY_TO_CONNECT)
    target.connected = True
    if target.version == version:
        yield STARTED_LATER_SECONDS
        return
    number = version.partition("-")[0]
    scene.log(f"Install cluster agent binary, target version: {number}")
    scene.log(f"install agent {number} success")
    scene.log(
        f"cmd is {target.home}/bin/obshell admin restart --ip {target.ip} --port {target.port} "
        f"--pid {target.pid} --takeover 0"
    )
    yield RESTART_LATER_SECONDS
    target.version = version
    slow = scene.draw("slow_upgrade")
    seconds = UPGRADE_DOWN_SECONDS if slow is None or slow.seconds is None else slow.seconds
    scene.world.stop_agent(target)
    scene.world.engine.after(seconds, lambda: scene.world.start_agent(target))
    yield seconds


def _sync(scene: Scene) -> Work:
    target = scene.target
    if not target.connected:
        scene.log(TRY_TO_CONNECT)
        scene.log("dump password")
    target.connected = True
    target.identity = CLUSTER_AGENT
    yield from ()
