"""Serves simulated agents over sockets, or in the same process.

Both doors lead to the same application. The socket door gives every agent its own listening
address and closes it while the agent is down, so that clients see a refused connection.
"""

import asyncio
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import uvicorn
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from obscale.sandbox.agents import Agent
from obscale.sandbox.api import Api, Request
from obscale.sandbox.control import controlled
from obscale.sandbox.endpoints import ENDPOINTS
from obscale.sandbox.ids import join_address
from obscale.sandbox.tls import write_certificates

if TYPE_CHECKING:
    from obscale.sandbox.world import World

FALLBACK_IP: Final = "127.0.0.1"
FALLBACK_SQL_PORTS_FROM: Final = 12_881
"""Servers that had to move to one address keep the usual ports free for one that joins."""
PORTS_PER_SERVER: Final = 2
BACKLOG: Final = 128
IDLE_SECONDS: Final = 3600
"""Source: ob/agent/api/web/server.go, 4.5.0.0: the server's read timeout."""
UNCHUNKED_BYTES: Final = 2048
"""What is longer comes in chunks, without its length. Source: Go's net/http."""
LONGEST_HEAD_BYTES: Final = (1 << 20) + (4 << 10)
"""A request whose head is longer is refused. Source: Go's net/http, its default and its slop."""
TOO_LARGE_STATUS: Final = 431
TOO_LARGE: Final = b"431 Request Header Fields Too Large"
HANDSHAKE_SECONDS: Final = 60
"""Until a connection has to speak; as asyncio's own limit for the handshake of TLS."""
UNREAD_BYTES: Final = 1 << 16
HTTP_BEGINS: Final = frozenset({b"G", b"P", b"D", b"H", b"O"})
"""First letters of HTTP's methods; a handshake of TLS begins with 0x16."""
PLAIN_HTTP: Final = (
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
)
"""Recorded from 4.5.0.0: neither a content type nor a length. Source: Go's net/http."""
SILENCE_POLL_SECONDS: Final = 0.1
SYNC_SECONDS: Final = 0.05


class AnswerDroppedError(Exception):
    """The connection is to break without an answer."""


def application(world: "World") -> ASGIApp:
    """The ASGI application of a world; `scope["server"]` chooses the agent."""
    return _Application(world)


class _Application:
    """Brings each request to its agent, and what the agent says, or does not say, back."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._api = Api(world, ENDPOINTS)
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"unexpected scope {scope['type']}")
        agent = self._world.find(*scope["server"][:2])
        if agent is None or agent.down:
            raise AnswerDroppedError
        incoming = HttpRequest(scope, receive)
        request = await _read(incoming)
        await self._let_in(agent, request, incoming)
        reply = self._api.answer(agent, request)
        if reply.delay_seconds:
            await asyncio.sleep(reply.delay_seconds)
        if reply.dropped:
            raise AnswerDroppedError
        response = Response(reply.body, reply.status)
        if len(reply.body) > UNCHUNKED_BYTES:
            del response.headers["content-length"]
        if reply.content_type:
            response.headers["content-type"] = reply.content_type
        if reply.location:
            response.headers["location"] = reply.location
        await response(scope, receive, send)

    async def _let_in(self, agent: Agent, request: Request, incoming: HttpRequest) -> None:
        """Wait until the agent takes the request up.

        Raises:
            AnswerDroppedError: It does not, or not over this connection.
        """
        held_back = self._api.arrived(agent, request)
        if held_back is not None:
            task = asyncio.create_task(self._carry_out_later(agent, request, held_back))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            raise AnswerDroppedError
        while agent.silent:
            # A question nobody waits for any more has no effect; a write may still have one.
            if request.method == "GET" and await incoming.is_disconnected():
                raise AnswerDroppedError
            await asyncio.sleep(SILENCE_POLL_SECONDS)
        if agent.down:
            raise AnswerDroppedError

    async def _carry_out_later(self, agent: Agent, request: Request, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not agent.down:
            self._api.answer(agent, request)


async def _read(request: HttpRequest) -> Request:
    """The request as the agent sees it; its target exactly as it stood in the request line."""
    target: str = request.scope["raw_path"].decode("latin-1")
    if query := request.scope["query_string"].decode("latin-1"):
        target += f"?{query}"
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Request(request.method, target, headers, await request.body())


class InProcess(httpx.AsyncBaseTransport):
    """Carries httpx requests to the agents of a world without any socket.

    A down or unknown agent is `httpx.ConnectError`, a silent one `httpx.ReadTimeout`, a dropped
    answer `httpx.RemoteProtocolError`. The scheme is not looked at.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._inner = httpx.ASGITransport(app=application(world))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        host, port = request.url.host, request.url.port or 0
        self._world.sync()
        agent = self._world.find(host, port)
        if agent is None or agent.down:
            raise httpx.ConnectError(
                f"connection to {join_address(host, port)} refused", request=request
            )
        if agent.silent:
            raise httpx.ReadTimeout(f"{join_address(host, port)} is silent", request=request)
        try:
            return await self._inner.handle_async_request(request)
        except AnswerDroppedError:
            raise httpx.RemoteProtocolError(
                "Server disconnected without sending a response.", request=request
            ) from None


