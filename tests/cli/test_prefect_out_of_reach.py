"""Tests of commands without Prefect: exit 3 where it is down or refuses."""

import http.server
import json
import os
import threading

import pytest

from obscale.cli.prefect_address import is_surely_unset
from tests.cli.conftest import SERVER_AUTH

NOBODY = "http://127.0.0.1:1/api"
COMMANDS = {
    "plan": ("plan", "NAMED"),
    "suggest": ("suggest", "127.0.1.4:2886", "--zone", "zone1", "--cluster", "east"),
    "plan, batch": ("plan", "NAMED BATCH"),
    "apply": ("apply", "WRITTEN OUT", "--yes"),
    "apply, stored connection": ("apply", "NAMED", "--yes"),
    "apply, batch": ("apply", "BATCH", "--yes"),
    "verify": ("verify", "NAMED"),
    "watch": ("watch", "east"),
    "watch, request": ("watch", "NAMED"),
    "recover": ("recover", "east", "--retry", "--yes"),
    "rehearse": ("rehearse", "NAMED"),
    "evidence": ("evidence", "127.0.1.4:2886"),
    "connect": ("connect", "east"),
}
"""Words in capitals stand for files."""


@pytest.fixture
def words_of(quiet_world, write):
    """Give a function that fills the files of a command in."""
    written_out = quiet_world.request()
    named = written_out | {"cluster": "east"}
    files = {
        "WRITTEN OUT": write(written_out, "written-out.json"),
        "NAMED": write(named, "named.json"),
        "BATCH": write({"clusters": [written_out]}, "batch.json"),
        "NAMED BATCH": write({"clusters": [named]}, "named-batch.json"),
    }

    def fill(command: str) -> list[object]:
        return [files.get(word, word) for word in COMMANDS[command]]

    return fill


