"""`obscale plan SPEC`: preflight only; writes nothing anywhere."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from obscale.cli.ending import Exit, end_with
from obscale.cli.screen import show_row
from obscale.errors import ObscaleError
from obscale.link import Vault
from obscale.order import Order, orders_of
from obscale.plan import make_plan
from obscale.rules.asked import Profile
from obscale.spec import read_spec

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="YAML or JSON; see examples/.")]
WantedProfile = Annotated[
    str | None,
    typer.Option("--profile", metavar="prod|lab", help="How strictly findings are weighed."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def plan(spec: SpecPath, as_json: AsJson = False, profile: WantedProfile = None) -> None:
    """Read cluster and target and say what would go wrong; write nothing anywhere.

    Exit: 0 ready, 1 blocked, 2 bad input, 3 could not look.
    """
    try:
        orders = orders_of(read_spec(spec), profile=checked_profile(profile))
        made = asyncio.run(make_plan(orders, vault_for(orders)))
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        typer.echo(made.model_dump_json(indent=2))
    else:
        console = Console()
        for row in made.rows:
            show_row(console, row)
    raise typer.Exit(Exit.DONE if made.ready else Exit.REFUSED)


def checked_profile(profile: str | None) -> Profile | None:
    """Accept prod or lab.

    Raises:
        SpecError: Any other word.
    """
    from obscale.errors import SpecError  # noqa: PLC0415

    match profile:
        case None:
            return None
        case "prod":
            return "prod"
        case "lab":
            return "lab"
        case _:
            raise SpecError(f"--profile: {profile!r} is not a profile", "write prod or lab")


def vault_for(orders: tuple[Order, ...]) -> Vault:
    """Give the plainest vault that can resolve what the orders name.

    Prefect takes a second to import; a request that names only environment variables does without.
    """
    from obscale.link import EnvironmentVault  # noqa: PLC0415

    def stored(order: Order) -> bool:
        names = [order.node.targetAgentPassword]
        if isinstance(order.cluster, str):
            return True
        names.append(order.cluster.password)
        return any(name is not None and name.block is not None for name in names)

    if not any(stored(order) for order in orders):
        return EnvironmentVault()
    from obscale.cli.prefect_at_home import settle  # noqa: PLC0415

    settle()
    from tasks.connection import PrefectVault  # noqa: PLC0415 - after the settings

    return PrefectVault()
