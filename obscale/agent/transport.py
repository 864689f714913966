"""Sends one request to one agent once, and names how an exchange can fail."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from obscale import __version__
from obscale.agent.address import AgentAddress
from obscale.agent.limits import Limit, limit_of
from obscale.agent.plain_httpx import httpx
from obscale.clock import monotonic, utc_now
from obscale.errors import AgentProtocolError, AgentUnreachableError, ObscaleError, SpecError

MOST_CONTEXTS: Final = 32
"""Clusters with TLS files of their own whose files stay loaded."""
NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""With these no byte of the request has left: even a write has certainly not been done."""
HEADERS: Final = httpx.Headers(
    {
        "User-Agent": f"obscale/{__version__}",
        "Accept-Language": "en",
        # obshell compresses nothing; three megabytes of gzip may unfold to thousands.
        "Accept-Encoding": "identity",
    }
)
EMPTY_HEADERS: Final = httpx.Headers({**HEADERS, "Content-Length": "0"})
KEPT: Final = httpx.Limits(max_keepalive_connections=4, keepalive_expiry=90.0)
"""An idle connection outlives the longest pause between two looks at a DAG, 60 s; agents keep it
for an hour (ob/agent/api/web/server.go). httpx's own 5 s meant a new connection for each look. Few
are kept: every request looks at each idle one."""
UNKEPT: Final = httpx.Limits(max_keepalive_connections=0)
MANY_NODES: Final = 10
MOST_OF_A_HEADER: Final = 40
"""Characters of an agent's header that an error repeats."""
MOST_OF_A_REASON: Final = 200
"""Characters of what a library says of a broken connection."""
HEAD_TOO_LARGE_STATUS: Final = 431
PLAIN_HTTP_REASONS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"}
)
"""OpenSSL's reasons when something that is not TLS answers the handshake."""

_UNUSED: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Plain HTTP needs none, but httpx would make one for each client."""


@dataclass(frozen=True)
class Tls:
    """How agents that speak TLS are verified, and how we show ourselves to them.

    Args:
        verify: False accepts any certificate; the password can then be read by whoever stands
            between.
        ca_file: PEM with the certificates to trust, instead of the system's.
        client_cert: PEM shown to agents that ask for one (mTLS, 4.4.2.0 and later).
        client_key: Its key; None where it stands in the same file.
    """

    verify: bool = True
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    def make_context(self) -> ssl.SSLContext:
        """Load the files.

        Raises:
            SpecError: A file is missing or is not what it should be.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            # Python 3.13 refuses certificates without an Authority Key Identifier, which is how
            # openssl's plain `x509 -req` signs them. The chain is checked all the same.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if self.client_cert is not None:
                context.load_cert_chain(self.client_cert, self.client_key)
        # The last one where the name is none a system could have.
        except (OSError, ssl.SSLError, ValueError) as error:
            names = ", ".join(filter(None, (self.ca_file, self.client_cert, self.client_key)))
            raise SpecError(
                f"The TLS files cannot be used ({names}): "
                f"{getattr(error, 'strerror', None) or error}",
                "check that they exist, are PEM, and that key and certificate belong together",
            ) from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True)
class Timeouts:
    """How long one request may take, in seconds.

    Args:
        connect_seconds: Until the connection stands, TLS included.
        read_seconds: Until the whole answer of a read, or of an operation on a DAG, is here.
        submit_seconds: Until the answer to a scale-out is here. More than 200: the agent asks the
            target for its `/info` inside this request and waits up to 3 minutes for it
            (ob/agent/executor/ob/scale_out.go).
    """

    connect_seconds: float = 3.0
    read_seconds: float = 20.0
    submit_seconds: float = 230.0


@dataclass(frozen=True)
class Answer:
    """What came back, and when.

    Args:
        status: HTTP status; 0 where not even that could be read.
        headers: Of the answer.
        body: As it came over the wire; empty where it is unreadable.
        sent_seconds: Unix seconds on our clock.
        received_seconds: The same.
        unreadable: Why it was not read to its end, in words; empty where it was.
    """

    status: int
    headers: httpx.Headers
    body: bytes
    sent_seconds: float
    received_seconds: float
    unreadable: str = ""


_ASKS_OFTEN: ContextVar[bool] = ContextVar("obscale_asks_often", default=False)


@contextmanager
def asking_often(nodes: int) -> Iterator[None]:
    """Let the clients that are made inside this block ask over aiohttp, where that pays.

    It takes a third less CPU a request than httpx's own transport, and 0.15 s to import.

    Args:
        nodes: So many are added; each takes some sixty questions.
    """
    token = _ASKS_OFTEN.set(nodes >= MANY_NODES)
    try:
        yield
    finally:
        _ASKS_OFTEN.reset(token)


