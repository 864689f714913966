"""Tests of the limits of answers: wide enough, and exact."""

import json

import pytest

from obscale.agent.dag import Dag
from obscale.agent.envelope import read_envelope
from obscale.agent.limits import (
    DAGS,
    LONG,
    MOST_LEVELS,
    MOST_LINE_CHARACTERS,
    MOST_LOG_CHARACTERS,
    MOST_LOG_LINES,
    SMALL,
    USUAL,
    Limit,
    is_too_deep,
    limit_of,
    tail_of,
)
from obscale.errors import AgentProtocolError
from obscale.follow.progress import describe_progress


@pytest.mark.parametrize(
    ("target", "limit"),
    [
        ("/api/v1/info", SMALL),
        ("/api/v1/time", SMALL),
        ("/api/v1/ob/info", USUAL),
        ("/api/v1/obcluster/info", USUAL),
        ("/api/v1/ob/scale_out", USUAL),
        ("/api/v1/task/dag/17?show_details=true", DAGS),
        ("/api/v1/task/dag/unfinish?show_details=true", DAGS),
        ("/api/v1/task/dags/ob?show_details=false", LONG),
        ("/api/v1/obcluster/parameters", LONG),
    ],
)
def test_each_kind_of_answer_has_its_limit(target, limit):
    """By the path alone, whatever the query says."""
    assert limit_of(target) is limit


def test_the_parameters_of_a_hundred_servers_are_read():
    """As recorded: 550 rows, each with one value a server; an order below the bound in bytes."""
    values = [
        {"svr_ip": f"10.0.0.{at}", "svr_port": 2882, "zone": "zone1", "value": "False"}
        for at in range(100)
    ]
    rows = [
        {"name": f"parameter_{at}", "info": "what it does, in a sentence", "ob_parameters": values}
        for at in range(550)
    ]
    body = json.dumps({"successful": True, "data": {"contents": rows}}).encode()

    assert len(body) < LONG.size_bytes
    assert LONG.excess(body) == ""


def test_commas_and_brackets_in_texts_are_no_values():
    """A log full of JSON counts as one text; only what unfolds to values is counted."""
    limit = Limit(1 << 20, 10)
    text = json.dumps({"log": '{"a": [1, 2, 3]}, "\\' * 100})

    assert limit.excess(text.encode()) == ""
    assert "more than 10" in limit.excess(b"[" + b"0," * 10 + b"0]")
    assert limit.excess(b"[" + b"0," * 9 + b"0]") == ""


def test_levels_are_counted_exactly():
    """As many brackets as are allowed pass, one more does not."""
    fits, deep = (json.loads("[" * n + "]" * n) for n in (MOST_LEVELS, MOST_LEVELS + 1))

    assert not is_too_deep(fits)
    assert is_too_deep(deep)


@pytest.mark.parametrize("levels", [MOST_LEVELS, 190, 5000])
def test_a_nested_answer_is_named_before_anybody_walks_it(levels):
    """Deep answers end as a protocol error, never as a RecursionError later on."""
    nested = "[" * levels + "]" * levels
    body = f'{{"successful": true, "data": {{"additional_data": {nested}}}}}'.encode()

    with pytest.raises(AgentProtocolError, match=r"nested more than 32|not an answer of obshell"):
        read_envelope(200, {"content-type": "application/json"}, body, agent="a", step="read")


def test_half_a_surrogate_pair_is_no_answer():
    """No terminal, file or database could take such a text."""
    body = rb'{"successful": true, "data": "\ud800"}'

    with pytest.raises(AgentProtocolError, match="not an answer of obshell"):
        read_envelope(200, {"content-type": "application/json"}, body)


def test_the_tail_of_a_log_is_kept():
    """The last lines, and of a long one its beginning and its end."""
    lines = [f"line {at}" for at in range(5000)]
    long = "begins " + "x" * (1 << 20) + " ends"

    assert tail_of(lines) == tuple(lines[-MOST_LOG_LINES:])
    assert tail_of(["a", "b"]) == ("a", "b")
    (cut,) = tail_of([long])
    assert cut.startswith("begins x")
    assert cut.endswith("x ends")
    assert len(cut) < MOST_LINE_CHARACTERS + 10
    assert sum(map(len, tail_of([long] * 100))) <= MOST_LOG_CHARACTERS


def test_a_node_is_heard_speaking_though_its_log_is_full():
    """Not the number of lines says that something was said: of long logs only the tail is kept."""

    def seen(last):
        logs = [f"line {at}" for at in range(last - 3000, last)]
        task = {"id": "1", "state": "RUNNING", "task_logs": logs}
        node = {"id": "1", "name": "Wait", "state": "RUNNING", "sub_tasks": [task]}
        return Dag.model_validate({"id": "1", "dag_id": 1, "state": "RUNNING", "nodes": [node]})

    (change,) = describe_progress(seen(4000), seen(4001))

    assert change.kind == "dag.node_spoke"
    assert "line 4000" in change.text
