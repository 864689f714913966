"""The recorded runs, each played by the simulator in virtual time and looked at as it passes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from obscale.sandbox import Fault, ManualClock, World, default_config
from obscale.sandbox.answers import agent as agent_answers
from obscale.sandbox.answers import cluster as cluster_answers
from obscale.sandbox.answers import task as task_answers
from obscale.sandbox.errors import Refusal
from obscale.sandbox.request import Call
from tests.contract.conftest import Asker
from tests.contract.real.timelines import REFUSED, Seen, plain

RECORDED_VERSION = "4.5.0.0-12026050815"
TARGET = "127.0.1.4:2886"
EXECUTOR = "127.0.1.1:2886"
ASKED = "127.0.1.2:2886"
"""The member the recorder asked."""
CLOSE = (0.2, 0.41, 0.43, 0.45, 0.47, 0.49, 0.5)
"""Looks in every half second: closer before its end, where a scheduler writes."""
WIDE = (0.25, 0.5)
"""While all wait for one thing."""
HALF_SECOND = 0.5
SIZES = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "12G",
    "system_memory": "4G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


class Stage:
    """One world in which recorded runs are played.

    Args:
        zone: Where the target is to go.
        start_seconds: How long its observer takes to start.
        version: Of the members.
        spare: What is special about the target.
    """

    def __init__(
        self, zone: str, start_seconds: float = 2.0, version: str = RECORDED_VERSION, **spare: Any
    ) -> None:
        usual = default_config()
        target = usual.spares[0].model_copy(update={"obshell_version": RECORDED_VERSION} | spare)
        changes = {"start_seconds": start_seconds, "obshell_version": version}
        config = usual.model_copy(update={"spares": (target,)} | changes)
        self.world = World(config, clock=ManualClock())
        self.ask = Asker(self.world)
        self.zone = zone
        self.dag_id = ""
        self.seen: dict[str, list[Seen]] = {}
        self.dags: dict[str, dict[str, Any]] = {}
        self._pids: dict[str, int] = {}

    async def submit(self, agent: str = EXECUTOR, **options: Any) -> None:
        """POST the scale-out to one of the members."""
        answer = await self.ask.scale_out(zone=self.zone, configs=SIZES, agent=agent, **options)
        assert answer.status_code == 200, answer.text
        self.dag_id = answer.json()["data"]["id"]

    async def operate(self, operator: str) -> None:
        """POST an operator for the cluster's DAG."""
        answer = await self.ask.operate(self.dag_id, operator, agent=ASKED)
        assert answer.status_code == 200, answer.text

    def watch(self, recording: str, seconds: float, offsets: tuple[float, ...] = CLOSE) -> None:
        """Let time pass, and note what a poller may see: as the run of that recording."""
        seen = self.seen.setdefault(recording, [])
        begun = self.world.clock.now()
        if not seen:
            self._pids.clear()
            seen.append(Seen(begun, self._texts()))
        for half in range(int(seconds / HALF_SECOND)):
            for offset in offsets:
                at = begun + half * HALF_SECOND + offset
                self.world.advance(at - self.world.clock.now())
                seen.append(Seen(at, self._texts()))

    def keep(self, *recordings: str) -> None:
        """Keep DAGs as they stand; names with `local` mean the target's own."""
        for name in recordings:
            is_local = "-local-" in name
            dag = self._local() if is_local else self._cluster()
            assert dag is not None
            self.dags[name] = dag

    def _answer(self, handler: Callable[[Call], Any], agent: str, **names: str) -> Any:
        """What a handler answers, without HTTP and seal: hundreds of looks a run."""
        return handler(
            Call(
                world=self.world,
                agent=self.world.agent(agent),
                names=names,
                query={},
                body=b"",
                keys=b"",
                wall_seconds=0.0,
            )
        )

    def _cluster(self) -> dict[str, Any] | None:
        found = self._answer(task_answers.dag, ASKED, id=self.dag_id) if self.dag_id else None
        return found and dict(found)

    def _local(self) -> dict[str, Any] | None:
        try:
            return dict(self._answer(task_answers.maintenance_of_agent, TARGET))
        except Refusal:
            # It has had none yet.
            return None

    def _texts(self) -> dict[str, str]:
        texts = {}
        if dag := self._cluster():
            texts["cluster"] = _line(dag)
        texts["ob/info"] = self._membership()
        if self.world.agent(TARGET).down:
            return self._plain(texts) | dict.fromkeys(("info", "status", "local"), REFUSED)
        if local := self._local():
            texts["local"] = _line(local)
        info = self._answer(agent_answers.info, TARGET)
        status = self._answer(agent_answers.status, TARGET)
        texts["info"] = (
            f"{info['identity']} zone='{info['zone']}' obVersion={info['obVersion']} "
            f"security={info['security']} pid={info['pid']}"
        )
        texts["status"] = (
            f"obState={status['obState']} sqlPort={status.get('sqlPort')} "
            f"maint={status['underMaintenance']} state={status['state']} "
            f"id={status['agent']['identity']}"
        )
        return self._plain(texts)

    def _plain(self, texts: dict[str, str]) -> dict[str, str]:
        return {kind: plain(kind, text, 4, self._pids) for kind, text in texts.items()}

    def _membership(self) -> str:
        answer = self._answer(cluster_answers.ob_info, ASKED)
        agents = [row["ip"].rpartition(".")[2] for row in answer["agent_info"]]
        servers = [
            f"{row['svr_ip'].rpartition('.')[2]}:{row['status']}:{row['agent_port']}"
            for zone in answer["obcluster_info"]["topology"].values()
            for row in zone
        ]
        return f"agents {','.join(f'{number}:' for number in agents)} servers {','.join(servers)}"


