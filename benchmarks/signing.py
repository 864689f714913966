"""Part a: headers sealed, and signed requests answered, in a second."""

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from benchmarks import bare, ours, sdk
from benchmarks.figures import Row, short, spread
from benchmarks.scale import Scale
from benchmarks.world import crowd, played
from obscale.agent.sealing import parse_public_key

SEALING_TIMES: Final = 15
"""How much faster obscale must seal."""
BARE: Final = "http.client, ready header"
MILLI: Final = 1000


@dataclass
class Rates:
    """What one contender did in each slice: things per second, on the clock and on its CPU."""

    by_clock: list[float] = field(default_factory=list)
    by_cpu: list[float] = field(default_factory=list)

    async def take(self, count: int, act: Callable[[], Awaitable[None] | None]) -> None:
        """Time one slice that does `count` things."""
        began, used = time.perf_counter(), time.process_time()
        if waiting := act():
            await waiting
        self.by_cpu.append(count / (time.process_time() - used))
        self.by_clock.append(count / (time.perf_counter() - began))

    @property
    def cpu_ms(self) -> list[float]:
        """CPU milliseconds of one thing, by slice."""
        return [MILLI / rate for rate in self.by_cpu]


async def measure(scale: Scale) -> list[Row]:
    """Let the contenders take turns, against one agent with a key of 1024 bits."""
    with played(crowd(1), scale.speed) as stage:
        place = stage.places[0]
        public_key = bare.public_key_of(place)
        key, method = parse_public_key(public_key), sdk.sealer(public_key, place.password)
        theirs = sdk.client_of(place)
        line = bare.Line(place)
        sealed = {name: Rates() for name in ("ours", "sdk", "bare")}
        asked = {name: Rates() for name in ("ours", "sdk", "bare")}
        uri, password, many, few = bare.OB_INFO, place.password, scale.headers, scale.requests
        async with ours.client_of(place) as client:
            for at in range(-1, scale.rounds):
                # The first round warms up and does not count.
                if at == 0:
                    sealed = {name: Rates() for name in sealed}
                    asked = {name: Rates() for name in asked}
                await sealed["ours"].take(
                    many, lambda: ours.seal(many, key=key, password=password, uri=uri)
                )
                await sealed["sdk"].take(many, lambda: sdk.seal(many, method=method, uri=uri))
                await sealed["bare"].take(many, lambda: bare.encrypt(many, key=key))
                await asked["ours"].take(few, lambda: ours.ask(client, few))
                await asked["sdk"].take(few, lambda: sdk.ask(theirs, few))
                await asked["bare"].take(few, lambda: line.ask(few))
        line.close()
    return _rows(sealed, asked)


def _rows(sealed: dict[str, Rates], asked: dict[str, Rates]) -> list[Row]:
    bare_seconds = statistics.median(asked["bare"].by_clock)
    return [
        Row(
            part="a",
            measure="sealed headers per CPU second, RSA 1024",
            ours=spread(sealed["ours"].by_cpu),
            theirs=spread(sealed["sdk"].by_cpu),
            ideal=f"{short(statistics.median(sealed['bare'].by_cpu))} (the RSA alone)",
            ratio=_over(sealed["ours"].by_cpu, sealed["sdk"].by_cpu),
            at_least=SEALING_TIMES,
        ),
        Row(
            part="a",
            measure="signed requests per second, one after the other",
            ours=spread(asked["ours"].by_clock),
            theirs=spread(asked["sdk"].by_clock),
            ideal=f"{short(bare_seconds)} ({BARE})",
            ratio=_over(asked["ours"].by_clock, asked["sdk"].by_clock),
        ),
        Row(
            part="a",
            measure="CPU per signed request, ms",
            ours=spread(asked["ours"].cpu_ms),
            theirs=spread(asked["sdk"].cpu_ms),
            ideal=f"{short(statistics.median(asked['bare'].cpu_ms))} ({BARE})",
            ratio=_over(asked["ours"].cpu_ms, asked["sdk"].cpu_ms),
        ),
    ]


def _over(ours_values: list[float], their_values: list[float]) -> float:
    return statistics.median(ours_values) / statistics.median(their_values)
