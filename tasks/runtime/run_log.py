"""Give the log of the current run, in which an error of obscale's is one line."""

import logging
import re
from traceback import format_exception
from typing import Final

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from obscale import __version__
from obscale.errors import ObscaleError, SpecError
from obscale.request.renamed import told_renamed
from obscale.tasks.runtime.prefect_private import (
    FLOWS_LOGGER,
    RUN_LOGGERS,
    WRONG_PARAMETERS,
    SignatureMismatchError,
)
from obscale.text import for_lines, for_terminal


def run_logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """Give the run's logger, or this module's where no run is under way (a unit test)."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)


_UNKNOWN: Final = (
    "not begun, nothing was touched: in the obscale %s of this worker the flow does not take these "
    "parameters. %s%s. Next: correct the name; or, where a newer obscale has made the deployment, "
    "install that on the worker"
)


def told_whole(error: ObscaleError) -> str:
    """Say an error in one line; what else is wrong, or mends it, in one line each."""
    further = error.problems[1:] if isinstance(error, SpecError) else ()
    further = (*further, *getattr(error, "__notes__", ()))
    return "\n".join((str(error), *map(for_terminal, further)))


class OneLineForOurErrors(logging.Filter):
    """Lets everything stand in the run's log as one clear line, errors of obscale's too.

    Only a request with several faults has a line for each.

    So does a parameter the flow here does not have, which ends the run before the flow begins.
    Every other exception keeps its traceback: it is a bug.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record where it carries such an error; never drop one."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ObscaleError):
            record.msg, record.args, record.exc_info = told_whole(error), (), None
            return True
        if isinstance(error, SignatureMismatchError):
            renamed = told_renamed(re.findall(r"'(\w+)'", str(error)))
            told = (__version__, error, renamed and f"; {renamed}")
            record.msg, record.args, record.exc_info = _UNKNOWN, told, None
        record.msg, record.args = for_terminal(record.getMessage()), ()
        if record.exc_info:
            # Handlers write what stands here in place of a traceback of their own.
            record.exc_text = for_lines("".join(format_exception(*record.exc_info)).rstrip())
        return True


class WithoutParameters(logging.Filter):
    """Takes the parameters from Prefect's line on those that do not fit.

    Somebody may have written a password into one. What is wrong, Prefect says in another line.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten that line; never drop one."""
        if (text := record.getMessage()).startswith(WRONG_PARAMETERS):
            record.msg, record.args = text.partition(": ")[0], ()
        return True


logging.getLogger(FLOWS_LOGGER).addFilter(WithoutParameters())
for _runs in RUN_LOGGERS:
    logging.getLogger(_runs).addFilter(OneLineForOurErrors())
