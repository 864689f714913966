"""Keep what Prefect's own threads say of a server that is away out of a run's output.

The run says it once, by itself (`tasks/prefect_watch.py`); Prefect's threads would say it for each
event and line they cannot send.
"""

import logging
from typing import Final

from tasks.writing import Recording

LOUD: Final = (
    "prefect._internal.concurrency",
    "prefect.events.clients",
    "EventsWorker",
    "APILogWorker",
)
"""Loggers of the threads that send events and lines, and of what they use."""
LOST: Final = "events or log lines"


class _Hush(logging.Filter):
    """Drops what these loggers say, and notes that something was lost."""

    known: Recording | None = None

    def filter(self, _record: logging.LogRecord) -> bool:
        if self.known:
            self.known.unrecorded[LOST] = LOST
        return False


_HUSH: Final = _Hush()


def quiet_threads(known: Recording) -> None:
    """Let these threads be silent in the log from now on, and note what they lose.

    Args:
        known: Of Prefect beside the run of the moment.
    """
    _HUSH.known = known
    for name in LOUD:
        # A filter, because Prefect sets the levels anew where a run begins.
        logging.getLogger(name).addFilter(_HUSH)


def quiet_process() -> None:
    """Let no handler write to standard error what it cannot send, in a program made for runs.

    Prefect's sender of log lines does, unless Python's own switch for production says otherwise.
    """
    logging.raiseExceptions = False
