"""The published test keys, and an agent made of one function."""

import base64
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import load_der_private_key
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient

VECTORS = json.loads(
    (Path(__file__).parents[1] / "data" / "obshell-vectors.json").read_text(encoding="utf-8")
)


@cache
def private_key(bits: str) -> RSAPrivateKey:
    """Load a published test key; loading checks its primes, so once is enough."""
    der = base64.b64decode(VECTORS["keys"][bits]["private_key_pkcs1_der_b64"])
    key = load_der_private_key(der, None)
    assert isinstance(key, RSAPrivateKey)
    return key


def open_sections(text: str, bits: str) -> bytes:
    """Open what was sealed with a published test key: cut the cipher text, then concatenate."""
    key = private_key(bits)
    sealed, size = base64.b64decode(text, validate=True), key.key_size // 8
    assert sealed, "nothing was sealed"
    assert len(sealed) % size == 0, "a block is cut short"
    return b"".join(
        key.decrypt(sealed[at : at + size], PKCS1v15()) for at in range(0, len(sealed), size)
    )


def open_body(text: str, keys: str) -> bytes:
    """Decrypt a body with the header's field `keys`."""
    raw = base64.b64decode(keys, validate=True)
    decryptor = Cipher(AES(raw[:16]), CBC(raw[16:])).decryptor()
    padded = decryptor.update(base64.b64decode(text, validate=True)) + decryptor.finalize()
    unpadder = PKCS7(128).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


@dataclass(frozen=True)
class Seen:
    """One request as the agent saw it, opened."""

    method: str
    target: str
    header_name: str
    header: dict[str, Any]
    body: Any
    raw_body: bytes
    trace_id: str
    raw_header: str = ""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


Script = Callable[["FakeAgent", Seen], httpx.Response | None]


@dataclass
class FakeAgent:
    """An agent that opens every request and answers from a table; others fail the test."""

    ip: str = "10.0.0.1"
    bits: str = "1024"
    identity: str = "CLUSTER AGENT"
    version: str = "4.5.0.0-12026050815"
    security: bool | None = False
    supported_auth: list[str] | None = field(default_factory=lambda: ["v2"])
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    data: dict[str, Any] = field(default_factory=dict)
    script: Script | None = None
    seen: list[Seen] = field(default_factory=list)

    @property
    def address(self) -> AgentAddress:
        """Where it is asked."""
        return AgentAddress(self.ip)

    def client(self, *, root: str | None = "Root#Pass1", agent: str | None = None, **more: Any):
        """A client of this agent, without a network."""
        return AgentClient(
            self.address,
            root_password=None if root is None else SecretStr(root),
            agent_password=None if agent is None else SecretStr(agent),
            transport=httpx.MockTransport(self.handle),
            **more,
        )

    def count(self, method: str, path: str) -> int:
        """How many requests came for this path."""
        return sum(1 for seen in self.seen if (seen.method, seen.path) == (method, path))

    def refusal(
        self, status: int, code: str | int, message: str, seen: Seen | None = None
    ) -> httpx.Response:
        """A refusal in the shape that the type of the code belongs to: text new, number old."""
        error = {"errCode" if isinstance(code, str) else "code": code, "message": message}
        return self.envelope(status, seen, error=error)

    def envelope(self, status: int, seen: Seen | None = None, **fields: Any) -> httpx.Response:
        """Any answer of obshell's; without a request it carries no trace id."""
        return httpx.Response(
            status,
            json={
                "successful": status < 400,
                "timestamp": self.clock().isoformat(),
                "duration": 0,
                "status": status,
                "traceId": "" if seen is None else seen.trace_id,
                **fields,
            },
        )

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Open, write down, answer."""
        seen = self._open(request)
        self.seen.append(seen)
        answer = self.script(self, seen) if self.script else None
        if answer is not None:
            return answer
        path = seen.path.removeprefix("/api/v1/")
        own = {
            "info": {
                "ip": self.ip,
                "port": 2886,
                "identity": self.identity,
                "version": self.version,
                "security": self.security,
                "supportedAuth": self.supported_auth,
            },
            "secret": {
                "public_key": VECTORS["keys"][self.bits][
                    "public_key_as_served_by_secret__pkcs1_der_b64"
                ]
            },
            "time": self.clock().isoformat(),
        }
        table = own | self.data
        assert path in table, f"unexpected request: {seen.method} {seen.target}"
        return self.envelope(200, seen, data=table[path])

    def _open(self, request: httpx.Request) -> Seen:
        names = [name for name in request.headers if name.startswith("x-ocs-")]
        assert len(names) <= 1, "more than one header"
        name = names[0] if names else ""
        header, body = {}, None
        if name:
            try:
                header = json.loads(open_sections(request.headers[name], self.bits))
            except (ValueError, AssertionError):
                header = {"unreadable": True}
        if request.content and "keys" in header:
            body = json.loads(open_body(request.content.decode(), header["keys"]))
        elif request.content and "unreadable" not in header:
            body = json.loads(request.content)
        return Seen(
            request.method,
            request.url.raw_path.decode(),
            name,
            header,
            body,
            request.content,
            request.headers["X-OBSHELL-Trace-ID"],
            request.headers.get(name, "") if name else "",
        )


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """The published vectors: test-only keys and what was sealed with them."""
    return VECTORS


@pytest.fixture(scope="session")
def unseal() -> SimpleNamespace:
    """Open what the client sealed: `.header(text, bits)` and `.body(text, keys)`."""
    return SimpleNamespace(header=open_sections, body=open_body)


@pytest.fixture(scope="session")
def make_agent() -> type[FakeAgent]:
    """Builder of agents; see `FakeAgent`."""
    return FakeAgent


@pytest.fixture
def everything_logged(caplog) -> pytest.LogCaptureFixture:
    """All log lines of all libraries, down to DEBUG."""
    caplog.set_level(logging.DEBUG)
    return caplog
