"""Tests of sealing against the published vectors."""

import base64
import json
from pathlib import Path

import pytest

from obscale.agent.envelope import read_envelope
from obscale.agent.sealing import (
    BodyKeys,
    block_bytes,
    parse_public_key,
    seal_body,
    seal_header,
    seal_header_v1,
    seal_sections,
)
from obscale.errors import AgentRefusedError, NotAuthorizedError, SpecError, StaleKeyError

VECTORS = json.loads(
    (Path(__file__).parents[1] / "data" / "obshell-vectors.json").read_text(encoding="utf-8")
)
KEYS = VECTORS["keys"]
SERVED = "public_key_as_served_by_secret__pkcs1_der_b64"


def named(entries):
    return [pytest.param(entry, id=entry.get("name", "")) for entry in entries]


def captures():
    return [
        pytest.param(entry, id=f"{entry['key']}-{entry['method']}")
        for entry in VECTORS["official_sdk_captures"]
    ]


def keys_of(field):
    raw = base64.b64decode(field)
    return BodyKeys(raw[:16], raw[16:])


@pytest.mark.parametrize("bits", sorted(KEYS))
def test_served_key_is_read(bits):
    """A key as `/secret` serves it is read, and its block size is what the protocol says."""
    key = parse_public_key(KEYS[bits]["secret_response_body"]["data"]["public_key"])

    assert key.key_size == int(bits)
    assert block_bytes(key) == KEYS[bits]["max_chunk_bytes"]
    assert key.public_numbers().e == KEYS[bits]["public_exponent"]


@pytest.mark.parametrize("bits", sorted(KEYS))
def test_subject_public_key_info_is_tolerated(bits):
    """A key in the more usual shape is read as the same key."""
    usual = KEYS[bits]["same_public_key_spki_der_b64__NOT_what_obshell_serves"]

    assert parse_public_key(usual) == parse_public_key(KEYS[bits][SERVED])


@pytest.mark.parametrize("vector", named(VECTORS["v2_header_vectors"]))
def test_v2_header_vector_opens_and_what_we_seal_opens_to_the_same(vector, unseal):
    """Their cipher text and ours of the same plain text open alike, in as many blocks."""
    key = parse_public_key(KEYS[vector["key"]][SERVED])

    ours = seal_sections(vector["plaintext"].encode(), key)

    assert unseal.header(vector["ciphertext_b64"], vector["key"]).decode() == vector["plaintext"]
    assert unseal.header(ours, vector["key"]).decode() == vector["plaintext"]
    if vector["chunk_bytes_used"] == block_bytes(key):
        assert len(base64.b64decode(ours)) == len(base64.b64decode(vector["ciphertext_b64"]))


@pytest.mark.parametrize(
    "vector",
    named(
        entry
        for entry in VECTORS["v2_header_vectors"]
        if list(json.loads(entry["plaintext"])) == ["auth", "ts", "uri", "keys"]
    ),
)
def test_our_header_has_the_plain_text_of_the_vector_byte_for_byte(vector, unseal):
    """From the same facts our header is the same text: same fields, same order, same types."""
    fields = json.loads(vector["plaintext"])

    ours = seal_header(
        password=fields["auth"],
        expires_at_seconds=int(fields["ts"]),
        uri=fields["uri"],
        keys=keys_of(fields["keys"]),
        key=parse_public_key(KEYS[vector["key"]][SERVED]),
    )

    assert unseal.header(ours, vector["key"]).decode() == vector["plaintext"]


@pytest.mark.parametrize("capture", captures())
def test_what_the_official_sdk_sent_has_our_fields(capture, unseal):
    """A header of the official SDK opens, and ours from the same facts carries the same values."""
    theirs = json.loads(unseal.header(capture["ciphertext_b64"], capture["key"]))

    ours = seal_header(
        password=theirs["auth"],
        expires_at_seconds=int(theirs["ts"]),
        uri=theirs["uri"],
        keys=keys_of(theirs["keys"]),
        key=parse_public_key(KEYS[capture["key"]][SERVED]),
    )

    assert theirs == json.loads(capture["plaintext"])
    assert json.loads(unseal.header(ours, capture["key"])) == theirs
    assert theirs["uri"] == capture["request_uri"]


