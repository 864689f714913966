"""The control port of a running world: play faults, ask what has happened.

A small HTTP door of its own, on loopback and a port of the operating system's choice. It carries no
secret and no password of the world, but it can break everything in it: a request that names another
host than loopback, as a web page's would after DNS rebinding, is refused, and so is a page of
another origin.
"""

import asyncio
import functools
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import uvicorn
import yaml
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from obscale.sandbox.config import ConfigError
from obscale.sandbox.faults.deck import PlayedFault
from obscale.sandbox.faults.fault import Fault
from obscale.sandbox.plain_yaml import load_plain

if TYPE_CHECKING:
    from obscale.sandbox.world import World

LOOPBACK: Final = "127.0.0.1"
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
LONGEST_BODY: Final = 1 << 20
CREATED: Final = 201
BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
TOO_LARGE: Final = 413


class BadCardError(Exception):
    """What was posted is no card.

    Args:
        field: Which part of it, e.g. `1.stage`.
        wrong: What is wrong with it.
        write: What to write instead.
        status: HTTP status to answer with.
    """

    def __init__(self, field: str, wrong: str, write: str, status: int = BAD_REQUEST) -> None:
        super().__init__(field, wrong, write, status)
        self.status = status
        self.field = field
        self.wrong = wrong
        self.write = write


@asynccontextmanager
async def controlled(world: "World") -> AsyncIterator[str]:
    """Serve the control endpoint of a world until the context ends; gives its URL."""
    config = uvicorn.Config(
        control(world), ws="none", lifespan="off", log_config=None, access_log=False
    )
    config.load()
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        state = ServerState()
        protocol = functools.partial(H11Protocol, config=config, server_state=state, app_state={})
        server = await asyncio.get_running_loop().create_server(protocol, sock=sock)
        try:
            yield f"http://{LOOPBACK}:{sock.getsockname()[1]}"
        finally:
            server.close()
            for connection in list(state.connections):
                connection.shutdown()
            # Connections end in callbacks; let them run before the loop goes away.
            await asyncio.sleep(0)


def control(world: "World") -> ASGIApp:
    """The ASGI application of the control endpoint."""
    desk = _Desk(world)
    return Starlette(
        routes=[
            Route("/faults", desk.faults, methods=["GET"]),
            Route("/faults", desk.play, methods=["POST"]),
            Route("/faults", desk.clear, methods=["DELETE"]),
            Route("/requests", desk.requests, methods=["GET"]),
            Route("/dags", desk.dags, methods=["GET"]),
        ],
        middleware=[Middleware(_LoopbackOnly)],
    )


class _LoopbackOnly:
    """Refuses whoever calls this door by another name than loopback's, and pages of other doors.

    A browser sends a page's origin along, with a plain text even without asking first.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Request(scope).headers if scope["type"] == "http" else Headers()
        host, own = headers.get("host", ""), f"http://{LOOPBACK}:PORT"
        origin = headers.get("origin")
        if _without_port(host) not in LOOPBACK_NAMES:
            answer: ASGIApp = _refusal(FORBIDDEN, "Host", f"{host!r:.60} is not loopback", own)
        elif origin is not None and origin.lower() != f"http://{host}".lower():
            answer = _refusal(FORBIDDEN, "Origin", f"{origin!r:.60} is another page's", own)
        else:
            answer = self._app
        await answer(scope, receive, send)


class _Desk:
    """Answers for one world."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def faults(self, _request: Request) -> JSONResponse:
        """`GET /faults`: every card in play with how often it was drawn, and those never drawn."""
        self._world.sync()
        played = self._world.hand.played
        return JSONResponse(
            {
                "played": [_printed(each) for each in played],
                "drawn": [_printed(each) for each in played if each.drawn],
                "undrawn": [_printed(each) for each in played if not each.drawn],
            }
        )

    async def play(self, request: Request) -> JSONResponse:
        """`POST /faults`: one card or a list of them, spelled as in YAML; all of them or none."""
        try:
            body = await _body(request)
            cards = _cards(body, self._world)
        except BadCardError as bad:
            return _refusal(bad.status, bad.field, bad.wrong, bad.write)
        for card in cards:
            self._world.play(card)
        fresh = self._world.hand.played[-len(cards) :] if cards else []
        return JSONResponse({"played": [_printed(each) for each in fresh]}, CREATED)

    async def clear(self, _request: Request) -> JSONResponse:
        """`DELETE /faults`: takes every card out of play; what has acted stays as it is."""
        return JSONResponse({"removed": self._world.hand.clear()})

    async def requests(self, _request: Request) -> JSONResponse:
        """`GET /requests`: what has reached the agents, oldest first; `at` in virtual seconds."""
        return JSONResponse({"requests": [asdict(record) for record in self._world.requests]})

    async def dags(self, _request: Request) -> JSONResponse:
        """`GET /dags`: how many DAGs of each name, by cluster and in agents' own stores."""
        self._world.sync()
        clusters = [
            {"name": each.name, "id": each.id, "dags": Counter(dag.name for dag in each.dags)}
            for each in self._world.clusters
        ]
        agents = {
            each.address: Counter(dag.name for dag in each.dags)
            for each in self._world.agents
            if each.dags
        }
        return JSONResponse({"clusters": clusters, "agents": agents})


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise BadCardError("body", "too long", f"at most {LONGEST_BODY} bytes", TOO_LARGE)
    return body


