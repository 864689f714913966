"""Tests that a simulated agent's answers agree with each other and its version."""

import re

import pytest

from obscale.sandbox import Fault
from obscale.sandbox.capacity import df_size, human_size, read_capacity
from obscale.sandbox.hosts import sha1_hex

GIB = 1 << 30
ENTRY = "127.0.1.1:2886"
TARGET = "127.0.1.4:2886"
GO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
PATHS = {
    "/agent/host-info": "4.3.0.0",
    "/agents/status": "4.2.3.0",
    "/observer/info": "4.4.1.0",
    "/ob/info": "4.2.3.0",
    "/ob/agents": "4.2.3.0",
    "/obcluster/info": "4.3.0.0",
    "/obcluster/topology/info": "4.4.1.0",
    "/obcluster/parameters": "4.3.0.0",
    "/obcluster/statistics": "4.3.0.0",
    "/obcluster/unit-config-limit": "4.3.0.0",
    "/units/config": "4.2.4.0",
    "/unit/config/u_app": "4.2.4.0",
    "/resource-pools": "4.2.4.0",
    "/tenants/overview": "4.2.4.0",
    "/tenant/app": "4.2.4.0",
    "/task/dag/unfinish": "4.2.3.0",
    "/task/dag/ob/unfinish": "4.2.3.0",
    "/task/dag/agent/unfinish": "4.2.3.0",
    "/task/dags/ob": "4.3.0.0",
    "/task/dags/agent": "4.3.0.0",
}
RELEASES = ["4.2.3.0", "4.2.4.0", "4.2.6.0", "4.3.0.0", "4.3.1.0", "4.4.0.0", "4.4.1.0", "4.5.0.0"]


def code_of(answer):
    """Status and errCode of a refusal."""
    return answer.status_code, answer.json()["error"].get("errCode")


@pytest.mark.parametrize("release", RELEASES)
async def test_a_release_answers_what_it_had_and_404_for_the_rest(build_world, asker, release):
    """The version matrix, endpoint by endpoint."""
    ask = asker(build_world(obshell_version=f"{release}-1"))

    answers = {path: (await ask("GET", f"/api/v1{path}")).status_code for path in PATHS}

    assert answers == {path: 200 if since <= release else 404 for path, since in PATHS.items()}


@pytest.mark.parametrize(
    ("release", "present", "absent"),
    [
        ("4.2.3.0", {"identity"}, {"obVersion", "supportedAuth", "security", "architecture"}),
        ("4.2.4.0", {"obVersion"}, {"supportedAuth", "security", "architecture"}),
        ("4.2.5.0", {"obVersion", "supportedAuth"}, {"security", "architecture"}),
        ("4.2.6.0", {"security", "isObproxyAgent"}, {"architecture"}),
        ("4.3.0.0", {"security", "architecture"}, set()),
    ],
)
async def test_info_grows_with_the_release(build_world, asker, release, present, absent):
    """Fields that did not exist are absent, not empty."""
    ask = asker(build_world(obshell_version=f"{release}-1"))

    info = (await ask.raw("GET", "/api/v1/info")).json()["data"]

    assert present <= set(info)
    assert not absent & set(info)


async def test_the_envelope_is_complete(ask):
    """Trace id of the client or 16 hex digits, Go's time, `contents` around lists."""
    own = await ask("GET", "/api/v1/task/dags/ob", headers={"X-OBSHELL-Trace-ID": "mine"})
    made = await ask("GET", "/api/v1/ob/info")
    status = await ask.raw("GET", "/api/v1/status", headers={"X-OBSHELL-Trace-ID": "mine"})

    envelope = own.json()
    assert list(envelope) == ["successful", "timestamp", "duration", "status", "traceId", "data"]
    assert (envelope["successful"], envelope["status"]) == (True, 200)
    assert (envelope["traceId"], envelope["data"]) == ("mine", {"contents": []})
    assert GO_TIME.fullmatch(envelope["timestamp"])
    assert re.fullmatch("[0-9a-f]{16}", made.json()["traceId"])
    assert status.json()["traceId"] == ""
    assert own.headers["content-type"] == "application/json"


