"""Tests of causes and remedies: no dead end is offered as safe."""

import itertools

import pytest

from obscale.agent.models import AgentInfo, AgentStatus, Dag, HostInfo, Operator, State, Zone
from obscale.recovery.case import Case, Phase, subject_of
from obscale.recovery.causes import CAUSES
from obscale.recovery.consequences import DEAD_ENDS, Remedy, dead_end_of
from obscale.recovery.diagnosis import diagnose

TARGET = "10.0.0.4:2886"
MAIN = (
    "Integrate server config",
    "Create local scale out dag",
    "Wait scale out ready",
    "Wait remote deploy finish",
    "Wait remote start finish",
    "Prev check for scale_out",
    "Add server for scale_out",
    "Add agent for scale_out",
    "Check cluster scale_out whether finished",
)
ZONES = ("Add new zone for scale_out", "Start new zone for scale_out")
LOCAL = (
    "Be scaling agent",
    "Start preparations",
    "Create observer workdir",
    "Start preparations",
    "Start observer",
    "Watch cluster scale_out dag",
    "Sync from observer",
)
MADE = (
    "mkdir data_dir: /home/admin/oceanbase/store",
    "mkdir redo_dir: /home/admin/oceanbase/store",
)
LINKED = (
    "mkdir data_dir: /data",
    "mkdir redo_dir: /data",
    "symlink /data: /home/admin/oceanbase/store",
    "mkdir /home/admin/oceanbase/etc",
)
"""What is logged where a link is made, and where a directory lies in its place."""
KNOWN = "create local scale out dag success, genericID:20167772164028863"


def nodes(titles, stage, state, operator, logs):
    """Nodes of a DAG that came to `stage` and stands there in `state`."""
    made = []
    for number, title in enumerate(titles, start=1):
        at = {"state": "PENDING", "operator": "RUN"}
        if number < stage or (number == stage and state == "SUCCEED"):
            at["state"] = "SUCCEED"
        elif number == stage:
            at["state"] = state
        if operator == "ROLLBACK" and number <= stage:
            at = {"state": "PENDING" if number < stage else state, "operator": "ROLLBACK"}
        lines = logs.get(number)
        agent = {"ip": "10.0.0.1", "port": 2886}
        sub_task = {**at, "execute_agent": agent, "task_logs": lines and list(lines)}
        made.append({"name": title, **at, "sub_tasks": [sub_task]})
    return made


def main(stage, last="", *, state="FAILED", operator="RUN", titles=MAIN, known=True):
    """A cluster's scale-out whose node `stage` said `last`."""
    logs = {2: [KNOWN] if known else None, stage: [last] if last else None}
    return Dag.model_validate(
        {
            "id": "17",
            "dag_id": 7,
            "name": "Cluster scale out",
            "stage": stage,
            "max_stage": len(titles),
            "maintenance_type": 2,
            "state": state,
            "operator": operator,
            "nodes": nodes(titles, stage, state, operator, logs),
        }
    )


def undone(*, checked=True, **more):
    """A cluster's scale-out that is rolled back; `Prev check` had been executed, or never."""
    dag = main(1, state="SUCCEED", operator="ROLLBACK", **more)
    rows = [
        node.model_copy(update={"state": State.SUCCEED, "operator": Operator.ROLLBACK})
        if number <= (6 if checked else 5)
        else node
        for number, node in enumerate(dag.nodes, start=1)
    ]
    return dag.model_copy(update={"nodes": tuple(rows)})


def skipping(*stages):
    """A cluster's scale-out that ended SUCCEED over nodes that had been undone."""
    dag = main(9, state="SUCCEED")
    rows = [
        node.model_copy(update={"operator": Operator.ROLLBACK}) if number in stages else node
        for number, node in enumerate(dag.nodes, start=1)
    ]
    return dag.model_copy(update={"nodes": tuple(rows)})


def local(stage, state="FAILED", operator="RUN", *, made=MADE, last="", titles=LOCAL, of="17"):
    """The target's own DAG."""
    logs = {3: list(made) or None} if stage >= 3 else {}
    if last:
        logs[stage] = [*(logs.get(stage) or ()), last]
    return Dag.model_validate(
        {
            "id": "20167772164028863",
            "dag_id": 3,
            "name": "Local scale out",
            "stage": stage,
            "max_stage": len(titles),
            "state": state,
            "operator": operator,
            "additional_data": {"main_dag_id": of},
            "nodes": nodes(titles, stage, state, operator, logs),
        }
    )


