"""The models of a request: cluster, nodes, obConfigs and secrets.

Shapes only: which values make sense is judged by the rules below `obscale.preflight`, at the
same place for a file and for a running cluster. Fields are spelled as obshell's API spells them
(ob/param/ob.go, 4.5.0.0). Secrets are only ever named here.
"""

import re
from collections.abc import Mapping
from datetime import date
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from obscale.agent.address import DEFAULT_PORT, AgentAddress, port_behind
from obscale.errors import SpecError
from obscale.request import patterns
from obscale.request.renamed import refuse_old_names
from obscale.request.start_options import AS_FIELDS
from obscale.request.time_limits import TimeLimits, in_order

Profile = Literal["prod", "lab"]
"""How strictly findings are weighed."""

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
BLOCK_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
MOST_REASON_CHARACTERS: Final = 200
"""A reason is read in one line of a report."""
_OF_A_NODE: Final = ("agentInfo", "zone", "obConfigs", "targetAgentPassword")


class RequestModel(BaseModel):
    """Base of what people write: nothing unknown passes, and no error repeats an input."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, json_schema_extra=in_order
    )

    @model_validator(mode="before")
    @classmethod
    def _is_of_today(cls, data: Any) -> Any:
        return refuse_old_names(data, cls.model_fields)


class SecretName(RequestModel):
    """Where a secret is kept: one environment variable or one Prefect secret block."""

    model_config = ConfigDict(title="Named secret")

    env: str | None = Field(
        default=None,
        title="Environment variable",
        description="Of the process that runs this; leave the other one empty.",
        examples=["OB_ROOT"],
        json_schema_extra=patterns.like(patterns.VARIABLE),
    )
    block: str | None = Field(
        default=None,
        title="Secret block",
        description="Name of a Prefect block of the kind secret.",
        examples=["ob-root"],
        json_schema_extra=patterns.like(patterns.BLOCK),
    )

    @model_validator(mode="before")
    @classmethod
    def _is_no_literal(cls, data: Any) -> Any:
        if isinstance(data, str | bytes | int | float):
            raise ValueError("a secret never stands here itself; " + NAME_A_SECRET)  # noqa: TRY004 - pydantic wants it
        return data

    @model_validator(mode="after")
    def _names_exactly_one(self) -> Self:
        if (self.env is None) == (self.block is None):
            raise ValueError("name exactly one place; " + NAME_A_SECRET)
        if self.env is not None and not _ENV_NAME.fullmatch(self.env):
            raise ValueError("env is not the name of an environment variable; e.g. {env: OB_ROOT}")
        if self.block is not None and not BLOCK_NAME.fullmatch(self.block):
            raise ValueError("block is not the name of a block; e.g. {block: ob-root}")
        return self


NAME_A_SECRET: Final = "write {env: NAME} or {block: NAME}"  # noqa: S105 - advice


class TlsSpec(RequestModel):
    """How agents that speak https are trusted. Paths are those of the machine that runs this."""

    model_config = ConfigDict(title="TLS")

    verify: bool = Field(
        default=True, title="Verify certificates", description="Off: any certificate is taken."
    )
    ca_file: str | None = Field(
        default=None, title="CA file", description="PEM; empty: the system's own authorities."
    )
    client_cert: str | None = Field(
        default=None, title="Client certificate file", description="PEM; for agents that want one."
    )
    client_key: str | None = Field(
        default=None, title="Client key file", description="PEM; of that certificate."
    )

    @model_validator(mode="after")
    def _key_comes_with_its_certificate(self) -> Self:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key go together; write both or none")
        return self


class ClusterSpec(RequestModel):
    """A cluster written out: agents to ask, who it must be, and where its password is."""

    model_config = ConfigDict(title="Written out")

    endpoints: tuple[
        Annotated[
            str, Field(title="Entry agent", json_schema_extra=patterns.like(patterns.ENDPOINT))
        ],
        ...,
    ] = Field(
        title="Entry agents",
        description="Cluster agents to ask, in this order, by IP; http unless https is written.",
        examples=[["https://10.0.0.1:2886", "https://10.0.0.2:2886"]],
        min_length=1,
    )
    password: SecretName | None = Field(
        default=None, title="Password of root@sys", description="Where it is kept."
    )
    name: str | None = Field(
        default=None, title="Cluster name", description="The name the cluster must answer with."
    )
    id: int | None = Field(
        default=None, title="Cluster id", description="The id the cluster must answer with."
    )
    tls: TlsSpec = Field(
        default=TlsSpec(), title="Certificates", description="For agents that speak https."
    )

    @field_validator("endpoints")
    @classmethod
    def _are_addresses(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parsed = [AgentAddress.parse(endpoint) for endpoint in endpoints]
        except SpecError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None
        if len({address.scheme for address in parsed}) > 1:
            raise ValueError("agents of one cluster speak one scheme; write http or https for all")
        for address in parsed:
            if parsed.count(address) > 1:
                raise ValueError(f"{address} is listed twice; remove one")
        return endpoints


def _number_only(value: object) -> object:
    """Keep pydantic from reading `true` as 1."""
    if isinstance(value, bool | float):
        raise ValueError(f"must be a whole number, e.g. {DEFAULT_PORT}")  # noqa: TRY004 - pydantic wants it
    return value


def _normal_ip(text: str) -> str:
    """Write an IP in its shortest form; leave anything else for the rule `ip-literal`."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text


