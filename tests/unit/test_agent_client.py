"""Tests of the client: it seals, sends once, and keeps what it should."""

import asyncio
import pickle
import ssl
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient, Timeouts, Tls
from obscale.agent.models import AgentEndpoint, Operator, ScaleOutRequest
from obscale.agent.transport import Transport
from obscale.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    DagNotFoundError,
    NotAuthorizedError,
    NotSupportedError,
    ObscaleError,
    OutcomeUnknownError,
    SpecError,
    StaleKeyError,
)

REQUEST = ScaleOutRequest(
    agent_info=AgentEndpoint(ip="10.0.0.4", port=2886),
    zone="zone1",
    ob_configs={"memory_limit": "16G"},
    target_agent_password="Target#Pass1",
)
DAG = {"id": "17", "dag_id": 7, "name": "Cluster scale out", "state": "READY", "nodes": None}
SCALE_OUT = "/api/v1/ob/scale_out"
EMPTY = {"ob/info": {}, "ob/scale_out": DAG, "task/dag/17": DAG}


@pytest.fixture
def agent(make_agent):
    """A cluster agent with a 1024-bit key that answers what most tests ask."""
    return make_agent(data=dict(EMPTY))


# --- what is sent ---


async def test_request_is_sealed_for_exactly_the_target_it_is_sent_to(agent):
    """The sealed `uri` is the request line's target, query included, and expiry is text."""
    async with agent.client() as client:
        await client.read_dag("17")

    seen = agent.seen[-1]
    assert seen.header_name == "x-ocs-header"
    assert seen.header["uri"] == seen.target == "/api/v1/task/dag/17?show_details=true"
    assert seen.header["auth"] == "Root#Pass1"
    assert abs(int(seen.header["ts"]) - time.time() - 60) < 5
    assert len(seen.trace_id) == 16


async def test_opaque_ids_are_escaped_alike_in_target_and_seal(agent):
    """An id with odd characters cannot leave its place in the path."""
    agent.data["task/dag/1%2F..%3Fa%20%C3%A9"] = DAG

    async with agent.client() as client:
        await client.read_dag("1/..?a é", show_details=False)

    assert agent.seen[-1].target == "/api/v1/task/dag/1%2F..%3Fa%20%C3%A9?show_details=false"
    assert agent.seen[-1].header["uri"] == agent.seen[-1].target


async def test_scale_out_travels_encrypted_with_short_life(agent):
    """The body arrives spelled as the API spells it, nothing of it readable on the way."""
    async with agent.client() as client:
        dag = await client.submit_scale_out(REQUEST)

    seen = agent.seen[-1]
    assert dag.id == "17"
    assert seen.body == {
        "agentInfo": {"ip": "10.0.0.4", "port": 2886},
        "zone": "zone1",
        "obConfigs": {"memory_limit": "16G"},
        "targetAgentPassword": "Target#Pass1",
    }
    assert b"zone1" not in seen.raw_body
    assert int(seen.header["ts"]) - time.time() <= 15


async def test_absent_target_password_is_left_out(agent):
    """Agents before 4.2.6.0 know no target password: where none is given, none is sent."""
    async with agent.client() as client:
        await client.submit_scale_out(REQUEST.model_copy(update={"target_agent_password": None}))

    assert "targetAgentPassword" not in agent.seen[-1].body


async def test_every_request_has_keys_of_its_own(agent):
    """No two requests share AES key, IV or trace id."""
    async with agent.client() as client:
        await client.submit_scale_out(REQUEST)
        await client.operate_dag("17", Operator.RETRY)

    sealed = [seen for seen in agent.seen if seen.header]
    assert len({seen.header["keys"] for seen in sealed}) == len(sealed) == 2
    assert len({seen.trace_id for seen in agent.seen}) == len(agent.seen)


async def test_a_request_without_a_body_carries_no_keys(agent):
    """Keys nobody needs are not sent: the header is one block shorter, for both sides."""
    agent.data["task/dag/17"] = DAG

    async with agent.client() as client:
        await client.read_dag("17")

    assert set(agent.seen[-1].header) == {"auth", "ts", "uri"}


@pytest.mark.parametrize("operator", [Operator.RETRY, Operator.ROLLBACK])
async def test_operating_a_dag_sends_the_operator_alone(agent, operator):
    """The body is the operator in obshell's own spelling; 200 without data is enough."""
    agent.data["task/dag/17"] = None

    async with agent.client() as client:
        await client.operate_dag("17", operator)

    assert (agent.seen[-1].method, agent.seen[-1].target) == ("POST", "/api/v1/task/dag/17")
    assert agent.seen[-1].body == {"operator": operator.value}


