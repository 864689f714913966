"""`obscale connect NAME`: checks a connection to a cluster and stores it in Prefect."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr, ValidationError

from obscale.agent.address import AgentAddress
from obscale.agent.passwords import NamedSecret
from obscale.cli.connect_check import Proved, prove_stored, store_proved
from obscale.cli.exits import Exit, end_with
from obscale.cli.local_prefect import require_prefect, settle, warn_if_open
from obscale.cli.options import AsJson
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import complain, say, say_json
from obscale.connect.connections import ClusterAccess
from obscale.errors import ObscaleError, SpecError
from obscale.request.models import BLOCK_NAME, ClusterSpec, TlsSpec

if TYPE_CHECKING:
    from obscale.tasks.runtime.cluster_block import KeyTrust


Endpoints = Annotated[
    list[str] | None,
    typer.Option("--endpoint", metavar="IP:PORT", help="An agent of the cluster; may be repeated."),
]
PasswordEnv = Annotated[
    str | None,
    typer.Option(metavar="VARIABLE", help="Holds root@sys's password; else asked."),
]
AgentPasswordEnv = Annotated[
    str | None,
    typer.Option(metavar="VARIABLE", help="Holds the agents' own, if they have one."),
]
CaFile = Annotated[
    Path | None, typer.Option(help="PEM of the authority that signed the agents' certificates.")
]
ClientCert = Annotated[
    Path | None, typer.Option(help="PEM to show to agents that ask for a certificate.")
]
ClientKey = Annotated[Path | None, typer.Option(help="PEM of its key.")]
NoVerifyTls = Annotated[
    bool, typer.Option("--no-verify-tls", help="Accept any certificate. Not for production.")
]


def connect(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What requests will call it.")],
    endpoint: Endpoints = None,
    password_env: PasswordEnv = None,
    agent_password_env: AgentPasswordEnv = None,
    cluster_name: Annotated[
        str | None, typer.Option(help="Name it must answer with; what it says if left out.")
    ] = None,
    cluster_id: Annotated[
        int | None, typer.Option(help="Id it must answer with; what it says if left out.")
    ] = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    no_verify_tls: NoVerifyTls = False,
    pin: Annotated[
        bool, typer.Option("--pin", help="Refuse all but the public keys that are served now.")
    ] = False,
    trust_first_use: Annotated[
        bool, typer.Option("--trust-first-use", help="Hold each agent to the first key it serves.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove a connection, and store it where flows find it by NAME: in Prefect.

    Every entry agent is asked who it is and of which cluster; nothing is stored unless all answer
    and are of one. Without --endpoint a stored connection is proved again and left as it is; with
    --pin its agents' present keys become the trusted ones. Passwords are never arguments: they are
    asked for, or stand in a variable of the environment.

    Exit: 0 proved, 2 bad input, 3 cannot reach.
    """
    try:
        _check_name(name)
        told = {
            "--password-env": password_env,
            "--agent-password-env": agent_password_env,
            "--cluster-name": cluster_name,
            "--cluster-id": cluster_id,
            "--ca-file": ca_file,
            "--client-cert": client_cert,
            "--client-key": client_key,
            "--no-verify-tls": no_verify_tls,
            "--trust-first-use": trust_first_use,
        }
        if pin and trust_first_use:
            raise SpecError("connect: --pin and --trust-first-use exclude each other", "choose one")
        if endpoint:
            tls = TlsFiles(ca_file, client_cert, client_key, verify=not no_verify_tls)
            spec = spec_of(
                endpoint, tls, "connect", "--endpoint ", name=cluster_name, cluster_id=cluster_id
            )
            _reach_prefect()
            known = ClusterAccess(
                spec,
                _root_password(password_env),
                password_in("connect", "--agent-password-env", agent_password_env),
            )
            trust: KeyTrust = "pinned" if pin else "first-use" if trust_first_use else "any"
            warnings = _warn_if_open()
            proved = PROGRAM.run(store_proved(name, known, trust))
        else:
            if given := [option for option, value in told.items() if value]:
                raise SpecError(
                    f"connect: {', '.join(given)} only with --endpoint",
                    f"obscale connect {name} --endpoint …, or leave it out to prove what is stored",
                )
            _reach_prefect()
            warnings = _warn_if_open()
            proved = PROGRAM.run(prove_stored(name, pin=pin))
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    _show(proved, warnings, as_json=as_json)
    raise typer.Exit(Exit.DONE)


