"""One real Prefect test server for the session, and one simulated cluster for each test."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from prefect import get_client
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import refresh_global_settings_context

from obscale import events
from obscale.agent.models import joined_address
from obscale.errors import ObscaleError
from obscale.events import Event, Line, Reported, SubmitSettled, text_of
from obscale.flows.scale_out import scale_out
from obscale.report.report import ScaleOutReport
from obscale.request.models import AgentInfoSpec, ClusterSpec, SecretName
from obscale.request.time_limits import TimeLimits
from obscale.sandbox import Door, ScaledClock, World, WorldConfig, default_config, serve
from obscale.tasks.runtime.journal import listening

SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
QUICK = TimeLimits(
    deadline_seconds=120,
    silence_seconds=20,
    verify_seconds=60,
    steady_seconds=0.2,
    poll_seconds=0.1,
    lost_answer_seconds=1,
    retry_pause_seconds=0.1,
)


@pytest.fixture(scope="module", autouse=True)
def prefect_of_these_tests(server_url, one_authority):
    """The runs of these tests are recorded by the server all tests of this process share."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PREFECT_API_URL", server_url)
        environment.setenv("PREFECT_API_SSL_CERT_FILE", one_authority)
        # A command tried in this process may have given Prefect the password of a server of its
        # own; this one is asked by processes that do not know it.
        refresh_global_settings_context()
        yield
    refresh_global_settings_context()


@pytest.fixture
def wordless(monkeypatch):
    """Take the words from every line, but for the name of its event: nothing may follow by them."""
    monkeypatch.setattr(events, "text_of", lambda event: type(event).__name__)


@pytest.fixture(autouse=True)
def wordless_where_asked(request):
    """With `--wordless`, all tests of flows run so; those that read lines fail then."""
    if request.config.getoption("wordless", default=False):
        request.getfixturevalue("wordless")


def is_line(words: str) -> Callable[[Event], bool]:
    """Give whether an event is the line that begins with a word."""
    return lambda event: isinstance(event, Line) and event.words.startswith(f"{words} ")


def is_adopted(event: Event) -> bool:
    """Whether a run has taken up a DAG that was there."""
    return isinstance(event, SubmitSettled) and event.submitted.how == "adopted"


def is_posted(event: Event) -> bool:
    """Whether the POST was answered."""
    return isinstance(event, SubmitSettled) and event.submitted.how == "posted"


@dataclass
class Stage:
    """A served world, and the means to run the flow against it."""

    world: World
    door: Door
    events: list[Event] = field(default_factory=list)
    acts: list[tuple[Callable[[Event], bool], Callable[[], None]]] = field(default_factory=list)

    async def scale_out(self, *, zone: str = "zone2", **changes: Any) -> ScaleOutReport:
        """Run the flow with the documented sample request, changed where a test says so."""
        with listening(self._hear):
            return await scale_out(**self.asked(zone=zone, **changes))

    def asked(self, **changes: Any) -> dict[str, Any]:
        """Give the flow's parameters for the documented sample request."""
        cluster, spare = self.ready["clusters"][0], self.ready["spares"][0]
        asked: dict[str, Any] = {
            "cluster": ClusterSpec(
                endpoints=tuple(joined_address(a["ip"], a["port"]) for a in cluster["agents"]),
                password=SecretName(env="OBSCALE_TEST_ROOT"),
                name=cluster["name"],
                id=cluster["id"],
            ),
            "agentInfo": AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
            "zone": "zone2",
            "obConfigs": SAMPLE,
            "time_limits": QUICK,
        }
        return asked | changes

    def crawl(self) -> None:
        """Let the cluster stand as good as still, however slow this machine is."""
        self.world.clock.change_speed(0.02)

    def hurry(self) -> None:
        """Let the cluster go on, fast."""
        self.world.clock.change_speed(40.0)

    def reach(self, stage: int) -> None:
        """Let the newest DAG come to a stage at once, and stand there."""
        self.crawl()
        for _ in range(1000):
            self.world.sync()
            if self.world.clusters[0].dags[-1].stage >= stage:
                return
            self.world.clock.skip(0.2)
        raise AssertionError(f"no stage {stage} within 200 s")

    def at(self, is_it: Callable[[Event], bool], act: Callable[[], None]) -> None:
        """Do something once, as soon as a run tells such an event."""
        self.acts.append((is_it, act))

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        for each in [each for each in self.acts if each[0](event)]:
            self.acts.remove(each)
            each[1]()

    async def dag_created(self) -> None:
        """Wait until the cluster has a scale-out DAG."""
        for _ in range(1200):
            if self.world.count_dags("Cluster scale out"):
                return
            await asyncio.sleep(0.05)
        raise AssertionError("no scale-out DAG after a minute")

    @property
    def ready(self) -> dict[str, Any]:
        """What the world says of itself once it listens."""
        return self.door.ready

    @property
    def sample(self) -> dict[str, str]:
        """The documented sample's obConfigs."""
        return dict(SAMPLE)

    @property
    def report(self) -> ScaleOutReport:
        """The report of the last run, also of a failed one."""
        return [e.report for e in self.events if isinstance(e, Reported)][-1]

    @property
    def lines(self) -> list[str]:
        """What the log has of each event."""
        return [text_of(event) for event in self.events]

    def posts(self, target: str = "/api/v1/ob/scale_out") -> int:
        """How many POSTs reached the cluster."""
        return sum(r.method == "POST" and r.target == target for r in self.world.requests)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(monkeypatch) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that opens a stage; every stage is closed at the end of the test."""
    doors = []

    async def open_stage(config: WorldConfig | None = None, speed: float = 40.0) -> Stage:
        # Ports of the operating system's choice: no other world on this machine can be met.
        chosen = (config or default_config()).model_copy(update={"port": 0})
        world = World(chosen, clock=ScaledClock(speed=speed))
        opening = serve(world)
        door = await opening.__aenter__()
        doors.append(opening)
        monkeypatch.setenv("OBSCALE_TEST_ROOT", door.ready["clusters"][0]["root_password"])
        return Stage(world, door)

    yield open_stage
    for opening in doors:
        await opening.__aexit__(None, None, None)
    # What a run that was ended has left is not found in the middle of another test.
    gc.collect()


@pytest.fixture
def refused():
    """Give the error a run ended with."""

    async def ending(run) -> ObscaleError:
        with pytest.raises(ObscaleError) as caught:
            await run
        return caught.value

    return ending


@pytest.fixture
def asked():
    """Wait until a run is paused; give it, the schema of its form, and the form's text."""

    async def paused(run: asyncio.Task[Any]) -> tuple[Any, dict[str, Any], Any]:
        async with get_client() as client:
            for _ in range(600):
                found = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
                state = found[0].state if found else None
                if state and state.type is StateType.PAUSED:
                    keys = state.state_details.run_input_keyset or {}
                    inputs = await client.filter_flow_run_input(found[0].id, "", 20, [])
                    if set(keys.values()) - {keys["response"]} <= {each.key for each in inputs}:
                        schema = await client.read_flow_run_input(found[0].id, keys["schema"])
                        page = await client.read_flow_run_input(found[0].id, keys["description"])
                        return found[0], json.loads(schema), page
                assert not run.done(), "it ended without asking"
                await asyncio.sleep(0.1)
        raise AssertionError("no run was paused within a minute")

    return paused