async def test_open_questions_carry_no_header(agent):
    """Who, what time and which key are asked without any password."""
    agent.data["status"] = {"agent": {"ip": "10.0.0.1", "port": 2886}, "obState": 3}

    async with agent.client() as client:
        await client.read_info()
        await client.read_secret()
        await client.read_time()
        status = await client.read_status()

    assert status.ob_state == 3
    assert {seen.header_name for seen in agent.seen} == {""}


async def test_readings_side_by_side_fetch_key_and_identity_once(agent):
    """Ten questions at once need one `/info` and one `/secret`."""
    async with agent.client() as client:
        await asyncio.gather(*(client.read_ob_info() for _ in range(10)))

    assert agent.count("GET", "/api/v1/info") == 1
    assert agent.count("GET", "/api/v1/secret") == 1
    assert agent.count("GET", "/api/v1/ob/info") == 10


async def test_old_agents_are_asked_the_old_way(make_agent):
    """4.2.2 gets `X-OCS-Auth` with a number as expiry, and a plain body."""
    agent = make_agent(
        bits="512", version="4.2.2.0-1", security=None, supported_auth=None, data=dict(EMPTY)
    )

    async with agent.client() as client:
        await client.submit_scale_out(REQUEST)

    seen = agent.seen[-1]
    assert seen.header_name == "x-ocs-auth"
    assert set(seen.header) == {"password", "ts"}
    assert isinstance(seen.header["ts"], int)
    assert seen.body["zone"] == "zone1"


async def test_password_too_long_for_an_old_key_is_refused_before_sending(make_agent):
    """The limit and the agent are named, the password is not, and nothing was posted."""
    agent = make_agent(bits="512", version="4.2.2.0-1", supported_auth=None, data=dict(EMPTY))

    async with agent.client(root="canary" * 10) as client:
        with pytest.raises(SpecError, match=r"10\.0\.0\.1:2886: .*at most 22") as caught:
            await client.submit_scale_out(REQUEST)

    assert agent.count("POST", SCALE_OUT) == 0
    assert "canary" not in repr(caught.value)


# --- what is remembered, and forgotten ---


def stale_below(bits, code="Security.Authentication.Header.DecryptFailed", status=401):
    """Rotate the key at the first sealed request, then refuse what was sealed for the old one."""

    def script(agent, seen):
        if seen.header_name and agent.bits != bits and not agent.seen[:-1][-1].header_name:
            agent.bits = bits
            return agent.refusal(status, code, "Decrypt http header failed")
        return None

    return script