def zone(name, *ports):
    servers = [{"ip": "10.0.0.4", "svr_port": port} for port in ports]
    return Zone.model_validate({"name": name, "servers": servers})


def case(dag, own=None, *, identity="SCALING OUT", silent=False, zones=None, ob_state=1):
    info = {
        "ip": "10.0.0.4",
        "port": 2886,
        "identity": identity,
        "zone": "zone2",
        "homePath": "/home/admin/oceanbase",
    }
    status = {"agent": {}, "obState": ob_state, "underMaintenance": True}
    return Case(
        dag=dag,
        target=TARGET,
        info="connection refused" if silent else AgentInfo.model_validate(info),
        status=None if silent else AgentStatus.model_validate(status),
        local="connection refused" if silent else own,
        host=HostInfo(),
        unfinished=(dag,),
        zones=zones,
    )


WITHHELD = "the password of root@sys goes only to members the cluster lists"
NOT_EMPTY = (
    "ERROR: [Common.Unexpected]: Unexpected error: dag 2016 Local scale out failed: "
    "[Create observer workdir] ERROR: [Common.DirNotEmpty]: Directory '/data/1' is not empty"
)
DIED = (
    "ERROR: [Common.Unexpected]: Unexpected error: dag 2016 Local scale out failed: [Start "
    "observer] ERROR: [OB.Server.Process.NotExist]: observer health check failed: Observer "
    "process does not exist"
)
LOCAL_START = (
    "ERROR: [Common.Unexpected]: Unexpected error: dag 2016 Local scale out failed: [Start "
    "observer] ERROR: [Common.Unexpected]: Unexpected error: "
)
NOT_LOADED = LOCAL_START + "fork/exec bin/observer: exec format error: exit status 1"
EXITED = LOCAL_START + "cannot open config\n: exit status 1"
SLOW = "ERROR: [OB.Cluster.AsyncOperationTimeout]: wait remote start observer task finish timeout"
CALL = "ERROR: [Agent.RPC.RequestError]: send scale out rpc to target agent failed: Request [POST]"
REFUSED = CALL + f"/rpc/v1/ob/scale_out to {TARGET} error: "
UNREACHABLE = (
    "ERROR: [Agent.RPC.RequestFailed]: get remote dag failed: Request [GET]10.0.0.4:2886 to "
    "/rpc/v1/task/dag failed: dial tcp 10.0.0.4:2886: connect: connection refused"
)
ADD_FAILED = "ERROR: [MySQL.Error]: MySQL error: add server 10.0.0.4:2882 failed: "
NOT_MEMBER = "ERROR: [Common.Unexpected]: Unexpected error: agent has not been cluster agent"
ZONE_CHANGED = "ERROR: [Common.Unexpected]: Unexpected error: zone has been changed"
DUPLICATE = "ERROR: [MySQL.Error]: MySQL error: Error 1062 (23000): Duplicate entry 'x'"
WITH_UPGRADE = (*LOCAL[:6], "", LOCAL[6])
NEW_ZONE = (*MAIN[:6], *ZONES, *MAIN[6:])
PATIENT = "Unauthorized: Should use oceanbase_password to verify: agent password is not initialized"

