"""The errors of obscale: each names agent, step, cause and the next command.

ObscaleError                   what a caller may catch; carries `hint`, the next step
├── SpecError                  the request is wrong                 → correct the spec
├── PreflightError             findings contain a blocker           → mend the host, run again
├── RejectedError              a person said no                    → read why, change the request
├── NotApprovedError           nobody answered in time             → ask when somebody is there
├── PlanChangedError           the cluster is not as it was planned → plan again
├── PrefectUnreachableError    Prefect does not answer, or not us   → start it, mend its credentials
├── AgentError                 has to do with one agent; carries `agent`, `step`, `trace_id`
│   ├── AgentUnreachableError  no answer to a read                  → ask again (transient)
│   ├── OutcomeUnknownError    no answer to a write                 → look for the DAG, never resend
│   ├── AgentProtocolError     an answer nobody can read            → wrong port? version?
│   ├── UntrustedKeyError      its key changed unannounced          → was it installed anew? pin it
│   ├── PasswordWithheldError  it wants a password it may not have  → is it the host that is meant?
│   ├── NotSupportedError      this agent has no such endpoint      → an absent fact, not a failure
│   └── AgentRefusedError      it said no, with `code`
│       ├── NotAuthorizedError       password, header or clock      → mend the credentials
│       │   └── StaleKeyError        the agent's key changed        → fetch it again, send once more
│       ├── UnderMaintenanceError    a DAG holds the lock           → wait, or look whose it is
│       ├── IdentityMismatchError    not SINGLE / not CLUSTER AGENT → wrong agent, or under way
│       ├── VersionMismatchError     builds differ                  → install the same build
│       ├── AlreadyMemberError       the server is in the cluster   → verify instead
│       ├── DatabaseDownError        the agent lives, its database not → ask another (transient)
│       ├── AgentTroubleError        it stumbled itself, code says nothing → ask another (transient)
│       └── DagNotFoundError         the agent does not know the DAG → check the id
├── DagFailedError             the DAG is FAILED                    → read the cause, decide
├── DagRolledBackError         SUCCEED, but undone                  → nothing was added
├── DagStalledError            nothing moved for too long           → a person looks
├── ForeignDagError            somebody else's DAG holds the lock   → wait for its owner
├── RecordError                Prefect does not take the record → nothing was sent, run it again
├── DispatchError              no worker, deployment or server      → start one, run it again
├── RunLostError               a row's run on a worker is gone      → see its log, run it again
├── HalfReplacedError          the new node is there, the old too   → read why, run it again
├── VerifyError                SUCCEED, but the cluster disagrees   → do not trust the green light
└── BatchIncompleteError       not every node of a batch is there   → read its report, apply again
"""

from datetime import datetime
from typing import ClassVar, Final

from obscale.text import for_terminal

SERVER_ERRORS_FROM: Final = 500
"""Smallest HTTP status that blames the server. Source: RFC 9110, 15.6."""


