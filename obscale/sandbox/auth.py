"""Opens a sealed request, or refuses it.

Written from the agent's side: ob/agent/api/common/middleware.go, ob/agent/lib/crypto/*.go and
ob/agent/secure/{auth,header,body}.go, 4.5.0.0; the order of the checks is theirs.
"""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from obscale.sandbox.agents import CLUSTER_AGENT, SINGLE, Agent
from obscale.sandbox.errors import DECRYPT_FAILED, Panic, Refusal, wrong_type

ROOT_HEADER: Final = "x-ocs-header"
AGENT_HEADER: Final = "x-ocs-agent-header"
V1_HEADER: Final = "x-ocs-auth"
AES_KEY_BYTES: Final = 16
KEYS_BYTES: Final = 32
AES_BLOCK_BITS: Final = 128
RSA_ERROR: Final = "crypto/rsa: decryption error"
SESSION_IDLE_SECONDS: Final = 1800.0
INTEGER: Final = re.compile(r"[+-]?[0-9]+")
STRING_FIELDS: Final = {
    "auth": "Auth",
    "ts": "Ts",
    "uri": "Uri",
    "keys": "Keys",
    "session_id": "session_id",
    "ssotoken": "ssotoken",
    "sha256": "Sha256",
    "token": "Token",
}
"""Fields of the header by their name in lower case, and as Go names them."""
BASE64: Final = re.compile(r"[A-Za-z0-9+/]")
QUANTUM: Final = 4
"""Base64 characters that belong together."""
SHORTEST_PADDING: Final = 8


@dataclass(frozen=True)
class Opened:
    """A header that could be decrypted.

    Attributes:
        by_agent: It came as `X-OCS-Agent-Header`.
        uri: `None` in v1, which does not sign it.
    """

    auth: str
    ts: str
    uri: str | None
    keys: bytes
    session_id: str
    by_agent: bool


def open_header(agent: Agent, headers: Mapping[str, str]) -> Opened | None:
    """Decrypt the authentication header, on open routes too; `None` when there is none.

    Raises:
        Refusal: It cannot be decrypted or parsed.
    """
    if agent.speaks_v1:
        return _open_v1(agent, headers)
    value = headers.get(AGENT_HEADER, "") if agent.has("agent password") else ""
    by_agent = bool(value)
    value = value or headers.get(ROOT_HEADER, "")
    if not value:
        return None
    fields = _decrypted_fields(agent, value)
    for name, go_name in STRING_FIELDS.items():
        if not isinstance(given := fields.get(name, ""), str):
            raise _undecryptable(wrong_type(given, f"HttpHeader.{go_name}", "string"))
    try:
        keys = _base64(fields.get("keys", ""))
    except ValueError as error:
        raise _undecryptable(str(error)) from error
    return Opened(
        auth=fields.get("auth", ""),
        ts=fields.get("ts", ""),
        uri=fields.get("uri", ""),
        keys=keys,
        session_id=fields.get("session_id", ""),
        by_agent=by_agent,
    )


def open_body(body: bytes, keys: bytes) -> bytes:
    """Decrypt a body sealed with the keys of the header.

    Raises:
        Refusal: Keys or length are impossible.
        Panic: What makes obshell's own code panic.
    """
    if len(keys) < AES_KEY_BYTES:
        raise Refusal(
            500,
            "Request.Body.Decrypt.AES.KeyAndIv.Invalid",
            "Unauthorized: AES key and IV size error",
            traced=False,
        )
    try:
        sealed = _base64(body.decode("latin-1"))
    except ValueError as error:
        raise Panic("illegal base64 data") from error
    if len(keys) != KEYS_BYTES or not sealed:
        raise Panic("IV length must equal block size")
    if len(sealed) % AES_KEY_BYTES:
        raise Refusal(
            500,
            "Request.Body.Decrypt.AES.ContentLength.Invalid",
            "Unauthorized: Decrypted string length is not a multiple of the block size",
            traced=False,
        )
    decryptor = Cipher(AES(keys[:AES_KEY_BYTES]), CBC(keys[AES_KEY_BYTES:])).decryptor()
    padded = decryptor.update(sealed) + decryptor.finalize()
    # obshell trusts the last byte instead of verifying the padding.
    if padded[-1] > len(padded):
        raise Panic("slice bounds out of range")
    return padded[: len(padded) - padded[-1]]


def seal_answer(text: str, keys: bytes) -> str:
    """`data` of the login answer: encrypted with the key and IV of the request."""
    padder = PKCS7(AES_BLOCK_BITS).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    encryptor = Cipher(AES(keys[:AES_KEY_BYTES]), CBC(keys[AES_KEY_BYTES:])).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode("ascii")


def authenticate(agent: Agent, opened: Opened | None, target: str, wall_seconds: float) -> None:
    """Let a request to a protected route pass, or refuse it.

    Args:
        agent: The agent asked.
        opened: Its decrypted header.
        target: The raw request target, as it stood in the request line.
        wall_seconds: The agent's own clock when the request arrived.

    Raises:
        Refusal: Header missing, wrong address, expired, or wrong password.
    """
    if opened is None:
        raise Refusal(
            400,
            "Request.Header.NotFound",
            "X-OCS-Agent-Header or X-OCS-Header not found in http request header",
        )
    if opened.uri is not None and not _same(opened.uri, target):
        raise _denied("Header.UriMismatch", "URI mismatch")
    if opened.session_id and agent.identity == CLUSTER_AGENT and agent.has("sessions"):
        _check_session(agent, opened, wall_seconds)
    elif agent.agent_password or agent.identity != SINGLE:
        _check_password(agent, opened, wall_seconds)


