"""`obscale remove CLUSTER IP:PORT --zone Z`: takes nodes, or a whole zone, out of a cluster."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from obscale.agent.address import AgentAddress
from obscale.cli.apply import Yes, begin_server, endings_as_data, run_orders
from obscale.cli.busy import busy, silence_shown
from obscale.cli.exits import Exit, end_with
from obscale.cli.follow_scale_out import named_cluster
from obscale.cli.interrupted import RunPosition
from obscale.cli.loudness import Quiet, Verbose
from obscale.cli.options import AsJson, ClusterName, WantedProfile
from obscale.cli.plan import checked_profile, secret_store_for
from obscale.cli.plan_view import show_findings
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, open_console, reader_line, say_json
from obscale.connect.connections import SecretStore
from obscale.errors import ObscaleError, SpecError
from obscale.preflight.finding import Finding
from obscale.removal.judge import checked_removal
from obscale.removal.look import removal_connected
from obscale.removal.result import RemovalPreflight
from obscale.removal.run import judge_order
from obscale.removal.words import leads_rootservice, question_of
from obscale.request.models import AgentInfoSpec
from obscale.request.removal import LeavingNode, Removal, removals_of
from obscale.request.time_limits import DEFAULT_TIME_LIMITS, TimeLimits
from obscale.spec.batch import is_batch_file
from obscale.spec.removal import is_removal_file, read_removal

Nodes = Annotated[
    list[str] | None,
    typer.Argument(metavar="IP:PORT…", help="Agents of the nodes that leave; not RPC ports."),
]
Zone = Annotated[
    str | None, typer.Option("--zone", metavar="NAME", help="Zone they are in, or that leaves.")
]
WholeZone = Annotated[
    bool, typer.Option("--whole-zone", help="Delete the zone with all its servers.")
]
OnlyPlan = Annotated[bool, typer.Option("--plan", help="Only say what would go wrong.")]
ForceKill = Annotated[
    bool,
    typer.Option("--force-kill", help="Kill its observer first; only for one that is dead."),
]
KnownDead = Annotated[
    str,
    typer.Option("--i-know-it-is-dead", metavar="IP", help="Goes with --force-kill."),
]
AllowUnknown = Annotated[
    bool, typer.Option("--allow-unknown", help="Begin also where rules could not be judged.")
]


def remove(
    cluster: ClusterName,
    nodes: Nodes = None,
    zone: Zone = None,
    whole_zone: WholeZone = False,
    plan: OnlyPlan = False,
    force_kill: ForceKill = False,
    known_dead: KnownDead = "",
    allow_unknown: AllowUnknown = False,
    yes: Yes = False,
    as_json: AsJson = False,
    profile: WantedProfile = None,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Take nodes, or a whole zone, out of a cluster, and prove that they are gone.

    CLUSTER may be a file that lists them below `remove:`; then it names everything. Several nodes
    leave one after the other, each judged by all rules again, and the first failure ends the rest.
    Running it again is safe: it takes up what is under way, and proves what is gone already.

    Nothing is cancelled from here, and no host is touched: how to clean it is printed.

    Exit: 0 gone and proved, 1 blocked or failed, 2 bad input, 3 cannot reach, 130 ended by Ctrl-C,
    143 by SIGTERM or SIGHUP.
    """
    console = open_console(stderr=as_json)
    try:
        if not (yes or plan or sys.stdin.isatty()):
            raise SpecError("remove: nobody is there to answer", "add --yes")
        orders = removals_asked(
            cluster, nodes or [], zone, whole_zone=whole_zone, force_kill=force_kill
        )
        orders = _as_asked(orders, checked_profile(profile), allow_unknown=allow_unknown)
        check_dead(orders, known_dead)
        if plan:
            _plan(orders, console, as_json=as_json)
        if not yes:
            begin_server(orders)
            orders = _confirmed(orders, console)
        words = [cluster, *(nodes or [])]
        words += ["--zone", zone] if zone else []
        words += ["--whole-zone"] if whole_zone else []
        endings = run_orders(RunPosition(words, "remove", cluster), orders, as_json=as_json)
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        say_json(endings_as_data(endings))
    raise typer.Exit(max(code for _, code, _ in endings))


def removals_asked(
    cluster: str,
    nodes: Sequence[str],
    zone: str | None,
    *,
    whole_zone: bool = False,
    force_kill: bool = False,
    time_limits: TimeLimits = DEFAULT_TIME_LIMITS,
) -> tuple[Removal, ...]:
    """Give one order for each node that is named, by the file or by the command line.

    Args:
        cluster: As it was typed: a name, or a file.
        nodes: Agents, `ip:port`; none where a file names them or a whole zone leaves.
        zone: Of them; None: not said.
        whole_zone: Whether the zone leaves with all its servers.
        force_kill: Whether their observers are killed first.
        time_limits: Limits the file does not name itself.

    Raises:
        SpecError: Too little is named, or too much.
    """
    path = Path(cluster)
    if path.is_file() and is_batch_file(path):
        raise SpecError(f"{cluster}: is a batch", shlex.join(["obscale", "apply", cluster]))
    if path.is_file() and is_removal_file(path):
        if nodes or zone or whole_zone or force_kill:
            raise SpecError(
                f"{cluster}: the file names what leaves, and so does the command",
                f"obscale remove {cluster}",
            )
        return removals_of(read_removal(path), time_limits=time_limits)
    where, _, _ = named_cluster(cluster)
    if zone is None:
        raise SpecError("--zone: missing: a slip would remove another node", "name its zone")
    if whole_zone:
        if nodes or force_kill:
            raise SpecError("--whole-zone: takes all servers of the zone", "name no node")
        return (Removal(cluster=where, zone=zone, node=None, time_limits=time_limits),)
    if not nodes:
        raise SpecError("remove: no node was named", "name its agent, or add --whole-zone")
    batch = tuple(_leaving(each, zone, force_kill=force_kill) for each in nodes)
    if len({node.address for node in batch}) < len(batch):
        raise SpecError("remove: a node is named twice", "name each once")
    return tuple(
        Removal(cluster=where, zone=zone, node=node, batch=batch, time_limits=time_limits)
        for node in batch
    )


