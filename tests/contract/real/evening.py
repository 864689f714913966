"""The evening of `removal/`, played in its order: members and zones leave, tenants change.

All its answers, DAGs and timelines come from one run of one simulated cluster in virtual time. The
hours are those of the recordings; agents have the numbers they had.
"""

import asyncio
from functools import cache
from typing import Any
from unittest.mock import patch

from obscale.sandbox import Fault
from obscale.sandbox.agents import Agent, Observer
from obscale.sandbox.answers import agent as agent_answers
from obscale.sandbox.answers import cluster as cluster_answers
from obscale.sandbox.answers import task as task_answers
from obscale.sandbox.cluster import Server
from obscale.sandbox.config import AgentConfig
from obscale.sandbox.dags import removal
from obscale.sandbox.dags.tenant_replicas import UNIT_NUM_JOB
from obscale.sandbox.errors import Refusal
from obscale.sandbox.hosts import Host
from obscale.sandbox.request import Call
from tests.contract.real.asked import Asked, asked
from tests.contract.real.recordings import Recording, recordings
from tests.contract.real.timelines import REFUSED, Seen
from tests.contract.real.worlds import Story, address

FOLDER = "removal"
BEGIN = "04:09"
ROW_GOES_AFTER_SECONDS = 4.2
OFFSETS = (0.2, 0.41, 0.43, 0.45, 0.47, 0.49, 0.5)
"""Looks in every half second: closer before its end, where a scheduler writes."""
HALF_SECOND = 0.5
NO_JOB_TABLE = "Error 1146 (42S02): Table 'oceanbase.dba_ob_tenant_jobs' doesn't exist"
NO_POOL_SQL = (
    "Error 1064 (42000): You have an error in your SQL syntax; check the manual that corresponds "
    "to your MariaDB server version for the right syntax to use near 'RESOURCE POOL "
    "`app_zone4_1795881862` UNIT = `u_app`, UNIT_NUM = 1, ZONE_LIST ...' at line 1"
)
NO_ROOM = "Error 4016 (HY000): Internal error: machine resource is not enough to hold a new unit"
APP_ID = 1002


class Evening(Story):
    """One run.

    Attributes:
        asked: Every recorded question with the simulated answer.
        seen: What a poller of a run sees, by recording.
        dags: DAGs as they stood, by recording.
    """

    def __init__(self) -> None:
        super().__init__(delete_server_seconds=ROW_GOES_AFTER_SECONDS)
        self.asked: list[Asked] = []
        self.seen: dict[str, list[Seen]] = {}
        self.dags: dict[str, dict[str, Any]] = {}
        self.leaving = 4
        self.by = 1
        self._begun = 0.0
        self._left = {each.short: each for each in recordings(FOLDER)}

    def begin(self) -> None:
        """Now it is the minute of the first recording."""
        self._begun = self.world.clock.now()

    def at(self, hour: str) -> None:
        """Let time pass until minute and second of the recordings."""
        due = self._begun + _seconds(hour) - _seconds(BEGIN)
        self.world.advance(due - self.world.clock.now())

    async def hear(self, *names: str) -> None:
        """Ask recorded questions now, in this order; a name with `*` at its end is many."""
        for name in names:
            for recording in self._take(name):
                self.asked.append(asked(recording, await self.ask(recording)))

    def _take(self, name: str) -> list[Recording]:
        if not name.endswith("*"):
            return [self._left.pop(name)]
        fitting = [each for each in self._left if each.startswith(name[:-1])]
        return [self._left.pop(each) for each in fitting]

    def play(self, *cards: Fault) -> None:
        """Put cards into play."""
        for card in cards:
            self.world.play(card)

    def watch(self, recording: str, seconds: float) -> None:
        """Let time pass, and note what a poller may see."""
        seen = self.seen.setdefault(recording, [Seen(self.world.clock.now(), self._texts())])
        begun = self.world.clock.now()
        for half in range(int(seconds / HALF_SECOND)):
            for offset in OFFSETS:
                at = begun + half * HALF_SECOND + offset
                self.world.advance(at - self.world.clock.now())
                seen.append(Seen(at, self._texts()))

    def keep(self, *names: str) -> None:
        """Keep the newest DAG of the cluster under these names."""
        for name in names:
            self.dags[name] = self._newest()

    def _answer(self, handler: Any, number: int, **names: str) -> Any:
        agent = self.world.agent(address(number))
        return handler(Call(self.world, agent, names, {}, b"", b"", 0.0))

    def _newest(self) -> dict[str, Any]:
        dags = self.world.cluster().dags
        latest = max(dags, key=lambda dag: (dag.start_at, dag.number), default=dags[-1])
        dag = next((each for each in dags if each.is_active), latest)
        return dict(self._answer(task_answers.dag, self.by, id=dag.generic_id()))

    def _texts(self) -> dict[str, str]:
        texts = {"cluster": _line(self._newest()), "ob/info": self._members()}
        if self.world.agent(address(self.leaving)).down:
            return texts | dict.fromkeys(("info", "status"), REFUSED)
        info = self._answer(agent_answers.info, self.leaving)
        status = self._answer(agent_answers.status, self.leaving)
        texts["info"] = f"{info['identity']} zone='{info['zone']}'"
        texts["status"] = (
            f"obState={status['obState']} sqlPort={status.get('sqlPort')} "
            f"maint={status['underMaintenance']}"
        )
        try:
            local = self._answer(task_answers.maintenance_of_agent, self.leaving)
        except Refusal:
            return texts
        return texts | {"local": f"{local['name']} {_line(local)}"}

    def _members(self) -> str:
        answer = self._answer(cluster_answers.ob_info, self.by)
        agents = answer["agent_info"]
        leave = [_number(a) + f":{a['identity']}" for a in agents if a["identity"] == "SCALING IN"]
        servers = [
            f"{row['svr_ip'].rpartition('.')[2]}:{row['status']}"
            for zone in answer["obcluster_info"]["topology"].values()
            for row in zone
        ]
        who = ",".join(leave) or "all CLUSTER AGENT"
        return f"agents {who} of {len(agents)}; servers {','.join(servers)}"


