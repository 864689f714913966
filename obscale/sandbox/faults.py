"""What shall go wrong, where, when and how often?

A `Fault` is a card in the world's hand. Cards that change a state (an agent goes down) act when
they are played; the others wait until something they match happens, and are drawn then.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FaultCard = Literal[
    "fail_stage",
    "slow_observer",
    "observer_dies",
    "drop_answer",
    "delay_answer",
    "panic",
    "garble_answer",
    "agent_down",
    "agent_up",
    "agent_restart",
    "black_hole",
    "database_down",
    "database_up",
    "rotate_key",
    "shift_clock",
    "change_root_password",
    "tenant_task",
    "orphan_local_dag",
]
STATE_CARDS: frozenset[str] = frozenset(
    {
        "agent_down",
        "agent_up",
        "agent_restart",
        "black_hole",
        "database_down",
        "database_up",
        "rotate_key",
        "shift_clock",
        "change_root_password",
        "tenant_task",
    }
)
"""Cards that act when they are played, or `after_seconds` later."""
NEEDED: dict[str, tuple[str, ...]] = {
    "fail_stage": ("stage",),
    "slow_observer": ("seconds",),
    "drop_answer": ("to",),
    "delay_answer": ("to", "seconds"),
    "panic": ("to",),
    "garble_answer": ("to",),
    "agent_down": ("target",),
    "agent_up": ("target",),
    "agent_restart": ("target",),
    "black_hole": ("target",),
    "database_down": ("target",),
    "database_up": ("target",),
    "rotate_key": ("target",),
    "shift_clock": ("target", "seconds"),
    "change_root_password": ("text",),
    "tenant_task": ("seconds",),
}


class Fault(BaseModel):
    """One card.

    Attributes:
        card: What it does.
        target: Agent `ip:port` it is about; left out means any.
        stage: DAG stage it waits for, 1-based.
        seconds: How long, virtual seconds for the engine and real ones for answers.
        to: Last word of the path of the request it waits for, e.g. `scale_out`.
        times: How often it may be drawn; 0 means always.
        after_seconds: Virtual seconds to wait before a state card acts.
        cluster: Name of the cluster it is about; left out means any.
        text: Log line of a failing stage, body of a garbled answer, or the new password.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    card: FaultCard
    target: str | None = None
    stage: int | None = Field(default=None, ge=1, le=11)
    seconds: float | None = None
    to: str | None = None
    times: int = Field(default=1, ge=0)
    after_seconds: float = Field(default=0.0, ge=0)
    cluster: str | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        for name in NEEDED.get(self.card, ()):
            if getattr(self, name) is None:
                raise ValueError(f"card '{self.card}' needs '{name}'")
        return self

    @classmethod
    def fail_stage(
        cls, stage: int, *, times: int = 1, text: str | None = None, target: str | None = None
    ) -> Self:
        """That stage of a scale-out fails when it runs; `text` replaces its usual last log line."""
        return cls(card="fail_stage", stage=stage, times=times, text=text, target=target)

    @classmethod
    def slow_observer(cls, *, seconds: float, target: str | None = None, times: int = 1) -> Self:
        """The next observer start takes that many virtual seconds."""
        return cls(card="slow_observer", seconds=seconds, target=target, times=times)

    @classmethod
    def observer_dies(cls, *, target: str | None = None, times: int = 1) -> Self:
        """The next observer dies before its first health check."""
        return cls(card="observer_dies", target=target, times=times)

    @classmethod
    def drop_answer(cls, *, to: str, times: int = 1, target: str | None = None) -> Self:
        """The request is carried out, but the connection breaks before the answer."""
        return cls(card="drop_answer", to=to, times=times, target=target)

    @classmethod
    def delay_answer(
        cls, *, to: str, seconds: float, times: int = 1, target: str | None = None
    ) -> Self:
        """The request is carried out, the answer leaves real seconds later."""
        return cls(card="delay_answer", to=to, seconds=seconds, times=times, target=target)

    @classmethod
    def panic(cls, *, to: str, times: int = 1, target: str | None = None) -> Self:
        """The handler panics: 500 with obshell's prebuilt page, nothing is carried out."""
        return cls(card="panic", to=to, times=times, target=target)

    @classmethod
    def garble_answer(
        cls, *, to: str, text: str = "<html>502</html>", times: int = 1, target: str | None = None
    ) -> Self:
        """The request is carried out, but something in between answers 200 with this text."""
        return cls(card="garble_answer", to=to, text=text, times=times, target=target)

    @classmethod
    def agent_down(cls, target: str, *, after_seconds: float = 0.0) -> Self:
        """The obshell process ends; connections are refused."""
        return cls(card="agent_down", target=target, after_seconds=after_seconds)

    @classmethod
    def agent_up(cls, target: str, *, after_seconds: float = 0.0) -> Self:
        """The obshell process starts again and executes its unfinished sub tasks anew."""
        return cls(card="agent_up", target=target, after_seconds=after_seconds)

    @classmethod
    def agent_restart(cls, target: str, *, after_seconds: float = 0.0) -> Self:
        """Down and up in the same instant; sub tasks begin anew, sessions are lost."""
        return cls(card="agent_restart", target=target, after_seconds=after_seconds)

    @classmethod
    def black_hole(cls, target: str, *, after_seconds: float = 0.0) -> Self:
        """Connections are accepted, nothing is ever answered, until `agent_up`."""
        return cls(card="black_hole", target=target, after_seconds=after_seconds)

    @classmethod
    def database_down(cls, target: str, *, after_seconds: float = 0.0) -> Self:
        """The agent lives, its OceanBase does not answer."""
        return cls(card="database_down", target=target, after_seconds=after_seconds)

    @classmethod
    def database_up(cls, target: str, *, after_seconds: float = 0.0) -> Self:
        """OceanBase answers that agent again."""
        return cls(card="database_up", target=target, after_seconds=after_seconds)

    @classmethod
    def rotate_key(cls, target: str, *, after_seconds: float = 0.0) -> Self:
        """The agent has a new RSA key, as after a wiped `.meta`."""
        return cls(card="rotate_key", target=target, after_seconds=after_seconds)

    @classmethod
    def shift_clock(cls, target: str, *, seconds: float, after_seconds: float = 0.0) -> Self:
        """The agent's wall clock jumps by that many seconds."""
        return cls(card="shift_clock", target=target, seconds=seconds, after_seconds=after_seconds)

    @classmethod
    def change_root_password(cls, password: str, *, cluster: str | None = None) -> Self:
        """root@sys has a new password; agents keep accepting the cached one until told."""
        return cls(card="change_root_password", text=password, cluster=cluster)

    @classmethod
    def tenant_task(cls, *, seconds: float, cluster: str | None = None) -> Self:
        """A tenant operation holds the maintenance lock for that many virtual seconds."""
        return cls(card="tenant_task", seconds=seconds, cluster=cluster)

    @classmethod
    def orphan_local_dag(cls, *, target: str | None = None, times: int = 1) -> Self:
        """Stage 2 reaches the joining agent, but its answer is lost."""
        return cls(card="orphan_local_dag", target=target, times=times)
