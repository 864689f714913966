"""The address of an agent: parsed, written, and compared."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Self

from obscale.agent.models import joined_address
from obscale.errors import SpecError

DEFAULT_PORT: Final = 2886
"""obshell's own default port. Source: ob/agent/constant/agent.go, 4.5.0.0."""
MAX_PORT: Final = 65535
SHORTEST_PORT: Final = 4
"""Digits of what is taken for a port behind an IPv6 address: obshell has none below 1025."""
MAX_QUOTED_LENGTH: Final = 60
"""Characters of a bad address an error message repeats."""

_ADDRESS = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^\[\]:/]*))"
    r"(?::(?P<port>[^:/]*))?/?",
)
_HINT: Final = "write it as 10.0.0.1:2886, [fd00::1]:2886 or https://10.0.0.1:2886"


@dataclass(frozen=True, order=True)
class AgentAddress:
    """Address of one agent: a literal IP, because obshell itself knows agents by IP only.

    Args:
        ip: IPv4 or IPv6, IPv6 without brackets.
        port: The agent's port; not the SQL port, not the RPC port.
        scheme: `http` or `https`; a port speaks only one of them.
    """

    ip: str
    port: int = DEFAULT_PORT
    scheme: str = "http"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address as people write it.

        Args:
            text: `10.0.0.1`, `10.0.0.1:2886`, `[fd00::1]:2886`, `fd00::1`, each with `http://` or
                `https://` before it if wanted.

        Returns:
            The address; an IPv6 address in its shortest form, so that equal addresses compare
            equal.

        Raises:
            SpecError: A host name, a bad port, a path, or anything else that is no agent address.
        """
        text = text.strip()
        if "@" in text:
            # The part before @ may be a password: nothing of it is repeated.
            raise SpecError("An agent address has no user or password in it", _HINT)
        if meant := port_behind(text):
            advice = f"write [{meant[0]}]:{meant[1]}"
            if _is_ip(text):
                advice += f", or [{text}]:{DEFAULT_PORT} if all of it is the address"
            raise SpecError(
                f"{_quoted(text)}: an IPv6 address stands in brackets before its port", advice
            )
        if _is_ip(text):
            return cls(ip=str(ip_address(text)))
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise SpecError(f"{_quoted(text)} is not an agent address", _HINT)
        scheme = (match["scheme"] or "http").lower()
        if scheme not in {"http", "https"}:
            raise SpecError(f"{_quoted(text)}: agents speak http or https, not {scheme}", _HINT)
        host = match["plain"] if match["bracketed"] is None else match["bracketed"]
        if not _is_ip(host):
            raise SpecError(
                f"{_quoted(text)}: {_quoted(host)} is not an IP address; "
                "obshell knows agents by IP, not by name",
                _HINT,
            )
        if (match["bracketed"] is not None) != (":" in host):
            raise SpecError(f"{_quoted(text)}: brackets belong around an IPv6 address", _HINT)
        return cls(str(ip_address(host)), _read_port(match["port"], text), scheme)

    @property
    def base_url(self) -> str:
        """`scheme://ip:port`, IPv6 in brackets, without a trailing slash."""
        return f"{self.scheme}://{self}"

    def __str__(self) -> str:
        return joined_address(self.ip, self.port)


def port_behind(text: str) -> tuple[str, str] | None:
    """Take an IPv6 address and what seems to be its port apart, written without brackets.

    Args:
        text: As somebody wrote it, e.g. `fd00:5::1:2886`; a whole IPv6 address may look so too.

    Returns:
        Address and port; None where it has no port or needs no brackets.
    """
    ip, _, port = text.rpartition(":")
    ip = ip.partition("://")[2] or ip
    is_one = ":" in ip and _is_ip(ip) and _is_port(port) and len(port) >= SHORTEST_PORT
    return (ip, port) if is_one else None


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    # A scope such as %eth0 means something on one host only.
    return "%" not in text


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= MAX_PORT


def _read_port(text: str | None, whole: str) -> int:
    if text is None:
        return DEFAULT_PORT
    if _is_port(text):
        return int(text)
    raise SpecError(
        f"{_quoted(whole)}: the port must be a number from 1 to {MAX_PORT}",
        f"obshell's default port is {DEFAULT_PORT}",
    )


def _quoted(text: str) -> str:
    shown = text if len(text) <= MAX_QUOTED_LENGTH else f"{text[:MAX_QUOTED_LENGTH]}…"
    return repr(shown)