def _seconds(hour: str) -> float:
    minutes, _, seconds = hour.partition(":")
    return 60 * int(minutes) + float(seconds)


def _number(agent: dict[str, Any]) -> str:
    return str(agent["ip"]).rpartition(".")[2]


def _line(dag: dict[str, Any]) -> str:
    node = dag["nodes"][dag["stage"] - 1]
    (task,) = node["sub_tasks"]
    logs = None if task["task_logs"] is None else len(task["task_logs"])
    return (
        f"{dag['state']}/{dag['operator']} {dag['stage']}/{dag['max_stage']} | {node['name']} "
        f"{node['state']}/{node['operator']} | sub {task['state']}/{task['operator']} "
        f"x{task['execute_times']} on {_number(task['execute_agent'])} logs={logs}"
    )


async def _questions(evening: Evening) -> None:
    """Nine minutes of refusals in one second, and the tenant's DAGs."""
    evening.begin()
    await evening.hear("si-*")
    zone1 = evening.world.cluster().zones[1]
    zone1.active = False
    await evening.hear("zone-other-stopped")
    zone1.active = True
    await evening.hear("zone-*", "param-*")
    for number in range(1, 9):
        evening.play(Fault.set_parameter(address(number), "cpu_count=16"))
    evening.play(Fault.tenant_job_fails(text=NO_JOB_TABLE, times=2))
    await evening.hear(
        *(
            name
            for name in sorted(evening._left)
            if name.startswith("replicas-")
            and name not in ("replicas-patch-3", "replicas-post-zone4", "replicas-delete-zone3")
        ),
        "replicas-patch-3",
    )
    evening.watch("tenant-unitnum", 3)
    evening.keep("tenant-unitnum-dag")
    evening.at("04:13")
    await evening.hear("tenant-unitnum-retry")
    evening.watch("tenant-unitnum-retried", 4)
    evening.keep("tenant-unitnum-retried-dag")
    evening.at("04:18")
    await evening.hear("tenant-unitnum-rollback")
    evening.watch("tenant-unitnum-rolledback", 3)
    evening.keep("tenant-unitnum-rolledback-dag")
    evening.at("04:22")
    evening.play(Fault.tenant_job_fails(text=NO_POOL_SQL))
    await evening.hear("ob-unfinish-after-tenant", "replicas-post-zone4")
    evening.watch("tenant-addreplica", 3)
    evening.keep("tenant-addreplica-dag")
    evening.at("04:26")
    evening.play(Fault.tenant_job_fails(text=NO_JOB_TABLE))
    await evening.hear("replicas-delete-zone3")
    evening.watch("tenant-delreplica", 3)
    evening.keep("tenant-delreplica-dag")


