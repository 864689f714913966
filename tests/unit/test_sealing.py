"""Tests of sealing with any key, password and body."""

import base64
import json
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from obscale.agent.sealing import (
    BodyKeys,
    block_bytes,
    new_body_keys,
    parse_public_key,
    seal_body,
    seal_header,
    seal_header_v1,
    seal_sections,
)
from obscale.errors import SpecError

SIZES = st.sampled_from(["512", "1024", "2048"])
URI = "/api/v1/task/dag/17?show_details=true"


@pytest.fixture(scope="module")
def keys(vectors):
    """The published public keys by size."""
    return {
        bits: parse_public_key(entry["public_key_as_served_by_secret__pkcs1_der_b64"])
        for bits, entry in vectors["keys"].items()
    }


@settings(max_examples=60, deadline=None)
@given(bits=SIZES, plaintext=st.binary(max_size=600))
def test_any_text_survives_sealing(keys, unseal, bits, plaintext):
    """Whatever is cut and sealed is put together again, in the smallest number of blocks."""
    sealed = seal_sections(plaintext, keys[bits])

    blocks = len(base64.b64decode(sealed)) // (int(bits) // 8)
    assert unseal.header(sealed, bits) == plaintext
    assert blocks == max(1, -(-len(plaintext) // block_bytes(keys[bits])))


@settings(max_examples=60, deadline=None)
@given(bits=SIZES, password=st.text(max_size=300), expires=st.integers(0, 2**40))
def test_any_password_survives_the_header(keys, unseal, bits, password, expires):
    """Any Unicode password arrives as it is, beside expiry as text, target and 32 bytes of keys."""
    body_keys = new_body_keys()

    sealed = seal_header(
        password=password, expires_at_seconds=expires, uri=URI, keys=body_keys, key=keys[bits]
    )

    fields = json.loads(unseal.header(sealed, bits))
    assert fields == {
        "auth": password,
        "ts": str(expires),
        "uri": URI,
        "keys": base64.b64encode(body_keys.key + body_keys.iv).decode(),
    }
    assert len(base64.b64decode(fields["keys"])) == 32
    assert "\n" not in sealed


@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=2000))
def test_any_body_survives_encryption(unseal, body):
    """Any body comes back, whole blocks included, with keys that were drawn for it alone."""
    keys = new_body_keys()

    assert unseal.body(seal_body(body, keys.key, keys.iv), keys.wire_text) == body


@settings(max_examples=40, deadline=None)
@given(bits=SIZES, password=st.text(max_size=60))
def test_v1_header_is_one_block_or_refused_beforehand(keys, unseal, bits, password):
    """A v1 password either fits and arrives, or is refused without being named."""
    text = json.dumps({"password": password, "ts": 1}, ensure_ascii=False, separators=(",", ":"))

    if len(text.encode()) > block_bytes(keys[bits]):
        with pytest.raises(SpecError, match="at most"):
            seal_header_v1(password=password, expires_at_seconds=1, key=keys[bits])
    else:
        sealed = seal_header_v1(password=password, expires_at_seconds=1, key=keys[bits])

        assert json.loads(unseal.header(sealed, bits)) == {"password": password, "ts": 1}
        assert len(base64.b64decode(sealed)) == int(bits) // 8


def test_two_seals_of_the_same_text_differ(keys):
    """The padding is random: an onlooker cannot tell that two headers say the same."""
    assert seal_sections(b"same", keys["1024"]) != seal_sections(b"same", keys["1024"])


def test_body_keys_are_fresh_and_never_shown():
    """No two requests share a key, and none appears in a repr."""
    first, second = new_body_keys(), new_body_keys()

    assert first != second
    assert repr(BodyKeys(b"k" * 16, b"i" * 16)) == "BodyKeys()"


@pytest.mark.parametrize("seal", ["v1", "v2"])
def test_half_characters_are_refused_without_showing_the_password(keys, seal):
    """A password that UTF-8 cannot express is refused, and no part of the error carries it."""
    password = "canary\udc80"
    known = {"expires_at_seconds": 1, "key": keys["2048"]}
    ways = {
        "v1": partial(seal_header_v1, **known),
        "v2": partial(seal_header, uri=URI, keys=new_body_keys(), **known),
    }

    with pytest.raises(SpecError, match="not valid Unicode") as caught:
        ways[seal](password=password)

    assert "canary" not in repr(caught.value)
    assert caught.value.__context__ is None


def elliptic():
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


@pytest.mark.parametrize(
    "text",
    ["", "@@@", "aGVsbG8=", "<html>", elliptic()],
    ids=["empty", "not-base64", "not-der", "html", "elliptic-curve"],
)
def test_what_is_no_rsa_key_is_refused(text):
    """Anything `/secret` may serve by mistake is refused as a value, not as a crash."""
    with pytest.raises(ValueError, match="not a"):
        parse_public_key(text)


def test_a_key_without_room_for_text_is_refused():
    """A modulus of 88 bits leaves no byte beside the padding: nothing could ever be sealed."""
    der = bytes.fromhex("3013020c00") + (b"\xff" * 11) + bytes.fromhex("0203010001")

    with pytest.raises(ValueError, match=r"not a public key|88 bits"):
        parse_public_key(base64.b64encode(der).decode())
