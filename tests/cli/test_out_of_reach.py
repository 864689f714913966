"""Tests of agents out of reach: exit 3, and one line with agent and cause.

A handshake that fails leaves its socket to the garbage collector (asyncio does, not obscale), so
these run in a process of their own.
"""

import json
import ssl


def asked_at(world, *endpoints: str) -> dict:
    """The sample request, with other agents to ask."""
    request = world.request()
    request["cluster"]["endpoints"] = list(endpoints)
    return request


def says(ended, agent: str, *parts: str) -> None:
    """One line names agent and cause."""
    assert ended.code == 3, ended.err
    assert ended.out == ""
    assert len(ended.lines) == 1, ended.err
    assert ended.lines[0].startswith(f"obscale: {agent}")
    for part in parts:
        assert part in ended.err


def entry_of(world) -> str:
    """`ip:port` of the first agent of a world's cluster."""
    agent = world.ready["clusters"][0]["agents"][0]
    return f"{agent['ip']}:{agent['port']}"


def test_a_page_instead_of_an_answer_is_told(obscale, write, quiet_world, html_server):
    """Another product at the agent's address is not taken for obshell."""
    ended = obscale("plan", write(asked_at(quiet_world, html_server)))

    says(ended, html_server, "read info")


def test_a_refused_connection_is_told(obscale, write, quiet_world, closed_port):
    """Nobody listens there."""
    ended = obscale("plan", write(asked_at(quiet_world, closed_port)))

    says(ended, closed_port, "no connection", "check that obshell runs there")


def test_plain_http_behind_https_is_told(run_program, write, quiet_world):
    """The line says which word to change."""
    entry = entry_of(quiet_world)

    ended = run_program("plan", write(asked_at(quiet_world, f"https://{entry}")))

    says(ended, entry, "speaks plain HTTP", f"write http://{entry}")


def test_tls_behind_http_is_told(obscale, write, tls_world):
    """An agent that hangs up on plain HTTP most likely speaks TLS."""
    entry = entry_of(tls_world)

    ended = obscale("plan", write(asked_at(tls_world, f"http://{entry}")))

    says(ended, entry, "write https://")


def test_an_untrusted_certificate_is_told(run_program, write, tls_world):
    """The line says what is missing: the CA file."""
    ended = run_program("plan", write(asked_at(tls_world, f"https://{entry_of(tls_world)}")))

    says(ended, entry_of(tls_world), "certificate is not trusted", "CA file")


def test_a_ca_file_that_is_none_is_bad_input(obscale, write, tls_world, tmp_path):
    """A missing CA file is a fault of the request, not of the agent."""
    request = tls_world.request()
    request["cluster"]["tls"] = {"ca_file": str(tmp_path / "nowhere.pem")}

    ended = obscale("plan", write(request))

    assert ended.code == 2
    assert len(ended.lines) == 1
    assert "nowhere.pem" in ended.err


def test_a_trusted_certificate_is_enough(obscale, write, tls_world):
    """With the right CA file the same world is planned."""
    request = tls_world.request()
    request["cluster"]["tls"] = {"ca_file": str(tls_world.door.ca_path)}
    ssl.create_default_context(cafile=tls_world.door.ca_path)

    ended = obscale("plan", write(request), "--json")

    assert json.loads(ended.out)["ready"] is True
    assert ended.code == 0


def test_a_wrong_root_password_is_told_and_not_shown(
    obscale, write, quiet_world, monkeypatch, canaries
):
    """The agent's refusal is told with its code; neither password is."""
    monkeypatch.setenv("OBSCALE_TEST_ROOT", "canary-wrong")

    ended = obscale("plan", write(quiet_world.request()))

    says(ended, entry_of(quiet_world), "refused")
    assert not any(secret in ended.err for secret in (*canaries, "canary-wrong"))


def test_a_refused_password_that_ends_in_a_line_break_is_hinted_at(
    obscale, write, quiet_world, monkeypatch, canaries
):
    """The line names the variable and the likely way it came there, never the password."""
    monkeypatch.setenv("OBSCALE_TEST_ROOT", f"{canaries[0]}\n")

    ended = obscale("plan", write(quiet_world.request()))

    says(ended, entry_of(quiet_world), "the password from env OBSCALE_TEST_ROOT ends in a line")
    assert "was it written with echo? printf '%s' adds none" in ended.err
    assert not any(secret in ended.err for secret in canaries)


def test_a_refused_password_of_the_target_is_hinted_at_in_the_plan(
    obscale, write, quiet_world, monkeypatch, canaries
):
    """The finding that blocks says it, before a DAG keeps the password it was made with."""
    monkeypatch.setenv("OBSCALE_TEST_AGENT", f"{canaries[1]} ")

    ended = obscale("plan", write(quiet_world.request()), "--json")

    assert ended.code == 1
    [row] = json.loads(ended.out)["rows"]
    [finding] = [each for each in row["findings"] if each["rule"] == "agent-auth"]
    assert "the password from env OBSCALE_TEST_AGENT ends in a blank" in finding["measured"]
    assert not any(secret in ended.out for secret in canaries)


def test_with_json_trouble_is_one_object_and_nothing_else(obscale, write, quiet_world, closed_port):
    """A script finds agent, cause and code."""
    ended = obscale("plan", "--json", write(asked_at(quiet_world, closed_port)))

    assert (ended.code, ended.lines) == (3, [])
    assert json.loads(ended.out).keys() == {"schema_version", "error"}
    assert ended.error["kind"] == "unreachable"
    assert ended.error["agent"] == closed_port
    assert ended.error["exit_code"] == 3


def test_one_dead_agent_of_three_is_no_trouble(obscale, write, quiet_world, closed_port):
    """The next one is asked."""
    ended = obscale(
        "plan", "--json", write(asked_at(quiet_world, closed_port, entry_of(quiet_world)))
    )

    assert ended.code == 0
