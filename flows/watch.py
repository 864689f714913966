"""The flow `watch`: follows a scale-out or a removal, whoever started it, and proves its end."""

from typing import Annotated

from prefect import flow

from obscale.recovery.find import nameless
from obscale.report.report import ScaleOutReport
from obscale.request.file_name import command_name
from obscale.request.form import DagId, NamedCluster, TargetPassword, titled
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.submit.settle import tell_settled
from obscale.tasks.look_after import (
    FoundRemoval,
    Untouched,
    find_dag,
    follow_and_prove,
    follow_and_prove_gone,
)
from obscale.tasks.runtime.blocks import naming_silent_agents
from obscale.tasks.runtime.events import sending_events
from obscale.tasks.runtime.journal import aside, publish
from obscale.tasks.runtime.page_forms import form_in_page_language
from obscale.tasks.runtime.prefect_watch import watching_prefect
from obscale.tasks.runtime.refusal import report_refusal
from obscale.tasks.runtime.report import report_at_end
from obscale.tasks.runtime.run_state import name_by_dag, name_final_state, tag_run, tags_of
from obscale.tasks.runtime.sigterm import cancel_on_sigterm
from obscale.tasks.runtime.versions import check_worker


def run_name() -> str:
    """Name the run after what it follows, e.g. `watch DAG 11 of prod-east`."""
    return name_by_dag("watch")


@form_in_page_language
@flow(
    name="watch",
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state, report_refusal],
)
async def watch(
    cluster: NamedCluster,
    dag: Annotated[DagId | None, titled("DAG")] = None,
    targetAgentPassword: TargetPassword = None,
    time_limits: Annotated[TimeLimits, titled("Time limits")] = DEFAULT_TIME_LIMITS,
) -> ScaleOutReport:
    """Follow a scale-out to its end, and prove its node or say why it failed. Changes nothing.

    Whoever started it: a run that has ended, the command line, another program. The node is proved
    by what its run was asked for, or, where nobody has kept that, by what the cluster shows of it.
    A removal is followed likewise, and what leaves is proved gone.

    Args:
        cluster: The cluster of the DAG, by the name of its stored connection, e.g. prod-east.
        dag: Id of the DAG; left out, the removal that is unfinished, else the newest scale-out.
        targetAgentPassword: Where the password of the target agent is kept; only if it has one.
        time_limits: Time limits of following and proving; the defaults suit production.
    """
    check_worker()
    with cancel_on_sigterm(), naming_silent_agents():
        async with watching_prefect():
            found = await find_dag(cluster, dag, targetAgentPassword, time_limits)
            if isinstance(found, Untouched):
                raise nameless(found.dag, command_name(cluster))
            with sending_events(found.order):
                async with report_at_end(found.order) as builder:
                    await aside(tag_run(tags_of(found.order)))
                    tell_settled(found.submitted, publish)
                    if isinstance(found, FoundRemoval):
                        await follow_and_prove_gone(found)
                    else:
                        await follow_and_prove(found, builder)
    return builder.report()
