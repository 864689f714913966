"""The forecast of a plan: zones, servers and capacity once the nodes have joined."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Server
from obscale.preflight.facts import Facts, server_address
from obscale.preflight.offers import Offer, expected_of, joining_of, observer_of, offer_of, total_of
from obscale.reading import Unread


class ZoneForecast(BaseModel):
    """One zone before, and as expected after."""

    model_config = ConfigDict(frozen=True)

    zone: str
    is_new: bool
    observers: tuple[str, ...]
    joining: tuple[str, ...]
    before: Offer
    after: Offer


class Forecast(BaseModel):
    """The cluster before, and as expected after all nodes of the request have joined."""

    model_config = ConfigDict(frozen=True)

    zones: tuple[ZoneForecast, ...]
    before: Offer
    after: Offer


def forecast_of(rows: Sequence[Facts]) -> Forecast | None:
    """Work out what the nodes of one request make of their cluster.

    Args:
        rows: Facts of each node, all of one cluster.

    Returns:
        None where the topology could not be read.
    """
    cluster = rows[0].cluster
    if isinstance(cluster.topology, Unread):
        return None
    joining = joining_of(rows)
    known = {zone.name: zone.servers for zone in cluster.topology}
    names = sorted({*known, *(facts.node.zone for facts in joining)})
    zones = tuple(
        _zone(name, known.get(name), [facts for facts in joining if facts.node.zone == name])
        for name in names
    )
    return Forecast(
        zones=zones,
        before=total_of(zone.before for zone in zones),
        after=total_of(zone.after for zone in zones),
    )


def _zone(name: str, servers: Sequence[Server] | None, joining: Sequence[Facts]) -> ZoneForecast:
    before = total_of(offer_of(server) for server in servers or ())
    return ZoneForecast(
        zone=name,
        is_new=servers is None,
        observers=tuple(server_address(server) for server in servers or ()),
        joining=tuple(observer_of(facts) for facts in joining),
        before=before,
        after=before + total_of(expected_of(facts) for facts in joining),
    )
