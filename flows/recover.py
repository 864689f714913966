"""The flow `recover`: carries out one decision about a scale-out or a removal, and follows it."""

from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from obscale.errors import DagFailedError, SpecError
from obscale.recovery.consequences import Remedy
from obscale.report.report import ScaleOutReport
from obscale.request.form import DagId, NamedCluster, TargetPassword, titled
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.submit.settle import tell_settled
from obscale.tasks.look_after import (
    FoundRemoval,
    FoundScaleOut,
    Untouched,
    find_dag,
    follow_and_prove,
    follow_and_prove_gone,
)
from obscale.tasks.recover import decide, roll_back_nameless
from obscale.tasks.recover import recover as carry_out
from obscale.tasks.removal import is_confirmed, recover_removal
from obscale.tasks.runtime.blocks import naming_silent_agents
from obscale.tasks.runtime.events import sending_events
from obscale.tasks.runtime.journal import aside, publish
from obscale.tasks.runtime.page_forms import form_in_page_language
from obscale.tasks.runtime.prefect_watch import watching_prefect
from obscale.tasks.runtime.refusal import report_refusal, report_undone
from obscale.tasks.runtime.report import report_at_end
from obscale.tasks.runtime.run_state import name_by_dag, name_final_state, tag_run, tags_of
from obscale.tasks.runtime.sigterm import cancel_on_sigterm
from obscale.tasks.runtime.versions import check_worker

Decision = Literal["retry", "roll-back", "stop", "ask"]
"""What a person chooses in the form; there is no default."""
ROLLED_BACK = "RolledBack"
"""The state of a run that has rolled back as it was asked to: Completed."""


def run_name() -> str:
    """Name the run after what it operates, e.g. `recover DAG 11 of prod-east`."""
    return name_by_dag("recover")


@form_in_page_language
@flow(
    name="recover",
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state, report_refusal],
)
async def recover(
    cluster: NamedCluster,
    dag: Annotated[DagId, titled("DAG")],
    decision: Annotated[Decision, titled("What shall be done?")],
    acknowledge_data_loss: Annotated[bool, titled("Acknowledge data loss")] = False,
    confirm: Annotated[str, titled("For stop: what was to leave, typed again")] = "",
    targetAgentPassword: TargetPassword = None,
    time_limits: Annotated[TimeLimits, titled("Time limits")] = DEFAULT_TIME_LIMITS,
) -> ScaleOutReport | State[Any]:
    """Do one thing about a failed scale-out or a removal, as a person has chosen.

    Only the DAG that is named is operated. It is diagnosed right before, and what leads nowhere is
    refused, whatever is chosen here. After a retry the run follows the DAG and proves the node;
    after a rollback it waits until the target is SINGLE and the cluster's lock is free. Of a
    removal, what leaves is proved gone after a retry, and stays a member after the other two.

    Args:
        cluster: The cluster the DAG is of, by the name of its stored connection, e.g. prod-east.
        dag: Id of the DAG, as the report of the run that is held names it.
        decision: retry: undoes and repeats the failed stage, and goes on. Where the observer had
            been started or given directories, that kills it and deletes its directories first.
            roll-back: undoes the whole scale-out. It kills the observer on the target and deletes
            the directories given to it, data, redo logs and logs; nothing is added. ask: pauses,
            shows what each of them does and deletes here, and waits for the answer (Resume). Of a
            removal: retry goes on with a failed one; roll-back lets the node of a failed one stay;
            stop does that with one that runs, as long as its server is still there.
        acknowledge_data_loss: Accept that data may be deleted which this scale-out did not make.
        confirm: Only for stop: the address of the node, or the name of the zone, that was to leave.
        targetAgentPassword: Where the password of the target agent is kept; only if it has one.
        time_limits: Time limits; the defaults suit production.
    """
    check_worker()
    with cancel_on_sigterm(), naming_silent_agents():
        async with watching_prefect():
            found = await find_dag(cluster, dag, targetAgentPassword, time_limits)
            if isinstance(found, Untouched):
                return await _free(cluster, found, decision, time_limits)
            if isinstance(found, FoundRemoval):
                return await _of_removal(found, decision, confirm)
            if decision == "stop":
                raise SpecError(
                    f"decision: stop is for a removal, and DAG {found.dag_id} adds a node",
                    "choose retry, roll-back or ask",
                )
            order = found.order
            with sending_events(order):
                async with report_at_end(order) as builder:
                    await aside(tag_run(tags_of(order)))
                    tell_settled(found.submitted, publish)
                    remedy = await _chosen(found, decision)
                    await carry_out(order, found.dag_id, remedy, acknowledged=acknowledge_data_loss)
                    if remedy is Remedy.RETRY:
                        await follow_and_prove(found, builder)
                    else:
                        builder.is_rolled_back = True
    if builder.is_rolled_back:
        words = _undone(found.dag_id, f"{order.target} is SINGLE again")
        return Completed(name=ROLLED_BACK, message=words)
    return builder.report()


