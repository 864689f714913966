"""Reads an agent's answer: data, a refusal, or something that is not obshell's.

Envelope and both error shapes: ob/agent/lib/http/response.go, 4.5.0.0 (errCode from 4.3.1.0 on) and
4.2.6.0.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic_core import from_json

from obscale.agent.error_codes import NO_SUCH_ROUTE, NOT_FOUND_STATUS, classify
from obscale.agent.limits import MOST_LEVELS, is_too_deep
from obscale.errors import AgentError, AgentProtocolError, NotSupportedError

EXCERPT_LENGTH: Final = 200
"""Characters of an unreadable answer that an error repeats."""
EXCERPT_SOURCE_BYTES: Final = 65536
"""Bytes of an unreadable answer that are looked at for the excerpt."""
LONGEST_MESSAGE: Final = 4000
"""Characters of a refusal's words that are kept."""
LONGEST_WORD: Final = 128
"""Characters of a code, or of a trace id, that are kept."""
OK_STATUS: Final = 200
NO_CONTENT_STATUS: Final = 204
FIRST_REDIRECT_STATUS: Final = 300
FIRST_ERROR_STATUS: Final = 400
ABSENT_STATUSES: Final = frozenset({OK_STATUS, NOT_FOUND_STATUS, 405, 501})
"""With these, an answer that is not JSON means: no such endpoint.

200 is the dashboard's page: ob/agent/api/agent_route.go, 4.5.0.0.
"""
PANIC_TEXTS: Final = ("Internal Server Error", "cannot build response body")
"""Ends of the messages of an agent whose handler died or forgot to answer.

Source: ob/agent/api/common/middleware.go, 4.5.0.0; the request may have been carried out.
"""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")
_SEALED: Final = re.compile(r"[A-Za-z0-9+/]{80,}={0,2}")
"""Long Base64: a page that echoes the request shows the sealed header, 88 characters or more."""


@dataclass(frozen=True)
class Envelope:
    """One answer of obshell's, taken out of its JSON.

    Args:
        status: HTTP status.
        data: The payload; None where there is none.
        error: obshell's error object, None on success.
        timestamp: The agent's clock when it answered, aware; None where it is missing or
            unreadable.
        trace_id: The trace id the agent used; `""` where it answered before assigning one.
    """

    status: int
    data: Any = None
    error: Mapping[str, Any] | None = None
    timestamp: datetime | None = None
    trace_id: str = ""

    @property
    def is_panic(self) -> bool:
        """Whether the handler died on the way: whether it did its work is not known."""
        message = str((self.error or {}).get("message", ""))
        return self.status >= FIRST_ERROR_STATUS and message.endswith(PANIC_TEXTS)

    @property
    def is_readable_success(self) -> bool:
        """Judged by status and error, never by data: failures carry data as well."""
        return self.error is None and self.status < FIRST_REDIRECT_STATUS


def open_envelope(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    agent: str = "",
    step: str = "",
    trace_id: str = "",
    optional: bool = False,
) -> Envelope:
    """Take the JSON apart without judging it.

    Args:
        status: HTTP status.
        headers: Response headers; only `content-type` and `location` are looked at.
        body: The raw answer.
        agent: `ip:port`, for errors.
        step: What was being done, for errors.
        trace_id: The trace id we sent, for errors.
        optional: Older agents do not have this endpoint.

    Returns:
        The envelope, of a success or of a refusal.

    Raises:
        NotSupportedError: An optional endpoint answered as an agent does that has no such endpoint.
        AgentProtocolError: The answer is not obshell's.
    """
    if status == NO_CONTENT_STATUS:
        return Envelope(status)
    parsed = _parse(body)
    # Most answers have fewer brackets in all than may stand within each other.
    if body.count(b"[") + body.count(b"{") > MOST_LEVELS and is_too_deep(parsed):
        raise AgentProtocolError(
            f"its answer is nested more than {MOST_LEVELS} levels deep",
            agent,
            step,
            _hint(status, body),
            trace_id,
            status,
        )
    if isinstance(parsed, dict) and "successful" in parsed:
        error = parsed.get("error")
        return Envelope(
            status=status,
            data=parsed.get("data"),
            error=error if isinstance(error, dict) else None,
            timestamp=parse_timestamp(parsed.get("timestamp")),
            trace_id=str(parsed.get("traceId") or "")[:LONGEST_WORD],
        )
    kind = _header(headers, "content-type")
    if (
        optional
        and status in ABSENT_STATUSES
        and "json" not in kind
        and (body or status != OK_STATUS)
    ):
        raise NotSupportedError(
            "this version of obshell has no such endpoint", agent, step, "", trace_id
        )
    raise AgentProtocolError(
        _describe(status, kind, _header(headers, "location"), body),
        agent,
        step,
        _hint(status, body),
        trace_id,
        status,
    )


