"""Do `obscale watch` and `obscale recover` look after a scale-out obscale did not start?"""

import asyncio
import json

import pytest
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import Operator, ScaleOutRequest
from obscale.cli import app
from obscale.errors import ObscaleError
from obscale.link import EnvironmentVault
from obscale.order import orders_of
from obscale.plan import make_plan
from obscale.plan.file import plan_file, write_plan_file
from obscale.sandbox import Fault, default_config
from obscale.settings import Patience
from obscale.spec import read_spec

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAMPLE = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
LOOKS = 600


@pytest.fixture
def bench(stage, monkeypatch, tmp_path):
    """Give a scene, a scale-out somebody else began in it, and the command line beside it."""
    quick = {"steady_seconds": 0.2, "poll_seconds": 0.1, "undo_seconds": 60}
    for name, value in quick.items():
        monkeypatch.setattr(Patience.model_fields[name], "default", value)
    Patience.model_rebuild(force=True)
    yield lambda *faults, **more: begin(stage, tmp_path, *faults, **more)
    monkeypatch.undo()
    Patience.model_rebuild(force=True)


class Bench:
    """A simulated cluster with a foreign scale-out, and a request file that names the cluster."""

    def __init__(self, scene, path):
        self.scene, self.path = scene, path
        self.cluster = scene.ready["clusters"][0]
        self.spare = scene.ready["spares"][0]
        self.target = scene.world.agent(f"{self.spare['ip']}:{self.spare['port']}")

    def entry(self):
        """A client of the first cluster agent."""
        agent = self.cluster["agents"][0]
        return AgentClient(
            AgentAddress(agent["ip"], agent["port"]),
            root_password=SecretStr(self.cluster["root_password"]),
        )

    @property
    def dag(self):
        """The scale-out, as the simulated cluster holds it."""
        return next(d for d in self.scene.world.clusters[0].dags if d.name == "Cluster scale out")

    async def run(self, *words):
        """Run the command line in a thread; it has its own event loop."""

        def invoke():
            return CliRunner().invoke(app, [words[0], str(self.path), *words[1:]])

        result = await asyncio.to_thread(invoke)
        if isinstance(result.exception, ObscaleError):
            raise result.exception
        return result

    async def until(self, holds):
        """Let the simulated world go on until something holds."""
        for _ in range(LOOKS):
            self.scene.world.sync()
            if holds():
                return
            await asyncio.sleep(0.05)
        raise AssertionError("not within its time")

    @property
    def operated(self):
        """Ids of the DAGs something was posted to, in order."""
        return [
            r.target.rsplit("/", 1)[1]
            for r in self.scene.world.requests
            if r.method == "POST" and r.target.startswith("/api/v1/task/dag/")
        ]


async def begin(stage, tmp_path, *faults, config=None, speed=40.0, wait_for="FAILED"):
    """Start a scale-out by the bare API, for another node than the request's file names."""
    scene = await stage(config, speed)
    for fault in faults:
        scene.world.play(fault)
    cluster, spare, other = (
        scene.ready["clusters"][0],
        scene.ready["spares"][0],
        scene.ready["spares"][1],
    )
    path = tmp_path / "cluster.yaml"
    request = {
        "cluster": {
            "endpoints": [f"{a['ip']}:{a['port']}" for a in cluster["agents"]],
            "password": {"env": "OBSCALE_TEST_ROOT"},
        },
        "nodes": [
            {
                "agentInfo": {"ip": other["ip"], "port": other["port"]},
                "zone": "zone1",
                "obConfigs": SAMPLE,
            }
        ],
    }
    path.write_text(yaml.safe_dump(request), encoding="utf-8")
    bench = Bench(scene, path)
    body = {"agentInfo": {"ip": spare["ip"], "port": spare["port"]}, "zone": "zone2"}
    async with bench.entry() as agent:
        await agent.submit_scale_out(
            ScaleOutRequest.model_validate({**body, "obConfigs": dict(SAMPLE)})
        )
    if wait_for:
        await bench.until(lambda: bench.dag.state == wait_for)
    else:
        await bench.until(lambda: bench.dag.stage > 2)
    return bench


async def test_watch_follows_a_foreign_scale_out_to_verified(bench):
    """Attached in the middle, nothing posted: the stages are told, the node is verified, exit 0."""
    here = await bench(wait_for=None, speed=15.0)

    result = await here.run("watch", "--json")

    assert result.exit_code == 0
    report = json.loads(result.stdout)["report"]
    assert (report["outcome"], report["zone"]) == ("verified", "zone2")
    assert report["target"] == here.target.address
    assert "Check cluster scale_out whether finished" in result.stderr
    assert here.scene.posts() == 1
    assert here.operated == []


async def test_watch_takes_a_kept_plan_for_the_cluster_also_when_it_has_expired(bench, tmp_path):
    """Whoever applied a plan is told to watch with its file: it names the cluster."""
    at_work = await bench(wait_for=None, speed=15)
    spec = read_spec(at_work.path)
    plan = tmp_path / "plan.json"
    made = await make_plan(orders_of(spec), EnvironmentVault())
    again = "obscale plan cluster.yaml --out plan.json"
    write_plan_file(plan, plan_file(spec, made, again, valid_minutes=0))
    at_work.path = plan

    result = await at_work.run("watch", "11")

    assert result.exit_code == 0, result.output
    assert at_work.scene.posts() == 1


