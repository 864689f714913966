"""Gives a Prefect that obscale starts its settings and password, and tells whether one answers.

Must run before Prefect is imported, because Prefect reads its settings at import.
"""

import os
import re
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final
from warnings import catch_warnings, filterwarnings

import httpx

from obscale.cli.busy import busy, say_begun
from obscale.cli.loudness import LOUDNESS
from obscale.cli.own_server import (
    AUTH_VARIABLES,
    OWN_SERVER,
    OwnServerError,
    insist_on_a_folder,
    insist_on_room,
    readable,
)
from obscale.cli.prefect_address import (
    VARIABLE,
    configured_address,
    is_surely_unset,
    told_url,
)
from obscale.cli.proxies import keep_loopback_direct
from obscale.errors import PrefectUnreachableError

SERVER_SETTINGS: Final = {
    # Recorder and events in batches: with the defaults task history is lost under load.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
    # A loaded laptop needs longer than the default 20 s for the first start.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Of PostgreSQL. With the defaults, 5 connections that stay open and 10 that are opened anew
    # each time, 5 s to open one and 30 s to wait for one, a busy server answers 500, and Prefect's
    # client gives up; what it has waited for too long it asks again.
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "30",
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "0",
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_TIMEOUT": "120",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",
    # A batch of ten thousand nodes; the default is 512 KiB.
    "PREFECT_SERVER_API_MAX_PARAMETER_SIZE": str(8 << 20),
}
QUIET_SETTINGS: Final = {
    # The command line tells the run itself; Prefect's log lines still reach its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "obscale",
}
STARTS_SERVER: Final = "starts a Prefect server for this run (its first start takes a minute)"
WAITS_FOR_SERVER: Final = "waits for the Prefect server of this run"
OPEN_SECONDS: Final = 10.0
"""Longest wait for the answer to a request without credentials."""
OLDEST_SERVER: Final = (3, 6, 14)
"""Of Prefect's servers, the oldest that records all that a run tells it. One before takes the first
word of the stream of events, which asks to be let in, for an event, and closes the stream: the API
answers, and task runs, events and automations are missing. Found by trial: 3.6.13 records no task
run, 3.6.14 all."""
NEWER_DATABASE: Final = "Can't locate revision identified by"
"""Alembic's words for a database whose last change it does not know."""
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def settle(*, quiet: bool = True, own_home: bool = False) -> None:
    """Put Prefect's settings into the environment, without overriding what the user has set.

    Args:
        quiet: Keep Prefect's own log lines off the terminal, unless --verbose wants them.
        own_home: Keep everything in obscale's cache folder and hear nothing of what is configured
            anywhere; for what must not write into a real Prefect. Changes the current folder.

    Raises:
        PrefectUnreachableError: With `own_home`, that folder cannot be written.
    """
    if own_home:
        _move_to(_demo_home())
    for name, value in (SERVER_SETTINGS | _quiet_settings(quiet)).items():
        os.environ.setdefault(name, value)


def _quiet_settings(quiet: bool) -> dict[str, str]:
    if not quiet or not LOUDNESS.is_verbose:
        return QUIET_SETTINGS if quiet else {}
    return QUIET_SETTINGS | {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}