@pytest.mark.parametrize(
    "code",
    ["Security.Authentication.Header.DecryptFailed", 10008, 1],
    ids=["errCode", "4.2.6", "before-4.2.3"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_rotated_key_is_fetched_and_the_request_sent_once_more(agent, code, method):
    """A refusal for the old key leads to one new sealing, of reads and of writes."""
    agent.script = stale_below("512", code)

    async with agent.client() as client:
        if method == "GET":
            await client.read_ob_info()
        else:
            await client.submit_scale_out(REQUEST)

    path = "/api/v1/ob/info" if method == "GET" else SCALE_OUT
    assert agent.count(method, path) == 2
    assert agent.seen[-1].header["uri"] == path
    assert agent.count("GET", "/api/v1/secret") == 2


@pytest.mark.parametrize(
    ("code", "message", "error"),
    [
        ("Security.Authentication.Header.DecryptFailed", "Decrypt failed", StaleKeyError),
        (10008, "Verification failed: %!v(MISSING)", NotAuthorizedError),
        ("Security.Authentication.IncorrectOceanbasePassword", "wrong", NotAuthorizedError),
        ("Security.Authentication.WithAgentPassword", "use the other", NotAuthorizedError),
        ("Security.Authentication.Expired", "expired", NotAuthorizedError),
    ],
    ids=["undecryptable", "4.2.5", "password", "agent-password", "expired"],
)
async def test_write_refused_with_the_same_key_is_not_sent_again(agent, code, message, error):
    """Without a new key a refused write stays refused: one POST."""
    agent.script = lambda agent, seen: (
        agent.refusal(401, code, message, seen) if seen.method == "POST" else None
    )

    async with agent.client(agent="Agent#Pass1") as client:
        with pytest.raises(error):
            await client.submit_scale_out(REQUEST)

    assert agent.count("POST", SCALE_OUT) == 1


async def test_key_that_changes_all_the_time_is_followed_once(agent):
    """A second refusal in a row is raised: no loop."""

    def script(agent, seen):
        if not seen.header_name:
            return None
        agent.bits = "512" if agent.bits == "1024" else "1024"
        return agent.refusal(401, "Security.Authentication.Header.DecryptFailed", "no")

    agent.script = script

    async with agent.client() as client:
        with pytest.raises(StaleKeyError):
            await client.submit_scale_out(REQUEST)

    assert agent.count("POST", SCALE_OUT) == 2


async def test_wrong_password_is_sent_once(agent):
    """A read with a password the agent does not accept is refused after one try."""
    agent.script = lambda agent, seen: (
        agent.refusal(401, "Security.Authentication.IncorrectOceanbasePassword", "no", seen)
        if seen.header
        else None
    )

    async with agent.client() as client:
        with pytest.raises(NotAuthorizedError, match=r"check the root@sys password"):
            await client.read_ob_info()

    assert agent.count("GET", "/api/v1/ob/info") == 1


async def test_agent_that_starts_to_join_gets_the_root_password(make_agent):
    """A SINGLE agent is told nothing; once it is SCALING OUT it is told the root password."""
    agent = make_agent(identity="SINGLE", data=dict(EMPTY))

    def script(agent, seen):
        if seen.header and agent.identity != "SINGLE" and seen.header["auth"] != "Root#Pass1":
            code = "Security.Authentication.IncorrectOceanbasePassword"
            return agent.refusal(401, code, "no", seen)
        return None

    agent.script = script

    async with agent.client() as client:
        await client.read_ob_info()
        told_before = agent.seen[-1].header["auth"]
        agent.identity = "SCALING OUT"
        await client.read_ob_info()
        await client.read_ob_info()

    assert told_before == ""
    assert agent.seen[-1].header["auth"] == "Root#Pass1"
    assert agent.count("GET", "/api/v1/ob/info") == 4


async def test_agent_that_wants_its_own_password_gets_it_once(agent):
    """WithAgentPassword leads to one new choice; refused again, it is raised."""
    agent.script = lambda agent, seen: (
        agent.refusal(401, "Security.Authentication.WithAgentPassword", "use the other", seen)
        if seen.header
        else None
    )

    async with agent.client(agent="Agent#Pass1") as client:
        with pytest.raises(NotAuthorizedError):
            await client.read_ob_info()

    sealed = [(seen.header_name, seen.header["auth"]) for seen in agent.seen if seen.header]
    assert sealed == [("x-ocs-header", "Root#Pass1"), ("x-ocs-agent-header", "Agent#Pass1")]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_password_that_ends_in_a_line_break_is_hinted_at(agent, method):
    """Sent as it is, and, refused, told by its end alone; of a read as of a write."""
    agent.script = lambda agent, seen: (
        agent.refusal(401, "Security.Authentication.IncorrectOceanbasePassword", "no", seen)
        if seen.header
        else None
    )

    async with agent.client(root="Root#Pass1\n") as client:
        with pytest.raises(NotAuthorizedError) as caught:
            await (client.read_dag("17") if method == "GET" else client.submit_scale_out(REQUEST))

    assert "the password ends in a line break: was it written with echo?" in caught.value.hint
    assert "Root#Pass1" not in str(caught.value)
    sealed = [seen.header["auth"] for seen in agent.seen if seen.header]
    assert set(sealed) == {"Root#Pass1\n"}


async def test_refused_write_lets_the_next_one_choose_anew(agent):
    """After a refused write the agent's part is read again before the next request."""
    agent.security, agent.identity = True, "SINGLE"
    agent.script = lambda agent, seen: (
        agent.refusal(401, "Security.Authentication.WithOceanBasePassword", "root", seen)
        if seen.header_name == "x-ocs-agent-header"
        else None
    )

    async with agent.client(root=None, agent="Agent#Pass1") as client:
        with pytest.raises(NotAuthorizedError):
            await client.submit_scale_out(REQUEST)
        agent.security = False
        await client.submit_scale_out(REQUEST)

    assert agent.seen[-1].header_name == "x-ocs-header"


async def test_unknown_authentication_is_named_before_anything_is_sent(make_agent):
    """An agent that offers other methods only is not asked with a guess."""
    agent = make_agent(supported_auth=["v9"], data=dict(EMPTY))

    async with agent.client() as client:
        with pytest.raises(AgentProtocolError, match="v9 only"):
            await client.read_ob_info()

    assert agent.count("GET", "/api/v1/ob/info") == 0


# --- clocks ---


@pytest.mark.parametrize("offset_seconds", [-120, 120], ids=["behind", "ahead"])
async def test_expiry_is_built_on_the_agents_clock(agent, offset_seconds):
    """An agent two minutes off still finds a header that expires in about a minute."""
    agent.clock = lambda: datetime.now(UTC) + timedelta(seconds=offset_seconds)

    async with agent.client() as client:
        await client.read_ob_info()
        reading = await client.read_clock()

    assert 55 < int(agent.seen[3 - 1].header["ts"]) - agent.clock().timestamp() <= 61
    assert abs(reading.offset_seconds - offset_seconds) <= reading.error_seconds + 0.001


@pytest.mark.parametrize(("good_enough_seconds", "asked"), [(60, 1), (-1, 5)], ids=["good", "bad"])
async def test_a_clock_is_asked_until_an_answer_is_quick_enough(
    agent, monkeypatch, good_enough_seconds, asked
):
    """One good answer settles it; of bad ones there are five, unless two took as long."""
    monkeypatch.setattr("obscale.agent.clock.ALIKE_TIMES", 0)
    for limit in ("GOOD_ENOUGH_SECONDS", "NEAR_SECONDS"):
        monkeypatch.setattr(f"obscale.agent.clock.{limit}", good_enough_seconds)

    async with agent.client() as client:
        await client.read_clock()

    assert agent.count("GET", "/api/v1/time") == asked


async def test_an_answer_to_anything_tells_the_clock(agent, monkeypatch):
    """Each bears the agent's time: a clock that is known surely enough is not asked for."""
    monkeypatch.setattr("obscale.agent.clock.GOOD_ENOUGH_SECONDS", 60)

    async with agent.client() as client:
        await client.read_ob_info()
        reading = await client.read_clock()

    assert agent.count("GET", "/api/v1/time") == 0
    assert abs(reading.offset_seconds) <= reading.error_seconds + 0.001


async def test_a_clock_that_was_set_is_known_by_its_newest_answer(agent, monkeypatch):
    """However sure the older reading was."""
    monkeypatch.setattr("obscale.agent.clock.GOOD_ENOUGH_SECONDS", 60)

    async with agent.client() as client:
        await client.read_ob_info()
        agent.clock = lambda: datetime.now(UTC) + timedelta(seconds=300)
        await client.read_ob_info()
        reading = await client.read_clock()

    assert abs(reading.offset_seconds - 300) <= reading.error_seconds + 0.001


async def test_an_old_reading_is_worth_nothing(agent, monkeypatch):
    """After two minutes the clock is asked for again."""
    monkeypatch.setattr("obscale.agent.session.RECENT_SECONDS", -1)

    async with agent.client() as client:
        await client.read_ob_info()
        await client.read_clock()

    assert agent.count("GET", "/api/v1/time") >= 1


async def test_an_agent_is_asked_two_questions_at_a_time(agent, monkeypatch):
    """A dozen asked side by side share two connections, and all are answered."""
    inside, most = 0, 0
    send = Transport.send

    async def counted(self, *request):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        try:
            return await send(self, *request)
        finally:
            inside -= 1

    monkeypatch.setattr(Transport, "send", counted)

    async with agent.client() as client:
        await asyncio.gather(*(client.read_ob_info() for _ in range(12)))

    assert agent.count("GET", "/api/v1/ob/info") == 12
    assert most == 2


def strict_about_time(agent, seen):
    """Refuse what has expired on the agent's clock, as agents do."""
    if seen.header and int(seen.header["ts"]) < agent.clock().timestamp():
        return agent.refusal(401, "Security.Authentication.Expired", "expired", seen)
    return None


async def test_agent_whose_clock_was_set_is_read_after_one_refusal(agent):
    """A header built on the old time is refused; the clock is read anew and one more sent."""
    agent.script = strict_about_time

    async with agent.client() as client:
        await client.read_ob_info()
        agent.clock = lambda: datetime.now(UTC) + timedelta(hours=1)
        await client.read_ob_info()
        await client.read_ob_info()

    assert agent.count("GET", "/api/v1/ob/info") == 4


async def test_agent_whose_clock_was_set_takes_a_write_at_once(agent):
    """A write reads the clock first, so it is not refused, and is posted once."""
    agent.script = strict_about_time

    async with agent.client() as client:
        await client.read_ob_info()
        agent.clock = lambda: datetime.now(UTC) + timedelta(hours=1)
        await client.submit_scale_out(REQUEST)

    assert agent.count("POST", SCALE_OUT) == 1


async def test_refusal_as_expired_with_a_known_clock_is_final(agent):
    """Where the clock has not moved another header would say the same: one request, one error."""
    agent.script = lambda agent, seen: (
        agent.refusal(401, "Security.Authentication.Expired", "expired", seen)
        if seen.header
        else None
    )

    async with agent.client() as client:
        with pytest.raises(NotAuthorizedError, match="compare the clocks"):
            await client.read_ob_info()

    assert agent.count("GET", "/api/v1/ob/info") == 1


async def test_clock_is_learnt_from_this_agents_own_answers_only(agent):
    """A forwarded answer shows another agent's clock, and another trace id: it is not believed."""

    def script(agent, seen):
        if seen.path != "/api/v1/ob/info":
            return None
        body = {"successful": True, "timestamp": "2001-01-01T00:00:00Z", "data": {}}
        return httpx.Response(200, json=body | {"traceId": "0123456789abcdef"})

    agent.script = script

    async with agent.client() as client:
        await client.read_ob_info()
        await client.read_dag("17")

    assert abs(int(agent.seen[-1].header["ts"]) - time.time() - 60) < 5


# --- no answer, no readable answer ---


def broken(error):
    def script(_agent, seen):
        if seen.method == "POST":
            raise error("cut")

    return script


@pytest.mark.parametrize(
    "error",
    [httpx.ReadTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError],
    ids=lambda error: error.__name__,
)
async def test_lost_answer_to_a_write_is_an_unknown_outcome(agent, error):
    """One POST; the error says until when it may still arrive, on our own clock."""
    agent.clock = lambda: datetime.now(UTC) + timedelta(seconds=120)
    agent.script = broken(error)

    async with agent.client() as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.submit_scale_out(REQUEST)

    expires_at = caught.value.header_expires_at
    sealed = int(agent.seen[-1].header["ts"])
    assert agent.count("POST", SCALE_OUT) == 1
    assert expires_at.tzinfo is UTC
    assert sealed - 120 <= expires_at.timestamp() <= sealed - 120 + 2.5
    assert caught.value.transient is False
    assert caught.value.trace_id == agent.seen[-1].trace_id
    assert pickle.loads(pickle.dumps(caught.value)).header_expires_at == expires_at


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout],
    ids=lambda error: error.__name__,
)
async def test_write_that_was_never_sent_is_only_unreachable(agent, error):
    """Without a connection nothing was done, and that is what the error says."""
    agent.script = broken(error)

    async with agent.client() as client:
        with pytest.raises(AgentUnreachableError, match="no connection"):
            await client.submit_scale_out(REQUEST)


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.ReadError, httpx.ConnectError])
async def test_lost_answer_to_a_read_may_be_asked_again(agent, error):
    """A read without answer is unreachable and transient, and was sent once."""

    def script(_agent, seen):
        if seen.path == "/api/v1/ob/info":
            raise error("cut")

    agent.script = script

    async with agent.client() as client:
        with pytest.raises(AgentUnreachableError) as caught:
            await client.read_ob_info()

    assert caught.value.transient
    assert caught.value.agent == "10.0.0.1:2886"
    assert agent.count("GET", "/api/v1/ob/info") == 1


