"""Sends recorded requests to a simulated agent, byte for byte as they were recorded.

The bytes go through the HTTP protocol of the socket door without any socket, so agents keep the
addresses they were recorded with.
"""

import asyncio
import base64
import json
import secrets
from dataclasses import dataclass
from http.client import HTTPResponse
from io import BytesIO
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from obscale.sandbox import World
from obscale.sandbox.agents import Agent, split_address
from obscale.sandbox.servers import connections
from tests.contract.conftest import LIFETIME_SECONDS, seal
from tests.contract.real.recordings import Answer, Recording

HEADERS = {"root": "X-OCS-Header", "agent": "X-OCS-Agent-Header", "v1": "X-OCS-Auth"}
CHUNK_BYTES = 53
LONG_AGO_SECONDS = 100
KEYS_BYTES = 32
LONGEST_WAIT_SECONDS = 10
SEGMENT_BYTES = 64 << 10
"""What a socket hands over at once."""


@dataclass(frozen=True)
class Sealing:
    """How a request was sealed, where not as usual.

    Attributes:
        fields: Replace fields of the header's plain text.
        keys: How many bytes the AES key and IV have together.
        other_key: The header is sealed for another agent.
        cut: Bytes missing at the end of the sealed header.
        header: The header itself, instead of a sealed one.
        plain: The body goes out as it is.
        other_keys: The body is sealed with other keys than the header names; an answer was a panic
            where what was opened ended in too large a byte.
    """

    fields: tuple[tuple[str, Any], ...] = ()
    keys: int = KEYS_BYTES
    other_key: bool = False
    cut: int = 0
    header: str | None = None
    plain: bool = False
    other_keys: bool = False


SEALINGS = {
    "hostinfo-badkeys": Sealing(fields=(("keys", "!!!"),)),
    "hostinfo-expired": Sealing(fields=(("ts", -LONG_AGO_SECONDS),)),
    "agentpw-hostinfo-agent-expired": Sealing(fields=(("ts", -LONG_AGO_SECONDS),)),
    "pwchange-agent2-empty-expired": Sealing(fields=(("ts", -LONG_AGO_SECONDS),)),
    "hostinfo-notb64": Sealing(header="!!!"),
    "hostinfo-otherkey": Sealing(other_key=True),
    "hostinfo-truncated-header": Sealing(cut=5),
    "hostinfo-ts-empty": Sealing(fields=(("ts", ""),)),
    "hostinfo-ts-now": Sealing(fields=(("ts", 0),)),
    "hostinfo-ts-number": Sealing(fields=(("ts", None),)),
    "hostinfo-ts-text": Sealing(fields=(("ts", "soon"),)),
    "hostinfo-uri": Sealing(fields=(("uri", "/api/v1/ob/info"),)),
    "hostinfo-wrongpw": Sealing(fields=(("auth", "wrong"),)),
    "leaving-wrongpw": Sealing(fields=(("auth", "wrong"),)),
    "normal-leaving-wrongpw": Sealing(fields=(("auth", "wrong"),)),
    "si-wrongpw": Sealing(fields=(("auth", "wrong"),)),
    "zone-wrongpw": Sealing(fields=(("auth", "wrong"),)),
    "agentpw-hostinfo-agent-header-wrong": Sealing(fields=(("auth", "wrong"),)),
    "pwchange-agent3-wrong": Sealing(fields=(("auth", "wrong"),)),
    "so-nokeys": Sealing(keys=0),
    "so-shortkeys": Sealing(keys=15),
    "so-keys-17": Sealing(keys=17),
    "so-wrongkeys": Sealing(other_keys=True),
    "so-plain-16": Sealing(plain=True),
    "so-plain-json": Sealing(plain=True),
}
"""By recording; all others were sealed as usual."""


