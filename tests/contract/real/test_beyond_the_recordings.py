"""Tests of what a real obshell was seen to do without a file of it, or has in its source."""

import pytest

from tests.contract.real.asking import RawAsker
from tests.contract.real.worlds import Story, address, founded

HEAD = "GET /api/v1/info HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-Long: {long}\r\n\r\n"


@pytest.mark.parametrize(
    ("length", "status"),
    [(200 << 10, "200 OK"), (2 << 20, "431 Request Header Fields Too Large")],
)
async def test_a_head_may_be_as_long_as_gos_and_no_longer(length, status):
    """200 KB are answered, 2 MB refused by name."""
    asker = RawAsker(founded())
    agent = asker.world.agent(address(1))

    answer = await asker.send(agent, HEAD.format(host=address(1), long="x" * length).encode())

    assert answer.status_line == f"HTTP/1.1 {status}"


@pytest.mark.parametrize(
    ("path", "chunked"), [("obcluster/topology/info", True), ("ob/info", False)]
)
async def test_long_answers_come_in_chunks_and_short_ones_with_their_length(path, chunked):
    """Go's server holds back two thousand bytes and some; who writes more names no length."""
    answer = await Story().get(path)

    assert ("transfer-encoding" in answer.headers) is chunked
    assert ("content-length" in answer.headers) is not chunked


@pytest.mark.parametrize(
    ("operator", "code", "message"),
    [
        ("retry", "RetryNotFailedDag", "Failed to set DAG retry: DAG state is not failed"),
        ("ROLLBACK", "RollbackNotFailedDag", "Failed to set DAG rollback: DAG state is not failed"),
        ("PASS", "PassNotFailedDag", "Failed to pass DAG: DAG is not failed"),
        ("CANCEL", "CancelFinishedDag", "Failed to cancel DAG: DAG is finished"),
        ("jump", "NotSupport", "Operator jump is not supported"),
    ],
)
async def test_a_dag_that_has_not_failed_says_so_in_obshells_words(operator, code, message):
    """Source: ob/agent/assets/i18n/error/en.json, ob/agent/service/task/dag.go, 4.5.0.0."""
    story = Story()
    await story.scale_out(4, "zone2")

    answer = await story.send("POST", "/api/v1/task/dag/11", {"operator": operator})

    assert answer.status_line == "HTTP/1.1 400 Bad Request"
    assert answer.body["error"] == {"errCode": f"Task.Dag.Operator.{code}", "message": message}


async def test_an_id_written_otherwise_is_no_id_of_a_dag_that_is_there():
    """DAG 1 is called 11; 101 finds it, and is refused all the same."""
    story = Story()
    await story.scale_out(4, "zone2")

    answer = await story.get("task/dag/101")

    assert answer.status_line == "HTTP/1.1 404 Not Found"
    assert answer.body["error"]["message"] == "Task not found: dag id not match"


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("zh", "租户 'nope' 不存在"),
        ("zh-CN", "租户 'nope' 不存在"),
        ("zh-CN,zh;q=0.9", "Tenant 'nope' does not exist."),
        ("de", "Tenant 'nope' does not exist."),
    ],
)
async def test_messages_come_in_the_one_language_that_is_asked_for(language, message):
    """A list of languages is not read."""
    answer = await Story().get("tenant/nope", **{"Accept-Language": language})

    assert answer.body["error"]["message"] == message


async def test_a_message_is_translated_with_the_one_behind_it():
    """Both parts of a wrapped error."""
    answer = await Story().send(
        "GET",
        "/api/v1/task/dag/11",
        agent=address(4),
        headers=(("Accept-Language", "zh-CN"),),
    )

    assert answer.body["error"]["message"] == "未找到任务: agent 未持有 OceanBase 集群连接"
