"""The flow `remove`: takes one observer, or a whole zone, out of a cluster and proves it gone."""

from typing import Annotated, Literal

from prefect import flow
from prefect.runtime import flow_run as this_run
from pydantic import Field

from obscale.removal.judge import checked_removal
from obscale.report.report import ScaleOutReport
from obscale.request.form import NamedCluster, Overrides, Strictness, Unknowns, Zone, titled
from obscale.request.models import AgentInfoSpec
from obscale.request.policies import Window
from obscale.request.removal import LeavingNode, Removal
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.tasks.removal import (
    ask_confirmation,
    check_confirmed,
    poll_removal,
    preflight_removal,
    submit_removal,
    verify_removal,
)
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


def run_name() -> str:
    """Name the run after what it does, e.g. `remove 10.0.0.4 from zone2 of prod-east`."""
    if this_run.parameters.get("agentInfo"):
        return name_by_target("remove", "from")
    return name_by_target("remove", "zone").replace("? ", "", 1)


LeavingAgent = Annotated[AgentInfoSpec | None, titled("Agent that leaves")]
Typed = Annotated[str, titled("What is to leave, typed again")]
Forced = Annotated[bool, titled("Kill its observer first")]
KnownDead = Annotated[str, titled("Its IP typed again: it is dead")]
OnTimeout = Annotated[
    Literal["hold", "retry"], Field(json_schema_extra={"title": "When its hour is over"})
]


@form_in_page_language
@flow(
    name="remove",
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state, report_refusal],
)
async def remove(
    cluster: NamedCluster,
    zone: Zone,
    agentInfo: LeavingAgent = None,
    confirm: Typed = "",
    profile: Strictness = "prod",
    allow_unknown: Unknowns = False,
    overrides: Overrides = (),
    window: Annotated[Window | None, titled("Maintenance window")] = None,
    on_failure: OnTimeout = "hold",
    force_kill: Forced = False,
    known_dead: KnownDead = "",
    batch: Annotated[tuple[LeavingNode, ...], titled("All nodes of the same request")] = (),
    time_limits: Annotated[TimeLimits, titled("Time limits")] = DEFAULT_TIME_LIMITS,
) -> ScaleOutReport:
    """Take one observer, or a whole zone, out of a cluster through obshell, and prove it gone.

    Preflight stops the run before anything is touched; submit looks for a removal of this target
    and asks for one only if there is none; poll follows it by units and data; verify proves from
    the cluster that it is gone and that nothing else has changed. Running it again is safe. Nothing
    is ever cancelled or rolled back from here, and its host is not touched: the report says how to
    clean it.

    Args:
        cluster: The cluster that shrinks, by the name of its stored connection, e.g. prod-east.
        zone: Zone the node is in, or the zone that leaves, e.g. zone2.
        agentInfo: The obshell agent of the node that leaves; left out, the whole zone leaves.
        confirm: The node's address, or the zone's name, typed again; empty, the run pauses and
            asks for it.
        profile: How strictly findings are weighed; lab takes for a note what prod blocks.
        allow_unknown: In production, begin also where rules that could block could not be judged.
        overrides: Findings that are accepted, each for a reason and until a day.
        window: Hours in which the removal may be begun; what is under way at their end goes on.
        on_failure: What is done where obshell's hour is over. hold: leave it to a person. retry:
            have it go on while units or data still move, up to 24 times.
        force_kill: Kill the observer before its data has moved. Only for one that runs and yet is
            dead; it takes away one source of the data.
        known_dead: With that, the IP of the server, typed again by who knows that it is dead.
        batch: Where several nodes leave one after the other, all of them.
        time_limits: Time limits of the run; the defaults suit production.
    """
    check_worker()
    node = LeavingNode(agentInfo=agentInfo, zone=zone, force_kill=force_kill) if agentInfo else None
    order = Removal(
        cluster=cluster,
        zone=zone,
        node=node,
        batch=batch or ((node,) if node else ()),
        profile=profile,
        allow_unknown=allow_unknown,
        overrides=overrides,
        window=window,
        on_failure=on_failure,
        time_limits=time_limits,
    )
    check_this_attempt()
    checked_removal(order)
    check_confirmed(order, confirm, known_dead)
    with cancel_on_sigterm(), sending_events(order), naming_silent_agents():
        async with watching_prefect(), report_at_end(order) as builder:
            await aside(tag_run(tags_of(order)))
            seen = await preflight_removal(order, will_be_asked=not confirm)
            if not confirm:
                await ask_confirmation(order, seen)
            submitted = await submit_removal(order, seen)
            dag = await poll_removal(order, submitted)
            await verify_removal(order, dag, submitted)
    return builder.report()
