"""Gives httpx without its own command line, which brings click and pygments into each start."""

import sys
from typing import Final

_OWN_COMMAND: Final = "httpx._main"
_IS_FIRST: Final = "httpx" not in sys.modules

if _IS_FIRST:
    # Its import fails then, which httpx expects of who has not installed its extra `cli`.
    sys.modules[_OWN_COMMAND] = None  # type: ignore[assignment]

import httpx  # noqa: E402

if _IS_FIRST:
    del sys.modules[_OWN_COMMAND]

__all__ = ["httpx"]
