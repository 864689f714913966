"""The flow `batch_part`: carries out one cluster's rows of a batch on a worker."""

from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from obscale.agent.transport import asking_often
from obscale.batch.dispatch_rows import kind_in, run_name
from obscale.batch.ledger import ledger_of
from obscale.batch.report import error_of_batch, report_of, summary_of
from obscale.request.asked import Asked
from obscale.request.form import titled
from obscale.request.models import ClusterSpec
from obscale.request.policies import PARTS_FLOW, BatchPolicies, OnRowFailure
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.spec.batch import BatchSpec, checked_batch
from obscale.tasks.dispatch.worker import BEAT_SECONDS, is_incomplete, run_assignment, told
from obscale.tasks.runtime.blocks import naming_silent_agents
from obscale.tasks.runtime.page_forms import form_in_page_language
from obscale.tasks.runtime.prefect_watch import watching_prefect
from obscale.tasks.runtime.run_state import name_final_state
from obscale.tasks.runtime.sigterm import cancel_on_sigterm
from obscale.tasks.runtime.versions import check_worker


def rows_run_name() -> str:
    """Name the run after its rows, e.g. `rows of prod-east: 5 nodes`."""
    asked: list[Any] = list(flow_run.parameters.get("clusters") or ())
    parts = [each if isinstance(each, dict) else each.model_dump() for each in asked]
    names = [str(each.get("cluster", "a cluster")) for each in parts]
    kind, count = kind_in(parts)
    return run_name(sorted(names), count, kind)


@form_in_page_language
@flow(
    name=PARTS_FLOW,
    flow_run_name=rows_run_name,
    retries=0,
    persist_result=False,
    on_failure=[name_final_state],
)
async def batch_part(
    batch: Annotated[str, Field(min_length=1), titled("Batch")],
    clusters: Annotated[list[Asked], Field(min_length=1), titled("Clusters")],
    connections: Annotated[dict[str, ClusterSpec] | None, titled("Connections")] = None,
    on_failure: Annotated[OnRowFailure, titled("When a DAG fails")] = "hold",
    time_limits: Annotated[TimeLimits, titled("Time limits")] = DEFAULT_TIME_LIMITS,
) -> str:
    """Carry out rows of a dispatched batch. The batch starts this; by hand it does nothing.

    No row begins without a word of the batch, which watches order, stop rules and hours over all
    clusters. Left alone, the run ends what it has begun, and ends.

    Args:
        batch: Key of the batch these rows are of.
        clusters: One; more only where they are one and the same under several names.
        connections: Clusters written out, by the names used for them.
        on_failure: What is done about a DAG that fails, as in the batch's policies.
        time_limits: Time limits of each row.
    """
    check_worker()
    spec = BatchSpec(
        clusters=tuple(clusters),
        connections=connections or {},
        policies=BatchPolicies(on_failure=on_failure),
    )
    ledger = ledger_of(checked_batch(spec), time_limits)
    with cancel_on_sigterm(), asking_often(len(ledger.entries)), naming_silent_agents():
        async with watching_prefect(BEAT_SECONDS), told(ledger, batch) as table:
            await run_assignment(ledger, table)
    if is_incomplete(ledger) and (incomplete := error_of_batch(report_of(ledger))):
        raise incomplete
    return summary_of(ledger)
