"""The time limits of a run, each with its bounds, unit and reason."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

POLL_LONGEST_SECONDS: Final = 5.0
"""obshell's slow nodes wait for the target in rhythms of 3 s, and the nodes behind them take 8 s at
least: with 5 s the end is never missed. Source: ob/agent/executor/ob/scale_out.go, 4.5.0.0."""


LOST_ANSWER_SECONDS: Final = 200.0
"""obshell waits up to 3 minutes for the target's /info before it creates the DAG, and does not see
that the caller left. Source: ob/agent/executor/ob/scale_out.go, 4.5.0.0."""


def in_order(schema: dict[str, Any]) -> None:
    """Number the fields of a form: a server on PostgreSQL gives them back in another order."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class TimeLimits(BaseModel):
    """Time limits of one scale-out. The defaults suit production; a rehearsal may be quicker.

    Strict, because a request's file sets them too: neither `true` nor a text is a number there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra=in_order)

    deadline_seconds: Annotated[
        float,
        Field(
            title="Deadline of the DAG (seconds)",
            description="Longest wait, by the clock on the wall, for the DAG to end. "
            "The DAG itself goes on; running the flow again takes it up.",
            gt=0,
            le=86400,
        ),
    ] = 7200
    stall_seconds: Annotated[
        float,
        Field(
            title="Stall limit (seconds)",
            description="Longest time without any change of the DAG. "
            "Above 3600, obshell's own limit for one sub task, it never strikes first.",
            gt=0,
            le=86400,
        ),
    ] = 3700
    silence_seconds: Annotated[
        float,
        Field(
            title="Silence limit (seconds)",
            description="Longest time in which no cluster agent answers at all.",
            gt=0,
            le=86400,
        ),
    ] = 300
    lock_wait_seconds: Annotated[
        float,
        Field(
            title="Wait for the lock (seconds)",
            description="How long to wait for another DAG to end before giving up; 0 = not at all.",
            ge=0,
            le=86400,
        ),
    ] = 0
    verify_seconds: Annotated[
        float,
        Field(
            title="Verification deadline (seconds)",
            description="Longest wait after the DAG for the node to serve and conform.",
            gt=0,
            le=86400,
        ),
    ] = 1800
    steady_seconds: Annotated[
        float,
        Field(
            title="Steady time (seconds)",
            description="How long the new observer must stay connectable to count as serving, and "
            "the requested parameters in force: a value the cluster sets back comes soon after.",
            ge=0,
            le=3600,
        ),
    ] = 30
    against_seconds: Annotated[
        float,
        Field(
            title="Held against the node (seconds)",
            description="After so long a state that stands against the request, say a dead peer "
            "or a wrong zone, ends the verification; a peer that restarts is back sooner.",
            ge=0,
            le=3600,
        ),
    ] = 60
    unread_seconds: Annotated[
        float,
        Field(
            title="Cannot be read (seconds)",
            description="After so long a proof that cannot be read, say a clock, is told, and "
            "counts as preflight judged it; the topology and the like are waited for.",
            ge=0,
            le=3600,
        ),
    ] = 60
    lost_answer_seconds: Annotated[
        float,
        Field(
            title="Lost answer (seconds)",
            description="After a lost answer to the submit, how long the request may still be at "
            "work inside obshell once its header has expired.",
            gt=0,
            le=3600,
        ),
    ] = LOST_ANSWER_SECONDS
    undo_seconds: Annotated[
        float,
        Field(
            title="End of a rollback (seconds)",
            description="Longest wait, after the cluster's DAG is rolled back, for the target to "
            "be SINGLE again: obshell kills an observer for up to 75 s and may lag behind.",
            gt=0,
            le=86400,
        ),
    ] = 600
    retry_pause_seconds: Annotated[
        float,
        Field(
            title="Pause before a retry (seconds)",
            description="How long to wait before a failed DAG is retried by policy.",
            ge=0,
            le=3600,
        ),
    ] = 10
    ask_seconds: Annotated[
        int,
        Field(
            title="Time to answer (seconds)",
            description="With the policy ask: how long the paused run waits for a decision about "
            "a failed DAG; then it holds.",
            gt=0,
            le=604800,
        ),
    ] = 86400
    approval_seconds: Annotated[
        int,
        Field(
            title="Time to approve (seconds)",
            description="Where approval is asked for: how long the paused run waits before the "
            "submit; then it ends, and nothing was touched.",
            gt=0,
            le=604800,
        ),
    ] = 86400
    poll_seconds: Annotated[
        float,
        Field(
            title="Slowest poll (seconds)",
            description="Longest pause between two looks at the DAG; near its end there are more. "
            "A batch that names none pauses up to 20 s while a DAG cannot have ended.",
            gt=0,
            le=60,
        ),
    ] = POLL_LONGEST_SECONDS

    def with_own(self, own: "TimeLimits | None") -> "TimeLimits":
        """Give these limits with those of another one that it names; None names none."""
        if own is None:
            return self
        return self.model_copy(update=own.model_dump(exclude_unset=True))


DEFAULT_TIME_LIMITS: Final = TimeLimits()
VERIFY_LIMITS: Final = TimeLimits(verify_seconds=60, unread_seconds=15)
"""Of proving a node alone: beyond the steady time only stragglers are waited for, as whoever looks
wants an answer."""
