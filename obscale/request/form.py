"""The parameters that the forms of several flows share, with their titles."""

from typing import Annotated, Any

from pydantic import Field

from obscale.request import patterns
from obscale.request.models import (
    AgentInfoSpec,
    ClusterSpec,
    OverrideSpec,
    Profile,
    SecretName,
)
from obscale.request.start_options import ObConfigs


def titled(words: str) -> Any:
    """Title a parameter of a flow, over which Prefect's form would write its bare name.

    Other words than the title of the parameter's own model, which pydantic would leave out.
    """
    return Field(json_schema_extra={"title": words})


DagId = Annotated[
    str,
    Field(
        examples=["11"],
        json_schema_extra={"title": "DAG", **patterns.like(patterns.DAG_ID)},
    ),
]
"""Id of a DAG, as obshell, reports and events show it."""
NamedCluster = Annotated[
    Annotated[str, Field(title="Stored connection", min_length=1, examples=["prod-east"])]
    | ClusterSpec,
    Field(union_mode="left_to_right"),
    titled("Cluster"),
]
"""A cluster as a run's parameter: the name of a stored connection, or the connection itself."""
JoiningAgent = Annotated[AgentInfoSpec, titled("Agent that joins")]
Zone = Annotated[
    str,
    Field(examples=["zone2"], json_schema_extra={"title": "Zone", **patterns.like(patterns.ZONE)}),
]
TargetPassword = Annotated[SecretName | None, titled("Password of that agent")]
Strictness = Annotated[Profile, titled("Profile")]
NewZone = Annotated[bool, titled("Allow a new zone")]
Unknowns = Annotated[bool, titled("Allow unknowns")]
Overrides = Annotated[tuple[OverrideSpec, ...], titled("Overrides")]
StartOptions = Annotated[ObConfigs, titled("Start options")]