R, B, H = Remedy.RETRY, Remedy.ROLLBACK, Remedy.HAND_OVER
TABLE = [
    ("slow-observer", case(main(5, SLOW), local(5, "RUNNING")), {R, H}, R),
    ("slow-observer", case(main(5, SLOW), local(6)), {R, H}, R),
    ("directory-not-empty", case(main(4, NOT_EMPTY), local(3, made=(), last=NOT_EMPTY)), {H}, H),
    ("directory-not-empty", case(main(4, NOT_EMPTY), local(3, last=NOT_EMPTY)), {H}, H),
    ("directories-failed", case(main(4, "ERROR: … permission denied"), local(3, made=())), {H}, H),
    ("directories-failed", case(main(4, "ERROR: … permission denied"), local(3)), {R, B, H}, H),
    (
        "directories-failed",
        case(
            main(4, "ERROR: … permission denied"), local(3, made=MADE[:1], last="ERROR: … denied")
        ),
        {H},
        H,
    ),
    ("observer-died", case(main(5, DIED), local(5)), {R, B, H}, H),
    ("observer-died", case(main(5, DIED), local(5, made=())), {R, H}, H),
    ("observer-died", case(main(5, DIED), local(5, made=LINKED)), {R, H}, H),
    ("observer-unhealthy", case(main(5, "ERROR: … health check timeout"), local(5)), {R, B, H}, H),
    ("observer-not-loaded", case(main(5, NOT_LOADED), local(5)), {R, B, H}, H),
    ("observer-died", case(main(5, EXITED), local(5)), {R, B, H}, H),
    ("observer-gone", case(main(6, "ERROR: x"), local(6), ob_state=0), {B, H}, H),
    ("observer-gone", case(main(8, DUPLICATE), local(6), ob_state=0), {B, H}, H),
    ("observer-gone", case(main(9, NOT_MEMBER), local(6), ob_state=0), {B, H}, H),
    (
        "late-joiner",
        case(main(9, NOT_MEMBER), local(7, "SUCCEED"), identity="CLUSTER AGENT", ob_state=0),
        {R, H},
        R,
    ),
    (
        "server-listed",
        case(
            main(7, ADD_FAILED + "Error 4012: Timeout"),
            local(6),
            zones=(zone("zone2", 2882),),
            ob_state=0,
        ),
        {H},
        H,
    ),
    ("log-lost", case(main(6, "PrevCheckTask execute"), local(6)), {R, B, H}, R),
    ("log-lost", case(main(5, "retry stage: 4 successfully"), local(5, "RUNNING")), {R, H}, R),
    ("observer-not-started", case(main(5, "ERROR: … something else"), local(5)), {R, B, H}, H),
    (
        "wrong-agent-password",
        case(
            main(2, REFUSED + "Unauthorized: Agent password is incorrect", known=False),
            identity="SINGLE",
        ),
        {B, H},
        B,
    ),
    (
        "target-locked",
        case(
            main(2, REFUSED + f"agent {TARGET} is under maintenance by DAG [2:x]", known=False),
            local(5, of="99"),
        ),
        {R, B, H},
        H,
    ),
    ("target-unreachable", case(main(3, UNREACHABLE), local(2)), {R, B, H}, R),
    ("target-unreachable", case(main(4, UNREACHABLE), silent=True), {H}, H),
    ("target-unreachable", case(main(5, UNREACHABLE), silent=True), {H}, H),
    ("target-unreachable", case(main(5, UNREACHABLE), local(5, "RUNNING")), {R, H}, R),
    ("target-not-ready", case(main(3, "ERROR: … Local scale out failed"), local(2)), {R, B, H}, R),
    ("add-server-refused", case(main(7, ADD_FAILED + "clock"), local(6)), {R, B, H}, H),
    (
        "add-server-timeout",
        case(main(7, ADD_FAILED + "Error 4012: Timeout"), local(6), zones=(zone("zone2"),)),
        {R, B, H},
        R,
    ),
    (
        "server-listed",
        case(main(7, ADD_FAILED + "Error 4012: Timeout"), local(6), zones=(zone("zone2", 2882),)),
        {H},
        H,
    ),
    ("zone-changed", case(main(6, ZONE_CHANGED), local(6), zones=(zone("zone1"),)), {B, H}, B),
    ("zone-changed", case(main(6, ZONE_CHANGED), local(6), zones=(zone("zone2"),)), {R, B, H}, B),
    (
        "zone-changed",
        case(main(6, ZONE_CHANGED, titles=NEW_ZONE), local(6), zones=(zone("zone2"),)),
        {B, H},
        B,
    ),
    ("leftover-agent-row", case(main(8, DUPLICATE), local(6)), {R, B, H}, R),
    (
        "database-refused",
        case(main(7, "ERROR: [MySQL.Error]: MySQL error: add zone", titles=NEW_ZONE), local(6)),
        {R, B, H},
        R,
    ),
    (
        "orphaned-local-dag",
        case(main(2, CALL + f"{TARGET} failed: EOF", known=False), local(2)),
        {B, H},
        B,
    ),
    (
        "orphaned-local-dag",
        case(main(2, REFUSED + PATIENT, known=False), None),
        {B, H},
        B,
    ),
    ("orphaned-local-dag", case(undone(), local(2)), {B, H}, B),
    (
        "retried-half-undone",
        case(
            main(5, "ERROR: [OB.Cluster.ScaleOutRetryCoordinateDagFailed]: sync coordinate dag"),
            local(1, "SUCCEED", "ROLLBACK"),
            identity="SINGLE",
        ),
        {B, H},
        B,
    ),
    *(
        (
            "target-not-single",
            case(main(2, REFUSED + PATIENT, known=False), identity=one),
            {B, H},
            H,
        )
        for one in ("SCALING IN", "CLUSTER AGENT")
    ),
    ("orphan-still-starting", case(undone(checked=False), local(5, "RUNNING")), {H}, H),
    ("target-stuck", case(undone(checked=False), local(6)), {H}, H),
    ("target-stuck", case(undone(checked=False), local(6, "RUNNING", "ROLLBACK")), {H}, H),
    ("orphan-out-of-reach", case(undone(checked=False, known=False), WITHHELD), {H}, H),
    ("orphaned-local-dag", case(main(2, CALL + ": EOF", known=False), WITHHELD), {B, H}, B),
    ("undone-member", case(undone(), local(7, "SUCCEED"), identity="CLUSTER AGENT"), {H}, H),
    ("rolled-back", case(undone(), local(1, "SUCCEED", "ROLLBACK"), identity="SINGLE"), {H}, H),
    ("rolled-back", case(undone(), silent=True), {H}, H),
    (
        "half-rolled-back",
        case(main(7, "zone is not empty", operator="ROLLBACK", titles=NEW_ZONE), local(6)),
        {B, H},
        B,
    ),
    (
        "late-joiner",
        case(main(9, NOT_MEMBER), local(7, "SUCCEED"), identity="CLUSTER AGENT"),
        {R, H},
        R,
    ),
    (
        "upgrade-restart",
        case(main(9, NOT_MEMBER), local(7, "RUNNING", titles=WITH_UPGRADE)),
        {R, H},
        R,
    ),
    ("not-yet-member", case(main(9, NOT_MEMBER), local(6)), {R, B, H}, R),
    ("executor-lost", case(main(6, "sub task timeout"), local(6)), {R, B, H}, R),
    (
        "executor-lost",
        case(main(3, "ERROR: [Common.Unexpected]: Unexpected error: task 5 timeout"), local(2)),
        {R, B, H},
        R,
    ),
    (
        "invalid-ports",
        case(main(1, "ERROR: [Common.InvalidPort]: fill port failed: x"), identity="SINGLE"),
        {B, H},
        B,
    ),
    ("unknown", case(main(6, "ERROR: something new"), local(6)), {R, B, H}, H),
    ("under-way", case(main(5, state="RUNNING"), local(5, "RUNNING")), {H}, H),
    ("carried-out", case(main(9, state="SUCCEED"), local(7, "SUCCEED")), {H}, H),
    ("carried-out", case(skipping(9), local(7, "SUCCEED")), {H}, H),
    ("hollow-success", case(skipping(7, 8, 9), local(7, "SUCCEED")), {H}, H),
]
IDS = [f"{number}-{row[0]}" for number, row in enumerate(TABLE)]


