"""`obscale replace CLUSTER DEAD --by FILE`: adds a node, proves it, then removes the dead one."""

import asyncio
import shlex
import sys
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from obscale.agent.address import AgentAddress
from obscale.cli.apply import Yes, endings_as_data, run_orders
from obscale.cli.apply_batch import although_unknown
from obscale.cli.busy import busy
from obscale.cli.exits import Exit, end_with
from obscale.cli.follow_scale_out import named_cluster
from obscale.cli.interrupted import RunPosition
from obscale.cli.loudness import Quiet, Verbose
from obscale.cli.options import AsJson, ClusterName, WantedProfile
from obscale.cli.plan import checked_profile, secret_store_for
from obscale.cli.plan_view import show_findings
from obscale.cli.remove import AllowUnknown, ForceKill, KnownDead, OnlyPlan, check_dead
from obscale.cli.run_view import LiveRun, silence_shown
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, open_console, reader_line, say_json
from obscale.connect.connections import SecretStore, connected
from obscale.errors import ObscaleError, SpecError
from obscale.events import Event
from obscale.removal.look import removal_connected
from obscale.removal.words import question_of
from obscale.replacement.judge import ReplacementPlan, checked_replacement, judge_replacement
from obscale.replacement.read import read_both
from obscale.report.report import ScaleOutReport
from obscale.request.models import AgentInfoSpec
from obscale.request.removal import LeavingNode
from obscale.request.replacement import ReplacedNode, Replacement, replacements_of
from obscale.request.start_options import ObConfigs
from obscale.request.time_limits import DEFAULT_TIME_LIMITS
from obscale.spec import read_spec
from obscale.spec.batch import is_batch_file
from obscale.spec.replacement import is_replacement_file, read_replacement
from obscale.spec.source import read_source, read_text

Dead = Annotated[
    str | None,
    typer.Argument(metavar="IP:PORT", help="Agent of the node that leaves; not its RPC port."),
]
By = Annotated[
    Path | None, typer.Option("--by", metavar="FILE", help="Request of the one node that joins.")
]
Live = Annotated[
    bool, typer.Option("--live", help="Move off a node that is alive; without it only a dead one.")
]
Confirm = Annotated[
    list[str] | None,
    typer.Option("--confirm", metavar="IP", help="Who leaves, typed again; goes with --yes."),
]


