"""Tests of `obscale check-agent`: versions as expected, differences by name, nothing written."""

import asyncio
import json

import pytest
from pydantic import SecretStr

from obscale.cli.check_agent import _wants_root
from obscale.connect.connections import ClusterAccess
from obscale.request.models import ClusterSpec
from obscale.sandbox import Fault, default_config
from tests.cli.conftest import AGENT_CANARY, ROOT_CANARY
from tests.stranger import listening

ROOT = ("--password-env", "OBSCALE_TEST_ROOT")
OWN = ("--agent-password-env", "OBSCALE_TEST_AGENT")
LATER = {
    "4.2.2.0": 13,
    "4.3.0.0": 3,
    "4.5.0.0": 0,
}
"""Questions of which a version has no endpoint."""


def of_version(version, root=ROOT_CANARY, own=""):
    """Give a world's clusters and spares with one version of obshell."""
    plain = default_config()
    first = plain.clusters[0]

    def changed(agent, **more):
        return agent.model_copy(update={"obshell_version": version} | more)

    zones = tuple(
        zone.model_copy(update={"agents": tuple(changed(agent) for agent in zone.agents)})
        for zone in first.zones
    )
    cluster = first.model_copy(update={"zones": zones, "root_password": root})
    spares = tuple(changed(spare, agent_password=own) for spare in plain.spares)
    return {"clusters": (cluster,), "spares": spares}


def agents_of(world, *rows):
    """Give the addresses of members, and last that of a spare."""
    ready = [*world.ready["clusters"][0]["agents"], world.ready["spares"][0]]
    return [
        f"{world.door.scheme}://{row['ip']}:{row['port']}"
        for row in ([ready[at] for at in rows] or ready)
    ]


def asked(world):
    """Give how and for what a world's agents were asked."""
    return {
        (record.method, record.target.removeprefix("/api/v1/")) for record in world.world.requests
    }


@pytest.fixture(scope="session")
def versioned_world(open_world):
    """Give a function that serves a world of one version, the same one each time."""
    opened = {}

    def of(version):
        if version not in opened:
            own = AGENT_CANARY if version == "4.5.0.0" else ""
            opened[version] = open_world(**of_version(f"{version}-1", own=own))
        return opened[version]

    return of


@pytest.mark.parametrize("version", LATER)
def test_each_known_version_answers_as_expected(obscale, versioned_world, canaries, version):
    """Members and a spare; what came later is named so; nothing that writes is asked of anybody."""
    world = versioned_world(version)

    ended = obscale("check-agent", *agents_of(world), *ROOT, *OWN, "--json")

    told = json.loads(ended.out)
    rows = [row for agent in told["agents"] for row in agent["answers"]]
    assert [agent["identity"] for agent in told["agents"]] == ["CLUSTER AGENT"] * 3 + ["SINGLE"]
    assert {agent["obshell"] for agent in told["agents"]} == {f"{version}-1"}
    assert {agent["age"] for agent in told["agents"]} == {
        "recorded" if version == told["compared_with"] else "older"
    }
    wrong = {
        words for row in rows if row["answer"] in {"different", "missing"} for words in row["words"]
    }
    assert wrong == set()
    assert (told["as_expected"], ended.code) == (True, 0)
    for agent in told["agents"]:
        answers = [row["answer"] for row in agent["answers"]]
        assert answers.count("not in this version") == LATER[version]
        assert not {"unclear", "not asked"} & set(answers)
    assert {method for method, _ in asked(world)} == {"GET"}
    assert not any(canary in ended.out + ended.err for canary in canaries)


def test_tls_is_spoken_with_its_authority_and_not_without(obscale, tls_world):
    """As with connect: the CA's file, or exit 3."""
    agent = agents_of(tls_world, 0)

    good = obscale("check-agent", *agent, *ROOT, "--ca-file", tls_world.door.ca_path, "--json")
    untrusted = obscale("check-agent", *agent, *ROOT)

    assert json.loads(good.out)["agents"][0]["identity"] == "CLUSTER AGENT"
    assert len(json.loads(good.out)["agents"][0]["answers"]) == 27
    assert untrusted.code == 3
    assert "certificate is not trusted" in untrusted.err


def test_without_a_password_the_rest_is_compared(obscale, open_world):
    """A member is asked what needs none; a spare without a password of its own everything."""
    world = open_world(**of_version("4.5.0.0-1"))

    ended = obscale("check-agent", *agents_of(world, 0, 3), "--json")

    member, spare = json.loads(ended.out)["agents"]
    assert ended.code == 1
    assert "as far as it was asked" in member["verdict"]
    assert "--password-env VARIABLE" in json.loads(ended.out)["next"]
    assert {row["answer"] for row in spare["answers"]}.isdisjoint({"not asked", "unclear"})
    entry = world.world.clusters[0].agents[0].address
    seen = {r.target.removeprefix("/api/v1/") for r in world.world.requests if r.agent == entry}
    assert seen == {"info", "time", "secret", "status", "agent/host-info"}


