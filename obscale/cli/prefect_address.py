"""Tells which Prefect API is configured, and in which of Prefect's places that is written."""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from obscale.cli.own_server import OWN_SERVER

VARIABLE: Final = "PREFECT_API_URL"
_MAY_NAME_A_SERVER: Final = (VARIABLE, "PREFECT_API_KEY", "PREFECT_PROFILE")
"""Beginnings of variables that say of themselves, or by what they lead to, which server it is."""
_OWN_OR_NONE: Final = "PREFECT_SERVER_EPHEMERAL_ENABLED", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"
"""Whether Prefect may start a server at all."""


@dataclass(frozen=True)
class ApiAddress:
    """A configured API."""

    url: str
    """Fit to be told: without user, password and query."""
    where: str
    """Reads after the name of the setting, e.g. `in profile "team" of /home/me/profiles.toml`."""


def configured_address() -> ApiAddress | None:
    """Give the configured API as Prefect sees it; None where a run gets a server of its own."""
    try:
        from prefect.settings import get_current_settings  # noqa: PLC0415 - takes a second

        url = get_current_settings().api.url
    except (ValueError, OSError, LookupError):  # settings Prefect cannot read are told elsewhere
        return None
    if not url or url == OWN_SERVER.api_url:
        return None
    return ApiAddress(told_url(url), _where(url))


def is_surely_unset() -> bool:
    """Whether no API can be configured, as far as that is seen without Prefect.

    Importing Prefect takes a second. False where any of its places holds something of Prefect that
    may say so, whatever it is.
    """
    said = {name.upper(): value for name, value in os.environ.items()}
    if any(name.startswith(_MAY_NAME_A_SERVER) or "TEST_MODE" in name for name in said):
        return False
    if any(said.get(name, "true").lower() not in {"true", "1"} for name in _OWN_OR_NONE):
        return False
    home = Path(said.get("PREFECT_HOME") or "~/.prefect").expanduser()
    return not (
        any(path.exists() for path in (home / "profiles.toml", Path("prefect.toml")))
        or _holds(Path(".env"), b"prefect")
        or _holds(Path("pyproject.toml"), b"tool.prefect")
    )


def _holds(path: Path, word: bytes) -> bool:
    try:
        return word in path.read_bytes().lower()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def told_url(url: str) -> str:
    """Give a URL without what may be secret in it."""
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except (ValueError, httpx.InvalidURL):
        return "an address that cannot be read"


def _where(url: str) -> str:
    """Find the first of Prefect's places that says it, in the order in which they count."""
    from prefect.settings.models.api import APISettings  # noqa: PLC0415 - takes a second
    from prefect.settings.sources import (  # noqa: PLC0415
        EnvFilterSettingsSource,
        FilteredDotEnvSettingsSource,
        PrefectTomlConfigSettingsSource,
        ProfileSettingsTomlLoader,
        PyprojectTomlConfigSettingsSource,
    )

    places: tuple[tuple[Callable[[], Callable[[], Mapping[str, Any]]], str], ...] = (
        (lambda: EnvFilterSettingsSource(APISettings), "of the environment"),
        (
            lambda: FilteredDotEnvSettingsSource(APISettings, env_file=".env"),
            f"in {_here('.env')}",
        ),
        (
            lambda: PrefectTomlConfigSettingsSource(APISettings),
            f"([api] url) in {_here('prefect.toml')}",
        ),
        (
            lambda: PyprojectTomlConfigSettingsSource(APISettings),
            f"([tool.prefect.api] url) in {_here('pyproject.toml')}",
        ),
    )
    for source, where in places:
        if source()().get("url") == url:
            return where
    return _of_profile(ProfileSettingsTomlLoader(APISettings).profiles_path)


def _of_profile(path: Path) -> str:
    active = os.environ.get("PREFECT_PROFILE") or tomllib.loads(path.read_text("utf-8"))["active"]
    return f'in profile "{active}" of {path}'


def _here(name: str) -> str:
    try:
        return str(Path(name).absolute())
    except OSError:
        return os.path.join(os.curdir, name)  # noqa: PTH118 - the current folder is gone
