"""What the plan and the report of a batch both tell of one row."""

from pydantic import BaseModel, ConfigDict


class BatchRow(BaseModel):
    """One node of a batch, and what stands in its way."""

    model_config = ConfigDict(frozen=True)

    number: int
    """In the request, from 1."""
    cluster: str
    target: str
    """`ip:port`."""
    zone: str
    verdict: str
    """Of preflight, in words."""
    why: str
    """What keeps it from being begun, or why it ended as it did."""
    next: str
    """What somebody is to do about it."""
    error_kind: str
    """Of what stands in its way; empty: nothing does."""
