"""What the plan and the report of a batch both tell of one row."""

from pydantic import BaseModel, ConfigDict

from obscale.request.asked import Kind


class BatchRow(BaseModel):
    """One row of a batch, and what stands in its way."""

    model_config = ConfigDict(frozen=True)

    number: int
    """In the request, from 1."""
    cluster: str
    kind: Kind = "nodes"
    """By the list of the request it stands in."""
    target: str
    """`ip:port`; of a tenant `tenant app`."""
    zone: str
    """It joins or leaves; of a tenant empty."""
    what: str = ""
    """What becomes of it, e.g. `10.0.0.4:2886 → zone2`."""
    verdict: str
    """Of preflight, in words."""
    why: str
    """What keeps it from being begun, or why it ended as it did."""
    next: str
    """What somebody is to do about it."""
    error_kind: str
    """Of what stands in its way; empty: nothing does."""
