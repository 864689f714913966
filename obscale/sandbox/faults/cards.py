"""The list of fault cards: when each acts, and what it needs.

One row a card. `docs` of a card is its sentence here; `Fault` makes a constructor of every row.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

FaultCard = Literal[
    "fail_stage",
    "fail_rollback",
    "lose_executor",
    "repeat_stage",
    "lose_log",
    "orphan_local_dag",
    "slow_observer",
    "observer_dies",
    "slow_upgrade",
    "slow_service",
    "drop_answer",
    "delay_answer",
    "garble_answer",
    "panic",
    "task_not_found",
    "late_request",
    "agent_down",
    "agent_up",
    "agent_restart",
    "black_hole",
    "database_down",
    "database_up",
    "observer_down",
    "observer_up",
    "observer_hangs",
    "set_parameter",
    "rotate_key",
    "shift_clock",
    "change_root_password",
    "change_agent_password",
    "stale_password",
    "tenant_task",
    "tenant_task_fails",
    "scale_in_fails",
    "local_task",
    "operate_dag",
    "fill_directory",
    "add_zone",
    "delete_zone",
    "scaling_in",
    "join_elsewhere",
    "host_cleaned",
    "unit_stuck",
    "unit_no_room",
    "receiver_disk_full",
    "slow_migration",
    "rereplication_off",
    "delete_refused",
    "paxos_not_alive",
    "wait_times_out",
    "inform_refused",
    "kill_fails",
    "delete_agent_fails",
    "gone_before_rollback",
    "somebody_deletes_server",
    "zone_not_empty",
    "tenant_job_slow",
    "tenant_job_fails",
    "tenant_rebalance_off",
    "parameter_refused",
]
Operation = Literal["scale_out", "scale_in", "delete_zone", "tenant"]
"""What may be asked of a cluster, and what a card's `phase` and `stage` are of."""
SCALE_OUT: Final[Operation] = "scale_out"
OPERATION_OF: Final[dict[str, Operation]] = {
    "Cluster scale out": SCALE_OUT,
    "Local scale out": SCALE_OUT,
    "Cluster scale in": "scale_in",
    "Kill observer": "scale_in",
    "Start observer for scale in rollback": "scale_in",
    "Delete zone": "delete_zone",
    "Scale out tenant replicas": "tenant",
    "Modify tenant replicas": "tenant",
    "Scale in tenant replicas": "tenant",
}
"""By the name of the DAG."""
Phase = Literal["preflight", "submit", "failed", "rollback", "verify"]
"""Where a cluster stands with its newest scale-out, beside its stages on the way forwards.

preflight: no POST scale_out has arrived yet; submit: from its arrival until stage 1 runs; failed:
the DAG is FAILED, in either direction; rollback: it is, or was, rolled back; verify: it is done.
With an `operation` all this is said of the newest DAG of that one.
"""


class Kind(StrEnum):
    """When a card acts."""

    STATE = "state"
    """Once: when it is played, or in the instant its `phase` or `stage` comes."""
    STEP = "step"
    """When a sub task draws it: of a scale-out, or of what `operation` names."""
    ANSWER = "answer"
    """When a request draws it, from the instant its `phase` or `stage` has come."""


ALSO_TAKES: Final[dict[Kind, frozenset[str]]] = {
    Kind.STATE: frozenset({"phase", "stage", "after_seconds", "cluster", "operation"}),
    Kind.STEP: frozenset({"target", "times", "cluster", "operation"}),
    Kind.ANSWER: frozenset({"to", "phase", "stage", "target", "times", "cluster", "operation"}),
}
"""Fields every card of a kind understands."""


@dataclass(frozen=True)
class Card:
    """One row.

    Args:
        kind: When it acts.
        docs: What it does, in a sentence.
        needs: Fields without which it says nothing; the constructor takes them in this order.
        takes: Further fields that mean something to it.
        of: What it is about where no `operation` is named; None where whatever draws it may.
    """

    kind: Kind
    docs: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    of: Operation | None = SCALE_OUT

    @property
    def fields(self) -> frozenset[str]:
        """All fields it understands."""
        return ALSO_TAKES[self.kind] | {*self.needs, *self.takes}


