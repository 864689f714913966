"""Carries one row that adds no node to its proof: judges it, asks once, follows and proves.

The same steps as the flows remove and use, over connections that are open.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from obscale.connect.connections import ClusterConnection, Connections
from obscale.errors import VerifyError
from obscale.events import Judged, Publish, UseProved, Verified
from obscale.removal.follow import follow_removal
from obscale.removal.proofs import Judging
from obscale.removal.prove import prove_removed
from obscale.removal.run import GONE, before_known, look_before, remove_once
from obscale.request.removal import Removal
from obscale.request.use import Use
from obscale.submit.result import CalledOff, Keeping
from obscale.use.follow import follow_use
from obscale.use.result import UsePreflight
from obscale.use.run import begin_use, concluded
from obscale.use.run import look_before as look_before_use
from obscale.use.verify import prove_balance, shortfall_of
from obscale.verify.levels import shortfall

Gate = AbstractAsyncContextManager[object]
"""Entered to ask much, where many rows do so at the same time."""
Records = Callable[[str, str], Keeping]
"""Gives where the records of a target are kept, by cluster and target."""


async def carry_removal(
    link: Connections,
    order: Removal,
    called_off: CalledOff,
    gate: Gate,
    beginning: Gate,
    *,
    records: Records,
    publish: Publish,
    also: Judging | None = None,
) -> None:
    """Take one node out, or take up what does, and prove it gone.

    Args:
        link: Open.
        order: What is to be done.
        called_off: Asked right before the request: whether it is not to be sent after all.
        gate: Entered to judge.
        beginning: Entered to look before the request, and to write down what was seen.
        records: Where records are kept.
        publish: Gets each event.
        also: Judges further proofs; of a replacement there are some.

    Raises:
        CalledOffError: Nothing was sent, because nothing may begin any more.
        ObscaleError: It is not proved gone; the error says why, as the flow remove would.
    """
    async with gate:
        seen = await look_before(link, order, publish)
    submitted = await remove_once(
        link, order, seen, called_off, beginning, records=records, publish=publish
    )
    before, dag = before_known(submitted), None
    if submitted.dag_id and submitted.how != GONE:
        dag = await follow_removal(
            link, order, submitted.dag_id, before, publish=publish, show=_unseen
        )
    proved = await prove_removed(link, order, dag, before, publish=publish, also=also)
    levels = proved.levels
    publish(Verified(levels=levels, zones=proved.view.zones or ()))
    if not levels.is_verified:
        raise VerifyError(
            f"{order.target} {shortfall(levels.level.name, levels.lines)}",
            "look at the named proofs; the DAG's success alone proves nothing",
        )


async def carry_use(
    link: ClusterConnection,
    order: Use,
    called_off: CalledOff,
    gate: Gate,
    beginning: Gate,
    *,
    records: Records,
    publish: Publish,
    judged: Callable[[UsePreflight], None] | None = None,
) -> None:
    """Give one tenant its number of units, or take up what does, and prove it BALANCED.

    Args:
        link: Open.
        order: What is to be done.
        called_off: Asked right before the request: whether it is not to be sent after all.
        gate: Entered to judge.
        beginning: Entered to look before the request, and to write down what was seen.
        records: Where records are kept.
        publish: Gets each event.
        judged: Gets what was found, also where a rule blocks.

    Raises:
        CalledOffError: Nothing was sent, because nothing may begin any more.
        ObscaleError: It is not proved; the error says why, as the flow use would.
    """
    async with gate:
        seen = await look_before_use(link, order)
    if judged:
        judged(seen)
    publish(Judged(findings=seen.findings, zones=seen.zones, versions=seen.versions))
    concluded(seen)
    submitted = await begin_use(
        link, order, seen, called_off, beginning, records=records, publish=publish
    )
    dag = submitted.dag
    if submitted.dag_id:
        dag = await follow_use(link.client, order, submitted.dag_id, publish=publish, moved=_unseen)
    balance = await prove_balance(link.client, order, dag, publish=publish)
    publish(UseProved(balance=balance))
    if not balance.is_balanced:
        raise shortfall_of(order, balance)


async def _unseen(_percent: float, _words: str) -> None:
    """A batch has one table, and no bar for each row."""