async def _refused(evening: Evening) -> None:
    evening.at("04:30")
    evening.play(Fault.delete_refused(text=NO_ROOM, times=2))
    await evening.hear("refused-post")
    evening.watch("refused", 3)
    evening.keep("refused-dag")
    evening.at("04:36")
    await evening.hear("refused-unfinish", "refused-maintain", "refused-retry")
    evening.watch("refused-retried", 4)
    evening.keep("refused-retried-dag")
    evening.at("04:41")
    await evening.hear("refused-rollback")
    evening.watch("refused-rolledback", 3)
    evening.keep("refused-rolledback-dag")


async def _held(evening: Evening) -> None:
    """Agent 4's server stays DELETING; CANCEL through the leaving agent itself, ROLLBACK."""
    evening.at("04:47")
    evening.play(Fault.unit_stuck(address(4), seconds=68))
    await evening.hear("held-post")
    evening.watch("held", 12)
    evening.at("05:12")
    await evening.hear(
        "held-dag",
        "held-obinfo",
        "held-topology",
        "held-unfinish",
        "held-post-again",
        "held-post-other",
        "held-post-again-via-leaving",
        "held-post-self-leaving",
        "held-scaleout",
        "held-retry-running",
        "held-rollback-running",
        "held-pass-running",
    )
    operate = evening._left.pop("leaving-operate")
    await evening.hear("leaving-*")
    evening._left["leaving-operate"] = operate
    await evening.hear("leaving-operate", "held-cancel")
    evening.watch("held-cancelled", 5)
    evening.keep("held-cancelled-dag")
    evening.at("05:20")
    await evening.hear("cancelled-unfinish", "cancelled-post-other", "cancelled-rollback")
    evening.watch("held-rolledback", 9)
    evening.keep("held-rolledback-dag")
    evening.at("05:34")
    await evening.hear("rolledback-unfinish")


async def _passed(evening: Evening) -> None:
    await evening.hear("pass-post")
    evening.at("05:48")
    await evening.hear("pass-cancel")
    evening.at("05:52")
    await evening.hear("pass-pass")
    evening.watch("passed", 1)
    evening.keep("passed-dag")
    evening.at("05:58")
    await evening.hear("passed-obinfo")


async def _live(evening: Evening) -> None:
    """Agent 4 leaves, then agent 5 with force_kill."""
    await evening.hear("normal-post")
    evening.watch("normal", 23)
    evening.keep("normal-dag")
    evening.at("06:36")
    await evening.hear("normal-again", "normal-leaving-*", "normal-local-dag")
    evening.at("06:37")
    evening.leaving = 5
    await evening.hear("force-live-post")
    evening.watch("force-live", 18)
    evening.keep("force-live-dag")


async def _dead(evening: Evening) -> None:
    """The obshells of 8 and 6 were killed, and are removed; then the whole of zone4."""
    evening.at("07:10")
    evening.play(Fault.agent_down(address(8)))
    evening.at("07:14")
    evening.leaving = 8
    await evening.hear("agentdead-post")
    evening.watch("agentdead", 16)
    evening.keep("agentdead-dag")
    evening.play(Fault.agent_down(address(6)))
    evening.at("07:34")
    evening.leaving = 6
    await evening.hear("agentdead-force-topology", "agentdead-force-post")
    evening.watch("agentdead-force", 17)
    evening.keep("agentdead-force-dag")
    evening.at("07:52")
    evening.leaving = 7
    await evening.hear("zone4-post-noauth")
    evening.watch("zone4", 26)
    evening.keep("zone4-dag")
    evening.at("08:29")
    await evening.hear("zone4-again")


