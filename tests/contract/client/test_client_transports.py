"""Contract of both transports: what proves that a write never left, and what is never done.

Each test is run over httpx's own transport, which the others are held against, and over aiohttp.
"""

import asyncio
import gzip
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from obscale.agent.client import AgentClient, Tls
from obscale.agent.keys import KnownKeys
from obscale.agent.limits import SMALL
from obscale.agent.models import Operator
from obscale.agent.transport import LostAnswerError, Timeouts, Transport
from obscale.errors import AgentProtocolError, AgentUnreachableError, UntrustedKeyError
from tests.contract.client.test_client_sockets import (
    answer_info,
    listening,
    pki,
    say_nothing,
    server_context,
)

__all__ = ["pki"]

TARGET = "/api/v1/%69nfo/a%2Fb//d?x=%7e+%20&y=%2f#"
METHODS = ["GET", "POST", "PATCH", "DELETE"]
WRITES = METHODS[1:]
SECONDS = 5.0
BODY = '{"sealed": "ZZ=="}'


@pytest.fixture
def open_transport(over):
    """Open a transport to an address; TLS and limits may be given."""

    def opened(address, tls=None, timeouts=None):
        limits = timeouts or Timeouts(connect_seconds=2.0, read_seconds=SECONDS)
        return over(Transport, address, tls or Tls(), limits, None)

    return opened


def answered(body, *headers):
    """An answer of this body, with its length."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


WHOLE = answered('{"told": 1}', "Content-Type: application/json")
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{'told\r\n5\r\n': 1}\r\n0\r\n\r\n"
)


class Talk:
    """What a server heard: each request whole, and the number of connections."""

    def __init__(self):
        self.heard = []
        self.connections = 0

    @property
    def methods(self):
        """Of the requests, in order."""
        return [head.split(b" ")[0].decode() for head in self.heard]


async def read_request(reader):
    """One request with its body; None: nobody asks any more."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    return head + await reader.readexactly(int(lines.get(b"content-length", b"0")))


@asynccontextmanager
async def answering(*answers, then=None, context=None):
    """Answer the requests of all connections with these, in their order; the last stays.

    An answer of None hangs up. `then` is told of each answer that was sent.
    """
    talk, left = Talk(), list(answers)

    async def handle(reader, writer):
        talk.connections += 1
        while request := await read_request(reader):
            talk.heard.append(request)
            answer = left.pop(0) if len(left) > 1 else left[0]
            if answer is None:
                break
            writer.write(answer)
            await writer.drain()
            if then:
                await then(writer)
        writer.close()

    scheme = "https" if context else "http"
    async with listening(handle, scheme=scheme, context=context) as address:
        yield address, talk


async def sent(transport, method="GET", target="/api/v1/info", content=None, seconds=SECONDS):
    """Send one request."""
    request = transport.prepare(method, target, content, seconds)
    return await transport.send(request, "step", "trace", seconds)


