"""`obscale pin SPEC`: sets for its servers what lives there as start options only, asked first."""

import shlex
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.cli.busy import busy, silence_shown
from obscale.cli.exits import Exit, end_with
from obscale.cli.loudness import Quiet, Verbose, aloud
from obscale.cli.options import AsJson, SpecPath
from obscale.cli.plan import secret_store_for
from obscale.cli.stopping import NOTHING_SENT, PROGRAM, Words
from obscale.cli.terminal import as_text, complain, label, open_console, reader_line, say_json
from obscale.connect.connections import ClusterConnection, SecretStore, cluster_connected
from obscale.connect.membership import is_cluster
from obscale.errors import DatabaseDownError, ObscaleError, PreflightError, SpecError
from obscale.pin.run import pin as pin_server
from obscale.pin.settings import (
    Outcome,
    PinnedServer,
    ServerSettings,
    Setting,
    left_alone,
    no_member,
    settings_of,
)
from obscale.plan.file import read_plan_file
from obscale.request.models import ScaleOutSpec
from obscale.request.scale_out import scale_outs_of
from obscale.spec import read_spec
from obscale.verify.read import read_zones

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before each server.")]
COLOURS: Final = {
    Outcome.IN_FORCE: "green",
    Outcome.NOT_IN_FORCE: "bold red",
    Outcome.NOT_SENT: "yellow",
    Outcome.UNKNOWN: "magenta",
}
WORDS: Final = {
    Outcome.IN_FORCE: "in force",
    Outcome.NOT_IN_FORCE: "not in force",
    Outcome.NOT_SENT: "not sent",
    Outcome.UNKNOWN: "unknown",
}
NOT_ALL: Final = "not all is in force"
NOT_ATOMIC: Final = (
    "they are set one after another, not as one: what was set before an error stays set"
)


