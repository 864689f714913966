"""A host that answers at some address, claims what it likes, and opens whatever it is sent.

Built from the protocol alone, with a key of its own: what it has learnt is what anybody at that
address would have learnt.
"""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

OPEN = ("/api/v1/info", "/api/v1/secret", "/api/v1/time", "/api/v1/status")
HEADERS = ("X-OCS-Header", "X-OCS-Agent-Header", "X-OCS-Auth")
WANTS_ROOT = "Security.Authentication.WithOceanBasePassword"
V2, V1 = {"supportedAuth": ["v2"]}, {"supportedAuth": ["v1"]}
CLAIMS: dict[str, dict[str, Any]] = {
    "CLUSTER AGENT": {"identity": "CLUSTER AGENT", "zone": "zone2"} | V2,
    "SCALING OUT": {"identity": "SCALING OUT", "zone": "zone2"} | V2,
    "SCALING IN": {"identity": "SCALING IN"} | V2,
    "MASTER": {"identity": "MASTER"} | V2,
    "FOLLOWER": {"identity": "FOLLOWER"} | V2,
    "UNIDENTIFIED": {"identity": "UNIDENTIFIED"} | V2,
    "unknown identity": {"identity": "QUEEN OF THE HIVE"} | V2,
    "CLUSTER AGENT, v1": {"identity": "CLUSTER AGENT"} | V1,
    "SINGLE, v1": {"identity": "SINGLE"} | V1,
    "SINGLE, old version": {"identity": "SINGLE", "version": "4.2.2.0-1"},
    "SINGLE, wants root's": {"identity": "SINGLE", "refuses": WANTS_ROOT} | V2,
    "own password, SCALING OUT": {"identity": "SCALING OUT", "security": True} | V2,
    "own password, wants root's": {"identity": "SINGLE", "security": True, "refuses": WANTS_ROOT}
    | V2,
}
"""What the target's host may say of itself to be told a password; `refuses`: code of its no."""


def _number(value: int) -> bytes:
    text = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + _length(len(text)) + text


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    text = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(text)]) + text


def served_key(modulus: int, exponent: int = 65537) -> str:
    """Give a key as `/secret` would serve it, whatever its numbers are."""
    body = _number(modulus) + _number(exponent)
    return base64.b64encode(b"\x30" + _length(len(body)) + body).decode()


