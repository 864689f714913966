"""Tests of a simulated agent's access: whom it lets in, and how it refuses."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from obscale.sandbox import Fault
from obscale.sandbox.auth import seal_answer
from obscale.sandbox.hosts import sha1_hex
from obscale.sandbox.ids import GenericId, parse_generic_id

SPARE = "127.0.1.4:2886"
HOST_INFO = "/api/v1/agent/host-info"
DAGS = "/api/v1/task/dags/ob"
AUTHENTICATION = "Security.Authentication."
OLD_DENIAL = (401, None, 10008)
NO_HEADER = (400, "Request.Header.NotFound", None)
NEGATIVE = [
    "expired-ts",
    "ts-equal-to-now-is-still-valid",
    "wrong-uri-no-query",
    "truncated-ciphertext",
    "other-key",
    "not-base64",
    "ts-as-number",
    "ts-not-a-number",
    "wrong-password",
    "keys-15-bytes-with-body",
    "body-not-multiple-of-16",
]


def error_of(answer):
    """What a refusal says, in brief."""
    error = answer.json()["error"]
    return answer.status_code, error.get("errCode"), error.get("code")


@pytest.fixture
def fixed(build_world, asker, vectors):
    """A world at clock 1700000000 whose first agent has the fixed key of that size."""

    def make(bits, version="4.5.0.0-1", identity_password="Root#Pass1"):
        key = vectors["keys"][str(bits)]["private_key_pkcs1_der_b64"]
        agents = [{"private_key": key}]
        zones = [{"name": "zone1", "agents": agents}]
        cluster = {"zones": zones, "tenants": [], "root_password": identity_password}
        world = build_world(cluster=cluster, epoch=1_700_000_000, obshell_version=version)
        return asker(world)

    return make


def test_every_negative_vector_is_tried(vectors):
    """A vector added to the file must be named here too."""
    assert [vector["name"] for vector in vectors["negative_vectors"]] == NEGATIVE


@pytest.mark.parametrize("name", NEGATIVE)
async def test_a_negative_vector_gets_its_answer(fixed, vectors, name):
    """Status, errCode and numeric code are those of obshell 4.5.0.0."""
    ask = fixed(1024)
    vector = next(each for each in vectors["negative_vectors"] if each["name"] == name)
    expected = vector["expect_v4_5"]

    answer = await ask.raw(
        vector["method"],
        vector["request_uri"],
        headers={vector["http_header"]: vector["value"]},
        content=vector.get("body_on_the_wire", "").encode(),
    )

    if expected["status"] == 200:
        # Let in; the DAG of that id does not exist in this world.
        assert error_of(answer)[:2] == (404, "Task.NotFound")
    else:
        assert error_of(answer) == (expected["status"], expected["errCode"], expected.get("code"))


@pytest.mark.parametrize("number", range(13))
async def test_a_sealed_header_vector_is_understood(fixed, vectors, number):
    """Chunks of any size, Go's field names, raw UTF-8: past the header, then judged by password."""
    vector = vectors["v2_header_vectors"][number]
    ask = fixed(int(vector["key"]))
    body = ""
    if "body_ref" in vector.get("request", {}):
        body = vectors["body_vectors"]["scale_out"]["body_on_the_wire"]
    request = vector["request"]

    answer = await ask.raw(
        request["method"],
        request["request_uri"],
        headers={vector["http_header"]: vector["ciphertext_b64"]},
        content=body.encode(),
    )

    status, code, _ = (200, None, None) if answer.status_code == 200 else error_of(answer)
    expected = {
        "v2-agent-header-1024": (401, f"{AUTHENTICATION}WithOceanBasePassword"),
        "v2-single-empty-auth-512": (401, f"{AUTHENTICATION}IncorrectOceanbasePassword"),
        "v2-utf8-password-1024": (401, f"{AUTHENTICATION}IncorrectOceanbasePassword"),
        "v2-session-2048": (401, f"{AUTHENTICATION}SessionInvalid"),
    }
    if "scale_out" in request["request_uri"]:
        # The body was read: its target does not exist here.
        assert (status, code) == (500, "Agent.RPC.RequestFailed")
    elif "task/dag" in request["request_uri"]:
        assert (status, code) == (404, "Task.NotFound")
    else:
        assert (status, code) == expected[vector["name"]]


