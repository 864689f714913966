"""The rows of the matrix: each kind of fault, with the ending it leads to.

Stages are those of the nine-stage scale-out; a new zone has two more between 6 and 7, and what
stands here for 7 to 9 is then true of its stages 7 to 9.
"""

from obscale.sandbox import Fault, WorldConfig, default_config
from tests.chaos.matrix import STAGES, Place, Row
from tests.chaos.matrix_afterwards import AFTERWARDS
from tests.chaos.matrix_endings import HEALS, ONE_STAGE, STAGES_ONLY, UNDONE, at_stages
from tests.chaos.matrix_operators import DEAD_ENDS, OPERATORS

ANSWER_SPEED = 15.0
"""Slow enough for the run to ask something in each stage."""
FAILS_BESIDE = HEALS | {"preflight": "healed|blocked|foreign-dag", "submit": "healed|foreign-dag"}
"""It holds the lock for two seconds, and nothing afterwards."""
ONE_REQUEST = "it is about the one request that submits"


def older_spare() -> WorldConfig:
    """A target whose obshell is upgraded, and restarted, when it joins."""
    config = default_config()
    spare = config.spares[0].model_copy(update={"obshell_version": "4.4.2.0-12025101010"})
    return config.model_copy(update={"spares": (spare, *config.spares[1:])})


def two_clusters() -> WorldConfig:
    """A second cluster beside the first."""
    config = default_config()
    west = config.clusters[0].model_copy(update={"name": "west", "id": 2, "tenants": ()})
    return config.model_copy(update={"clusters": (*config.clusters, west)})


def away(place: Place, seconds: float, *addresses: str) -> list[Fault]:
    """Agents that end and come back."""
    return [
        fault
        for address in addresses
        for fault in (
            Fault.agent_down(address, **place.when),
            Fault.agent_up(address, after_seconds=seconds, **place.when),
        )
    ]


