"""Names a run and its end in Prefect, and tags the run.

Prefect calls every run that raised an error Failed. The error itself says more: whether preflight
blocked it, a person rejected it, or a DAG is held for a decision. A flow must go on raising, since
Prefect does not raise a Failed state that is returned; so the name is set afterwards, by a hook.
"""

from typing import Any, Final
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.runtime import flow_run as this_run

from obscale.batch.dispatch_rows import batch_tag
from obscale.batch.ledger import Ledger
from obscale.errors import ObscaleError, SpecError
from obscale.request.removal import Removal
from obscale.request.replacement import Replacement
from obscale.request.scale_out import ScaleOut
from obscale.request.use import Use
from obscale.tasks.runtime.person import own_tags
from obscale.tasks.runtime.prefect_private import force_flow_run_state, hand_over_state
from obscale.tasks.runtime.run_log import told_whole
from obscale.tasks.runtime.writing import ANSWER_SECONDS, written
from obscale.text import for_terminal

RERUN_TAG: Final = "rerun-when-crashed"
"""Runs so tagged are run again by `deployments/automations.py`, which cannot count."""
MOST_ATTEMPTS: Final = 5
MOST_TAGS: Final = 60
"""Tags of a run by its rows. Of each change of a run's state Prefect's server makes an event that
names flow, deployment, work pool, who began it and all tags, 100 at most
(`PREFECT_SERVER_EVENTS_MAXIMUM_RELATED_RESOURCES`); with more it answers 500, and a run that has
done all it was to do cannot end. It reads the tags anew after five minutes, so that short runs do
not meet that. What is left is for the tags of whoever started the run."""
OUT_OF_REACH: Final = "OutOfReach"
REFUSED: Final = "Refused"
STATE_NAMES: Final = {
    "spec": "BadRequest",
    "blocked": "Blocked",
    "plan-changed": "Blocked",
    "rejected": "Rejected",
    "not-approved": "NotApproved",
    "dag-failed": "Held",
    "dag-rolled-back": "RolledBack",
    "dag-stalled": "Stalled",
    "foreign-dag": "LockHeld",
    "verify": "NotVerified",
    "half-replaced": "HalfReplaced",
    "batch-incomplete": "Incomplete",
    "dispatch": "NotDispatched",
    "run-lost": "RunLost",
    "outcome-unknown": "OutcomeUnknown",
    "not-recorded": "NotRecorded",
    "unreachable": OUT_OF_REACH,
    "protocol": OUT_OF_REACH,
    "not-supported": OUT_OF_REACH,
    "database-down": OUT_OF_REACH,
    "prefect": OUT_OF_REACH,
    "untrusted-key": "Untrusted",
    "password-withheld": "Untrusted",
    "refused": REFUSED,
    "not-authorized": REFUSED,
    "stale-key": REFUSED,
    "under-maintenance": REFUSED,
    "identity": REFUSED,
    "version": REFUSED,
    "already-member": REFUSED,
    "agent-trouble": REFUSED,
    "dag-not-found": REFUSED,
}
"""What a state is called, by the `kind` of the error; every other kind stays Failed."""

STATES: Final = {
    "Blocked": ("preflight, or a last look before the submit, forbids it", "no"),
    "BadRequest": ("the request itself is wrong, or names what is not stored", "no"),
    "Rejected": ("somebody was asked and said no", "no"),
    "NotApproved": ("somebody was asked and did not answer in time", "no"),
    "LockHeld": ("another DAG holds the cluster's lock", "no"),
    "Held": (
        (
            "the DAG failed and stands as it failed: a person decides. Its message links the "
            "form of recover that mends it"
        ),
        "yes",
    ),
    "RolledBack": (
        (
            "the DAG was undone; nothing was added. Of type COMPLETED where a run of recover was "
            "asked to do that"
        ),
        "undone",
    ),
    "Stalled": ("nothing moved, or nobody answered, for too long; the DAG may go on", "yes"),
    "OutcomeUnknown": (
        "the answer to the submit was lost, and no look could settle it",
        "perhaps",
    ),
    "NotRecorded": (
        "how the cluster stood before could not be written into Prefect; nothing was sent",
        "no",
    ),
    "NotVerified": ("the DAG succeeded, the proofs did not", "yes"),
    "HalfReplaced": (
        (
            "of a replacement the new node is verified, and the old one is still there; the same "
            "request again goes on"
        ),
        "yes",
    ),
    "Incomplete": (
        "a batch of which not every row is verified; its report says which",
        "see the report",
    ),
    "NotDispatched": (
        "a batch found no worker or deployment for its clusters; what runs goes on",
        "see the report",
    ),
    "RunLost": (
        "a row's run on a worker was cancelled, or lost too often; its DAG may go on",
        "see the report",
    ),
    OUT_OF_REACH: (
        "no agent could be asked, or none answered readably; or Prefect does not answer",
        "see the report",
    ),
    REFUSED: ("an agent said no", "see the report"),
    "Untrusted": (
        "an agent's key has changed, or one that is not listed wants root@sys's password",
        "see the report",
    ),
}
"""What each name says, and whether anything was touched; docs/events.md is made of it."""


def state_name(ending: object) -> str | None:
    """Name the state a run ends in; None leaves Prefect's own name, for errors nobody foresaw."""
    return STATE_NAMES.get(ending.kind) if isinstance(ending, ObscaleError) else None