@pytest.mark.parametrize(("cause", "seen", "safe", "recommended"), TABLE, ids=IDS)
def test_each_cause_is_named_with_its_safe_and_its_recommended_choice(
    cause, seen, safe, recommended
):
    """What stands there decides the cause, what is safe, and what is recommended."""
    found = diagnose(seen)

    assert found.cause == cause
    assert {choice.operator for choice in found.choices if choice.safe} == safe
    assert found.recommended is recommended


@pytest.mark.parametrize("seen", [row[1] for row in TABLE], ids=IDS)
def test_what_is_recommended_is_safe_and_no_dead_end_ever_is(seen):
    """Recommended is always safe; a choice with a dead end never; handing over always is there."""
    found = diagnose(seen)

    assert found.choice(found.recommended).safe
    assert all(not choice.safe for choice in found.choices if choice.dead_end)
    assert found.choice(Remedy.HAND_OVER).safe
    assert len(found.evidence) >= 4
    assert seen.failure.last_log in found.evidence[1]


def test_the_table_names_every_cause():
    """A cause nobody can reach, or none tests, is not in the table of causes."""
    assert {row[0] for row in TABLE} == {cause.id for cause in CAUSES}


WAYS_TO_A_DEAD_END = {
    "retry-half-rolled-back": case(main(5, "x", operator="ROLLBACK"), local(5)),
    "retry-orphan": case(main(2, CALL + " failed: EOF", known=False), local(2)),
    "retry-undone-target": case(main(5, DIED), local(1, "SUCCEED", "ROLLBACK")),
    "retry-silent-target": case(main(4, UNREACHABLE), silent=True),
    "retry-dead-observer": case(main(7, ADD_FAILED), local(6), ob_state=0),
    "retry-listed-server": case(main(7, ADD_FAILED), local(6), zones=(zone("z", 2882),)),
    "rollback-listed-server": case(main(7, ADD_FAILED), local(6), zones=(zone("z", 2882),)),
    "rollback-late-joiner": case(main(9, NOT_MEMBER), local(7, "SUCCEED")),
    "rollback-joining": case(main(9, NOT_MEMBER), local(7, "RUNNING")),
    "rollback-finish-unread": case(main(9, NOT_MEMBER), silent=True),
    "rollback-past-start": case(main(5, SLOW), local(6)),
    "rollback-stuck": case(undone(checked=False), local(6, "RUNNING", "ROLLBACK")),
    "rollback-start-unread": case(main(5, UNREACHABLE), silent=True),
}


