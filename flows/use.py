"""The flow `use`: gives one tenant another number of units, and proves that it has them."""

from typing import Annotated

from prefect import flow

from obscale.report.use import UseReport
from obscale.request.form import NamedCluster, Overrides, Strictness, Unknowns, titled
from obscale.request.policies import Window
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.request.use import OnFailedJob, TenantName, UnitNum, Use
from obscale.tasks.runtime.blocks import naming_silent_agents
from obscale.tasks.runtime.journal import aside
from obscale.tasks.runtime.page_forms import form_in_page_language
from obscale.tasks.runtime.prefect_watch import watching_prefect
from obscale.tasks.runtime.refusal import report_refusal
from obscale.tasks.runtime.run_state import (
    check_this_attempt,
    name_by_tenant,
    name_final_state,
    tag_run,
    tags_of_tenant,
)
from obscale.tasks.runtime.sigterm import cancel_on_sigterm
from obscale.tasks.runtime.use_report import use_report_at_end
from obscale.tasks.runtime.versions import check_worker
from obscale.tasks.use import earlier_attempt, judge_use, poll_use, submit_use, verify_use
from obscale.use.judge import checked_use


def run_name() -> str:
    """Name the run after what it does, e.g. `use 2 units for tenant app of prod-east`."""
    return name_by_tenant()


@form_in_page_language
@flow(
    name="use",
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state, report_refusal],
)
async def use(
    cluster: NamedCluster,
    tenant: Annotated[TenantName, titled("Tenant")],
    unit_num: Annotated[UnitNum, titled("Units in each zone")],
    profile: Strictness = "prod",
    allow_unknown: Unknowns = False,
    overrides: Overrides = (),
    window: Annotated[Window | None, titled("Maintenance window")] = None,
    on_failure: Annotated[OnFailedJob, titled("When the DAG fails")] = "hold",
    time_limits: Annotated[TimeLimits, titled("Time limits")] = DEFAULT_TIME_LIMITS,
) -> UseReport:
    """Give one tenant another number of units in each of its zones, and prove that it has them.

    Preflight reads cluster and tenant and stops the run before anything is touched; submit looks
    for a DAG that brings this number and begins one only if there is none; poll follows it; verify
    proves from the cluster's own view that units and data are where they belong. Running it again
    is safe: what is there is taken up, and a number that is stored is proved only.

    Args:
        cluster: The cluster, by the name of its stored connection, e.g. prod-east.
        tenant: The tenant, e.g. app. Tenant sys keeps one unit a zone.
        unit_num: Units it is to have in each of its zones; each takes a server of its own.
        profile: How strictly findings are weighed; lab takes for a note what prod blocks.
        allow_unknown: In production, begin also where rules that could block could not be judged.
        overrides: Findings that are accepted, each for a reason and until a day.
        window: Hours in which it may be begun; outside, the run waits for the next ones. Data that
            moves at their end goes on.
        on_failure: What is done about a DAG that fails. hold: leave it to a person; it holds no
            lock. retry: up to 3 times, where nothing was changed and the diagnosis calls it safe.
        time_limits: Time limits of the run; the defaults suit production.
    """
    check_worker()
    order = checked_use(
        Use(
            cluster=cluster,
            tenant=tenant,
            unit_num=unit_num,
            profile=profile,
            allow_unknown=allow_unknown,
            overrides=overrides,
            window=window,
            time_limits=time_limits,
            on_failure=on_failure,
        )
    )
    check_this_attempt()
    with cancel_on_sigterm(), naming_silent_agents():
        async with watching_prefect(), use_report_at_end(order) as builder:
            await aside(tag_run(tags_of_tenant(order)))
            submitted = await earlier_attempt(order)
            if submitted is None:
                seen = await judge_use(order)
                builder.take(seen)
                submitted = await submit_use(order, seen)
            dag = await poll_use(order, submitted)
            await verify_use(order, dag or submitted.dag)
    return builder.report()
