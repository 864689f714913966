"""Part i: what a request costs the whole client, over httpx's own transport and over aiohttp."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks import ours
from benchmarks.figures import Row, short, spread
from benchmarks.scale import Scale
from benchmarks.world import Place, crowd, played
from obscale.agent.client import AgentClient
from obscale.agent.models import AgentEndpoint, ScaleOutRequest
from obscale.agent.transport import MANY_NODES, asking_often

MOST: Final = 0.7
"""aiohttp is taken where it saves the whole client at least so much."""
SLICES: Final = 10
"""Of each round: the transports take turns so often, since the machine may be shared."""
APART_SECONDS: Final = 0.03
MILLI: Final = 1000
OWN: Final = "httpx's own transport"

Ask = Callable[[AgentClient], Awaitable[object]]


async def measure(scale: Scale) -> list[Row]:
    """Ask one agent the same over both, one after the other and with pauses."""
    with played(crowd(1), scale.speed) as stage:
        place = stage.places[0]
        async with ours.client_of(place) as plain, _over_aiohttp(place) as often:
            dag = await plain.submit_scale_out(
                ScaleOutRequest(
                    agent_info=AgentEndpoint(ip=place.spare_ip, port=place.spare_port),
                    zone=ours.ZONE,
                    ob_configs=dict(ours.SAMPLE),
                )
            )
            questions: dict[str, Ask] = {
                "the time, unsigned": lambda client: client.read_time(),
                "ob/info": lambda client: client.read_ob_info(),
                "a DAG with its nodes": lambda client: client.read_dag(dag.id),
            }
            rows: list[Row] = []
            all_plainly: list[float] = []
            all_oftenly: list[float] = []
            for name, ask in questions.items():
                for pause in (0.0, APART_SECONDS):
                    plainly, oftenly = await _taken(ask, plain, often, pause, scale)
                    how = f"{pause:g} s apart" if pause else "one after the other"
                    rows.append(_row(f"{name}, {how}", plainly, oftenly))
                    all_plainly += plainly
                    all_oftenly += oftenly
    return [*rows, _row("all of these", all_plainly, all_oftenly, at_most=MOST)]


def _over_aiohttp(place: Place) -> AgentClient:
    with asking_often(MANY_NODES):
        return ours.client_of(place)


async def _taken(
    ask: Ask, plain: AgentClient, often: AgentClient, pause: float, scale: Scale
) -> tuple[list[float], list[float]]:
    """Give CPU milliseconds per request of each slice, over httpx and over aiohttp."""
    count = max(scale.requests // SLICES // (3 if pause else 1), 1)
    plainly: list[float] = []
    oftenly: list[float] = []
    # The first slice warms up and does not count.
    for at in range(-1, scale.rounds * SLICES):
        for client, into in ((plain, plainly), (often, oftenly)):
            used = time.process_time()
            for _ in range(count):
                await ask(client)
                if pause:
                    await asyncio.sleep(pause)
            if at >= 0:
                into.append(MILLI * (time.process_time() - used) / count)
    return plainly, oftenly


def _row(
    name: str, plainly: list[float], oftenly: list[float], at_most: float | None = None
) -> Row:
    # Of neighbours in time, which met the same machine.
    shares = [often / plain for often, plain in zip(oftenly, plainly, strict=True)]
    return Row(
        part="j",
        measure=f"CPU per request over aiohttp, ms: {name}",
        ours=spread(oftenly),
        ideal=f"{short(statistics.median(plainly))} ({OWN})",
        ratio=statistics.median(shares),
        at_most=at_most,
    )