class ObscaleError(Exception):
    """Anything obscale refuses or could not do, said in one line, whatever its parts hold.

    Args:
        message: What happened, without a full stop at the end.
        hint: The next step or command for the person reading it, may be empty.
    """

    kind: ClassVar[str] = "error"
    """Stable text for machines, written into JSON output."""
    choices: tuple[str, ...] = ()
    """What may be done, each with what it destroys; where a person has to choose."""
    transient: bool = False
    """Whether asking again, unchanged, may succeed; `AgentProtocolError` decides it by status."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        next_step = for_terminal(f". Next: {self.hint}") if self.hint else ""
        return f"{self.without_hint}{next_step}"

    @property
    def without_hint(self) -> str:
        """What `str` says without the next step, for a line that names a step of its own."""
        return for_terminal(". ".join((self._said(), *self.choices)))

    @property
    def lines(self) -> tuple[str, ...]:
        """What `str` says in one line; where there are choices, each in a line of its own."""
        if not self.choices:
            return (str(self),)
        said = (self._said(), *self.choices, *((f"next: {self.hint}",) if self.hint else ()))
        return tuple(for_terminal(line) for line in said)

    def _said(self) -> str:
        return self.message


class SpecError(ObscaleError):
    """The request itself is wrong; nothing was sent."""

    kind = "spec"

    def __init__(self, message: str, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, problems)
        self.problems = problems or (message,)


class PreflightError(ObscaleError):
    """At least one finding forbids the submit; nothing was sent."""

    kind = "blocked"


class RejectedError(ObscaleError):
    """A person was asked before the submit and said no; nothing was sent."""

    kind = "rejected"


class NotApprovedError(ObscaleError):
    """A person was asked before the submit and did not answer in time; nothing was sent."""

    kind = "not-approved"


class PlanChangedError(ObscaleError):
    """A plan was made for another state of the cluster; nothing was sent.

    Args:
        message: Which plan, and the first change.
        hint: The command that makes a new one.
        changes: One line for each change.
    """

    kind = "plan-changed"

    def __init__(self, message: str, hint: str = "", changes: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, changes)
        self.changes = changes


class PrefectUnreachableError(ObscaleError):
    """Prefect is needed and does not answer, or refuses our credentials; nothing was sent."""

    kind = "prefect"


class AgentError(ObscaleError):
    """Something between us and one agent.

    Args:
        message: What happened.
        agent: `ip:port` of the agent, IPv6 in brackets.
        step: What was being done, e.g. `read DAG 17`.
        hint: The next step for the person reading it.
        trace_id: obshell's own trace id, to be found in that agent's log.
    """

    kind = "agent"

    def __init__(
        self, message: str, agent: str = "", step: str = "", hint: str = "", trace_id: str = ""
    ) -> None:
        super().__init__(message, hint)
        self.args = (message, agent, step, hint, trace_id)
        self.agent = agent
        self.step = step
        self.trace_id = trace_id

    def _said(self) -> str:
        where = f"{self.agent}: " if self.agent else ""
        what = f"{self.step}: " if self.step else ""
        trace = f" (trace {self.trace_id})" if self.trace_id else ""
        return f"{where}{what}{self.message}{trace}"


class AgentUnreachableError(AgentError):
    """No answer to a read; asking again does no harm."""

    kind = "unreachable"
    transient = True


class OutcomeUnknownError(AgentError):
    """No answer, or no readable one, to a write: it may or may not have been done.

    Args:
        message: What happened.
        agent: `ip:port`.
        step: What was being done.
        hint: The next step for the person reading it.
        trace_id: The trace id sent along.
        header_expires_at: From this instant, on the clock of this machine (aware, UTC), the agent
            no longer accepts the request, should it still be on its way. With an empty root
            password agents check no expiry (ob/agent/secure/auth.go, 4.5.0.0).
    """

    kind = "outcome-unknown"

    def __init__(
        self,
        message: str,
        agent: str = "",
        step: str = "",
        hint: str = "",
        trace_id: str = "",
        header_expires_at: datetime | None = None,
    ) -> None:
        super().__init__(message, agent, step, hint, trace_id)
        self.args = (message, agent, step, hint, trace_id, header_expires_at)
        self.header_expires_at = header_expires_at


class AgentProtocolError(AgentError):
    """An answer that is not obshell's: HTML, cut JSON, another product.

    Transient where the status is 5xx: a proxy or an agent that is just starting may answer so.

    Args:
        message: What happened, with an excerpt of the answer.
        agent: `ip:port`.
        step: What was being done.
        hint: The next step for the person reading it.
        trace_id: The trace id sent along.
        status: HTTP status of the answer; 0 where there was none, e.g. a failed TLS handshake.
    """

    kind = "protocol"

    def __init__(
        self,
        message: str,
        agent: str = "",
        step: str = "",
        hint: str = "",
        trace_id: str = "",
        status: int = 0,
    ) -> None:
        super().__init__(message, agent, step, hint, trace_id)
        self.args = (message, agent, step, hint, trace_id, status)
        self.status = status
        self.transient = status >= SERVER_ERRORS_FROM


class UntrustedKeyError(AgentError):
    """The agent serves another key than the one it is known by; nothing was sealed with it."""

    kind = "untrusted-key"


class PasswordWithheldError(AgentError):
    """It wants the password of root@sys and is not proved to be a member; nothing was sent."""

    kind = "password-withheld"


class NotSupportedError(AgentError):
    """This agent's version has no such endpoint."""

    kind = "not-supported"


