"""`obscale sandbox`: serves simulated clusters until Ctrl-C."""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from obscale.agent.wire import joined_address
from obscale.cli.exits import end_with
from obscale.cli.terminal import as_text, complain, open_console, say_json
from obscale.errors import ObscaleError, SpecError


def sandbox(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="YAML description of the clusters; see examples/."),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.1, max=1000, help="Times real pace; 1 = real.")
    ] = 1.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line when ready, and nothing else.")
    ] = False,
) -> None:
    """Serve simulated OceanBase clusters and spare agents that speak obshell's protocol.

    Each request is logged on standard error, one line each, without any secret. An agent whose
    address is taken moves to 127.0.0.1 and a free port, and says so. With `tls: true` in the
    description the files to trust are named, and are gone at the end.

    Exit: 0 ended by Ctrl-C, SIGTERM or SIGHUP, 2 bad --config.
    """
    try:
        asyncio.run(_serve(config, speed, as_json))
    except ObscaleError as error:
        end_with(error, as_json=as_json)


async def _serve(config: Path | None, speed: float, as_json: bool) -> None:
    from obscale.sandbox import (  # noqa: PLC0415 - other commands start without its web server
        ConfigError,
        ScaledClock,
        World,
        default_config,
        load_config,
        serve,
    )

    try:
        world = World(
            load_config(config) if config else default_config(), clock=ScaledClock(speed=speed)
        )
    except ConfigError as error:
        raise SpecError(str(error)) from None
    _log_requests()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)
    wanted = {id(agent): agent.address for agent in world.agents if not agent.wants_free_port}
    async with serve(world) as door:
        for agent in world.agents:
            if wanted.get(id(agent), agent.address) != agent.address:
                complain(
                    f"{wanted[id(agent)]} is taken, perhaps by another sandbox; its "
                    f"agent listens at {agent.address}"
                )
        if as_json:
            say_json(door.ready, indent=None)
            sys.stdout.flush()
        else:
            _show(door.ready, speed)
        await stop.wait()


def _log_requests() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    requests = logging.getLogger("obscale.sandbox.requests")
    requests.addHandler(handler)
    requests.setLevel(logging.INFO)


def _show(ready: dict[str, Any], speed: float) -> None:
    console = open_console()
    table = Table(
        "cluster", "zone", "agent", "password", title=f"Simulated clusters, {speed:g}× pace"
    )
    for cluster in ready["clusters"]:
        for agent in cluster["agents"]:
            address = joined_address(agent["ip"], agent["port"])
            cells = cluster["name"], agent["zone"], address, cluster["root_password"]
            table.add_row(*map(as_text, cells))
    for spare in ready["spares"]:
        address = joined_address(spare["ip"], spare["port"])
        table.add_row(*map(as_text, ("—", "spare", address, spare["agent_password"])))
    console.print(table)
    console.print(as_text(f"Faults are played at {ready['control']}/faults, see docs/sandbox.md."))
    if tls := ready.get("tls"):
        named = ", ".join(f"{name}: {path}" for name, path in tls.items())
        line = f"They serve HTTPS; whoever asks trusts them by tls: {{{named}}}"
        console.print(as_text(line), soft_wrap=True)
    console.print("Ctrl-C ends them. Requests follow on standard error.")