AGENTS = (
    Row("entry agent restarts", lambda p: [Fault.agent_restart(p.entry, **p.when)], HEALS),
    Row("entry agent away 20 s", lambda p: away(p, 20, p.entry), HEALS),
    Row("entry agent lost", lambda p: [Fault.agent_down(p.entry, **p.when)], HEALS),
    Row(
        "entry agent silent",
        lambda p: [Fault.black_hole(p.entry, **p.when)],
        HEALS,
        time_limits={"silence_seconds": 120, "verify_seconds": 240, "undo_seconds": 120},
    ),
    Row("all members away 60 s", lambda p: away(p, 60, *p.members), HEALS),
    Row(
        "all members lost",
        lambda p: [Fault.agent_down(member, **p.when) for member in p.members],
        {
            "*": "dag-stalled",
            "preflight": "unreachable",
            "submit": "outcome-unknown",
            # The last stage may be over before its first look.
            "verify": "dag-stalled|verify",
            "retry": "dag-stalled|dag-failed",
            "undo": "dag-stalled:add-server-timeout",
        },
    ),
    Row(
        "target restarts",
        lambda p: [Fault.agent_restart(p.target, **p.when)],
        # Refused where it is asked for its state in just that half second.
        HEALS | {"submit": "healed|refused"},
    ),
    Row(
        "target away 20 s",
        lambda p: away(p, 20, p.target),
        # Healed where it is back when it is called, or when the failure is diagnosed: RETRY is not
        # ordered while the target is silent. Preflight, too, may look before it is back.
        {"*": "healed|dag-failed:target-unreachable", "preflight": "healed|blocked"}
        | {"submit": "refused", "verify": "healed", "retry": "healed|dag-failed:add-server-timeout"}
        | {"undo": UNDONE},
    ),
    Row(
        "target lost",
        lambda p: [Fault.agent_down(p.target, **p.when)],
        {
            "*": "dag-failed:target-unreachable",
            "preflight": "blocked",
            "submit": "refused",
            "verify": "verify",
            "retry": "dag-failed:add-server-timeout",
            "undo": "dag-stalled:add-server-timeout",
        },
    ),
    Row(
        "target silent",
        lambda p: [Fault.black_hole(p.target, **p.when)],
        {
            "*": "dag-failed:target-unreachable",
            "preflight": "blocked",
            "submit": "refused",
            "verify": "verify",
            "retry": "dag-failed:add-server-timeout",
            "undo": "dag-stalled:add-server-timeout",
        },
    ),
    Row("key of entry rotates", lambda p: [Fault.rotate_key(p.entry, **p.when)], HEALS),
    Row("key of target rotates", lambda p: [Fault.rotate_key(p.target, **p.when)], HEALS),
    Row(
        "clock of entry jumps 5 min",
        lambda p: [Fault.shift_clock(p.entry, 300, **p.when)],
        {
            "*": "healed|verify",
            "preflight": "blocked",
            "undo": UNDONE,
        },
    ),
    Row(
        "agent password appears",
        lambda p: [Fault.change_agent_password(p.target, "new#1", **p.when)],
        HEALS
        | {"preflight": "blocked"}
        | dict.fromkeys(("submit", "1", "2"), "dag-failed:wrong-agent-password"),
    ),
    Row(
        "target scaling in",
        lambda p: [Fault.scaling_in(p.target, **p.when)],
        {
            "preflight": "blocked",
            "submit": "identity",
            "1": "dag-failed:target-not-single",
            "2": "dag-failed:target-not-single",
        },
        idle="an agent that is SCALING OUT is no member, and cannot be scaled in",
    ),
    Row(
        "target joins another cluster",
        lambda p: [Fault.join_elsewhere(p.target, "west", **p.when)],
        {
            "preflight": "blocked",
            "submit": "identity",
            "1": "dag-failed:target-not-single",
            "2": "dag-failed:target-not-single",
        },
        idle="an agent that is SCALING OUT is not SINGLE, and joins no other cluster",
        config=two_clusters,
    ),
    Row(
        "target's own DAG holds its lock",
        lambda p: [Fault.local_task(p.target, 3000, **p.when)],
        {
            "preflight": "blocked|foreign-dag",
            "submit": "dag-failed:target-locked",
            "1": "dag-failed:target-locked",
            "2": "dag-failed:target-locked",
        },
        idle="from stage 2 on the target's lock is the scale-out's own",
    ),
    Row(
        "target's data appears",
        lambda p: [Fault.fill_directory(p.target, **p.when)],
        HEALS
        | dict.fromkeys(
            ("preflight", "submit", "1", "2", "3", "4"), "dag-failed:directory-not-empty"
        ),
    ),
)
CLUSTERS = (
    Row(
        "database of one down",
        lambda p: [Fault.database_down(p.entry, **p.when)],
        # Another agent carries it through; that member served before, and does not now.
        {"*": "verify", "preflight": "healed", "undo": UNDONE},
    ),
    Row(
        "database of one down 60 s",
        lambda p: [
            Fault.database_down(p.entry, **p.when),
            Fault.database_up(p.entry, after_seconds=60, **p.when),
        ],
        HEALS,
    ),
    Row(
        "database of all down",
        lambda p: [Fault.database_down(member, **p.when) for member in p.members],
        {
            "*": "dag-stalled",
            "preflight": "blocked",
            "submit": "database-down",
            # The target has joined meanwhile, with a database that answers.
            "9": "verify|dag-stalled",
            "verify": "dag-stalled|verify",
            "retry": "dag-stalled",
            "undo": "dag-stalled:add-server-timeout",
        },
    ),
    Row(
        "database of all down 60 s",
        lambda p: [
            fault
            for member in p.members
            for fault in (
                Fault.database_down(member, **p.when),
                Fault.database_up(member, after_seconds=60, **p.when),
            )
        ],
        HEALS | {"preflight": "healed|blocked", "submit": "database-down|healed"},
    ),
    Row(
        "password accepted late by one",
        lambda p: [
            Fault.stale_password(p.entry, **p.when),
            Fault.database_down(p.entry, **p.when),
            Fault.database_up(p.entry, after_seconds=60, **p.when),
        ],
        HEALS | {"preflight": "healed|not-authorized"},
    ),
    Row(
        "password accepted late by all",
        lambda p: [
            fault
            for member in p.members
            for fault in (
                Fault.stale_password(member, **p.when),
                Fault.database_down(member, **p.when),
                Fault.database_up(member, after_seconds=60, **p.when),
            )
        ],
        HEALS | {"preflight": "healed|not-authorized", "submit": "not-authorized|healed"},
    ),
    Row("root password changes", lambda p: [Fault.change_root_password("new", **p.when)], HEALS),
    Row(
        "tenant task 30 s",
        lambda p: [Fault.tenant_task(30, **p.when)],
        HEALS | {"preflight": "healed|blocked|foreign-dag", "submit": "foreign-dag"},
    ),
    Row("tenant task fails", lambda p: [Fault.tenant_task_fails(**p.when)], FAILS_BESIDE),
    Row("scale-in fails", lambda p: [Fault.scale_in_fails(**p.when)], FAILS_BESIDE),
    Row(
        "zone deleted",
        lambda p: [Fault.add_zone("zone8"), Fault.delete_zone("zone8", **p.when)],
        {"preflight": "healed", "submit": "healed"}
        | dict.fromkeys(STAGES[:6], "dag-failed:zone-changed")
        | {"7": "dag-failed:add-server-refused"},
        idle="a zone with a server cannot be deleted",
        zone="zone8",
    ),
    Row(
        "zone made",
        lambda p: [Fault.add_zone("zone9", **p.when)],
        {"preflight": "healed", "submit": "healed"}
        | dict.fromkeys(STAGES[:6], "dag-failed:zone-changed"),
        idle="from stage 7 on the zone is the scale-out's own",
        zone="zone9",
    ),
)
ANSWERS = tuple(
    Row(name, cards, HEALS | others, speed=ANSWER_SPEED)
    for name, cards, others in (
        ("an answer dropped", lambda p: [Fault.drop_answer(**p.when)], {}),
        ("four answers dropped", lambda p: [Fault.drop_answer(times=4, **p.when)], {}),
        ("answers 1 s late", lambda p: [Fault.delay_answer(1, times=3, **p.when)], {}),
        ("HTML", lambda p: [Fault.garble_answer(times=2, **p.when)], {"preflight": "blocked"}),
        (
            "garbage JSON",
            lambda p: [Fault.garble_answer(text='{"successful": tru', times=2, **p.when)],
            {"preflight": "blocked"},
        ),
        ("panic", lambda p: [Fault.panic(times=2, **p.when)], {"preflight": "blocked"}),
        (
            "task not found",
            lambda p: [Fault.task_not_found(times=3, **p.when)],
            {"preflight": "healed|blocked"},
        ),
    )
)
LOST_ANSWER_SECONDS = 20.0
"""For 15 s, by the clock on the wall, an agent would still take a POST nobody has answered: so long
nothing is sent again."""
SUBMITS = tuple(
    Row(
        f"submit: {name}",
        cards,
        {"submit": "healed"},
        idle=ONE_REQUEST,
        costs_seconds=LOST_ANSWER_SECONDS,
    )
    for name, cards in (
        ("answer dropped", lambda p: [Fault.drop_answer(to=p.to)]),
        ("answer is HTML", lambda p: [Fault.garble_answer(to=p.to)]),
        ("answer 5 s late", lambda p: [Fault.delay_answer(5, to=p.to)]),
        ("panics", lambda p: [Fault.panic(to=p.to)]),
        ("arrives late", lambda p: [Fault.late_request(3, to=p.to)]),
        ("arrives when expired", lambda p: [Fault.late_request(17, to=p.to)]),
    )
)
STAGE_ENDINGS = {
    "s1": "dag-failed:invalid-ports",
    # RETRY there deletes directories.
    "s4": "dag-failed:directories-failed",
}
FAILURES = (
    Row(
        "stage fails once",
        lambda p: [Fault.fail_stage(**p.when)],
        at_stages("healed", **STAGE_ENDINGS),
        idle=STAGES_ONLY,
    ),
    Row(
        "stage fails oddly",
        lambda p: [Fault.fail_stage(**p.when, text="ERROR: moon in the seventh house")],
        # At stage 1 what the database says, and not that the ports are wrong.
        at_stages("healed", **(STAGE_ENDINGS | {"s1": "healed"})),
        idle=STAGES_ONLY,
    ),
    Row(
        "stage fails for good",
        lambda p: [Fault.fail_stage(**p.when, times=0)],
        at_stages(
            "",
            **STAGE_ENDINGS,
            s2="dag-failed:target-unreachable",
            s3="dag-failed:target-not-ready",
            s5="dag-failed:observer-died",
            s6="dag-failed:zone-changed",
            s7="dag-failed:add-server-timeout",
            s8="dag-failed:leftover-agent-row",
            s9="dag-failed:late-joiner",
        ),
        idle=STAGES_ONLY,
    ),
    Row(
        "database refuses the server",
        lambda _p: [Fault.fail_stage(7, text="add server failed: Error 4179: clock", times=0)],
        {"7": "dag-failed:add-server-refused"},
        idle=ONE_STAGE,
    ),
    Row(
        "executor lost",
        lambda p: [Fault.lose_executor(**p.when, seconds=600)],
        at_stages("healed"),
        idle=STAGES_ONLY,
    ),
    Row(
        "stage runs twice",
        lambda p: [Fault.repeat_stage(**p.when)],
        at_stages("healed", s2="dag-failed:orphaned-local-dag", s7="dag-failed:server-listed"),
        idle=STAGES_ONLY,
    ),
    Row(
        "stage fails, its log lost",
        lambda p: [Fault.lose_log(**p.when), Fault.fail_stage(**p.when)],
        # The target's own DAG still tells of the directories.
        at_stages("healed", s4="dag-failed:directories-failed"),
        idle=STAGES_ONLY,
    ),
    Row(
        "answer of stage 2 lost",
        lambda _p: [Fault.orphan_local_dag()],
        {"2": "dag-failed:orphaned-local-dag"},
        idle=ONE_STAGE,
    ),
    Row(
        # The cluster's part is undone; the target's wants a password that only members get.
        "answer of stage 2 lost, rolled back",
        lambda _p: [Fault.orphan_local_dag()],
        {"2": "dag-failed:orphaned-local-dag"},
        idle=ONE_STAGE,
        policy="roll-back",
    ),
    Row(
        "observer slow 150 s",
        lambda _p: [Fault.slow_observer(150)],
        {"5": "healed"},
        idle=ONE_STAGE,
    ),
    Row(
        "observer slow 2000 s",
        # Given up by its own health check after 600 s; RETRY starts the next one, which is quick.
        lambda _p: [Fault.slow_observer(2000)],
        {"5": "healed|dag-failed:slow-observer"},
        idle=ONE_STAGE,
    ),
    Row("observer dies", lambda _p: [Fault.observer_dies()], {"5": "healed"}, idle=ONE_STAGE),
    Row(
        "observer dies for good",
        lambda _p: [Fault.observer_dies(times=0)],
        {"5": "dag-failed:observer-died"},
        idle=ONE_STAGE,
    ),
    Row(
        "upgrade takes 60 s",
        lambda _p: [Fault.slow_upgrade(60)],
        {"9": "healed"},
        idle=ONE_STAGE,
        config=older_spare,
    ),
)
REMOVALS = "tests/contract/test_sandbox_removal.py"
TENANTS = "tests/contract/test_sandbox_tenants.py"
BEYOND_ALL = {"host_cleaned": REMOVALS, "parameter_refused": TENANTS}
"""Cards that mean nothing to any run of the matrix, with the tests that play them."""
ROWS = (*AGENTS, *CLUSTERS, *ANSWERS, *SUBMITS, *FAILURES, *OPERATORS, *DEAD_ENDS, *AFTERWARDS)
