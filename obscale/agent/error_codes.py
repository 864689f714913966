"""The kind of refusal behind each errCode, and the hint for the reader.

From 4.3.1.0 on an error has a text code (`errCode`), before that a number only (ob/agent/errors/*,
change 43a4c2b). The rows name the obshell source the code comes from; an unknown code stays a plain
`AgentRefusedError`.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from obscale.errors import (
    AgentRefusedError,
    AgentTroubleError,
    AlreadyMemberError,
    DagNotFoundError,
    DatabaseDownError,
    IdentityMismatchError,
    NotAuthorizedError,
    StaleKeyError,
    UnderMaintenanceError,
    VersionMismatchError,
)

NOT_FOUND_STATUS: Final = 404
NO_SUCH_ROUTE: Final = frozenset({"Common.NotFound", "1003"})
"""Codes of an unknown path. Source: ob/agent/api/agent_route.go; ob/agent/errors/error_code.go."""
WITH_AGENT_PASSWORD: Final = "Security.Authentication.WithAgentPassword"  # noqa: S105 - a code
"""The agent has a password of its own and wants it.

Source: ob/agent/api/common/middleware.go, 4.5.0.0.
"""
WITH_ROOT_PASSWORD: Final = "Security.Authentication.WithOceanBasePassword"  # noqa: S105 - a code
"""The agent has no password of its own and wants that of root@sys. Source: as above."""
EXPIRED: Final = "Security.Authentication.Expired"
"""The header's expiry has passed on the agent's clock. Source: ob/agent/secure/auth.go, 4.5.0.0."""
OLD_UNAUTHORIZED: Final = "10008"
"""Before 4.3.1.0 the one code of every failed authentication.

Source: ob/agent/errors/error_code.go, 4.2.6.0.
"""
DAG_LOOKUP_FAILED: Final = "Task not found:"
"""How a DAG lookup fails for whatever reason; only with status 404 the DAG is not there.

Source: ob/agent/executor/task/dag.go, 4.5.0.0.
"""
NO_DATABASE_HERE: Final = ("Agent.OceanBase.*", "OB.Server.Process.*")
"""What an agent answers that cannot use its database at all: never connected, its observer gone or
not to be found, the connection of no use or into another database than obshell's.

It asks for the connection before it does anything, so nothing was done. `MySQL.Error` is not among
them: a statement failed, perhaps after others that did not.