def modulus(bits: int, *, odd: bool = True) -> int:
    """Give a number of so many bits that could be a modulus, if it is odd."""
    return (1 << (bits - 1)) + (1 << (bits // 2)) + odd


BAD_KEYS: dict[str, tuple[str, str]] = {
    "even modulus": (served_key(modulus(1024, odd=False)), "modulus is even"),
    "100,000 bits": (served_key(modulus(100_000)), "larger than 8192 bits"),
    "100,000 bits, even": (served_key(modulus(100_000, odd=False)), "larger than 8192 bits"),
    "8200 bits": (served_key(modulus(8200)), "8200 bits"),
    "504 bits": (served_key(modulus(504)), "504 bits"),
    "64 bits": (served_key(modulus(64)), "64 bits"),
    "exponent 1": (served_key(modulus(1024), 1), "public key"),
    "exponent even": (served_key(modulus(1024), 65536), "public key"),
    "exponent of 1000 bits": (served_key(modulus(1024), modulus(1000)), "exponent"),
    "exponent of 33 bits": (served_key(modulus(1024), (1 << 32) + 1), "exponent"),
    "cut DER": (served_key(modulus(1024))[:-8], "not a public key"),
    "no DER": ("AAAA", "not a public key"),
    "no Base64": ("-----BEGIN PUBLIC KEY-----", "not a public key"),
    "not ASCII": ("schlüssel", "not a public key"),
    "nothing": ("", "not a public key"),
}
"""Keys nothing can be sealed with, each with what must be said of it."""


@cache
def own_key() -> rsa.RSAPrivateKey:
    """The stranger's key pair; making one takes a moment."""
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


@dataclass
class Stranger:
    """One listener: what it claims may be changed while it listens."""

    ip: str
    claims: dict[str, Any]
    port: int = 0
    public_key: str | None = None
    """What it serves as its key; None: its own."""
    asked: list[str] = field(default_factory=list)
    learnt: list[str] = field(default_factory=list)
    """All it could open, and all that came in the clear: headers, bodies, targets."""
    passwords: list[str] = field(default_factory=list)
    """What the headers it opened named as password."""

    @property
    def address(self) -> str:
        """`ip:port`."""
        return f"{self.ip}:{self.port}"

    def knows(self, secret: str) -> bool:
        """Whether a text stands in anything it learnt."""
        assert secret
        return any(secret in text for text in self.learnt)

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Any:
        """Note what came, and give status and envelope."""
        path = target.partition("?")[0]
        self.asked.append(f"{method} {path}")
        self.learnt += [target, json.dumps(headers), body.decode("latin-1")]
        self._open(headers, body)
        code = self.claims.get("refuses")
        if code and path not in OPEN:
            return self._envelope(401, error={"errCode": code, "message": "give me root's"})
        info = {"ip": self.ip, "port": self.port, "version": "4.5.0.0-1", "security": False}
        data = {
            "/api/v1/info": info | {k: v for k, v in self.claims.items() if k != "refuses"},
            "/api/v1/secret": {
                "public_key": _served(own_key()) if self.public_key is None else self.public_key
            },
            "/api/v1/time": datetime.now(UTC).isoformat(),
            "/api/v1/status": {"state": 2, "obState": 3, "underMaintenance": False, "agent": info},
            "/api/v1/task/dag/agent/unfinish": {"contents": []},
            # The best lie there is: it is of the cluster that was asked for.
            "/api/v1/ob/info": {
                "agent_info": [info | {"identity": "CLUSTER AGENT", "zone": "zone2"}],
                "obcluster_info": {"id": 1, "name": "obcluster", "version": "", "topology": {}},
            },
        }.get(path)
        if data is None:
            return self._envelope(404, error={"errCode": "Task.NotFound", "message": "none"})
        return self._envelope(200, data=data)

    def _open(self, headers: dict[str, str], body: bytes) -> None:
        for name in HEADERS:
            if not (sealed := base64.b64decode(headers.get(name.lower(), ""))):
                continue
            size = own_key().key_size // 8
            blocks = [sealed[at : at + size] for at in range(0, len(sealed), size)]
            text = b"".join(own_key().decrypt(block, PKCS1v15()) for block in blocks).decode()
            fields = json.loads(text)
            self.learnt.append(text)
            self.passwords.append(fields.get("auth", fields.get("password", "")))
            if body and fields.get("keys"):
                keys = base64.b64decode(fields["keys"])
                decryptor = Cipher(AES(keys[:16]), CBC(keys[16:])).decryptor()
                plain = decryptor.update(base64.b64decode(body)) + decryptor.finalize()
                self.learnt.append(plain.decode("utf-8", "replace"))

    def _envelope(self, status: int, **fields: Any) -> tuple[int, dict[str, Any]]:
        now = datetime.now(UTC).isoformat()
        return status, {
            "successful": status < 400,
            "timestamp": now,
            "status": status,
            "traceId": "",
            **fields,
        }


def _served(key: rsa.RSAPrivateKey) -> str:
    return base64.b64encode(
        key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    ).decode()


@contextmanager
def listening(
    claims: dict[str, Any] | str,
    ip: str = "127.0.0.1",
    port: int = 0,
    public_key: str | None = None,
) -> Iterator[Stranger]:
    """Let a stranger listen, in a thread of its own; a port that is just given up is waited for.

    Args:
        claims: Fields of its `/info`, or the name of one of `CLAIMS`.
        ip: Where.
        port: Where; 0: one that is free.
        public_key: As `Stranger.public_key`.
    """
    stranger = Stranger(ip, CLAIMS[claims] if isinstance(claims, str) else claims, port, public_key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, envelope = stranger.answer(self.command, self.path, headers, body)
            text = json.dumps(envelope).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _serve  # noqa: N815 - the library's names

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET

    deadline = time.monotonic() + 20
    while True:
        try:
            server = Listener((ip, port), Handler)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    stranger.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield stranger
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()