async def test_unknown_paths_are_answered_as_obshell_does(ask):
    """404 envelope below the base, a page elsewhere, plain text behind a proxy prefix."""
    unknown = await ask.raw("GET", "/api/v1/nothing")
    method = await ask.raw("DELETE", "/api/v1/info")
    page = await ask.raw("GET", "/anything")
    proxied = await ask.raw("GET", "/prefix/api/v1/info")
    slash = await ask.raw("GET", "/api/v1/info/")

    assert code_of(unknown) == code_of(method) == (404, "Common.NotFound")
    assert unknown.json()["error"]["message"] == "Element not found: 404 not found"
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert (proxied.status_code, proxied.text) == (404, "404 page not found")
    assert (slash.status_code, slash.headers["location"]) == (301, "/api/v1/info")


async def test_a_new_server_is_the_same_in_every_answer(world, ask):
    """Topology, parameters, stats, directories and disk tell one story."""
    before = await ask.data("/api/v1/obcluster/info")
    disk_before = (await ask.data("/api/v1/agent/host-info", agent=TARGET))["disks"][0]
    configs = {
        "memory_limit": "20G",
        "system_memory": "5G",
        "log_disk_size": "48G",
        "datafile_size": "100G",
        "mysql_port": "3881",
        "rpc_port": "3882",
        "data_dir": "/data/1",
        "nonsense_key": "1",
    }
    await ask.scale_out(configs=configs)
    world.advance(27)
    early = server_in(await ask.data("/api/v1/obcluster/topology/info"))
    world.advance(10)

    after = await ask.data("/api/v1/obcluster/info")
    server = server_in(after)
    rows = (await ask.data("/api/v1/obcluster/parameters"))["contents"]
    values = {
        row["name"]: entry["value"]
        for row in rows
        for entry in row["ob_parameters"]
        if (entry["svr_ip"], entry["svr_port"]) == ("127.0.1.4", 3882)
    }
    disk = (await ask.data("/api/v1/agent/host-info", agent=TARGET))["disks"][0]
    local = await ask.data("/api/v1/observer/info", agent=TARGET)

    assert (early["status"], early["inner_status"]) == ("UNAVAILABLE", "ACTIVE")
    assert early["start_time"] == "0001-01-01T00:00:00Z"
    assert early["stats"]["memory_in_bytes_total"] == 0
    assert (server["status"], server["ob_status"], server["obshell_port"]) == ("RUNNING", 3, 2886)
    assert server["start_time"].startswith("2026-05-08T10:00:3")
    assert (server["sql_port"], server["data_dir"]) == (3881, "/data/1")
    assert (local["sql_port"], local["redo_dir"]) == (3881, server["redo_dir"])
    assert server["stats"]["memory_in_bytes_total"] == 15 * GIB
    assert server["stats"]["disk_in_bytes_total"] == 100 * GIB
    assert server["stats"]["cpu_core_total"] == 16
    for name in ("cpu_core_total", "memory_in_bytes_total", "disk_in_bytes_total"):
        assert after["stats"][name] - before["stats"][name] == server["stats"][name]
    assert {name: values[name] for name in configs if name != "nonsense_key"} == {
        name: value for name, value in configs.items() if name != "nonsense_key"
    }
    assert "nonsense_key" not in values
    assert (values["cluster"], values["zone"], values["local_ip"]) == (
        "obcluster",
        "zone2",
        "127.0.1.4",
    )
    assert values["stack_size"] == "512K"
    assert (disk_before["used"], disk["used"]) == ("13G", "161G")
    assert (disk["total"], disk["mountHash"]) == ("458G", sha1_hex("/"))