@pytest.mark.parametrize(
    "capture",
    [param for param in captures() if "body_on_the_wire" in param.values[0]],
)
def test_our_body_is_that_of_the_official_sdk_byte_for_byte(capture):
    """With the keys of its header, the body of the official SDK is exactly what we would send."""
    keys = keys_of(json.loads(capture["plaintext"])["keys"])

    ours = seal_body(capture["body_plaintext"].encode(), keys.key, keys.iv)

    assert ours == capture["body_on_the_wire"]


@pytest.mark.parametrize("name", sorted(VECTORS["body_vectors"]))
def test_body_vector_is_met_byte_for_byte(name, unseal):
    """Body encryption has no random part once the keys are given: it must be equal."""
    vector = VECTORS["body_vectors"][name]
    keys = BodyKeys(bytes.fromhex(vector["aes_key_hex"]), bytes.fromhex(vector["aes_iv_hex"]))

    ours = seal_body(vector["plaintext"].encode(), keys.key, keys.iv)

    assert ours == vector["body_on_the_wire"]
    assert keys.wire_text == vector["keys_field_b64"]
    assert unseal.body(ours, keys.wire_text).decode() == vector["plaintext"]


@pytest.mark.parametrize(
    "vector", VECTORS["encrypted_response_vectors"], ids=lambda vector: vector["endpoint"]
)
def test_encrypted_answer_is_the_same_encryption(vector):
    """The three encrypted answers use the request's own keys the way bodies do."""
    key, iv = bytes.fromhex(vector["aes_key_hex"]), bytes.fromhex(vector["aes_iv_hex"])

    assert seal_body(vector["plaintext"].encode(), key, iv) == vector["data_field"]


@pytest.mark.parametrize("vector", VECTORS["v1_vectors"], ids=lambda vector: vector["key"])
def test_v1_vector_opens_and_ours_has_its_fields(vector, unseal):
    """The v1 header is one block with the password and a number; ours says the same."""
    theirs = json.loads(unseal.header(vector["ciphertext_b64"], vector["key"]))

    ours = seal_header_v1(
        password=theirs["password"],
        expires_at_seconds=theirs["ts"],
        key=parse_public_key(KEYS[vector["key"]][SERVED]),
    )

    assert theirs == json.loads(vector["plaintext"])
    assert json.loads(unseal.header(ours, vector["key"])) == theirs
    assert len(base64.b64decode(ours)) == KEYS[vector["key"]]["modulus_bytes"]


def test_v1_limit_of_the_512_bit_key_is_the_published_one(unseal):
    """The longest password goes out; one byte more is refused before sending, limit named."""
    key = parse_public_key(KEYS["512"][SERVED])
    limit = VECTORS["v1_limits"]["max_password_bytes_512bit_compact_json"]

    longest = seal_header_v1(password="p" * limit, expires_at_seconds=1700000060, key=key)
    with pytest.raises(SpecError, match=rf"takes {limit + 1} bytes.*at most {limit} ") as caught:
        seal_header_v1(password="p" * (limit + 1), expires_at_seconds=1700000060, key=key)

    assert json.loads(unseal.header(longest, "512"))["password"] == "p" * limit
    assert "ppp" not in str(caught.value)


REFUSED_AS = {
    "Security.Authentication.Expired": NotAuthorizedError,
    "Security.Authentication.Header.UriMismatch": NotAuthorizedError,
    "Security.Authentication.Header.DecryptFailed": StaleKeyError,
    "Security.Authentication.Timestamp.Invalid": NotAuthorizedError,
    "Security.Authentication.IncorrectOceanbasePassword": NotAuthorizedError,
    "Request.Body.Decrypt.AES.KeyAndIv.Invalid": AgentRefusedError,
    "Request.Body.Decrypt.AES.ContentLength.Invalid": AgentRefusedError,
}


@pytest.mark.parametrize(
    "vector",
    named(entry for entry in VECTORS["negative_vectors"] if "errCode" in entry["expect_v4_5"]),
)
def test_refusal_of_a_negative_vector_is_named(vector):
    """What a server answers to a bad header or body is the error its code promises."""
    expected = vector["expect_v4_5"]
    error = {"errCode": expected["errCode"], "message": "no"}
    if "code" in expected:
        error["code"] = expected["code"]
    body = json.dumps({"successful": False, "status": expected["status"], "error": error})

    with pytest.raises(AgentRefusedError) as caught:
        read_envelope(expected["status"], {}, body.encode())

    assert type(caught.value) is REFUSED_AS[expected["errCode"]]
    assert caught.value.code == expected["errCode"]