@pytest.mark.parametrize(("claim", "knows"), [("SINGLE", False), ("CLUSTER AGENT", True)])
def test_who_is_of_no_cluster_gets_no_password_of_one(obscale, claim, knows):
    """Whoever is named gets it only where it says that it is a member: a spare answers without."""
    with listening({"identity": claim, "supportedAuth": ["v2"]}) as stranger:
        obscale("check-agent", f"http://{stranger.address}", *ROOT)

    assert "GET /api/v1/info" in stranger.asked
    assert stranger.knows(ROOT_CANARY) is knows


def test_an_empty_password_is_one(obscale, open_world):
    """A cluster whose root@sys has none."""
    world = open_world(**of_version("4.5.0.0-1", root=""))

    ended = obscale(
        "check-agent", *agents_of(world, 0), "--password-env", "NONE", "--json", NONE=""
    )

    answers = {row["answer"] for row in json.loads(ended.out)["agents"][0]["answers"]}
    assert not answers & {"not asked", "unclear"}


def test_what_differs_is_named_and_the_verdict_leads(obscale, open_world):
    """A version nobody knows, with a key less, an endpoint gone: the first line says so."""
    world = open_world(**of_version("4.9.0.0-1"))
    agent = agents_of(world, 0)
    envelope = {"successful": True, "timestamp": "", "duration": 0, "status": 200, "traceId": ""}
    told = json.dumps(envelope | {"data": {"contents": [{"mood": 1}]}})
    world.world.play(Fault.garble_answer(text=told, to="resource-pools"))
    world.world.play(Fault.garble_answer(to="parameters"))

    ended = obscale("check-agent", *agent, *ROOT)

    first, *rest = ended.out.splitlines()
    assert ended.code == 1
    assert "newer than any that obscale knows" in first
    assert "does not answer as obscale expects" in first
    assert rest[0].startswith("Next: add no node through this version")
    assert any("resource-pools: data.contents[].zone_list is absent" in line for line in rest)
    assert any("parameters" in line and "✘ missing" in line for line in rest)


def test_something_else_than_obshell_is_told_in_one_line(
    obscale, quiet_world, html_server, closed_port
):
    """Exit 3 where nobody could be compared; beside one who could, a line of its own."""
    page = obscale("check-agent", html_server, *ROOT)
    nobody = obscale("check-agent", closed_port, "--json", *ROOT)
    both = obscale("check-agent", *agents_of(quiet_world, 0), f"http://{closed_port}", *ROOT)

    assert page.code == 3
    assert page.lines[-1].startswith(f"obscale: {html_server}: read info: HTTP 200")
    assert nobody.code == 3
    assert nobody.error["kind"] == "unreachable"
    assert both.code == 1
    assert f"? {closed_port}: read info: " in both.out


def test_a_refused_password_ends_it_before_it_is_shown_to_nobody_else(obscale, quiet_world):
    """Exit 3 with the agent's own words, and the password is in none of them."""
    ended = obscale(
        "check-agent", *agents_of(quiet_world, 0), "--password-env", "W", W="canary-w\n"
    )

    assert ended.code == 3
    assert "the password from env W ends in a line break" in ended.err
    assert "canary-w" not in ended.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "no agent is named"),
        (("db1.example.org",), "not an IP address"),
        (("10.0.0.1", "10.0.0.1"), "listed twice"),
        (("10.0.0.1", "--ca-file", "ca.pem"), "write https://10.0.0.1:2886"),
        (("10.0.0.1", "--password-env", "Hunter2"), "not the password"),
        (("10.0.0.1", "--cluster", "east"), "10.0.0.1 only without --cluster"),
        (("--cluster", "east", *ROOT), "--password-env only without --cluster"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_line_with_the_next_command(obscale, words, told):
    """Nothing is asked, and a password typed by mistake is not shown."""
    ended = obscale("check-agent", *words)

    assert ended.code == 2
    assert told in ended.err
    assert "Next: " in ended.err
    assert len(ended.lines) == 1
    assert "Hunter2" not in ended.err


def test_only_a_member_is_a_reason_to_ask_for_a_password(quiet_world, closed_port):
    """A spare, or somebody who does not answer, is none."""

    def wants(*endpoints):
        return asyncio.run(
            _wants_root(ClusterAccess(ClusterSpec(endpoints=endpoints), SecretStr("")))
        )

    member, spare = agents_of(quiet_world, 0, 3)
    assert wants(spare, member)
    assert not wants(spare, f"http://{closed_port}")
