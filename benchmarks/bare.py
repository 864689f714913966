"""What would the cheapest client cost: RSA alone, or a bare connection with a ready header?"""

import json
import time
from http.client import HTTPConnection
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from benchmarks.ours import LIFETIME_SECONDS
from benchmarks.world import Place
from obscale.agent.auth import HEADER
from obscale.agent.sealing import block_bytes, parse_public_key, seal_header

OB_INFO: Final = "/api/v1/ob/info"
OK: Final = 200


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
    """One open connection to a cluster's first agent, with a header that is good for a minute."""

    def __init__(self, place: Place) -> None:
        self._key = parse_public_key(public_key_of(place))
        self._password = place.password
        self._connection = HTTPConnection(place.endpoints[0])

    def ask(self, times: int) -> None:
        """Send so many signed requests; the header is sealed once."""
        sealed = seal_header(
            password=self._password,
            expires_at_seconds=int(time.time()) + LIFETIME_SECONDS,
            uri=OB_INFO,
            keys=None,
            key=self._key,
        )
        for _ in range(times):
            self._connection.request("GET", OB_INFO, headers={HEADER: sealed})
            answer = self._connection.getresponse()
            if answer.status != OK:
                raise RuntimeError(f"status {answer.status}")
            json.loads(answer.read())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def greet(endpoint: str) -> None:
    """Ask an agent who it is; `endpoint` is `ip:port`."""
    connection = HTTPConnection(endpoint)
    connection.request("GET", "/api/v1/info")
    connection.getresponse().read()
    connection.close()