class RawAsker:
    """Asks simulated agents what was asked of real ones.

    Args:
        world: Theirs.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._connect = connections(world)

    async def ask(self, recording: Recording, password: str) -> Answer:
        """Ask one recorded question; the password goes along where it did then."""
        agent = self.world.agent(recording.agent)
        return await self.send(agent, raw_request(self.world, agent, recording, password))

    async def send(self, agent: Agent, raw: bytes) -> Answer:
        """Send bytes to an agent and read its answer."""
        wire = _Wire(agent)
        protocol = self._connect()
        protocol.connection_made(wire)
        for start in range(0, len(raw), SEGMENT_BYTES):
            if not wire.is_closing():
                protocol.data_received(raw[start : start + SEGMENT_BYTES])
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await wire.closed.wait()
        protocol.connection_lost(None)
        return _read(bytes(wire.written), raw.partition(b" ")[0].decode())


def raw_request(world: World, agent: Agent, recording: Recording, password: str) -> bytes:
    """The bytes of a recorded request, sealed anew for a simulated agent."""
    sealing = SEALINGS.get(recording.short, Sealing())
    headers = {"Host": recording.agent, "Connection": "close"} | dict(recording.headers)
    body = _bytes(recording.body)
    if recording.header != "none":
        keys = secrets.token_bytes(sealing.keys)
        headers[HEADERS[recording.header]] = _header(
            world, agent, recording, sealing, keys, password
        )
        if body and not sealing.plain:
            body = _sealed_body(recording, sealing, body, keys)
    if body:
        headers["Content-Length"] = str(len(body))
    version = "HTTP/1.0" if recording.short == "http10" else "HTTP/1.1"
    lines = [f"{recording.method} {recording.target} {version}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _header(
    world: World, agent: Agent, recording: Recording, sealing: Sealing, keys: bytes, password: str
) -> str:
    if sealing.header is not None:
        return sealing.header
    now = int(world.wall_of(agent, world.clock.now()))
    fields: dict[str, Any] = {
        "auth": password if recording.with_password else "",
        "ts": LIFETIME_SECONDS,
        "uri": recording.target,
        "keys": base64.b64encode(keys).decode(),
    } | dict(sealing.fields)
    if fields["ts"] is None:
        fields["ts"] = now + LIFETIME_SECONDS
    elif isinstance(fields["ts"], int):
        fields["ts"] = str(now + fields["ts"])
    key = agent.key.public_key()
    if sealing.other_key:
        key = rsa.generate_private_key(65537, key.key_size).public_key()
    text = json.dumps(fields).encode()
    chunks = [text[start : start + CHUNK_BYTES] for start in range(0, len(text), CHUNK_BYTES)]
    sealed = b"".join(key.encrypt(chunk, PKCS1v15()) for chunk in chunks)
    return base64.b64encode(sealed[: len(sealed) - sealing.cut]).decode()


def _sealed_body(recording: Recording, sealing: Sealing, body: bytes, keys: bytes) -> bytes:
    if len(keys) != KEYS_BYTES:
        return seal(body, secrets.token_bytes(KEYS_BYTES))
    if not sealing.other_keys:
        return seal(body, keys)
    panicked = recording.answer.status_line.startswith("HTTP/1.1 500")
    while True:
        sealed = seal(body, secrets.token_bytes(KEYS_BYTES))
        opener = Cipher(AES(keys[:16]), CBC(keys[16:])).decryptor()
        last = opener.update(base64.b64decode(sealed))[-1]
        if (last > len(base64.b64decode(sealed))) is panicked:
            return sealed


class _Wire(asyncio.Transport):
    """A connection to one agent that keeps what the agent writes."""

    def __init__(self, agent: Agent) -> None:
        super().__init__({"sockname": split_address(agent.address), "peername": ("10.77.0.250", 1)})
        self.written = bytearray()
        self.closed = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed.set()

    def abort(self) -> None:
        self.closed.set()

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _Written:
    """What a client's end of a connection would read."""

    def __init__(self, written: bytes) -> None:
        self._written = written

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(self._written)


def _read(written: bytes, method: str) -> Answer:
    answer = HTTPResponse(_Written(written), method=method)  # type: ignore[arg-type]
    answer.begin()
    body = answer.read()
    try:
        content: Any = json.loads(body, parse_float=_as_go_writes)
    except ValueError:
        content = body.decode() or None
    return Answer(
        written.partition(b"\r\n")[0].decode(),
        {name.lower(): value for name, value in answer.getheaders()},
        content,
    )


def _as_go_writes(text: str) -> Any:
    """A number; one that Go would have written without a point is none."""
    return float(text) if not text.endswith(".0") else f"not a number of Go's: {text}"
