"""Tests of the joining host's disk, and of observers that refuse to start."""

import pytest

from obscale.sandbox import Fault

TARGET = "127.0.1.4:2886"
SIZES = {
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}


class TestFiles:
    """What a joining agent's disk goes through."""

    async def test_a_full_store_stops_stage_four_and_a_retry_deletes_it(self, build_world, asker):
        """RETRY runs the rollback first: whose data it was no longer matters."""
        store = "/home/admin/oceanbase/store"
        ask = asker(build_world(spare={"dirs": {store: ["precious"]}}))
        dag_id = (await ask.scale_out()).json()["data"]["id"]
        ask.world.advance(30)
        failed = await ask.data(f"/api/v1/task/dag/{dag_id}")

        await ask.operate(dag_id, "RETRY")
        ask.world.advance(60)

        assert failed["stage"] == 4
        assert failed["nodes"][3]["sub_tasks"][0]["task_logs"][-1].endswith(
            "failed: [Create observer workdir] ERROR: [Common.DirNotEmpty]: "
            f"Directory '{store}' is not empty"
        )
        assert store in ask.world.agent(TARGET).files.deleted
        assert (await ask.data(f"/api/v1/task/dag/{dag_id}"))["state"] == "SUCCEED"

    async def test_data_elsewhere_survives_the_rollback(self, build_world, asker):
        """`<home>/store` does not link to it yet, so nothing of it is touched."""
        ask = asker(build_world(spare={"dirs": {"/data/1": ["precious"]}}))
        dag_id = (await ask.scale_out(configs=SIZES | {"data_dir": "/data/1"})).json()["data"]["id"]
        ask.world.advance(30)

        await ask.operate(dag_id, "ROLLBACK")
        ask.world.advance(60)

        assert ask.world.agent(TARGET).files.dirs["/data/1"] == ["precious"]
        assert ask.world.agent(TARGET).identity == "SINGLE"

    async def test_linked_directories_go_with_the_store(self, world, ask):
        """A rollback after the start clears what store, clog and slog resolve to."""
        world.play(Fault.fail_stage(7))
        configs = SIZES | {"data_dir": "/data/1", "redo_dir": "/redo"}
        dag_id = (await ask.scale_out(configs=configs)).json()["data"]["id"]
        world.advance(60)
        used = world.agent(TARGET).host.disks[0].used

        await ask.operate(dag_id, "ROLLBACK")
        world.advance(60)

        files, disk = world.agent(TARGET).files, world.agent(TARGET).host.disks[0]
        assert {"/data/1", "/redo/clog"} <= set(files.deleted)
        assert not [path for path in files.dirs if path.startswith(("/data", "/redo/clog"))]
        assert used - disk.used == 48 << 30


@pytest.mark.parametrize(
    ("change", "survives"),
    [
        ({}, True),
        ({"memory_limit": "80G"}, True),
        ({"memory_limit": "16GiB"}, False),
        ({"memory_limit": "16"}, False),
        ({"memory_limit": "3G", "system_memory": "1G"}, False),
        ({"memory_limit": "6G", "system_memory": "2G"}, False),
        (
            {
                "memory_limit": "6G",
                "system_memory": "2G",
                "__min_full_resource_pool_memory": "2147483648",
            },
            True,
        ),
        ({"datafile_size": "500G"}, False),
        ({"datafile_size": "430G", "log_disk_size": "30G"}, False),
        ({"nonsense_key": "1"}, True),
    ],
)
async def test_an_observer_refuses_at_start_what_a_real_one_would(world, ask, change, survives):
    """Bad syntax, too little memory, too large files: the process is gone at the first check."""
    dag_id = (await ask.scale_out(configs=SIZES | change)).json()["data"]["id"]
    world.advance(60)

    dag = await ask.data(f"/api/v1/task/dag/{dag_id}")

    if survives:
        assert dag["state"] == "SUCCEED"
    else:
        assert (dag["state"], dag["stage"]) == ("FAILED", 5)
        assert dag["nodes"][4]["sub_tasks"][0]["task_logs"][-1].endswith(
            "[Start observer] ERROR: [OB.Server.Process.NotExist]: "
            "observer health check failed: Observer process does not exist"
        )


async def test_what_is_not_sent_gets_the_observers_own_defaults(world, ask):
    """80 % of the memory, 60 and 30 % of a shared disk, system memory by ladder, cut at a comma."""
    await ask.scale_out(configs={"leak_mod_to_check": "A,B"})
    world.advance(60)

    values = world.agent(TARGET).observer.values

    assert values["memory_limit"] == f"{65_808_488 * 1024 * 80 // 100}B"
    assert values["system_memory"] == "7G"
    assert (values["datafile_size"], values["log_disk_size"]) == ("274G", "137G")
    assert values["cpu_count"] == "16"
    assert values["leak_mod_to_check"] == "A"
