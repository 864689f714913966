"""Tests of the versions of worker and deployment."""

import logging

import pytest

from obscale.errors import ObscaleError
from obscale.tasks.runtime.versions import check_version


@pytest.mark.parametrize(("deployed", "here"), [("0.2.0", "0.1.0"), ("0.10.0", "0.9.9")])
def test_a_deployment_newer_than_the_worker_is_refused_with_both_versions(deployed, here):
    """One line: what is where, that nothing was touched, what to install."""
    with pytest.raises(ObscaleError) as caught:
        check_version(deployed, here)

    told = str(caught.value)
    assert f"obscale {here}" in told
    assert f"install obscale {deployed}" in told
    assert "nothing was touched" in told


def test_a_deployment_older_than_the_worker_is_told_of_and_carried_out(caplog):
    """What it offers is known here; the log says to deploy again."""
    with caplog.at_level(logging.WARNING):
        check_version("0.1.0", "0.2.0")

    assert "deployed=0.1.0 here=0.2.0 next='deploy again'" in caplog.text


@pytest.mark.parametrize("deployed", [None, "", "0.1.0", "d6d586b4edc49a3b9646e0c8756ff16e"])
def test_the_same_version_and_versions_of_prefects_own_say_nothing(deployed, caplog):
    """A run without a deployment, and one whose version is a checksum, are not held to any."""
    check_version(deployed, "0.1.0")

    assert caplog.text == ""
