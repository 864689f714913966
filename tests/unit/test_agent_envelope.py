"""Tests of answers: data, a named refusal, or not obshell's."""

import json

import pytest

from obscale.agent.envelope import (
    EXCERPT_LENGTH,
    open_envelope,
    parse_timestamp,
    read_contents,
    read_envelope,
)
from obscale.agent.error_codes import RULES
from obscale.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentTroubleError,
    AlreadyMemberError,
    DagNotFoundError,
    DatabaseDownError,
    IdentityMismatchError,
    NotAuthorizedError,
    NotSupportedError,
    StaleKeyError,
    UnderMaintenanceError,
    VersionMismatchError,
)

HTML = {"content-type": "text/html; charset=utf-8"}
PLAIN = {"Content-Type": "text/plain"}
JSON = {"content-type": "application/json; charset=utf-8"}


def answer(status=200, **fields):
    body = {
        "successful": status < 400,
        "timestamp": "2026-05-08T10:00:00.123456789+08:00",
        "duration": 3,
        "status": status,
        "traceId": "29b9c2717c65d7bc",
        **fields,
    }
    return json.dumps(body).encode()


def refused(status, code, message):
    error = {"errCode" if isinstance(code, str) else "code": code, "message": message}
    with pytest.raises((AgentRefusedError, NotSupportedError)) as caught:
        read_envelope(status, JSON, answer(status, error=error), agent="10.0.0.1:2886", step="ask")
    return caught.value


@pytest.mark.parametrize(
    ("data", "expected"),
    [({"a": 1}, {"a": 1}), ("text", "text"), (None, None), ([1], [1])],
    ids=["object", "text", "null", "list"],
)
def test_success_gives_its_data(data, expected):
    """The payload of a success is given as it is."""
    assert read_envelope(200, JSON, answer(data=data)) == expected


def test_missing_data_and_no_content_are_none():
    """A success without `data`, and a 204 without a body, have nothing to give."""
    assert read_envelope(200, JSON, answer()) is None
    assert read_envelope(204, {}, b"") is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"contents": [1, 2]}, [1, 2]),
        ({"contents": None}, []),
        ({"contents": []}, []),
        (None, []),
        ([3], [3]),
        ({"other": []}, None),
        ("text", None),
    ],
    ids=["list", "null", "empty", "no-data", "bare", "no-contents", "text"],
)
def test_lists_come_out_of_their_wrapping(data, expected):
    """A list stands under `contents`; null means empty, and what is no list is not made one."""
    assert read_contents(data) == expected


