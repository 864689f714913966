"""Works out what is to be set for a node that has joined, and judges what is read back. Pure.

It is exactly what verification prints as ALTER SYSTEM statements. A value proves itself alone:
whether it survives a restart is OceanBase's word.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from obscale.agent.models import Parameter, Zone, joined_address
from obscale.agent.settable import unsettable
from obscale.preflight.parameters import START_ONLY, rpc_port, value_on
from obscale.request.models import NodeSpec
from obscale.sizes import SizeError, parse_capacity
from obscale.verify.proofs.parameters import start_option_only

Values = Mapping[tuple[str, str, int | None], str]
"""By name, `ip:rpc_port` of the server, and tenant."""
AFTER_RESTART: Final = "STATIC_EFFECTIVE"
ONLY_GROWS: Final = "datafile_size"
_GROUPS: Final = (
    frozenset({"memory_limit", "memory_limit_percentage", "system_memory"}),
    frozenset({"cpu_count"}),
    frozenset({"datafile_size", "datafile_disk_percentage", "datafile_maxsize", "datafile_next"}),
    frozenset({"log_disk_size", "log_disk_percentage"}),
)
"""What is sent in one request; all else in another."""


class Outcome(StrEnum):
    """What became of a setting, or of a server with all of its settings."""

    IN_FORCE = "in-force"
    NOT_IN_FORCE = "not-in-force"
    NOT_SENT = "not-sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Setting:
    """One parameter that is to be set.

    Args:
        name: Of the parameter.
        before: Its value on the server when somebody was asked.
        wanted: As the request has it.
        after_restart: Whether it counts from the next restart on.
        refusal: Why it is never sent; empty: it is.
    """

    name: str
    before: str
    wanted: str
    after_restart: bool
    refusal: str = ""


@dataclass(frozen=True)
class ServerSettings:
    """What is to be set of one server.

    Args:
        target: `ip:port` of its agent.
        server: `ip:port` of its RPC.
        zone: Its own.
        settings: By name; empty: nothing asked for differs from its peers.
    """

    target: str
    server: str
    zone: str
    settings: tuple[Setting, ...]

    def groups(self) -> tuple[tuple[Setting, ...], ...]:
        """Give what is sent, one request each."""
        sent = [each for each in self.settings if not each.refusal]
        others = [each for each in sent if not any(each.name in group for group in _GROUPS)]
        parts = [[each for each in sent if each.name in group] for group in _GROUPS]
        return tuple(tuple(part) for part in (*parts, others) if part)


class PinnedSetting(BaseModel):
    """What became of one parameter."""

    model_config = ConfigDict(frozen=True)

    name: str
    before: str
    wanted: str
    found: str | None
    """As it was read back; null: it was not."""
    outcome: Outcome
    why: str = ""
    """Empty where it is in force."""
    after_restart: bool
    """Whether it counts from the next restart on."""


class PinnedServer(BaseModel):
    """What became of one node of the request."""

    model_config = ConfigDict(frozen=True)

    target: str
    server: str
    zone: str
    outcome: Outcome
    why: str = ""
    settings: tuple[PinnedSetting, ...] = ()
    beside: tuple[str, ...] = ()
    """Values that changed meanwhile and were not asked for."""


def settings_of(
    node: NodeSpec, zones: Sequence[Zone], parameters: Sequence[Parameter]
) -> ServerSettings | None:
    """Give what is to be set for a node.

    Args:
        node: As it was asked for.
        zones: The topology.
        parameters: The cluster's.

    Returns:
        None: it is no member, or in another zone.
    """
    here = (node.agentInfo.ip, rpc_port(node))
    zone = next((zone for zone in zones if zone.name == node.zone), None)
    if zone is None or not any((s.ip, s.svr_port) == here for s in zone.servers):
        return None
    rows = start_option_only(node, parameters)
    return ServerSettings(
        node.address,
        joined_address(*here),
        node.zone,
        tuple(_setting(node, row) for row in rows if row.name not in START_ONLY),
    )


def _setting(node: NodeSpec, row: Parameter) -> Setting:
    before, wanted = value_on(row, node) or "", node.obConfigs[row.name]
    refusal = unsettable(row.name, wanted)
    if not refusal and row.name == ONLY_GROWS and _is_less(wanted, before):
        refusal = f"a data file only grows: it has {before}"
    return Setting(row.name, before, wanted, row.edit_level.upper() == AFTER_RESTART, refusal)


def _is_less(one: str, other: str) -> bool:
    try:
        return parse_capacity(one) < parse_capacity(other)
    except SizeError:
        return False


def values_of(parameters: Sequence[Parameter]) -> Values:
    """Give every value there is."""
    return {
        (row.name, joined_address(each.svr_ip, each.svr_port), each.tenant_id): each.value
        for row in parameters
        for each in row.ob_parameters
    }


def found_of(server: str, name: str, values: Values) -> str | None:
    """Give the value of a parameter on a server; None: it is not shown."""
    return next(
        (value for (row, where, _), value in values.items() if (row, where) == (name, server)), None
    )


def changed_since(mine: ServerSettings, values: Values) -> str:
    """Say what is not as it was when somebody was asked; empty: all is."""
    moved = (
        f"{each.name} is {found_of(mine.server, each.name, values)} now, and was {each.before}"
        for each in mine.settings
        if found_of(mine.server, each.name, values) != each.before
    )
    return next(moved, "")


def beside(mine: ServerSettings, before: Values, after: Values) -> Iterator[str]:
    """Say what changed meanwhile that was not to be set.

    Args:
        mine: What was.
        before: All values, read just before the first request.
        after: All values, read last.
    """
    own = {each.name for each in mine.settings if not each.refusal}
    for key in sorted(before.keys() & after.keys(), key=str):
        name, where, _ = key
        if before[key] != after[key] and not (where == mine.server and name in own):
            yield f"{name} of {where}: {before[key]} → {after[key]}"


def awaits(server: str, group: Sequence[Setting], values: Values) -> bool:
    """Whether what is not as wanted is still as before, so that it may come."""
    found = [(each, found_of(server, each.name, values)) for each in group]
    missing = [each.before == value for each, value in found if value != each.wanted]
    return bool(missing) and all(missing)


def is_proved(server: str, group: Sequence[Setting], values: Values) -> bool:
    """Whether what is read back proves that a request was carried out whose answer was lost.

    Settings are carried out in their order, so the last that has changed stands for those before
    it. One that had its value before proves nothing.
    """
    last = group[-1]
    return last.before != last.wanted and all(
        found_of(server, each.name, values) == each.wanted for each in group
    )


def may_send_again(server: str, group: Sequence[Setting], values: Values) -> bool:
    """Whether nobody else has set anything of a group meanwhile."""
    return all(found_of(server, each.name, values) in (each.before, each.wanted) for each in group)


def judged(
    mine: ServerSettings, sent: Mapping[str, str], values: Values, unread: Collection[str] = ()
) -> PinnedServer:
    """Say what became of a server.

    Args:
        mine: What was to be set.
        sent: Parameters of requests that were sent: why they may not be in force; empty: the
            request was accepted.
        values: Read last.
        unread: Parameters that were sent and could not be read back.
    """
    told = tuple(_judged(mine.server, each, sent, values, unread) for each in mine.settings)
    outcomes = [each.outcome for each in told]
    worst = next(
        (
            each
            for each in (Outcome.UNKNOWN, Outcome.NOT_IN_FORCE, Outcome.NOT_SENT)
            if each in outcomes
        ),
        Outcome.IN_FORCE,
    )
    why = "" if told else "nothing asked for differs from its peers"
    return PinnedServer(
        target=mine.target,
        server=mine.server,
        zone=mine.zone,
        outcome=worst,
        why=why,
        settings=told,
    )


def _judged(
    server: str,
    each: Setting,
    sent: Mapping[str, str],
    values: Values,
    unread: Collection[str],
) -> PinnedSetting:
    found = None if each.name in unread else found_of(server, each.name, values)
    said = sent.get(each.name)
    if each.refusal or said is None:
        outcome, why = Outcome.NOT_SENT, each.refusal or "what went before it was not accepted"
    elif each.name in unread:
        outcome, why = Outcome.UNKNOWN, said or "it could not be read back"
    elif found != each.wanted:
        outcome, why = Outcome.NOT_IN_FORCE, said or f"it reads back as {found}"
    elif said and each.before == each.wanted:
        # It had the value before: that it is there proves nothing.
        outcome, why = Outcome.UNKNOWN, said
    else:
        outcome, why = Outcome.IN_FORCE, ""
    return PinnedSetting(
        name=each.name,
        before=each.before,
        wanted=each.wanted,
        found=found,
        outcome=outcome,
        why=why,
        after_restart=each.after_restart,
    )


def left_alone(mine: ServerSettings, why: str) -> PinnedServer:
    """Say that nothing was sent for a server."""
    told = tuple(
        PinnedSetting(
            name=each.name,
            before=each.before,
            wanted=each.wanted,
            found=None,
            outcome=Outcome.NOT_SENT,
            why=each.refusal,
            after_restart=each.after_restart,
        )
        for each in mine.settings
    )
    return PinnedServer(
        target=mine.target,
        server=mine.server,
        zone=mine.zone,
        outcome=Outcome.NOT_SENT,
        why=why,
        settings=told,
    )


def no_member(node: NodeSpec) -> PinnedServer:
    """Say that a node of the request is no member, so that nothing is set for it."""
    return PinnedServer(
        target=node.address,
        server=joined_address(node.agentInfo.ip, rpc_port(node)),
        zone=node.zone,
        outcome=Outcome.NOT_SENT,
        why=f"it is no member in {node.zone}",
    )