def in_process(world: "World") -> httpx.AsyncBaseTransport:
    """A transport for `httpx.AsyncClient` that leads straight into the world."""
    return InProcess(world)


def connections(world: "World") -> Callable[[], asyncio.Protocol]:
    """Makes connections to the agents of a world as the socket door does, without any socket.

    Whoever calls brings a transport; the local end that it names (`sockname`) chooses the agent.
    """
    return _Listeners(world, {}).connection


@dataclass(frozen=True)
class Door:
    """An open socket door.

    Attributes:
        ready: `World.ready_line`, `control`, the URL where faults are played, and in a TLS world
            `tls`, the files as a request names them.
        scheme: `http` or `https`.
        ca_path: Certificate to trust in a TLS world, else `None`.
        client_cert_path: To be shown where agents want a certificate, signed by the same authority.
        client_key_path: Its key.
    """

    ready: dict[str, Any]
    scheme: str
    ca_path: Path | None
    client_cert_path: Path | None
    client_key_path: Path | None


@asynccontextmanager
async def serve(world: "World") -> AsyncIterator[Door]:
    """Listen on every agent's address until the context ends.

    Agents with port 0 get their port here; where an address cannot be bound the agent moves to
    127.0.0.1 and a free port, and the world calls it by that name from then on.

    Raises:
        OSError: Not even a fallback address can be bound.
    """
    sockets = {id(agent): _bind_or_move(agent, n) for n, agent in enumerate(world.agents)}
    with tempfile.TemporaryDirectory(prefix="obscale-sandbox-") as folder:
        trusted: tuple[Path | None, ...] = (None, None, None)
        options: dict[str, Any] = {}
        named: dict[str, Any] = {}
        if world.config.tls:
            files = write_certificates(Path(folder), [agent.ip for agent in world.agents])
            trusted = (files.ca, files.client_certificate, files.client_key)
            named = {"tls": {"ca_file": str(files.ca)}}
            options = {"ssl_certfile": files.certificate, "ssl_keyfile": files.key}
            if world.config.enable_client_auth:
                options |= {"ssl_ca_certs": str(files.ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
                named["tls"] |= {
                    "client_cert": str(files.client_certificate),
                    "client_key": str(files.client_key),
                }
        listeners = _Listeners(world, options)
        try:
            await listeners.open(sockets)
            async with controlled(world) as url:
                ready = world.ready_line() | {"control": url} | named
                yield Door(ready, "https" if world.config.tls else "http", *trusted)
        finally:
            await listeners.close()
            # Where one cannot be listened on, those after it were not taken over.
            for sock in sockets.values():
                sock.close()


class _Listeners:
    """One uvicorn server, one listening socket per agent that is up."""

    def __init__(self, world: "World", options: dict[str, Any]) -> None:
        self._world = world
        self._transports: dict[Any, asyncio.Transport] = {}
        self._listening: dict[int, asyncio.Server | _TlsDoor] = {}
        self._protocol = _protocol(self._transports)
        self._config = uvicorn.Config(
            self._breaking(application(world)),
            http=self._protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            h11_max_incomplete_event_size=LONGEST_HEAD_BYTES,
            **options,
        )
        self._config.load()
        self._server = uvicorn.Server(self._config)
        self._server.lifespan = self._config.lifespan_class(self._config)
        self._ticking: asyncio.Task[None] | None = None
        self._keeping_time: asyncio.Task[None] | None = None
        self._changes: set[asyncio.Task[None]] = set()

    def connection(self) -> asyncio.Protocol:
        """One more connection; the local end of its transport chooses the agent."""
        return self._protocol(
            config=self._config, server_state=self._server.server_state, app_state={}
        )

    async def open(self, sockets: dict[int, socket.socket]) -> None:
        """Accept connections on the given sockets, one per agent."""
        self._ticking = asyncio.create_task(self._server.main_loop())
        for agent in self._world.agents:
            sock = sockets[id(agent)]
            if agent.down:
                sock.close()
            else:
                await self._listen(agent, sock)
        self._world.watchers.append(self._changed)
        self._keeping_time = asyncio.create_task(self._keep_time())

    async def close(self) -> None:
        """Refuse new connections and end the open ones."""
        if self._changed in self._world.watchers:
            self._world.watchers.remove(self._changed)
        if self._keeping_time is not None:
            self._keeping_time.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping_time
        for change in list(self._changes):
            await change
        for listening in self._listening.values():
            listening.close()
        for transport in list(self._transports.values()):
            transport.abort()
        self._server.should_exit = True
        if self._ticking is not None:
            await self._ticking
        # Connections end in callbacks; let them run before the loop goes away.
        await asyncio.sleep(0)

    async def _keep_time(self) -> None:
        """Requests bring the world forward; while every agent is down none arrives."""
        while True:
            self._world.sync()
            await asyncio.sleep(SYNC_SECONDS)

    async def _listen(self, agent: Agent, sock: socket.socket) -> None:
        if self._config.ssl is not None:
            self._listening[id(agent)] = _TlsDoor(sock, self.connection, self._config.ssl)
            return
        loop = asyncio.get_running_loop()
        self._listening[id(agent)] = await loop.create_server(
            self.connection, sock=sock, backlog=BACKLOG
        )

    def _changed(self, agent: Agent) -> None:
        """An agent went down, fell silent, or came back."""
        if agent.down:
            listening = self._listening.pop(id(agent), None)
            if listening is not None:
                listening.close()
            for (server, _), transport in list(self._transports.items()):
                if server == (agent.ip, agent.port):
                    transport.abort()
        elif id(agent) not in self._listening:
            change = asyncio.create_task(self._reopen(agent))
            self._changes.add(change)
            change.add_done_callback(self._changes.discard)

    async def _reopen(self, agent: Agent) -> None:
        with suppress(OSError):
            # A taken address leaves the agent down on the wire, as it would a real one.
            await self._listen(agent, _bind(agent.ip, agent.port))

    def _breaking(self, app: ASGIApp) -> ASGIApp:
        async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
            with suppress(AnswerDroppedError):
                await app(scope, receive, send)
                return
            transport = self._transports.get((scope["server"][:2], scope["client"][:2]))
            if transport is not None:
                transport.abort()
                # The server hears of it in a callback; else it would answer 500 by itself.
                await asyncio.sleep(0)

        return breaking


class _TlsDoor:
    """Accepts connections that speak TLS, and tells who speaks plain HTTP so, as Go's server does.

    Args:
        sock: Bound to the agent's address.
        connection: Makes the protocol of one more connection.
        context: Certificate and key.
    """

    def __init__(
        self,
        sock: socket.socket,
        connection: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
    ) -> None:
        sock.listen(BACKLOG)
        self._sock, self._connection, self._context = sock, connection, context
        self._greeting: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Refuse new connections; those that are open stay."""
        for task in (self._accepting, *self._greeting):
            task.cancel()
        self._sock.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            opened, _ = await loop.sock_accept(self._sock)
            greeting = asyncio.create_task(self._greet(opened))
            self._greeting.add(greeting)
            greeting.add_done_callback(self._greeting.discard)

    async def _greet(self, opened: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        speaks_tls = False
        # A handshake that fails is the client's to tell.
        with suppress(OSError, TimeoutError):
            try:
                speaks_tls = await _first_byte(opened) not in HTTP_BEGINS
                if speaks_tls:
                    await loop.connect_accepted_socket(self._connection, opened, ssl=self._context)
                else:
                    # What is left unread would break the connection before the answer is read.
                    await loop.sock_recv(opened, UNREAD_BYTES)
                    await loop.sock_sendall(opened, PLAIN_HTTP)
            finally:
                if not speaks_tls:
                    opened.close()


async def _first_byte(opened: socket.socket) -> bytes:
    """Give the first byte that arrives, which is still there to be read; empty at the end."""
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()

    def readable() -> None:
        loop.remove_reader(opened)
        arrived.set_result(None)

    loop.add_reader(opened, readable)
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await arrived
    finally:
        loop.remove_reader(opened)
    return opened.recv(1, socket.MSG_PEEK)


def _protocol(transports: dict[Any, asyncio.Transport]) -> type[H11Protocol]:
    class AgentProtocol(H11Protocol):
        """Remembers its transport, so that a connection can be broken on purpose."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
            super().connection_made(transport)
            transports[self.server, self.client] = transport

        def send_400_response(self, msg: str) -> None:
            """Refuse what is no request, or one whose head is too long."""
            if getattr(sys.exception(), "error_status_hint", None) != TOO_LARGE_STATUS:
                super().send_400_response(msg)
                return
            lines = (b"HTTP/1.1 " + TOO_LARGE, b"Content-Type: text/plain; charset=utf-8")
            self.transport.write(b"\r\n".join((*lines, b"Connection: close", b"", TOO_LARGE)))
            self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            transports.pop((self.server, self.client), None)
            super().connection_lost(exc)

    return AgentProtocol


def _bind_or_move(agent: Agent, place: int) -> socket.socket:
    """A socket on the agent's address, or on the fallback; the agent takes the socket's name."""
    port = 0 if agent.wants_free_port else agent.port
    try:
        sock = _bind(agent.ip, port)
    except OSError:
        sock = _bind(FALLBACK_IP, 0)
        if agent.observer is not None:
            agent.observer.move_ports(FALLBACK_SQL_PORTS_FROM + PORTS_PER_SERVER * place)
    agent.ip, agent.port = sock.getsockname()[:2]
    return sock


def _bind(ip: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    # Only with the protocol named does asyncio set TCP_NODELAY on what it accepts; else an answer
    # waits for the client's delayed acknowledgement, some 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
