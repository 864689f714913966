"""Writes a suggested request as a file that a person can edit."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from obscale.connect.connections import Connections, SecretStore, connected
from obscale.errors import AgentError
from obscale.plan.suggest import NO_FOLDERS, Suggestion, suggest
from obscale.plan.suggest_zone import Units, other_members
from obscale.preflight.facts import Facts
from obscale.preflight.read import survey
from obscale.request.models import SecretName
from obscale.request.scale_out import ScaleOut


async def make_suggestion(
    order: ScaleOut,
    secret_store: SecretStore,
    zone: str | None,
    folders: Mapping[str, str] = NO_FOLDERS,
) -> tuple[Suggestion, Facts]:
    """Read cluster and host, and suggest a request; writes nothing anywhere.

    Args:
        order: Names cluster and target; its zone and start options are not looked at.
        secret_store: Where its names resolve.
        zone: Where the node should join; None: where it serves most.
        folders: `data_dir` and `redo_dir` as somebody wants them.

    Raises:
        SpecError: A name resolves to nothing.
        AgentError: No entry agent of the cluster could be asked.
        PreflightError: Nothing can be suggested for this host.
    """
    async with connected(order, secret_store) as link:
        facts = await survey(link, order)
        units = await _read_units(link)
    return suggest(facts, order.profile, zone=zone, units=units, folders=folders), facts


async def _read_units(link: Connections) -> Units | None:
    try:
        configs = await link.cluster.ask(lambda agent: agent.read_unit_configs())
        pools = await link.cluster.ask(lambda agent: agent.read_resource_pools())
    except AgentError:
        return None
    return Units(configs, pools)


def as_request(order: ScaleOut, facts: Facts, made: Suggestion) -> dict[str, Any]:
    """Give the suggestion in the shape of a request file."""
    node: dict[str, Any] = {
        "agentInfo": {"ip": made.node.agentInfo.ip, "port": made.node.agentInfo.port},
        "zone": made.node.zone,
    }
    if made.node.targetAgentPassword:
        node["targetAgentPassword"] = secret_of(made.node.targetAgentPassword)
    node["obConfigs"] = dict(made.node.obConfigs)
    request: dict[str, Any] = {"cluster": cluster_of(order, facts), "nodes": [node]}
    if order.profile != "prod":
        request["profile"] = order.profile
    return request


def render_request(order: ScaleOut, facts: Facts, made: Suggestion) -> str:
    """Write the suggestion as YAML with a reason beside each value.

    Its comments hold no secret: passwords are named, never written.
    """
    request = as_request(order, facts, made)
    lines = [f"# A suggestion for {made.node.address} by `obscale suggest`, judged with the"]
    lines += [f"# profile {order.profile}: {made.findings.verdict}"]
    lines += [f"# - {f.rule}: {f.measured}; needed {f.needed}" for f in made.findings.warnings]
    lines += ["# Worth knowing:"] if made.notes else []
    lines += [f"# - {note}" for note in made.notes]
    lines += cluster_lines(request["cluster"], facts)
    (node,) = request["nodes"]
    lines += ["nodes:", f"  - agentInfo: {flow(node['agentInfo'])}"]
    lines += [f"    zone: {flow(node['zone'])}  # {made.zone_why}"]
    if "targetAgentPassword" in node:
        lines += [f"    targetAgentPassword: {flow(node['targetAgentPassword'])}"]
    lines += ["    obConfigs:"]
    written = [(f"      {each.key}: {flow(each.value)}", each.why) for each in made.advice]
    width = max(len(text) for text, _ in written)
    lines += [f"{text:<{width}}  # {why}" for text, why in written]
    if "profile" in request:
        lines += [f"profile: {request['profile']}"]
    # A comment must not end early: what an agent said may hold a line break.
    return "".join(f"{' '.join(line.splitlines())}\n" for line in lines)


def cluster_lines(cluster: str | dict[str, Any], facts: Facts) -> Sequence[str]:
    """Give the lines of a request file that name the cluster."""
    if isinstance(cluster, str):
        return [f"cluster: {flow(cluster)}"]
    lines = ["cluster:"]
    comments = {
        "password": "where the password of root@sys is kept; it never stands here itself",
        "name": "the cluster must answer with this name and id",
    }
    spare = other_members(facts, tuple(end.rpartition("/")[2] for end in cluster["endpoints"]))
    if spare:
        comments["endpoints"] = f"more members: {', '.join(spare)}"
    for key, value in cluster.items():
        comment = f"  # {comments[key]}" if key in comments else ""
        lines.append(f"  {key}: {flow(value)}{comment}")
    return lines


def cluster_of(order: ScaleOut, facts: Facts) -> str | dict[str, Any]:
    """Give the cluster in the shape of a request file, held to the name and id it says."""
    if isinstance(order.cluster, str):
        return order.cluster
    written: dict[str, Any] = {"endpoints": list(order.cluster.endpoints)}
    if order.cluster.password:
        written["password"] = secret_of(order.cluster.password)
    if known := facts.cluster.identity():
        written["name"], written["id"] = known
    tls = order.cluster.tls.model_dump(exclude_defaults=True)
    return written | ({"tls": tls} if tls else {})


def secret_of(name: SecretName) -> dict[str, str]:
    """Give where a secret is kept in the shape of a request file."""
    return {"env": name.env} if name.env else {"block": name.block or ""}


def flow(value: Any) -> str:
    """Write a value as JSON, which is YAML too and needs no guess about quotes."""
    return json.dumps(value, ensure_ascii=False)
