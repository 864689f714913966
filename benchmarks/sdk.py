"""How the official SDK, unmodified, does what is measured: it seals, asks and scales out."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from obshell.auth.password import PasswordAuth, PasswordAuthMethodV2
from obshell.request import BaseRequest, ProtocolOptions
from obshell.service.client_v1 import ClientV1

from benchmarks.ours import LIFETIME_SECONDS, SAMPLE, ZONE
from benchmarks.world import Place, lanes_of, zone_of


def sealer(public_key: str, password: str) -> PasswordAuthMethodV2:
    """Give the SDK's sealing with the key already fetched, so that it asks nobody."""
    none: Any = None  # its annotations do not know their own default
    method = PasswordAuthMethodV2(password, none, LIFETIME_SECONDS)
    method.pk, method.check_identity = public_key, True
    return method


def seal(times: int, *, method: PasswordAuthMethodV2, uri: str) -> None:
    """Seal so many headers of requests without a body."""
    # Annotated as a request of the library requests, which it never is.
    request: Any = BaseRequest(uri, "GET", host="127.0.0.1", need_auth=True)
    for _ in range(times):
        method.auth(request)


def client_of(place: Place) -> ClientV1:
    """Give a client of a cluster's first agent."""
    ip, _, port = place.endpoints[0].rpartition(":")
    auth = PasswordAuth(place.password)
    return ClientV1(ip, int(port), auth, protocol_options=ProtocolOptions.http())


def ask(client: ClientV1, times: int) -> None:
    """Send so many signed requests, one after the other."""
    for _ in range(times):
        client.get_ob_info()


def expand(place: Place) -> float:
    """Submit one scale-out and wait for its end.

    Returns:
        Unix seconds at which the end was known.
    """
    _expand(place, ZONE)
    return time.time()


async def expand_lanes(places: Sequence[Place], threads: Executor) -> None:
    """Expand clusters side by side, each in a thread of its own, its nodes one after the other."""
    await asyncio.gather(
        *(
            asyncio.get_running_loop().run_in_executor(threads, _expand_lane, lane)
            for lane in lanes_of(places).values()
        )
    )


def _expand_lane(places: Sequence[Place]) -> None:
    for at, place in enumerate(places):
        _expand(place, zone_of(at))


def _expand(place: Place, zone: str) -> None:
    client_of(place).scale_out_sync(place.spare_ip, place.spare_port, zone, SAMPLE)