def _line(dag: dict[str, Any]) -> str:
    node = dag["nodes"][dag["stage"] - 1]
    (task,) = node["sub_tasks"]
    logs = None if task["task_logs"] is None else len(task["task_logs"])
    return (
        f"{dag['state']}/{dag['operator']} {dag['stage']}/{dag['max_stage']} | {node['name']} "
        f"{node['state']}/{node['operator']} | sub {task['state']}/{task['operator']} "
        f"x{task['execute_times']} logs={logs}"
    )


@dataclass(frozen=True)
class Play:
    """One way through a world, which several recordings are of.

    Args:
        docs: What is done, in a few words.
        act: Plays it.
        timelines: Recordings below `timelines/`, and the number of the joining host in each.
        dags: Recordings below `dags/`.
        spoilt: Fields of `status` that say something of the rig, not of obshell.
    """

    docs: str
    act: Callable[[], Awaitable[Stage]]
    timelines: dict[str, int] = field(default_factory=dict)
    dags: tuple[str, ...] = ()
    spoilt: frozenset[str] = frozenset()


async def _existing_zone() -> Stage:
    stage = Stage("zone2")
    await stage.submit()
    stage.watch("apply1", 40)
    stage.keep("dag-scaleout-succeed", "dag-local-succeed")
    return stage


async def _new_zone() -> Stage:
    stage = Stage("zone4")
    await stage.submit()
    stage.watch("newzone", 45)
    return stage


async def _no_library() -> Stage:
    stage = Stage("zone3")
    said = (
        "Unexpected error: bin/observer: error while loading shared libraries: libaio.so.1: "
        "cannot open shared object file: No such file or directory\n: exit status 1"
    )
    stage.world.play(Fault.fail_stage(5, text=said))
    await stage.submit()
    stage.watch("fail5a", 28)
    stage.keep("dag-scaleout-failed-stage5", "dag-local-failed-start")
    stage.watch("retry5a", 2)
    await stage.operate("RETRY")
    stage.watch("retry5a", 22)
    return stage


async def _slow_observer() -> Stage:
    stage = Stage("zone1", start_seconds=152)
    await stage.submit()
    stage.watch("slow7", 20)
    stage.watch("slow7", 85, WIDE)
    stage.watch("slow7", 20)
    stage.world.advance(60)
    stage.keep("dag-local-watch-failed")
    stage.watch("deadend", 1)
    await stage.operate("ROLLBACK")
    stage.watch("deadend", 20)
    return stage


async def _executor_without_database() -> Stage:
    stage = Stage("zone1", start_seconds=100)
    for fault in (
        Fault.lose_log(5, times=0),
        Fault.agent_down(EXECUTOR, stage=5, after_seconds=3),
        Fault.agent_up(EXECUTOR, stage=5, after_seconds=40),
        Fault.observer_down(TARGET, stage=5, after_seconds=18),
    ):
        stage.world.play(fault)
    await stage.submit()
    stage.watch("killmaint", 20)
    stage.watch("killmaint", 30, WIDE)
    stage.watch("killmaint", 12)
    stage.world.advance(10)
    stage.keep("dag-scaleout-maintainer-killed")
    stage.watch("rollback5", 2)
    await stage.operate("ROLLBACK")
    stage.watch("rollback5", 15)
    stage.keep("dag-scaleout-maintainer-killed-rolledback")
    return stage


async def _executor_restarted() -> Stage:
    stage = Stage("zone2", start_seconds=18)
    stage.world.play(Fault.agent_down(EXECUTOR, stage=5, after_seconds=3))
    stage.world.play(Fault.agent_up(EXECUTOR, stage=5, after_seconds=12))
    await stage.submit()
    stage.watch("killexec2", 20)
    stage.watch("killexec2", 14, WIDE)
    stage.watch("killexec2", 22)
    stage.keep("dag-executor-crash")
    return stage


