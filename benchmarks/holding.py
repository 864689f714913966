"""Part f: how many agents the sandbox serves, and how many requests it answers."""

import asyncio
from typing import Final

from benchmarks import bare, ours
from benchmarks.figures import Row, short, spread
from benchmarks.scale import Scale
from benchmarks.world import Stage, crowd, played

AGENTS_PER_CLUSTER: Final = 4
MIB: Final = 1 << 20


async def measure(scale: Scale) -> list[Row]:
    """Open a large world, say hello to each of its agents, then ask one as fast as it answers."""
    with played(crowd(scale.agents // AGENTS_PER_CLUSTER), scale.speed) as stage:
        held = sum(len(place.endpoints) + 1 for place in stage.places)
        for place in stage.places:
            for endpoint in place.endpoints:
                await asyncio.to_thread(bare.greet, endpoint)
            await asyncio.to_thread(bare.greet, f"{place.spare_ip}:{place.spare_port}")
        memory = stage.tally().memory_bytes
        rates = [await _rate(stage, scale) for _ in range(scale.rounds)]
    by_clock, by_cpu = zip(*rates, strict=True)
    return [
        Row("f", "agents held by one sandbox, all greeted", f"{held} in {short(memory / MIB)} MiB"),
        Row("f", "the sandbox's signed requests per second", spread(by_clock)),
        Row("f", "the same per second of its own CPU", spread(by_cpu)),
    ]


async def _rate(stage: Stage, scale: Scale) -> tuple[float, float]:
    """Ask several agents side by side; give requests per second by clock and by its CPU."""
    began = stage.tally()
    await asyncio.gather(*(_ask(stage, at, scale.requests) for at in range(4)))
    ended = stage.tally()
    count = sum(ended.requests.values()) - sum(began.requests.values())
    return count / (ended.at - began.at), count / (ended.cpu_seconds - began.cpu_seconds)


async def _ask(stage: Stage, at: int, times: int) -> None:
    async with ours.client_of(stage.places[at % len(stage.places)]) as client:
        await ours.ask(client, times)
