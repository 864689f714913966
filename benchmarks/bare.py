"""The cheapest possible clients to compare with: RSA alone, and a bare connection."""

import asyncio
import json
import time
from http.client import HTTPConnection
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from benchmarks.ours import LIFETIME_SECONDS, SAMPLE, ZONE
from benchmarks.world import SCALE_OUT, Place
from obscale.agent.auth import HEADER
from obscale.agent.sealing import (
    BodyKeys,
    block_bytes,
    new_body_keys,
    parse_public_key,
    seal_body,
    seal_header,
)

OB_INFO: Final = "/api/v1/ob/info"
OK: Final = 200
RHYTHM_SECONDS: Final = 3.0
"""The SDK's own."""


def public_key_of(place: Place) -> str:
    """Fetch the public key of a cluster's first agent, as it serves it."""
    connection = HTTPConnection(place.endpoints[0])
    connection.request("GET", "/api/v1/secret")
    key: str = json.loads(connection.getresponse().read())["data"]["public_key"]
    connection.close()
    return key


def encrypt(times: int, *, key: RSAPublicKey) -> None:
    """Encrypt one block for each header, the least there can be, and do nothing else."""
    block = bytes(block_bytes(key))
    for _ in range(times):
        key.encrypt(block, PKCS1v15())


class Line:
    """One open connection to a cluster's first agent."""

    def __init__(self, place: Place) -> None:
        self._key = parse_public_key(public_key_of(place))
        self._password = place.password
        self._connection = HTTPConnection(place.endpoints[0])

    def ask(self, times: int) -> None:
        """Send so many signed requests; the header is sealed once."""
        sealed = self._seal(OB_INFO, None)
        for _ in range(times):
            self._send("GET", OB_INFO, sealed)

    def read_dag(self, dag_id: str) -> Any:
        """Read a DAG with its nodes; the header is sealed for this one request."""
        target = f"/api/v1/task/dag/{dag_id}?show_details=true"
        return self._send("GET", target, self._seal(target, None))

    def submit(self, place: Place) -> Any:
        """Post the sample scale-out of the spare; gives the DAG as it came."""
        keys = new_body_keys()
        asked = {
            "agentInfo": {"ip": place.spare_ip, "port": place.spare_port},
            "zone": ZONE,
            "obConfigs": SAMPLE,
        }
        body = seal_body(json.dumps(asked).encode(), keys.key, keys.iv)
        return self._send("POST", SCALE_OUT, self._seal(SCALE_OUT, keys), body)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _seal(self, target: str, keys: BodyKeys | None) -> str:
        return seal_header(
            password=self._password,
            expires_at_seconds=int(time.time()) + LIFETIME_SECONDS,
            uri=target,
            keys=keys,
            key=self._key,
        )

    def _send(self, method: str, target: str, sealed: str, body: str | None = None) -> Any:
        self._connection.request(method, target, body, {HEADER: sealed})
        answer = self._connection.getresponse()
        if answer.status != OK:
            raise RuntimeError(f"status {answer.status}")
        return json.loads(answer.read())["data"]


async def expand(place: Place) -> float:
    """Submit one scale-out and look every three seconds, with nothing that is not needed for it.

    Returns:
        Unix seconds at which the end was known.
    """
    line = Line(place)
    dag_id = line.submit(place)["id"]
    while line.read_dag(dag_id)["state"] != "SUCCEED":  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(RHYTHM_SECONDS)
    line.close()
    return time.time()


def greet(endpoint: str) -> None:
    """Ask an agent who it is; `endpoint` is `ip:port`."""
    connection = HTTPConnection(endpoint)
    connection.request("GET", "/api/v1/info")
    connection.getresponse().read()
    connection.close()
