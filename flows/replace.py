"""The flow `replace`: adds a node, proves it, and then removes the dead one of its zone."""

from typing import Annotated

from prefect import flow

from obscale.flows.remove import Forced, KnownDead, OnTimeout
from obscale.replacement.judge import checked_replacement
from obscale.report.report import ScaleOutReport
from obscale.request.form import (
    JoiningAgent,
    NamedCluster,
    Overrides,
    StartOptions,
    Strictness,
    TargetPassword,
    Unknowns,
    Zone,
    titled,
)
from obscale.request.models import AgentInfoSpec, NodeSpec
from obscale.request.policies import Window
from obscale.request.removal import LeavingNode
from obscale.request.replacement import ReplacedNode, Replacement
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.tasks.approval import Approval, ask_approval
from obscale.tasks.poll import poll
from obscale.tasks.recover import poll_and_recover
from obscale.tasks.removal import (
    ask_confirmation,
    check_confirmed,
    poll_removal,
    preflight_removal,
    submit_removal,
    verify_removal,
)
from obscale.tasks.replacement import (
    before_added,
    named,
    preflight_replacement,
    render_replacement,
    replaced_by,
)
from obscale.tasks.runtime.blocks import naming_silent_agents
from obscale.tasks.runtime.events import sending_events
from obscale.tasks.runtime.journal import aside
from obscale.tasks.runtime.page_forms import form_in_page_language
from obscale.tasks.runtime.prefect_watch import watching_prefect
from obscale.tasks.runtime.refusal import report_refusal
from obscale.tasks.runtime.replacement_report import replacement_report_at_end
from obscale.tasks.runtime.run_state import (
    check_this_attempt,
    name_by_pair,
    name_final_state,
    tag_run,
    tags_of,
)
from obscale.tasks.runtime.sigterm import cancel_on_sigterm
from obscale.tasks.runtime.versions import check_worker
from obscale.tasks.submit import earlier_attempt, submit
from obscale.tasks.verify import verify

ReplacedAgent = Annotated[AgentInfoSpec, titled("Agent that is replaced")]
TypedAddress = Annotated[str, titled("Agent that is replaced, typed again")]
Alive = Annotated[bool, titled("It is alive")]


@form_in_page_language
@flow(
    name="replace",
    flow_run_name=name_by_pair,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state, report_refusal],
)
async def replace(
    cluster: NamedCluster,
    dead: ReplacedAgent,
    agentInfo: JoiningAgent,
    zone: Zone,
    obConfigs: StartOptions,
    targetAgentPassword: TargetPassword = None,
    confirm: TypedAddress = "",
    live: Alive = False,
    profile: Strictness = "prod",
    allow_unknown: Unknowns = False,
    overrides: Overrides = (),
    approval: Annotated[Approval, titled("Approval")] = "ask",
    window: Annotated[Window | None, titled("Maintenance window")] = None,
    on_failure: OnTimeout = "hold",
    force_kill: Forced = False,
    known_dead: KnownDead = "",
    batch: Annotated[tuple[ReplacedNode, ...], titled("All replacements of the same request")] = (),
    time_limits: Annotated[TimeLimits, titled("Time limits")] = DEFAULT_TIME_LIMITS,
) -> ScaleOutReport:
    """Replace a dead node: add another one to its zone, prove it, and only then remove it.

    One plan judges both halves before anything is touched. The addition is that of `scale-out`; a
    node that is a member already is proved and kept. Then the removal is planned again, and waits
    until somebody types the address of the node that leaves. Whatever keeps it from leaving, the
    new node stays, healthy; running it again goes on from there. Nothing is ever cancelled, rolled
    back or cleaned from here.

    Args:
        cluster: The cluster, by the name of its stored connection, e.g. prod-east.
        dead: The obshell agent of the node that leaves.
        agentInfo: The obshell agent that is to join.
        zone: Zone of both, e.g. zone2.
        obConfigs: How the new observer is started; sizes carry a unit, e.g. 16G.
        targetAgentPassword: Where the password of the joining agent is kept; only if it has one.
        confirm: The address of the node that leaves, typed again: its removal then begins as soon
            as the new one is proved. Empty, the run pauses before the removal and asks for it.
        live: Move off a node that is alive; without this word only a dead one is replaced.
        profile: How strictly findings are weighed; lab takes for a note what prod blocks.
        allow_unknown: In production, begin also where rules that could block could not be judged.
        overrides: Findings that are accepted, each for a reason and until a day.
        approval: ask: pause after the plan, and add nothing until somebody approves. none: add at
            once.
        window: Hours in which each half may be begun; what is under way at their end goes on.
        on_failure: What is done about a DAG that failed. hold: leave it to a person. retry: of the
            addition where the diagnosis calls it safe, of the removal while units still move.
        force_kill: Kill the observer that leaves before its data has moved; see the flow remove.
        known_dead: With that, the IP of the server, typed again by who knows that it is dead.
        batch: Where several nodes are replaced one after the other, all of them.
        time_limits: Time limits of each half; the defaults suit production.
    """
    check_worker()
    leaves = LeavingNode(agentInfo=dead, zone=zone, force_kill=force_kill)
    joins = NodeSpec(
        agentInfo=agentInfo,
        zone=zone,
        obConfigs=obConfigs.given(),
        targetAgentPassword=targetAgentPassword,
    )
    pair = ReplacedNode(dead=leaves, by=joins, live=live)
    order = checked_replacement(
        Replacement(
            cluster=cluster,
            pair=pair,
            batch=batch or (pair,),
            profile=profile,
            allow_unknown=allow_unknown,
            overrides=overrides,
            window=window,
            on_failure=on_failure,
            time_limits=time_limits,
        )
    )
    check_this_attempt()
    check_confirmed(order.removal, confirm, known_dead)
    adding, removing = order.addition, order.removal
    with cancel_on_sigterm(), sending_events(order), naming_silent_agents():
        async with watching_prefect(), replacement_report_at_end(order) as halves:
            await aside(tag_run(tags_of(order)))
            async with halves.adding():
                submitted = await earlier_attempt(adding)
                if submitted is None:
                    asks = approval == "ask"
                    plan = await named(preflight_replacement, 1, order)(order, will_be_asked=asks)
                    if asks:
                        page = render_replacement(order, plan)
                        await ask_approval(adding, plan.addition, page)
                    submitted = await named(submit, 2, order)(adding, plan.addition)
                dag = await poll_and_recover(adding, submitted, named(poll, 3, order))
                await named(verify, 4, order)(adding, dag, before_added(order, submitted))
            async with halves.removing():
                asks = not confirm
                seen = await named(preflight_removal, 5, order)(removing, will_be_asked=asks)
                if asks:
                    await ask_confirmation(removing, seen)
                begun = await named(submit_removal, 6, order)(removing, seen)
                gone = await named(poll_removal, 7, order)(removing, begun)
                replaced = replaced_by(order, submitted.before.zones)
                await named(verify_removal, 8, order)(removing, gone, begun, replaced)
    return halves.report()
