"""Tests of the poll's rhythm: how soon the end is known, how often it asks.

Played in virtual time, look by look as `follow` does it, so no machine is too slow for it.
"""

import statistics

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.follow.progress import describe_progress, next_poll_seconds
from obscale.request.time_limits import POLL_LONGEST_SECONDS
from obscale.sandbox import Fault, in_process

STEP_SECONDS = 0.02
SDK_RHYTHM_SECONDS = 3.0
"""Pause of the official SDK's wait helper, whatever the DAG does. Source: SDK 0.0.9."""
STARTS = [6.0 + 1.7 * number for number in range(24)]
"""Seconds the observer needs, so that the end comes anywhere between two looks."""
THIRD = 1 / 3


async def followed(world, ask, *, delay):
    """Follow the sample scale-out from `delay` seconds on; gives seconds late, looks, length."""
    dag_id = (await ask.scale_out()).json()["data"]["id"]
    dag = world.clusters[0].dags[-1]
    began = now = 0.0
    ended = None

    def pass_time(seconds):
        nonlocal now, ended
        until = now + seconds
        while now < until:
            world.advance(STEP_SECONDS)
            now += STEP_SECONDS
            if ended is None and dag.state in {"SUCCEED", "FAILED"}:
                ended = now

    pass_time(delay)
    began = changed = now
    seen, looks = None, 0
    client = AgentClient(
        AgentAddress("127.0.1.1", 2886),
        root_password=SecretStr("sandbox-root"),
        transport=in_process(world),
    )
    async with client:
        while True:
            looked = await client.read_dag(dag_id)
            looks += 1
            if describe_progress(seen, looked):
                changed = now
            seen = looked
            if seen.is_terminal:
                return now - ended, looks, now - began
            pass_time(next_poll_seconds(seen, now - changed, POLL_LONGEST_SECONDS))


async def test_the_end_is_known_within_a_third_of_a_second_without_more_questions(
    build_world, asker
):
    """At the median over ends that come anywhere; no more looks than the official SDK's."""
    late, asked, sdk = [], 0, 0.0
    for number, start_seconds in enumerate(STARTS):
        world = build_world(start_seconds=start_seconds)

        seconds, looks, length = await followed(world, asker(world), delay=0.13 * (number % 9))

        late.append(seconds)
        asked += looks
        sdk += length / SDK_RHYTHM_SECONDS + 1

    assert statistics.median(late) <= THIRD, sorted(late)
    assert max(late) <= POLL_LONGEST_SECONDS
    assert asked <= sdk


@pytest.mark.parametrize("stage", [2, 5, 7])
async def test_a_failure_is_known_before_the_slowest_rhythm_is_over(build_world, asker, stage):
    """It may come at any node, so it may come between two slow looks, but never after them."""
    world = build_world()
    world.play(Fault.fail_stage(stage))

    seconds, _, _ = await followed(world, asker(world), delay=0.0)

    assert seconds <= POLL_LONGEST_SECONDS