@dataclass(frozen=True)
class TlsFiles:
    """What was said of TLS on the command line."""

    ca_file: Path | None
    client_cert: Path | None
    client_key: Path | None
    verify: bool

    def spec(self) -> TlsSpec:
        """Give absolute paths: flows run in other folders."""
        ca, certificate, key = (
            str(path.absolute()) if path else None
            for path in (self.ca_file, self.client_cert, self.client_key)
        )
        return TlsSpec(verify=self.verify, ca_file=ca, client_cert=certificate, client_key=key)


def _check_name(name: str) -> None:
    if not BLOCK_NAME.fullmatch(name):
        raise SpecError(
            f"connect: {name!r} is no name for a connection",
            "use lower-case letters, digits and dashes, e.g. prod-east",
        )


def spec_of(
    endpoints: Sequence[str],
    tls: TlsFiles,
    command: str,
    written: str,
    *,
    name: str | None = None,
    cluster_id: int | None = None,
) -> ClusterSpec:
    """Judge what was typed of the agents that are to be asked.

    Args:
        endpoints: At least one.
        tls: For https.
        command: That is told of in an error.
        written: What stands before an agent on its command line.
        name: The cluster must answer with, if any.
        cluster_id: The same.

    Raises:
        SpecError: An address is none, or the TLS options do not fit it.
    """
    try:
        spec = ClusterSpec(endpoints=tuple(endpoints), name=name, id=cluster_id, tls=tls.spec())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise SpecError(
            f"{command}: {first['msg'].removeprefix('Value error, ')}",
            f"obscale {command} --help; an agent is written {written}10.0.0.1:2886",
        ) from None
    plain = AgentAddress.parse(endpoints[0]).scheme == "http"
    if plain and spec.tls != TlsSpec():
        raise SpecError(
            f"{command}: TLS options have no effect on http endpoints",
            f"write {written}https://{AgentAddress.parse(endpoints[0])}, or leave them out",
        )
    return spec


def _reach_prefect() -> None:
    settle()
    require_prefect(to_record=True)


def _warn_if_open() -> tuple[str, ...]:
    """Say to whom what is stored would be open, before any agent is asked."""
    warnings = warn_if_open()
    for warning in warnings:
        complain(f"warning: {warning}")
    return warnings


def _root_password(variable: str | None) -> SecretStr:
    given = password_in("connect", "--password-env", variable)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise SpecError(
            "connect: nobody is there to type the password of root@sys", "--password-env VARIABLE"
        )
    return typed_root_password()


def typed_root_password() -> SecretStr:
    """Ask whoever sits at the terminal."""
    with PROGRAM.asking():
        typed: str = typer.prompt(
            "Password of root@sys (empty: it has none)",
            default="",
            show_default=False,
            hide_input=True,
            err=True,
        )
    return SecretStr(typed)


def password_in(command: str, option: str, variable: str | None) -> SecretStr | None:
    """Read a password from a variable of the environment; None where none was named.

    Raises:
        SpecError: There is no such variable.
    """
    if variable is None:
        return None
    value = os.environ.get(variable)
    if value is None:
        raise SpecError(
            # Not repeated: somebody may have typed the password itself.
            f"{command}: {option}: no environment variable of that name is set",
            "name the variable, not the password, and export it first",
        )
    return NamedSecret(value, f"env {variable}")


def _show(proved: Proved, warnings: tuple[str, ...], *, as_json: bool) -> None:
    rows = [
        {
            "agent": row.agent,
            "zone": row.info.zone,
            "obshell": row.info.version,
            "oceanbase": row.info.ob_version,
            "auth": f"{row.auth}, own password" if row.info.security else row.auth,
            "key": row.key,
        }
        for row in proved.agents
    ]
    if as_json:
        data = {
            "connection": proved.name,
            "outcome": proved.stored,
            "cluster": proved.cluster,
            "agents": rows,
            "warnings": [*warnings, *proved.warnings, *proved.remarks],
        }
        say_json(data)
        return
    say(f"{proved.name}: cluster {proved.cluster}, {len(rows)} agents")
    for row in rows:
        say(
            f"  {row['agent']} {row['zone']}  obshell {row['obshell'] or 'unknown'}  "
            f"OceanBase {row['oceanbase'] or 'unknown'}  auth {row['auth']}"
        )
        say(f"    key {row['key']}")
    for remark in proved.remarks:
        complain(remark)
    say(f"{proved.name}: {proved.stored}; requests name it by `cluster: {proved.name}`")