def server_in(zones):
    """The joined server as a topology lists it."""
    return next(
        server
        for zone in zones["zones"]
        for server in zone["servers"] or []
        if server["ip"] == "127.0.1.4"
    )


async def test_values_set_for_the_cluster_reach_a_new_server_unless_sent(build_world, asker):
    """`ALTER SYSTEM SET` without a server clause matches servers that join later."""
    parameters = {"max_syslog_file_count": "100", "syslog_level": "INFO"}
    ask = asker(build_world(cluster={"parameters": parameters}))
    await ask.scale_out(
        configs={"memory_limit": "16G", "datafile_size": "20G", "log_disk_size": "20G"}
        | {"syslog_level": "ERROR"}
    )
    ask.world.advance(40)

    rows = (await ask.data("/api/v1/obcluster/parameters"))["contents"]

    by_name = {row["name"]: row for row in rows}
    assert by_name["max_syslog_file_count"]["values"] == ["100"]
    assert by_name["max_syslog_file_count"]["is_single_value"] is True
    assert by_name["syslog_level"]["values"] == ["ERROR", "INFO"]
    assert by_name["system_memory"]["values"] == ["5G", "8G"]


async def test_the_parameter_list_is_realistic(ask):
    """Enough names, the types a planner needs, tenant scope with one entry per tenant."""
    rows = (await ask.data("/api/v1/obcluster/parameters"))["contents"]

    by_name = {row["name"]: row for row in rows}
    assert len(rows) >= 60
    assert not [name for name in by_name if name.startswith("_")]
    capacities = {name for name, row in by_name.items() if row["data_type"] == "CAPACITY"}
    assert {
        "memory_limit",
        "system_memory",
        "datafile_size",
        "datafile_maxsize",
        "datafile_next",
        "log_disk_size",
        "stack_size",
    } <= capacities
    assert by_name["memory_limit"] | {"info": ""} == {
        "name": "memory_limit",
        "scope": "CLUSTER",
        "edit_level": "DYNAMIC_EFFECTIVE",
        "default_value": "0M",
        "section": "OBSERVER",
        "data_type": "CAPACITY",
        "info": "",
        "ob_parameters": [
            {"svr_ip": f"127.0.1.{n}", "svr_port": 2882, "zone": f"zone{n}", "value": "16G"}
            for n in (1, 2, 3)
        ],
        "values": ["16G"],
        "is_single_value": True,
    }
    assert len(by_name["enable_rebalance"]["ob_parameters"]) == 6
    assert by_name["enable_rebalance"]["scope"] == "TENANT"


