"""The options of `obscale plan --grow`, and what is said of the spares it chooses from."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from obscale.cli.busy import busy, silence_shown
from obscale.cli.from_obd import refuse_existing, write_request
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, label, open_console, reader_line
from obscale.connect.connections import SecretStore
from obscale.errors import SpecError
from obscale.plan.grow import GrowthTold, read_growth
from obscale.plan.grow_file import Grown, grow, orders_of
from obscale.request.models import ClusterSpec, Profile, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.spec.spares import read_spares

MORE_SPARES: Final = "mend what the left out spares are left out for, or name more of them"


@dataclass(frozen=True)
class GrowWanted:
    """What was written after the options that go with --grow, by their names.

    Passwords are only named.
    """

    grow: tuple[str, ...]
    spares: str | None
    cluster_endpoint: tuple[str, ...]
    cluster: str | None
    password_env: str | None
    password_block: str | None
    out_request: Path | None

    def given(self) -> tuple[str, ...]:
        """Name the options that were written and mean nothing without --grow."""
        own = ("spares", "cluster_endpoint")
        return tuple(f"--{name.replace('_', '-')}" for name in own if getattr(self, name))

    def command(self, profile: str | None) -> str:
        """Give the command that plans the same again, without where it keeps anything."""
        words = [word for text in self.grow for word in ("--grow", text)]
        words += ["--spares", self.spares or ""]
        words += [word for text in self.cluster_endpoint for word in ("--cluster-endpoint", text)]
        said = {
            "--cluster": self.cluster,
            "--password-env": self.password_env,
            "--password-block": self.password_block,
            "--profile": profile,
        }
        words += [word for option, value in said.items() if value for word in (option, value)]
        return shlex.join(["obscale", "plan", *words])


def choose_spares(
    wanted: GrowWanted,
    profile: Profile | None,
    store_for: Callable[[tuple[ScaleOut, ...]], SecretStore],
) -> Grown:
    """Read the pool, ask cluster and spares, choose, and keep the request where asked.

    Args:
        wanted: With what to choose from.
        profile: None: prod.
        store_for: Gives the store that resolves what orders name.

    Raises:
        SpecError: An option or the pool is wrong.
        PreflightError: The cluster's zones are not known.
        AgentError: Nobody could be asked.
    """
    growth = read_growth(wanted.grow)
    if not wanted.spares:
        raise SpecError("--grow: no pool was named", "--spares spares.yaml, or ip:port,ip:port")
    cluster = _cluster(wanted)
    orders = orders_of(read_spares(wanted.spares), cluster, profile)
    refuse_existing(wanted.out_request)
    looks = f"plan: looks at {orders[0].cluster_name} and {len(orders)} spares"
    with busy(looks), silence_shown(open_console(stderr=True)):
        grown = PROGRAM.run(grow(orders, growth, store_for(orders)))
    if wanted.out_request is not None and grown.text:
        write_request(wanted.out_request, grown.text)
    return grown


def lack_of(told: GrowthTold) -> str:
    """Say how many spares are missing; empty: none."""
    if not told.missing:
        return ""
    count = sum(told.missing.values())
    by_zone = ", ".join(f"{zone} {number}" for zone, number in told.missing.items())
    return (
        f"blocked: {count} of {sum(told.wanted.values())} nodes have no spare ({by_zone}); "
        "nothing is asked for, never fewer than wanted"
    )


def show_growth(console: Console, told: GrowthTold, request: Path | None) -> None:
    """Print who was chosen and who was left out, each with the reason.

    Args:
        console: Where to.
        told: What was chosen.
        request: Where the request was kept.
    """
    grows = ", ".join(f"{zone} by {count}" for zone, count in told.wanted.items())
    pool = len(told.chosen) + len(told.left_out)
    console.print(as_text(f"Growing {told.cluster}: {grows}; {pool} spares were asked"))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    verb = label("would be chosen") if told.missing else label("chosen")
    for chosen in told.chosen:
        place = f"{verb} → {chosen.zone}"
        table.add_row(
            as_text(f"  {chosen.target}", is_said=True),
            as_text(place, style="green", is_said=True),
            as_text(chosen.why),
        )
    for left in told.left_out:
        cells = (f"  {left.target}", label("not chosen"))
        table.add_row(
            *(as_text(cell, style="dim", is_said=True) for cell in cells),
            as_text(reader_line(left.why), style="dim", is_said=True),
        )
    console.print(table)
    if request is not None and not told.missing:
        console.print(as_text(f"  request kept in {request}"))


def _cluster(wanted: GrowWanted) -> str | ClusterSpec:
    """Say how the cluster is reached.

    Raises:
        SpecError: It is not named, or named twice.
    """
    if bool(wanted.cluster) == bool(wanted.cluster_endpoint):
        raise SpecError(
            "--grow: name the cluster by one of --cluster and --cluster-endpoint",
            "--cluster NAME, or --cluster-endpoint 10.0.0.1:2886 --password-env OB_ROOT",
        )
    if wanted.password_env and wanted.password_block:
        raise SpecError("--password-env, --password-block: each says where the password is")
    name = wanted.password_env or wanted.password_block
    if wanted.cluster:
        if name:
            raise SpecError(
                "--cluster: the stored connection has its own password",
                "leave --password-env and --password-block out",
            )
        return wanted.cluster
    try:
        secret = SecretName(env=wanted.password_env, block=wanted.password_block) if name else None
        return ClusterSpec(endpoints=wanted.cluster_endpoint, password=secret)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SpecError(f"--grow: {first['msg'].removeprefix('Value error, ')}") from None
