"""The refusals of obshell, in the shape of each version.

Source: ob/agent/errors/*.go and ob/agent/lib/http/response.go, 4.5.0.0; error codes of 4.2.3.0.
"""

from typing import Any, Final

from obscale.sandbox.agents import Agent

OCS_UNAUTHORIZED: Final = 10008
DECRYPT_FAILED: Final = "Security.Authentication.Header.DecryptFailed"
AUTHENTICATION_PREFIX: Final = "Security.Authentication."
OLD_BAD_REQUEST: Final = 1000
OLD_ILLEGAL_ARGUMENT: Final = 1001
OLD_UNEXPECTED: Final = 1002
OLD_KNOWN: Final = 1010
OLD_CODES: Final = {
    "Common.BindJsonFailed": (400, OLD_ILLEGAL_ARGUMENT),
    "Common.InvalidPort": (400, OLD_ILLEGAL_ARGUMENT),
    "Common.NotFound": (404, 1003),
    "Task.NotFound": (404, 2300),
    "Task.CreateFailed": (500, 2301),
    "Task.GenericID.Invalid": (400, OLD_BAD_REQUEST),
    "Agent.OB.Version.Inconsistent": (400, OLD_BAD_REQUEST),
    "OB.Cluster.ScaleOutHigherVersion": (400, OLD_BAD_REQUEST),
    "OB.Cluster.ScaleOutLowerVersion": (400, OLD_BAD_REQUEST),
    "Agent.AlreadyExists": (400, OLD_BAD_REQUEST),
    "Agent.Identify.NotSupportOperation": (500, OLD_KNOWN),
    "Request.Header.NotFound": (401, OCS_UNAUTHORIZED),
    "Request.Body.Decrypt.AES.KeyAndIv.Invalid": (401, OCS_UNAUTHORIZED),
    "Request.Body.Decrypt.AES.ContentLength.Invalid": (401, OCS_UNAUTHORIZED),
}
"""HTTP status and code of the era before `errCode`, by the code of today."""
OLD_PREFIXES: Final = (
    ("Task.Dag.Operator.", (500, OLD_KNOWN)),
    ("Task.Node.Operator.", (500, OLD_KNOWN)),
    (AUTHENTICATION_PREFIX, (401, OCS_UNAUTHORIZED)),
)
NO_DATABASE_CODES: Final = frozenset(
    {"Agent.OceanBase.NotHold", "OB.Server.Process.NotExist", "Agent.OceanBase.Useless"}
)
NO_REASON_GIVEN: Final = "Verification failed: %!v(MISSING)"
"""All an agent up to 4.2.5.0 says about a failed authentication."""


class _Absent:
    """The answer has no `data` key at all."""


ABSENT: Final = _Absent()


class Refusal(Exception):  # noqa: N818 - it is an answer of the simulated agent, not our failure
    """A request is refused.

    Args:
        status: HTTP status of 4.3.1.0 and later.
        code: `errCode`.
        message: `error.message`, English.
        data: What stands beside `error` as `data`; `ABSENT` for nothing.
        traced: False where obshell has not assigned a trace id yet.
    """

    def __init__(
        self, status: int, code: str, message: str, *, data: Any = ABSENT, traced: bool = True
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.data = data
        self.traced = traced

    def with_data(self, data: Any) -> "Refusal":
        """The same refusal with `data` beside it."""
        return Refusal(self.status, self.code, self.message, data=data, traced=self.traced)


class Panic(Exception):  # noqa: N818 - as above
    """obshell panics, and answers with a page prepared at its start."""


def printed_error(refusal: Refusal, agent: Agent) -> tuple[int, dict[str, Any]]:
    """HTTP status and `error` object in the shape this agent's release uses."""
    if not agent.has("errCode"):
        return _old_shape(refusal, agent)
    error: dict[str, Any] = {}
    if number := _numeric_code(refusal.code, agent):
        error["code"] = number
    return refusal.status, error | {"errCode": refusal.code, "message": refusal.message}


def _numeric_code(code: str, agent: Agent) -> int:
    if code == DECRYPT_FAILED:
        return 1 if agent.has("rsa 1024") else 0
    if code.startswith(AUTHENTICATION_PREFIX) or code == "Common.Unauthorized":
        return OCS_UNAUTHORIZED
    return 0


def _old_shape(refusal: Refusal, agent: Agent) -> tuple[int, dict[str, Any]]:
    status, number = OLD_CODES.get(refusal.code, (500, OLD_UNEXPECTED))
    for prefix, known in OLD_PREFIXES:
        if refusal.code.startswith(prefix):
            status, number = known
    message = refusal.message
    if number == OCS_UNAUTHORIZED:
        message = (
            f"Verification failed: {message.removeprefix('Unauthorized: ').lower()}"
            if agent.has("reasons")
            else NO_REASON_GIVEN
        )
    return status, {"code": number, "message": message}


def wrong_type(value: object, field: str, kind: str) -> str:
    """What Go says of a JSON value that does not fit the type of a field."""
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    given = names.get(type(value), "object")
    return f"json: cannot unmarshal {given} into Go struct field {field} of type {kind}"


def unexpected(text: str) -> Refusal:
    """500 `Common.Unexpected` with its usual prefix."""
    return Refusal(500, "Common.Unexpected", f"Unexpected error: {text}")


def not_supported(agent: Agent, identity: str, needed: str) -> Refusal:
    """The agent at that address has the wrong identity for the request."""
    return Refusal(
        400,
        "Agent.Identify.NotSupportOperation",
        f"'{agent.address}' is '{identity}', instead of '{needed}', "
        "does not support this operation",
    )


def no_database(agent: Agent, prefix: str = "") -> Refusal:
    """Why an agent cannot use OceanBase: it never could, its observer is gone, or it is no use.

    Source: ob/agent/repository/db/oceanbase/instance.go, ob/agent/assets/i18n, 4.5.0.0.
    """
    if agent.observer is None or not agent.connected:
        code, message = "Agent.OceanBase.NotHold", "Agent is not holding OceanBase"
    elif not agent.observer.alive:
        code, message = "OB.Server.Process.NotExist", "Observer process does not exist"
    else:
        code, message = "Agent.OceanBase.Useless", "The current database is useless"
    return Refusal(500, code, f"{prefix}{message}")


def task_not_shown(agent: Agent) -> Refusal:
    """The agent cannot look a task of the cluster up: it does not even know whether there is one.

    Source: ob/agent/executor/task/dag.go, 4.5.0.0, `WrapRetain(ErrTaskNotFound, err)`.
    """
    return no_database(agent, "Task not found: ")
