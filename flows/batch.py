"""The flow `batch`: carries out many rows of many clusters in a safe order, with one report."""

from collections.abc import Sequence, Sized
from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run

from obscale.agent.transport import asking_often
from obscale.batch.confirm import check_confirmed
from obscale.batch.connections import ConnectionCache
from obscale.batch.ledger import ledger_of
from obscale.batch.process_limits import fewer_gc_runs
from obscale.batch.report import BatchReport, error_of_batch, report_of
from obscale.request.asked import Asked
from obscale.request.form import titled
from obscale.request.models import ClusterSpec
from obscale.request.policies import BATCH_FLOW, BatchPolicies
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.spec.batch import CSV, form_batch
from obscale.spec.table import read_table
from obscale.tasks.batch import LocalRunner, run_batch, shown
from obscale.tasks.batch_preflight import ask_if_nodes_leave, preflight_all
from obscale.tasks.dispatch.dispatcher import dispatching
from obscale.tasks.runtime.blocks import PrefectSecrets, naming_silent_agents
from obscale.tasks.runtime.journal import aside
from obscale.tasks.runtime.page_forms import form_in_page_language
from obscale.tasks.runtime.prefect_watch import watching_prefect
from obscale.tasks.runtime.refusal import report_refusal
from obscale.tasks.runtime.run_state import name_final_state, tag_run, tags_of_batch
from obscale.tasks.runtime.sigterm import cancel_on_sigterm
from obscale.tasks.runtime.versions import check_worker

DEFAULT_POLICIES = BatchPolicies()


def run_name() -> str:
    """Name the run after its size, e.g. `batch of 8 clusters`."""
    asked = flow_run.parameters
    clusters: Sized = asked.get("clusters") or ()
    if table := asked.get("csv"):
        clusters = {row.cluster for row in read_table(str(table), CSV).rows}
    return f"batch of {len(clusters)} cluster{'s' if len(clusters) != 1 else ''}"


@form_in_page_language
@flow(
    name=BATCH_FLOW,
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state, report_refusal],
)
async def batch(
    clusters: Annotated[Sequence[Asked], titled("Clusters")] = (),
    csv: Annotated[str, titled("Or a table of nodes")] = "",
    connections: Annotated[dict[str, ClusterSpec] | None, titled("Connections")] = None,
    policies: Annotated[BatchPolicies, titled("Policies")] = DEFAULT_POLICIES,
    confirm: Annotated[str, titled("Where nodes leave: how many, typed")] = "",
    time_limits: Annotated[TimeLimits, titled("Time limits")] = DEFAULT_TIME_LIMITS,
) -> BatchReport:
    """Add, remove or replace many nodes of many clusters, or use them more; prove each row.

    A batch holds one kind of rows. Every row is judged before the first one is begun. In one
    cluster rows are carried out one at a time, zones taking turns; clusters are worked on side by
    side. The first failure in a cluster stops that cluster, and a row that was not begun says why.
    Running the same batch again does only what is missing. With `dispatch: deployment` each cluster
    is worked on by a run of its own on a work pool, so that several workers share the batch; what
    begins when is decided here all the same.

    Args:
        clusters: Each cluster with what is asked of it: one of nodes, remove, replace and use, the
            same one in all. Leave it empty where nodes stand in a table.
        csv: Instead of clusters: rows pasted from a spreadsheet, or CSV. The first row names the
            columns: cluster, ip and zone, and where wanted port, agent_password_env or
            agent_password_block, and start options such as memory_limit; a secret itself never.
        connections: Clusters written out, by the names used for them; any other name is a stored
            connection.
        policies: Clusters at once, order, stop rules, hours, and where the work is done; where
            nodes leave, max_removals.
        confirm: Where nodes leave: what is done and to how many, e.g. remove 3 nodes. Empty, the
            run pauses after preflight and asks for it.
        time_limits: Time limits of each row; the defaults suit production.
    """
    check_worker()
    ledger = ledger_of(form_batch(clusters, csv, connections or {}, policies), time_limits)
    check_confirmed(ledger, confirm)
    many = len(ledger.entries)
    with cancel_on_sigterm(), fewer_gc_runs(), asking_often(many), naming_silent_agents():
        async with watching_prefect(), shown(ledger), dispatching(ledger) as runner:
            await aside(tag_run(tags_of_batch(ledger)))
            async with ConnectionCache(PrefectSecrets()) as opened:
                await preflight_all(ledger, None if runner else opened)
                if not confirm:
                    await ask_if_nodes_leave(ledger, time_limits.approval_seconds)
                await run_batch(ledger, runner or LocalRunner(ledger, opened))
    report = report_of(ledger)
    if incomplete := error_of_batch(report):
        raise incomplete
    return report