class LostAnswerError(Exception):
    """The request may have reached the agent, its answer did not reach us. Stays in the client."""


class Transport:
    """The HTTP connections to one agent: no redirects, no proxy, no retry.

    A write has a connection of its own, which nobody has used before. So what an agent has closed
    meanwhile is met in connecting, before anything is sent; and nothing that was said over it can
    be taken for the answer.

    Args:
        address: The agent.
        tls: Used for https only.
        timeouts: Connecting and reading.
        transport: Replaces the network; it stays the caller's, who closes it.
    """

    def __init__(
        self,
        address: AgentAddress,
        tls: Tls,
        timeouts: Timeouts,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.address = address
        self._timeouts = timeouts
        self._urls: dict[str, httpx.URL] = {}
        # Transports alone: the client around them would look for cookies, redirects, proxies and
        # authentication, a tenth of what a request costs, and obshell knows none of them.
        self._reads, self._writes = (
            (_Borrowed(transport), _Borrowed(transport))
            if transport
            else _open_transports(address, tls)
        )

    def prepare(
        self, method: str, target: str, content: str | None, seconds: float
    ) -> httpx.Request:
        """Build a request without sending it; `request.url.raw_path` is the target byte for byte.

        Args:
            method: `GET` or `POST`.
            target: Path, `?` and query, percent-encoded.
            content: The body as it goes over the wire.
            seconds: How long the agent may take.
        """
        connect = self._timeouts.connect_seconds
        limits = {"connect": connect, "read": seconds, "write": seconds, "pool": connect}
        url = self._urls.get(target)
        if url is None:
            # Taking a URL apart costs a tenth of a request, and most are asked again.
            url = self._urls[target] = httpx.URL(f"{self.address.base_url}{target}")
        # Some libraries say so of every write without a body, some not of a DELETE.
        is_empty = content is None and method != "GET"
        return httpx.Request(
            method,
            url,
            headers=EMPTY_HEADERS if is_empty else HEADERS,
            content=content,
            extensions={"timeout": limits},
        )

    async def send(
        self, request: httpx.Request, step: str, trace_id: str, seconds: float
    ) -> Answer:
        """Send a prepared request once.

        Args:
            request: From `prepare`, with all headers set.
            step: What is being done, for errors.
            trace_id: As sent, for errors.
            seconds: How long the whole of it may take, beside connecting.

        Returns:
            The answer, whatever its status; read to its end where it keeps to what answers of its
            kind may hold (`obscale.agent.limits`).

        Raises:
            AgentUnreachableError: Nothing was sent.
            AgentProtocolError: The two sides do not agree on TLS; nothing was sent.
            LostAnswerError: It was sent, and no whole answer came back.
        """
        limit = seconds + self._timeouts.connect_seconds
        sent_seconds, started = utc_now().timestamp(), monotonic()
        try:
            async with asyncio.timeout(limit):
                status, headers, body, unreadable = await self._exchange(request)
        except NEVER_SENT as error:
            raise self._explain(error, step, trace_id) from error
        except TimeoutError as error:
            raise LostAnswerError(f"no whole answer within {limit:g} seconds") from error
        except httpx.TimeoutException as error:
            raise LostAnswerError(f"no answer within {seconds:g} seconds") from error
        except httpx.RequestError as error:
            if _is_certificate_wanted(error):
                raise self._explain(error, step, trace_id) from error
            raise LostAnswerError(f"the connection broke ({_reason(error)})") from error
        elapsed = monotonic() - started
        return Answer(status, headers, body, sent_seconds, sent_seconds + elapsed, unreadable)

    async def _exchange(self, request: httpx.Request) -> tuple[int, httpx.Headers, bytes, str]:
        """Give status, headers and body, or why the body was not read; then the connection ends."""
        status, headers = 0, httpx.Headers()
        try:
            transport = self._reads if request.method == "GET" else self._writes
            response = await transport.handle_async_request(request)
            status, headers = response.status_code, response.headers
            try:
                body, unreadable = await _read(response, limit_of(request.url.raw_path.decode()))
            finally:
                await response.aclose()
        except httpx.RemoteProtocolError as error:
            if not _is_endless(error):
                raise
            return status, headers, b"", "its answer's head, or the frame of its body, does not end"
        return status, headers, body, unreadable

    async def __aenter__(self) -> Self:
        await self._reads.__aenter__()
        await self._writes.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        try:
            await self._reads.aclose()
        finally:
            await self._writes.aclose()

    def _explain(self, error: httpx.RequestError, step: str, trace_id: str) -> ObscaleError:
        agent = str(self.address)
        cause = _find_ssl_error(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return AgentProtocolError(
                f"its certificate is not trusted: {cause.verify_message}",
                agent,
                step,
                "give the CA file the cluster's certificates were signed with",
                trace_id,
            )
        if cause is not None and (cause.reason or "").upper() in PLAIN_HTTP_REASONS:
            return AgentProtocolError(
                f"it speaks plain HTTP, not TLS: write http://{agent}", agent, step, "", trace_id
            )
        if cause is not None:
            return AgentProtocolError(
                f"the TLS handshake failed: {cause.reason or _reason(error)}",
                agent,
                step,
                "see whether the agent wants a client certificate, or another version of TLS",
                trace_id,
            )
        hint = "check that obshell runs there and that its port is open"
        if self.address.scheme == "https" and _was_reset(error):
            # Its alert may be overtaken by the end of the connection.
            hint = "see whether the agent wants a client certificate, or is just being restarted"
        return AgentUnreachableError(
            f"no connection ({_reason(error)})", agent, step, hint, trace_id
        )


async def _read(response: httpx.Response, limit: Limit) -> tuple[bytes, str]:
    """Read a body as it is on the wire, unless it holds more than it may; then give the reason."""
    if (coding := response.headers.get("content-encoding", "identity").lower()) != "identity":
        return b"", f"it compresses its answer ({coding[:MOST_OF_A_HEADER]!r}), unasked"
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:MOST_OF_A_HEADER]) > limit.size_bytes:
        return b"", limit.says_too_large(f"{announced[:MOST_OF_A_HEADER]} bytes are announced")
    body = bytearray()
    async for chunk in cast(httpx.AsyncByteStream, response.stream):
        body += chunk
        if len(body) > limit.size_bytes:
            return b"", limit.says_too_large(f"{len(body):,} bytes came, and more follow")
    whole = bytes(body)
    return (b"", excess) if (excess := limit.excess(whole)) else (whole, "")