def test_every_sealed_header_vector_is_tried(vectors):
    """The range above covers the file."""
    assert len(vectors["v2_header_vectors"]) == 13


@pytest.mark.parametrize("number", [0, 1])
async def test_v1_accepts_the_sdks_header_and_plain_json(fixed, vectors, number):
    """4.2.2.x: `X-OCS-Auth`, one block, body in clear; a wrong password is 401 10008."""
    vector = vectors["v1_vectors"][number]
    ask = fixed(int(vector["key"]), version="4.2.2.0-1")

    def post(value):
        return ask.raw(
            "POST",
            vector["request_uri"],
            headers={"X-OCS-Auth": value},
            content=vector["body_on_the_wire"].encode(),
        )

    good = await post(vector["ciphertext_b64"])
    wrong = await post(await ask.sealed("127.0.1.1:2886", '{"password":"nope","ts":1700000060}'))
    expired = await post(
        await ask.sealed("127.0.1.1:2886", '{"password":"Root#Pass1","ts":1699999999}')
    )
    nothing = await ask.raw("POST", vector["request_uri"])

    assert good.json()["error"]["message"].startswith("get 10.0.0.4:2886 status failed")
    assert [error_of(each) for each in (wrong, expired, nothing)] == [(401, None, 10008)] * 3


class TestIdentityTable:
    """Who accepts what: identity by agent password, both headers."""

    async def test_a_spare_without_password_lets_anyone_in(self, ask):
        """Password and `ts` are ignored, either header will do; only the address must fit."""
        expired = await ask("GET", HOST_INFO, agent=SPARE, password="x", ts="1")
        by_agent = await ask("GET", HOST_INFO, agent=SPARE, header="X-OCS-Agent-Header")
        misdirected = await ask("GET", HOST_INFO, agent=SPARE, uri="/api/v1/other")

        assert (expired.status_code, by_agent.status_code) == (200, 200)
        assert error_of(misdirected) == (401, f"{AUTHENTICATION}Header.UriMismatch", 10008)

    async def test_a_spare_with_password_wants_the_agent_header(self, build_world, asker):
        """Plain or itself encrypted with the agent's key; the root header is refused."""
        ask = asker(build_world(spare={"agent_password": "Agent#1"}))
        agent_header = {"agent": SPARE, "header": "X-OCS-Agent-Header"}

        plain = await ask("GET", HOST_INFO, password="Agent#1", **agent_header)
        sealed = await ask(
            "GET", HOST_INFO, password=await ask.sealed(SPARE, "Agent#1"), **agent_header
        )
        wrong = await ask("GET", HOST_INFO, password="x", **agent_header)
        late = await ask("GET", HOST_INFO, password="Agent#1", ts="1", **agent_header)
        root = await ask("GET", HOST_INFO, agent=SPARE)

        assert (plain.status_code, sealed.status_code) == (200, 200)
        assert error_of(wrong) == (401, f"{AUTHENTICATION}IncorrectAgentPassword", 10008)
        assert error_of(late) == (401, f"{AUTHENTICATION}Expired", 10008)
        assert error_of(root) == (401, f"{AUTHENTICATION}WithAgentPassword", 10008)

    async def test_a_member_without_password_wants_the_root_header(self, ask):
        """The agent header is refused, a missing header is 400 without numeric code."""
        good = await ask("GET", DAGS)
        wrong = await ask("GET", DAGS, password="x")
        empty = await ask("GET", DAGS, password="", ts="1")
        by_agent = await ask("GET", DAGS, header="X-OCS-Agent-Header")
        nothing = await ask.raw("GET", DAGS)

        assert good.status_code == 200
        assert error_of(wrong) == (401, f"{AUTHENTICATION}IncorrectOceanbasePassword", 10008)
        assert error_of(empty) == (401, f"{AUTHENTICATION}IncorrectOceanbasePassword", 10008)
        assert error_of(by_agent) == (401, f"{AUTHENTICATION}WithOceanBasePassword", 10008)
        assert error_of(nothing) == (400, "Request.Header.NotFound", None)

    async def test_a_member_with_password_accepts_both(self, build_world, asker):
        """Root password in the root header, agent password in the agent header."""
        zones = [{"name": "zone1", "agents": [{"agent_password": "Agent#1"}]}]
        ask = asker(build_world(cluster={"zones": zones, "tenants": []}))

        root = await ask("GET", DAGS)
        agent = await ask("GET", DAGS, password="Agent#1", header="X-OCS-Agent-Header")

        assert (root.status_code, agent.status_code) == (200, 200)

    async def test_a_joining_agent_wants_the_clusters_password(self, world, ask):
        """From SCALING OUT on the root password is asked for."""
        await ask.scale_out()
        world.advance(4)

        anyone = await ask("GET", HOST_INFO, agent=SPARE, password="x")
        root = await ask("GET", HOST_INFO, agent=SPARE)

        assert error_of(anyone) == (401, f"{AUTHENTICATION}IncorrectOceanbasePassword", 10008)
        assert root.status_code == 200