def judge(envelope: Envelope, *, agent: str = "", step: str = "", trace_id: str = "") -> Any:
    """Give the payload, or raise what the agent refused.

    Args:
        envelope: From `open_envelope`.
        agent: `ip:port`, for errors.
        step: What was being done, for errors.
        trace_id: The trace id we sent; the agent's own is preferred.

    Returns:
        `data`, None where the answer has none.

    Raises:
        NotSupportedError: The agent does not know the path.
        AgentRefusedError: Or the subclass `obscale.agent.error_codes` names.
    """
    if envelope.is_readable_success:
        return envelope.data
    error = envelope.error or {}
    message = tidy(str(error.get("message") or "no reason given")[:LONGEST_MESSAGE])
    code = str(error.get("errCode") or error.get("code") or envelope.status)[:LONGEST_WORD]
    trace = envelope.trace_id or trace_id
    if envelope.status == NOT_FOUND_STATUS and code in NO_SUCH_ROUTE:
        refusal: AgentError = NotSupportedError(
            "this version of obshell has no such endpoint", agent, step, "", trace
        )
    else:
        kind, hint = classify(code, envelope.status, message)
        refusal = kind(message, agent, step, hint, trace, code, envelope.status)
    raise refusal


def read_envelope(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    agent: str = "",
    step: str = "",
    trace_id: str = "",
    optional: bool = False,
) -> Any:
    """Give the payload of an answer, or raise: `open_envelope` and `judge` in one.

    Args:
        status: HTTP status.
        headers: Response headers.
        body: The raw answer.
        agent: `ip:port`, for errors.
        step: What was being done, for errors.
        trace_id: The trace id we sent, for errors.
        optional: Older agents do not have this endpoint.

    Returns:
        `data`, None where the answer has none.

    Raises:
        NotSupportedError: The agent has no such endpoint.
        AgentProtocolError: The answer is not obshell's.
        AgentRefusedError: Or a subclass of it: the agent said no.
    """
    envelope = open_envelope(
        status, headers, body, agent=agent, step=step, trace_id=trace_id, optional=optional
    )
    return judge(envelope, agent=agent, step=step, trace_id=trace_id)


def read_contents(data: Any) -> list[Any] | None:
    """Take a list out of its wrapping `{"contents": […]}`; null and no data are empty lists.

    Args:
        data: Payload of a list endpoint.

    Returns:
        The entries; None where the payload is no list.
    """
    if data is None:
        return []
    contents = data.get("contents", ...) if isinstance(data, dict) else data
    if contents is None:
        return []
    return contents if isinstance(contents, list) else None


def parse_timestamp(value: object) -> datetime | None:
    """Read a time as Go writes it; more than microseconds are cut off.

    Args:
        value: E.g. `2026-05-08T10:00:00.123456789+08:00`.

    Returns:
        An aware datetime, or None for anything else.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def tidy(text: str) -> str:
    """Put foreign text on one line, without control characters."""
    return _CONTROL.sub(" ", text).strip()


def _parse(body: bytes) -> Any:
    # pydantic's parser: it refuses what is nested deeper than 200 levels instead of ending the
    # program, and texts that no terminal, file or database could take (half a surrogate pair).
    try:
        return from_json(body)
    except ValueError:
        return None


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _describe(status: int, kind: str, location: str, body: bytes) -> str:
    if not body:
        return f"HTTP {status} with an empty body"
    if location:
        return f"HTTP {status}, a redirect to {_excerpt(location)}"
    text = body[:EXCERPT_SOURCE_BYTES].decode("utf-8", "replace")
    kind = _excerpt(kind) or "without a content type"
    return f"HTTP {status} {kind}, not an answer of obshell: {_excerpt(text)}"


def _excerpt(text: str) -> str:
    return _SEALED.sub("…", tidy(text))[:EXCERPT_LENGTH]


def _hint(status: int, body: bytes) -> str:
    if b"HTTP request to an HTTPS server" in body:
        return "the agent speaks TLS, not plain HTTP: write https://…"
    if status == OK_STATUS and not body:
        return "ask again, or ask another agent"
    return "check that address and port are those of obshell, and that no proxy stands between"
