"""The flow `verify`: proves that one node is as it was asked for; submits nothing."""

from typing import Annotated

from prefect import flow

from obscale.report.report import ScaleOutReport
from obscale.request.form import (
    JoiningAgent,
    NamedCluster,
    StartOptions,
    TargetPassword,
    Zone,
    titled,
)
from obscale.request.models import NodeSpec
from obscale.request.scale_out import ScaleOut
from obscale.request.start_options import ObConfigs
from obscale.request.time_limits import VERIFY_LIMITS, TimeLimits
from obscale.spec import checked
from obscale.tasks.look_after import find_node
from obscale.tasks.runtime.blocks import naming_silent_agents
from obscale.tasks.runtime.events import sending_events
from obscale.tasks.runtime.journal import aside
from obscale.tasks.runtime.page_forms import form_in_page_language
from obscale.tasks.runtime.prefect_watch import watching_prefect
from obscale.tasks.runtime.refusal import report_refusal
from obscale.tasks.runtime.report import report_at_end
from obscale.tasks.runtime.run_state import name_by_target, name_final_state, tag_run, tags_of
from obscale.tasks.runtime.sigterm import cancel_on_sigterm
from obscale.tasks.runtime.versions import check_worker
from obscale.tasks.verify import verify as prove

AS_IT_IS = ObConfigs.model_validate({})
"""No start option has to be in force."""


def run_name() -> str:
    """Name the run after what it proves, e.g. `verify 10.0.0.4 in zone2 of prod-east`."""
    return name_by_target("verify", "in")


@form_in_page_language
@flow(
    name="verify",
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state, report_refusal],
)
async def verify(
    cluster: NamedCluster,
    agentInfo: JoiningAgent,
    zone: Zone,
    obConfigs: StartOptions = AS_IT_IS,
    targetAgentPassword: TargetPassword = None,
    time_limits: Annotated[TimeLimits, titled("Time limits")] = VERIFY_LIMITS,
) -> ScaleOutReport:
    """Prove one node from cluster and node; submit nothing, and change nothing.

    It is looked at for half a minute at least: a new observer has to stay connectable. The other
    members are judged too, by the look from before the POST where its run was obscale's.

    Args:
        cluster: The cluster of the node, by the name of its stored connection, e.g. prod-east.
        agentInfo: The obshell agent of the node.
        zone: Zone it was asked to join, e.g. zone2.
        obConfigs: Start options it was asked to have; each that is given has to be in force.
        targetAgentPassword: Where the password of the agent is kept; only if it has one.
        time_limits: Time limits; whoever looks wants an answer, so the proofs have a minute.
    """
    check_worker()
    node = NodeSpec(
        agentInfo=agentInfo,
        zone=zone,
        obConfigs=obConfigs.given(),
        targetAgentPassword=targetAgentPassword,
    )
    order = ScaleOut(cluster=cluster, node=checked(node), batch=(node,), time_limits=time_limits)
    with cancel_on_sigterm(), sending_events(order), naming_silent_agents():
        async with watching_prefect(), report_at_end(order) as builder:
            await aside(tag_run(tags_of(order)))
            found = await find_node(order)
            await prove(order, None, found.before)
    return builder.report()