CARDS: Final[dict[FaultCard, Card]] = {
    # --- drawn by the sub tasks of a scale-out ---
    "fail_stage": Card(
        Kind.STEP,
        "That stage of a scale-out fails when it runs; `text` replaces its usual last log line.",
        ("stage",),
        ("text",),
    ),
    "fail_rollback": Card(
        Kind.STEP,
        "That stage cannot be undone: the rollback stops half-way, FAILED.",
        ("stage",),
        ("text",),
    ),
    "lose_executor": Card(
        Kind.STEP,
        "The agent that executes that stage is lost: nothing moves until the sub task times out, "
        "after 3600 virtual seconds or `seconds`.",
        ("stage",),
        ("seconds",),
    ),
    "repeat_stage": Card(
        Kind.STEP,
        "The executing agent restarts when that stage has taken effect and nobody has noted it: "
        "the stage runs twice.",
        ("stage",),
    ),
    "lose_log": Card(
        Kind.STEP,
        "obshell is restarted on the agent that executes that stage, and has no database yet: what "
        "the stage logs from its second line on, and why it fails, is missing there, and turns up "
        "in the second sub task `seconds` virtual seconds after its end, or 5.",
        ("stage",),
        ("seconds",),
    ),
    "orphan_local_dag": Card(
        Kind.STEP, "Stage 2 reaches the joining agent, but its answer is lost."
    ),
    "slow_observer": Card(
        Kind.STEP, "The next observer start takes that many virtual seconds.", ("seconds",)
    ),
    "observer_dies": Card(Kind.STEP, "The next observer dies before its first health check."),
    "slow_upgrade": Card(
        Kind.STEP,
        "An older joining agent is away that many virtual seconds while it is upgraded.",
        ("seconds",),
    ),
    "slow_service": Card(
        Kind.STEP,
        "The new observer is listed, but begins to serve that many virtual seconds later.",
        ("seconds",),
    ),
    # --- drawn by requests ---
    "drop_answer": Card(
        Kind.ANSWER, "The request is carried out, but the connection breaks before the answer."
    ),
    "delay_answer": Card(
        Kind.ANSWER,
        "The request is carried out, the answer leaves real seconds later.",
        ("seconds",),
    ),
    "garble_answer": Card(
        Kind.ANSWER,
        "The request is carried out, but something in between answers 200 with an HTML page, or "
        "with `text`.",
        (),
        ("text",),
    ),
    "panic": Card(
        Kind.ANSWER, "The handler panics: 500 with obshell's prebuilt page, nothing is carried out."
    ),
    "task_not_found": Card(
        Kind.ANSWER, "500 `Task not found: …`, as obshell says while no database can be reached."
    ),
    "late_request": Card(
        Kind.ANSWER,
        "The connection breaks at once, and the request arrives real seconds later: the first "
        "copy of something the client may have sent again.",
        ("seconds",),
    ),
    # --- change the state of an agent ---
    "agent_down": Card(
        Kind.STATE, "The obshell process ends; connections are refused.", ("target",)
    ),
    "agent_up": Card(
        Kind.STATE,
        "The obshell process starts again and executes its unfinished sub tasks anew.",
        ("target",),
    ),
    "agent_restart": Card(
        Kind.STATE,
        "The obshell process is killed, and its daemon starts the next one half a virtual second "
        "later, or `seconds`; sub tasks begin anew, sessions are lost.",
        ("target",),
        ("seconds",),
    ),
    "black_hole": Card(
        Kind.STATE,
        "Connections are accepted, nothing is ever answered, until `agent_up`.",
        ("target",),
    ),
    "database_down": Card(
        Kind.STATE, "The agent lives, its OceanBase does not answer.", ("target",)
    ),
    "database_up": Card(Kind.STATE, "OceanBase answers that agent again.", ("target",)),
    "observer_down": Card(
        Kind.STATE, "The observer beside that agent dies; obshell lives on.", ("target",)
    ),
    "observer_up": Card(
        Kind.STATE, "The observer beside that agent is started again.", ("target",)
    ),
    "observer_hangs": Card(
        Kind.STATE,
        "The observer beside that agent runs on and serves nothing: OceanBase counts it as dead.",
        ("target",),
    ),
    "set_parameter": Card(
        Kind.STATE,
        "Somebody, or the cluster, sets a parameter of that observer; `text` is `name=value`.",
        ("target", "text"),
    ),
    "rotate_key": Card(
        Kind.STATE, "The agent has a new RSA key, as after a wiped `.meta`.", ("target",)
    ),
    "shift_clock": Card(
        Kind.STATE, "The agent's wall clock jumps by that many seconds.", ("target", "seconds")
    ),
    "change_agent_password": Card(
        Kind.STATE, "The agent has a new password of its own.", ("target", "text")
    ),
    "stale_password": Card(
        Kind.STATE,
        "The agent has kept an older root password: while its database does not answer, it refuses "
        "the one in force.",
        ("target",),
    ),
    "local_task": Card(
        Kind.STATE,
        "A DAG of the agent's own holds its local lock for that many virtual seconds.",
        ("target", "seconds"),
    ),
    "fill_directory": Card(
        Kind.STATE,
        "Somebody's data lies in the directory `text` of the agent's host, else in <home>/store.",
        ("target",),
        ("text",),
    ),
    "scaling_in": Card(
        Kind.STATE, "The agent was scaled in: SCALING IN for good, until it is wiped.", ("target",)
    ),
    "join_elsewhere": Card(
        Kind.STATE, "The agent joins another cluster of this world.", ("target", "cluster")
    ),
    # --- change the state of a cluster ---
    "change_root_password": Card(
        Kind.STATE,
        "root@sys has a new password; agents keep accepting the cached one until told.",
        ("text",),
    ),
    "tenant_task": Card(
        Kind.STATE,
        "A tenant operation holds the maintenance lock for that many virtual seconds.",
        ("seconds",),
    ),
    "tenant_task_fails": Card(
        Kind.STATE,
        "A tenant operation fails: it gives the maintenance lock up and stays listed, FAILED.",
    ),
    "scale_in_fails": Card(
        Kind.STATE,
        "A scale-in is refused at its first stage: it stays listed, FAILED, without the lock.",
    ),
    "operate_dag": Card(
        Kind.STATE,
        "A second operator orders RETRY, ROLLBACK, CANCEL or PASS of the newest scale-out, or of "
        "what `operation` names; without a `phase` or `stage` as soon as it is FAILED.",
        ("text",),
    ),
    # --- members and zones that leave, tenants, parameters ---
    "host_cleaned": Card(
        Kind.STATE,
        "Somebody stops that obshell, removes all it has written, and starts it again: SINGLE.",
        ("target",),
    ),
    "unit_stuck": Card(
        Kind.STATE,
        "Nothing of the server beside that agent is moved, whatever was ordered, and its row "
        "stays: for that many virtual seconds, or for good.",
        ("target",),
        ("seconds",),
    ),
    "unit_no_room": Card(
        Kind.STATE, "No unit fits on the server beside that agent any more.", ("target",)
    ),
    "receiver_disk_full": Card(
        Kind.STATE,
        "The data file of the server beside that agent is filled up to the share at which "
        "OceanBase moves no unit there.",
        ("target",),
    ),
    "slow_migration": Card(
        Kind.STATE,
        "Each unit that begins to move takes that many virtual seconds.",
        ("seconds",),
    ),
    "rereplication_off": Card(
        Kind.STATE,
        "Somebody sets enable_rereplication to False: units are placed elsewhere, and their data "
        "does not follow.",
    ),
    "delete_refused": Card(
        Kind.STEP,
        "OceanBase refuses DELETE SERVER, with `text` as its reason.",
        takes=("text", "stage"),
        of=None,
    ),
    "paxos_not_alive": Card(
        Kind.STEP,
        "A log stream would have no majority without the server: a removal with `force_kill` is "
        "refused, or with `stage` fails there.",
        takes=("stage",),
        of=None,
    ),
    "wait_times_out": Card(
        Kind.STEP,
        "The stage that waits for the server to go is given up after that many virtual seconds, "
        "and not after 3600.",
        ("seconds",),
        of=None,
    ),
    "inform_refused": Card(
        Kind.STEP,
        "The leaving agent has not heard that it is SCALING IN, and refuses to kill its observer.",
        of=None,
    ),
    "kill_fails": Card(
        Kind.STEP, "The leaving agent cannot kill its observer, which lives on.", of=None
    ),
    "delete_agent_fails": Card(
        Kind.STEP,
        "The database does not delete the row of the leaving agent; `text` is its reason.",
        takes=("text",),
        of=None,
    ),
    "gone_before_rollback": Card(
        Kind.STATE, "The row of the server beside that agent is gone at once.", ("target",)
    ),
    "somebody_deletes_server": Card(
        Kind.STATE,
        "Somebody orders DELETE SERVER of the server beside that agent, by SQL.",
        ("target",),
    ),
    "zone_not_empty": Card(
        Kind.STATE,
        "Somebody makes a resource pool for no tenant yet, with a unit in the zone of that name.",
        ("text",),
    ),
    "tenant_job_slow": Card(
        Kind.STEP,
        "OceanBase's job for a tenant takes that many virtual seconds.",
        ("seconds",),
        of=None,
    ),
    "tenant_job_fails": Card(
        Kind.STEP,
        "OceanBase's job for a tenant fails, or the database refuses it at once with `text`.",
        takes=("text",),
        of=None,
    ),
    "tenant_rebalance_off": Card(
        Kind.STATE, "Somebody sets enable_rebalance of the tenant of that name to False.", ("text",)
    ),
    "parameter_refused": Card(
        Kind.STEP,
        "OceanBase refuses to set a parameter, with `text` as its reason.",
        takes=("text",),
        of=None,
    ),
    "add_zone": Card(Kind.STATE, "Somebody makes the zone of that name.", ("text",)),
    "delete_zone": Card(Kind.STATE, "Somebody deletes the empty zone of that name.", ("text",)),
}
