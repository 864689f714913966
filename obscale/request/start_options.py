"""The start options of a new observer, as fields of a form where the API takes a free map."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from obscale.request import patterns
from obscale.request.time_limits import in_order


def _option(name: str, pattern: str, description: str) -> Any:
    # A factory, because a default that stands in the schema is sent by the form as if filled in.
    return Field(
        default_factory=str,
        title=name,
        description=description,
        json_schema_extra=patterns.like(pattern),
    )


class ObConfigs(BaseModel):
    """Start options of the new observer. Others than these go in as JSON, each value a text."""

    model_config = ConfigDict(frozen=True, extra="allow", json_schema_extra=in_order)
    # pydantic's own way to say of which type further fields are.
    __pydantic_extra__: dict[str, str]  # pyright: ignore[reportIncompatibleVariableOverride]

    mysql_port: str = _option(
        "mysql_port", patterns.PORT_OR_EMPTY, "SQL port, from 1025 on; 2881 if left out."
    )
    rpc_port: str = _option("rpc_port", patterns.PORT, "RPC port, from 1025 on; 2882 if left out.")
    memory_limit: str = _option(
        "memory_limit",
        patterns.SIZE,
        "Memory of the observer, with its unit, e.g. 16G; 80 % of the host if left out.",
    )
    system_memory: str = _option(
        "system_memory",
        patterns.SIZE,
        "Of that, what tenants do not get, with its unit, e.g. 8G.",
    )
    datafile_size: str = _option(
        "datafile_size",
        patterns.SIZE,
        "Data file, allocated at the first start, with its unit, e.g. 200G; "
        "60 or 90 % of its disk if left out.",
    )
    log_disk_size: str = _option(
        "log_disk_size",
        patterns.SIZE,
        "Redo logs, allocated at the first start, with their unit, e.g. 60G; "
        "30 or 90 % of their disk if left out.",
    )
    data_dir: str = _option(
        "data_dir",
        patterns.PATH_OR_EMPTY,
        "Empty directory for data, e.g. /data/ob; below the home if left out.",
    )
    redo_dir: str = _option(
        "redo_dir",
        patterns.PATH_OR_EMPTY,
        "Empty directory for redo logs, e.g. /redo/ob; data_dir if left out.",
    )

    def given(self) -> dict[str, str]:
        """Give the options as the API takes them: what was filled in, and nothing else.

        A text that was emptied on purpose is given too: preflight refuses it, where leaving it out
        would quietly start the observer with a default.
        """
        return self.model_dump(exclude_unset=True)


AS_FIELDS: Final = {"properties": ObConfigs.model_json_schema()["properties"]}
"""For the schema of a plain map of start options, so that its form has the same fields."""