class AgentRefusedError(AgentError):
    """The agent understood and said no.

    Args:
        message: obshell's own text, for humans; decide on `code`.
        agent: `ip:port`.
        step: What was being done.
        hint: The next step for the person reading it.
        trace_id: obshell's trace id.
        code: `errCode` from 4.3.1.0 on, else the old number as text, e.g. `"10008"`.
        status: HTTP status.
    """

    kind = "refused"

    def __init__(
        self,
        message: str,
        agent: str = "",
        step: str = "",
        hint: str = "",
        trace_id: str = "",
        code: str = "",
        status: int = 0,
    ) -> None:
        super().__init__(message, agent, step, hint, trace_id)
        self.args = (message, agent, step, hint, trace_id, code, status)
        self.code = code
        self.status = status

    def _said(self) -> str:
        where = f"{self.agent} " if self.agent else ""
        what = self.step or "the request"
        trace = f" (trace {self.trace_id})" if self.trace_id else ""
        return f"{where}refused {what} [{self.code}]: {self.message}{trace}"


class NotAuthorizedError(AgentRefusedError):
    """Password, header or clock was not accepted."""

    kind = "not-authorized"


class StaleKeyError(NotAuthorizedError):
    """The agent could not decrypt the header: its key pair changed. The handler did not run."""

    kind = "stale-key"


class UnderMaintenanceError(AgentRefusedError):
    """A DAG holds the maintenance lock."""

    kind = "under-maintenance"


class IdentityMismatchError(AgentRefusedError):
    """The agent asked, or the target, has another identity than this request needs."""

    kind = "identity"


class VersionMismatchError(AgentRefusedError):
    """OceanBase or obshell versions do not fit together."""

    kind = "version"


class AlreadyMemberError(AgentRefusedError):
    """The server is already in the cluster."""

    kind = "already-member"


class DatabaseDownError(AgentRefusedError):
    """The agent answers but cannot reach its database; another agent may."""

    kind = "database-down"
    transient = True


class AgentTroubleError(AgentRefusedError):
    """An internal error of the agent: its code, a shell or a network; another one may do."""

    kind = "agent-trouble"
    transient = True


class DagNotFoundError(AgentRefusedError):
    """The agent does not know the DAG, or never had one."""

    kind = "dag-not-found"


class DagFailedError(ObscaleError):
    """The DAG is FAILED and keeps the cluster's maintenance lock.

    Args:
        message: Where and why.
        hint: The recommended step, with its command.
        choices: One line for each way out.
    """

    kind = "dag-failed"

    def __init__(self, message: str, hint: str = "", choices: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, choices)
        self.choices = choices


class DagRolledBackError(ObscaleError):
    """The DAG ended SUCCEED with operator ROLLBACK: the scale-out was undone."""

    kind = "dag-rolled-back"


class DagStalledError(ObscaleError):
    """The DAG did not move, or nobody answered, for longer than allowed."""

    kind = "dag-stalled"


class ForeignDagError(ObscaleError):
    """Another DAG than ours holds the maintenance lock."""

    kind = "foreign-dag"


class RecordError(ObscaleError):
    """How things stood before a POST cannot be written down in Prefect, so it was not sent."""

    kind = "not-recorded"


class DispatchError(ObscaleError):
    """A batch cannot hand its clusters to workers: none is there, or Prefect does not let it."""

    kind = "dispatch"


class RunLostError(ObscaleError):
    """The run that carried a row on a worker ended, or fell silent, before the row did."""

    kind = "run-lost"


class VerifyError(ObscaleError):
    """The DAG succeeded, but the cluster does not show the node as it was asked for."""

    kind = "verify"


class HalfReplacedError(ObscaleError):
    """Of a replacement the new node is verified, and the old one is still there.

    Args:
        message: What has kept it there.
        hint: The next steps.
        choices: One line for each way out, where a DAG has failed.
    """

    kind = "half-replaced"

    def __init__(self, message: str, hint: str = "", choices: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, choices)
        self.choices = choices
