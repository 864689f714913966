"""What `obscale verify --gone` does: proves that nodes have left; it sends nothing."""

from collections.abc import Callable, Sequence

from obscale.agent.models import Dag
from obscale.cli.kept_before import removal_known
from obscale.connect.connections import Connections, SecretStore
from obscale.events import Event, LevelReached, WaitsForProofs
from obscale.reading import side_by_side
from obscale.removal.decide import DELETING, leaving_servers
from obscale.removal.look import learn_staying, read_sighting, removal_connected
from obscale.removal.prove import RemovalProved, prove_removed
from obscale.removal.result import RemovalRecord
from obscale.removal.run import before_in
from obscale.report.report import ScaleOutReport, stage_rows
from obscale.report.servers import server_rows
from obscale.request.removal import Removal
from obscale.scale_in_dag import REMOVALS
from obscale.verify.baseline import identity_of
from obscale.verify.levels import shortfall

Say = Callable[[str, str], None]
"""Takes a line and its style."""


async def verify_gone(
    orders: Sequence[Removal], secret_store: SecretStore, say: Say
) -> list[ScaleOutReport]:
    """Prove for every node at the same time that it is gone.

    Args:
        orders: What has left, with the time limits of the proofs.
        secret_store: Where names resolve.
        say: Gets each line.

    Raises:
        SpecError: A name resolves to nothing.
        AgentError: No agent of the cluster could be asked.
    """
    async with side_by_side() as proofs:
        running = [proofs.create_task(_prove(order, secret_store, say)) for order in orders]
    return [each.result() for each in running]


async def _prove(order: Removal, secret_store: SecretStore, say: Say) -> ScaleOutReport:
    def show(event: Event) -> None:
        match event:
            case LevelReached(levels=levels):
                say(f"{order.target}: {levels.level.name}", "dim")
            case WaitsForProofs(what=what):
                say(f"{order.target}: waits for {what}", "dim")
            case _:
                pass

    async with removal_connected(order, secret_store) as link:
        if order.node:
            link.cluster.leave_out({order.node.address})
        # Whether anybody answers with these credentials is an error of its own, not a missing row.
        cluster = identity_of(await link.read_members())
        await learn_staying(link, order, show)
        record = await removal_known(order, cluster)
        if await _stays(link, order):
            # Nothing is to come that would be worth a wait.
            at_once = order.time_limits.model_copy(update={"verify_seconds": -1})
            order = order.model_copy(update={"time_limits": at_once})
        before = before_in(record)
        proved = await prove_removed(link, order, None, before, publish=show)
    return report_of(order, proved, None, how="verified alone", record=record)


async def _stays(link: Connections, order: Removal) -> bool:
    """Whether it is listed, and nobody takes it out."""
    sighting = await read_sighting(link)
    rows = leaving_servers(sighting.zones, order)
    is_leaving = any(dag.name in REMOVALS for dag in sighting.unfinished) or any(
        row.inner_status == DELETING for row in rows
    )
    return bool(rows) and not is_leaving


def report_of(
    order: Removal,
    proved: RemovalProved,
    dag: Dag | None,
    *,
    how: str,
    record: RemovalRecord | None = None,
) -> ScaleOutReport:
    """Make the report of a removal a command has proved.

    Args:
        order: What has left.
        proved: As far as that is so.
        dag: As it ended; None: nobody looked for it.
        how: What the command had to do with it.
        record: How things stood before; None: not known.
    """
    levels = proved.levels
    lacks = shortfall(levels.level.name, levels.lines)
    return ScaleOutReport(
        outcome="verified" if levels.is_verified else "failed",
        operation="removal",
        cluster=order.cluster_name,
        target=order.target,
        zone=order.zone,
        obConfigs={},
        dag_id=dag.id if dag else None,
        submitted_how=how,
        stages=stage_rows(dag),
        level=levels.level.name,
        exceptions=levels.exceptions,
        proofs=levels.lines,
        before=server_rows(record.zones) if record else (),
        before_at=record.at if record else None,
        after=server_rows(proved.view.zones or ()),
        error_kind="" if levels.is_verified else "verify",
        error="" if levels.is_verified else f"{order.target} {lacks}",
    )
