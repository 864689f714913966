"""The flow `plan`: judges one scale-out and writes nothing to the cluster."""

from prefect import flow

from obscale.request.form import (
    JoiningAgent,
    NamedCluster,
    NewZone,
    Overrides,
    StartOptions,
    Strictness,
    TargetPassword,
    Unknowns,
    Zone,
)
from obscale.request.models import NodeSpec
from obscale.request.scale_out import ScaleOut
from obscale.spec import checked
from obscale.tasks.preflight import preflight
from obscale.tasks.runtime.blocks import naming_silent_agents
from obscale.tasks.runtime.page_forms import form_in_page_language
from obscale.tasks.runtime.refusal import report_refusal
from obscale.tasks.runtime.run_state import name_by_target, name_final_state
from obscale.tasks.runtime.sigterm import cancel_on_sigterm
from obscale.tasks.runtime.versions import check_worker


def run_name() -> str:
    """Name the run after what it looks at, e.g. `plan 10.0.0.4 for zone2 of prod-east`."""
    return name_by_target("plan", "for")


@form_in_page_language
@flow(
    name="plan",
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state, report_refusal],
)
async def plan(
    cluster: NamedCluster,
    agentInfo: JoiningAgent,
    zone: Zone,
    obConfigs: StartOptions,
    targetAgentPassword: TargetPassword = None,
    profile: Strictness = "prod",
    allow_new_zone: NewZone = False,
    allow_unknown: Unknowns = False,
    overrides: Overrides = (),
) -> str:
    """Judge one scale-out by every rule of preflight; write nothing to cluster or target.

    The findings are a table of the run, and what would come of it a page with pictures. It
    completes where the scale-out may begin, and fails with what blocks it where it may not.

    Args:
        cluster: The cluster that would grow, by the name of its stored connection.
        agentInfo: The obshell agent that would join.
        zone: Zone the node would join, e.g. zone2.
        obConfigs: How the new observer would be started; sizes carry a unit, e.g. 16G.
        targetAgentPassword: Where the password of the target agent is kept; only if it has one.
        profile: How strictly findings are weighed; lab takes for a note what prod blocks.
        allow_new_zone: Whether the zone may be created if the cluster has none of this name.
        allow_unknown: Whether it may begin where rules that could block could not be judged.
        overrides: Findings that are accepted, each for a reason and until a day.
    """
    check_worker()
    node = NodeSpec(
        agentInfo=agentInfo,
        zone=zone,
        obConfigs=obConfigs.given(),
        targetAgentPassword=targetAgentPassword,
    )
    order = ScaleOut(
        cluster=cluster,
        node=checked(node, overrides=overrides),
        batch=(node,),
        profile=profile,
        allow_new_zone=allow_new_zone,
        allow_unknown=allow_unknown,
        overrides=overrides,
    )
    with cancel_on_sigterm(), naming_silent_agents():
        return (await preflight(order, is_plan=True)).findings.verdict