def _cards(body: bytes, world: "World") -> list[Fault]:
    """Read the cards of a body, JSON or YAML.

    Raises:
        BadCardError: One of them is none, or names what this world does not have.
    """
    sample = "one card, e.g. {card: fail_stage, stage: 5}, or a list of cards"
    try:
        content = load_plain(body.decode(), is_foreign=True)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = getattr(error, "problem", None) or "it is no UTF-8 text"
        raise BadCardError("body", f"neither JSON nor YAML: {reason}", sample) from error
    given = content if isinstance(content, list) else [content]
    cards = []
    for number, fields in enumerate(given):
        place = f"{number}." if isinstance(content, list) else ""
        if not isinstance(fields, dict):
            raise BadCardError(f"{place}card", f"{fields!r:.60} is no card", sample)
        try:
            card = Fault.model_validate(fields)
            world.hand.check(card)
        except ValidationError as error:
            raise _said(error, place) from error
        except ConfigError as error:
            part = "target" if "agent" in str(error) else "cluster"
            names = [a.address for a in world.agents] if part == "target" else _names(world)
            wrong = str(error).removeprefix("faults: ")
            raise BadCardError(place + part, wrong, f"one of {', '.join(names)}") from error
        cards.append(card)
    return cards


def _names(world: "World") -> list[str]:
    return [cluster.name for cluster in world.clusters]


def _said(error: ValidationError, place: str) -> BadCardError:
    """Turn pydantic's first problem into field, what is wrong and what to write."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return BadCardError(
            place + field, "there is no such field", f"one of {', '.join(Fault.model_fields)}"
        )
    if first["type"] == "misfit":
        ctx = first.get("ctx", {})
        return BadCardError(place + ctx["field"], ctx["wrong"], ctx["write"])
    wrong = (
        "it is missing" if first["type"] == "missing" else f"{first['input']!r:.60} does not fit"
    )
    return BadCardError(place + field, wrong, first["msg"].removeprefix("Input should be "))


def _printed(played: PlayedFault) -> dict[str, Any]:
    """A card as it was spelled, under its agent's address of now, and how often it was drawn."""
    fields = played.fault.model_dump(exclude_unset=True, exclude_none=True)
    if played.target is not None:
        fields["target"] = played.target.address
    return fields | {"drawn": played.drawn}


def _refusal(status: int, field: str, wrong: str, write: str) -> JSONResponse:
    return JSONResponse(
        {
            "error": f"{field}: {wrong}; write {write}",
            "field": field,
            "wrong": wrong,
            "write": write,
        },
        status,
    )


def _without_port(host: str) -> str:
    """`localhost:80` becomes `localhost`, `[::1]:80` becomes `[::1]`."""
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdigit() else host.lower()
