"""`obscale demo`: runs the documented sample request on a simulated cluster."""

import asyncio
import os
import socket
import subprocess
import threading
from tempfile import TemporaryFile
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Console

from obscale.agent.wire import joined_address
from obscale.cli import guarded
from obscale.cli.exits import Exit, end_with, exit_code_of
from obscale.cli.local_prefect import begin_prefect, out_of_reach, require_prefect, settle
from obscale.cli.loudness import Quiet, Verbose
from obscale.cli.own_server import CONSOLE_LEVEL, OwnServerError, last_error_line, stop_at_exit
from obscale.cli.stopping import PROGRAM, Stopped
from obscale.cli.terminal import as_text, complain_of, open_console
from obscale.errors import ObscaleError

SAMPLE_CONFIGS: Final = {
    "mysql_port": "2881",
    "rpc_port": "2882",
    "memory_limit": "16G",
    "system_memory": "8G",
    "log_disk_size": "24G",
    "datafile_size": "24G",
}
"""The sample of OceanBase's own page on scale_out, word for word."""
PASSWORD_VARIABLE: Final = "OBSCALE_DEMO_ROOT_PASSWORD"  # noqa: S105 - a name, no password
SERVER_START_SECONDS: Final = 180
"""A first start creates the database; a loaded laptop needs a minute or two."""

WithUi = Annotated[
    bool, typer.Option("--ui", help="Start a Prefect server with its UI and keep it until Ctrl-C.")
]
Speed = Annotated[
    float, typer.Option("--speed", min=0.1, max=1000, help="Times real pace; 1 = real.")
]


def demo(
    ui: WithUi = False, speed: Speed = 6.0, _quiet: Quiet = False, _verbose: Verbose = False
) -> None:
    """Grow a simulated three-zone cluster by one observer; needs no OceanBase."""
    PROGRAM.stands(lambda: ("the simulated cluster ends with it", ""))
    shown = threading.Event()
    try:
        settle(own_home=True)
        if not ui:
            # It comes up while the cluster does.
            begin_prefect()
        PROGRAM.run(_demo(ui, speed, shown))
    except ObscaleError as error:
        end_with(error)
    except Stopped:
        if not shown.is_set():
            raise
        PROGRAM.wants_end(Exit.DONE)
        raise typer.Exit(Exit.DONE) from None


async def _demo(ui: bool, speed: float, shown: threading.Event) -> None:
    from obscale.cli.apply import run_one  # noqa: PLC0415 - after the settings of Prefect
    from obscale.sandbox import ScaledClock, World, default_config, serve  # noqa: PLC0415

    console = open_console()
    async with serve(World(default_config(), clock=ScaledClock(speed=speed))) as door:
        order = _sample_order(door.ready, speed)
        where = ", ".join(order.cluster.endpoints if not isinstance(order.cluster, str) else ())
        console.print(as_text(f"simulated cluster obcluster at {where}, {speed:g}× real pace"))
        console.print(
            as_text(f"asked: add {order.target} to {order.node.zone} with {_sample_words()}")
        )
        if not ui:
            console.print(as_text("starting Prefect (the very first time takes a moment) ..."))
            await asyncio.to_thread(require_prefect, loads="obscale.flows.scale_out")
            report, error = await run_one(order, console)
        else:
            address = await _prefect_server(console)
            report, error = await run_one(order, console)
            console.print(as_text(f"look at the run: {address}/runs — Ctrl-C ends the demo"))
            shown.set()
            await asyncio.Event().wait()
    if error:
        complain_of(error)
        raise typer.Exit(exit_code_of(error))
    if report is None or report.outcome != "verified":
        raise typer.Exit(Exit.REFUSED)


def _sample_order(ready: dict[str, Any], speed: float) -> Any:
    """Make the documented sample request for the first simulated cluster and spare."""
    from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName  # noqa: PLC0415
    from obscale.request.scale_out import ScaleOut  # noqa: PLC0415 - the command line starts quicker without
    from obscale.request.time_limits import TimeLimits  # noqa: PLC0415

    cluster, spare = ready["clusters"][0], ready["spares"][0]
    os.environ[PASSWORD_VARIABLE] = cluster["root_password"]
    node = NodeSpec(
        agentInfo=AgentInfoSpec(ip=spare["ip"], port=spare["port"]),
        zone="zone2",
        obConfigs=SAMPLE_CONFIGS,
    )
    return ScaleOut(
        cluster=ClusterSpec(
            endpoints=tuple(
                joined_address(agent["ip"], agent["port"]) for agent in cluster["agents"]
            ),
            password=SecretName(env=PASSWORD_VARIABLE),
            name=cluster["name"],
            id=cluster["id"],
        ),
        node=node,
        batch=(node,),
        time_limits=TimeLimits(steady_seconds=1, poll_seconds=max(0.2, min(3.0, 2 / speed))),
    )


def _sample_words() -> str:
    return ", ".join(f"{key} {value}" for key, value in SAMPLE_CONFIGS.items())


async def _prefect_server(console: Console) -> str:
    """Start a Prefect server of the demo's own on a free port; it ends with this program.

    Returns:
        Its address.

    Raises:
        PrefectUnreachableError: It does not come up.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    console.print(as_text(f"starting a Prefect server at {address} ..."))
    os.environ["PREFECT_UI_API_URL"] = f"{address}/api"
    with TemporaryFile() as log:
        server = _start_server(str(port), log.fileno())
        # Before Prefect is imported: without a server to hear its last words it would try again for
        # a minute.
        stop_at_exit(lambda: _stop(server))
        if not await _is_healthy(address, server):
            log.seek(0)
            said = last_error_line(log.read().decode(errors="replace"))
            raise out_of_reach(OwnServerError(said or f"no answer at {address}"))
    os.environ["PREFECT_API_URL"] = f"{address}/api"
    return address


def _start_server(port: str, log: int) -> guarded.Guarded:
    words = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    environment = os.environ | {CONSOLE_LEVEL: "ERROR"}
    return guarded.start(words, environment, output=subprocess.DEVNULL, errors=log)


def _stop(server: guarded.Guarded) -> None:
    server.terminate()
    server.wait()


async def _is_healthy(address: str, server: guarded.Guarded) -> bool:
    """Wait until it answers, has ended, or has been waited for long enough."""
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(SERVER_START_SECONDS):
            if server.poll() is not None:
                break
            try:
                if (await client.get(f"{address}/api/health")).is_success:
                    return True
            except httpx.TransportError:
                pass
            await asyncio.sleep(1)
    return False
