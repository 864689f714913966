"""The request exactly as it will be sent, with the source of each value."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from obscale.preflight.facts import DEFAULT_PORTS, OLD_NAMES, Facts
from obscale.preflight.host_facts import memory_asked
from obscale.preflight.mounts import disks_of
from obscale.preflight.rules.start_options import CAPACITY_KEYS
from obscale.preflight.sizing import (
    DEFAULT_MEMORY_PERCENTAGE,
    MIN_POOL_KEY,
    directories_of,
    number_of,
)
from obscale.reading import Unread
from obscale.request.models import DefaultsSpec, NodeSpec, SecretName
from obscale.sizes import SizeError, parse_capacity, render_bytes
from obscale.spec import request_body


class SentValue(BaseModel):
    """One start option as it is sent.

    `size_bytes` is what a capacity means to the observer; None for anything else.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    value: str
    size_bytes: int | None
    origin: str
    """`node`, or `defaults`, or which value of the defaults the node replaces."""


class DefaultedValue(BaseModel):
    """One setting that is not sent, and what the observer takes instead."""

    model_config = ConfigDict(frozen=True)

    key: str
    value: str
    why: str


class RequestPreview(BaseModel):
    """The request for one node. The password is only named."""

    model_config = ConfigDict(frozen=True)

    endpoint: str = "POST /api/v1/ob/scale_out"
    agent: str
    """Cluster agent that answered the survey."""
    body: dict[str, Any]
    target_agent_password: SecretName | None
    sent: tuple[SentValue, ...]
    left: tuple[DefaultedValue, ...]
    merged: tuple[str, ...]
    """Fields beside obConfigs that the defaults supply."""


def preview_of(facts: Facts, defaults: DefaultsSpec) -> RequestPreview:
    """Give the request for the node of these facts.

    Args:
        facts: As read.
        defaults: Of the request; already merged into the node.
    """
    node = facts.node
    body = request_body(node, None).model_dump(mode="json", by_alias=True, exclude_none=True)
    return RequestPreview(
        agent=facts.cluster.entry,
        body=body,
        target_agent_password=node.targetAgentPassword,
        sent=tuple(
            SentValue(
                key=key,
                value=value,
                size_bytes=_size(facts, key, value),
                origin=_origin(key, value, defaults),
            )
            for key, value in sorted(node.obConfigs.items())
        ),
        left=tuple(_left(facts)),
        merged=tuple(
            name
            for name in ("zone", "targetAgentPassword")
            if getattr(defaults, name) is not None and getattr(defaults, name) == _of(node, name)
        ),
    )


def _of(node: NodeSpec, name: str) -> Any:
    return getattr(node, name)


def _size(facts: Facts, key: str, value: str) -> int | None:
    row = facts.cluster.parameter(key)
    if key not in CAPACITY_KEYS and (row is None or row.data_type.upper() != "CAPACITY"):
        return None
    try:
        return parse_capacity(value)
    except SizeError:
        return None


def _origin(key: str, value: str, defaults: DefaultsSpec) -> str:
    shared = defaults.obConfigs.get(key)
    if shared is None:
        return "node"
    return "defaults" if shared == value else f"node, instead of {shared} of the defaults"


def _left(facts: Facts) -> list[DefaultedValue]:
    """What the observer decides itself; sources stand with the functions that work it out."""
    configs, memory = facts.configs, memory_asked(facts)
    left = [
        DefaultedValue(key=key, value=str(port), why="obshell's default")
        for key, port in DEFAULT_PORTS.items()
        if not configs.get(key) and not configs.get(OLD_NAMES[key])
    ]
    if not memory.limit_is_given:
        percent = number_of(configs, "memory_limit_percentage") or DEFAULT_MEMORY_PERCENTAGE
        left.append(_took("memory_limit", memory.limit, f"{percent} % of the machine"))
    if not memory.system_is_given:
        left.append(_took("system_memory", memory.system, "automatic"))
    if not memory.min_pool_is_given:
        left.append(_took(MIN_POOL_KEY, memory.min_pool, "until it has joined"))
    left += _left_of_disks(facts)
    info = facts.target.info
    home = None if isinstance(info, Unread) else info.home_path or None
    directories = directories_of(configs, home)
    if not configs.get("data_dir"):
        left.append(_took("data_dir", directories.data, "below the agent's home"))
    return left


def _left_of_disks(facts: Facts) -> list[DefaultedValue]:
    disks = disks_of(facts)
    if isinstance(disks, Unread):
        return []
    shares = {"datafile_size": disks.data_share, "log_disk_size": disks.log_share}
    return [
        DefaultedValue(key=key, value=f"{share.percent} %", why="of its disk")
        for key, share in shares.items()
        if share.size is None
    ]


def _took(key: str, value: int | str | None, why: str) -> DefaultedValue:
    told = render_bytes(value) if isinstance(value, int) else value
    return DefaultedValue(key=key, value=told or "unknown", why=why)
