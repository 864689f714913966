"""Which settings does Prefect get when obscale starts it by itself?

Must run before Prefect is imported, because Prefect reads its settings at import.
"""

import os
from pathlib import Path
from typing import Final

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
}
QUIET_SETTINGS: Final = {
    # The command line tells the run itself; Prefect's log lines still reach its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "obscale",
}


def settle(*, quiet: bool = True, own_home: bool = False) -> None:
    """Put Prefect's settings into the environment, without overriding what the user has set.

    Args:
        quiet: Keep Prefect's own log lines off the terminal.
        own_home: Keep everything in obscale's cache folder and ignore any server the user has
            configured; for the demo, which must not write into a real Prefect.
    """
    for name, value in (SERVER_SETTINGS | (QUIET_SETTINGS if quiet else {})).items():
        os.environ.setdefault(name, value)
    if own_home:
        os.environ.pop("PREFECT_API_URL", None)
        os.environ.pop("PREFECT_API_AUTH_STRING", None)
        os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "true"
        home = demo_home()
        # Prefect's server does not make the folder of its database.
        home.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(home)


def demo_home() -> Path:
    """Give the folder of the demo's own Prefect, kept so that a second start is quick."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "obscale" / "prefect"
