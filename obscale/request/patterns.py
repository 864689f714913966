r"""The patterns of a request's texts, which Prefect checks before it makes a run.

They stand in the JSON schema only: the form and `create_flow_run` refuse by them, while models and
rules go on judging, and say what is wrong in words. So a pattern may let pass what they refuse, and
never refuses what they accept. The one exception is a blank inside of a zone's name, nearly always
a slip: an existing zone of such a name is asked for from the command line.

Written for both readers of a schema, Python and ECMAScript: no `\d`, no `\Z`. `(?!\n)` stands
before `$`, which in Python matches before a last line break too.
"""

from typing import Any, Final


def _whole(pattern: str) -> str:
    return rf"^(?:{pattern})(?!\n)$"


LOWEST_PORT: Final = 1025
HIGHEST_PORT: Final = 65535
"""What obshell accepts. Source: ob/agent/executor/ob/config.go, 4.5.0.0."""
PORT_BOUNDS: Final = {"minimum": LOWEST_PORT, "maximum": HIGHEST_PORT}

_PORT = (
    "102[5-9]|10[3-9][0-9]|1[1-9][0-9]{2}|[2-9][0-9]{3}|[1-5][0-9]{4}"
    "|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
)
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IPV6 = "[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*"
_SECURE_OR_NOT = "(?:[Hh][Tt][Tt][Pp][Ss]?://)?"

IP: Final = _whole(f"{_IPV4}|{_IPV6}")
"""No host name, no scope; of IPv6 only that it looks like one."""
ENDPOINT: Final = _whole(
    rf"\s*(?:{_SECURE_OR_NOT}(?:{_IPV4}|\[{_IPV6}\])(?::[0-9]+)?/?|{_IPV6})\s*"
)
"""As `AgentAddress.parse` reads it."""
ZONE: Final = _whole(r"""[^\s"'`\\]+""")
PORT: Final = _whole(_PORT)
PORT_OR_EMPTY: Final = _whole(f"|{_PORT}")
SIZE: Final = _whole("(?:0|[1-9][0-9]*)(?:[KMGTPkmgtp]?[Bb]|[KMGTPkmgtp]|[Bb][Yy][Tt][Ee])")
"""As `parse_capacity` reads it."""
PATH_OR_EMPTY: Final = _whole("|/[A-Za-z0-9\u4e00-\u9fa5_:@/.-]*")
VARIABLE: Final = _whole("[A-Za-z_][A-Za-z0-9_]*")
BLOCK: Final = _whole("[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
DAG_ID: Final = _whole("[0-9]{2,}")
"""Source: ob/agent/engine/task/task_dto.go, 4.5.0.0."""
DAY: Final = _whole("[0-9]{4}-[0-9]{2}-[0-9]{2}")
HOUR: Final = _whole("(?:[01][0-9]|2[0-3]):[0-5][0-9]")
SOMETHING: Final = r"\S"


def like(pattern: str) -> dict[str, Any]:
    """Give a pattern as `json_schema_extra`: pydantic's own would refuse in pydantic's words."""
    return {"pattern": pattern}