async def test_tenants_pools_and_units_fit_together(ask):
    """Two requests are enough to know every tenant's demand."""
    units = (await ask.data("/api/v1/units/config"))["contents"]
    pools = (await ask.data("/api/v1/resource-pools"))["contents"]
    overview = (await ask.data("/api/v1/tenants/overview?mode=MYSQL"))["contents"]
    tenant = await ask.data("/api/v1/tenant/app")
    limit = await ask.data("/api/v1/obcluster/unit-config-limit")

    pool = next(pool for pool in pools if pool["name"] == "p_app")
    unit = next(unit for unit in units if unit["unit_config_id"] == pool["unit_config_id"])
    assert (unit["memory_size"], unit["log_disk_size"], unit["min_cpu"]) == (4 * GIB, 12 * GIB, 2)
    assert (pool["zone_list"], pool["tenant_id"]) == ("zone1;zone2;zone3", 1002)
    assert [row["tenant_name"] for row in overview] == ["sys", "app"]
    assert "pools" not in overview[0]
    assert tenant["pools"][0]["unit_config"] == unit
    assert tenant["pools"][0]["observer_list"] == "127.0.1.1:2882,127.0.1.2:2882,127.0.1.3:2882"
    assert limit == {"min_memory": 2.0, "min_cpu": 1}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/tenant/nobody", (400, "OB.Tenant.NotExist")),
        ("/unit/config/nothing", (400, "OB.Resource.UnitConfig.NotExist")),
        ("/tenants/overview?mode=DB2", (400, "OB.Tenant.Mode.NotSupported")),
        ("/obcluster/license", (500, "Common.Unexpected")),
        ("/task/dag/maintain/ob", (404, "Task.NotFound")),
        ("/task/dag/199", (404, "Task.NotFound")),
        ("/task/dag/20167772164028863", (500, "Common.Unexpected")),
        ("/task/dags/agent?show_details=maybe", (500, "Common.Unexpected")),
    ],
)
async def test_a_question_without_an_answer_gets_obshells_refusal(ask, path, code):
    """Unknown names, an edition without licence, and a past without DAGs."""
    answer = await ask("GET", f"/api/v1{path}")

    assert code_of(answer) == code


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/task/dag/maintain/agent", (404, "Task.NotFound")),
        ("/task/dag/maintain/agents", (500, "Common.Unexpected")),
        ("/task/dag/agent/main_dags", (500, "Common.Unexpected")),
    ],
)
async def test_an_agent_without_a_past_says_so(ask, path, code):
    """Of no cluster, it never had a DAG; looking for the last one makes it panic."""
    answer = await ask("GET", f"/api/v1{path}", agent=TARGET)

    assert code_of(answer) == code


async def test_a_member_remembers_how_its_cluster_was_founded(ask):
    """The first has initialized it, the others have joined; all succeeded, no lock is held."""
    first = (await ask.data("/api/v1/task/dags/agent"))["contents"]
    second = await ask.data("/api/v1/task/dag/maintain/agent", agent="127.0.1.2:2886")
    status = (await ask.raw("GET", "/api/v1/status")).json()["data"]

    assert [(dag["dag_id"], dag["name"], dag["max_stage"]) for dag in first] == [
        (1, "Join self", 1),
        (2, "Update observer config", 1),
        (3, "Update cluster config", 1),
        (4, "Initialize cluster", 11),
    ]
    assert (second["dag_id"], second["name"]) == (5, "Synchronize agent from cluster")
    assert {dag["state"] for dag in [*first, second]} == {"SUCCEED"}
    assert status["underMaintenance"] is False


async def test_a_spare_speaks_only_for_itself(ask):
    """Its own row and an empty cluster; what needs a cluster is refused or forgotten."""
    info = await ask.data("/api/v1/ob/info", agent=TARGET)
    cluster = await ask("GET", "/api/v1/obcluster/info", agent=TARGET)
    dags = await ask("GET", "/api/v1/task/dags/ob", agent=TARGET)
    cluster_dag = await ask("GET", "/api/v1/task/dag/11", agent=TARGET)

    assert [row["ip"] for row in info["agent_info"]] == ["127.0.1.4"]
    assert info["obcluster_info"] == {
        "id": 0,
        "name": "",
        "version": "",
        "topology": None,
        "is_shared_storage": False,
    }
    assert code_of(cluster) == (400, "Agent.Identify.NotSupportOperation")
    assert code_of(dags) == (500, "Common.Unexpected")
    assert code_of(cluster_dag) == (500, "Agent.OceanBase.NotHold")


