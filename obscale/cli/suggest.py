"""The options and the output of `obscale plan --suggest`."""

import json
from dataclasses import dataclass

from pydantic import ValidationError

from obscale.agent.address import AgentAddress
from obscale.cli.run_view import silence_shown
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import open_console, say_json, say_lines
from obscale.connect.connections import SecretStore
from obscale.errors import SpecError
from obscale.plan.suggest_file import as_request, make_suggestion, render_request
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, Profile, SecretName
from obscale.request.scale_out import ScaleOut

SCHEMA_VERSION = 1
"""Raised when a field of the JSON suggestion changes its meaning or goes away."""


@dataclass(frozen=True)
class Wanted:
    """For which host a request is wanted, as written after the options of the same names.

    Passwords are only named: environment variables hold them.
    """

    cluster: str | None
    cluster_endpoint: tuple[str, ...]
    agent: str | None
    zone: str | None
    password_env: str | None
    agent_password_env: str | None

    def given(self) -> tuple[str, ...]:
        """Name the options that were written."""
        return tuple(f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value)


def order_of(wanted: Wanted, profile: Profile | None) -> ScaleOut:
    """Make the order the survey needs; its zone is settled later.

    Raises:
        SpecError: An option is missing or wrong.
    """
    if wanted.agent is None:
        raise SpecError("--suggest: say which agent is to join", "--agent 10.0.0.4:2886")
    if bool(wanted.cluster) == bool(wanted.cluster_endpoint):
        raise SpecError(
            "--suggest: name the cluster by one of --cluster and --cluster-endpoint",
            "--cluster-endpoint 10.0.0.1:2886 --password-env OB_ROOT",
        )
    if wanted.cluster and wanted.password_env:
        raise SpecError("--password-env: the stored connection has its own password", "leave it")
    try:
        target = AgentAddress.parse(wanted.agent)
        cluster: str | ClusterSpec = wanted.cluster or ClusterSpec(
            endpoints=wanted.cluster_endpoint, password=_named(wanted.password_env)
        )
        node = NodeSpec(
            agentInfo=AgentInfoSpec(ip=target.ip, port=target.port),
            zone=wanted.zone or "",
            targetAgentPassword=_named(wanted.agent_password_env),
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SpecError(f"--suggest: {first['msg'].removeprefix('Value error, ')}") from None
    return ScaleOut(cluster=cluster, node=node, batch=(node,), profile=profile or "prod")


def print_suggestion(
    wanted: Wanted, order: ScaleOut, secret_store: SecretStore, *, as_json: bool
) -> None:
    """Suggest a request and print it on standard output, as YAML or as one JSON object.

    Raises:
        PreflightError: Nothing can be suggested for this host.
        AgentError: No entry agent could be asked.
    """
    with silence_shown(open_console(stderr=True)):
        made, facts = PROGRAM.run(make_suggestion(order, secret_store, wanted.zone))
    if not as_json:
        say_lines(render_request(order, facts, made))
        return
    say_json(
        json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "request": as_request(order, facts, made),
                "why": {"zone": made.zone_why} | {each.key: each.why for each in made.advice},
                "notes": made.notes,
                "verdict": made.findings.verdict,
                "warnings": [f.model_dump(mode="json") for f in made.findings.warnings],
            },
            indent=2,
            ensure_ascii=False,
        )
    )


def _named(variable: str | None) -> SecretName | None:
    return SecretName(env=variable) if variable else None