async def test_a_changed_root_password_is_learnt_agent_by_agent(world, ask):
    """The old password stays good on each agent until someone shows it the new one."""
    world.play(Fault.change_root_password("new"))

    before = await ask("GET", DAGS)
    new = await ask("GET", DAGS, password="new")
    old = await ask("GET", DAGS)
    elsewhere = await ask("GET", DAGS, agent="127.0.1.2:2886")

    assert (before.status_code, new.status_code, elsewhere.status_code) == (200, 200, 200)
    assert old.status_code == 401


async def test_an_empty_root_password_is_legal_and_never_expires(build_world, asker):
    """`ts` is only looked at beside a password."""
    ask = asker(build_world(cluster={"root_password": ""}))

    answer = await ask("GET", DAGS, password="", ts="1")

    assert answer.status_code == 200


async def test_a_rotated_key_makes_old_headers_unreadable(world, ask):
    """401 DecryptFailed with numeric code 1, no trace id; a new key opens again."""
    stale = await ask.sealed("127.0.1.1:2886", json.dumps({"auth": "sandbox-root"}))
    world.agent("127.0.1.1:2886").rotate_key()

    answer = await ask.raw("GET", DAGS, headers={"X-OCS-Header": stale})
    again = await ask("GET", DAGS)

    assert error_of(answer) == (401, f"{AUTHENTICATION}Header.DecryptFailed", 1)
    assert answer.json()["traceId"] == ""
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert again.status_code == 200


async def test_the_agents_own_clock_judges_expiry(build_world, asker):
    """An agent 90 s ahead refuses what a client signs for 60 s."""
    zones = [{"name": "zone1", "agents": [{"clock_offset_seconds": 90}]}]
    ask = asker(build_world(cluster={"zones": zones, "tenants": []}))

    answer = await ask("GET", DAGS)

    assert error_of(answer)[1] == f"{AUTHENTICATION}Expired"


@pytest.mark.parametrize(
    ("version", "bits", "missing", "wrong"),
    [
        ("4.2.5.0-1", 512, OLD_DENIAL, "Verification failed: %!v(MISSING)"),
        ("4.2.6.0-1", 512, OLD_DENIAL, "Verification failed: oceanbase password is incorrect"),
        ("4.3.0.0-1", 512, OLD_DENIAL, "Verification failed: oceanbase password is incorrect"),
        ("4.3.1.0-1", 512, NO_HEADER, "Unauthorized: OceanBase password is incorrect"),
        ("4.4.1.1-1", 512, NO_HEADER, "Unauthorized: OceanBase password is incorrect"),
        ("4.4.2.0-1", 1024, NO_HEADER, "Unauthorized: OceanBase password is incorrect"),
    ],
)
async def test_errors_and_keys_have_the_shape_of_their_release(
    build_world, asker, version, bits, missing, wrong
):
    """`errCode` from 4.3.1.0, 1024-bit keys from 4.4.2.0, reasons from 4.2.6.0."""
    ask = asker(build_world(obshell_version=version))

    nothing = await ask.raw("GET", "/api/v1/ob/info")
    refused = await ask("GET", "/api/v1/ob/info", password="x")
    secret = (await ask.raw("GET", "/api/v1/secret")).json()["data"]["public_key"]

    assert error_of(nothing) == missing
    assert refused.json()["error"]["message"] == wrong
    assert base64.b64decode(secret)[0] == 0x30
    assert len(base64.b64decode(secret)) == {512: 74, 1024: 140}[bits]


