"""Standard output and error that never end a command, whatever terminal or file is behind them.

A character that the terminal cannot show becomes a plain sign, or an escape. What cannot be written
(a full disk, a closed pipe) is told once on standard error, and the command goes on to its end.
"""

import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

_SIGNS: Final = {"☐": "[ ]", "→": "->", "…": "...", "≤": "<=", "≥": ">="} | dict(
    zip("✔✘×÷·—–‘’“”█░▓", "+xx/---''\"\"#.+", strict=True)
)
_LINES: Final = {
    **dict.fromkeys("─━╌╍┄┅┈┉═╴╶╸╺╼╾", "-"),
    **dict.fromkeys("│┃╎╏┆┇┊┋║╵╷╹╻╽╿", "|"),
}
_PLAIN: Final = str.maketrans(
    # All other lines of Unicode's box drawing meet or cross.
    {**{chr(code): "+" for code in range(0x2500, 0x2580)}, **_LINES, **_SIGNS}
)
"""What stands for our signs and Rich's boxes where the terminal is none of Unicode's."""
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")


class Outlet:
    """One of the two, in place of Python's own.

    It has no `buffer`: whoever writes bytes past it would be met by what it keeps away.

    Args:
        stream: Python's own; None where the file was closed before the program began.
        name: What to call it.
        is_json: Whether nothing but JSON is written: then characters are escaped as JSON does.
        tell: Where its loss is told; None for nowhere.
    """

    def __init__(
        self, stream: TextIO | None, name: str, *, is_json: bool, tell: "Outlet | None"
    ) -> None:
        self._stream = stream
        self._name = name
        self._is_json = is_json
        self._tell = tell
        self._is_lost = False
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"
        self.errors: str = getattr(stream, "errors", None) or "strict"

    def write(self, text: str) -> int:
        """Write a text, as far as that can be done."""
        if self._stream is None:
            self._lose("it is closed")
        elif not self._is_lost:
            try:
                self._stream.write(self._fitting(text))
            except (OSError, ValueError) as error:
                self._lose(_reason(error))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is still held back."""
        if self._stream is not None and not self._is_lost:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(_reason(error))

    def silence(self) -> None:
        """Write what is still held back, and nothing more from now on."""
        self.flush()
        self._is_lost = True

    def isatty(self) -> bool:
        """Whether somebody watches."""
        if self._stream is None or self._is_lost:
            return False
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Give the number of the file behind it.

        Raises:
            OSError: There is none.
        """
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def writable(self) -> bool:
        """It always may be written."""
        return True

    def readable(self) -> bool:
        """It never may be read."""
        return False

    @property
    def closed(self) -> bool:
        """It stays open to whoever writes."""
        return False

    def _fitting(self, text: str) -> str:
        plain = text
        if not self._is_json and not self.encoding.lower().startswith("utf"):
            plain = text.translate(_PLAIN)
        try:
            plain.encode(self.encoding)
        except UnicodeError:
            if self._is_json:
                return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], plain)
            return plain.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return plain

    def _lose(self, reason: str) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        if self._stream is not None:
            # What Python still holds of it would be written at exit, and fail once more there.
            with suppress(OSError, ValueError):
                _lead_nowhere(self._stream.fileno())
                self._stream.flush()
        if self._tell is not None:
            self._tell.write(f"obscale: {self._name} cannot be written: {reason}; going on\n")
            self._tell.flush()


@contextmanager
def sure_output(*, as_json: bool) -> Iterator[None]:
    """Stand in for `sys.stdout` and `sys.stderr` until the context ends.

    Args:
        as_json: Whether standard output holds nothing but JSON.
    """
    _open_what_is_closed()
    known = sys.stdin, sys.stdout, sys.stderr
    error = Outlet(sys.stderr, "standard error", is_json=False, tell=None)
    output = Outlet(sys.stdout, "standard output", is_json=as_json, tell=error)
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        sys.stdin = sys.stdin or nothing
        sys.stdout, sys.stderr = output, error
        try:
            yield
        finally:
            output.flush()
            error.flush()
            sys.stdin, sys.stdout, sys.stderr = known


def _open_what_is_closed() -> None:
    """See that no other file, a database say, gets the number of one of the three."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _lead_nowhere(number: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)


def _reason(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