class AgentInfoSpec(RequestModel):
    """Address of the agent that is to join."""

    ip: str = Field(
        title="IP address",
        description="No host name, e.g. 10.0.0.4 or fd00::4.",
        examples=["10.0.0.4"],
        json_schema_extra=patterns.like(patterns.IP),
    )
    port: Annotated[int, BeforeValidator(_number_only)] = Field(
        default=DEFAULT_PORT,
        title="Port",
        description="Of obshell, not of the database; 1025 to 65535.",
        json_schema_extra={**patterns.PORT_BOUNDS},
    )

    @field_validator("ip")
    @classmethod
    def _normalise(cls, ip: str) -> str:
        return _normal_ip(ip)

    @model_validator(mode="after")
    def _port_stands_apart(self) -> Self:
        if "port" not in self.model_fields_set and (meant := port_behind(self.ip)):
            raise ValueError(
                f"ip: a port seems to follow the address; write ip: {meant[0]} and port: {meant[1]}"
                ", or, if all of it is the address, its port too"
            )
        return self


class SpareSpec(AgentInfoSpec):
    """One agent of a pool of spares: its address, written `10.0.0.7:2886` if that is all."""

    targetAgentPassword: SecretName | None = None  # noqa: N815 - spelled as the API spells it

    @model_validator(mode="before")
    @classmethod
    def _is_an_address(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        try:
            found = AgentAddress.parse(data)
        except SpecError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None
        if "://" in data:
            raise ValueError("a spare speaks the scheme of its cluster; write ip:port alone")
        return {"ip": found.ip, "port": found.port}

    @model_validator(mode="after")
    def _has_an_ip(self) -> Self:
        try:
            ip_address(self.ip)
        except ValueError:
            raise ValueError(f"{self.ip!r} is no IP address; agents are known by IP") from None
        return self

    @property
    def node(self) -> "NodeSpec":
        """What would be asked of it, without zone and start options."""
        where = AgentInfoSpec(ip=self.ip, port=self.port)
        return NodeSpec(agentInfo=where, zone="", targetAgentPassword=self.targetAgentPassword)


class SparesSpec(RequestModel):
    """A pool of spares, in any order."""

    spares: tuple[SpareSpec, ...] = Field(min_length=1)


def _zone_may_be_left_out(schema: dict[str, Any]) -> None:
    """Let a node name no zone, since the defaults may; `_names_each_zone` asks for one of both."""
    in_order(schema)
    schema["required"].remove("zone")


class NodeSpec(RequestModel):
    """One node that is to join, in the words of `POST /ob/scale_out`."""

    model_config = ConfigDict(title="Node", json_schema_extra=_zone_may_be_left_out)

    agentInfo: AgentInfoSpec = Field(  # noqa: N815 - spelled as the API spells it
        title="Agent that joins", description="The obshell agent of the new node."
    )
    zone: str = Field(
        title="Zone",
        description="It joins, e.g. zone2, no blank; needed unless the defaults name one.",
        examples=["zone2"],
        json_schema_extra=patterns.like(patterns.ZONE),
    )
    obConfigs: dict[str, str] = Field(  # noqa: N815
        default_factory=dict,
        title="Start options",
        description="Beside those of the defaults, and above them; others than these as JSON.",
        json_schema_extra=AS_FIELDS,
    )
    targetAgentPassword: SecretName | None = Field(  # noqa: N815
        default=None,
        title="Password of that agent",
        description="Where it is kept; only if the agent has one.",
    )

    @property
    def address(self) -> str:
        """`ip:port` of the agent, IPv6 in brackets."""
        return str(AgentAddress(self.agentInfo.ip, self.agentInfo.port))


class DefaultsSpec(RequestModel):
    """What every node takes unless it says otherwise."""

    model_config = ConfigDict(title="Defaults")

    zone: str | None = Field(
        default=None,
        title="Zone",
        description="Of nodes that name none.",
        examples=["zone2"],
        json_schema_extra=patterns.like(patterns.ZONE),
    )
    obConfigs: dict[str, str] = Field(  # noqa: N815
        default_factory=dict,
        title="Start options",
        description="Of all nodes; a node's own stand above. Others than these as JSON.",
        json_schema_extra=AS_FIELDS,
    )
    targetAgentPassword: SecretName | None = Field(  # noqa: N815
        default=None,
        title="Password of the agents",
        description="Where it is kept, if all have the same one.",
    )


def _day_only(value: object) -> object:
    """Keep pydantic from reading a number as seconds since the epoch."""
    if isinstance(value, str) and _DAY.fullmatch(value):
        return value
    if type(value) is date:
        return value
    raise ValueError("must be a day, e.g. 2026-12-31")


class OverrideSpec(RequestModel):
    """A rule whose block or warning is accepted, by whom it concerns, for a time."""

    # Shapes only: whether the rule exists and may be overridden is judged by
    # `obscale.preflight.judge`.

    model_config = ConfigDict(title="Override")

    rule: str = Field(
        title="Rule", description="Id of the rule, as `obscale explain` lists it.", min_length=1
    )
    reason: str = Field(
        title="Reason",
        description="Why it is accepted, and by whom.",
        json_schema_extra=patterns.like(patterns.SOMETHING),
    )
    until: Annotated[date, BeforeValidator(_day_only)] = Field(
        title="Until",
        description="Last day (UTC) on which it is accepted, e.g. 2026-12-31.",
        json_schema_extra=patterns.like(patterns.DAY),
    )

    @field_validator("reason")
    @classmethod
    def _says_something(cls, reason: str) -> str:
        told = " ".join(reason.split())
        if not told:
            raise ValueError("is empty; say why the finding is accepted")
        if len(told) > MOST_REASON_CHARACTERS:
            raise ValueError(f"is longer than {MOST_REASON_CHARACTERS} characters; say it shorter")
        return told


def _cluster_kind(value: object) -> str:
    return "stored" if isinstance(value, str) else "written"


def _names_each_zone(schema: dict[str, Any]) -> None:
    """Have nodes name their zone, unless the defaults do."""
    in_order(schema)
    # Not the docstring: in a form no node can be written at top level.
    schema["description"] = "One cluster, its nodes, and what these share."
    shared = {"required": ["zone"], "properties": {"zone": {"type": "string"}}}
    schema["if"] = {"required": ["defaults"], "properties": {"defaults": shared}}
    schema["else"] = {"properties": {"nodes": {"items": {"required": ["zone"]}}}}


AskedCluster = Annotated[
    Annotated[
        str,
        Field(title="Stored connection", min_length=1, examples=["prod-east"]),
        Tag("stored"),
    ]
    | Annotated[ClusterSpec, Tag("written")],
    Discriminator(_cluster_kind),
]
"""A cluster as a request's file names it: a stored connection, or written out."""


NamedCluster = Annotated[
    AskedCluster,
    Field(title="Cluster", description="The name of its stored connection, or written out."),
]
Weighing = Annotated[
    Profile,
    Field(
        title="Profile",
        description="How strictly findings are weighed; lab takes for a note what prod blocks.",
    ),
]
Unknowns = Annotated[
    bool,
    Field(
        title="Allow unknowns",
        description="In production, begin also where rules that could block could not be judged.",
    ),
]
OwnLimits = Annotated[
    TimeLimits | None,
    Field(
        title="Time limits",
        description="Of this cluster's rows, where they are not those of the batch.",
    ),
]


Accepted = Annotated[
    tuple[OverrideSpec, ...],
    Field(
        title="Overrides",
        description="Findings that are accepted, each for a reason and until a day.",
    ),
]
"""What requests share that add no node."""


class ScaleOutSpec(RequestModel):
    """A whole request: which cluster, which nodes. Defaults are already merged into `nodes`.

    One node may be written at top level, its fields beside `cluster`: the sample request of the
    API's documentation is a valid request.
    """

    model_config = ConfigDict(title="Cluster with its nodes", json_schema_extra=_names_each_zone)

    cluster: AskedCluster = Field(
        title="Cluster",
        description="The cluster that grows: the name of its stored connection, or written out.",
    )
    defaults: DefaultsSpec = Field(
        default=DefaultsSpec(),
        title="What its nodes share",
        description="What each node takes where it says nothing else.",
    )
    nodes: tuple[NodeSpec, ...] = Field(
        title="Nodes", description="Those that are to join this cluster.", min_length=1
    )
    allow_new_zone: bool = Field(
        default=False,
        title="Allow a new zone",
        description="Create a zone if the cluster has none of its name.",
    )
    allow_unknown: bool = Field(
        default=False,
        title="Allow unknowns",
        description="In production, begin also where rules that could block could not be judged.",
    )
    profile: Profile = Field(
        default="prod",
        title="Profile",
        description="How strictly findings are weighed; lab takes for a note what prod blocks.",
    )
    overrides: tuple[OverrideSpec, ...] = Field(
        default=(),
        title="Overrides",
        description="Findings that are accepted, each for a reason and until a day.",
    )
    time_limits: TimeLimits | None = Field(
        default=None,
        title="Time limits",
        description="Of this cluster's rows, where they are not those of the batch.",
    )

    @model_validator(mode="before")
    @classmethod
    def _unfold(cls, data: Any) -> Any:
        return unfolded(data) if isinstance(data, Mapping) else data


def unfolded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a request into its long form: `nodes` as a list, defaults merged into each.

    What has a wrong shape is passed on as it is, for the models to name it.

    Raises:
        ValueError: One node at top level beside a list of nodes.
    """
    long = dict(data)
    at_top = {key: long.pop(key) for key in _OF_A_NODE if key in long}
    if at_top and "nodes" in long:
        raise ValueError(
            f"{', '.join(at_top)} at top level beside nodes; write either one node at top level "
            "or all of them below nodes"
        )
    if at_top:
        long["nodes"] = [at_top]
    defaults, nodes = long.get("defaults"), long.get("nodes")
    if isinstance(defaults, Mapping) and isinstance(nodes, list | tuple):
        long["nodes"] = [
            _with_defaults(node, defaults) if isinstance(node, Mapping) else node for node in nodes
        ]
    return long


def _with_defaults(node: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(node)
    for key in ("zone", "targetAgentPassword"):
        if defaults.get(key) is not None:
            merged.setdefault(key, defaults[key])
    configs, own = defaults.get("obConfigs"), merged.get("obConfigs", {})
    if isinstance(configs, Mapping) and isinstance(own, Mapping):
        # Only texts: another value is named once, where it stands, in the defaults.
        merged["obConfigs"] = {k: v for k, v in configs.items() if isinstance(v, str)} | dict(own)
    return merged


_SECRET_MARKS: Final = ("password", "passwd", "pwd", "secret", "token", "credential")


def looks_secret(key: str) -> bool:
    """Whether a key looks as if a secret stood below it; such values are never repeated."""
    return any(mark in key.lower() for mark in _SECRET_MARKS)
