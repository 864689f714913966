"""Turns a request to one simulated agent into an answer.

The order is obshell's: decrypt header and body on every route, give a trace id, authenticate on
protected routes, then let the endpoint answer. Source: ob/agent/api/{agent_route.go,
common/middleware.go}, ob/agent/lib/http/response.go, 4.5.0.0.
"""

import json
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote

from starlette.routing import compile_path

from obscale.sandbox.agents import Agent
from obscale.sandbox.auth import Opened, authenticate, open_body, open_header
from obscale.sandbox.clock import go_time
from obscale.sandbox.errors import (
    ABSENT,
    Panic,
    Refusal,
    printed_error,
    task_not_shown,
    unexpected,
)
from obscale.sandbox.faults.cards import FaultCard, Operation
from obscale.sandbox.faults.fault import Fault
from obscale.sandbox.languages import in_chinese, is_chinese
from obscale.sandbox.request import NO_CONTENT, NO_DATA, NO_LIST, Call
from obscale.sandbox.world import RequestRecord

if TYPE_CHECKING:
    from obscale.sandbox.world import World

BASE: Final = "/api/v1"
BASES: Final = (BASE, "/rpc/v1")
STATUS_PATH: Final = "/api/v1/status"
LANGUAGE_HEADER: Final = "accept-language"
TRACE_HEADER: Final = "x-obshell-trace-id"
TRACE_BYTES: Final = 8
JSON_TYPE: Final = "application/json"
EARLY_JSON_TYPE: Final = "application/json; charset=utf-8"
INDEX_PAGE: Final = "<!doctype html><html><head><title>OBShell</title></head><body></body></html>"
GARBAGE: Final = "<html>502</html>"
"""What a proxy in between says instead of the agent."""
SUBMITS: Final[tuple[tuple[str, Operation], ...]] = (
    (r"POST /ob/scale_out", "scale_out"),
    (r"POST /ob/scale_in|DELETE /observer", "scale_in"),
    (r"DELETE /zone/[^/]+", "delete_zone"),
    (r"(POST|PATCH|DELETE) /tenant/[^/]+/replicas", "tenant"),
)
"""Method and path of what asks for an operation that cards may wait for."""
TASKS: Final = "/task/"
NO_BODY: Final = b"{}"
"""What obshell puts where a request has none."""
OK: Final = 200
NO_CONTENT_STATUS: Final = 204
MOVED: Final = 301
REDIRECT: Final = 307
NOT_FOUND: Final = 404

request_log = logging.getLogger("obscale.sandbox.requests")

Handler = Callable[[Call], Any]


@dataclass(frozen=True)
class Request:
    """What came in on the wire; header names in lower case, `target` exactly as sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What goes out, or does not.

    Attributes:
        dropped: The connection breaks before the answer.
        delay_seconds: Real seconds to wait before answering.
    """

    status: int
    content_type: str
    body: bytes
    location: str = ""
    dropped: bool = False
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class _Opened:
    """A request after decryption: its header, None for none, its body and the keys of both."""

    header: Opened | None
    body: bytes
    keys: bytes


class Endpoint:
    """One route.

    Args:
        method: HTTP method.
        path: Path below the base, `{name}` for its parts.
        handler: Answers it.
        since: Feature of `SINCE` it came with; empty for always.
        is_open: No header is needed.
    """

    def __init__(
        self, method: str, path: str, handler: Handler, *, since: str = "", is_open: bool = False
    ) -> None:
        self.method = method
        self.handler = handler
        self.since = since
        self.is_open = is_open
        self.path = BASE + path
        self.pattern = compile_path(BASE + path)[0]

    def serves(self, agent: Agent) -> bool:
        """Whether this agent's release has it."""
        return not self.since or agent.has(self.since)