NEW_CODES = [
    (401, "Security.Authentication.Header.DecryptFailed", StaleKeyError),
    (401, "Security.Authentication.Expired", NotAuthorizedError),
    (401, "Security.Authentication.Timestamp.Invalid", NotAuthorizedError),
    (401, "Security.Authentication.IncorrectOceanbasePassword", NotAuthorizedError),
    (401, "Security.Authentication.IncorrectAgentPassword", NotAuthorizedError),
    (401, "Security.Authentication.WithAgentPassword", NotAuthorizedError),
    (401, "Security.Authentication.WithOceanBasePassword", NotAuthorizedError),
    (401, "Security.Authentication.Header.UriMismatch", NotAuthorizedError),
    (401, "Security.Authentication.SomethingNew", NotAuthorizedError),
    (401, "Common.Unauthorized", NotAuthorizedError),
    (400, "Request.Header.NotFound", NotAuthorizedError),
    (500, "Agent.UnderMaintenance", UnderMaintenanceError),
    (500, "Agent.UnderMaintenanceDag", UnderMaintenanceError),
    (500, "OB.Cluster.UnderMaintenance", UnderMaintenanceError),
    (500, "OB.Cluster.UnderMaintenanceWithDag", UnderMaintenanceError),
    (500, "OB.Tenant.UnderMaintenance", UnderMaintenanceError),
    (400, "Agent.Identify.NotSupportOperation", IdentityMismatchError),
    (500, "Agent.Identify.Unknown", IdentityMismatchError),
    (400, "Agent.OB.Version.Inconsistent", VersionMismatchError),
    (400, "OB.Cluster.ScaleOutHigherVersion", VersionMismatchError),
    (400, "OB.Cluster.ScaleOutLowerVersion", VersionMismatchError),
    (500, "Agent.Binary.NotFound", VersionMismatchError),
    (500, "Agent.AlreadyExists", AlreadyMemberError),
    (500, "Agent.OceanBase.NotHold", DatabaseDownError),
    (500, "Agent.OceanBase.Useless", DatabaseDownError),
    (500, "Agent.OceanBase.DB.NotOcs", DatabaseDownError),
    (500, "OB.Server.Process.NotExist", DatabaseDownError),
    (500, "OB.Server.Process.CheckFailed", DatabaseDownError),
    (400, "MySQL.Error", DatabaseDownError),
    (404, "Task.NotFound", DagNotFoundError),
    (400, "Task.GenericID.Invalid", DagNotFoundError),
    (500, "Common.Unexpected", AgentTroubleError),
    (500, "Agent.RPC.RequestFailed", AgentRefusedError),
    (400, "Task.Dag.Operator.RollbackNotFailedDag", AgentRefusedError),
    (400, "Common.BindJsonFailed", AgentRefusedError),
    (418, "Something.Nobody.Knows", AgentRefusedError),
    (404, "Common.NotFound", NotSupportedError),
]
OLD_CODES = [
    (400, 1000, "Bad request: OB version is not consistent between a and b", VersionMismatchError),
    (400, 1000, "Bad request: Scaling out a higher version agent", VersionMismatchError),
    (400, 1000, "Bad request: agent already exists in cluster", AlreadyMemberError),
    (400, 1000, "Bad request: what", AgentRefusedError),
    (400, 1001, "Illegal argument: zone", AgentRefusedError),
    (500, 1002, "Unexpected error: obcluster is under maintenance", UnderMaintenanceError),
    (500, 1002, "Unexpected error: dial tcp", AgentTroubleError),
    (404, 1003, "Element not found: 404 not found", NotSupportedError),
    (500, 1010, "Known error: x does not support this operation", IdentityMismatchError),
    (500, 1010, "Known error: dag is not failed", AgentRefusedError),
    (404, 2300, "Task not found: record not found", DagNotFoundError),
    (500, 2300, "Task not found: no connection", DatabaseDownError),
    (500, 2301, "Create task failed: agent is under maintenance", UnderMaintenanceError),
    (500, 2301, "Create task failed: disk", AgentRefusedError),
    (401, 10000, "Permission denied: uid", NotAuthorizedError),
    (401, 10008, "Verification failed: %!v(MISSING)", NotAuthorizedError),
    (401, 10008, "Verification failed: auth expired", NotAuthorizedError),
    (401, 10008, "Verification failed: header decrypt failed", StaleKeyError),
    (500, 10009, "There is no obcluster now. ", IdentityMismatchError),
    (401, 1, "decrypt", StaleKeyError),
    (400, 2, "incompatible", VersionMismatchError),
]


@pytest.mark.parametrize(("status", "code", "error"), NEW_CODES, ids=lambda value: str(value)[:60])
def test_error_code_names_the_refusal(status, code, error):
    """Each errCode of 4.3.1.0 and later is exactly the error promised; unknown ones stay plain."""
    assert type(refused(status, code, "text")) is error


@pytest.mark.parametrize(
    ("status", "code", "message", "error"), OLD_CODES, ids=lambda value: str(value)[:40]
)
def test_number_and_text_name_the_refusal_of_old_agents(status, code, message, error):
    """Before 4.3.1.0 a number means many things, so the text decides."""
    assert type(refused(status, code, message)) is error


def test_every_rule_of_the_table_is_reached():
    """No row stands behind one that takes all its cases."""
    used = set()
    for code, message in [
        *((code, "text") for _, code, _ in NEW_CODES),
        *((str(code), message.lower()) for _, code, message, _ in OLD_CODES),
        ("Agent.Version.Inconsistent", ""),
        ("Agent.RPC.RequestError", ""),
        ("Agent.Response.DataEmpty", ""),
        ("1002", "already exists"),
        ("1010", "under maintenance"),
    ]:
        for rule in RULES:
            prefix = rule.code.removesuffix("*")
            fits = code.startswith(prefix) if rule.code.endswith("*") else code == rule.code
            if fits and rule.text in message:
                used.add(rule)
                break

    assert [rule for rule in RULES if rule not in used] == []


def test_failed_lookup_is_not_an_absent_dag():
    """500 with `Task not found:` means that the database cannot be asked now; 404 means gone."""
    down = refused(500, "Agent.OceanBase.NotHold", "Task not found: agent has no connection")
    unclear = refused(500, "Task.NotFound", "Task not found: bad connection")
    gone = refused(404, "Task.NotFound", "Task not found: record not found")

    assert down.transient
    assert unclear.transient
    assert isinstance(gone, DagNotFoundError)


def test_refusal_keeps_all_that_helps():
    """Text, code, status, agent, step and the agent's own trace id are all in the error."""
    error = refused(500, "OB.Cluster.UnderMaintenanceWithDag", "locked by DAG:\n  Backup")

    assert error.message == "locked by DAG: Backup"
    assert (error.code, error.status) == ("OB.Cluster.UnderMaintenanceWithDag", 500)
    assert (error.agent, error.step, error.trace_id) == ("10.0.0.1:2886", "ask", "29b9c2717c65d7bc")
    assert "obscale watch" in error.hint