async def test_watch_of_a_failed_scale_out_says_why_and_exits_1(bench):
    """The diagnosis stands there with the consequences of each choice; nothing is operated."""
    here = await bench(Fault.observer_dies())

    result = await here.run("watch")

    assert result.exit_code == 1
    assert "[observer-died]" in result.stdout
    assert "ROLLBACK (safe)" in result.stdout
    assert here.operated == []


async def test_a_success_over_undone_stages_is_named_and_says_how_to_clean_up(bench):
    """A rollback retried half-way: SUCCEED, no server; the proof says which stages were skipped."""
    here = await bench(
        Fault.fail_stage(9),
        Fault.fail_rollback(6),
        Fault.operate_dag("ROLLBACK"),
        Fault.operate_dag("RETRY"),
        wait_for="SUCCEED",
        speed=60.0,
    )

    result = await here.run("watch")
    refused = await here.run("recover", "--retry", "--yes")

    assert result.exit_code == 1
    assert "[hollow-success]" in result.stdout
    assert ".meta" in result.stdout
    assert "undone before and skipped: Add server for scale_out" in result.stderr
    assert refused.exit_code == 1
    assert "RETRY is no choice here" in refused.stderr
    assert here.operated == []


async def test_recover_retry_takes_a_foreign_dag_to_verified(bench):
    """One RETRY, followed to the end and verified: exit 0."""
    here = await bench(Fault.observer_dies())

    result = await here.run("recover", "--retry", "--yes", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["report"]["outcome"] == "verified"
    assert here.operated == ["11"]


async def test_recover_roll_back_takes_a_foreign_dag_to_its_real_end(bench):
    """One ROLLBACK by id: target SINGLE, lock free, three servers: exit 0."""
    here = await bench(Fault.observer_dies())

    result = await here.run("recover", "11", "--roll-back", "--yes")

    assert result.exit_code == 0
    assert "is SINGLE again" in result.stdout
    assert (here.target.identity, here.target.under_maintenance) == ("SINGLE", False)
    assert len(here.scene.world.clusters[0].servers) == 3
    assert here.dag.undone


async def test_recover_finishes_a_rollback_that_left_an_orphan(bench):
    """Rolled back by somebody, the target still SCALING OUT: its own DAG is rolled back, only."""
    here = await bench(Fault.orphan_local_dag())
    async with here.entry() as agent:
        await agent.operate_dag("11", Operator.ROLLBACK)
    await here.until(lambda: here.dag.undone)
    assert here.target.identity == "SCALING OUT"

    result = await here.run("recover", "--roll-back", "--yes")

    assert result.exit_code == 0
    assert here.operated == ["11", here.target.dags[-1].generic_id()]
    assert here.target.identity == "SINGLE"


@pytest.mark.parametrize("flags", [(), ("--acknowledge-data-loss",)])
async def test_recover_refuses_a_dead_end_whatever_is_acknowledged(bench, flags):
    """ROLLBACK while the observer starts: one line, exit 1, nothing sent."""
    here = await bench(Fault.slow_observer(seconds=5000), speed=60.0)

    result = await here.run("recover", "--roll-back", "--yes", *flags)

    assert result.exit_code == 1
    line = result.stderr.strip()
    assert line.count("\n") == 0
    assert "was not touched: ROLLBACK is a dead end" in line
    assert here.operated == []


@pytest.mark.parametrize("flag", ["--retry", "--roll-back"])
async def test_recover_deletes_foreign_data_only_when_that_is_accepted(bench, flag):
    """After DirNotEmpty both are refused with what they delete; accepted, they are carried out."""
    config = default_config()
    spare = config.spares[0].model_copy(
        update={"dirs": {"/home/admin/oceanbase/store": ["somebody-s-data"]}}
    )
    here = await bench(config=config.model_copy(update={"spares": (spare, *config.spares[1:])}))

    refused = await here.run("recover", flag, "--yes")
    untouched = list(here.target.files.deleted)
    taken = await here.run("recover", flag, "--yes", "--acknowledge-data-loss")

    assert refused.exit_code == 1
    assert "rm -rf of /home/admin/oceanbase/store" in refused.stderr
    assert "--acknowledge-data-loss" in refused.stderr
    assert untouched == []
    assert taken.exit_code == 0
    assert "/home/admin/oceanbase/store" in here.target.files.deleted


async def test_recover_asks_and_does_nothing_where_nobody_answers(bench):
    """Without --yes and without a terminal: bad input, exit 2, nothing sent."""
    here = await bench(Fault.observer_dies())

    result = await here.run("recover", "--retry")
    neither = await here.run("recover", "--yes")

    assert result.exit_code == 2
    assert "nobody is there to answer" in result.stderr
    assert neither.exit_code == 2
    assert here.operated == []