def _leaving(typed: str, zone: str, *, force_kill: bool) -> LeavingNode:
    address = AgentAddress.parse(typed)
    where = AgentInfoSpec(ip=address.ip, port=address.port)
    return LeavingNode(agentInfo=where, zone=zone, force_kill=force_kill)


def _as_asked(
    orders: tuple[Removal, ...], profile: str | None, *, allow_unknown: bool
) -> tuple[Removal, ...]:
    changes: dict[str, object] = {"profile": profile} if profile else {}
    changes |= {"allow_unknown": True} if allow_unknown else {}
    return tuple(checked_removal(order.model_copy(update=changes)) for order in orders)


def check_dead(orders: Sequence[Removal], known_dead: str) -> None:
    """See that force_kill is said in words of its own; --yes does not cover it.

    Raises:
        SpecError: It is not.
    """
    forced = [order.node.agentInfo.ip for order in orders if order.node and order.node.force_kill]
    if forced and forced != [known_dead]:
        raise SpecError(
            f"--force-kill: takes away one source of the data, and nobody says that {forced[0]} "
            "is dead",
            f"--i-know-it-is-dead {forced[0]}, for one node at a time; or leave force_kill out",
        )
    if known_dead and not forced:
        raise SpecError("--i-know-it-is-dead: only with --force-kill", "leave it out")


def _plan(orders: Sequence[Removal], console: Console, *, as_json: bool) -> None:
    """Say what would go wrong, and end the program."""
    seen = _look(orders, console)
    if as_json:
        rows = [
            {
                "target": order.target,
                "zone": order.zone,
                "verdict": found.findings.verdict,
                "findings": [each.model_dump(mode="json") for each in found.findings.by_weight()],
            }
            for order, found in zip(orders, seen, strict=True)
        ]
        say_json({"ready": not any(map(_blockers, seen)), "removals": rows})
    raise typer.Exit(Exit.REFUSED if any(map(_blockers, seen)) else Exit.DONE)


def _confirmed(orders: tuple[Removal, ...], console: Console) -> tuple[Removal, ...]:
    """Show what would go wrong and have what leaves typed; ends the program on anything else.

    Returns:
        The orders as they were answered: who types accepts what was shown as unknown.
    """
    seen = _look(orders, console)
    if any(map(_blockers, seen)):
        raise typer.Exit(Exit.REFUSED)
    answered = []
    for order, found in zip(orders, seen, strict=True):
        wanted = order.node.agentInfo.ip if order.node else order.zone
        if not (found.findings.already_gone or found.findings.will_be_adopted):
            question = f"{question_of(order, found.before)} Type {wanted}"
            with PROGRAM.asking():
                typed = typer.prompt(reader_line(question), err=console.stderr)
            if typed.strip() not in {wanted, order.target}:
                raise typer.Abort
            ask_again(order, found, console)
        accepts = {"allow_unknown": True} if found.findings.unknown else {}
        answered.append(order.model_copy(update=accepts))
    return tuple(answered)


def ask_again(order: Removal, seen: RemovalPreflight, console: Console) -> None:
    """In production, ask once more where the root service moves: statements pause for that."""
    if order.profile != "prod" or (leads := leads_rootservice(seen.findings)) is None:
        return
    with PROGRAM.asking():
        typer.confirm(
            reader_line(f"{leads.measured}: {leads.remedy}. Now?"),
            abort=True,
            err=console.stderr,
        )


def _blockers(seen: RemovalPreflight) -> tuple[Finding, ...]:
    found = seen.findings
    return () if found.already_gone or found.will_be_adopted else found.blockers


def _look(orders: Sequence[Removal], console: Console) -> list[RemovalPreflight]:
    """Judge each order, and print what was found."""
    store = secret_store_for(orders)
    with busy("looks at the cluster"), silence_shown(console):
        seen = PROGRAM.run(_judge_all(orders, store))
    for order, found in zip(orders, seen, strict=True):
        show_findings(console, found.findings.by_weight())
        words = f"{question_of(order, found.before).rstrip('?')}: {found.findings.verdict}"
        console.print(as_text(words, style="bold"), soft_wrap=True)
    return seen


async def _judge_all(orders: Sequence[Removal], store: SecretStore) -> list[RemovalPreflight]:
    seen = []
    for order in orders:
        async with removal_connected(order, store) as link:
            seen.append(await judge_order(link, order, will_be_asked=True))
    return seen
