"""The state a client keeps of its agent, and the way from question to sealed request.

Remembered: public key, identity, choice of header and password, clock. Nothing is ever sent twice,
with one exception: a request refused because what we remembered is outdated is built anew and sent
once more. For any request that is the agent's key; for reads also its part (it wants another
password now) and its clock. Such a refusal comes before the handler, so nothing can have been done
(order of checks: ob/agent/api/common/middleware.go, 4.5.0.0).
"""

import asyncio
import logging
import math
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import SecretStr, ValidationError

from obscale.agent.auth import AuthChoice, Credentials, choose_auth
from obscale.agent.calls import Call, Calls
from obscale.agent.clock import RECENT_SECONDS, ClockReading, compare_clocks
from obscale.agent.envelope import (
    FIRST_REDIRECT_STATUS,
    Envelope,
    judge,
    open_envelope,
)
from obscale.agent.error_codes import EXPIRED, OLD_UNAUTHORIZED
from obscale.agent.keys import KnownKeys
from obscale.agent.models import AgentInfo, AgentSecret
from obscale.agent.passwords import hinted
from obscale.agent.plain_httpx import httpx
from obscale.agent.sealing import (
    new_body_keys,
    parse_public_key,
    seal_body,
    seal_header,
    seal_header_v1,
)
from obscale.agent.transport import Answer, LostAnswerError, Transport
from obscale.clock import monotonic, utc_now
from obscale.errors import (
    SERVER_ERRORS_FROM,
    AgentError,
    AgentProtocolError,
    AgentUnreachableError,
    NotAuthorizedError,
    OutcomeUnknownError,
    PasswordWithheldError,
    SpecError,
    StaleKeyError,
)

TRACE_HEADER: Final = "X-OBSHELL-Trace-ID"
"""Becomes `traceId` of the answer and of the agent's log. Source: ob/agent/lib/trace, 4.5.0.0."""
TRACE_ID_BYTES: Final = 8
"""16 hex digits, as agents make them themselves."""
GOOD_CLOCK_ERROR_SECONDS: Final = 1.0
"""Clock readings at least this sure replace the known one, so that drift is followed."""

AT_ONCE: Final = 2
"""Questions an agent is asked at the same time, each over a connection that stays open. A look
asks a dozen: a dozen connections would cost more than they answer, and one slow answer must not
hold up all others."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seal:
    """What one request was sealed with: key, choice, and how far the agent's clock seemed away."""

    key: RSAPublicKey
    choice: AuthChoice
    offset_seconds: float


@dataclass(frozen=True)
class Learned:
    """What a client has learned of an agent by itself, for the next client of the same agent.

    No password, and none of what was learned with the root password's trust. What has changed
    meanwhile is noticed as within one client: the agent refuses, and is asked anew.
    """

    info: AgentInfo | None
    key: RSAPublicKey | None
    clock: ClockReading | None
    surest: ClockReading | None
    surest_at: float
    """Monotonic seconds."""