async def test_agent_that_wants_a_certificate_after_the_handshake_says_so():
    """With TLS 1.3 the refusal meets the first read; it is told apart from a broken connection."""

    def refuse(_request):
        alert = ssl.SSLError(1, "alert")
        alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        raise httpx.ReadError("") from alert

    async with AgentClient(
        AgentAddress("10.0.0.1", scheme="https"), transport=httpx.MockTransport(refuse)
    ) as client:
        with pytest.raises(AgentProtocolError, match="TLSV13_ALERT_CERTIFICATE_REQUIRED") as caught:
            await client.read_info()

    assert "client certificate" in caught.value.hint


async def test_answer_that_trickles_is_cut_off_by_the_whole_limit():
    """An agent that sends a byte now and then cannot hold a request beyond its limit."""

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):
            while True:
                yield b" "
                await asyncio.sleep(0.01)

    transport = httpx.MockTransport(lambda _request: httpx.Response(200, stream=Endless()))
    limits = Timeouts(connect_seconds=0.05, read_seconds=0.1)

    async with AgentClient(
        AgentAddress("10.0.0.1"), timeouts=limits, transport=transport
    ) as client:
        with pytest.raises(AgentUnreachableError, match=r"no whole answer within 0\.15 seconds"):
            await client.read_info()


