"""`obscale plan SPEC`: shows what would be asked, what would fail, and the state after."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from obscale.cli.busy import busy, silence_shown
from obscale.cli.exits import Exit, end_with
from obscale.cli.loudness import Quiet, Verbose
from obscale.cli.options import ANY_FILE, AsJson, WantedCluster, WantedProfile
from obscale.cli.plan_view import show_plan
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
from obscale.preflight.finding import Answer
from obscale.request.asked import Order
from obscale.request.models import Profile, ScaleOutSpec
from obscale.request.replacement import Replacement
from obscale.request.scale_out import ScaleOut, scale_outs_of
from obscale.spec import read_spec
from obscale.spec.batch import is_batch_file
from obscale.spec.removal import is_removal_file
from obscale.spec.replacement import is_replacement_file
from obscale.spec.source import MAX_FILE_BYTES

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

    A file that says which nodes leave (remove:), or are replaced (replace:), is judged as its own
    command does with --plan.

    Exit: 0 ready, 1 blocked, 2 bad input, 3 could not look.
    """
    obd = {"from_obd": from_obd, "extra": extra}
    pool = {"grow": grow, "spares": spares, "cluster_endpoint": cluster_endpoint}
    secret = {"password_env": password_env, "password_block": password_block}
    of_made = obd | pool | secret | {"out_request": out_request}
    try:
        if any(of_made.values()):
            # Few plans make their request; the others do without what that takes.
            from obscale.cli.plan_made import KeptFor, plan_made  # noqa: PLC0415

            kept_for = KeptFor(profile, out, valid_minutes)
            given = of_made | {"cluster": cluster}
            raise typer.Exit(plan_made(spec, given, kept_for, as_json=as_json))
        refuse_minutes(out, valid_minutes)
        if spec is None:
            raise SpecError("plan: no request was named", "obscale plan SPEC")
        if is_batch_file(spec):
            refuse_cluster_of_many(spec, cluster)
            raise typer.Exit(_plan_batch(spec, profile, out, as_json=as_json))
        if _may_take_out(spec):
            _plan_of_others(spec, profile, out, as_json=as_json)
        planned = _plan(Asked(spec, profile, cluster), out, valid_minutes, as_json=as_json)
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    raise typer.Exit(Exit.DONE if planned.ready else Exit.REFUSED)


def _may_take_out(spec: Path) -> bool:
    """Whether a file may list nodes that leave; reading it as YAML to be sure takes long."""
    try:
        content = spec.read_bytes()[:MAX_FILE_BYTES]
    except OSError:
        return False  # reading it as a request says why
    return b"remove" in content or b"replace" in content


def _plan_of_others(spec: Path, profile: str | None, out: Path | None, *, as_json: bool) -> None:
    """Plan what takes nodes out, and end the program; of any other file do nothing.

    Raises:
        SpecError: A plan of it is to be kept.
    """
    is_removal = is_removal_file(spec)
    if not (is_removal or is_replacement_file(spec)):
        return
    if out:
        raise SpecError("--out: only plans of nodes that join are kept", "leave it out")
    # Both commands read requests by this module.
    if is_removal:
        from obscale.cli.remove import remove  # noqa: PLC0415

        remove(str(spec), plan=True, as_json=as_json, profile=profile)
    from obscale.cli.replace import replace  # noqa: PLC0415

    replace(str(spec), plan=True, as_json=as_json, profile=profile)


def refuse_minutes(out: Path | None, valid_minutes: int | None) -> None:
    """Refuse to say how long a plan holds that is not kept.

    Raises:
        SpecError: It was said.
    """
    if valid_minutes is not None and out is None:
        raise SpecError("--valid-minutes: no plan is kept without --out", "--out plan.json")


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


def _plan_batch(path: Path, profile: str | None, out: Path | None, *, as_json: bool) -> Exit:
    """Plan a batch and show it; gives the exit code."""
    # A request of one cluster does without all this.
    from obscale.batch.ledger import ledger_of  # noqa: PLC0415
    from obscale.batch.plan import plan_of  # noqa: PLC0415
    from obscale.cli.apply_batch import UNREACHED_KINDS, look_at_all, read_in_profile  # noqa: PLC0415
    from obscale.cli.batch_view import show_batch_plan  # noqa: PLC0415

    if out is not None:
        raise SpecError(
            "--out: a batch's plan is not kept, because apply judges each row again at its turn",
            f"obscale apply {path}",
        )
    ledger = ledger_of(read_in_profile(path, checked_profile(profile)))
    secret_store = secret_store_for(tuple(entry.order for entry in ledger.entries))
    count = len(ledger.entries)
    looks = f"plan: looks at {count} nodes and their clusters"
    if ledger.kind == "use":
        looks = f"plan: looks at {count} tenants and their clusters"
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


def secret_store_for(orders: Sequence[Order]) -> SecretStore:
    """Give the plainest store of secrets that can resolve what the orders name.

    Prefect takes a second to import; a request that names only environment variables does without.
    """

    def stored(order: Order) -> bool:
        names = [order.node.targetAgentPassword] if isinstance(order, ScaleOut) else []
        if isinstance(order, Replacement):
            names = [order.pair.by.targetAgentPassword]
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
