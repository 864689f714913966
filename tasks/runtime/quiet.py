"""Keep what Prefect's own threads say of a server that is away out of a run's output.

The run says it once, by itself (`tasks/runtime/prefect_watch.py`); Prefect's threads would say it
for each event and line they cannot send.
"""

import logging
from typing import Final

import httpx
from prefect.exceptions import PrefectException

from obscale.tasks.runtime.prefect_private import FLOW_RUNS_LOGGER, SENDER_LOGGERS
from obscale.tasks.runtime.writing import Recording
from obscale.text import for_terminal

LOST: Final = "events or log lines"


class _Hush(logging.Filter):
    """Drops what these loggers say, and notes that something was lost."""

    known: Recording | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        if self.known:
            self.known.unrecorded[LOST] = LOST
        return False


class _OneLine(logging.Filter):
    """Lets the engine's failing to record a run be one line: its traceback says nothing more."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, httpx.HTTPError | PrefectException):
            what, why = record.getMessage().partition(":")[0], str(error) or type(error).__name__
            record.msg, record.args = for_terminal(f"{what}: Prefect: {why}"), ()
            record.exc_info = record.exc_text = None
        return True


_HUSH: Final = _Hush()
_ONE_LINE: Final = _OneLine()


def quiet_threads(known: Recording) -> None:
    """Let these threads be silent in the log from now on, and note what they lose.

    Args:
        known: Of Prefect beside the run of the moment.
    """
    _HUSH.known = known
    for name in SENDER_LOGGERS:
        # A filter, because Prefect sets the levels anew where a run begins.
        logging.getLogger(name).addFilter(_HUSH)
    logging.getLogger(FLOW_RUNS_LOGGER).addFilter(_ONE_LINE)


def quiet_process() -> None:
    """Let no handler write to standard error what it cannot send, in a program made for runs.

    Prefect's sender of log lines does, unless Python's own switch for production says otherwise.
    """
    logging.raiseExceptions = False