PANIC = {"errCode": "Common.Unexpected", "message": "Unexpected error: Internal Server Error"}


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (httpx.Response(200, html="<html>"), OutcomeUnknownError),
        (httpx.Response(200), OutcomeUnknownError),
        (httpx.Response(502, html="<html>"), OutcomeUnknownError),
        (httpx.Response(200, text='{"successful": true, "da'), OutcomeUnknownError),
        (httpx.Response(200, json={"successful": True, "data": None}), OutcomeUnknownError),
        (httpx.Response(500, json={"successful": False, "error": PANIC}), OutcomeUnknownError),
        (httpx.Response(307, headers={"location": "/x"}), AgentProtocolError),
        (httpx.Response(404, text="404 page not found"), AgentProtocolError),
        (
            httpx.Response(500, json={"successful": False, "error": {"errCode": "X.Y"}}),
            AgentRefusedError,
        ),
    ],
    ids=["html", "empty", "proxy", "cut", "no-dag", "panic", "redirect", "404", "refused"],
)
async def test_unreadable_answer_to_a_write_is_an_unknown_outcome(agent, response, error):
    """Where a DAG may have been made it is looked for; where it cannot have been, we say so."""
    agent.script = lambda _agent, seen: response if seen.method == "POST" else None

    async with agent.client() as client:
        with pytest.raises(error) as caught:
            await client.submit_scale_out(REQUEST)

    assert type(caught.value) is error
    assert agent.count("POST", SCALE_OUT) == 1


