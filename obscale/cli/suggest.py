"""`obscale suggest AGENT`: prints a request for a host, to be read, kept and planned."""

from dataclasses import dataclass
from typing import Annotated

import typer
from pydantic import ValidationError

from obscale.agent.address import AgentAddress
from obscale.cli.busy import busy, silence_shown
from obscale.cli.exits import end_with
from obscale.cli.options import AsJson, WantedProfile
from obscale.cli.plan import checked_profile, secret_store_for
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import open_console, say_json, say_lines
from obscale.connect.connections import SecretStore
from obscale.errors import ObscaleError, SpecError
from obscale.plan.suggest_file import as_request, make_suggestion, render_request
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, Profile, SecretName
from obscale.request.scale_out import ScaleOut


@dataclass(frozen=True)
class Wanted:
    """For which host a request is wanted, as written on the command line.

    Passwords are only named: environment variables hold them.
    """

    agent: str
    cluster: str | None
    cluster_endpoint: tuple[str, ...]
    zone: str | None
    password_env: str | None
    agent_password_env: str | None
    folders: dict[str, str]


def suggest(
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="The agent that is to join: ip:port.")
    ],
    cluster: Annotated[
        str | None, typer.Option(metavar="NAME", help="Stored connection of the cluster.")
    ] = None,
    cluster_endpoint: Annotated[
        list[str] | None,
        typer.Option("--cluster-endpoint", metavar="IP:PORT", help="Instead: a cluster agent."),
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="To join; the smallest if not said.")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="PATH", help="For data; else by the host's disks.")
    ] = None,
    redo_dir: Annotated[
        str | None, typer.Option(metavar="PATH", help="For redo logs; else by the host's disks.")
    ] = None,
    password_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Holds root@sys's password.")
    ] = None,
    agent_password_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Holds that agent's own password.")
    ] = None,
    profile: WantedProfile = None,
    as_json: AsJson = False,
) -> None:
    """Print a request for a host, as YAML with the reason for each value; write nothing anywhere.

    Zone, memory, directories and disk sizes are as its peers have them where the host can carry
    it, else by the host. What is printed has been judged: obscale plan does not block it.

    Exit: 0 printed, 1 nothing fits this host, 2 bad input, 3 could not look.
    """
    given = {"data_dir": data_dir, "redo_dir": redo_dir}
    wanted = Wanted(
        agent=agent,
        cluster=cluster,
        cluster_endpoint=tuple(cluster_endpoint or ()),
        zone=zone,
        password_env=password_env,
        agent_password_env=agent_password_env,
        folders={key: path for key, path in given.items() if path},
    )
    try:
        order = order_of(wanted, checked_profile(profile))
        _print(wanted, order, secret_store_for((order,)), as_json=as_json)
    except ObscaleError as error:
        end_with(error, as_json=as_json)


def order_of(wanted: Wanted, profile: Profile | None) -> ScaleOut:
    """Make the order the survey needs; its zone is settled later.

    Raises:
        SpecError: An option is missing or wrong.
    """
    if bool(wanted.cluster) == bool(wanted.cluster_endpoint):
        raise SpecError(
            "suggest: name the cluster by one of --cluster and --cluster-endpoint",
            f"obscale suggest {wanted.agent} --cluster NAME",
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
        raise SpecError(f"suggest: {first['msg'].removeprefix('Value error, ')}") from None
    return ScaleOut(cluster=cluster, node=node, batch=(node,), profile=profile or "prod")


def _print(wanted: Wanted, order: ScaleOut, secret_store: SecretStore, *, as_json: bool) -> None:
    """Suggest a request and print it on standard output, as YAML or as one JSON object.

    Raises:
        PreflightError: Nothing can be suggested for this host.
        AgentError: No entry agent could be asked.
    """
    looks = f"suggest: looks at {order.cluster_name} and {order.target}"
    with busy(looks), silence_shown(open_console(stderr=True)):
        made, facts = PROGRAM.run(make_suggestion(order, secret_store, wanted.zone, wanted.folders))
    if not as_json:
        say_lines(render_request(order, facts, made))
        return
    say_json(
        {
            "request": as_request(order, facts, made),
            "why": {"zone": made.zone_why} | {each.key: each.why for each in made.advice},
            "notes": list(made.notes),
            "verdict": made.findings.verdict,
            "warnings": [f.model_dump(mode="json") for f in made.findings.warnings],
        }
    )


def _named(variable: str | None) -> SecretName | None:
    return SecretName(env=variable) if variable else None