Source: ob/agent/repository/db/oceanbase/instance.go, 4.5.0.0.
"""


@dataclass(frozen=True)
class Rule:
    """One row: refusals of this code, and of this text where the code says too little.

    Args:
        code: `errCode`, or the old number as text; may end in `*`.
        error: The class to raise.
        hint: The next step for the person reading it.
        text: Lower-case part of the message that must be there; empty for any message.
    """

    code: str
    error: type[AgentRefusedError]
    hint: str = ""
    text: str = ""


_CHECK_ROOT: Final = "check the root@sys password of this connection"
_CHECK_AGENT: Final = "check the password of this agent"
_CLOCK: Final = "compare the clocks of this machine and the agent's host"
_LOCKED: Final = "wait for the running DAG, or see whose it is: obscale watch CLUSTER"
_SAME_BUILD: Final = (
    "install the cluster's OceanBase build, and an obshell not newer than the cluster's"
)
_OTHER_AGENT: Final = "ask another agent of the cluster, and see whether the observer there runs"
_WRONG_AGENT: Final = (
    "ask a CLUSTER AGENT; the agent to be added must be SINGLE. See /api/v1/info of both"
)
_CHECK_ID: Final = "check the id of the DAG, and that the agent belongs to the cluster"
_VERIFY: Final = "the server is there already; verify it instead of adding it"
_OLD_KEY: Final = "the agent's key pair changed; ask again"
_LOG: Final = "look the trace id up in log_obshell/obshell.log of this agent"
_TARGET: Final = (
    "see whether obshell runs on the agent to be added, and speaks the cluster's scheme"
)

RULES: Final[tuple[Rule, ...]] = (
    # Authentication: ob/agent/api/common/middleware.go, ob/agent/secure/auth.go, 4.5.0.0
    Rule("Security.Authentication.Header.DecryptFailed", StaleKeyError, _OLD_KEY),
    Rule(EXPIRED, NotAuthorizedError, _CLOCK),
    Rule("Security.Authentication.Timestamp.Invalid", NotAuthorizedError, _CLOCK),
    Rule("Security.Authentication.IncorrectOceanbasePassword", NotAuthorizedError, _CHECK_ROOT),
    Rule("Security.Authentication.IncorrectAgentPassword", NotAuthorizedError, _CHECK_AGENT),
    Rule(WITH_AGENT_PASSWORD, NotAuthorizedError, "give the password of this agent"),
    Rule(WITH_ROOT_PASSWORD, NotAuthorizedError, "give the root@sys password of the cluster"),
    Rule(
        "Security.Authentication.Header.UriMismatch",
        NotAuthorizedError,
        "something between here and the agent rewrites paths; go without that proxy",
    ),
    Rule("Security.Authentication.*", NotAuthorizedError),
    Rule("Common.Unauthorized", NotAuthorizedError),
    Rule(
        "Request.Header.NotFound", NotAuthorizedError, "ask again; the agent wants another header"
    ),
    # Locks: ob/agent/service/task/status_maintainer.go, 4.5.0.0
    Rule("Agent.UnderMaintenance*", UnderMaintenanceError, _LOCKED),
    Rule("OB.Cluster.UnderMaintenance*", UnderMaintenanceError, _LOCKED),
    Rule("OB.Tenant.UnderMaintenance", UnderMaintenanceError, _LOCKED),
    # Who may do what: ob/agent/executor/ob/scale_out.go, 4.5.0.0
    Rule("Agent.Identify.*", IdentityMismatchError, _WRONG_AGENT),
    Rule("Agent.OB.Version.Inconsistent", VersionMismatchError, _SAME_BUILD),
    Rule("Agent.Version.Inconsistent", VersionMismatchError, _SAME_BUILD),
    Rule("Agent.Binary.NotFound", VersionMismatchError, _SAME_BUILD),
    Rule("OB.Cluster.ScaleOutHigherVersion", VersionMismatchError, _SAME_BUILD),
    Rule("OB.Cluster.ScaleOutLowerVersion", VersionMismatchError, _SAME_BUILD),
    Rule("Agent.AlreadyExists", AlreadyMemberError, _VERIFY),
    Rule("Agent.RPC.Request*", AgentRefusedError, _TARGET),
    Rule("Agent.Response.DataEmpty", AgentRefusedError, _TARGET),
    # Database: ob/agent/repository/db/oceanbase, ob/agent/errors/error_code.go, 4.5.0.0
    *(Rule(code, DatabaseDownError, _OTHER_AGENT) for code in NO_DATABASE_HERE),
    Rule("MySQL.Error", DatabaseDownError, _OTHER_AGENT),
    # DAGs: ob/agent/executor/task/dag.go, 4.5.0.0
    Rule("Task.NotFound", DagNotFoundError, _CHECK_ID),
    Rule("Task.GenericID.Invalid", DagNotFoundError, _CHECK_ID),
    # Go's, the network's or the shell's own words: ob/agent/errors/error.go, 4.5.0.0
    Rule("Common.Unexpected", AgentTroubleError, _LOG),
    # Numbers of 4.2.3.0 to 4.3.0.0: ob/agent/errors/error_code.go, 4.2.6.0. One number means many
    # things, so the text decides; it was never translated in that era.
    Rule("1000", VersionMismatchError, _SAME_BUILD, "version"),
    Rule("1000", AlreadyMemberError, _VERIFY, "already exists"),
    Rule("1010", IdentityMismatchError, _WRONG_AGENT, "does not support this operation"),
    Rule("1010", UnderMaintenanceError, _LOCKED, "under maintenance"),
    Rule("1002", UnderMaintenanceError, _LOCKED, "under maintenance"),
    Rule("1002", AlreadyMemberError, _VERIFY, "already exists"),
    Rule("1002", AgentTroubleError, _LOG),
    Rule("2300", DagNotFoundError, _CHECK_ID),
    Rule("2301", UnderMaintenanceError, _LOCKED, "under maintenance"),
    Rule("10000", NotAuthorizedError),
    Rule(OLD_UNAUTHORIZED, StaleKeyError, _OLD_KEY, "decrypt"),
    Rule(OLD_UNAUTHORIZED, NotAuthorizedError, _CLOCK, "expired"),
    Rule(OLD_UNAUTHORIZED, NotAuthorizedError, "check the password and the clocks"),
    Rule("10009", IdentityMismatchError, _WRONG_AGENT),
    # Before 4.2.3.0: obshell/client.py of the official SDK 0.0.9
    Rule("1", StaleKeyError, _OLD_KEY),
    Rule("2", VersionMismatchError, "upgrade obshell"),
)
"""First match counts."""


def classify(code: str, status: int, message: str) -> tuple[type[AgentRefusedError], str]:
    """Say which error a refusal is.

    Args:
        code: `errCode`, or the old number as text.
        status: HTTP status.
        message: obshell's text.

    Returns:
        The class to raise, and a hint (may be empty). An unknown code gives `AgentRefusedError`.
    """
    text = message.lower()
    if _lookup_failed(status, message):
        return DatabaseDownError, _OTHER_AGENT
    for rule in RULES:
        if fnmatchcase(code, rule.code) and rule.text in text:
            return rule.error, rule.hint
    return AgentRefusedError, ""


def lacks_database(refused: AgentRefusedError) -> bool:
    """Whether an agent turned a request down because it has no database: nothing was done then."""
    return _lookup_failed(refused.status, refused.message) or any(
        fnmatchcase(refused.code, code) for code in NO_DATABASE_HERE
    )


def _lookup_failed(status: int, message: str) -> bool:
    return DAG_LOOKUP_FAILED.lower() in message.lower() and status != NOT_FOUND_STATUS