async def test_answer_of_another_shape_names_the_place_only(agent):
    """A field that is not what it should be is named, its value is not shown."""
    agent.data["task/dag/17"] = {"id": "17", "dag_id": "canary"}

    async with agent.client() as client:
        with pytest.raises(AgentProtocolError, match="dag_id: Input should be") as caught:
            await client.read_dag("17")

    assert "canary" not in str(caught.value)


async def test_unreadable_key_is_named(agent):
    """A `/secret` without an RSA key ends before anything is sealed."""
    agent.data["secret"] = {"public_key": "aGVsbG8="}

    async with agent.client() as client:
        with pytest.raises(AgentProtocolError, match="not a public key"):
            await client.read_ob_info()


@pytest.mark.parametrize("data", ["yesterday", "2026-05-08T10:00:00", 17, None])
async def test_unreadable_time_is_named(agent, data):
    """A `/time` without zone, or that is no time, is no clock."""
    agent.data["time"] = data

    async with agent.client() as client:
        with pytest.raises(AgentProtocolError, match="a time with its zone"):
            await client.read_clock()


# --- what comes back ---


async def test_lists_are_read_out_of_their_wrapping(agent):
    """DAG lists and parameters come as tuples; null is empty; what is no list is refused."""
    agent.data |= {
        "task/dag/unfinish": {"contents": [DAG]},
        "task/dag/ob/unfinish": {"contents": None},
        "task/dag/agent/unfinish": {"contents": "none"},
        "obcluster/parameters": {"contents": [{"name": "memory_limit", "ob_parameters": None}]},
    }

    async with agent.client() as client:
        unfinished = await client.read_unfinished_dags()
        of_cluster = await client.read_unfinished_cluster_dags(show_details=False)
        parameters = await client.read_parameters()
        with pytest.raises(AgentProtocolError, match="a list was expected"):
            await client.read_unfinished_agent_dags()

    assert [dag.id for dag in unfinished] == ["17"]
    assert of_cluster == ()
    assert parameters[0].ob_parameters == ()