async def _founders(evening: Evening) -> None:
    """Agent 3 is held and comes back, then its row vanishes; 8 comes back; 1 leaves itself."""
    evening.at("08:30")
    evening.leaving = 3
    evening.play(Fault.unit_stuck(address(3)))
    await evening.hear("force-held-post")
    evening.watch("force-held", 16)
    evening.at("08:50")
    evening.keep("force-held-dag")
    evening.at("08:52.6")
    await evening.hear("force-held-cancel")
    evening.watch("force-held-cancelled", 4)
    evening.keep("force-held-cancelled-dag")
    evening.at("08:57.7")
    await evening.hear("force-held-rollback")
    evening.watch("force-held-rolledback", 24)
    evening.keep("force-held-rolledback-dag")
    evening.at("09:25")
    await evening.hear("gone-post")
    evening.at("09:37")
    await evening.hear("gone-cancel")
    evening.at("09:40.5")
    evening.play(Fault.gone_before_rollback(address(3)))
    evening.at("09:41")
    await evening.hear("gone-rollback")
    evening.watch("gone-rolledback", 3)
    evening.keep("gone-rolledback-dag")
    evening.at("09:45")
    await evening.hear("gone-unfinish", "gone-retry")
    evening.watch("gone-retried", 17)
    evening.keep("gone-retried-dag")
    evening.at("10:25")
    evening.play(Fault.agent_up(address(8)))
    evening.at("10:29")
    await evening.hear("zombie-info", "zombie-status")
    evening.at("10:32")
    await evening.hear("zombie-obinfo", "zombie-topology", "zombie-scalein")
    # The stand-ins have no unit that could hold a server.
    evening.world.cluster().units.clear()
    evening.leaving, evening.by = 1, 2
    await evening.hear("maintainer-post")
    evening.watch("maintainer", 22)
    evening.keep("maintainer-dag")


async def _job(evening: Evening) -> None:
    """Servers and a job were put into the tables by hand."""
    evening.at("11:24")
    cluster = evening.world.cluster()
    for number, zone in ((201, 1), (202, 1), (203, 2), (204, 3), (205, 3)):
        cluster.servers.append(_by_hand(evening, number, f"zone{zone}"))
    cluster.jobs[(APP_ID, UNIT_NUM_JOB)] = 1
    await evening.hear("job-patch")
    evening.watch("job-running", 2)
    evening.keep("job-running-dag")
    for pool in cluster.tenants()[1].pools:
        pool.unit_num = 2
    evening.at("11:27")
    await evening.hear("job-retry")
    evening.watch("job-retried", 4)
    evening.keep("job-retried-dag")
    evening.play(Fault.agent_restart(address(7)))
    evening.at("11:45")
    await evening.hear("removed-restarted-*")
    evening.play(Fault.host_cleaned(address(4)))
    evening.at("11:57")
    await evening.hear("cleaned-info")


def _by_hand(evening: Evening, number: int, zone: str) -> Server:
    config = evening.world.config
    agent = Agent(AgentConfig(), config, Host(config.host), f"10.77.0.{number}", 2886)
    known = evening.world.cluster().servers[0].observer
    observer = Observer(2881, 2882, known.data_dir, known.redo_dir, dict(known.values))
    agent.observer = observer
    return Server(number, zone, agent, observer, serves_from=0.0)


async def _blocked() -> list[Asked]:
    """Another cluster: a tenant's DAG has failed and holds nothing, beside a scale-out."""
    evening = Evening()
    evening.begin()
    evening.play(Fault.tenant_job_fails(text=NO_JOB_TABLE))
    await evening.hear("blocked-delete-replica")
    evening.pass_seconds(3)
    await evening.hear("blocked-unfinish", "blocked-scaleout-post")
    evening.pass_seconds(60)
    await evening.hear("blocked-unfinish-after")
    return evening.asked


async def _play() -> Evening:
    evening = Evening()
    for number, zone in ((4, "zone2"), (5, "zone3"), (6, "zone1"), (8, "zone2"), (7, "zone4")):
        await evening.scale_out(number, zone)
    await _questions(evening)
    await _refused(evening)
    await _held(evening)
    await _passed(evening)
    await _live(evening)
    await _dead(evening)
    # OceanBase would not let a server go whose units fit nowhere; the stand-ins did.
    with (
        patch.object(removal, "why_not_deleted", lambda *_: ""),
        patch("obscale.sandbox.units._all_have_leaders", lambda _cluster: True),
    ):
        await _founders(evening)
        await _job(evening)
    evening.asked += await _blocked()
    return evening


@cache
def evening() -> Evening:
    """The evening, played once in a process."""
    return asyncio.run(_play())