class Api:
    """Speaks for every agent of a world.

    Args:
        world: The world.
        endpoints: All routes; the first that matches answers.
    """

    def __init__(self, world: "World", endpoints: tuple[Endpoint, ...]) -> None:
        self.world = world
        self._endpoints = endpoints

    def arrived(self, agent: Agent, request: Request) -> float | None:
        """Let the cards act that wait for this arrival, before anything is carried out.

        Returns:
            Real seconds after which this copy of the request is to be carried out, the connection
            broken meanwhile; None where nothing holds it back.
        """
        self.world.sync()
        last_word = _last_word(request)
        operation = _operation(request)
        if operation and agent.cluster is not None:
            agent.cluster.asked.add(operation)
        self.world.hand.notice()
        late = self._draw("late_request", agent, last_word)
        return None if late is None else late.seconds

    def answer(self, agent: Agent, request: Request) -> Reply:
        """Carry a request out and record it."""
        self.world.sync()
        last_word = _last_word(request)
        reply, trace_id = self._answer(agent, request)
        self.world.requests.append(
            RequestRecord(
                self.world.engine.now,
                agent.address,
                request.method,
                request.target,
                reply.status,
                trace_id,
            )
        )
        request_log.info("%s %s %s %s", agent.address, request.method, request.target, reply.status)
        return self._disturbed(agent, reply, last_word)

    def _answer(self, agent: Agent, request: Request) -> tuple[Reply, str]:
        path = unquote(request.target.partition("?")[0])
        elsewhere = self._elsewhere(agent, request.method, path)
        if elsewhere is not None:
            return elsewhere, ""
        trace_id = request.headers.get(TRACE_HEADER, "") or secrets.token_hex(TRACE_BYTES)
        if path == STATUS_PATH:
            trace_id = ""
        panic_type = EARLY_JSON_TYPE
        try:
            opened = self._open(agent, request)
            panic_type = JSON_TYPE
            data = self._run_batch(agent, request, opened, path)
        except Refusal as refusal:
            trace_id = trace_id if refusal.traced else ""
            return self._refused(agent, request, refusal, trace_id), trace_id
        except Panic:
            return self._panicked(agent, panic_type), ""
        return self._succeeded(agent, data, trace_id), trace_id

    def _elsewhere(self, agent: Agent, method: str, path: str) -> Reply | None:
        """What lies outside the API, or beside it by a slash: dashboard, proxy prefix, redirect."""
        if not path.startswith(BASES):
            if any(base in path for base in BASES):
                return Reply(NOT_FOUND, "text/plain", b"404 page not found")
            return Reply(OK, "text/html; charset=utf-8", INDEX_PAGE.encode())
        bare = path.rstrip("/")
        if bare == path or not self._leads_on(agent, method, bare):
            return None
        if method != "GET":
            return Reply(REDIRECT, "", b"", location=bare)
        page = f'<a href="{escape(bare)}">Moved Permanently</a>.\n\n'
        return Reply(MOVED, "text/html; charset=utf-8", page.encode(), location=bare)

    def _leads_on(self, agent: Agent, method: str, bare: str) -> bool:
        """Whether gin sends a path with a slash too many to the one without.

        A zone or observer without a name to be deleted is just not found. Recorded from 4.5.0.0.
        """
        return self._route(agent, method, bare) is not None or any(
            endpoint.method == method != "DELETE"
            and endpoint.serves(agent)
            and endpoint.path.startswith(f"{bare}/{{")
            for endpoint in self._endpoints
        )

    def _open(self, agent: Agent, request: Request) -> _Opened:
        """Decrypt header and body, as is done on every route."""
        header = open_header(agent, request.headers)
        body, keys = request.body or NO_BODY, header.keys if header else b""
        if header is not None and header.uri is not None and request.body:
            body = open_body(body, keys)
        return _Opened(header, body, keys)

    def _run_batch(self, agent: Agent, request: Request, opened: _Opened, path: str) -> Any:
        last_word = _last_word(request)
        if self._draw("panic", agent, last_word):
            raise Panic
        if TASKS in path and self._draw("task_not_found", agent, last_word):
            raise task_not_shown(agent)
        wall = self.world.wall_of(agent, self.world.engine.now)
        route = self._route(agent, request.method, path)
        if route is None:
            raise Refusal(NOT_FOUND, "Common.NotFound", "Element not found: 404 not found")
        endpoint, names = route
        if not endpoint.is_open:
            authenticate(agent, opened.header, request.target, wall)
        query = dict(parse_qsl(request.target.partition("?")[2], keep_blank_values=True))
        return endpoint.handler(
            Call(self.world, agent, names, query, opened.body, opened.keys, wall)
        )

    def _route(
        self, agent: Agent, method: str, path: str
    ) -> tuple[Endpoint, dict[str, str]] | None:
        for endpoint in self._endpoints:
            match = endpoint.pattern.match(path) if endpoint.method == method else None
            if match and endpoint.serves(agent):
                return endpoint, match.groupdict()
        return None

    def _succeeded(self, agent: Agent, data: Any, trace_id: str) -> Reply:
        if data is NO_CONTENT:
            return Reply(NO_CONTENT_STATUS, JSON_TYPE, b"")
        envelope = self._envelope(agent, OK, trace_id)
        if data is NO_LIST:
            envelope["data"] = {"contents": None}
        elif data is not NO_DATA:
            envelope["data"] = {"contents": data} if isinstance(data, list) else data
        return Reply(OK, JSON_TYPE, _encode(envelope))

    def _refused(self, agent: Agent, request: Request, refusal: Refusal, trace_id: str) -> Reply:
        status, error = printed_error(refusal, agent)
        if refusal.traced and is_chinese(request.headers.get(LANGUAGE_HEADER, "")):
            error["message"] = in_chinese(error["message"])
        envelope = self._envelope(agent, status, trace_id)
        if refusal.data is not ABSENT:
            envelope["data"] = refusal.data
        envelope["error"] = error
        return Reply(status, JSON_TYPE if refusal.traced else EARLY_JSON_TYPE, _encode(envelope))

    def _panicked(self, agent: Agent, content_type: str) -> Reply:
        """The page prepared at the agent's start, with the time of that start."""
        status, error = printed_error(unexpected("Internal Server Error"), agent)
        envelope = self._envelope(agent, status, "")
        started_at = self.world.wall_of(agent, agent.started_at_virtual)
        envelope["timestamp"] = go_time(started_at, self.world.config.utc_offset_minutes)
        return Reply(status, content_type, _encode(envelope | {"error": error}))

    def _envelope(self, agent: Agent, status: int, trace_id: str) -> dict[str, Any]:
        # The clock, not the engine: between two ticks time passes on the wall.
        wall = self.world.wall_of(agent, self.world.clock.now())
        return {
            "successful": status < 400,  # noqa: PLR2004 - HTTP's border between success and error
            "timestamp": go_time(wall, self.world.config.utc_offset_minutes),
            "duration": 0,
            "status": status,
            "traceId": trace_id,
        }

    def _disturbed(self, agent: Agent, reply: Reply, last_word: str) -> Reply:
        """Play the cards that sit between the agent and its client."""
        if self._draw("drop_answer", agent, last_word):
            return Reply(reply.status, reply.content_type, b"", dropped=True)
        delay = self._draw("delay_answer", agent, last_word)
        seconds = (delay.seconds or 0.0) if delay else 0.0
        if garbled := self._draw("garble_answer", agent, last_word):
            text = GARBAGE if garbled.text is None else garbled.text
            return Reply(OK, "text/html", text.encode(), delay_seconds=seconds)
        return Reply(
            reply.status, reply.content_type, reply.body, reply.location, delay_seconds=seconds
        )

    def _draw(self, card: FaultCard, agent: Agent, last_word: str) -> Fault | None:
        cluster = agent.cluster.name if agent.cluster else None
        return self.world.hand.draw(card, target=agent, cluster=cluster, to=last_word)


def _operation(request: Request) -> Operation | None:
    path = request.target.partition("?")[0].removeprefix(BASE)
    asked = f"{request.method} {path}"
    return next((what for pattern, what in SUBMITS if re.fullmatch(pattern, asked)), None)


def _last_word(request: Request) -> str:
    return request.target.partition("?")[0].rpartition("/")[2]


def _encode(envelope: dict[str, Any]) -> bytes:
    """JSON as Go writes it; nothing where a number is none: the status has gone out by then."""
    try:
        text = json.dumps(
            _go_numbers(envelope), ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
    except ValueError:
        return b""
    return text.encode()


def _go_numbers(value: Any) -> Any:
    """The same value; Go writes a whole floating point number without a point."""
    if isinstance(value, dict):
        return {name: _go_numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_go_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