class _Borrowed(httpx.AsyncBaseTransport):
    """Somebody else's transport: used, never closed, because others may use it too."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)


def _open_transports(
    address: AgentAddress, tls: Tls
) -> tuple[httpx.AsyncBaseTransport, httpx.AsyncBaseTransport]:
    """Give one for reads and one for writes."""
    context = _context(tls, _stamps(tls)) if address.scheme == "https" else _UNUSED
    if _ASKS_OFTEN.get():
        from obscale.agent.aiohttp_transport import AiohttpTransport  # noqa: PLC0415 - 0.15 s

        return AiohttpTransport(context, KEPT.keepalive_expiry or 0), AiohttpTransport(context, 0)
    reads, writes = (
        httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
        for limits in (KEPT, UNKEPT)
    )
    return reads, writes


@lru_cache(maxsize=MOST_CONTEXTS)
def _context(tls: Tls, _stamps: tuple[int, ...]) -> ssl.SSLContext:
    # Loading the system's certificates takes tens of milliseconds, and a run makes a dozen clients.
    return tls.make_context()


def _stamps(tls: Tls) -> tuple[int, ...]:
    """When the files were written, so that renewed ones are loaded; 0 for a missing one."""
    files = filter(None, (tls.ca_file, tls.client_cert, tls.client_key))
    return tuple(Path(file).stat().st_mtime_ns if Path(file).is_file() else 0 for file in files)


def _find_ssl_error(error: BaseException) -> ssl.SSLError | None:
    seen: BaseException | None = error
    while seen is not None:
        # The two "want" errors are how an unfinished handshake waits for the network.
        if isinstance(seen, ssl.SSLError) and not isinstance(
            seen, ssl.SSLWantReadError | ssl.SSLWantWriteError
        ):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _is_certificate_wanted(error: httpx.RequestError) -> bool:
    # With TLS 1.3 the agent refuses us only after our side of the handshake is done: the refusal
    # meets the first read. The request has not been looked at.
    cause = _find_ssl_error(error)
    return cause is not None and "CERTIFICATE_REQUIRED" in (cause.reason or "")


def _was_reset(error: httpx.RequestError) -> bool:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ConnectionResetError):
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def _is_endless(error: httpx.RequestError) -> bool:
    # h11 gives up on a status line, headers or chunk size of 100 KiB, in the words of this status.
    seen: BaseException | None = error
    while seen is not None:
        if getattr(seen, "error_status_hint", None) == HEAD_TOO_LARGE_STATUS:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _reason(error: httpx.RequestError) -> str:
    # h11 repeats what it could not read.
    said = "".join(filter(str.isprintable, str(error)[:MOST_OF_A_REASON]))
    return said or type(error).__name__
