"""Chooses a language: for the reader of a terminal, and for the pages of a deployment."""

import os
import sys
from typing import Final, Literal

Language = Literal["en", "zh"]

LANGUAGE_VARIABLE: Final = "OBSCALE_LANG"
_OF_READERS: Final = ("LC_ALL", "LC_MESSAGES", "LANG")
"""What a person's locale is read from; the first that is set counts, as POSIX has it."""
_SIMPLIFIED: Final = frozenset({"zh", "zh_cn", "zh_sg", "zh_hans"})
_SIGN: Final = "中"


def reader_language() -> Language:
    """Give the language for a terminal: OBSCALE_LANG, else the locale of whoever sits there.

    English where standard output or standard error could not show it.
    """
    wanted = next(filter(None, map(os.environ.get, (LANGUAGE_VARIABLE, *_OF_READERS))), "")
    if language_of(wanted) == "zh" and all(map(_takes_chinese, (sys.stdout, sys.stderr))):
        return "zh"
    return "en"


def page_language() -> Language:
    """Give the language for what is stored for all readers: OBSCALE_LANG alone decides."""
    return language_of(os.environ.get(LANGUAGE_VARIABLE, ""))


def language_of(locale: str) -> Language:
    """Read a language of `zh`, `zh_CN.UTF-8`, `zh-Hans`, `en_GB`; all but these is English.

    >>> language_of("zh_CN.GBK")
    'zh'
    """
    name = locale.partition(".")[0].partition("@")[0].strip().lower().replace("-", "_")
    return "zh" if name in _SIMPLIFIED or name.startswith("zh_hans") else "en"


def _takes_chinese(stream: object) -> bool:
    try:
        _SIGN.encode(getattr(stream, "encoding", None) or "utf-8")
    except (LookupError, UnicodeError):
        return False
    return True
