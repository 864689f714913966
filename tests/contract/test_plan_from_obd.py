"""Tests of `obscale plan --from-obd` against simulated clusters: what it asks, and of whom."""

import asyncio
import json

import pytest
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner

from obscale.cli.commands import app
from obscale.connect.connections import ClusterAccess, EnvironmentSecrets
from obscale.errors import (
    AgentProtocolError,
    AgentUnreachableError,
    NotAuthorizedError,
    PreflightError,
)
from obscale.plan.from_obd_read import read_cluster_of
from obscale.request.models import ClusterSpec, SecretName
from obscale.sandbox import Fault, ScaledClock, World, WorldConfig, default_config, serve
from obscale.spec import read_spec
from obscale.spec.obd import read_obd

CANARIES = ("canary-ssh", "canary-root", "canary-proxy")
SIZES = {
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
ROOT = SecretName(env="OBD_TEST_ROOT")


class Desk:
    """A served world, a folder of its own, and the command line."""

    def __init__(self, world, door, folder):
        self.world, self.door, self.folder = world, door, folder
        self.agents = door.ready["clusters"][0]["agents"]
        self.spares = door.ready["spares"]

    def server(self, number, where):
        """A server as OBD's list has it, and its block."""
        agent = self.world.agent(self.address(where))
        ports = {"obshell_port": where["port"]}
        if agent.observer is not None:
            ports |= {"rpc_port": agent.observer.rpc_port, "mysql_port": agent.observer.sql_port}
        return {"name": f"s{number}", "ip": where["ip"]}, ports

    def write(self, name="obd.yaml", *, spares=(0,), zone="zone2", members=True, **options):
        """Write a file of OBD's own that describes the cluster, and spares beside it."""
        part = {"servers": []}
        if members:
            passwords = {"root_password": CANARIES[1], "proxyro_password": CANARIES[2]}
            part["global"] = SIZES | passwords | {"production_mode": False} | options
            for number, agent in enumerate(self.agents, start=1):
                listed, ports = self.server(number, agent)
                part["servers"].append(listed)
                part[listed["name"]] = {"zone": agent["zone"]} | ports
        for number in spares:
            listed, ports = self.server(10 + number, self.spares[number])
            part["servers"].append(listed)
            part[listed["name"]] = {"zone": zone} | ports
        whole = {"oceanbase-ce": part}
        if members:
            whole["user"] = {"username": "admin", "password": CANARIES[0]}
        path = self.folder / name
        path.write_text(yaml.safe_dump(whole), encoding="utf-8")
        return name

    async def run(self, *words, typed=None):
        """Type a command, in this process but off the world's loop."""
        return await asyncio.to_thread(CliRunner().invoke, app, list(words), input=typed)

    async def plan(self, *words):
        """Plan the file, with the password's name."""
        return await self.run("plan", "--from-obd", *words, "--password-env", "OBD_TEST_ROOT")

    def address(self, where):
        """Give `ip:port` of an agent as the world tells it."""
        return f"{where['ip']}:{where['port']}"


@pytest.fixture
async def open_desk(tmp_path, monkeypatch):
    """Serve a world of this description; a desk at it."""
    doors = []

    async def open_(**changes):
        config = WorldConfig.model_validate(default_config().model_dump() | {"port": 0} | changes)
        world = World(config, clock=ScaledClock(speed=20.0))
        door = serve(world)
        doors.append(door)
        opened = await door.__aenter__()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
        monkeypatch.setenv("OBD_TEST_ROOT", opened.ready["clusters"][0]["root_password"])
        return Desk(world, opened, tmp_path)

    yield open_
    for door in doors:
        await door.__aexit__(None, None, None)


async def test_a_file_of_the_cluster_and_one_spare_is_ready_with_one_node(open_desk):
    """The request it keeps can be planned, and applied; nothing but reads was sent."""
    desk = await open_desk()

    ended = await desk.plan(desk.write(), "--out-request", "request.yaml", "--json")

    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    (row,) = told["rows"]
    assert told["ready"]
    assert (row["target"], row["zone"]) == (desk.address(desk.spares[0]), "zone2")
    assert row["obConfigs"].items() >= SIZES.items()
    assert told["next"].startswith("obscale apply request.yaml")
    made = told["from_obd"]
    assert made["members"] == [desk.address(agent) for agent in desk.agents]
    assert made["cluster"] == "obcluster/1"
    assert [each["key"] for each in made["secrets"]] == [
        *("user.password", "proxyro_password", "root_password"),
    ]
    spec = read_spec(desk.folder / "request.yaml")
    assert [node.address for node in spec.nodes] == [row["target"]]
    assert spec.cluster.password == SecretName(env="OBD_TEST_ROOT")
    assert [r for r in desk.world.requests if r.method != "GET"] == []
    again = await desk.run("plan", "request.yaml")
    assert again.exit_code == 0


async def test_no_password_of_the_file_is_told_or_kept(open_desk):
    """Neither on the screen nor in the request nor in the plan."""
    desk = await open_desk()
    desk.write()

    ended = await desk.plan("obd.yaml", "--out-request", "request.yaml", "--out", "plan.json")
    asked = await desk.run("plan", "--from-obd", "obd.yaml")

    assert ended.exit_code == 0
    assert asked.exit_code == 2
    assert "root_password: a password of a file is never used" in asked.stderr
    kept = [(desk.folder / name).read_text() for name in ("request.yaml", "plan.json")]
    for text in (ended.output, asked.output, *kept):
        assert not any(canary in text for canary in CANARIES)
    assert "secrets, not copied: user.password (obd.yaml:" in ended.stdout


async def test_a_kept_plan_of_it_is_a_plan_as_any_other(open_desk):
    """`obscale apply` takes it; its command makes it again."""
    desk = await open_desk()
    desk.write()

    ended = await desk.plan("obd.yaml", "--out", "plan.json")

    kept = json.loads((desk.folder / "plan.json").read_text())
    assert ended.exit_code == 0
    assert "obscale apply plan.json" in ended.stdout
    assert kept["command"] == (
        "obscale plan --from-obd obd.yaml --password-env OBD_TEST_ROOT --out plan.json"
    )
    assert kept["request"]["nodes"][0]["agentInfo"]["port"] == desk.spares[0]["port"]


async def test_the_second_file_of_a_scale_out_brings_the_new_servers(open_desk):
    """They take the options of the first; one of them is asked for nothing but who it is."""
    desk = await open_desk()
    desk.write(spares=())
    desk.write("more.yaml", spares=(0, 1), members=False)

    seen = await read_cluster_of(
        read_obd(desk.folder / "obd.yaml", desk.folder / "more.yaml"), ROOT, EnvironmentSecrets()
    )

    assert [server.name for server in seen.found.new] == ["s10", "s11"]
    spares = {desk.address(spare) for spare in desk.spares}
    asked = {r.target for r in desk.world.requests if r.agent in spares}
    assert asked == {"/api/v1/info"}
    ended = await desk.plan("obd.yaml", "--extra", "more.yaml", "--json")
    assert [row["target"] for row in json.loads(ended.stdout)["rows"]] == [
        desk.address(spare) for spare in desk.spares[:2]
    ]


@pytest.mark.parametrize("extra", [None, "more.yaml"])
async def test_a_stranger_among_the_new_servers_never_gets_the_password(open_desk, extra):
    """Here a member of another cluster, last in its file: it is asked for nothing but who it is."""
    zones = ({"name": "zone1", "agents": 1},)
    other = {"name": "other", "id": 2, "root_password": "other-root", "zones": zones}
    clusters = (default_config().clusters[0].model_dump(), other)
    desk = await open_desk(clusters=clusters)
    desk.spares = desk.door.ready["clusters"][1]["agents"]
    desk.write(spares=() if extra else (0,))
    if extra:
        desk.write(extra, members=False)

    seen = await read_cluster_of(
        read_obd(desk.folder / "obd.yaml", extra and desk.folder / extra),
        ROOT,
        EnvironmentSecrets(),
    )

    stranger = desk.address(desk.spares[0])
    assert [server.node.address for server in seen.found.new] == [stranger]
    asked = {r.target for r in desk.world.requests if r.agent == stranger}
    assert asked == {"/api/v1/info"}
    ended = await desk.plan("obd.yaml", *(("--extra", extra) if extra else ()), "--json")
    assert ended.exit_code == 1
    assert not json.loads(ended.stdout)["ready"]


async def test_a_wrong_password_is_shown_to_one_agent_only(open_desk, monkeypatch):
    """The next one would refuse it too."""
    desk = await open_desk()
    desk.write()
    monkeypatch.setenv("OBD_TEST_ROOT", "wrong")

    with pytest.raises(NotAuthorizedError):
        await read_cluster_of(read_obd(desk.folder / "obd.yaml"), ROOT, EnvironmentSecrets())

    sealed = {r.agent for r in desk.world.requests if r.target.endswith("/ob/info")}
    assert sealed == {desk.address(desk.agents[0])}


async def test_where_the_first_members_database_is_away_the_next_is_asked(open_desk):
    """It cannot say who the members are."""
    desk = await open_desk()
    desk.write()
    desk.world.play(Fault.observer_down(desk.address(desk.agents[0])))

    seen = await read_cluster_of(read_obd(desk.folder / "obd.yaml"), ROOT, EnvironmentSecrets())

    assert [server.name for server in seen.found.members] == ["s1", "s2", "s3"]


async def test_where_the_first_agent_of_the_file_is_away_the_next_is_asked(open_desk):
    """It stays an entry agent: the cluster lists it."""
    desk = await open_desk()
    desk.write()
    desk.world.play(Fault.agent_down(desk.address(desk.agents[0])))

    seen = await read_cluster_of(read_obd(desk.folder / "obd.yaml"), ROOT, EnvironmentSecrets())

    assert [server.name for server in seen.found.members] == ["s1", "s2", "s3"]


async def test_a_file_of_which_no_server_is_a_member_is_refused(open_desk):
    """Spares answer, and say that they are in no cluster."""
    desk = await open_desk()
    desk.write(members=False, spares=(0, 1))

    ended = await desk.plan("obd.yaml", "--json")

    assert ended.exit_code == 1
    error = json.loads(ended.stdout)["error"]
    assert error["kind"] == "blocked"
    assert "no server of it is a member of a cluster" in error["message"]
    assert "is SINGLE" in error["message"]


async def test_a_member_in_another_zone_than_the_file_says_is_refused(open_desk):
    """With the line, and before any request is kept."""
    desk = await open_desk()
    name = desk.write()
    text = (desk.folder / name).read_text().replace("zone: zone3", "zone: zone1")
    (desk.folder / name).write_text(text)

    ended = await desk.plan(name, "--out-request", "request.yaml")

    assert ended.exit_code == 1
    assert "s3: zone is zone1 (obd.yaml:" in ended.stderr
    assert "zone3 in the cluster" in ended.stderr
    assert not (desk.folder / "request.yaml").exists()


async def test_nobody_who_answers_is_out_of_reach(open_desk):
    """As for any other command."""
    desk = await open_desk()
    desk.write()
    for agent in (*desk.agents, *desk.spares):
        desk.world.play(Fault.agent_down(desk.address(agent)))

    with pytest.raises(AgentUnreachableError):
        await read_cluster_of(read_obd(desk.folder / "obd.yaml"), ROOT, EnvironmentSecrets())


async def test_agents_whose_certificate_is_not_trusted_are_not_asked_in_the_clear(open_desk):
    """Their port speaks TLS; the connection has to be stored with its authority."""
    desk = await open_desk(tls=True)
    desk.write()

    with pytest.raises(AgentProtocolError, match="its certificate is not trusted") as caught:
        await read_cluster_of(read_obd(desk.folder / "obd.yaml"), ROOT, EnvironmentSecrets())

    assert "obscale connect" in caught.value.hint


async def test_a_stored_connection_says_how_the_cluster_is_asked(open_desk):
    """Its scheme, its authority and its password; the file's servers are compared as before."""
    desk = await open_desk(tls=True)
    desk.write()
    endpoint = f"https://{desk.address(desk.agents[1])}"
    tls = {"ca_file": str(desk.door.ca_path)}

    class Stored(EnvironmentSecrets):
        async def read_cluster(self, name):
            assert name == "prod-east"
            spec = ClusterSpec.model_validate({"endpoints": [endpoint], "tls": tls})
            return ClusterAccess(spec, SecretStr("sandbox-root"))

    seen = await read_cluster_of(read_obd(desk.folder / "obd.yaml"), "prod-east", Stored())

    assert (seen.told.scheme, seen.told.name) == ("https", "obcluster")
    assert [server.name for server in seen.found.new] == ["s10"]
    assert seen.homes == {desk.address(desk.spares[0]): "/home/admin/oceanbase"}


async def test_the_file_of_another_cluster_is_refused(open_desk):
    """Here by its id; every written word of it must be so."""
    desk = await open_desk()
    desk.write(cluster_id=9)

    with pytest.raises(PreflightError, match=r"the cluster's id is 9 \(.*\), and it says 1"):
        await read_cluster_of(read_obd(desk.folder / "obd.yaml"), ROOT, EnvironmentSecrets())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--extra", "more.yaml"), "--extra: only with --from-obd"),
        (("--out-request", "r.yaml"), "--out-request: only with --from-obd"),
        (("--password-block", "ob-root"), "--password-block: only with --from-obd"),
        (("obd.yaml", "--from-obd", "obd.yaml"), "--from-obd: takes no SPEC beside it"),
        (("--from-obd", "obd.yaml", "--valid-minutes", "5"), "--valid-minutes: no plan is kept"),
        (
            ("--from-obd", "obd.yaml", "--cluster", "a", "--password-env", "B"),
            "--cluster, --password-env: each says where the password is",
        ),
        (("--from-obd", "obd.yaml", "--password-env", "a b"), "--password-env: "),
        (
            ("--from-obd", "obd.yaml", "--password-env", "OBD_TEST_NONE"),
            "environment variable OBD_TEST_NONE is not set",
        ),
        (
            ("--from-obd", "obd.yaml", "--password-env", "B", "--out-request", "obd.yaml"),
            "--out-request: obd.yaml is there already",
        ),
        (("--from-obd", "none.yaml"), "none.yaml: cannot be read"),
    ],
)
async def test_options_that_do_not_go_together_are_refused_by_name(open_desk, words, said):
    """Bad input, one line, nothing written."""
    desk = await open_desk()
    desk.write()

    ended = await desk.run("plan", *words)

    assert ended.exit_code == 2
    assert said in ended.stderr
    assert sorted(path.name for path in desk.folder.glob("*.yaml")) == ["obd.yaml"]


@pytest.mark.parametrize("words", [("plan",), ("apply", "--yes"), ("verify",)])
async def test_a_command_that_wants_a_request_recognises_the_file(open_desk, words):
    """One clear error names the option; nothing is asked."""
    desk = await open_desk()
    desk.write()

    ended = await desk.run(*words, "obd.yaml")

    assert ended.exit_code == 2
    assert ended.stderr == (
        "obscale: obd.yaml: is a file of OBD's, not a request. Next: "
        "obscale plan --from-obd obd.yaml\n"
    )
    assert desk.world.requests == []