def replace(
    cluster: ClusterName,
    dead: Dead = None,
    by: By = None,
    live: Live = False,
    plan: OnlyPlan = False,
    force_kill: ForceKill = False,
    known_dead: KnownDead = "",
    allow_unknown: AllowUnknown = False,
    yes: Yes = False,
    confirm: Confirm = None,
    as_json: AsJson = False,
    profile: WantedProfile = None,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Replace a dead node: add another one to its zone, prove it, then remove the dead one.

    CLUSTER may be a file that lists pairs below `replace:`; then it names everything. One plan
    judges both halves before anything is begun. The addition is asked for once; the removal is
    planned again after it, and begins when the address of the node that leaves is typed.

    --yes answers for the addition alone; with --confirm it names both. Running it again is safe:
    it takes up what is under way, and goes on where it ended.

    Exit: 0 both proved, 1 blocked or failed, 2 bad input, 3 cannot reach, 4 the new node is
    verified and the old one still there, 130 ended by Ctrl-C, 143 by SIGTERM or SIGHUP.
    """
    console = open_console(stderr=as_json)
    try:
        typed = confirm or []
        if not (plan or sys.stdin.isatty() or (yes and typed)):
            raise SpecError(
                "replace: nobody is there to answer, and to type who leaves",
                "add --yes for the new node, and --confirm IP for the one that leaves",
            )
        if typed and not yes:
            raise SpecError("--confirm: goes with --yes", "leave it out, and type it when asked")
        orders = _orders(cluster, dead, by, live=live, force_kill=force_kill)
        orders = _as_asked(orders, checked_profile(profile), allow_unknown=allow_unknown)
        check_dead([order.removal for order in orders], known_dead)
        _check_confirmed(orders, typed)
        if plan:
            _plan(orders, console, as_json=as_json)
        if not yes:
            orders = _confirmed(orders, console)
        words = [cluster, *([dead] if dead else []), *(["--by", str(by)] if by else [])]
        words += ["--live"] if live else []
        endings = run_orders(
            RunPosition(words, "replace", cluster),
            orders,
            as_json=as_json,
            starting=partial(_started, is_confirmed=bool(typed), console=console),
        )
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        say_json(endings_as_data(endings))
    raise typer.Exit(max(code for _, code, _ in endings))


def _orders(
    cluster: str, dead: str | None, by: Path | None, *, live: bool, force_kill: bool
) -> tuple[Replacement, ...]:
    """Give one order for each pair that is named, by the file or by the command line.

    Raises:
        SpecError: Too little is named, or too much.
    """
    path = Path(cluster)
    if path.is_file() and is_batch_file(path):
        raise SpecError(f"{path}: is a batch", shlex.join(["obscale", "apply", str(path)]))
    if path.is_file() and is_replacement_file(path):
        if dead or by or live or force_kill:
            raise SpecError(
                f"{cluster}: the file names the pairs, and so does the command",
                f"obscale replace {cluster}",
            )
        return replacements_of(read_replacement(path))
    if dead is None:
        raise SpecError("replace: nobody is named who leaves", "name its agent as IP:PORT")
    if by is None:
        raise SpecError("--by: missing: who takes its place", "--by FILE, a request of one node")
    where, _, _ = named_cluster(cluster)
    asked = read_spec(by, where if isinstance(where, str) and not _names_cluster(by) else None)
    if len(asked.nodes) != 1:
        raise SpecError(f"{by}: asks for {len(asked.nodes)} nodes", "name one: it replaces one")
    if type(asked.cluster) is type(where) and asked.cluster != where:
        raise SpecError(
            f"{by}: names another cluster than {cluster}",
            f"obscale replace {by} {dead} --by {by}, or correct one of them",
        )
    (joins,) = asked.nodes
    address = AgentAddress.parse(dead)
    leaves = LeavingNode(
        agentInfo=AgentInfoSpec(ip=address.ip, port=address.port),
        # Of another zone the plan says so.
        zone=joins.zone,
        force_kill=force_kill,
    )
    pair = ReplacedNode(dead=leaves, by=joins, live=live)
    return (
        Replacement(
            cluster=where,
            pair=pair,
            batch=(pair,),
            profile=asked.profile,
            allow_unknown=asked.allow_unknown,
            overrides=asked.overrides,
            time_limits=DEFAULT_TIME_LIMITS.with_own(asked.time_limits),
        ),
    )


def _names_cluster(by: Path) -> bool:
    data = read_source(read_text(by), str(by)).data
    return isinstance(data, dict) and "cluster" in data


def _as_asked(
    orders: tuple[Replacement, ...], profile: str | None, *, allow_unknown: bool
) -> tuple[Replacement, ...]:
    changes: dict[str, object] = {"profile": profile} if profile else {}
    changes |= {"allow_unknown": True} if allow_unknown else {}
    return tuple(checked_replacement(order.model_copy(update=changes)) for order in orders)


def _check_confirmed(orders: Sequence[Replacement], typed: Sequence[str]) -> None:
    """See that --confirm names each node that leaves, and no other.

    Raises:
        SpecError: It does not.
    """
    left = list(typed)
    for order in orders if typed else ():
        mine = {order.target, order.pair.dead.agentInfo.ip}
        if not (named := [each for each in left if each in mine]):
            raise SpecError(
                f"--confirm: does not name {order.target}, which leaves",
                f"--confirm {order.pair.dead.agentInfo.ip}",
            )
        left.remove(named[0])
    if left:
        raise SpecError(f"--confirm: {left[0]} is not to leave", "name who leaves, each once")


def _plan(orders: Sequence[Replacement], console: Console, *, as_json: bool) -> None:
    """Say what would go wrong in either half, and end the program."""
    plans = _look(orders, console)
    blocked = any(plan.is_blocked for plan in plans)
    if as_json:
        rows = [
            {
                "target": order.target,
                "by": order.joining,
                "zone": order.zone,
                "verdict": plan.verdict,
                "findings": [each.model_dump(mode="json") for each in plan.findings.by_weight()],
            }
            for order, plan in zip(orders, plans, strict=True)
        ]
        say_json({"ready": not blocked, "replacements": rows})
    raise typer.Exit(Exit.REFUSED if blocked else Exit.DONE)


def _confirmed(orders: tuple[Replacement, ...], console: Console) -> tuple[Replacement, ...]:
    """Show what would go wrong and ask for the additions; ends the program on no.

    Returns:
        The orders as they were answered: who says yes accepts what was shown as unknown.
    """
    plans = _look(orders, console)
    if any(plan.is_blocked for plan in plans):
        raise typer.Exit(Exit.REFUSED)
    answered = []
    for order, plan in zip(orders, plans, strict=True):
        found = plan.findings
        if not (found.already_member or found.will_be_adopted):
            beside = although_unknown(found.unknown)
            question = (
                f"Add {order.joining} to {order.zone} now{beside}, and ask for the removal of "
                f"{order.target} once it is proved?"
            )
            with PROGRAM.asking():
                typer.confirm(reader_line(question), abort=True, err=console.stderr)
        accepts = {"allow_unknown": True} if found.unknown else {}
        answered.append(order.model_copy(update=accepts))
    return tuple(answered)


def _look(orders: Sequence[Replacement], console: Console) -> list[ReplacementPlan]:
    """Judge each order, and print what was found and what both halves do."""
    store = secret_store_for(orders)
    with busy("looks at the cluster"), silence_shown(console):
        plans = PROGRAM.run(_judge_all(orders, store))
    for order, plan in zip(orders, plans, strict=True):
        show_findings(console, plan.findings.by_weight())
        verdict = as_text(f"replace {order.target} by {order.joining}: {plan.verdict}", "bold")
        console.print(verdict, soft_wrap=True)
        console.print(as_text(f"  first: add {order.joining} to {order.zone}"), soft_wrap=True)
        second = question_of(order.removal, plan.leaving).rstrip("?")
        console.print(as_text(f"  then: {second}"), soft_wrap=True)
    return plans


async def _judge_all(orders: Sequence[Replacement], store: SecretStore) -> list[ReplacementPlan]:
    plans = []
    for order in orders:
        async with (
            connected(order.addition, store) as joining,
            removal_connected(order.removal, store) as leaving,
        ):
            facts = await read_both(joining, leaving, order, _nobody)
        plans.append(judge_replacement(facts, will_be_asked=True, is_plan=True))
    return plans


def _nobody(_event: Event) -> None:
    """Tell nobody: what was found is shown whole."""


async def _started(
    order: Replacement, live: LiveRun, *, is_confirmed: bool, console: Console
) -> ScaleOutReport:
    """Run the flow; who is at the terminal is asked there for the second half."""
    from obscale.flows.replace import replace as flow  # noqa: PLC0415 - Prefect reads its settings at import
    from obscale.tasks.runtime.person import answering  # noqa: PLC0415

    async def ask(question: str, _wanted: str) -> str:
        with live.paused():
            ip = order.pair.dead.agentInfo.ip
            console.print(as_text(f"{question} Type {ip}:"), soft_wrap=True)
            return await read_answer()

    dead = order.pair.dead
    running: Coroutine[Any, Any, ScaleOutReport] = flow(
        cluster=order.cluster,
        dead=dead.agentInfo,
        agentInfo=order.pair.by.agentInfo,
        zone=order.zone,
        obConfigs=ObConfigs.model_validate(order.pair.by.obConfigs),
        targetAgentPassword=order.pair.by.targetAgentPassword,
        # Typed with the command, or at the terminal once the new node is proved.
        confirm=order.target if is_confirmed else "",
        live=order.pair.live,
        profile=order.profile,
        allow_unknown=order.allow_unknown,
        overrides=order.overrides,
        # Answered before the run began.
        approval="none",
        on_failure=order.on_failure,
        force_kill=dead.force_kill,
        known_dead=dead.agentInfo.ip if dead.force_kill else "",
        batch=order.batch,
        time_limits=order.time_limits,
    )
    with answering(None if is_confirmed else ask):
        return await running


async def read_answer() -> str:
    """Read one line from the terminal, while all else goes on.

    A thread that waits for a line would keep the process from ending by a signal.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline().strip()
