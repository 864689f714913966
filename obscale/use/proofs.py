"""BALANCED of one tenant: its number is stored, its units are placed, its data is where they are.

The first run of obshell's DAG ends with OceanBase's job, and that includes the balancing of the
tenant's data. After anything else only the servers' used bytes tell: where they stay the same, the
tenant is steady, which is not the same as proved.

Source: OceanBase src/rootserver/ob_root_utils.cpp.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Dag, State
from obscale.agent.resources import TenantPool
from obscale.request.use import Use
from obscale.sizes import render_bytes
from obscale.use.facts import unit_num_of, zones_of
from obscale.use.placement import Placement
from obscale.use.tenant_dag import is_first_run
from obscale.verify.observation import Level, ProofAnswer, ProofLine

TITLES: Final = {
    "pb-stored": "the number of units is stored for the tenant",
    "pb-placed": "each zone has that many units on servers that serve",
    "pb-data": "the data of the tenant is where its units are",
}
STEADY_SHARE: Final = 0.02
"""Of the bytes used on a server: a smaller change over the whole window is none."""
STEADY_LOOKS: Final = 3
NOT_PROVED: Final = "steady, not proved"


@dataclass(frozen=True)
class BalanceLook:
    """What one look has shown.

    Args:
        at: Seconds since the first.
        pools: Of the tenant.
        placement: Where its units are.
    """

    at: float
    pools: tuple[TenantPool, ...]
    placement: Placement


class Balance(BaseModel):
    """How far a tenant has proved itself."""

    model_config = ConfigDict(frozen=True)

    lines: tuple[ProofLine, ...] = ()
    is_first_run: bool = False
    """Whether obshell's DAG proves it: it went through at its first run."""

    @property
    def is_balanced(self) -> bool:
        """Whether no proof is missing."""
        return bool(self.lines) and not any(line.hinders for line in self.lines)

    @property
    def verdict(self) -> str:
        """In words: `BALANCED`, `BALANCED (steady, not proved)`, or what is missing."""
        if self.is_balanced:
            return "BALANCED" if self.is_first_run else f"BALANCED ({NOT_PROVED})"
        missing = ", ".join(line.id for line in self.lines if line.hinders)
        return f"not BALANCED: {missing or 'nothing was looked at'}"

    @property
    def only_data_is_missing(self) -> bool:
        """Whether number and units are right, so that bytes are all there is to wait for."""
        return {line.id for line in self.lines if line.hinders} == {"pb-data"}


def judge_balance(
    order: Use, looks: Sequence[BalanceLook], dag: Dag | None, window_seconds: float
) -> Balance:
    """Judge a tenant by all looks had at it.

    Args:
        order: What was asked for.
        looks: Oldest first, at least one.
        dag: That has brought the number, as it ended, with details; None: not known.
        window_seconds: Over which used bytes have to stay the same.
    """
    last = looks[-1]
    is_first = dag is not None and is_first_run(dag)
    lines = (
        _stored(order, last),
        _placed(order, last),
        _data(looks, dag, window_seconds, is_first=is_first),
    )
    return Balance(lines=lines, is_first_run=is_first)


def placed_share(order: Use, look: BalanceLook) -> float | None:
    """Give placed units over wanted ones, over all zones; None: this version does not tell."""
    zones = zones_of(look.pools)
    counts = [look.placement.placed(zone) for zone in zones]
    if not zones or any(count is None for count in counts):
        return None
    wanted = order.unit_num * len(zones)
    return min(sum(min(count or 0, order.unit_num) for count in counts) / wanted, 1.0)


def placed_words(order: Use, look: BalanceLook) -> str:
    """Say how many units are placed, and what is written there: `zone1 1/2, …; 14G used`."""
    zones = zones_of(look.pools)
    told = [f"{zone} {_count(look.placement.placed(zone))}/{order.unit_num}" for zone in zones]
    used = sum(look.placement.used_bytes.values())
    return f"units placed: {', '.join(told)}" + (f"; {render_bytes(used)} used" if used else "")


def moves_of(one: BalanceLook, other: BalanceLook) -> bool:
    """Whether any number is different between two looks."""
    return _numbers(one) != _numbers(other)


def _numbers(look: BalanceLook) -> object:
    placed = look.placement
    return unit_num_of(look.pools), placed.servers, placed.troubled, dict(placed.used_bytes)


