"""`obscale plan SPEC`: shows what would be asked, what would fail, and the state after."""

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from obscale.batch.ledger import ledger_of
from obscale.batch.plan import plan_of
from obscale.cli.apply_batch import UNREACHED_KINDS, is_batch_file, look_at_all, read_in_profile
from obscale.cli.batch_view import show_batch_plan
from obscale.cli.busy import busy
from obscale.cli.exits import Exit, end_with
from obscale.cli.from_obd import ObdWanted, import_obd, show_import
from obscale.cli.grow import MORE_SPARES, GrowWanted, choose_spares, lack_of, show_growth
from obscale.cli.loudness import Quiet, Verbose
from obscale.cli.options import ANY_FILE, AsJson, WantedCluster, WantedProfile
from obscale.cli.plan_view import show_plan
from obscale.cli.run_view import silence_shown
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import complain, open_console, say, say_json
from obscale.connect.connections import EnvironmentSecrets, SecretStore
from obscale.errors import ObscaleError, PreflightError, SpecError
from obscale.plan import Plan, make_plan
from obscale.plan.file import (
    DEFAULT_VALID_MINUTES,
    MOST_VALID_MINUTES,
    PlanFile,
    earlier_looks,
    is_old,
    plan_file,
    read_plan_file,
    refuse_if_changed,
    request_of,
    write_plan_file,
)
from obscale.plan.grow_file import Grown
from obscale.preflight.finding import Answer
from obscale.request.models import Profile, ScaleOutSpec
from obscale.request.scale_out import ScaleOut, scale_outs_of
from obscale.spec import read_spec

OutFile = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Keep the plan, for `obscale apply FILE`."),
]
ValidMinutes = Annotated[
    int | None,
    typer.Option(
        "--valid-minutes",
        min=1,
        max=MOST_VALID_MINUTES,
        help=f"How long the kept plan may be applied; {DEFAULT_VALID_MINUTES} if not said.",
    ),
]
FromObd = Annotated[
    Path | None,
    typer.Option("--from-obd", metavar="FILE", help="Instead of SPEC: OBD's file of the cluster."),
]
Extra = Annotated[
    Path | None,
    typer.Option("--extra", metavar="FILE", help="OBD: the second file of obd cluster scale_out."),
]
OutRequest = Annotated[
    Path | None,
    typer.Option(
        "--out-request", metavar="FILE", help="Keep the request made, for `obscale apply FILE`."
    ),
]
PasswordEnv = Annotated[
    str | None,
    typer.Option("--password-env", metavar="NAME", help="Variable of root@sys's password."),
]
PasswordBlock = Annotated[
    str | None,
    typer.Option("--password-block", metavar="NAME", help="Secret of root@sys's password."),
]

Grow = Annotated[
    list[str] | None,
    typer.Option(
        "--grow",
        metavar="N|ZONE=N",
        help="Instead of SPEC: as many nodes more in each zone, or in one, of --spares.",
    ),
]
Spares = Annotated[
    str | None,
    typer.Option("--spares", metavar="FILE|IP:PORT,...", help="Grow: the agents to choose from."),
]
Endpoint = Annotated[
    list[str] | None,
    typer.Option("--cluster-endpoint", metavar="IP:PORT", help="Grow: a cluster agent."),
]


