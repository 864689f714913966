"""Reads a request file and names every fault in it.

Every fault becomes one line: where, what is wrong, what to write instead. What lies below a key
that looks like a password is never repeated. Nothing is sent from here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from obscale.agent.models import AgentEndpoint, ScaleOutRequest
from obscale.errors import SpecError
from obscale.preflight.facts import ClusterFacts, Facts, TargetFacts
from obscale.preflight.finding import Finding
from obscale.preflight.judge import override_problems
from obscale.preflight.registry import judge_request
from obscale.request.models import (
    AgentInfoSpec,
    ClusterSpec,
    DefaultsSpec,
    NodeSpec,
    OverrideSpec,
    Profile,
    ScaleOutSpec,
    SecretName,
    TlsSpec,
)
from obscale.sizes import quoted
from obscale.spec.obd import refuse_obd
from obscale.spec.problems import finding_problem, readable_nodes, refused, shape_problems
from obscale.spec.removal import refuse_removal
from obscale.spec.replacement import refuse_replacement
from obscale.spec.source import Source, read_source, read_text

__all__ = [
    "AgentInfoSpec",
    "ClusterSpec",
    "DefaultsSpec",
    "NodeSpec",
    "OverrideSpec",
    "Profile",
    "ScaleOutSpec",
    "SecretName",
    "TlsSpec",
    "checked",
    "parse_spec",
    "read_spec",
    "request_body",
]


def read_spec(path: Path, cluster: str | None = None) -> ScaleOutSpec:
    """Read a request from a file, YAML or JSON.

    Args:
        path: Of the file.
        cluster: Stored connection of a file that names no cluster, as the body that the page of
            `POST /ob/scale_out` shows.

    Raises:
        SpecError: It cannot be read or is wrong; `problems` holds one line for each fault.
    """
    return parse_spec(read_text(path), str(path), cluster)


def parse_spec(text: str, source: str, cluster: str | None = None) -> ScaleOutSpec:
    """Read a request from a text, YAML or JSON.

    Args:
        text: The request.
        source: What to call it in problems, usually the file's name.
        cluster: As for `read_spec`.

    Raises:
        SpecError: It is wrong; `problems` holds one line for each fault.
    """
    read = read_source(text, source)
    if read.data is None:
        raise SpecError(f"{source}: is empty; see the examples for what a request looks like")
    refuse_obd(read.data, source)
    refuse_removal(read.data, source)
    refuse_replacement(read.data, source)
    if cluster is not None:
        _name_cluster(read, cluster)
    spec = None
    try:
        spec = ScaleOutSpec.model_validate(read.data)
    except ValidationError as error:
        problems = shape_problems(error, read)
        nodes = readable_nodes(read.data)
    else:
        problems = [
            f"{read.where(('overrides', at))}overrides[{at}]: {problem}"
            for at, problem in override_problems(spec.overrides, datetime.now(UTC).date())
        ]
        nodes = dict(enumerate(spec.nodes))
    together = tuple(nodes.values())
    judged = [
        finding_problem(finding, read, at)
        for at, node in nodes.items()
        for finding in _blockers(node, together)
    ]
    if spec is None or judged or problems:
        raise refused([*judged, *problems])
    return spec


def _name_cluster(read: Source, cluster: str) -> None:
    """Put a stored connection into a request that names no cluster.

    Raises:
        SpecError: It names one itself.
    """
    if not isinstance(read.data, dict):
        return  # no request at all, which is told with the rest
    if "cluster" in read.data:
        raise SpecError(
            f"{read.where(('cluster',))}cluster: the file names its cluster, and --cluster names "
            f"{quoted(cluster)}",
            "leave --cluster out, or take `cluster` out of the file",
        )
    read.data["cluster"] = cluster
    if read.data.get("targetAgentPassword") == "":
        # The API's page shows the field, and leaves it empty for an agent without a password.
        del read.data["targetAgentPassword"]


def checked(
    node: NodeSpec, *, batch: Sequence[NodeSpec] = (), overrides: Sequence[OverrideSpec] = ()
) -> NodeSpec:
    """Give a node back if the request itself has no fault; for nodes that came from no file.

    Args:
        node: What is asked for.
        batch: The nodes of the same request, with or without this one.
        overrides: Of the same request.

    Raises:
        SpecError: One line for each fault, as for a file; of overrides for each that names no rule,
            a rule that may not be overridden, or a day that is past.
    """
    everyone = tuple(batch) if node in batch else (node, *batch)
    problems = [finding_problem(finding, None, None) for finding in _blockers(node, everyone)]
    problems += [
        f"overrides[{at}]: {problem}"
        for at, problem in override_problems(overrides, datetime.now(UTC).date())
    ]
    if problems:
        raise refused(problems)
    return node


def request_body(node: NodeSpec, password: str | None) -> ScaleOutRequest:
    """Give the body of `POST /ob/scale_out`: what was planned is what is sent, byte for byte.

    Args:
        node: What is asked for.
        password: Of the target agent, in plain text; None: it has none.
    """
    return ScaleOutRequest(
        agent_info=AgentEndpoint(ip=node.agentInfo.ip, port=node.agentInfo.port),
        zone=node.zone,
        ob_configs=dict(node.obConfigs),
        target_agent_password=password,
    )


def _blockers(node: NodeSpec, batch: tuple[NodeSpec, ...]) -> tuple[Finding, ...]:
    """What blocks in every profile, judged without asking anybody."""
    facts = Facts(
        node=node,
        batch=batch,
        cluster=ClusterFacts(entry="", scheme=""),
        target=TargetFacts(address=node.address, scheme=""),
    )
    return judge_request(facts).blockers
