"""Tests of the client against hostile answers: it stays small and names them."""

import asyncio
import gc
import tracemalloc
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from benchmarks.hostile_agents import FROM_THE_START, SIGNED, VARIANTS, hostile
from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient, Timeouts
from obscale.agent.limits import MOST_LOG_CHARACTERS, MOST_LOG_LINES
from obscale.agent.models import Operator
from obscale.errors import AgentError, OutcomeUnknownError

PATIENT = Timeouts(connect_seconds=20.0, read_seconds=20.0)
BRIEF = Timeouts(connect_seconds=3.0, read_seconds=1.0)
SLOW = {"1xx without end", "one byte each half second", "a body of single bytes"}
"""Variants that end with our time limit alone."""
MOST_BYTES = 48 << 20
"""Allocated at once while four answers of up to 8 MiB are read side by side, two at a time."""
LONGEST_SECONDS = 300
"""Against a question that never ends; megabytes are read while each allocation is counted, which is
work, and may have to share its processor."""
LONGEST_MESSAGE = 5000
NAMED = {
    # what is said of each in answer to GET /task/dag/maintain/ob
    "body without end": "too large: 8,",
    "body without end or length": "too large: 8,",
    "a terabyte announced": "1000000000000 bytes are announced, and at most 8,388,608",
    "gzip bomb": "compresses its answer ('gzip')",
    "log lines, 20 MB": "too large",
    "log lines, 8 MB": "",
    "empty objects, 20 MB": "too large",
    "empty objects, 2 MB": "too many values: more than 50,000",
    "empty texts, 2 MB": "too many values",
    "empty objects, as rows": "",
    "one text of 2 MB": "of another shape",
    "a million brackets": "too many values",
    "a hundred levels": "nested more than 32 levels deep",
    "headers without end": "does not end",
    "a header without end": "does not end",
    "1xx without end": "no ",  # whole answer in time, or connection while others are flooded
    "a chunk size without end": "does not end",
    "a chunk size of nonsense": "the connection broke (illegal chunk header",
    "one byte each half second": "no whole answer within 4 seconds",
    "a body of single bytes": "no whole answer within 4 seconds",
    "a million characters of refusal": "x" * 4000,
}

READABLE = {
    "log lines, 8 MB",
    "empty objects, as rows",
    "one text of 2 MB",
    "a million characters of refusal",
}
"""To an operation on a DAG, whose answer needs no data: a success, or a refusal."""


@pytest.fixture(scope="module")
def ports():
    """Where each variant is sent, by a process of its own: its memory is not ours."""
    with hostile() as served:
        yield served


def client_of(port, variant=""):
    return AgentClient(
        AgentAddress("127.0.0.1", port),
        root_password=SecretStr("Root#Pass1"),
        timeouts=BRIEF if variant in SLOW else PATIENT,
    )


async def ended(question):
    """The error a question ends with, or None."""
    try:
        await asyncio.wait_for(question, LONGEST_SECONDS)
    except AgentError as error:
        # A traceback keeps what its frames hold: the answer.
        return error.with_traceback(None)
    return None


@contextmanager
def measured():
    """Most bytes Python has allocated at once meanwhile, as a list of one."""
    most = []
    gc.collect()
    tracemalloc.start()
    try:
        yield most
        most.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def each(variants):
    """Parameters of a test; those that only real time can end are played by `make e2e`."""
    return [pytest.param(v, marks=pytest.mark.e2e) if v in SLOW else v for v in variants]


def test_every_variant_has_a_name_for_its_ending():
    """A variant that is added says what becomes of it."""
    assert NAMED.keys() == VARIANTS.keys()


@pytest.mark.parametrize("variant", each(VARIANTS))
async def test_the_first_answer_already_is_bounded(ports, variant):
    """Whoever is no agent at all is met by `/info`, of which 64 KiB are read."""
    port = ports[variant][FROM_THE_START][0]
    async with client_of(port, variant) as client:
        with measured() as most:
            error = await ended(client.read_info())

    assert (error.agent, error.step) == (f"127.0.0.1:{port}", "read info")
    assert len(str(error)) < LONGEST_MESSAGE
    assert most[0] < 4 << 20


@pytest.mark.parametrize("variant", each(VARIANTS))
async def test_signed_answers_are_bounded_too(ports, variant):
    """An agent's open answers first, then this: the error names agent and step, and stays short."""
    port = ports[variant][SIGNED][0]
    async with client_of(port, variant) as client:
        await client.read_info()
        with measured() as most:
            *dags, parameters = await asyncio.gather(
                *(ended(client.read_last_cluster_dag()) for _ in range(4)),
                ended(client.read_parameters()),
            )

    for error in dags if NAMED[variant] else ():
        assert NAMED[variant] in error.message
        assert error.agent == f"127.0.0.1:{port}"
        assert error.step == "read task/dag/maintain/ob"
    assert NAMED[variant] or dags == [None] * 4
    assert isinstance(parameters, AgentError)
    assert all(len(str(error)) < LONGEST_MESSAGE for error in (*dags, parameters))
    assert most[0] < MOST_BYTES


@pytest.mark.parametrize("variant", each(sorted(VARIANTS.keys() - READABLE)))
async def test_an_answer_nobody_reads_leaves_a_write_unknown(ports, variant):
    """The POST arrived; whether it was done is not known, so nobody sends it again."""
    port = ports[variant][SIGNED][0]
    async with client_of(port, variant) as client:
        error = await ended(client.operate_dag("17", Operator.RETRY))

    assert isinstance(error, OutcomeUnknownError), error
    assert "whether it was done is not known" in error.message


async def test_only_the_tail_of_long_logs_is_kept(ports):
    """Eight megabytes of log lines are read, and a quarter of one is kept, the last."""
    async with client_of(ports["log lines, 8 MB"][SIGNED][0]) as client:
        dag = await client.read_last_cluster_dag()

    logs = dag.nodes[0].sub_tasks[0].task_logs
    assert len(logs) == MOST_LOG_LINES
    assert sum(map(len, logs)) <= MOST_LOG_CHARACTERS


async def test_an_error_that_is_kept_does_not_keep_its_answer(ports):
    """Refused as of another shape or too long: a run keeps errors in many places."""
    kept = []
    async with client_of(ports["one text of 2 MB"][SIGNED][0]) as client:
        await client.read_info()
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(5):
                with pytest.raises(AgentError) as caught:
                    await client.read_last_cluster_dag()
                kept.append(caught.value)
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert len(kept) == 5
    assert size < 4 << 20, f"{size >> 20} MiB"