def plan(
    spec: Annotated[Path | None, ANY_FILE] = None,
    as_json: AsJson = False,
    profile: WantedProfile = None,
    out: OutFile = None,
    valid_minutes: ValidMinutes = None,
    cluster: WantedCluster = None,
    from_obd: FromObd = None,
    extra: Extra = None,
    out_request: OutRequest = None,
    password_env: PasswordEnv = None,
    password_block: PasswordBlock = None,
    grow: Grow = None,
    spares: Spares = None,
    cluster_endpoint: Endpoint = None,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Read cluster and target and say what would go wrong; without --out, write nothing anywhere.

    A batch, or a table (CSV), is planned too: every row judged, and the order told. For a host
    that has no request yet, obscale suggest prints one.

    With --from-obd the servers of OBD's file that the cluster does not have yet are planned; where
    its password is kept is said by --cluster, --password-env or --password-block.

    With --grow as many nodes for each zone are chosen of --spares; each spare is told with why it
    is chosen, or left out. Too few: blocked, never fewer.

    Exit: 0 ready, 1 blocked, 2 bad input, 3 could not look.
    """
    obd = ObdWanted(from_obd, extra, out_request, password_block, password_env, cluster)
    more = GrowWanted(
        *(tuple(grow or ()), spares, tuple(cluster_endpoint or ()), cluster),
        *(password_env, password_block, out_request),
    )
    try:
        _refuse_misplaced(obd, more, spec)
        if valid_minutes is not None and out is None:
            raise SpecError("--valid-minutes: no plan is kept without --out", "--out plan.json")
        if from_obd is not None:
            kept_for = KeptFor(profile, out, valid_minutes)
            raise typer.Exit(_plan_obd(obd, kept_for, as_json=as_json))
        if grow:
            kept_for = KeptFor(profile, out, valid_minutes)
            raise typer.Exit(_plan_grown(more, kept_for, as_json=as_json))
        if spec is None:
            raise SpecError("plan: no request was named", "obscale plan SPEC")
        if is_batch_file(spec):
            refuse_cluster_of_many(spec, cluster)
            raise typer.Exit(_plan_batch(spec, profile, out, as_json=as_json))
        planned = _plan(Asked(spec, profile, cluster), out, valid_minutes, as_json=as_json)
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    raise typer.Exit(Exit.DONE if planned.ready else Exit.REFUSED)


@dataclass(frozen=True)
class Asked:
    """A request as the command line names it."""

    path: Path
    profile: str | None
    cluster: str | None

    def words(self) -> list[str]:
        """Give what stands behind `obscale apply` for it, without the profile."""
        return [str(self.path), *(["--cluster", self.cluster] if self.cluster else [])]

    def __str__(self) -> str:
        return shlex.join(self.words())


def refuse_cluster_of_many(path: Path, cluster: str | None) -> None:
    """Refuse --cluster for what names its clusters itself.

    Raises:
        SpecError: It was given.
    """
    if cluster is not None:
        raise SpecError(
            f"--cluster: {path} is a batch or a table, which names its clusters itself",
            "leave --cluster out",
        )


def _plan(named: Asked, out: Path | None, valid_minutes: int | None, *, as_json: bool) -> Plan:
    """Plan a request, keep it where asked, and show it."""
    spec, profile = named.path, named.profile
    if read_plan_file(spec) is not None:
        raise SpecError(f"{spec}: is a plan already, not a request", f"obscale apply {spec}")
    asked = _in_profile(read_spec(spec, named.cluster), profile)
    made = plan_now(asked, Asked(out, None, None) if out else named)
    kept = None
    if out is not None:
        minutes = valid_minutes or DEFAULT_VALID_MINUTES
        kept = plan_file(asked, made, _command(named, out, valid_minutes), minutes)
        write_plan_file(out, kept)
    if as_json:
        say_json(made.model_dump(mode="json"))
        return made
    show_plan(open_console(), made)
    if kept is not None:
        say(f"kept in {out} until {kept.expires:%Y-%m-%d %H:%M:%S} UTC")
    return made


@dataclass(frozen=True)
class KeptFor:
    """How a request that is made here is judged, and where its plan is kept."""

    profile: str | None
    out: Path | None
    valid_minutes: int | None


def _refuse_misplaced(obd: ObdWanted, more: GrowWanted, spec: Path | None) -> None:
    """Refuse options that mean nothing together.

    Raises:
        SpecError: There are such.
    """
    if obd.from_obd is not None and more.grow:
        raise SpecError("--from-obd, --grow: each makes a request", "leave one of them out")
    for option, is_given in (("--from-obd", obd.from_obd is not None), ("--grow", bool(more.grow))):
        if is_given and spec is not None:
            raise SpecError(f"{option}: takes no SPEC beside it", "leave one of them out")
    if obd.from_obd is None and (given := obd.given()):
        raise SpecError(f"{', '.join(given)}: only with --from-obd", "leave it out")
    if not more.grow and (given := more.given()):
        raise SpecError(f"{', '.join(given)}: only with --grow", "leave it out")
    of_both = {
        "--out-request": more.out_request,
        "--password-env": more.password_env,
        "--password-block": more.password_block,
    }
    given = tuple(option for option, value in of_both.items() if value)
    if given and obd.from_obd is None and not more.grow:
        raise SpecError(f"{', '.join(given)}: only with --from-obd or --grow", "leave it out")


def _plan_obd(wanted: ObdWanted, kept_for: KeptFor, *, as_json: bool) -> Exit:
    """Plan the new servers of a file of OBD's, keep the plan where asked, and show both."""
    profile = kept_for.profile
    asked, told = import_obd(wanted, checked_profile(profile), secret_store_for)
    names = wanted.out_request, wanted.from_obd or Path()
    made = _plan_of_made(asked, names, wanted.command(profile), kept_for)
    if as_json:
        say_json(made.model_dump(mode="json") | {"from_obd": told.model_dump(mode="json")})
    else:
        show_import(told, wanted.out_request)
        show_plan(open_console(), made)
    return Exit.DONE if made.ready else Exit.REFUSED


def _plan_grown(wanted: GrowWanted, kept_for: KeptFor, *, as_json: bool) -> Exit:
    """Choose spares, plan them as any request, keep the plan where asked, and show both."""
    grown = choose_spares(wanted, checked_profile(kept_for.profile), secret_store_for)
    if grown.spec is None:
        lack = lack_of(grown.told)
        if as_json:
            say_json(_as_object("blocked", f"{lack}; {MORE_SPARES}", grown, None))
        else:
            show_growth(open_console(), grown.told, None)
            complain(f"{lack}. Next: {MORE_SPARES}")
        return Exit.REFUSED
    names = wanted.out_request, Path("request.yaml")
    made = _plan_of_made(grown.spec, names, wanted.command(kept_for.profile), kept_for)
    if as_json:
        say_json(_as_object(made.verdict, made.next, grown, made))
    else:
        show_growth(open_console(), grown.told, wanted.out_request)
        show_plan(open_console(), made)
    return Exit.DONE if made.ready else Exit.REFUSED


def _as_object(verdict: str, cure: str, grown: Grown, made: Plan | None) -> dict[str, object]:
    return {
        "verdict": verdict,
        "ready": made is not None and made.ready,
        "next": cure,
        "grow": grown.told.model_dump(mode="json"),
        "plan": made and made.model_dump(mode="json"),
    }


def _plan_of_made(
    asked: ScaleOutSpec, names: tuple[Path | None, Path], command: str, kept_for: KeptFor
) -> Plan:
    """Plan a request that was made here, and keep the plan where asked.

    Args:
        asked: The request.
        names: Where it is kept, and what it is called otherwise.
        command: What makes it again.
        kept_for: How it is judged, and where the plan is kept.
    """
    request, stand_in = names
    out = kept_for.out
    kept_in = request or out
    made = plan_now(asked, Asked(kept_in or stand_in, None, None))
    if made.ready and kept_in is None:
        again = f"{command} --out-request request.yaml, then obscale apply that"
        made = made.model_copy(update={"next": again})
    if out is not None:
        words = f"{command} --out {shlex.quote(str(out))}"
        kept = plan_file(asked, made, words, kept_for.valid_minutes or DEFAULT_VALID_MINUTES)
        write_plan_file(out, kept)
    return made


def _plan_batch(path: Path, profile: str | None, out: Path | None, *, as_json: bool) -> Exit:
    """Plan a batch and show it; gives the exit code."""
    if out is not None:
        raise SpecError(
            "--out: a batch's plan is not kept, because apply judges each row again at its turn",
            f"obscale apply {path}",
        )
    ledger = ledger_of(read_in_profile(path, checked_profile(profile)))
    secret_store = secret_store_for(tuple(entry.order for entry in ledger.entries))
    looks = f"plan: looks at {len(ledger.entries)} nodes and their clusters"
    with busy(looks), silence_shown(open_console(stderr=True)):
        PROGRAM.run(look_at_all(ledger, secret_store))
    made = plan_of(ledger, datetime.now(UTC))
    if as_json:
        say_json(made.model_dump(mode="json"))
    else:
        show_batch_plan(open_console(), made)
    if made.ready:
        return Exit.DONE
    kinds = {row.error_kind for row in made.rows}
    return Exit.OUT_OF_REACH if kinds <= UNREACHED_KINDS else Exit.REFUSED


def plan_now(spec: ScaleOutSpec, named: Asked, *, kept: PlanFile | None = None) -> Plan:
    """Plan a request in this process.

    Args:
        spec: The request.
        named: How the next command names it.
        kept: The plan it comes from: what has changed since is judged too.
    """
    orders = scale_outs_of(spec)
    earlier = earlier_looks(kept) if kept else {}
    made = make_plan(
        orders,
        secret_store_for(orders),
        defaults=spec.defaults,
        source=named.words(),
        earlier=earlier,
    )
    targets = ", ".join(order.target for order in orders)
    looks = f"plan: looks at {orders[0].cluster_name} and {targets}"
    with busy(looks), silence_shown(open_console(stderr=True)):
        return PROGRAM.run(made)


def read_request(named: Asked) -> ScaleOutSpec:
    """Read what is to be applied: a request, or a plan of one that still holds.

    Args:
        named: Either; a plan is recognised by its content, and has its own profile and cluster.

    Raises:
        SpecError: It is wrong, or the plan has expired.
        PlanChangedError: The cluster is not as it was planned.
        PreflightError: The plan itself was blocked.
        AgentError: No entry agent could be asked whether the plan still holds.
    """
    path = named.path
    kept = read_plan_file(path)
    if kept is None:
        return _in_profile(read_spec(path, named.cluster), named.profile)
    for option, value in (("--profile", named.profile), ("--cluster", named.cluster)):
        if value is not None:
            raise SpecError(f"{option}: {path} is a plan and has its own", kept.command)
    spec = request_of(path, kept)
    made = plan_now(spec, named, kept=kept)
    refuse_if_changed(path, kept, made)
    if not made.ready:
        reasons = [f.rule for row in made.rows for f in row.findings if f.weight is Answer.BLOCK]
        why = f"blocked by {', '.join(reasons)}" if reasons else f"not ready: {made.verdict}"
        raise PreflightError(f"{path}: this plan is {why}", made.next)
    for said in dict.fromkeys(f.measured for row in made.rows for f in row.findings if is_old(f)):
        complain(f"{path}: {said}; nothing it was made for has changed")
    return spec


def _in_profile(spec: ScaleOutSpec, profile: str | None) -> ScaleOutSpec:
    wanted = checked_profile(profile)
    return spec.model_copy(update={"profile": wanted}) if wanted else spec


def _command(named: Asked, out: Path, valid_minutes: int | None) -> str:
    words = ["obscale", "plan", *named.words()]
    words += ["--profile", named.profile] if named.profile else []
    words += ["--out", str(out)]
    words += ["--valid-minutes", str(valid_minutes)] if valid_minutes else []
    return shlex.join(words)


def checked_profile(profile: str | None) -> Profile | None:
    """Accept prod or lab.

    Raises:
        SpecError: Any other word.
    """
    match profile:
        case None:
            return None
        case "prod":
            return "prod"
        case "lab":
            return "lab"
        case _:
            raise SpecError(f"--profile: {profile!r} is not a profile", "write prod or lab")


def secret_store_for(orders: tuple[ScaleOut, ...]) -> SecretStore:
    """Give the plainest store of secrets that can resolve what the orders name.

    Prefect takes a second to import; a request that names only environment variables does without.
    """

    def stored(order: ScaleOut) -> bool:
        names = [order.node.targetAgentPassword]
        if isinstance(order.cluster, str):
            return True
        names.append(order.cluster.password)
        return any(name is not None and name.block is not None for name in names)

    if not any(stored(order) for order in orders):
        return EnvironmentSecrets()
    from obscale.cli.local_prefect import require_prefect, settle  # noqa: PLC0415

    settle()
    require_prefect()
    from obscale.tasks.runtime.blocks import PrefectSecrets  # noqa: PLC0415 - after the settings

    return PrefectSecrets()