async def test_a_lost_database_degrades_answers(world, ask):
    """Null topology, state 1, and a DAG is still read through another agent."""
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    world.play(Fault.database_down(ENTRY))

    info = await ask.data("/api/v1/ob/info")
    status = (await ask.raw("GET", "/api/v1/status")).json()["data"]
    agents = await ask.data("/api/v1/ob/agents")
    dag = await ask.data(f"/api/v1/task/dag/{dag_id}")
    for other in ("127.0.1.2:2886", "127.0.1.3:2886"):
        world.play(Fault.database_down(other))
    gone = await ask("GET", f"/api/v1/task/dag/{dag_id}")
    degraded = await ask.data("/api/v1/obcluster/info")

    assert info["obcluster_info"]["topology"] is None
    assert (info["obcluster_info"]["id"], info["obcluster_info"]["name"]) == (1, "obcluster")
    assert status["obState"] == 1
    assert [row["ip"] for row in agents["contents"]] == ["127.0.1.1", "127.0.1.2", "127.0.1.3"]
    assert dag["id"] == dag_id
    assert code_of(gone) == (500, "Agent.OceanBase.Useless")
    assert gone.json()["error"]["message"].startswith("Task not found:")
    assert degraded["tenants"] is None
    assert {zone["status"] for zone in degraded["zones"]} == {"UNKNOWN"}


async def test_agents_status_leaves_out_whoever_does_not_answer(world, ask):
    """Silently; keys are addresses."""
    world.play(Fault.agent_down("127.0.1.2:2886"))

    status = await ask.data("/api/v1/agents/status")

    assert set(status) == {"127.0.1.1:2886", "127.0.1.3:2886"}
    assert status[ENTRY]["sqlPort"] == 2881


async def test_details_can_be_left_out(world, ask):
    """`show_details=false` nulls nodes and additional data; on nodes it panics."""
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    world.advance(3)

    brief = await ask.data(f"/api/v1/task/dag/{dag_id}?show_details=false")
    full = await ask.data(f"/api/v1/task/dag/{dag_id}?show_details=True")
    node = await ask.data("/api/v1/task/node/11")
    panic = await ask("GET", "/api/v1/task/node/11?show_details=false")
    task = await ask.data("/api/v1/task/sub_task/12")
    logs = await ask.data("/api/v1/task/sub_task/12/logs")

    assert (brief["nodes"], brief["additional_data"]) == (None, None)
    assert full["nodes"][0] == node
    assert full["nodes"][1]["sub_tasks"][0] == task
    assert [row["log_content"] for row in logs["contents"]] == task["task_logs"]
    assert code_of(panic) == (500, "Common.Unexpected")
    assert panic.json()["timestamp"].startswith("2026-05-08T10:00:00")
    assert panic.json()["traceId"] == ""


async def test_every_request_is_recorded_without_secrets(world, ask, caplog):
    """One record and one log line each, with the raw target."""
    caplog.set_level("INFO", logger="obscale.sandbox.requests")

    await ask("GET", "/api/v1/task/dags/ob?show_details=false", password="canary-root")

    last = world.requests[-1]
    assert (last.agent, last.method, last.status) == (ENTRY, "GET", 401)
    assert last.target == "/api/v1/task/dags/ob?show_details=false"
    assert caplog.messages[-1] == f"{ENTRY} GET /api/v1/task/dags/ob?show_details=false 401"
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0K"),
        (1025, "1.1K"),
        (10 * 1024, "10K"),
        (1023 * 1024 + 1, "1.0M"),
        (9 * GIB + 1, "9.1G"),
        (458 * GIB - GIB // 2, "458G"),
        (18 * (GIB << 10) // 10, "1.8T"),
    ],
)
def test_df_rounds_up(size, text):
    """Two or three digits, powers of 1024, never down."""
    assert df_size(size) == text


def test_sizes_are_read_as_the_observer_reads_them():
    """Octal and hexadecimal digits, any letter case; no decimals, no GiB, no bare numbers."""
    accepted = {"16G": 16 * GIB, "1kb": 1024, "010G": 8 * GIB, "0x10M": 16 << 20, "0M": 0}

    assert {text: read_capacity(text) for text in accepted} == accepted
    for text in ("16", "16GiB", "1.5G", "16 G", "-1G", "G", "09G"):
        with pytest.raises(ValueError, match=f"'{text}' is not a capacity"):
            read_capacity(text)
    assert [human_size(size) for size in (512, 60 * GIB)] == ["512 bytes", "60.00 GB"]
