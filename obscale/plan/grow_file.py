"""Reads a pool of spares, and writes those that are chosen of it as a request file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from obscale.connect.connections import SecretStore
from obscale.plan import survey_all
from obscale.plan.grow import Choice, Growth, GrowthTold, candidates_of, choose
from obscale.plan.suggest_file import cluster_lines, cluster_of, flow, secret_of
from obscale.preflight.facts import Facts
from obscale.request.models import ClusterSpec, NodeSpec, Profile, ScaleOutSpec
from obscale.request.scale_out import ScaleOut


@dataclass(frozen=True)
class Grown:
    """What became of a pool of spares.

    Args:
        told: Who is chosen, and why of each.
        spec: The request; None: there are too few.
        text: The same as a file; empty: there is none.
    """

    told: GrowthTold
    spec: ScaleOutSpec | None
    text: str


async def grow(orders: tuple[ScaleOut, ...], growth: Growth, secret_store: SecretStore) -> Grown:
    """Read cluster and spares, choose, and make the request; writes nothing anywhere.

    Args:
        orders: One for each spare of the pool, without zone and start options.
        growth: How many are wanted.
        secret_store: Where their names resolve.

    Raises:
        SpecError: A name resolves to nothing, or the cluster has no zone of a name.
        PreflightError: The cluster's zones are not known.
        AgentError: No entry agent of the cluster could be asked.
    """
    pool = await survey_all(orders, secret_store)
    return grown_of(orders[0], pool, growth)


def grown_of(order: ScaleOut, pool: tuple[Facts, ...], growth: Growth) -> Grown:
    """Choose of a pool that has been read, and make the request.

    Args:
        order: Any of the pool's.
        pool: Facts of each spare.
        growth: How many are wanted.

    Raises:
        SpecError: The cluster has no zone of a name.
        PreflightError: The cluster's zones are not known.
    """
    facts = pool[0]
    wanted = growth.of(facts)
    known = facts.cluster.identity()
    name = f"{known[0]}/{known[1]}" if known else order.cluster_name
    choice = choose(name, wanted, candidates_of(pool, tuple(wanted), order.profile))
    if choice.told.missing:
        return Grown(choice.told, None, "")
    request = _as_request(order, facts, choice)
    told = choice.told.model_copy(update={"request": request})
    text = "".join(f"{' '.join(line.splitlines())}\n" for line in _lines(request, facts, choice))
    return Grown(told, ScaleOutSpec.model_validate(request), text)


def _as_request(order: ScaleOut, facts: Facts, choice: Choice) -> dict[str, Any]:
    nodes = [each.offers[zone].made.node for zone, each in choice.picked]
    request: dict[str, Any] = {
        "cluster": cluster_of(order, facts),
        "nodes": [_as_node(node) for node in nodes],
    }
    return request | ({"profile": order.profile} if order.profile != "prod" else {})


def _as_node(node: NodeSpec) -> dict[str, Any]:
    written: dict[str, Any] = {
        "agentInfo": {"ip": node.agentInfo.ip, "port": node.agentInfo.port},
        "zone": node.zone,
    }
    if node.targetAgentPassword:
        written["targetAgentPassword"] = secret_of(node.targetAgentPassword)
    return written | {"obConfigs": dict(node.obConfigs)}


def _lines(request: dict[str, Any], facts: Facts, choice: Choice) -> Iterator[str]:
    """Give the file's lines, with the reason beside each value; they hold no secret."""
    grows = ", ".join(f"{zone} by {count}" for zone, count in choice.told.wanted.items())
    yield f"# Chosen of a pool of spares by `obscale plan --grow`: {grows}."
    yield "# It is as it was chosen: obscale apply chooses nothing."
    for left in choice.told.left_out:
        yield f"# - left out {left.target}: {left.why}"
    yield from cluster_lines(request["cluster"], facts)
    yield "nodes:"
    for node, told, (zone, each) in zip(
        request["nodes"], choice.told.chosen, choice.picked, strict=True
    ):
        made = each.offers[zone].made
        yield f"  - agentInfo: {flow(node['agentInfo'])}  # {told.why}"
        yield f"    zone: {flow(node['zone'])}"
        if "targetAgentPassword" in node:
            yield f"    targetAgentPassword: {flow(node['targetAgentPassword'])}"
        yield "    obConfigs:"
        yield from (f"      {a.key}: {flow(a.value)}  # {a.why}" for a in made.advice)
    if "profile" in request:
        yield f"profile: {request['profile']}"


def orders_of(
    pool: tuple[NodeSpec, ...], cluster: str | ClusterSpec, profile: Profile | None
) -> tuple[ScaleOut, ...]:
    """Give an order for each spare, by address, so that their own order says nothing."""
    nodes = sorted(pool, key=lambda node: node.address)
    return tuple(
        ScaleOut(cluster=cluster, node=node, batch=(node,), profile=profile or "prod")
        for node in nodes
    )
