"""The steps of a use: judge, begin exactly once, follow, and prove a tenant's number of units."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from obscale.agent.models import Dag
from obscale.connect.connections import ClusterConnection, cluster_connected
from obscale.errors import DagNotFoundError
from obscale.events import Judged, UseProved, UseSettled
from obscale.report.lists import proofs_page
from obscale.request.use import Use
from obscale.tasks.preflight import show_findings
from obscale.tasks.runtime.baselines import Records, keep_page, kept_earlier, page_of
from obscale.tasks.runtime.blocks import PrefectSecrets
from obscale.tasks.runtime.journal import (
    ProgressNote,
    artifact_key,
    aside,
    note_page,
    publish,
    publish_line,
)
from obscale.tasks.runtime.retries import if_transient, repeatable_task
from obscale.text import markdown
from obscale.use.follow import follow_use
from obscale.use.proofs import Balance
from obscale.use.result import UsePreflight, UseSubmitted
from obscale.use.run import begin_use, concluded, look_before, read_begun
from obscale.use.verify import prove_balance, shortfall_of
from obscale.verify.baseline import Baseline

LOOK_SECONDS: Final = 300
"""A slow endpoint may take minutes (obcluster/info asks every agent); more is a stuck database."""
SUBMIT_SECONDS: Final = 1_500_000
"""Above the longest wait for a window, 16 days, and the longest for the lock, 86400 s, together."""
LONG_SECONDS: Final = 360_000
"""Above four deadlines a request may set, 86400 s each: a DAG may be retried three times."""
ALL_DONE: Final = 100.0
"""Percent."""


@asynccontextmanager
async def open_cluster(order: Use, *, proven: bool = False) -> AsyncIterator[ClusterConnection]:
    """Open the connections to an order's cluster with Prefect's blocks as the store of secrets.

    Args:
        order: What is to be done.
        proven: Whether an earlier step of this run had the root password accepted.
    """
    async with cluster_connected(order.cluster, PrefectSecrets()) as link:
        link.client.password_was_accepted = proven
        yield link


@repeatable_task("preflight", run_name="preflight {order.target}", timeout_seconds=LOOK_SECONDS)
async def judge_use(order: Use) -> UsePreflight:
    """Read cluster and tenant, judge every rule, show the findings. Writes nothing to either.

    Raises:
        PreflightError: A rule blocks, or one that could cannot be judged and nobody has
            acknowledged that.
        SpecError: The cluster has no such tenant.
        AgentError: No entry agent could be asked.
    """
    async with open_cluster(order) as link:
        seen = await look_before(link, order)
    findings = seen.findings
    await show_findings(
        artifact_key("findings", order.cluster_name, order.target),
        findings,
        f"Preflight of {order.target} of {order.cluster_name}: {findings.verdict}",
    )
    publish_line("preflight", f"preflight.gain does={seen.gain!r}")
    publish(Judged(findings=findings, zones=seen.zones, versions=seen.versions))
    return concluded(seen)


@task(
    name="submit",
    task_run_name="submit {order.target}",
    retries=0,
    timeout_seconds=SUBMIT_SECONDS,
    cache_policy=NO_CACHE,
)
async def submit_use(order: Use, seen: UsePreflight) -> UseSubmitted:
    """Send the change exactly once, or take up the one already begun.

    Raises:
        RecordError: How things stood before cannot be written down; nothing was sent.
        PreflightError: Something that was right at preflight no longer is.
        ForeignDagError: Another DAG is in the way for longer than allowed.
        OutcomeUnknownError: The answer was lost and no look could settle what happened.
        AgentRefusedError: The cluster refused; nothing was created.
    """
    async with open_cluster(order, proven=True) as link:
        submitted = await begin_use(link, order, seen, records=Records, publish=publish)
    found = submitted.dag_id or "none"
    words = markdown("DAG **{}** — {}: {}", found, submitted.how, submitted.why)
    await aside(
        keep_page(
            artifact_key("dag", order.cluster_name, order.target),
            page_of(submitted, words),
            f"The DAG that gives {order.target} of {order.cluster_name} its units",
        )
    )
    return submitted


@task(
    name="submit",
    task_run_name="submit {order.target}: take up DAG {begun.dag_id}",
    retries=2,
    retry_delay_seconds=[2, 5],
    retry_condition_fn=if_transient,
    timeout_seconds=LOOK_SECONDS,
    cache_policy=NO_CACHE,
)
async def take_up_use(order: Use, begun: UseSubmitted) -> UseSubmitted | None:
    """Confirm in the cluster the DAG an earlier attempt of this run has begun. Sends nothing.

    Returns:
        It; None: it is not there or not this tenant's, so that the run begins anew.
    """
    async with open_cluster(order) as link:
        try:
            found = await read_begun(link, order, begun)
        except DagNotFoundError:
            found = None
    if found is None:
        publish_line("submit", f"submit.not_taken_up dag={begun.dag_id} next='begin anew'")
        return None
    publish(UseSettled(submitted=found))
    return found


async def earlier_attempt(order: Use) -> UseSubmitted | None:
    """Take up what an earlier attempt of this flow run has begun; None where there is nothing."""
    begun = await kept_earlier(UseSubmitted, "dag-")
    if begun is None and (record := await kept_earlier(Baseline, "baseline-")):
        # Killed right after the answer to its PATCH came.
        begun = UseSubmitted(
            dag_id=record.dag_id, how="posted", why="", at=record.at, cluster=record.cluster
        )
    return await take_up_use(order, begun) if begun is not None and begun.dag_id else None


@repeatable_task(
    "poll",
    run_name="poll {order.target}",
    timeout_seconds=LONG_SECONDS,
    pauses_seconds=(1, 5, 15),
)
async def poll_use(order: Use, submitted: UseSubmitted) -> Dag | None:
    """Follow the DAG to its end, say each change once, and move one progress artifact.

    Returns:
        The DAG as it ended; FAILED where its number is stored and OceanBase goes on by itself. None
        where no DAG is known.

    Raises:
        DagFailedError: It ended FAILED; names its cause.
        DagRolledBackError: Somebody rolled it back.
        DagStalledError: One of the order's time limits was reached; the DAG may still go on.
    """
    bar = ProgressNote(artifact_key("progress", order.cluster_name, order.target))
    if submitted.dag_id is None:
        publish_line("poll", "poll.skipped why='the number is stored already'")
        await bar.show(ALL_DONE, "the number is stored already")
        return None
    async with open_cluster(order, proven=True) as link:
        return await follow_use(
            link.client, order, submitted.dag_id, publish=publish, moved=bar.show
        )


@repeatable_task("verify", run_name="verify {order.target}", timeout_seconds=LONG_SECONDS)
async def verify_use(order: Use, dag: Dag | None) -> Balance:
    """Prove that the tenant is BALANCED; show one line for each proof.

    Raises:
        VerifyError: It is not, and nothing moves any more.
    """
    async with open_cluster(order, proven=True) as link:
        balance = await prove_balance(link.client, order, dag, publish=publish)
    await aside(
        note_page(
            artifact_key("verification", order.cluster_name, order.target),
            proofs_page(balance.lines, ()),
            f"Verification of {order.target} of {order.cluster_name}: {balance.verdict}",
        )
    )
    publish(UseProved(balance=balance))
    if not balance.is_balanced:
        raise shortfall_of(order, balance)
    return balance
