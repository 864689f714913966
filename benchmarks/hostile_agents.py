"""Servers that speak HTTP at an agent's address and send what no agent would.

`python -m benchmarks.hostile_agents COUNT` serves COUNT addresses of each variant on loopback, and
as many that answer an agent's open questions honestly first; it prints their ports as one JSON line
(`{VARIANT: {"from the start": [PORT, …], "signed": […]}}`) and ends with its standard input. It
imports nothing of obscale.
"""

import asyncio
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
VECTORS: Final = ROOT / "tests" / "data" / "obshell-vectors.json"
FROM_THE_START: Final = "from the start"
SIGNED: Final = "signed"
BLOCK: Final = 1 << 16
BOMB_BYTES: Final = 512 << 20
LOG_BYTES: Final = 20 << 20
PAUSE_SECONDS: Final = 0.5
OPEN: Final = ("/info", "/secret", "/status", "/time")
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
Parts = Iterator[bytes | float]
"""Bytes to send, or seconds to wait."""


def _endless(head: bytes, part: bytes) -> Parts:
    yield head
    while True:
        yield part


def _trickling(head: bytes, text: bytes) -> Parts:
    yield head
    for at in range(len(text)):
        yield text[at : at + 1]
        yield PAUSE_SECONDS


def _whole(body: bytes, more: bytes = b"") -> Parts:
    yield OK + more + b"Content-Length: %d\r\n\r\n" % len(body)
    yield body


def _answer(data: str) -> bytes:
    return ('{"successful": true, "status": 200, "data": ' + data + "}").encode()


def _chunk(part: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(part), part)


@cache
def _packed() -> bytes:
    """Zeros, compressed a thousandfold."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(BOMB_BYTES >> 20)) + packer.flush()


def _dag(logs: list[str]) -> str:
    sub_task = {"id": "1", "state": "FAILED", "task_logs": logs}
    node = {"id": "1", "name": "Deploy", "state": "FAILED", "sub_tasks": [sub_task]}
    return json.dumps({"id": "1", "dag_id": 1, "state": "FAILED", "nodes": [node]})


def _log_lines() -> Parts:
    return _whole(_answer(_dag(["x" * 199] * (LOG_BYTES // 200))))


def _some_log_lines() -> Parts:
    """A DAG with as many logs as are read."""
    return _whole(_answer(_dag(["x" * 199] * ((8 << 20) // 210))))


def _values(text: str, size: int) -> Parts:
    return _whole(_answer("[" + ",".join([text] * (size // (len(text) + 1))) + "]"))


def _rows() -> Parts:
    """As many empty rows as are read, of every kind of list."""
    rows = "[" + ",".join(["{}"] * 12_000) + "]"
    return _whole(
        _answer('{"contents": ' + rows + ', "id": "1", "dag_id": 1, "nodes": ' + rows + "}")
    )


VARIANTS: Final[dict[str, Callable[[], Parts]]] = {
    "body without end": lambda: _endless(CHUNKED, _chunk(b" " * BLOCK)),
    "body without end or length": lambda: _endless(OK + b"\r\n", b" " * BLOCK),
    "a terabyte announced": lambda: _endless(
        OK + b"Content-Length: %d\r\n\r\n" % 10**12, b" " * BLOCK
    ),
    "gzip bomb": lambda: _whole(_packed(), b"Content-Encoding: gzip\r\n"),
    "log lines, 20 MB": _log_lines,
    "log lines, 8 MB": _some_log_lines,
    "empty objects, 20 MB": lambda: _values("{}", 20 << 20),
    "empty objects, 2 MB": lambda: _values("{}", 2_000_000),
    "empty texts, 2 MB": lambda: _values('""', 2_000_000),
    "empty objects, as rows": _rows,
    "one text of 2 MB": lambda: _values('"' + "x" * 2_000_000 + "\U0001f600" + '"', 2_000_005),
    "a million brackets": lambda: _whole(b"[" * 1_000_000),
    "a hundred levels": lambda: _whole(_answer("[" * 100 + "]" * 100)),
    "headers without end": lambda: _endless(OK, b"X-%b: y\r\n" % (b"x" * 1000)),
    "a header without end": lambda: _endless(OK + b"X-Long: ", b"x" * BLOCK),
    "1xx without end": lambda: _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "a chunk size without end": lambda: _endless(CHUNKED, b"0" * BLOCK),
    "a chunk size of nonsense": lambda: iter((CHUNKED, b"zz\r\n" * 100)),
    "one byte each half second": lambda: _trickling(b"", OK + b"\r\n" + b" " * 1000),
    "a body of single bytes": lambda: _trickling(OK + b"Content-Length: 1000\r\n\r\n", b" " * 1000),
    "a million characters of refusal": lambda: _refusal("x" * 1_000_000),
}
"""What is sent instead of an answer, by name."""


def _refusal(message: str) -> Parts:
    error = {"errCode": "X" * 1000, "message": message}
    body = json.dumps({"successful": False, "status": 500, "error": error}).encode()
    yield b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % len(body)
    yield body


async def _honest(writer: asyncio.StreamWriter, target: str, key: str) -> None:
    now = datetime.now(UTC).isoformat()
    info: dict[str, Any] = {
        "ip": "127.0.0.1",
        "port": 2886,
        "identity": "CLUSTER AGENT",
        "agent": {"ip": "127.0.0.1"},
        "version": "4.5.0.0-12026050815",
        "supportedAuth": ["v2"],
        "public_key": key,
    }
    data = now if target.endswith("/time") else info
    body = {"successful": True, "timestamp": now, "status": 200, "traceId": "", "data": data}
    for part in _whole(json.dumps(body).encode()):
        writer.write(part if isinstance(part, bytes) else b"")
    await writer.drain()


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, variant: str, key: str
) -> None:
    while head := await reader.readuntil(b"\r\n\r\n"):
        target = head.split(b" ", 2)[1].decode()
        if length := _LENGTH.search(head):
            await reader.readexactly(int(length[1]))
        if key and target.endswith(OPEN):
            await _honest(writer, target, key)
            continue
        for part in VARIANTS[variant]():
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)
        return


async def _listen(variant: str, key: str) -> int:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await _talk(reader, writer, variant, key)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    _listening.append(server)
    return int(server.sockets[0].getsockname()[1])


_listening: Final[list[asyncio.Server]] = []


async def _serve(count: int) -> None:
    key = json.loads(VECTORS.read_text("utf-8"))["keys"]["1024"]
    served = key["public_key_as_served_by_secret__pkcs1_der_b64"]
    ports = {
        variant: {
            name: [await _listen(variant, known) for _ in range(count)]
            for name, known in ((FROM_THE_START, ""), (SIGNED, served))
        }
        for variant in VARIANTS
    }
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def hostile(count: int = 1) -> Iterator[dict[str, dict[str, list[int]]]]:
    """Serve every variant from a process of its own until the context ends; gives the ports.

    Args:
        count: Addresses of each.
    """
    program = [sys.executable, "-m", "benchmarks.hostile_agents", str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:  # noqa: S603 - this interpreter
        try:
            yield json.loads(process.stdout.readline() if process.stdout else "")
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