@pytest.mark.parametrize("bits", [512, 1024, 2048])
async def test_a_key_of_any_size_may_be_asked_for(build_world, asker, bits):
    """`rsa_bits` overrules the release."""
    ask = asker(build_world(spare={"rsa_bits": bits}))

    answer = await ask("GET", HOST_INFO, agent=SPARE)

    assert answer.status_code == 200
    assert ask.world.agent(SPARE).key.key_size == bits


async def test_a_session_replaces_the_password(ask):
    """Login answers sealed; the session opens doors until it idles or is logged out."""
    keys = bytes(range(32))
    sealed = await ask("POST", "/api/v1/login", keys=base64.b64encode(keys).decode())
    session = unseal(sealed.json()["data"], keys)

    inside = await ask("GET", DAGS, password="", session_id=session)
    ask.world.advance(1801)
    idle = await ask("GET", DAGS, password="", session_id=session)
    gone = await ask("GET", DAGS, password="", session_id=session)

    assert inside.status_code == 200
    assert error_of(idle) == (401, f"{AUTHENTICATION}SessionExpired", 10008)
    assert error_of(gone) == (401, f"{AUTHENTICATION}SessionInvalid", 10008)


async def test_a_login_answer_matches_its_vector(vectors):
    """`data` is encrypted with the request's own key and IV."""
    vector = vectors["encrypted_response_vectors"][0]

    sealed = seal_answer(
        vector["plaintext"], bytes.fromhex(vector["aes_key_hex"] + vector["aes_iv_hex"])
    )

    assert sealed == vector["data_field"]


async def test_open_routes_need_no_header_but_read_one(ask):
    """Garbage in the header breaks even `/info`."""
    for path in ("/time", "/info", "/git-info", "/secret", "/status"):
        plain = await ask.raw("GET", f"/api/v1{path}")
        garbage = await ask.raw("GET", f"/api/v1{path}", headers={"X-OCS-Header": "%"})

        assert plain.status_code == 200
        assert garbage.status_code == 401
    posted = await ask.raw("POST", "/api/v1/status")
    assert posted.status_code == 200


def test_generic_ids_match_their_vectors(vectors):
    """Ids are written and, where obshell can, read back."""
    for vector in vectors["generic_id_vectors"]:
        made = GenericId(
            vector["numeric_id"],
            vector["ip"],
            vector["port"] or 0,
            obproxy=vector["kind"] == "obproxy",
        )

        assert str(made) == vector["generic_id"]
        assert parse_generic_id(vector["generic_id"]) == made


async def test_invalid_generic_ids_are_refused(ask, vectors):
    """400 for what nobody hands out, 404 for what is not canonical."""
    for vector in vectors["invalid_generic_ids"]:
        answer = await ask("GET", f"/api/v1/task/dag/{vector['id']}")

        status, code = vector["expect"].split()[:2]
        assert error_of(answer)[:2] == (int(status), code), vector["id"]


async def test_an_ipv6_id_with_a_leading_zero_byte_is_not_understood(ask):
    """A bug obshell has kept: it cannot read ids of ::1."""
    answer = await ask("GET", f"/api/v1/task/dag/{GenericId(12, '::1', 2886)}")

    assert error_of(answer)[:2] == (400, "Task.GenericID.Invalid")


def test_hashes_match_their_vectors(vectors):
    """Mount points and hosts are named by SHA-1."""
    for vector in vectors["sha1_vectors"]:
        assert sha1_hex(vector["input"]) == vector["sha1_hex"]
        assert hashlib.sha1(vector["input"].encode()).hexdigest() == vector["sha1_hex"]


def unseal(text, keys):
    """Undo AES-CBC with PKCS#7."""
    decryptor = Cipher(AES(keys[:16]), CBC(keys[16:])).decryptor()
    plain = decryptor.update(base64.b64decode(text)) + decryptor.finalize()
    return plain[: -plain[-1]].decode()