def test_failure_is_judged_by_error_not_by_data():
    """A refusal that carries data, even under status 200, is a refusal."""
    body = answer(200, data={"contents": None}, error={"errCode": "X.Y", "message": "no"})

    with pytest.raises(AgentRefusedError, match="no"):
        read_envelope(200, JSON, body)


def test_error_status_without_error_object_is_a_refusal():
    """An envelope that only says it failed is refused with its status as code."""
    with pytest.raises(AgentRefusedError, match="no reason given") as caught:
        read_envelope(503, JSON, answer(503), trace_id="ours")

    assert caught.value.code == "503"


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, HTML, b"<html>dashboard</html>"),
        (404, PLAIN, b"404 page not found"),
        (404, {}, b""),
        (405, HTML, b"<html></html>"),
    ],
    ids=["dashboard", "plain-404", "empty-404", "405"],
)
def test_absent_optional_endpoint_is_not_supported(status, headers, body):
    """What an older agent says instead is an absent fact, elsewhere a wrong answer."""
    with pytest.raises(NotSupportedError):
        read_envelope(status, headers, body, optional=True)
    with pytest.raises(AgentProtocolError):
        read_envelope(status, headers, body)


@pytest.mark.parametrize("optional", [True, False], ids=["optional", "required"])
@pytest.mark.parametrize(
    ("status", "headers", "body", "text", "transient"),
    [
        (200, JSON, b"", "HTTP 200 with an empty body", False),
        (200, JSON, answer(data=1)[:-9], "HTTP 200 application/json", False),
        (200, JSON, b'{"ok": true}', "not an answer of obshell", False),
        (200, JSON, b"[" * 100000, "not an answer of obshell", False),
        (502, HTML, b"<html>Bad Gateway</html>", "HTTP 502 text/html", True),
        (503, {}, b"", "HTTP 503 with an empty body", True),
        (301, {"Location": "/api/v1/info"}, b"moved", "a redirect to /api/v1/info", False),
        (400, PLAIN, b"Client sent an HTTP request to an HTTPS server.\n", "HTTP 400", False),
        (403, {}, b"\xff\xfe\x00binary", "HTTP 403 without a content type", False),
    ],
    ids=["empty", "cut", "other-json", "deep", "proxy", "empty-503", "redirect", "tls", "binary"],
)
def test_unreadable_answer_is_named(optional, status, headers, body, text, transient):
    """What is no answer of obshell's is never taken for one, and 5xx may pass."""
    with pytest.raises(AgentProtocolError) as caught:
        read_envelope(status, headers, body, optional=optional, agent="10.0.0.1:2886")

    assert text in str(caught.value)
    assert caught.value.transient is transient
    assert caught.value.hint


def test_plain_request_to_a_tls_port_is_explained():
    """Go's own page for plain HTTP on a TLS port leads to the right spelling of the address."""
    body = b"Client sent an HTTP request to an HTTPS server.\n"

    with pytest.raises(AgentProtocolError, match="write https://"):
        read_envelope(400, PLAIN, body)


def test_excerpt_is_short_printable_and_never_sealed_text():
    """An echo page shows neither control characters nor a sealed header, and little of itself."""
    sealed = (
        "QKe7FTNdGSyW8NrCqU2IRq2oL7pxyXaNl64WCWbpl06K5YPFibjU1GkALIAHNidafsIsVbw4dY3OfP7OiVWyDcvP=="
    )
    page = f"<pre>\x1b[31m\x00X-OCS-Header:\r\n {sealed}</pre>" + "long " * 1000

    with pytest.raises(AgentProtocolError) as caught:
        read_envelope(200, HTML, page.encode())

    message = caught.value.message
    assert "X-OCS-Header: …" in message
    assert sealed[:20] not in message
    assert message.isprintable()
    assert len(message) < EXCERPT_LENGTH + 80


def test_panic_page_is_recognised():
    """The prebuilt page of a dead handler is told apart: it does not say what was done."""
    error = {"errCode": "Common.Unexpected", "message": "Unexpected error: Internal Server Error"}

    panic = open_envelope(500, JSON, answer(500, error=error, traceId=""))
    other = open_envelope(500, JSON, answer(500, error=error | {"message": "disk full"}))

    assert panic.is_panic
    assert not other.is_panic


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-08T10:00:00.123456789+08:00", "2026-05-08T10:00:00.123456+08:00"),
        ("2026-05-08T10:00:00Z", "2026-05-08T10:00:00+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("2026-05-08T10:00:00", None),
        ("soon", None),
        (17, None),
        (None, None),
    ],
)
def test_times_are_read_as_go_writes_them(text, expected):
    """Nine digits and zone offsets are understood; a time without zone is none."""
    moment = parse_timestamp(text)

    assert (moment.isoformat() if moment else None) == expected