def says_prefect(ended) -> str:
    """The error is one object of Prefect's kind with code 3; give its message."""
    assert ended.code == 3, ended.out + ended.err
    assert json.loads(ended.out).keys() == {"schema_version", "error"}
    assert ended.error.keys() == {"kind", "message", "hint", "exit_code"}
    assert (ended.error["kind"], ended.error["exit_code"]) == ("prefect", 3)
    assert ended.lines == []
    return ended.error["message"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_is_down_is_exit_3(run_here, words_of, quiet_world, command):
    """Whatever the command, the one error says that Prefect does not answer; no agent is asked."""
    seen = len(quiet_world.world.requests)

    ended = run_here(*words_of(command), "--json", PREFECT_API_URL=NOBODY)

    message = says_prefect(ended)
    assert message.startswith("Prefect's API does not answer")
    assert "nothing was sent" in message
    assert len(quiet_world.world.requests) == seen


@pytest.mark.parametrize("command", ["apply", "evidence", "plan", "watch"])
@pytest.mark.parametrize("shown", ["", "operator:canary-wrong"], ids=["none", "wrong"])
def test_a_server_that_refuses_the_password_is_exit_3(
    run_here, words_of, quiet_world, closed_server_url, command, shown
):
    """Without the server's password, or with another, the line names the setting, not the value."""
    seen = len(quiet_world.world.requests)
    given = {"PREFECT_API_AUTH_STRING": shown} if shown else {}

    ended = run_here(*words_of(command), "--json", PREFECT_API_URL=closed_server_url, **given)

    message = says_prefect(ended)
    assert "refuses these credentials (status 401)" in message
    assert "set PREFECT_API_AUTH_STRING" in message
    assert "canary" not in ended.out
    assert SERVER_AUTH not in ended.out
    assert len(quiet_world.world.requests) == seen


def test_without_json_it_is_one_line(run_program, words_of):
    """What a person sees says what is wrong with Prefect, and where to look."""
    ended = run_program(*words_of("watch"), PREFECT_API_URL=NOBODY)

    assert (ended.code, ended.out, len(ended.lines)) == (3, "", 1), ended.err
    assert ended.lines[0].startswith("obscale: Prefect's API does not answer")
    assert "see PREFECT_API_URL" in ended.err


class OnlyItsVersion(http.server.BaseHTTPRequestHandler):
    """A Prefect behind a gate that lets the first question through, and no other."""

    def do_GET(self):
        """Tell the version."""
        is_open = self.path == "/api/admin/version"
        self._answer(200 if is_open else 403, b'"3.8.8"')

    def do_POST(self):
        """Refuse, once the question is read."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(403, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def test_a_server_that_refuses_later_on_is_exit_3_too(run_here):
    """What is read of Prefect alone ends the same way whenever Prefect stops answering."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OnlyItsVersion) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        ended = run_here("evidence", "no-such", "--json", PREFECT_API_URL=url)
        server.shutdown()
        thread.join()

    assert "refuses these credentials (status 403)" in says_prefect(ended)


TEAM = "http://me:canary-url@127.0.0.1:1/api"
PLACES = {
    "profile": (
        "home/profiles.toml",
        f'active = "team"\n[profiles.team]\nPREFECT_API_URL = "{TEAM}"',
    ),
    ".env": ("here/.env", f"PREFECT_API_URL={TEAM}"),
    "prefect.toml": ("here/prefect.toml", f'[api]\nurl = "{TEAM}"'),
    "pyproject.toml": ("here/pyproject.toml", f'[tool.prefect.api]\nurl = "{TEAM}"'),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_address_that_is_dead_is_told_with_where_it_stands(
    obscale, monkeypatch, tmp_path, place
):
    """Wherever Prefect has found it: the URL without its password, the file, the profile's name."""
    name, content = PLACES[place]
    for folder in ("home", "here"):
        (tmp_path / folder).mkdir()
    (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))

    message = says_prefect(obscale("evidence", "no-such", "--json"))

    assert message.startswith("Prefect's API does not answer")
    assert "at http://127.0.0.1:1/api, set by PREFECT_API_URL " in message
    assert str(tmp_path / name) in message
    assert ('profile "team"' in message) is (place == "profile")
    assert "canary" not in message


def test_the_environment_counts_before_every_file(obscale, monkeypatch, tmp_path):
    """As for Prefect, and it is told so."""
    (tmp_path / ".env").write_text("PREFECT_API_URL=http://127.0.0.1:2/api")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", NOBODY)

    message = says_prefect(obscale("evidence", "no-such", "--json"))

    assert f"at {NOBODY}, set by PREFECT_API_URL of the environment;" in message


SURE = {
    "nothing": ({}, True),
    "a home": ({"PREFECT_HOME": "elsewhere"}, True),
    "empty": ({"PREFECT_API_AUTH_STRING": ""}, True),
    "an own server allowed": ({"PREFECT_SERVER_EPHEMERAL_ENABLED": "true"}, True),
    "no own server": ({"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}, False),
    "an address": ({"PREFECT_API_URL": TEAM}, False),
    "small letters": ({"prefect_api_url": TEAM}, False),
    "a profile's name": ({"PREFECT_PROFILE": "local"}, False),
    "a file of profiles": ({"PREFECT_PROFILES_PATH": "profiles.toml"}, False),
}


@pytest.mark.parametrize(("variables", "is_sure"), SURE.values(), ids=SURE)
def test_a_server_of_its_own_is_begun_before_prefect_is_read_only_where_that_is_sure(
    monkeypatch, tmp_path, variables, is_sure
):
    """By the environment."""
    nothing_of_prefect(monkeypatch, tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert is_surely_unset() is is_sure


@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_may_name_a_server_leaves_it_open(monkeypatch, tmp_path, place):
    """Each of Prefect's places; a project's file that says nothing of Prefect is none."""
    nothing_of_prefect(monkeypatch, tmp_path)
    name, content = PLACES[place]
    (tmp_path / "here/pyproject.toml").write_text('[project]\ndependencies = ["prefect"]')
    before = is_surely_unset()

    (tmp_path / name).write_text(content)

    assert (before, is_surely_unset()) == (True, False)


def nothing_of_prefect(monkeypatch, tmp_path):
    """Leave nothing that says anything of Prefect."""
    for name in [name for name in os.environ if name.upper().startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for folder in ("home", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