@pytest.mark.parametrize("end", DEAD_ENDS, ids=lambda end: end.id)
def test_each_dead_end_is_named_where_it_applies_and_is_never_safe(end):
    """The way into it is there, it is named with its reason, and the choice is not safe."""
    seen = WAYS_TO_A_DEAD_END[end.id]

    assert dead_end_of(seen, end.remedy) is end
    choice = diagnose(seen).choice(end.remedy)
    assert choice.dead_end == end.text
    assert not choice.safe
    assert not choice.needs_acknowledgement, "a dead end is opened by no acknowledgement"


def test_no_state_of_both_dags_makes_a_stage_5_rollback_past_the_start_safe():
    """Whatever the log says: once the observer starts, ROLLBACK at stage 5 is never safe."""
    logs = ("", SLOW, DIED, UNREACHABLE, "anything")
    owns = (local(5, "RUNNING"), local(5, "READY"), local(6), local(6, "RUNNING"), local(7))

    for last, own in itertools.product(logs, owns):
        found = diagnose(case(main(5, last), own))

        assert not found.choice(Remedy.ROLLBACK).safe, (last, own.stage)
        assert found.recommended is not Remedy.ROLLBACK


@pytest.mark.parametrize("remedy", [Remedy.RETRY, Remedy.ROLLBACK])
def test_after_dir_not_empty_both_operators_name_what_they_would_delete(remedy):
    """Retry and rollback both run `rm -rf`: unsafe, no dead end, and the paths are named."""
    choice = diagnose(case(main(4, NOT_EMPTY), local(3, made=(), last=NOT_EMPTY))).choice(remedy)

    assert choice.needs_acknowledgement
    assert "rm -rf of /home/admin/oceanbase/store" in choice.destroys
    assert TARGET in choice.destroys


def test_a_rollback_names_all_it_takes_back():
    """After the last stage: row, server, observer and files, each once."""
    found = diagnose(case(main(9, NOT_MEMBER), local(6)))

    destroys = found.choice(Remedy.ROLLBACK).destroys
    for part in ("ocs.all_agent", "ALTER SYSTEM DELETE SERVER", "observer process", "rm -rf"):
        assert destroys.count(part) == 1


def test_the_home_is_named_as_the_target_names_it():
    """A person reads the path, not a placeholder."""
    does = diagnose(case(main(5, DIED), local(5))).choice(Remedy.HAND_OVER).does

    assert "/home/admin/oceanbase/log/observer.log" in does


def test_a_failed_gate_of_the_target_is_no_failure():
    """`Start preparations` FAILED is part of every run: the target waits."""
    assert case(main(4, UNREACHABLE), local(2)).phase is Phase.WAITING
    assert case(main(4, UNREACHABLE), local(4)).phase is Phase.WAITING


def test_another_scale_outs_local_dag_says_nothing_of_this_one():
    """Only the local DAG that names this main DAG counts."""
    assert case(main(5, SLOW), local(6, of="99")).phase is Phase.NONE


@pytest.mark.parametrize(
    "dag",
    [
        main(5, SLOW),
        main(2, REFUSED + "Unauthorized", known=False),
        main(2, CALL + f"{TARGET} to /rpc/v1/ob/scale_out failed: EOF", known=False),
    ],
    ids=["generic id", "refused call", "lost call"],
)
def test_the_target_is_read_from_the_second_node(dag):
    """From what it logged, or from the call that failed."""
    assert subject_of(dag) == TARGET


def test_a_dag_that_has_not_called_anybody_names_no_target():
    """Stage 1: nobody tells."""
    assert subject_of(main(1, known=False)) == ""