def pin(
    spec: SpecPath,
    yes: Yes = False,
    as_json: AsJson = False,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Set for each member of a request what verify prints as ALTER SYSTEM statements.

    Each server is asked about with what is set, from and to; each value is read back. Settings are
    carried out one after another, not as one. Ports, directories and read-only parameters are never
    set, nor anything the request does not name.

    Exit: 0 all in force, 1 some not, 2 bad input, 3 could not look; nothing was sent.
    """
    console = open_console(stderr=as_json)
    try:
        if read_plan_file(spec) is not None:
            raise SpecError(f"{spec}: is a plan, no request", "name the request it was made of")
        asked = read_spec(spec)
        if not (yes or sys.stdin.isatty()):
            raise SpecError("pin: nobody is there to answer", f"obscale pin {spec} --yes")
        store = secret_store_for(scale_outs_of(asked))
        begun: list[str] = []
        PROGRAM.stands(lambda: _stands(begun, str(spec)))
        with silence_shown(console):
            made = PROGRAM.run(_pin_all(asked, store, console, begun, yes=yes))
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    is_pinned = all(each.outcome is Outcome.IN_FORCE and not each.beside for each in made)
    if as_json:
        rows = [each.model_dump(mode="json") for each in made]
        say_json({"pinned": is_pinned, "servers": rows})
    else:
        with aloud(console):
            _show_end(console, made, str(spec))
    raise typer.Exit(Exit.DONE if is_pinned else Exit.REFUSED)


def _stands(begun: Sequence[str], spec: str) -> Words:
    if not begun:
        return NOTHING_SENT
    return f"what was set of {', '.join(begun)} stays set", f"obscale pin {spec}"


async def _pin_all(
    asked: ScaleOutSpec, store: SecretStore, console: Console, begun: list[str], *, yes: bool
) -> list[PinnedServer]:
    """Go through the nodes of a request, server by server.

    Args:
        asked: The request.
        store: Where its names resolve.
        console: Where to tell it.
        begun: Gets each server of which something is sent.
        yes: Whether nobody is to be asked.

    Raises:
        SpecError: A name resolves to nothing.
        PreflightError: It is another cluster.
        AgentError: Nobody could be asked before anything was sent.
    """
    made: list[PinnedServer] = []
    async with cluster_connected(asked.cluster, store) as link:
        with busy(f"pin: looks at {len(asked.nodes)} nodes of {link.known.spec.endpoints[0]}"):
            planned = await _look(asked, link)
        for node, mine in zip(asked.nodes, planned, strict=True):
            if mine is None:
                made.append(no_member(node))
            else:
                made.append(await _pin_one(mine, link.client, console, begun, yes=yes))
    return made


async def _look(asked: ScaleOutSpec, link: ClusterConnection) -> list[ServerSettings | None]:
    """Read what is to be set for each node; None: it is no member.

    Raises:
        PreflightError: It is another cluster.
        AgentError: Nobody could be asked.
    """
    known, ask = link.known.spec, link.client.ask
    told = (await ask(AgentClient.read_ob_info)).obcluster_info
    if not is_cluster(told, known.name, known.id):
        raise PreflightError(
            f"its agents are of {told.name}/{told.id}, and the request names "
            f"{known.name}/{known.id}; nothing was sent",
            "correct the request",
        )
    zones, _ = await read_zones(link.client)
    if zones is None:
        raise DatabaseDownError(
            "its database does not tell the topology", str(link.client.current.address), "pin"
        )
    parameters = await ask(AgentClient.read_parameters)
    return [settings_of(node, zones, parameters) for node in asked.nodes]


async def _pin_one(
    mine: ServerSettings, cluster: ClusterClient, console: Console, begun: list[str], *, yes: bool
) -> PinnedServer:
    if not mine.groups():
        refused = "; ".join(each.refusal for each in mine.settings)
        if not refused:
            return await pin_server(cluster, mine, lambda _line: None)
        return left_alone(mine, refused)
    _show_settings(console, mine)
    if not yes and not _confirm(mine):
        return left_alone(mine, "it was answered no")
    begun.append(mine.server)
    with busy(f"pin: sets parameters of {mine.server}") as shown:

        def say(words: str) -> None:
            console.print(as_text(f"  {words}", style="dim"))
            shown.heard()

        return await pin_server(cluster, mine, say)


def _confirm(mine: ServerSettings) -> bool:
    count = sum(map(len, mine.groups()))
    with PROGRAM.asking():
        return typer.confirm(
            reader_line(f"Set {count} parameter{'s' if count > 1 else ''} of {mine.server}?"),
            err=True,
        )


def _show_settings(console: Console, mine: ServerSettings) -> None:
    """Say what would be set of a server, from and to."""
    requests = len(mine.groups())
    asked = f"{requests} request{'s' if requests > 1 else ''} to PATCH /obcluster/parameters"
    head = f"{mine.server} in {mine.zone}: {asked}"
    with aloud(console):
        console.print(as_text(head, style="bold"))
        table = Table.grid(padding=(0, 2))
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for each in mine.settings:
            note = each.refusal or _note(each)
            table.add_row(
                as_text(f"  {each.name}", is_said=True),
                as_text(f"{each.before} → {each.wanted}", is_said=True),
                as_text(note, style="yellow"),
            )
        console.print(table)
        console.print(as_text(f"  {label(NOT_ATOMIC)}", style="dim"))


def _note(each: Setting) -> str:
    if each.after_restart:
        return "in force after the next restart"
    return "has it now; set so that a restart keeps it" if each.before == each.wanted else ""


def _show_end(console: Console, made: Sequence[PinnedServer], spec: str) -> None:
    for each in made:
        good = sum(one.outcome is Outcome.IN_FORCE for one in each.settings)
        words = label(WORDS[each.outcome])
        if good:
            words = reader_line(f"{good} of {len(each.settings)} in force")
        line = as_text(f"{each.server} in {each.zone}: ")
        line.append_text(as_text(words, style=COLOURS[each.outcome], is_said=True))
        if each.why:
            line.append_text(as_text(f": {each.why}"))
        console.print(line)
        for one in each.settings:
            if one.outcome is Outcome.IN_FORCE:
                if one.after_restart:
                    console.print(as_text(f"  {one.name}: in force after the next restart"))
                continue
            told = label(WORDS[one.outcome])
            said = "; ".join(filter(None, (told, reader_line(one.why))))
            console.print(as_text(f"  {one.name}: {said}", is_said=True, style="yellow"))
        for change in each.beside:
            console.print(as_text(f"  changed meanwhile, not by this: {change}", style="yellow"))
    is_pinned = all(each.outcome is Outcome.IN_FORCE for each in made)
    if not is_pinned:
        again = f"obscale pin {shlex.quote(spec)}, once that is mended"
        complain(f"{NOT_ALL}. Next: {again}")