class Session:
    """Everything remembered about one agent, and the way to ask it.

    Args:
        exchange: The connection.
        credentials: The passwords.
        questions: Makes those that the session asks on its own account.
        keys: What the agent's key is held against; None trusts any.
        learned: By an earlier client of the agent, whose key was held against the same.
    """

    def __init__(
        self,
        exchange: Transport,
        credentials: Credentials,
        questions: Calls,
        keys: KnownKeys | None = None,
        learned: Learned | None = None,
    ) -> None:
        self._exchange = exchange
        self._agent = str(exchange.address)
        self._credentials = credentials
        self._questions = questions
        self._keys = keys
        learned = learned or Learned(None, None, None, None, 0.0)
        self._info = learned.info
        self._key = learned.key
        self._choice: AuthChoice | None = None
        self._lock = asyncio.Lock()
        self._places = asyncio.Semaphore(AT_ONCE)
        self.clock = learned.clock
        """Latest reading of the agent's clock that is sure enough to seal by; None before the first
        answer."""
        self._surest = learned.surest
        self._surest_at = learned.surest_at
        """Monotonic seconds."""
        self.heard_at = -math.inf
        """Monotonic seconds of its last answer, whatever it said."""
        self.write_expires_at: datetime | None = None
        """When the header of the last write is void, on our clock; None: none has left us yet."""

    async def ask(self, question: Call[T]) -> T:
        """Ask once; see the head of this file for the one exception.

        Raises:
            AgentUnreachableError: No answer to a read, or a write that was certainly not sent
                (transient).
            OutcomeUnknownError: No readable answer to a write.
            AgentProtocolError: An answer that is not obshell's.
            NotSupportedError: The agent has no such endpoint.
            AgentRefusedError: Or a subclass: it said no.
            UntrustedKeyError: Its key changed unannounced; nothing was sealed with it.
            PasswordWithheldError: It wants the root password, which it was not given; nothing was
                sent.
            SpecError: The password cannot be sent to this agent; nothing was sent.
        """
        return (await self.ask_timed(question))[0]

    async def ask_timed(self, question: Call[T]) -> tuple[T, Answer]:
        """As `ask`, with the raw answer for its times."""
        if question.kind == "open":
            return await self._send(question, None)
        seal = await self._seal()
        try:
            return await self._send(question, seal)
        except NotAuthorizedError as refusal:
            renewed = await self._renew(refusal, seal, is_write=question.kind == "write")
            if renewed is None:
                raise
        return await self._send(question, renewed)

    def recent_clock(self) -> ClockReading | None:
        """Give the surest reading of the last two minutes: each answer bears the agent's time."""
        age = monotonic() - self._surest_at
        return self._surest.after(age) if self._surest and age <= RECENT_SECONDS else None

    def learned(self) -> Learned | None:
        """Give what a later client of this agent need not ask; None once it had the root password.

        A later client begins without that, so it learns for itself whom it has before it.
        """
        if self.has_root_password:
            return None
        return Learned(self._info, self._key, self.clock, self._surest, self._surest_at)

    def remember(self, info: AgentInfo) -> None:
        """Take note of a newer `/info`; the choice is made anew if the agent's part has changed."""
        known, self._info = self._info, info
        if known is None or _part(known) != _part(info):
            self._choice = None

    async def read_info(self) -> AgentInfo:
        """Read `/info` and remember it."""
        info = await self.ask(self._questions.open("info", AgentInfo.model_validate))
        self.remember(info)
        return info

    async def read_secret(self) -> AgentSecret:
        """Read `/secret`, without using it."""
        return await self.ask(self._questions.open("secret", AgentSecret.model_validate))

    @property
    def has_root_password(self) -> bool:
        """Whether the agent may have the root password."""
        return self._credentials.root_password is not None

    def trust(self, root_password: SecretStr | None, keys: KnownKeys | None) -> None:
        """Have the agent asked with this root password from now on, or with None without one.

        Its key is fetched again and held against `keys` before anything is sealed with it: what it
        served while nobody vouched for it counts for nothing.
        """
        self._credentials = replace(self._credentials, root_password=root_password)
        self._keys = keys
        self._key = self._choice = None

    async def _read_key(self) -> RSAPublicKey:
        def parse(data: Any) -> RSAPublicKey:
            try:
                return parse_public_key(AgentSecret.model_validate(data).public_key)
            except ValidationError:
                raise
            except ValueError as error:
                raise AgentProtocolError(
                    f"the public key it serves cannot be used: {error}",
                    self._agent,
                    "read secret",
                    "is it obshell? If so, see why it serves such a key, or ask another agent",
                ) from error

        key = await self.ask(self._questions.open("secret", parse))
        if self._keys is not None:
            self._keys.check(self._agent, key)
        return key

    async def _seal(self) -> Seal:
        # One caller at a time, so that ten readings side by side fetch the key once.
        async with self._lock:
            if self._info is None:
                await self.read_info()
            return await self._remembered()

    async def _remembered(self) -> Seal:
        """Give what is remembered, and learn what is not; whoever calls holds the lock."""
        if self._key is None:
            # Whom it is held against is asked after the answer: it may have changed meanwhile.
            self._key = await self._read_key()
        if self._choice is None:
            self._choice = self._choose()
        return Seal(self._key, self._choice, self._offset_seconds)

    async def _renew(
        self, refusal: NotAuthorizedError, used: Seal, *, is_write: bool
    ) -> Seal | None:
        """Find out whether the refusal was due to outdated knowledge; None: it was not."""
        async with self._lock:
            if isinstance(refusal, StaleKeyError) or refusal.code == OLD_UNAUTHORIZED:
                # Somebody else may have fetched the new key while we waited for the lock.
                if self._key is None or self._key == used.key:
                    self._key = await self._read_key()
                if self._key != used.key:
                    _log.info("agent.key_changed agent=%s", self._agent)
                    # A new key means a new or upgraded agent: the rest may be outdated as well.
                    await self.read_info()
                    self._choice = None
                    return await self._remembered()
            if is_write:
                self._info = self._choice = None
                return None
            await self.read_info()
            self._choice = self._choose(refusal.code)
            # The agent's clock may have been set, or its machine or ours have slept.
            moved_seconds = abs(self._offset_seconds - used.offset_seconds)
            may_have_expired = refusal.code in {EXPIRED, OLD_UNAUTHORIZED}
            if self._choice == used.choice and not (
                may_have_expired and moved_seconds > GOOD_CLOCK_ERROR_SECONDS
            ):
                return None
            return await self._remembered()

    @property
    def _offset_seconds(self) -> float:
        return self.clock.offset_seconds if self.clock else 0.0

    def _choose(self, refused_code: str = "") -> AuthChoice:
        if self._info is None:  # pragma: no cover - both callers have just read it
            raise AssertionError("chosen before /info was read")
        try:
            choice = choose_auth(self._info, self._credentials, refused_code)
        except ValueError as error:
            raise AgentProtocolError(
                f"it {error}", self._agent, "choose authentication", "a newer obscale may know it"
            ) from error
        if choice is None:
            raise PasswordWithheldError(
                "the password of root@sys goes only to members the cluster lists; it does not list "
                f"this agent, which says it is {self._info.identity.value}",
                self._agent,
                "choose authentication",
                "see whether it is the host that is meant",
            )
        return choice

    async def _send(self, question: Call[T], seal: Seal | None) -> tuple[T, Answer]:
        # Waited for before the request is sealed: its time limits and its header's begin after.
        async with self._places:
            return await self._send_now(question, seal)

    async def _send_now(self, question: Call[T], seal: Seal | None) -> tuple[T, Answer]:
        trace_id = secrets.token_hex(TRACE_ID_BYTES)
        request, expires_at = self._build(question, seal, trace_id)
        if question.kind == "write":
            self.write_expires_at = expires_at
        try:
            answer = await self._exchange.send(
                request, question.step, trace_id, question.answer_seconds
            )
        except LostAnswerError as lost:
            if question.kind == "write":
                raise self._unknown(str(lost), question, trace_id, expires_at) from lost
            raise AgentUnreachableError(
                str(lost), self._agent, question.step, self._silence_hint(), trace_id
            ) from lost
        self.heard_at = monotonic()
        _log.debug(
            "agent.answered agent=%s method=%s target=%s status=%d elapsed_seconds=%.3f trace=%s",
            self._agent,
            question.method,
            question.target,
            answer.status,
            answer.received_seconds - answer.sent_seconds,
            trace_id,
        )
        try:
            return self._read(question, answer, trace_id), answer
        except AgentError as error:
            # Whoever keeps an error keeps its traceback, and with its frames the whole answer.
            del answer
            told = self._told(error.with_traceback(None), question, seal, trace_id, expires_at)
            raise told from (None if told is error else error)

    def _told(
        self,
        error: AgentError,
        question: Call[Any],
        seal: Seal | None,
        trace_id: str,
        expires_at: datetime,
    ) -> AgentError:
        """Give the error as the caller is to hear it."""
        match error:
            case NotAuthorizedError():
                return hinted(error, seal.choice.password) if seal else error
            case AgentProtocolError():
                refused = FIRST_REDIRECT_STATUS <= error.status < SERVER_ERRORS_FROM
                if question.kind == "write" and not refused:
                    return self._unknown(error.message, question, trace_id, expires_at)
        return error

    def _build(
        self, question: Call[T], seal: Seal | None, trace_id: str
    ) -> tuple[httpx.Request, datetime]:
        """Seal one request; also give the instant, on our clock, from which its header is void."""
        keys = None
        content = question.body.decode() if question.body is not None else None
        if question.body is not None and seal is not None and not seal.choice.is_v1:
            keys = new_body_keys()
            content = seal_body(question.body, keys.key, keys.iv)
        request = self._exchange.prepare(
            question.method, question.target, content, question.answer_seconds
        )
        request.headers[TRACE_HEADER] = trace_id
        clock = self.clock or ClockReading(0.0, 0.0)
        now_seconds = utc_now().timestamp() + clock.offset_seconds
        expires_at_seconds = int(now_seconds) + question.lifetime_seconds
        if seal is not None:
            password = seal.choice.password.get_secret_value()
            try:
                request.headers[seal.choice.header] = (
                    seal_header_v1(
                        password=password, expires_at_seconds=expires_at_seconds, key=seal.key
                    )
                    if seal.choice.is_v1
                    else seal_header(
                        password=password,
                        expires_at_seconds=expires_at_seconds,
                        # Not question.target: what counts is what goes over the wire, byte for
                        # byte.
                        uri=request.url.raw_path.decode("ascii"),
                        keys=keys,
                        key=seal.key,
                    )
                )
            except SpecError as error:
                raise SpecError(f"{self._agent}: {error.message}", error.hint) from error
        # The header is honoured up to the end of that second, and our reading may be off by its
        # error.
        gone = expires_at_seconds + 1 - clock.offset_seconds + clock.error_seconds
        return request, datetime.fromtimestamp(gone, UTC)

    def _read(self, question: Call[T], answer: Answer, trace_id: str) -> T:
        names = {"agent": self._agent, "step": question.step, "trace_id": trace_id}
        if answer.unreadable:
            hint = "check that obshell alone answers there"
            raise AgentProtocolError(answer.unreadable, **names, hint=hint, status=answer.status)
        envelope = open_envelope(
            answer.status,
            answer.headers,
            answer.body,
            agent=self._agent,
            step=question.step,
            trace_id=trace_id,
            optional=question.is_optional,
        )
        self._learn_clock(envelope, answer, trace_id)
        if question.kind == "write" and envelope.is_panic:
            raise AgentProtocolError(
                "internal error of the agent while it carried this out",
                **names,
                status=answer.status,
            )
        data = judge(envelope, agent=self._agent, step=question.step, trace_id=trace_id)
        try:
            return question.parse(data)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "data"
            reason = f"{place}: {first['msg']}"
        except ValueError as error:
            reason = str(error)
        raise AgentProtocolError(
            f"an answer of another shape than obshell's ({reason})",
            self._agent,
            question.step,
            "which version is it? See /api/v1/info",
            envelope.trace_id or trace_id,
            answer.status,
        )

    def _learn_clock(self, envelope: Envelope, answer: Answer, trace_id: str) -> None:
        # Only an answer with our own trace id is this agent's: forwarded ones carry the far agent's
        # id and clock, and the panic page carries the start time and no id
        # (ob/agent/api/common/middleware.go).
        if envelope.timestamp is None or envelope.trace_id != trace_id:
            return
        reading = compare_clocks(answer.sent_seconds, answer.received_seconds, envelope.timestamp)
        recent = self.recent_clock()
        if (
            recent is None
            or reading.error_seconds <= recent.error_seconds
            or reading.contradicts(recent)
        ):
            self._surest, self._surest_at = reading, monotonic()
        known = self.clock
        limit = (
            max(known.error_seconds, GOOD_CLOCK_ERROR_SECONDS) if known else reading.error_seconds
        )
        if reading.error_seconds <= limit:
            self.clock = reading

    def _unknown(
        self, message: str, question: Call[Any], trace_id: str, expires_at: datetime
    ) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f"{message}; whether it was done is not known",
            self._agent,
            question.step,
            "look for its DAG on the cluster before anything is sent again",
            trace_id,
            expires_at,
        )

    def _silence_hint(self) -> str:
        if self._exchange.address.scheme == "https":
            return "ask again; if it never answers, see whether it wants a client certificate"
        return "ask again; if it never answers, see whether it speaks TLS: write https://…"


def _part(info: AgentInfo) -> tuple[object, ...]:
    return info.identity, info.security, info.supported_auth, info.version