def abort(writer):
    """End a connection with a reset."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
    )
    writer.close()


# --- what goes out ---


@pytest.mark.parametrize(
    ("method", "content"),
    [("GET", None), ("POST", BODY), ("POST", None), ("PATCH", BODY), ("DELETE", None)],
)
async def test_target_headers_and_body_go_out_byte_for_byte(open_transport, method, content):
    """As they were sealed: nothing is decoded, tidied, added or left out."""
    async with answering(WHOLE) as (address, talk), open_transport(address) as transport:
        request = transport.prepare(method, TARGET, content, SECONDS)
        request.headers["X-OCS-Header"] = "c2VhbGVk=="
        await transport.send(request, "step", "trace", SECONDS)

    head, _, body = talk.heard[0].partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    assert line == f"{method} ".encode() + request.url.raw_path + b" HTTP/1.1"
    assert request.url.raw_path == TARGET.removesuffix("#").encode()
    assert sorted(headers) == sorted(n + b": " + v for n, v in request.headers.raw)
    assert body == (content or "").encode()


async def test_a_cookie_is_not_kept(open_transport):
    """What an agent sets is not shown to it again."""
    answer = answered("{}", "Set-Cookie: session=1; Path=/")

    async with answering(answer) as (address, talk), open_transport(address) as transport:
        for _ in range(2):
            await sent(transport)

    assert len(talk.heard) == 2
    assert b"cookie" not in b"".join(talk.heard).lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", METHODS)
async def test_a_redirect_is_not_followed(open_transport, status, method):
    """It is the answer; the password does not go where it points."""
    async with answering(WHOLE) as (elsewhere, stranger):
        away = (
            f"HTTP/1.1 {status} Away\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n"
        )
        async with (
            answering(away.encode()) as (address, talk),
            open_transport(address) as transport,
        ):
            answer = await sent(transport, method)

    assert answer.status == status
    assert (len(talk.heard), stranger.connections) == (1, 0)


async def test_environment_and_netrc_are_not_looked_at(open_transport, monkeypatch, tmp_path):
    """Neither a proxy nor a stored login."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login root password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))

    async with answering(WHOLE) as (proxy, stranger):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy}")
        async with answering(WHOLE) as (address, talk), open_transport(address) as transport:
            await sent(transport)

    assert (len(talk.heard), stranger.connections) == (1, 0)
    assert b"authorization" not in talk.heard[0].lower()


# --- what proves that no byte of a write has left ---


@pytest.mark.parametrize("method", WRITES)
async def test_a_refused_connection_proves_that_nothing_was_sent(open_transport, method):
    """Nobody listens: transient, and certainly not done."""
    async with answering(WHOLE) as (address, _):
        pass

    async with open_transport(address) as transport:
        with pytest.raises(AgentUnreachableError, match="no connection"):
            await sent(transport, method, content=BODY)


@pytest.mark.parametrize("method", WRITES)
async def test_a_handshake_that_does_not_end_proves_it_too(open_transport, method):
    """The time to connect holds for TLS as well."""
    limits = Timeouts(connect_seconds=0.3, read_seconds=SECONDS)

    async with (
        listening(say_nothing, scheme="https") as address,
        open_transport(address, timeouts=limits) as transport,
    ):
        began = asyncio.get_running_loop().time()
        with pytest.raises(AgentUnreachableError, match="no connection"):
            await sent(transport, method, content=BODY)
        took = asyncio.get_running_loop().time() - began

    assert 0.3 <= took < SECONDS


