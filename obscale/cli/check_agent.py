"""`obscale check-agent ADDRESS…`: says whether an obshell answers as obscale expects."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from pydantic import SecretStr
from rich.table import Table

from obscale.agent.client import AgentClient
from obscale.cli.connect import (
    AgentPasswordEnv,
    CaFile,
    ClientCert,
    ClientKey,
    NoVerifyTls,
    PasswordEnv,
    TlsFiles,
    password_in,
    spec_of,
    typed_root_password,
)
from obscale.cli.connect_check import warnings_of
from obscale.cli.exits import Exit, end_with, error_object
from obscale.cli.options import AsJson
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, complain, open_console, say, say_json
from obscale.conformity.expected import QUESTIONS, Answer, expected
from obscale.conformity.run import Compared, compare_agent
from obscale.connect.connections import ClusterAccess, entries
from obscale.errors import AgentError, ObscaleError, SpecError

COMMAND: Final = "check-agent"
SIGNS: Final = {
    Answer.EXPECTED: "✔",
    Answer.MORE: "✔ and more",
    Answer.DIFFERENT: "✘ different",
    Answer.MISSING: "✘ missing",
    Answer.NOT_YET: "— not in this version",
    Answer.UNCLEAR: "? unclear",
    Answer.NOTHING: "— nothing there",
    Answer.NOT_ASKED: "? not asked",
}
AGES: Final = {
    "recorded": "the recorded version",
    "older": "older than the recorded version",
    "new": "newer than any that obscale knows",
    "unknown": "of a version that obscale does not know",
}
REPORT: Final = "report it with what --json says"


def check_agent(
    address: Annotated[
        list[str] | None,
        typer.Argument(metavar="ADDRESS", help="Agents: ip:port, or https://ip:port."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Instead: the entry agents of a stored connection."),
    ] = None,
    password_env: PasswordEnv = None,
    agent_password_env: AgentPasswordEnv = None,
    ca_file: CaFile = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    no_verify_tls: NoVerifyTls = False,
    as_json: AsJson = False,
) -> None:
    """Say whether an obshell answers as obscale expects, one of a new version say.

    Each agent is asked whatever obscale asks, but for what writes; each answer is compared with
    what a real obshell was recorded to answer. Nothing is changed, nothing is stored. Only agents
    named here, or stored under NAME, get a password; without one the rest is compared.

    Exit: 0 as expected, 1 it differs or not all could be compared, 2 bad input, 3 cannot reach.
    """
    told = {
        "--password-env": password_env,
        "--agent-password-env": agent_password_env,
        "--ca-file": ca_file,
        "--client-cert": client_cert,
        "--client-key": client_key,
        "--no-verify-tls": no_verify_tls,
    }
    try:
        if cluster is not None:
            given = [*(address or ()), *(option for option, value in told.items() if value)]
            known, has_root = _stored(cluster, given), True
        else:
            tls = TlsFiles(ca_file, client_cert, client_key, verify=not no_verify_tls)
            root = password_in(COMMAND, "--password-env", password_env)
            own = password_in(COMMAND, "--agent-password-env", agent_password_env)
            known = _named(address or (), tls, root, own)
            if root is None and sys.stdin.isatty() and PROGRAM.run(_wants_root(known)):
                root = typed_root_password()
                known = _named(address or (), tls, root, own)
            has_root = root is not None
        if has_root:
            for warning in warnings_of(known, shown="that `obscale connect` shows"):
                complain(f"warning: {warning}")
        found = PROGRAM.run(_compare_all(known, has_root=has_root))
        compared = [each for each in found if isinstance(each, Compared)]
        unheard = [each for each in found if isinstance(each, AgentError)]
        if not compared:
            for error in unheard[1:]:
                complain(str(error))
            raise unheard[0]
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    is_good = not unheard and all(each.is_whole and not each.differs for each in compared)
    code = Exit.DONE if is_good else Exit.REFUSED
    if as_json:
        say_json(_data(compared, unheard, code))
    else:
        _show(compared, unheard)
    raise typer.Exit(code)


def _named(
    addresses: Sequence[str], tls: TlsFiles, root: SecretStr | None, own: SecretStr | None
) -> ClusterAccess:
    if not addresses:
        raise SpecError(
            f"{COMMAND}: no agent is named",
            f"obscale {COMMAND} 10.0.0.1:2886, or --cluster NAME for a stored connection",
        )
    return ClusterAccess(spec_of(addresses, tls, COMMAND, ""), root or SecretStr(""), own)


def _stored(name: str, given: Sequence[str]) -> ClusterAccess:
    if given:
        raise SpecError(
            f"{COMMAND}: {', '.join(given)} only without --cluster",
            f"obscale {COMMAND} --cluster {name}, which knows agents, passwords and TLS",
        )
    from obscale.cli.local_prefect import require_prefect, settle  # noqa: PLC0415

    settle()
    require_prefect()
    from obscale.tasks.runtime.blocks import PrefectSecrets  # noqa: PLC0415 - after the settings

    return PROGRAM.run(PrefectSecrets().read_cluster(name))


def _clients(known: ClusterAccess, *, has_root: bool) -> list[AgentClient]:
    agents = entries(known)
    if not has_root:
        for agent in agents:
            agent.take_root_password(known.keys)
    return agents


async def _wants_root(known: ClusterAccess) -> bool:
    """Whether an agent says it is of a cluster; those that answer nothing are heard of later."""
    wants = False
    for agent in _clients(known, has_root=False):
        async with agent:
            try:
                wants = wants or (await agent.read_info()).identity != "SINGLE"
            except AgentError:
                continue
    return wants


async def _compare_all(known: ClusterAccess, *, has_root: bool) -> list[Compared | AgentError]:
    async def compare(agent: AgentClient) -> Compared | AgentError:
        async with agent:
            try:
                if has_root and (await agent.read_info()).identity == "SINGLE":
                    # It is of no cluster, and answers without.
                    agent.take_root_password(known.keys)
                return await compare_agent(agent)
            except AgentError as error:
                return error

    agents = _clients(known, has_root=has_root)
    return await asyncio.gather(*(compare(agent) for agent in agents))


def _verdict(each: Compared) -> str:
    asked = len(QUESTIONS) - each.count(Answer.NOT_ASKED, Answer.NOTHING)
    wrong = each.count(Answer.DIFFERENT, Answer.MISSING)
    if wrong:
        return f"does not answer as obscale expects: {wrong} of {asked} answers differ"
    if each.is_whole:
        return f"answers as obscale expects: all {asked} answers"
    if each.count(Answer.UNCLEAR):
        left = each.count(Answer.UNCLEAR)
        return f"could not be compared whole: {left} of {asked} answers say nothing of the version"
    left = each.count(Answer.NOT_ASKED)
    return f"answers as obscale expects as far as it was asked: {asked} answers, {left} not asked"


def _next(compared: Sequence[Compared], unheard: Sequence[AgentError]) -> str:
    """What to do, in one line; empty: nothing is left to be done."""
    wrong = [each for each in compared if each.differs]
    if any(each.age in {"new", "unknown"} for each in wrong):
        return (
            f"add no node through this version before an obscale knows it; {REPORT} (it names no "
            "password)"
        )
    if wrong:
        return f"see that obshell itself answers there, and no proxy between; then {REPORT}"
    if unheard:
        return "see that obshell answers at each address, then check again"
    if any(each.count(Answer.UNCLEAR) for each in compared):
        return "check again once the agent's database answers"
    if any(each.count(Answer.NOT_ASKED) for each in compared):
        return "check again with --password-env VARIABLE, or once the agent has settled its part"
    return ""


def _show(compared: Sequence[Compared], unheard: Sequence[AgentError]) -> None:
    for each in compared:
        sign = "✘" if each.differs else "✔" if each.is_whole else "?"
        version = each.version or "without a version"
        say(
            f"{sign} {each.agent}: obshell {version}, {AGES[each.age]}, {each.identity}: "
            f"{_verdict(each)}"
        )
    for error in unheard:
        say(f"? {error}")
    if hint := _next(compared, unheard):
        say(f"Next: {hint}")
    table = Table(title=f"compared with obshell {expected()['version']} as recorded")
    table.add_column("GET /api/v1/…", no_wrap=True)
    for each in compared:
        table.add_column(as_text(each.agent), overflow="fold")
    for at, question in enumerate(QUESTIONS):
        signs = [as_text(SIGNS[each.rows[at].answer]) for each in compared]
        table.add_row(as_text(question.endpoint), *signs)
    console = open_console()
    console.print(table)
    for words, agents in _told_of(compared).items():
        say(f"{words} ({', '.join(agents) if len(agents) < len(compared) else 'each agent'})")
    say("Not tried, because they write: POST /ob/scale_out, POST /task/dag/{id}")


def _told_of(compared: Sequence[Compared]) -> dict[str, list[str]]:
    """Give what differs, is new or could not be compared, each with the agents it was told of."""
    told: dict[str, list[str]] = {}
    for each in compared:
        for row in each.rows:
            for words in row.words if row.answer is not Answer.NOTHING else ():
                told.setdefault(f"{row.question.endpoint}: {words}", []).append(each.agent)
    return told


def _data(
    compared: Sequence[Compared], unheard: Sequence[AgentError], code: Exit
) -> dict[str, object]:
    return {
        "as_expected": code is Exit.DONE,
        "compared_with": expected()["version"],
        "next": _next(compared, unheard),
        "agents": [
            {
                "agent": each.agent,
                "obshell": each.version,
                "age": each.age,
                "identity": each.identity,
                "verdict": _verdict(each),
                "answers": [
                    {
                        "asked": f"GET /api/v1/{row.question.endpoint}",
                        "since": row.question.since,
                        "answer": row.answer.value,
                        "words": list(row.words),
                    }
                    for row in each.rows
                ],
            }
            for each in compared
        ],
        "unheard": [error_object(error) for error in unheard],
        "exit_code": int(code),
    }