async def _target_restarted() -> Stage:
    stage = Stage("zone3", start_seconds=22, agent_password="own")
    stage.world.play(Fault.agent_restart(TARGET, stage=5, after_seconds=9))
    await stage.submit(target_password="own")
    stage.watch("killjoin", 25)
    stage.watch("killjoin", 18, WIDE)
    stage.watch("killjoin", 22)
    stage.keep("dag-local-after-kill")
    return stage


async def _older_target() -> Stage:
    stage = Stage("zone3", version="4.5.0.1-12026090101")
    await stage.submit()
    stage.watch("upgrade", 60)
    stage.keep("dag-local-upgrade", "dag-scaleout-older-obshell")
    return stage


async def _wrong_agent_password() -> Stage:
    stage = Stage("zone3", agent_password="own")
    await stage.submit(target_password="other")
    stage.watch("agentpw-wrong", 8)
    stage.keep("dag-scaleout-failed-stage2-agentpw")
    await stage.operate("ROLLBACK")
    stage.watch("agentpw-wrong", 8)
    return stage


async def _dead_before_add_server() -> Stage:
    stage = Stage("zone1")
    stage.world.play(Fault.observer_down(TARGET, stage=7))
    await stage.submit(ASKED)
    stage.world.advance(40)
    stage.keep("dag-scaleout-observer-died")
    await stage.operate("RETRY")
    stage.world.advance(10)
    stage.watch("rollback7", 1)
    await stage.operate("ROLLBACK")
    stage.watch("rollback7", 25)
    return stage


async def _somebodys_files() -> Stage:
    stage = Stage("zone1")
    stage.world.play(Fault.fill_directory(TARGET))
    await stage.submit(ASKED)
    stage.world.advance(20)
    stage.keep("dag-scaleout-dirnotempty")
    await stage.operate("RETRY")
    stage.world.advance(40)
    stage.keep("dag-dirnotempty-after-retry")
    return stage


async def _no_parameters() -> Stage:
    stage = Stage("zone2")
    said = (
        "get cluster name failed: Error 1146 (42S02): Table 'oceanbase.v$ob_parameters' "
        "doesn't exist"
    )
    stage.world.play(Fault.fail_stage(1, text=said))
    await stage.submit()
    stage.world.advance(5)
    stage.keep("dag-scaleout-failed-stage1")
    stage.watch("rollback-stage1", 1)
    return stage


PLAYS = {
    "existing zone": Play(
        "observer starts in 2 s",
        _existing_zone,
        {"apply1": 4},
        ("dag-scaleout-succeed", "dag-local-succeed"),
    ),
    "new zone": Play("observer starts in 2 s", _new_zone, {"newzone": 5}),
    "library missing": Play(
        "stage 5 fails at once, then RETRY",
        _no_library,
        {"fail5a": 6, "retry5a": 6},
        ("dag-scaleout-failed-stage5", "dag-local-failed-start"),
    ),
    "slow observer": Play(
        "observer starts in 152 s, ROLLBACK after the watch began",
        _slow_observer,
        {"slow7": 7, "deadend": 7},
        ("dag-local-watch-failed",),
    ),
    "executor without database": Play(
        "executor away for 37 s of stage 5, its log lost, observer killed, then ROLLBACK",
        _executor_without_database,
        {"killmaint": 7, "rollback5": 7},
        ("dag-scaleout-maintainer-killed", "dag-scaleout-maintainer-killed-rolledback"),
        # An observer that an earlier run had left behind.
        frozenset({"obState"}),
    ),
    "executor restarted": Play(
        "executor away for 9 s of stage 5",
        _executor_restarted,
        {"killexec2": 4},
        ("dag-executor-crash",),
    ),
    "target restarted": Play(
        "joining agent killed while its observer starts",
        _target_restarted,
        {"killjoin": 8},
        ("dag-local-after-kill",),
        # The stand-in of this host was taken for stopped.
        frozenset({"obState"}),
    ),
    "older target": Play(
        "an obshell of 4.5.0.0 joins newer ones",
        _older_target,
        {"upgrade": 6},
        ("dag-local-upgrade", "dag-scaleout-older-obshell"),
    ),
    "wrong agent password": Play(
        "stage 2 refused, then ROLLBACK",
        _wrong_agent_password,
        {"agentpw-wrong": 8},
        ("dag-scaleout-failed-stage2-agentpw",),
    ),
    "observer dead before stage 7": Play(
        "RETRY in vain, then ROLLBACK",
        _dead_before_add_server,
        {"rollback7": 7},
        ("dag-scaleout-observer-died",),
    ),
    "directory not empty": Play(
        "stage 4 fails, then RETRY",
        _somebodys_files,
        {},
        ("dag-scaleout-dirnotempty", "dag-dirnotempty-after-retry"),
    ),
    "database refuses at stage 1": Play(
        "stage 1 fails",
        _no_parameters,
        {"rollback-stage1": 5},
        ("dag-scaleout-failed-stage1",),
    ),
}