@pytest.mark.parametrize("method", WRITES)
async def test_an_untrusted_certificate_proves_it_too(open_transport, method, pki):
    """Whoever stands there gets no byte of the request."""
    async with (
        answering(WHOLE, context=server_context(pki)) as (address, talk),
        open_transport(address) as transport,
    ):
        with pytest.raises(AgentProtocolError, match="certificate is not trusted"):
            await sent(transport, method, content=BODY)

    assert talk.heard == []


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_post_broken_at_every_byte_may_have_been_sent(open_transport, end):
    """However little of it was read: never "not sent", and never sent again."""
    async with answering(WHOLE) as (address, talk), open_transport(address) as transport:
        await sent(transport, "POST", content=BODY)
    size = len(talk.heard[0])
    read, said = [], {}

    async def break_off(reader, writer):
        count = len(read)
        read.append(await reader.readexactly(count) if count else b"")
        (abort if end == "reset" else type(writer).close)(writer)

    async with listening(break_off) as address, open_transport(address) as transport:
        for count in range(size + 1):
            with pytest.raises(LostAnswerError) as caught:
                await sent(transport, "POST", content=BODY)
            said[count] = str(caught.value)

    assert [len(each) for each in read] == list(range(size + 1))
    assert all(words.startswith("the connection broke") for words in said.values())


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("answer", [WHOLE, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("method", METHODS)
async def test_an_answer_broken_at_every_byte_is_lost(open_transport, method, answer, end):
    """Only the whole answer is one; each request is read once."""
    talk, told = Talk(), []

    async def break_off(reader, writer):
        talk.connections += 1
        talk.heard.append(await read_request(reader))
        writer.write(answer[: talk.connections - 1])
        await writer.drain()
        (abort if end == "reset" else type(writer).close)(writer)

    async with listening(break_off) as address, open_transport(address) as transport:
        for _ in answer:
            with pytest.raises(LostAnswerError):
                await sent(transport, method, content=BODY if method == "POST" else None)
        if end == "close":
            told.append(await sent(transport, method))

    assert talk.connections == len(talk.heard) == len(answer) + len(told)
    assert all(b"told" in each.body and not each.unreadable for each in told)


# --- nothing is sent twice, and no answer is another's ---


@pytest.mark.parametrize("method", METHODS)
async def test_nothing_is_sent_twice(open_transport, method):
    """Neither over a kept connection that ends under it, nor over a new one."""
    async with answering(WHOLE, None) as (address, talk), open_transport(address) as transport:
        await sent(transport)
        with pytest.raises(LostAnswerError, match="the connection broke"):
            await sent(transport, method)
        with pytest.raises(LostAnswerError, match="the connection broke"):
            await sent(transport, method)

    assert talk.methods == ["GET", method, method]


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_has_a_connection_of_its_own(open_transport, method):
    """Reads share one; nobody has used a write's before, and nobody does after it."""
    async with answering(WHOLE) as (address, talk), open_transport(address) as transport:
        for each in ("GET", "GET", method, method, "GET"):
            await sent(transport, each)

    assert talk.methods == ["GET", "GET", method, method, "GET"]
    assert talk.connections == 3


@pytest.mark.parametrize("unasked", ["at once", "later"])
@pytest.mark.parametrize("method", WRITES)
async def test_an_unasked_answer_is_not_taken_for_a_writes(open_transport, method, unasked):
    """Two answers to one read: the second is not that of the write which follows."""
    stale, said = answered("stale"), asyncio.Event()

    async def say_more(writer):
        if unasked == "later" and not said.is_set():
            await asyncio.sleep(0.05)
            writer.write(stale)
            await writer.drain()
        said.set()

    first = WHOLE + stale if unasked == "at once" else WHOLE
    async with (
        answering(first, answered("own"), then=say_more) as (address, _),
        open_transport(address) as transport,
    ):
        await sent(transport)
        await said.wait()
        await asyncio.sleep(0.05)
        answer = await sent(transport, method)

    assert answer.body == b"own"


async def test_a_connection_the_agent_has_closed_is_not_used(open_transport):
    """After a restart of the agent the next question finds a new connection."""

    async def hang_up(writer):
        writer.close()

    async with (
        answering(WHOLE, then=hang_up) as (address, talk),
        open_transport(address) as transport,
    ):
        for _ in range(3):
            await sent(transport)
            await asyncio.sleep(0.05)

    assert talk.connections == len(talk.heard) == 3


async def test_an_answer_nobody_waited_for_is_not_the_next_ones(open_transport):
    """A question that was given up leaves nothing behind."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def handle(reader, writer):
        while request := await read_request(reader):
            late = b"first" in request
            asked.set()
            if late:
                await go_on.wait()
            writer.write(answered("late" if late else "own"))

    async with listening(handle) as address, open_transport(address) as transport:
        first = asyncio.create_task(sent(transport, target="/api/v1/first"))
        await asked.wait()
        first.cancel()
        await asyncio.wait([first])
        go_on.set()
        answer = await sent(transport)

    assert first.cancelled()
    assert answer.body == b"own"


async def test_nothing_stays_open(open_transport):
    """When the transport is closed, the agent sees all connections end."""
    ends = []

    async def handle(reader, writer):
        ends.append(end := asyncio.Event())
        while await read_request(reader):
            writer.write(WHOLE)
        end.set()

    async with listening(handle) as address:
        async with open_transport(address) as transport:
            await asyncio.gather(*(sent(transport) for _ in range(3)), sent(transport, "POST"))
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(each.wait() for each in ends))


# --- what comes back, and its limits ---


async def test_an_answer_is_given_as_it_came(open_transport):
    """Status, headers and bytes; one that comes before it, of 100, is passed over."""
    early = b"HTTP/1.1 100 Continue\r\n\r\n"
    late = b"HTTP/1.1 404 Nope\r\nX-Two: a\r\nX-Two: b\r\nContent-Length: 3\r\n\r\n\x00\xff\n"

    async with answering(early + late) as (address, _), open_transport(address) as transport:
        answer = await sent(transport)

    assert (answer.status, answer.body) == (404, b"\x00\xff\n")
    assert answer.headers.get_list("x-two") == ["a", "b"]


async def test_a_compressed_answer_is_not_unfolded(open_transport):
    """It was not asked for."""
    packed = gzip.compress(b"0" * 1_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"

    async with (
        answering(head.encode() + packed) as (address, _),
        open_transport(address) as transport,
    ):
        answer = await sent(transport)

    assert answer.unreadable == "it compresses its answer ('gzip'), unasked"


@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (b"", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["status line", "header", "headers", "body until the end", "chunks"],
)
async def test_an_answer_without_end_is_given_up(open_transport, head, endless):
    """After so many bytes, not after so much time."""
    count = [0]

    async def pour(reader, writer):
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(endless * (8192 // len(endless)))
            count[0] += 8192
            await writer.drain()

    async with listening(pour) as address, open_transport(address) as transport:
        try:
            answer = await sent(transport, seconds=60.0)
        except LostAnswerError as lost:
            said = str(lost)
        else:
            said = answer.unreadable

    assert said
    assert "seconds" not in said
    # What lies in the sockets' buffers was poured, and not read.
    assert count[0] < 16 << 20


async def test_a_longer_answer_than_allowed_is_not_read(open_transport):
    """What announces itself as too large is left where it is."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {SMALL.size_bytes + 1}\r\n\r\n"

    async with answering(head.encode()) as (address, _), open_transport(address) as transport:
        answer = await sent(transport)

    assert "bytes are announced" in answer.unreadable


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_silence_ends_with_the_time_to_read(open_transport, method):
    """And may mean that it was done."""
    async with listening(say_nothing) as address, open_transport(address) as transport:
        with pytest.raises(LostAnswerError, match=r"no answer within 0\.3 seconds"):
            await sent(transport, method, seconds=0.3)


async def test_single_bytes_end_with_the_time_for_the_whole(open_transport):
    """Each byte comes in time, the whole does not."""

    async def trickle(reader, writer):
        await read_request(reader)
        for byte in WHOLE:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)

    limits = Timeouts(connect_seconds=0.2, read_seconds=0.3)
    async with listening(trickle) as address, open_transport(address, timeouts=limits) as transport:
        with pytest.raises(LostAnswerError, match=r"no whole answer within 0\.5 seconds"):
            await sent(transport, seconds=0.3)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_writes_and_reads_over_mutual_tls(open_transport, pki, version):
    """Either connection shows our certificate, and is held against the private CA."""
    context = server_context(pki, wants_client=True)
    context.minimum_version = context.maximum_version = version
    tls = Tls(ca_file=pki["ca"], client_cert=pki["client"])

    async with (
        answering(WHOLE, context=context) as (address, talk),
        open_transport(address, tls) as transport,
    ):
        await sent(transport)
        await sent(transport, "POST", content=BODY)

    assert talk.methods == ["GET", "POST"]


async def test_a_pinned_key_is_held_against(over):
    """An agent that shows another key than the pinned one gets nothing sealed."""
    async with listening(answer_info) as address:
        client = over(
            AgentClient,
            address,
            root_password=SecretStr("Root#Pass1"),
            keys=KnownKeys({str(address): "SHA256:" + "A" * 43}, "refuse"),
        )
        async with client:
            with pytest.raises(UntrustedKeyError):
                await client.operate_dag("17", Operator.RETRY)