def _stored(order: Use, look: BalanceLook) -> ProofLine:
    stored, wanted = unit_num_of(look.pools), order.unit_num
    found = "different numbers" if stored is None else f"unit_num {stored}"
    answer = ProofAnswer.PASS if stored == wanted else ProofAnswer.WAITING
    return _line("pb-stored", answer, f"unit_num {wanted}", found)


def _placed(order: Use, look: BalanceLook) -> ProofLine:
    wanted, placement = order.unit_num, look.placement
    expected = f"{wanted} in each zone, all on servers that serve"
    if placement.servers is None:
        said = "this version of obshell does not tell where units are"
        return _line("pb-placed", ProofAnswer.INFO, expected, said)
    zones = zones_of(look.pools)
    counts = {zone: placement.placed(zone) for zone in zones}
    found = ", ".join(f"{zone} {_count(count)}" for zone, count in counts.items())
    if placement.troubled:
        found += f"; {', '.join(placement.troubled)}"
    is_right = bool(zones) and all(count == wanted for count in counts.values())
    answer = ProofAnswer.PASS if is_right and not placement.troubled else ProofAnswer.WAITING
    return _line("pb-placed", answer, expected, found)


def _data(
    looks: Sequence[BalanceLook], dag: Dag | None, window_seconds: float, *, is_first: bool
) -> ProofLine:
    expected = "OceanBase's job ended at the first run of its DAG, or used bytes stay the same"
    if is_first and dag is not None:
        found = f"DAG {dag.id} went through at its first run, and so OceanBase's job"
        return _line("pb-data", ProofAnswer.PASS, expected, found)
    if looks[-1].placement.servers is None:
        said = "neither where units are nor a DAG that went through at its first run is told"
        return _line("pb-data", ProofAnswer.UNKNOWN, expected, said)
    why = _why_not_by_dag(dag)
    seen = _within(looks, window_seconds)
    if seen is None:
        since = looks[-1].at
        found = f"{why}; looked at for {since:.0f} of {window_seconds:.0f} s"
        return _line("pb-data", ProofAnswer.WAITING, expected, found)
    most, where = _largest_change(seen)
    if most < STEADY_SHARE:
        found = f"{NOT_PROVED}: {why}; used bytes changed by {most:.1%} in {window_seconds:.0f} s"
        return _line("pb-data", ProofAnswer.PASS, expected, found)
    found = f"{why}; used bytes of {where} changed by {most:.1%} in {window_seconds:.0f} s"
    return _line("pb-data", ProofAnswer.WAITING, expected, found)


def _why_not_by_dag(dag: Dag | None) -> str:
    if dag is None:
        return "no DAG is known that brought it"
    if dag.state is State.SUCCEED:
        return f"DAG {dag.id} was retried, which proves nothing"
    return f"DAG {dag.id} is {dag.state.value}"


def _within(looks: Sequence[BalanceLook], window_seconds: float) -> Sequence[BalanceLook] | None:
    """Give the looks of the last window; None: too few, too short, or units have moved in it."""
    last = looks[-1]
    older = [look for look in looks if look.at <= last.at - window_seconds]
    if not older:
        return None
    seen = [look for look in looks if look.at >= older[-1].at]
    if len(seen) < STEADY_LOOKS:
        return None
    same = all(look.placement.servers == last.placement.servers for look in seen)
    return seen if same else None


def _largest_change(looks: Sequence[BalanceLook]) -> tuple[float, str]:
    """Give the largest share by which a server's used bytes differ, and which server."""
    changes: Mapping[str, float] = {
        server: _change([look.placement.used_bytes.get(server, 0) for look in looks])
        for server in looks[-1].placement.used_bytes
    }
    where = max(changes, key=lambda server: changes[server], default="")
    return (changes[where], where) if where else (0.0, "")


def _change(sizes: Sequence[int]) -> float:
    most = max(sizes)
    return (most - min(sizes)) / most if most else 0.0


def _count(count: int | None) -> str:
    return "?" if count is None else str(count)


def _line(name: str, answer: ProofAnswer, expected: str, found: str) -> ProofLine:
    return ProofLine(id=name, level=Level.BALANCED, answer=answer, expected=expected, found=found)
