"""Says what may be sent to set a server's parameters: obshell writes it into SQL unescaped.

Source: ob/agent/service/obcluster/obcluster.go, 4.5.0.0; recorded: a value with `"` in it went
through as two settings.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

from obscale.errors import SpecError

_NAME: Final = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_VALUE: Final = re.compile(r"[A-Za-z0-9_.:%;,/@ +-]+", re.ASCII)
_SERVER: Final = re.compile(
    r"(?:\[(?P<six>[^\[\]]+)\]|(?P<four>[0-9.]+)):(?P<port>\d{1,5})", re.ASCII
)


def unsettable(name: str, value: str) -> str:
    """Say why a setting must not be sent; empty: it may be."""
    if not _NAME.fullmatch(name):
        return f"{name!r} is no plain name of a parameter"
    if not value:
        return f"{name}: an empty value is sent as such, and not ignored"
    if not _VALUE.fullmatch(value):
        return f"{name}: its value holds a character that obshell does not escape"
    return ""


def setting_body(server: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Give the body that sets parameters of one server.

    Args:
        server: `ip:port` of its RPC, IPv6 in brackets.
        values: By name, in the order they are set.

    Raises:
        SpecError: Something in it must not be sent.
    """
    if not _is_server(server):
        raise SpecError(f"{server!r} is no ip:port of a server; nothing was sent")
    for name, value in values.items():
        if reason := unsettable(name, value):
            raise SpecError(f"{reason}; nothing was sent")
    return {
        "params": [
            {"name": name, "value": value, "scope": "CLUSTER", "servers": [server]}
            for name, value in values.items()
        ]
    }


def _is_server(text: str) -> bool:
    found = _SERVER.fullmatch(text)
    if found is None:
        return False
    try:
        address = ip_address(found["six"] or found["four"])
    except ValueError:
        return False
    return "%" not in text and address.version == (6 if found["six"] else 4)