def _demo_home() -> Path:
    """Give the folder of the demo's own Prefect, kept so that a second start is quick.

    Each version has its own: no older Prefect serves a database a newer one has written.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # As its specification says, a relative path counts for nothing.
    cache = given if given.is_absolute() else Path("~/.cache").expanduser()
    return cache / "obscale" / "prefect" / version("prefect")


def _move_to(home: Path) -> None:
    """Leave nothing of Prefect's settings but where its home is.

    Prefect reads prefect.toml, pyproject.toml and .env of the current folder, and so does its
    server: nothing in the environment takes back all that may stand in them.
    """
    insist_on_room(home, "XDG_CACHE_HOME")
    for name in [name for name in os.environ if name.upper().startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(PREFECT_HOME=str(home), PREFECT_SERVER_EPHEMERAL_ENABLED="true")
    os.chdir(home)
    keep_loopback_direct(None)
    if prefect := sys.modules.get("prefect.context"):
        prefect.refresh_global_settings_context()


def begin_prefect() -> None:
    """Start Prefect's own server now, where it is clear at once that this run needs it.

    Call it after `settle`, and once nothing can be wrong with the request: the server comes up
    while the cluster is looked at, and `require_prefect` waits for it. Where something of Prefect
    is configured, nothing is done yet: what that is, is known once Prefect is imported.
    """
    if OWN_SERVER.is_begun or not _is_needed_surely():
        return
    named = next(filter(None, map(os.environ.get, AUTH_VARIABLES)), "")
    OWN_SERVER.begin(named or _new_auth_string(), {})
    say_begun(STARTS_SERVER)


def _is_needed_surely() -> bool:
    if "prefect.context" not in sys.modules:
        return is_surely_unset()
    from prefect.settings import get_current_settings  # noqa: PLC0415 - it is imported already

    settings = get_current_settings()
    return not settings.api.url and settings.server.ephemeral.enabled


def require_prefect(*, to_record: bool = False, loads: str = "") -> None:
    """See that Prefect answers; where no server is configured, this starts Prefect's own.

    Call it outside of any event loop, after `settle`. Asking again costs little.

    Args:
        to_record: Refuse a server that would not record all a run tells it.
        loads: A module to import while our own server comes up; empty: none.

    Raises:
        PrefectUnreachableError: It does not answer, refuses our credentials, is too old, or its
            server does not start; the line says which.
    """
    starter = ThreadPoolExecutor(max_workers=1)
    with busy("asks Prefect") as shown:
        asked = starter.submit(_greet_prefect, shown.does, to_record=to_record, loads=loads)
        error = asked.exception()
    starter.shutdown(wait=False)
    if isinstance(error, PrefectUnreachableError):
        raise error
    if error is not None:
        raise out_of_reach(error) from error


def out_of_reach(error: BaseException) -> PrefectUnreachableError:
    """Say in one line why Prefect cannot be asked, and what to do.

    Args:
        error: What Prefect's client raised.
    """
    api = configured_address()
    at = f" at {api.url}, set by {VARIABLE} {api.where}" if api else ""
    if _status(error) in {401, 403}:
        what = f"Prefect's server refuses these credentials ({_told(error)}){at}"
        hint = "set PREFECT_API_AUTH_STRING to the server's own"
    elif api:
        what = f"Prefect's API does not answer as it should ({_told(error)}){at}"
        hint = (
            f"start that server, or see {VARIABLE} {api.where}; "
            "without it obscale starts a server of its own for the run"
        )
    elif isinstance(error, OwnServerError) and NEWER_DATABASE in str(error):
        what = (
            f"Prefect does not start: its database, in {_home()}, was written by a newer Prefect "
            f"than this {version('prefect')}"
        )
        hint = "set PREFECT_HOME to another folder, or install that newer Prefect"
    else:
        what = f"Prefect does not start ({_told(error)})"
        hint = (
            "see its database (PREFECT_HOME, or PREFECT_SERVER_DATABASE_CONNECTION_URL), and what "
            "`prefect server start` says"
        )
    return PrefectUnreachableError(f"{what}; nothing was sent", hint)


def _home() -> Path:
    from prefect.settings import get_current_settings  # noqa: PLC0415 - reads settings

    return get_current_settings().home


def warn_if_open() -> tuple[str, ...]:
    """Give a warning where the API of a configured server answers who shows no credentials.

    Such a server gives every stored password to whoever asks: one of this machine's own, to each of
    its users. Asks for no secret and shows none. Call it after `require_prefect`.
    """
    from prefect.settings import get_current_settings  # noqa: PLC0415 - reads settings

    configured = get_current_settings().api.url
    if not configured or OWN_SERVER.is_begun:
        return ()  # our own server asks for a password, see `_lead_to`
    url = httpx.URL(configured).copy_with(userinfo=b"")
    try:
        # Whoever wants the passwords does not mind the certificate either.
        with httpx.Client(verify=False, timeout=OPEN_SECONDS) as stranger:  # noqa: S501
            answer = stranger.post(f"{url}/block_documents/filter", json={"limit": 0})
            is_open = answer.status_code == httpx.codes.OK and answer.json() == []
    except (httpx.HTTPError, ValueError):
        return ()
    if not is_open:
        return ()
    warning = (
        f"the Prefect API at {url} answers without credentials, so that whoever reaches it, every "
        "user of that machine at least, can read the passwords stored there; start its server with "
        "PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD, and set PREFECT_API_AUTH_STRING to the same "
        "here and for everything that asks it"
    )
    return (warning,)


def _greet_prefect(does: Callable[[str], None], *, to_record: bool, loads: str) -> None:
    with catch_warnings():
        # Told below, where a home is needed.
        filterwarnings("ignore", "Failed to create the Prefect home directory")
        from prefect.client.base import ServerType  # noqa: PLC0415 - reads settings
        from prefect.client.orchestration import get_client  # noqa: PLC0415
        from prefect.settings import get_current_settings  # noqa: PLC0415

    settings = get_current_settings()
    is_own = OWN_SERVER.is_begun or not settings.api.url
    keep_loopback_direct(None if is_own else settings.api.url)
    if is_own and settings.server.ephemeral.enabled:
        insist_on_a_folder()
        database = settings.server.database.connection_url
        if database is None or str(settings.home) in database.get_secret_value():
            insist_on_room(settings.home, "PREFECT_HOME")
        does(WAITS_FOR_SERVER if OWN_SERVER.is_begun else STARTS_SERVER)
        if not OWN_SERVER.is_begun:
            theirs = settings.api.auth_string or settings.server.api.auth_string
            OWN_SERVER.begin(
                theirs.get_secret_value() if theirs else _new_auth_string(),
                settings.to_environment_variables(exclude_unset=True, include_secrets=True),
            )
        if loads:
            import_module(loads)
        OWN_SERVER.wait(settings.server.ephemeral.startup_timeout_seconds)
        _lead_to(OWN_SERVER.api_url, OWN_SERVER.auth_string)
    else:
        does(f"asks Prefect at {told_url(settings.api.url or '')}")
    with get_client(sync_client=True) as client:
        said = client.api_version()
        if to_record and not is_own and client.server_type is not ServerType.CLOUD:
            _insist_on_records(str(said), told_url(settings.api.url or ""))


def _insist_on_records(said: str, url: str) -> None:
    """See that a server is not too old to record a run.

    Args:
        said: Its version; one that cannot be read is nobody's reason to refuse it.
        url: Where it answers.

    Raises:
        PrefectUnreachableError: It is.
    """
    found = _VERSION.match(said)
    if found is None or tuple(map(int, found.groups())) >= OLDEST_SERVER:
        return
    oldest = ".".join(map(str, OLDEST_SERVER))
    raise PrefectUnreachableError(
        f"the Prefect server at {url} is {found.group()}, and {oldest} or newer is needed: "
        "an older one records neither task runs nor events of a run, and starts no automation by "
        "them; nothing was sent",
        f"upgrade that server to Prefect {oldest} or newer, or take {VARIABLE} away: "
        "then obscale starts a server of its own for the run",
    )


def _lead_to(url: str, auth_string: str) -> None:
    """Have Prefect's clients in this process ask our own server, with its password.

    Else every user of this machine could read the secrets stored in it while it runs. It is written
    nowhere, and ends with this program.

    Args:
        url: Of its API.
        auth_string: `user:password`; what is configured counts instead.
    """
    from prefect.context import refresh_global_settings_context  # noqa: PLC0415 - reads settings

    # Without UI: a link to a server that ends with this run would lead nowhere.
    ours = {VARIABLE: url, "PREFECT_UI_URL": ""}
    ours |= {name: os.environ.get(name) or auth_string for name in AUTH_VARIABLES}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        refresh_global_settings_context()
    finally:
        # No child of this program but the server needs to know it.
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _new_auth_string() -> str:
    return f"obscale:{secrets.token_urlsafe()}"


def _told(error: BaseException) -> str:
    """Give the first line of an error, fit for a terminal."""
    if (status := _status(error)) is not None:
        return f"status {status}"
    return readable(str(error).strip().split("\n", maxsplit=1)[0]) or type(error).__name__


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
