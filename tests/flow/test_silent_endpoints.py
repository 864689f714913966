"""What a run costs whose entry agent hangs, and that there is one DAG whatever its POST became."""

import time
from collections import Counter
from dataclasses import replace

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

import obscale.submit.post
import obscale.submit.run
from obscale.agent.silence import silent_agents
from obscale.agent.transport import Transport
from obscale.events import Posting
from obscale.sandbox import Fault
from obscale.tasks.runtime.blocks import naming_silent_agents
from tests.flow.conftest import QUICK, is_line, is_posted

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

READ_SECONDS = 23.0
"""The time limit of a read, connecting included."""
QUESTIONS = 16
"""Put to a silent agent by one look at the most: eight side by side, and a probe now and then."""


@pytest.fixture
def asked(monkeypatch):
    """Count the requests that are put to each agent, by `ip:port`."""
    count = Counter()
    send = Transport.send

    async def counted(self, request, *rest):
        count[str(self.address)] += 1
        return await send(self, request, *rest)

    monkeypatch.setattr(Transport, "send", counted)
    return count


def entry_of(scene):
    """Give the entry agent that is named first."""
    first = scene.ready["clusters"][0]["agents"][0]
    return f"{first['ip']}:{first['port']}"


def lines_of(scene, event):
    """Give the lines of one event that the run has told."""
    return [line for line in scene.lines if line.startswith(f"{event} ")]


async def test_an_agent_silent_from_the_submit_on_is_asked_little_and_named_once(
    stage, asked, monkeypatch
):
    """It hangs before the POST has left: another agent gets it, and no later step asks it again."""
    monkeypatch.setattr(obscale.submit.post, "ANSWER_OVERDUE_SECONDS", 1.0)
    scene = await stage()
    entry, before = entry_of(scene), Counter()

    def hang():
        before.update(asked)
        scene.world.play(Fault.black_hole(entry))

    scene.at(lambda e: isinstance(e, Posting), hang)
    began = time.monotonic()

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == "posted"
    assert scene.posts() == 1
    assert scene.world.count_dags("Cluster scale out") == 1
    assert asked[entry] - before[entry] <= QUESTIONS
    assert len(lines_of(scene, "agent.silent")) == 1
    assert entry in lines_of(scene, "agent.silent")[0]
    assert len(lines_of(scene, "submit.not_sent")) == 1
    assert time.monotonic() - began < 4 * READ_SECONDS, "a wait for each of its questions is more"


async def test_a_post_that_hangs_and_is_carried_out_late_makes_one_dag(stage, asked, monkeypatch):
    """Given up as lost, found when its agent is back and carries it out: it is not sent again."""
    monkeypatch.setattr(obscale.submit.post, "ANSWER_OVERDUE_SECONDS", 1.0)
    scene = await stage()
    entry = entry_of(scene)
    scene.world.play(Fault.black_hole(entry, phase="submit"))
    scene.at(is_line("submit.answer_lost"), lambda: scene.world.play(Fault.agent_up(entry)))

    report = await scene.scale_out(time_limits=QUICK.model_copy(update={"lost_answer_seconds": 60}))

    assert report.outcome == "verified"
    assert report.submitted_how == "adopted"
    assert scene.posts() == 1
    assert scene.world.count_dags("Cluster scale out") == 1
    assert len(lines_of(scene, "submit.waiting_for_answer")) == 1


async def test_a_post_that_hangs_past_its_header_is_sent_again_and_makes_one_dag(
    stage, asked, monkeypatch
):
    """Only when the first can no longer arrive; its agent, back afterwards, refuses it by then."""
    monkeypatch.setattr(obscale.submit.post, "ANSWER_OVERDUE_SECONDS", 1.0)
    scene = await stage(speed=15)
    entry = entry_of(scene)
    scene.world.play(Fault.black_hole(entry, phase="submit"))
    scene.at(is_posted, lambda: scene.world.play(Fault.agent_up(entry)))
    began = time.monotonic()

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == "posted"
    assert [r.status for r in scene.world.requests if r.method == "POST"] != [200, 200]
    assert scene.world.count_dags("Cluster scale out") == 1
    assert len(scene.world.clusters[0].dags) == 1
    assert time.monotonic() - began < 4 * READ_SECONDS, "not the time limit of the POST"


async def test_an_agent_that_was_only_slow_keeps_its_post(stage, monkeypatch):
    """Others were quicker while it is at work on the POST; it tells who it is, so it is awaited."""
    monkeypatch.setattr(obscale.submit.post, "ANSWER_OVERDUE_SECONDS", 0.5)
    scene = await stage(speed=6)
    scene.world.play(Fault.delay_answer(3.0, to="scale_out"))
    look, looks = obscale.submit.run.read_candidates, []

    async def see_nothing_yet(link):
        looks.append(str(link.cluster.current.address))
        sighting = await look(link)
        if len(looks) == 1:  # before the POST
            return sighting
        link.cluster._silent.add(link.cluster.clients[0].address, "no answer within 2.0 s")
        return replace(sighting, last_dag=None, unfinished=())

    monkeypatch.setattr(obscale.submit.run, "read_candidates", see_nothing_yet)

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == "posted"
    assert len(looks) > 2
    assert scene.posts() == 1
    assert lines_of(scene, "submit.answer_lost") == []
    assert len(lines_of(scene, "agent.answers_again")) == 1


async def test_prefect_hands_the_memory_of_a_run_on_to_its_tasks():
    """Called, or submitted to a thread of Prefect's: all of them find the run's own."""

    @task(cache_policy=NO_CACHE)
    def in_a_thread() -> int:
        return id(silent_agents())

    @task(cache_policy=NO_CACHE)
    async def awaited() -> int:
        return id(silent_agents())

    @flow
    async def run() -> set[int]:
        with naming_silent_agents():
            begun = [in_a_thread.submit(), awaited.submit()]
            found = {future.result() for future in begun}
            return found | {await awaited(), id(silent_agents())}

    assert len(await run()) == 1


async def test_a_dag_that_shows_before_the_answer_to_its_post_is_taken_up(stage, monkeypatch):
    """The agent answers minutes late: it is followed at once, and what is waited for is told."""
    monkeypatch.setattr(obscale.submit.post, "ANSWER_OVERDUE_SECONDS", 1.0)
    scene = await stage()
    scene.world.play(Fault.delay_answer(600.0, to="scale_out"))
    began = time.monotonic()

    report = await scene.scale_out()

    assert report.outcome == "verified"
    assert report.submitted_how == "adopted"
    assert scene.posts() == 1
    assert scene.world.count_dags("Cluster scale out") == 1
    assert entry_of(scene) in lines_of(scene, "submit.waiting_for_answer")[0]
    assert lines_of(scene, "agent.silent") == [], "it answers all else"
    assert time.monotonic() - began < 300
