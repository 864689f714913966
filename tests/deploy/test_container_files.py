"""Tests that the container files name what exists: settings, commands, files, secrets.

What runs in the containers is run by test_ways.py, which takes its commands from compose.yaml.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

from obscale import __version__
from obscale.cli.local_prefect import SERVER_SETTINGS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deployments/container"
OF_REDIS = "PREFECT_REDIS_MESSAGING_"
"""Settings of prefect-redis, which is installed in the image only."""
NO_SETTINGS_BUT_READ = {
    "PREFECT_SERVER_ENCRYPTION_KEY",  # prefect/server/utilities/encryption.py
    "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS",  # a place in prefect/logging/logging.yml
}


def test_every_variable_is_one_prefect_reads(compose):
    """A misspelt setting would be ignored without a word: each is known to the Prefect here."""
    known = set(_get_settings_fields(Settings)) | NO_SETTINGS_BUT_READ
    written = {
        name
        for service in compose.services.values()
        for name in service.get("environment", {})
        if name.startswith("PREFECT_") and not name.startswith(OF_REDIS)
    }
    deployed = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())["definitions"]
    written |= set(deployed["on_workers"]["job_variables"]["env"])

    assert written
    assert written <= known, written - known


def test_the_server_has_the_settings_every_server_of_ours_has(compose):
    """Recorder and events are batched there as everywhere, so that no history is lost."""
    server = compose.services["server"]["environment"]
    wanted = {k: v for k, v in SERVER_SETTINGS.items() if "EPHEMERAL" not in k}

    assert wanted.items() <= server.items()
    assert compose.services["services"]["environment"] == server


def test_every_secret_is_asked_for_and_none_is_written(compose):
    """Each secret comes from .env, which example.env lists; compose refuses to start without."""
    listed = listed_in_example()

    assert set(listed) == compose.needs
    assert {value.rpartition(":")[2] for value in listed.values()} <= {"", "change-me"}


def listed_in_example() -> dict[str, str]:
    """The variables of example.env, as somebody copies it."""
    lines = (FOLDER / "example.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


EXAMPLE = "as in example.env"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(("POSTGRES_PASSWORD", value) for value in (EXAMPLE, "change-me ", "", " ")),
        *(("ENCRYPTION_KEY", value) for value in (EXAMPLE, "change-me")),
        *(("AUTH_STRING", value) for value in (EXAMPLE, "me:change-me", "me:", "change-me", "")),
    ],
)
def test_a_password_nobody_has_chosen_is_refused(compose, variable, value):
    """One line names the variable, and no other; the value of none is repeated."""
    own = compose.services["passwords"]["environment"]
    given = listed_in_example()[variable] if value == EXAMPLE else value

    ended = subprocess.run(
        compose.command("passwords", Path(sys.executable).parent),
        env=own | {variable: given},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"passwords: {variable} ")
    assert line.endswith("in .env, beside compose.yaml")
    assert not any(secret in line for secret in own.values())


def test_chosen_passwords_are_let_through(compose):
    """Those of the tests' own, among them one with a colon in it, are."""
    own = compose.services["passwords"]["environment"]

    ended = subprocess.run(
        compose.command("passwords", Path(sys.executable).parent),
        env=own | {"AUTH_STRING": "operator:a:b", "POSTGRES_PASSWORD": "c:"},
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert set(own) == compose.needs


def test_nothing_starts_before_the_passwords_were_looked_at(compose):
    """Each service waits for that, itself or behind another one, and not just for its start."""
    finished = {"condition": "service_completed_successfully"}

    def waits(service: str) -> bool:
        others = compose.services[service].get("depends_on", {})
        return others.get("passwords") == finished or any(map(waits, others))

    assert [name for name in compose.services if not waits(name)] == ["passwords"]


def test_only_loopback_is_published(compose):
    """The server is not offered to the network before somebody has put TLS in front of it."""
    published = [p for s in compose.services.values() for p in s.get("ports", [])]

    assert published == ["127.0.0.1:4200:4200"]


def test_the_image_copies_and_installs_what_exists():
    """Each file the image takes is in the checkout, and each package is pinned by hash."""
    text = (FOLDER / "Dockerfile").read_text()
    copied = [
        name
        for words in re.findall(r"^COPY (.+)$", text, flags=re.MULTILINE)
        for name in words.split()[:-1]
    ]
    installed = re.findall(r"pip install (.+?)(?: \\)?$", text, flags=re.MULTILINE)

    assert {"obscale", "flows", "tasks", "deployments", "docs"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
    assert len(installed) > 1
    for line in installed:
        assert "--require-hashes" in line or line == "--no-deps --no-build-isolation .", line


def test_what_the_image_adds_is_what_the_end_to_end_tests_are_locked_to():
    """The same version with the same hashes."""
    added = (FOLDER / "requirements.txt").read_text().partition("\n")[2]

    assert re.fullmatch(r"[\w-]+==[\d.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", added)
    assert added in (ROOT / "constraints-e2e.txt").read_text()


IMAGE = re.compile(r"^(?:\$\{[A-Z]+_IMAGE:-)?[a-z]+:(\d+\.\d+[\w.-]*)\}?$")


def test_each_image_is_an_exact_version_and_a_variable_may_name_a_digest():
    """A tag such as `17` moves by itself; a digest is what a team has looked at."""
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    python = re.findall(
        r"^ARG PYTHON_IMAGE=(.+)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE
    )
    images = {service["image"] for service in compose["services"].values()}
    arguments = compose["x-obscale"]["build"]["args"]
    offered = set(re.findall(r"^#(\w+_IMAGE)=", (FOLDER / "example.env").read_text(), re.MULTILINE))

    assert [name for name in images if not IMAGE.match(name)] == []
    assert f"obscale:{__version__}" in images
    assert arguments == {"PYTHON_IMAGE": f"${{PYTHON_IMAGE:-{python[0]}}}"}
    assert IMAGE.match(python[0])
    assert offered == set(re.findall(r"\$\{(\w+_IMAGE):-", (FOLDER / "compose.yaml").read_text()))


SCHEMA = json.loads((ROOT / "tests/data/compose-spec/compose-spec.json").read_text())


def test_the_compose_file_is_one_by_its_published_schema():
    """As an engine reads it, without one: the schema of compose-spec, kept with its source."""
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())

    assert [error.message for error in Draft7Validator(SCHEMA).iter_errors(compose)] == []


@pytest.mark.parametrize(
    ("key", "wrong"),
    [("restart", True), ("depends_on", 5), ("stop_grace_periode", "60s"), ("ports", "4200:4200")],
)
def test_the_schema_would_tell_a_slip(key, wrong):
    """Or the test above would prove nothing."""
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    compose["services"]["worker"][key] = wrong

    assert list(Draft7Validator(SCHEMA).iter_errors(compose))


@pytest.mark.parametrize("script", sorted(FOLDER.parent.rglob("*.sh")), ids=lambda p: p.name)
def test_no_secret_is_an_argument_of_a_script(script):
    """Arguments can be read by every process of a machine; a password is none of them."""
    for line in script.read_text().splitlines():
        if "AUTH" in line and not line.lstrip().startswith("#"):
            assert shlex.split(line, comments=True)[0].startswith("${"), line