def _check_password(agent: Agent, opened: Opened, wall_seconds: float) -> None:
    if opened.by_agent:
        if agent.agent_password:
            _check_time(opened, wall_seconds)
            if not _is_agent_password(agent, opened.auth):
                raise _denied("IncorrectAgentPassword", "Unauthorized: Agent password is incorrect")
        elif agent.root_password is not None:
            raise _denied(
                "WithOceanBasePassword",
                "Unauthorized: Should use oceanbase_password to verify: "
                "agent password is not initialized",
            )
        return
    if agent.agent_password and (agent.identity == SINGLE or agent.root_password is None):
        raise wants_agent_password()
    _check_time(opened, wall_seconds)
    if agent.root_password is not None and _same(opened.auth, agent.root_password):
        return
    cluster = agent.cluster
    if cluster and agent.has_database and _same(opened.auth, cluster.root_password):
        # The agent logs in to OceanBase with what it was given and keeps what works.
        agent.root_password = opened.auth
        agent.sessions.clear()
        return
    raise _denied("IncorrectOceanbasePassword", "Unauthorized: OceanBase password is incorrect")


def wants_agent_password() -> Refusal:
    """It has a password of its own and was asked without."""
    return _denied(
        "WithAgentPassword",
        "Unauthorized: Should use agent_password to verify: agent password has been set",
    )


def _check_time(opened: Opened, wall_seconds: float) -> None:
    """`ts` is the instant of expiry; obshell looks at it only beside a password."""
    if not opened.auth:
        return
    if not INTEGER.fullmatch(opened.ts):
        raise _denied(
            "Timestamp.Invalid",
            f"Unauthorized: Invalid timestamp: {opened.ts}, err: strconv.ParseInt: "
            f'parsing "{opened.ts}": invalid syntax',
        )
    if int(wall_seconds) > int(opened.ts):
        raise _denied("Expired", "Unauthorized: Authentication expired")


def _check_session(agent: Agent, opened: Opened, wall_seconds: float) -> None:
    if not INTEGER.fullmatch(opened.ts) or int(wall_seconds) > int(opened.ts):
        raise _denied("Expired", "Authentication expired")
    used_at = agent.sessions.get(opened.session_id)
    if used_at is None:
        raise _denied("SessionInvalid", "Session is invalid")
    if wall_seconds - used_at > SESSION_IDLE_SECONDS:
        del agent.sessions[opened.session_id]
        raise _denied("SessionExpired", "Session is expired")
    agent.sessions[opened.session_id] = wall_seconds


def _is_agent_password(agent: Agent, auth: str) -> bool:
    """Plain, or itself encrypted with this agent's key."""
    if _same(auth, agent.agent_password):
        return True
    try:
        return _same(_rsa_decrypt(agent, auth).decode(), agent.agent_password)
    except ValueError:
        return False


def _open_v1(agent: Agent, headers: Mapping[str, str]) -> Opened | None:
    value = headers.get(V1_HEADER, "")
    if not value:
        return None
    fields = _decrypted_fields(agent, value)
    password, ts = fields.get("password", ""), fields.get("ts")
    if not isinstance(password, str) or not isinstance(ts, int):
        raise _undecryptable("not a password with a number as ts")
    return Opened(password, str(ts), uri=None, keys=b"", session_id="", by_agent=False)


def _decrypted_fields(agent: Agent, value: str) -> dict[str, Any]:
    try:
        opened = _rsa_decrypt(agent, value)
    except ValueError as error:
        raise _undecryptable(str(error)) from error
    try:
        fields = json.loads(opened.decode())
    except ValueError as error:
        # Whoever cannot open a chunk is given bytes by chance: only Go says so.
        reason = str(error) if _padded_rightly(agent, value) else RSA_ERROR
        raise _undecryptable(reason) from error
    if not isinstance(fields, dict):
        raise _undecryptable("json: cannot unmarshal value into Go value of type HttpHeader")
    return {str(name).lower(): field for name, field in fields.items() if field is not None}


def _rsa_decrypt(agent: Agent, value: str) -> bytes:
    """Cut the ciphertext by modulus size: senders may use smaller chunks than they could."""
    sealed = _base64(value)
    size = agent.key.key_size // 8
    if len(sealed) % size:
        raise ValueError(RSA_ERROR)
    try:
        return b"".join(agent.key.decrypt(chunk, PKCS1v15()) for chunk in _chunks(sealed, size))
    except ValueError as error:
        raise ValueError(RSA_ERROR) from error


def _chunks(sealed: bytes, size: int) -> list[bytes]:
    return [sealed[start : start + size] for start in range(0, len(sealed), size)]


def _padded_rightly(agent: Agent, value: str) -> bool:
    """Whether each chunk was sealed for this key at all."""
    numbers, size = agent.key.private_numbers(), agent.key.key_size // 8
    modulus = numbers.public_numbers.n
    for chunk in _chunks(_base64(value), size):
        plain = pow(int.from_bytes(chunk), numbers.d, modulus).to_bytes(size)
        if plain[:2] != b"\x00\x02" or plain.find(b"\x00", 2) < 2 + SHORTEST_PADDING:
            return False
    return True


def _base64(text: str) -> bytes:
    """Standard Base64 with padding; line ends are tolerated as in Go, nothing else."""
    text = text.replace("\r", "").replace("\n", "")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        wrong = next((n for n, letter in enumerate(text) if not BASE64.match(letter)), len(text))
        if wrong == len(text):
            wrong -= wrong % QUANTUM
        raise ValueError(f"illegal base64 data at input byte {wrong}") from error


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _undecryptable(reason: str) -> Refusal:
    return Refusal(401, DECRYPT_FAILED, f"Decrypt http header failed: {reason}", traced=False)


def _denied(code: str, message: str) -> Refusal:
    return Refusal(401, f"Security.Authentication.{code}", message)
