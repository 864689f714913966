"""Simulated worlds in the states the recordings were made in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from obscale.sandbox import Fault, ManualClock, World, WorldConfig
from tests.contract.real.asking import RawAsker
from tests.contract.real.recordings import Answer, Recording, recordings

OLD_OBSHELL = "4.4.2.0-12026030115"
OLD_ROOT, NEW_ROOT = "Root.pw-1", "Root.pw-2"
AGENT_PASSWORD = "Agent.pw-8"
SIZES = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "12G",
    "system_memory": "4G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
WHOLE_SCALE_OUT_SECONDS = 60
UNTIL_THE_OBSERVER_STARTS_SECONDS = 54
LONG_START_SECONDS = 300
UNTIL_SCALED_IN_SECONDS = 14
NO_ANSWER = Answer("", {}, None)


def address(number: int) -> str:
    """Where agent `number` listens."""
    return f"10.77.0.{number}:2886"


def founded(old: int | None = None, **changes: Any) -> World:
    """Cluster obcluster/1 with one server in each of three zones, and six agents of no cluster.

    Args:
        old: Number of an agent whose obshell is older than that of the cluster.
        changes: Of the world.
    """
    mounts = (
        ("/", "/dev/vda", "252G", "0"),
        ("/shared", "shared_mount_not_usable", "4K", "0"),
        ("/dev", "devtmpfs", "12G", "0"),
        ("/dev/shm", "tmpfs", "24G", "0"),
        ("/run", "tmpfs", "12G", "0"),
    )
    names = ("mount", "device", "total", "used")
    host = {
        "memory_total": "24684092K",
        "memory_available": "16974928K",
        "cores": 16,
        "os": "debian",
        "os_version": "12",
        "virtualization": "docker",
        "nofile": "20000",
        "nproc": "96365",
        "disks": [dict(zip(names, mount, strict=True)) for mount in mounts],
    }
    members = ({"name": f"zone{number}", "agents": _agents(number)} for number in (1, 2, 3))
    unit = {"name": "u_app", "max_cpu": 2, "min_cpu": 1}
    cluster = {
        "root_password": OLD_ROOT,
        "zones": list(members),
        "ob_configs": SIZES | {"memory_limit": "16G", "cpu_count": "16"},
        "tenants": [{"name": "app", "unit": unit}],
    }
    spares = _agents(4, 5, 6, 7, 8, 9)
    for spare in spares:
        if old is not None and spare["ip"] == f"10.77.0.{old}":
            spare["obshell_version"] = OLD_OBSHELL
    config = {"clusters": [cluster], "spares": spares, "host": host} | changes
    return World(WorldConfig.model_validate(config), clock=ManualClock())


def _agents(*numbers: int) -> list[dict[str, str]]:
    return [{"ip": f"10.77.0.{number}", "home": f"/home/admin/ob{number}"} for number in numbers]


class Story:
    """A world that goes through what happened while the recordings were made.

    Attributes:
        asker: Asks its agents.
        root: Password of root@sys that is sent along.
    """

    def __init__(self, old: int | None = None, **changes: Any) -> None:
        self.world = founded(old, **changes)
        self.asker = RawAsker(self.world)
        self.root = OLD_ROOT

    async def ask(self, recording: Recording) -> Answer:
        """Ask one recorded question now."""
        password = AGENT_PASSWORD if recording.short.startswith("agentpw") else self.root
        return await self.asker.ask(recording, password)

    async def send(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        agent: str = address(1),
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """Ask a question of one's own, sealed with the password of root@sys."""
        return await self.ask(
            Recording("own/question", method, target, agent, "root", True, body, headers, NO_ANSWER)
        )

    async def get(self, path: str, **headers: str) -> Answer:
        """Ask the first agent for something below `/api/v1`."""
        return await self.send("GET", f"/api/v1/{path}", headers=tuple(headers.items()))

    async def post(self, number: int, zone: str) -> None:
        """Submit a scale-out of one agent through the first."""
        body = {
            "agentInfo": {"ip": f"10.77.0.{number}", "port": 2886},
            "zone": zone,
            "obConfigs": SIZES,
        }
        answer = await self.send("POST", "/api/v1/ob/scale_out", body)
        assert answer.status_line == "HTTP/1.1 200 OK", answer

    async def scale_out(self, number: int, zone: str) -> None:
        """Submit, and let it succeed."""
        await self.post(number, zone)
        self.pass_seconds(WHOLE_SCALE_OUT_SECONDS)
        assert self.world.cluster().dags[-1].state == "SUCCEED"

    async def undone_at_the_first_stage(self, number: int = 4, zone: str = "zone2") -> None:
        """A scale-out failed at once, as the cluster's first did, and was rolled back."""
        self.world.play(Fault.fail_stage(1))
        await self.post(number, zone)
        self.pass_seconds(WHOLE_SCALE_OUT_SECONDS)
        self.world.play(Fault.operate_dag("ROLLBACK"))
        self.pass_seconds(WHOLE_SCALE_OUT_SECONDS)
        assert self.world.cluster().dags[-1].undone

    def pass_seconds(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.world.advance(seconds)

    async def grow(self, *to_zones: tuple[int, str]) -> None:
        """The failed scale-out, then those that succeeded."""
        await self.undone_at_the_first_stage()
        for number, zone in to_zones:
            await self.scale_out(number, zone)

    async def join(self, number: int, zone: str) -> None:
        """A scale-out that stands while the observer starts."""
        self.world.play(Fault.slow_observer(LONG_START_SECONDS))
        await self.post(number, zone)
        self.pass_seconds(UNTIL_THE_OBSERVER_STARTS_SECONDS)
        assert self.world.agent(address(number)).identity == "SCALING OUT"


async def _nothing(_story: Story) -> None:
    """As founded."""


async def _grown(story: Story) -> None:
    await story.grow((4, "zone2"), (5, "zone4"), (6, "zone3"))


async def _one_of_a_cluster_lost_its_observer(story: Story) -> None:
    await _grown(story)
    story.world.play(Fault.observer_down(address(4)))


async def _seventh_joins(story: Story) -> None:
    await _grown(story)
    story.world.play(Fault.change_agent_password(address(8), AGENT_PASSWORD))
    await story.join(7, "zone1")


async def _two_have_joined(story: Story) -> None:
    await story.grow((4, "zone2"))


async def _third_joins(story: Story) -> None:
    await story.grow((4, "zone2"), (5, "zone4"))
    await story.join(6, "zone3")


async def _third_will_join(story: Story) -> None:
    await story.grow((4, "zone2"), (5, "zone4"))
    await story.post(6, "zone3")


async def _nine_have_gone_before(story: Story) -> None:
    for _ in range(9):
        await story.undone_at_the_first_stage()


async def _everybody_has_joined(story: Story) -> None:
    await story.grow(
        (4, "zone2"), (5, "zone4"), (6, "zone3"), (7, "zone1"), (8, "zone3"), (9, "zone2")
    )


async def _eight_have_gone_before(story: Story) -> None:
    await _grown(story)
    for _ in range(4):
        await story.undone_at_the_first_stage(7, "zone1")


async def _one_was_scaled_in(story: Story) -> None:
    """It kills its observer itself, and holds its own lock meanwhile."""
    await _eight_have_gone_before(story)
    cluster = story.world.cluster()
    # Agents had been killed before, and this one had taken over.
    cluster.last_maintainer = story.world.agent(address(5))
    body = {"agent_info": {"ip": "10.77.0.6", "port": 2886}}
    answer = await story.send("POST", "/api/v1/ob/scale_in", body, agent=address(2))
    assert answer.status_line == "HTTP/1.1 200 OK", answer
    story.pass_seconds(UNTIL_SCALED_IN_SECONDS)
    assert cluster.dags[-1].state == "SUCCEED"


async def _one_has_no_memory(story: Story) -> None:
    story.world.play(Fault.set_parameter(address(2), "memory_limit=4G"))


async def _has_its_password(story: Story) -> None:
    story.world.play(Fault.change_agent_password(address(8), AGENT_PASSWORD))


async def _new_root_password(story: Story) -> None:
    await _everybody_has_joined(story)
    story.world.play(Fault.change_root_password(NEW_ROOT))


async def _third_has_taken_the_new_one(story: Story) -> None:
    await _new_root_password(story)
    story.root = NEW_ROOT
    (new,) = (each for each in recordings("answers") if each.short == "pwchange-agent3-new")
    await story.ask(new)
    story.root = OLD_ROOT


async def _new_password_only(story: Story) -> None:
    await _new_root_password(story)
    story.root = NEW_ROOT


@dataclass(frozen=True)
class Scene:
    """A state, and which recordings were made in it.

    Attributes:
        folder: Their folder.
        names: Beginnings of their names; the longest of all scenes of the folder counts.
        old: Number of an agent with an older obshell.
    """

    folder: str
    prepare: Callable[[Story], Awaitable[None]]
    names: tuple[str, ...] = ("",)
    old: int | None = None


SCENES = (
    Scene("single", _nothing),
    Scene("cluster", _nothing),
    Scene("cluster-observer-down", _one_of_a_cluster_lost_its_observer),
    Scene("scaling-out", _seventh_joins),
    Scene("answers", _grown),
    Scene("answers", _nothing, ("agentpw-set",)),
    Scene("answers", _has_its_password, ("agentpw", "agentpw-set-again")),
    Scene("answers", _two_have_joined, ("post-scaleout-newzone",)),
    Scene("answers", _third_will_join, ("post-target-in-maintenance",)),
    Scene("answers", _third_joins, ("post-target-scaling", "post-under-maintenance")),
    Scene("answers", _one_of_a_cluster_lost_its_observer, ("post-via-agent-without-db",)),
    Scene("answers", _nine_have_gone_before, ("post-scaleout-older",), old=6),
    Scene("answers", _eight_have_gone_before, ("scalein-post",)),
    Scene("answers", _one_was_scaled_in, ("scalein",)),
    Scene("answers", _one_has_no_memory, ("nan",)),
    Scene("answers", _new_password_only, ("pwchange-agent3-new",)),
    Scene(
        "answers",
        _new_root_password,
        (
            "pwchange-agent2",
            "pwchange-agent3-old",
            "pwchange-agent3-wrong",
            "pwchange-agent3-status",
        ),
    ),
    Scene("answers", _third_has_taken_the_new_one, ("pwchange-agent3-old-after-new",)),
    Scene("answers", _everybody_has_joined, ("pwchange-agent3-back",)),
)


def asked_in(scene: Scene) -> list[Recording]:
    """The recordings of a scene."""
    return [each for each in recordings(scene.folder) if scene_of(each) is scene]


def scene_of(recording: Recording) -> Scene:
    """The state a recording was made in."""
    fitting = [
        (len(name), scene)
        for scene in SCENES
        for name in scene.names
        if scene.folder == recording.name.partition("/")[0] and recording.short.startswith(name)
    ]
    return max(fitting, key=lambda pair: pair[0])[1]
