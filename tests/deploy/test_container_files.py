"""Do the container files name what there is: settings, commands, files, secrets?

What runs in the containers is run by test_ways.py, which takes its commands from compose.yaml.
"""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

from obscale.cli.prefect_at_home import SERVER_SETTINGS

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
    listed = dict(
        line.split("=", 1)
        for line in (FOLDER / "example.env").read_text().splitlines()
        if line and not line.startswith("#")
    )

    assert set(listed) == compose.needs
    assert {value.rpartition(":")[2] for value in listed.values()} <= {"", "change-me"}


def test_only_loopback_is_published(compose):
    """The server is not offered to the network before somebody has put TLS in front of it."""
    published = [p for s in compose.services.values() for p in s.get("ports", [])]

    assert published == ["127.0.0.1:4200:4200"]


def test_the_image_copies_and_installs_what_exists():
    """Each file the image takes is in the checkout, and what it installs is pinned."""
    text = (FOLDER / "Dockerfile").read_text()
    copied = [
        name
        for words in re.findall(r"^COPY (.+)$", text, flags=re.MULTILINE)
        for name in words.split()[:-1]
    ]
    installed = re.findall(r"pip install (.+?)(?: \\)?$", text, flags=re.MULTILINE)

    assert {"obscale", "flows", "tasks", "deployments"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists(), name
    for line in installed:
        assert any(mark in line for mark in ("--require-hashes", "==", "--no-deps --no-build")), (
            line
        )


@pytest.mark.parametrize("script", sorted(FOLDER.parent.rglob("*.sh")), ids=lambda p: p.name)
def test_no_secret_is_an_argument_of_a_script(script):
    """Arguments can be read by every process of a machine; a password is none of them."""
    for line in script.read_text().splitlines():
        if "AUTH" in line and not line.lstrip().startswith("#"):
            assert shlex.split(line, comments=True)[0].startswith("${"), line
