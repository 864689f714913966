"""The model of one fault: what goes wrong, where, when and how often.

A `Fault` is one card in the world's hand. There is a constructor for every row of `CARDS`, which
takes what the card needs by position and everything by name:

    Fault.fail_stage(5), Fault.agent_down("127.0.1.2:2886", stage=4, after_seconds=2)
"""

import re
from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from obscale.sandbox.faults.cards import CARDS, Card, FaultCard, Operation, Phase

OPERATORS = ("RETRY", "ROLLBACK", "CANCEL", "PASS")
_SETTING = re.compile(r"\w+=.*")


class Fault(BaseModel):
    """One card.

    Attributes:
        card: What it does.
        target: Agent `ip:port` it is about; left out means any.
        phase: What the scale-out must be at for the card to act.
        stage: DAG stage it waits for, 1-based.
        operation: Of what that is a phase or a stage, where not of the scale-out.
        seconds: How long, virtual seconds for the engine and real ones for answers.
        to: Last word of the path of the request it waits for, e.g. `scale_out`; left out: any.
        times: How often it may be drawn; 0 means always.
        after_seconds: Virtual seconds to wait before a state card acts, from being played or from
            the instant its phase or stage comes.
        cluster: Name of the cluster it is about; left out means any.
        text: What the card says or sets, e.g. the log line of a failing stage.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    card: FaultCard
    target: str | None = None
    phase: Phase | None = None
    stage: int | None = Field(default=None, ge=1, le=11)
    operation: Operation | None = None
    seconds: float | None = None
    to: str | None = None
    times: int = Field(default=1, ge=0)
    after_seconds: float = Field(default=0.0, ge=0)
    cluster: str | None = None
    text: str | None = None

    @property
    def row(self) -> Card:
        """The card's row of the table."""
        return CARDS[self.card]

    @property
    def operation_meant(self) -> Operation | None:
        """What its phase or stage is of; None where a stage of anything may draw it."""
        return self.operation or self.row.of

    @property
    def waits(self) -> bool:
        """Whether a state card waits for a phase or a stage."""
        return self.phase is not None or self.stage is not None

    @model_validator(mode="before")
    @classmethod
    def _second_operator_waits_for_a_failure(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("card") == "operate_dag":
            has_trigger = fields.get("phase") is not None or fields.get("stage") is not None
            return fields if has_trigger else fields | {"phase": "failed"}
        return fields

    @model_validator(mode="after")
    def _has_what_it_needs_and_no_more(self) -> Self:
        for name in self.row.needs:
            if getattr(self, name) is None:
                raise _misfit(name, f"card '{self.card}' needs '{name}'", self._sample())
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        for name in sorted(given - self.row.fields - {"card"}):
            wrong = f"card '{self.card}' takes no '{name}'"
            raise _misfit(name, wrong, f"only {', '.join(sorted(self.row.fields))}")
        if self.card == "operate_dag" and self.text not in OPERATORS:
            raise _misfit("text", f"no second operator orders '{self.text}'", ", ".join(OPERATORS))
        if self.card == "set_parameter" and not _SETTING.fullmatch(self.text or ""):
            raise _misfit("text", f"'{self.text}' sets no parameter", "'memory_limit=12G'")
        if self.seconds is not None and self.seconds < 0 and self.card != "shift_clock":
            raise _misfit("seconds", f"'seconds' of card '{self.card}' is negative", "0 or more")
        if self.phase is not None and self.stage is not None:
            wrong = f"card '{self.card}' waits for a phase or for a stage, not for both"
            raise _misfit("stage", wrong, "'phase' or 'stage'")
        return self

    def _sample(self) -> str:
        """The card as it could be written: what it needs, with a value of the right shape."""
        shapes = {
            "stage": "5",
            "seconds": "10",
            "target": "'IP:PORT'",
            "text": "'…'",
            "cluster": "'…'",
        }
        needs = ", ".join(f"{name}: {shapes[name]}" for name in self.row.needs)
        return f"{{card: {self.card}, {needs}}}"


def _misfit(field: str, wrong: str, write: str) -> PydanticCustomError:
    """A field that does not fit its card; pydantic hands the three parts on."""
    return PydanticCustomError(
        "misfit", "{wrong}; write {write}", {"field": field, "wrong": wrong, "write": write}
    )


def _constructor(card: FaultCard) -> Callable[..., Fault]:
    needs = CARDS[card].needs

    def make(*values: Any, **fields: Any) -> Fault:
        if len(values) > len(needs):
            raise TypeError(f"Fault.{card} takes by position only: {', '.join(needs) or 'nothing'}")
        return Fault(card=card, **dict(zip(needs, values, strict=False)), **fields)

    make.__name__, make.__doc__ = card, CARDS[card].docs
    return make


for _card in CARDS:
    setattr(Fault, _card, staticmethod(_constructor(_card)))
