"""The flow `scale_out`: adds one observer to one cluster and proves that it joined."""

from typing import Annotated

from prefect import flow

from obscale.report.report import ScaleOutReport
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
    titled,
)
from obscale.request.models import NodeSpec
from obscale.request.policies import OnFailure, Window
from obscale.request.scale_out import ScaleOut
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.spec import checked
from obscale.tasks.approval import Approval, ask_approval
from obscale.tasks.preflight import preflight
from obscale.tasks.recover import poll_and_recover
from obscale.tasks.runtime.blocks import naming_silent_agents
from obscale.tasks.runtime.events import sending_events
from obscale.tasks.runtime.journal import aside
from obscale.tasks.runtime.page_forms import form_in_page_language
from obscale.tasks.runtime.prefect_watch import watching_prefect
from obscale.tasks.runtime.refusal import report_refusal
from obscale.tasks.runtime.report import report_at_end
from obscale.tasks.runtime.run_state import (
    check_this_attempt,
    name_by_target,
    name_final_state,
    tag_run,
    tags_of,
)
from obscale.tasks.runtime.sigterm import cancel_on_sigterm
from obscale.tasks.runtime.versions import check_worker
from obscale.tasks.submit import earlier_attempt, submit
from obscale.tasks.verify import verify


def run_name() -> str:
    """Name the run after what it does, e.g. `scale-out 10.0.0.4 to zone2 of prod-east`."""
    return name_by_target("scale-out", "to")


@form_in_page_language
@flow(
    name="scale-out",
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state, report_refusal],
)
async def scale_out(
    cluster: NamedCluster,
    agentInfo: JoiningAgent,
    zone: Zone,
    obConfigs: StartOptions,
    targetAgentPassword: TargetPassword = None,
    profile: Strictness = "prod",
    allow_new_zone: NewZone = False,
    allow_unknown: Unknowns = False,
    overrides: Overrides = (),
    approval: Annotated[Approval, titled("Approval")] = "none",
    window: Annotated[Window | None, titled("Maintenance window")] = None,
    on_failure: Annotated[OnFailure, titled("When the DAG fails")] = "hold",
    time_limits: Annotated[TimeLimits, titled("Time limits")] = DEFAULT_TIME_LIMITS,
) -> ScaleOutReport:
    """Add one observer to one cluster through obshell, and prove that it joined.

    Preflight reads cluster and target and stops the run before anything is touched; submit looks
    for a scale-out of this target and begins one only if there is none; poll follows the DAG,
    and where it fails, recover does what `on_failure` says; verify proves the node from the
    cluster's own view. Running it again is safe: a retry confirms the DAG its first attempt has
    begun, and does what is missing.

    Args:
        cluster: The cluster that grows, by the name of its stored connection, e.g. prod-east.
        agentInfo: The obshell agent that is to join.
        zone: Zone the node joins, e.g. zone2.
        obConfigs: How the new observer is started; sizes carry a unit, e.g. 16G.
        targetAgentPassword: Where the password of the target agent is kept; only if it has one.
        profile: How strictly findings are weighed; lab takes for a note what prod blocks.
        allow_new_zone: Create the zone if the cluster has none of this name.
        allow_unknown: In production, begin also where rules that could block could not be judged,
            say because the host tells nothing of itself. Whoever approves accepts that too.
        overrides: Findings that are accepted, each for a reason and until a day.
        approval: ask: pause after preflight and show the findings; nothing is submitted until
            somebody approves. none: submit at once.
        window: Hours in which the scale-out may be begun; outside, the run waits for the next ones.
            What is under way at their end goes on.
        on_failure: What is done about a DAG that fails. hold: leave it to a person. retry: up to 3
            times, where the diagnosis calls it safe. roll-back: where it is safe; it deletes what
            obshell made on the target. ask: pause, and let a person choose among what is safe.
        time_limits: Time limits of the run; the defaults suit production.
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
        window=window,
        time_limits=time_limits,
        on_failure=on_failure,
    )
    check_this_attempt()
    with cancel_on_sigterm(), sending_events(order), naming_silent_agents():
        async with watching_prefect(), report_at_end(order) as builder:
            await aside(tag_run(tags_of(order)))
            submitted = await earlier_attempt(order)
            if submitted is None:
                found = await preflight(order, will_be_asked=approval == "ask")
                if approval == "ask":
                    await ask_approval(order, found)
                submitted = await submit(order, found)
            dag = await poll_and_recover(order, submitted)
            await verify(order, dag, submitted.before)
    return builder.report()