async def _of_removal(
    found: FoundRemoval, decision: Decision, confirm: str
) -> ScaleOutReport | State[Any]:
    """Carry out a decision about a removal; after a retry follow it and prove its target gone.

    Raises:
        SpecError: It is none for a removal, or a stop is not confirmed.
    """
    order, dag_id = found.order, found.dag_id
    if decision == "ask":
        raise SpecError(
            f"decision: ask is for a scale-out, and DAG {dag_id} removes {order.target}",
            "choose retry or roll-back (of a FAILED one), or stop",
        )
    if decision == "stop" and not is_confirmed(order, confirm):
        raise SpecError(
            f"confirm: {confirm!r} is not what DAG {dag_id} removes",
            f"type {order.target} there, so that it stays",
        )
    with sending_events(order):
        async with report_at_end(order) as builder:
            await aside(tag_run(tags_of(order)))
            tell_settled(found.submitted, publish)
            await recover_removal(order, dag_id, decision)
            if decision == "retry":
                await follow_and_prove_gone(found)
            else:
                builder.is_rolled_back = True
    if builder.is_rolled_back:
        words = f"DAG {dag_id} was undone, as decided ({order.target} stays a member): the "
        return Completed(name=ROLLED_BACK, message=f"{words}cluster's lock is free")
    return builder.report()


async def _chosen(found: FoundScaleOut, decision: Decision) -> Remedy:
    """Give what was chosen in the form, or let a person choose now among what is safe.

    Raises:
        DagFailedError: Nobody has chosen anything, or that it is left as it stands.
    """
    if decision != "ask":
        return Remedy.RETRY if decision == "retry" else Remedy.ROLLBACK
    asking = found.order.model_copy(update={"on_failure": "ask"})
    attempt = await decide(asking, found.dag_id, [])
    if attempt is None:
        raise DagFailedError(
            f"DAG {found.dag_id} of {found.order.target} was left as it stands",
            "it keeps the cluster's lock; start recover again once it is known what to do",
        )
    return attempt.remedy


async def _free(
    cluster: NamedCluster, found: Untouched, decision: Decision, time_limits: TimeLimits
) -> State[Any]:
    """Undo a scale-out that failed before it named a node, so that the cluster's lock is free.

    Raises:
        DagFailedError: Something else was chosen: nobody can tell which node it would go on with.
    """
    dag_id = found.dag.id
    if decision != "roll-back":
        raise DagFailedError(
            f"DAG {dag_id} failed before it named a node: it can be rolled back, and no more; it "
            "was not touched",
            "choose roll-back: no node was called yet, so nothing is deleted",
        )
    await roll_back_nameless(cluster, dag_id, time_limits)
    words = _undone(dag_id, "no node had been called")
    await report_undone(dag_id, words)
    return Completed(name=ROLLED_BACK, message=words)


def _undone(dag_id: str, what: str) -> str:
    return f"DAG {dag_id} was rolled back, as decided ({what}): the cluster's lock is free"
