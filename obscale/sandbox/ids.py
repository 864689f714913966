"""The ids of DAGs, nodes and sub tasks, and addresses, made and read as obshell does.

Source: ob/agent/engine/task/task_dto.go, 4.5.0.0.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

PORT_DIGITS: Final = 5
IPV4_DIGITS: Final = 10
IPV6_DIGITS: Final = 39
LOCAL_DIGITS: Final = {"2": IPV4_DIGITS, "3": IPV6_DIGITS, "4": IPV4_DIGITS, "5": IPV6_DIGITS}
"""Address digits by first digit; 4 and 5 are obproxy tasks of the same two shapes."""


@dataclass(frozen=True)
class GenericId:
    """An id taken apart.

    Attributes:
        number: The plain number inside.
        ip: Address of the agent that owns it, `None` for ids of the cluster.
        port: Its port, 0 for ids of the cluster.
        obproxy: Whether an obproxy task owns it.
    """

    number: int
    ip: str | None = None
    port: int = 0
    obproxy: bool = False

    def __str__(self) -> str:
        if self.ip is None:
            return f"1{self.number}"
        address = ip_address(self.ip)
        first = {4: "2", 6: "3"}[address.version]
        if self.obproxy:
            first = str(int(first) + 2)
        return (
            f"{first}{int(address):0{LOCAL_DIGITS[first]}d}{self.port:0{PORT_DIGITS}d}{self.number}"
        )


def parse_generic_id(text: str) -> GenericId:
    """Take an id apart.

    Raises:
        ValueError: Not an id obshell could have handed out.
    """
    if not (text.isascii() and text.isdigit()) or len(text) < len("1N"):
        raise ValueError(f"generic id '{text}' is invalid")
    first, rest = text[0], text[1:]
    if first == "1":
        return GenericId(int(rest))
    digits = LOCAL_DIGITS.get(first)
    if digits is None or len(rest) <= digits + PORT_DIGITS:
        raise ValueError(f"generic id '{text}' is invalid")
    number = int(rest[:digits])
    if number >> (32 if digits == IPV4_DIGITS else 128):
        raise ValueError(f"generic id '{text}' is invalid")
    address = IPv4Address(number) if digits == IPV4_DIGITS else IPv6Address(number)
    return GenericId(
        number=int(rest[digits + PORT_DIGITS :]),
        ip=str(address),
        port=int(rest[digits : digits + PORT_DIGITS]),
        obproxy=first in "45",
    )


def join_address(ip: str, port: int) -> str:
    """`ip:port` with brackets where IPv6 needs them."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
