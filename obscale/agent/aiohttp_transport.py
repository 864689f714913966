"""Sends httpx's requests over aiohttp, for whoever asks so often that its import pays.

aiohttp does more than is asked of a transport: it repeats what it holds for repeatable, follows
redirects, keeps cookies, adds headers. All of that is off here, by its documented means alone;
`tests/contract/client/test_client_transports.py` holds it against httpx's own transport.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from obscale.agent.plain_httpx import httpx

OWN_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What aiohttp would add of its own accord."""
UNCEILED: Final = float("inf")
"""aiohttp rounds longer waits up to whole seconds, beyond this many."""
MOST_SPOILT: Final = 8
"""Idle connections that are dropped before one request is given up."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """A pool of connections, opened with the first request; nothing is ever sent twice.

    `httpx.ConnectError` and `httpx.ConnectTimeout` prove that no byte of the request has left: they
    come of aiohttp's errors of connecting alone. Any other error leaves it open. A head is at most
    128 headers of 8,190 bytes; a chunk's size that does not end is not kept, and ends with the time
    limit of whoever asks.

    Args:
        context: For https.
        keep_seconds: How long an idle connection is kept; 0: none is used twice.
    """

    def __init__(self, context: ssl.SSLContext, keep_seconds: float) -> None:
        self._context = context
        self._keep_seconds = keep_seconds
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, and give its answer as soon as the head is here.

        Raises:
            httpx.RequestError: Or the subclass that says what went wrong.
        """
        # A session belongs to the loop that runs when it is made, and clients are made outside.
        session = self._session = self._session or self._opened()
        limits = request.extensions["timeout"]
        response = await session.request(
            request.method,
            # Encoded already: a target is sealed byte for byte.
            URL(str(request.url), encoded=True),
            headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
            data=request.content or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                connect=limits["connect"], sock_read=limits["read"], ceil_threshold=UNCEILED
            ),
        )
        return httpx.Response(
            response.status, headers=list(response.raw_headers), stream=_Body(response)
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_Connector(
                ssl=self._context,
                limit=0,
                keepalive_timeout=self._keep_seconds,
                resolver=aiohttp.ThreadedResolver(),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=OWN_HEADERS,
            middlewares=(_once,),
        )


class _Connector(aiohttp.TCPConnector):
    """Gives no connection over which the agent has said something unasked.

    aiohttp would take it for the answer to the next question.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - its name there
    ) -> Connection:
        for _ in range(MOST_SPOILT):
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        raise httpx.ConnectError("it answers before it is asked")


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            while chunk := await self._response.content.readany():
                yield chunk

    async def aclose(self) -> None:
        # One whose answer is read whole has gone back to the pool by now, and stays there.
        self._response.close()


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    # aiohttp repeats a GET or DELETE after errors of its own that mean a lost connection, never
    # after one of httpx's.
    with _as_httpx():
        return await handler(request)


@contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout("no connection in time") from error
    except aiohttp.ClientConnectorError as error:
        # aiohttp's own is an SSLError as well, without what OpenSSL said.
        said = str(error.os_error) or type(error.os_error).__name__
        raise httpx.ConnectError(said) from error.os_error
    except aiohttp.ServerTimeoutError as error:
        raise httpx.ReadTimeout(str(error)) from error
    except (aiohttp.ClientConnectionError, OSError) as error:
        raise httpx.ReadError(str(error)) from error
    except aiohttp.ClientResponseError as error:
        raise httpx.RemoteProtocolError(error.message) from error
    except aiohttp.ClientError as error:
        raise httpx.RemoteProtocolError(str(error)) from error