async def test_no_last_dag_is_none(agent):
    """404 for the last maintenance DAG means there never was one, whatever its text says."""
    agent.data["task/dag/maintain/agent"] = DAG
    agent.script = lambda agent, seen: (
        agent.refusal(404, "Task.NotFound", "Task not found: Cluster is not under maintenance")
        if seen.path.endswith(("maintain/ob", "dag/99"))
        else None
    )

    async with agent.client() as client:
        assert await client.read_last_cluster_dag() is None
        assert (await client.read_last_agent_dag()).id == "17"
        with pytest.raises(DagNotFoundError):
            await client.read_dag("99")


async def test_absent_limit_is_an_empty_one(agent):
    """A null unit limit is no limit known, not an error."""
    agent.data["obcluster/unit-config-limit"] = None

    async with agent.client() as client:
        limit = await client.read_unit_config_limit()

    assert limit.min_memory is None


@pytest.mark.parametrize(
    "method",
    ["read_host_info", "read_cluster_info", "read_topology", "read_parameters"],
)
async def test_dashboard_page_on_an_optional_endpoint_is_not_supported(agent, method):
    """An older agent answers these with its web page: an absent fact."""
    agent.script = lambda _agent, seen: (
        httpx.Response(200, html="<html>") if seen.header_name else None
    )

    async with agent.client() as client:
        with pytest.raises(NotSupportedError):
            await getattr(client, method)()


async def test_dashboard_page_elsewhere_is_a_wrong_answer(agent):
    """The same page for a question every agent knows means a wrong port or path."""
    agent.script = lambda _agent, _seen: httpx.Response(200, html="<html>")

    async with agent.client() as client:
        with pytest.raises(AgentProtocolError, match="not an answer of obshell"):
            await client.read_info()


# --- silence about secrets ---


async def test_no_secret_leaves_the_client(agent, everything_logged):
    """Neither logs of any level nor reprs nor errors show a password, a header or a body."""
    sealed = []

    def script(agent, seen):
        if seen.header:
            sealed.extend(filter(None, (seen.raw_header, seen.raw_body.decode())))
            page = f"<pre>{seen.raw_header} {seen.raw_body.decode()} </pre>"
            return {
                SCALE_OUT: agent.refusal(401, "Security.Authentication.Expired", "no", seen),
                "/api/v1/ob/info": httpx.Response(502, html="<html>"),
                "/api/v1/task/dag/17": httpx.ReadTimeout,
            }.get(seen.path) or httpx.Response(200, html=page)
        return None

    agent.script = lambda agent, seen: _raised(script(agent, seen))
    request = REQUEST.model_copy(update={"target_agent_password": "canary-target"})
    shown = [repr(request), str(request)]

    async with agent.client(root="canary-root", agent="canary-agent") as client:
        shown += [repr(client), repr(client.sibling(AgentAddress("10.0.0.2")))]
        for ask in (
            client.submit_scale_out(request),
            client.operate_dag("17", Operator.RETRY),
            client.read_ob_info(),
            client.read_dag("17"),
            client.read_dag("18"),
        ):
            with pytest.raises(ObscaleError) as caught:
                await ask
            error: BaseException | None = caught.value
            while error is not None:
                shown += [repr(error), str(error)]
                error = error.__cause__

    shown += [f"{record.getMessage()} {record.__dict__}" for record in everything_logged.records]
    everything = "\n".join(shown)
    assert "agent.answered" in everything
    assert "canary" not in everything
    assert len(sealed) == 7
    assert not any(text in everything for text in sealed)


def _raised(answer):
    if isinstance(answer, type):
        raise answer("cut")
    return answer


# --- settings ---


def test_submit_waits_longer_than_the_agent_may_need():
    """The agent may look for the target for three minutes inside the request."""
    assert Timeouts().submit_seconds > 200


def test_missing_tls_files_are_bad_input():
    """A CA file that is not there is named, not discovered in the middle of a run."""
    with pytest.raises(SpecError, match=r"nowhere\.pem"):
        AgentClient(AgentAddress("10.0.0.1", scheme="https"), tls=Tls(ca_file="/nowhere.pem"))


async def test_borrowed_transport_stays_open(agent):
    """Who brings a transport closes it: siblings share it."""
    closed = []

    class Transport(httpx.MockTransport):
        async def aclose(self):
            closed.append(True)

    async with AgentClient(AgentAddress("10.0.0.1"), transport=Transport(agent.handle)) as client:
        async with client.sibling(AgentAddress("10.0.0.2")) as sibling:
            await sibling.read_info()
        await client.read_info()

    assert closed == []
