"""The start options of a new observer, as fields of a form where the API takes a free map."""

from pydantic import BaseModel, ConfigDict, Field

from obscale.request.time_limits import in_order


class ObConfigs(BaseModel):
    """Start options of the new observer. Others than these go in as JSON, each value a text."""

    # Factories, because a default that stands in the schema is sent by the form as if filled in.

    model_config = ConfigDict(frozen=True, extra="allow", json_schema_extra=in_order)
    # pydantic's own way to say of which type further fields are.
    __pydantic_extra__: dict[str, str]  # pyright: ignore[reportIncompatibleVariableOverride]

    mysql_port: str = Field(
        default_factory=str, title="mysql_port", description="SQL port; 2881 if left out."
    )
    rpc_port: str = Field(
        default_factory=str, title="rpc_port", description="RPC port; 2882 if left out."
    )
    memory_limit: str = Field(
        default_factory=str,
        title="memory_limit",
        description="Memory of the observer, e.g. 16G; 80 % of the host if left out.",
    )
    system_memory: str = Field(
        default_factory=str,
        title="system_memory",
        description="Of that, what tenants do not get, e.g. 8G.",
    )
    datafile_size: str = Field(
        default_factory=str,
        title="datafile_size",
        description="Data file, allocated at the first start, e.g. 200G; "
        "60 or 90 % of its disk if left out.",
    )
    log_disk_size: str = Field(
        default_factory=str,
        title="log_disk_size",
        description="Redo logs, allocated at the first start, e.g. 60G; "
        "30 or 90 % of its disk if left out.",
    )
    data_dir: str = Field(
        default_factory=str,
        title="data_dir",
        description="Empty directory for data; below the home if left out.",
    )
    redo_dir: str = Field(
        default_factory=str,
        title="redo_dir",
        description="Empty directory for redo logs; data_dir if left out.",
    )

    def given(self) -> dict[str, str]:
        """Give the options as the API takes them: what was filled in, and nothing else.

        A text that was emptied on purpose is given too: preflight refuses it, where leaving it out
        would quietly start the observer with a default.
        """
        return self.model_dump(exclude_unset=True)
