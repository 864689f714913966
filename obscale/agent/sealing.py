"""Seals header and body of a request so that only the agent can open them.

Pure functions, no I/O. v2: ob/agent/secure/header.go, body.go and ob/agent/lib/crypto/{rsa,aes}.go,
4.5.0.0; v1 (4.2.2.x, server not public): obshell/auth/password.py of the official SDK 0.0.9.
"""

import base64
import binascii
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import load_der_public_key

from obscale.errors import SpecError

PKCS1_PADDING_BYTES: Final = 11
"""Smallest padding of one RSAES-PKCS1-v1_5 block. Source: RFC 8017, 7.2.1."""
BITS_PER_BYTE: Final = 8
SMALLEST_KEY_BITS: Final = 512
"""What agents up to 4.4.1.1 serve. Source: oceanbase/obshell, commit 319e3e6."""
LARGEST_KEY_BITS: Final = 8192
"""Eight times what agents serve today, and the most Go's own TLS takes from a peer (crypto/tls,
maxRSAKeySize): sealing costs a millisecond with it, and minutes with a hundred thousand bits."""
LARGEST_KEY_TEXT: Final = 4096
"""Characters of a served key; Base64 of the largest one, as SubjectPublicKeyInfo, has 1500."""
SMALLEST_EXPONENT: Final = 3
LARGEST_EXPONENT: Final = (1 << 31) - 1
"""The most Go's crypto/rsa works with, so no agent can hold the private key of a larger one."""
AES_KEY_BYTES: Final = 16
AES_IV_BYTES: Final = 16
AES_BLOCK_BITS: Final = 128

_PADDING: Final = PKCS1v15()
_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")
"""Surrogates, as they come from reading bytes that are no UTF-8; UTF-8 cannot express them."""


@dataclass(frozen=True)
class BodyKeys:
    """AES key and IV of one request; never used for a second one."""

    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)

    @property
    def wire_text(self) -> str:
        """The header's field `keys`: Base64 of key, then IV."""
        return base64.b64encode(self.key + self.iv).decode()


def new_body_keys() -> BodyKeys:
    """Draw a fresh key and IV from the system's secure source."""
    return BodyKeys(secrets.token_bytes(AES_KEY_BYTES), secrets.token_bytes(AES_IV_BYTES))


def parse_public_key(text: str) -> RSAPublicKey:
    """Read the key of `GET /secret`.

    Args:
        text: Base64 of a PKCS#1 `RSAPublicKey` in DER; a SubjectPublicKeyInfo is tolerated. Of 512
            to 8192 bits: agents serve 512 up to 4.4.1.1 and 1024 from 4.4.2.0.

    Returns:
        The key.

    Raises:
        ValueError: It is no RSA public key, or none that can serve; says why.
    """
    if len(text) > LARGEST_KEY_TEXT:
        raise ValueError(f"{len(text)} characters long: larger than {LARGEST_KEY_BITS} bits")
    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key in Base64 DER") from error
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not an RSA key")  # noqa: TRY004 - the text is wrong, not the type of it
    if flaw := _flaw(key):
        raise ValueError(flaw)
    return key


def _flaw(key: RSAPublicKey) -> str:
    """Say why nothing can be sealed with a key; empty where something can."""
    numbers = key.public_numbers()
    if not SMALLEST_KEY_BITS <= key.key_size <= LARGEST_KEY_BITS:
        return (
            f"an RSA key of {key.key_size} bits; obshell's have {SMALLEST_KEY_BITS} or 1024, "
            f"at most {LARGEST_KEY_BITS} are taken"
        )
    if numbers.n % 2 == 0:
        return "an RSA key whose modulus is even"
    if numbers.e % 2 == 0 or not SMALLEST_EXPONENT <= numbers.e <= LARGEST_EXPONENT:
        return (
            f"an RSA key whose exponent is no odd number from {SMALLEST_EXPONENT} to "
            f"{LARGEST_EXPONENT}"
        )
    return ""


def block_bytes(key: RSAPublicKey) -> int:
    """How many bytes of plain text fit into one RSA block of this key."""
    return key.key_size // BITS_PER_BYTE - PKCS1_PADDING_BYTES


def seal_sections(plaintext: bytes, key: RSAPublicKey) -> str:
    """Encrypt text of any length, cut into blocks.

    Args:
        plaintext: Cut every `block_bytes(key)` bytes, without regard to characters; empty makes one
            block.
        key: The agent's key.

    Returns:
        Base64 of the concatenated blocks, one line. The padding is random: no two results are
        equal.
    """
    size = block_bytes(key)
    sections = [plaintext[at : at + size] for at in range(0, max(len(plaintext), 1), size)]
    return base64.b64encode(b"".join(key.encrypt(part, _PADDING) for part in sections)).decode()


def seal_header(
    *, password: str, expires_at_seconds: int, uri: str, keys: BodyKeys | None, key: RSAPublicKey
) -> str:
    """Seal the value of `X-OCS-Header` or `X-OCS-Agent-Header` (v2).

    Args:
        password: Password of root@sys, or the agent's own; may be empty.
        expires_at_seconds: Expiry on the agent's clock, Unix seconds; the agent accepts it up to
            and in that second.
        uri: The request target byte for byte as on the request line: path, `?` and query.
        keys: Key and IV of the body; None where there is none. A header without them fits into one
            block of a 1024-bit key as a rule, which halves what both sides spend on it.
        key: The agent's key.

    Returns:
        The header value.

    Raises:
        SpecError: The password is no valid Unicode text.
    """
    fields: dict[str, str | int] = {"auth": password, "ts": str(expires_at_seconds), "uri": uri}
    if keys is not None:
        fields["keys"] = keys.wire_text
    return seal_sections(_compact(fields), key)


def seal_header_v1(*, password: str, expires_at_seconds: int, key: RSAPublicKey) -> str:
    """Seal the value of `X-OCS-Auth` (v1, 4.2.2.x): one block, `ts` a number, body stays plain.

    Args:
        password: Password of root@sys; may be empty.
        expires_at_seconds: Expiry on the agent's clock, Unix seconds.
        key: The agent's key.

    Returns:
        The header value.

    Raises:
        SpecError: The password does not fit into one block of this key, or is no valid Unicode
            text.
    """
    plaintext = _compact({"password": password, "ts": expires_at_seconds})
    if len(plaintext) > block_bytes(key):
        around = len(_compact({"password": "", "ts": expires_at_seconds}))
        raise SpecError(
            f"The root password takes {len(plaintext) - around} bytes, but with v1 authentication "
            f"and a {key.key_size}-bit key at most {block_bytes(key) - around} can be sent",
            "shorten the password, or upgrade obshell to 4.2.3.0 or later",
        )
    return seal_sections(plaintext, key)


def seal_body(plaintext: bytes, aes_key: bytes, iv: bytes) -> str:
    """Encrypt a request body (v2): AES-128-CBC, PKCS#7.

    Args:
        plaintext: The JSON text in UTF-8.
        aes_key: 16 bytes.
        iv: 16 bytes.

    Returns:
        Base64; this text is the request body.
    """
    padder = PKCS7(AES_BLOCK_BITS).padder()
    padded = padder.update(plaintext) + padder.finalize()
    encryptor = Cipher(AES(aes_key), CBC(iv)).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def _compact(fields: dict[str, str | int]) -> bytes:
    text = _JSON.encode(fields)
    # Looked at beforehand: a UnicodeEncodeError would carry the whole text, password included.
    if _HALF_CHARACTER.search(text):
        raise SpecError("The password is not valid Unicode text", "set it again, in UTF-8")
    return text.encode()