async def name_final_state(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Call a failed run's state by what happened; type, message and data stay. For `on_failure`.

    Only of a bad request the message is written anew: it tells every problem. What an error names
    beside its words, the form of Prefect's UI that mends it, comes behind them.

    Prefect calls it by keywords, so its parameters must have these names.
    """
    del flow
    ending = await state.aresult(raise_on_failure=False)
    name = state_name(ending)
    if name is None:
        return
    named = state.model_copy(update={"name": name})
    if isinstance(ending, SpecError):
        # Prefect's own message has the first problem only.
        named.message = f"Nothing was sent. {told_whole(ending)}"
    if notes := getattr(ending, "__notes__", ()):
        named.message = " ".join(map(for_terminal, filter(None, (named.message, *notes))))
    # Forced: from one final state to another there is no ordinary way.
    if not await set_state(flow_run.id, named):
        return
    hand_over_state(flow_run, named)


async def set_state(run_id: UUID, state: State[Any]) -> bool:
    """Force a run into a state; False where Prefect does not take it within seconds."""

    async def write() -> bool:
        async with get_client() as client:
            await force_flow_run_state(client, run_id, state)
        return True

    return bool(await written(f"state {state.name}", write, seconds=ANSWER_SECONDS))


def tags_of(order: ScaleOut | Removal | Replacement) -> frozenset[str]:
    """Give the tags a run is found by, e.g. `cluster:prod-east`; a replacement by both nodes."""
    told = [f"cluster:{order.cluster_name}", f"zone:{order.zone}", f"target:{order.target}"]
    if isinstance(order, Replacement):
        told.append(f"target:{order.joining}")
    return frozenset(map(for_terminal, told))


def tags_of_tenant(order: Use) -> frozenset[str]:
    """Give the tags a run of use is found by, e.g. `tenant:app`."""
    told = f"cluster:{order.cluster_name}", f"tenant:{order.tenant}"
    return frozenset(map(for_terminal, told))


def tags_of_batch(ledger: Ledger) -> frozenset[str]:
    """Give the tags a batch's run is found by: its key, the zones that change, and its clusters.

    Where these are too many they are left out, all clusters first: some of them would look like
    all. The task runs of the rows have them, see `obscale.cli.show`.
    """
    tags = {batch_tag(ledger.key)}
    for told in (
        {f"zone:{entry.zone}" for entry in ledger.entries if entry.zone},
        {f"cluster:{entry.cluster}" for entry in ledger.entries},
    ):
        if len(tags) + len(told) <= MOST_TAGS:
            tags |= set(map(for_terminal, told))
    return frozenset(tags)


def check_attempts(flow_run: FlowRun | None) -> None:
    """End the circle of a run that crashes, is run again by itself, and crashes.

    Raises:
        ObscaleError: It was run too often; whoever runs it by hand takes off the tag, or starts
            another run, which takes up what this one has begun.
    """
    if flow_run and RERUN_TAG in flow_run.tags and flow_run.run_count > MOST_ATTEMPTS:
        raise ObscaleError(
            f"crashed {MOST_ATTEMPTS} times and is not run again by itself",
            "see the log for what ends it, then start another run: it takes up what was begun",
        )


def check_this_attempt() -> None:
    """As `check_attempts`, for the current run."""
    context = FlowRunContext.get()
    check_attempts(context.flow_run if context else None)


def name_by_target(does: str, before_zone: str) -> str:
    """Name the current run by what it was asked for: `scale-out 10.0.0.4 to zone2 of prod-east`.

    Args:
        does: What the run does, e.g. `scale-out`.
        before_zone: The word between target and zone, e.g. `to`.
    """
    asked = this_run.parameters
    ip, cluster = _ip_of(asked.get("agentInfo")), asked.get("cluster")
    name = cluster if isinstance(cluster, str) else getattr(cluster, "name", None)
    return for_terminal(f"{does} {ip} {before_zone} {asked.get('zone')} of {name or 'a cluster'}")


def name_by_pair() -> str:
    """Name the current run: `replace 10.0.0.4 by 10.0.0.5 in zone2 of prod-east`."""
    asked = this_run.parameters
    old, new = _ip_of(asked.get("dead")), _ip_of(asked.get("agentInfo"))
    cluster = asked.get("cluster")
    name = cluster if isinstance(cluster, str) else getattr(cluster, "name", None)
    zone = asked.get("zone")
    return for_terminal(f"replace {old} by {new} in {zone} of {name or 'a cluster'}")


def _ip_of(agent: Any) -> str:
    return str(agent["ip"] if isinstance(agent, dict) else getattr(agent, "ip", "?"))


def name_by_tenant() -> str:
    """Name the current run by what it was asked for: `use 2 units for tenant app of prod-east`."""
    asked = this_run.parameters
    cluster, number = asked.get("cluster"), asked.get("unit_num")
    name = cluster if isinstance(cluster, str) else getattr(cluster, "name", None)
    noun = "unit" if number == 1 else "units"
    tenant = asked.get("tenant")
    return for_terminal(f"use {number} {noun} for tenant {tenant} of {name or 'a cluster'}")


def name_by_dag(does: str) -> str:
    """Name the current run by the DAG it looks after: `watch DAG 11 of prod-east`.

    Args:
        does: What the run does, e.g. `watch`.
    """
    asked = this_run.parameters
    dag, cluster = asked.get("dag"), asked.get("cluster")
    name = cluster if isinstance(cluster, str) else getattr(cluster, "name", None)
    which = f"DAG {dag}" if dag else "the newest DAG"
    return for_terminal(f"{does} {which} of {name or 'a cluster'}")


async def tag_run(tags: frozenset[str]) -> None:
    """Add tags to the current run, and who asks for it; those it has stay."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run_id = context.flow_run.id

    async def write() -> None:
        async with get_client() as client:
            # Read again: somebody may have tagged the run since it was started.
            has = set((await client.read_flow_run(run_id)).tags)
            wanted = tags | own_tags()
            if not wanted <= has:
                await client.update_flow_run(run_id, tags=has | wanted)

    await written("tags", write)
