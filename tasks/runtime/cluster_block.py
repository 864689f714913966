"""The Prefect block that stores the connection to a cluster.

It stands in an importable module because a block defined beside a served flow does not validate,
and apart from what uses it because Prefect loads it wherever obscale is installed, in servers and
in runs of others too (`prefect.collections` in pyproject.toml): this must change nothing there.
"""

from typing import Literal

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr

KeyTrust = Literal["any", "first-use", "pinned"]
"""How agents' keys are trusted: all, held to the first one seen, only those listed."""


class ObshellCluster(Block):
    """A cluster obscale may grow: its entry agents, who it must be, and how it is trusted."""

    # Prefect's catalogue is searched by this name alone.
    _block_type_name = "OceanBase Cluster (obshell)"
    _block_type_slug = "obshell-cluster"
    _description = (
        "Entry agents and credentials of one OceanBase cluster run by obshell, by which obscale "
        "grows it. `obscale connect NAME` fills it in, once it has proved that all agents answer."
    )
    # No logo: Prefect takes only an address for it, and shows a broken image behind a dead one.
    _documentation_url = HttpUrl("https://github.com/oceanbase/obshell")

    endpoints: list[str] = Field(
        title="Entry agents",
        description="Cluster agents to ask, in this order; http unless https is written.",
        examples=[["https://10.0.0.1:2886", "https://10.0.0.2:2886"]],
        min_length=1,
    )
    root_password: SecretStr = Field(
        default=SecretStr(""), title="Password of root@sys", description="Stored encrypted."
    )
    agent_password: SecretStr | None = Field(
        default=None,
        title="Password of the cluster's agents",
        description="Only where they have one of their own. Stored encrypted.",
    )
    name: str | None = Field(
        default=None, title="Cluster name", description="The name the cluster must answer with."
    )
    cluster_id: int | None = Field(
        default=None, title="Cluster id", description="The id the cluster must answer with."
    )
    verify_tls: bool = Field(
        default=True,
        title="Verify TLS certificates",
        description="Switched off, whoever stands between can read the passwords.",
    )
    ca_file: str | None = Field(
        default=None,
        title="CA file",
        description="PEM, on the machine that runs the flow; the system's authorities if empty.",
    )
    client_cert: str | None = Field(
        default=None,
        title="Client certificate file",
        description="PEM, on the machine that runs the flow; for agents that ask for one.",
    )
    client_key: str | None = Field(
        default=None,
        title="Client key file",
        description="PEM, on the machine that runs the flow; its content is never stored here.",
    )
    key_trust: KeyTrust = Field(
        default="any",
        title="Trust in agents' public keys",
        description="any: whatever key an agent serves. first-use: the first one seen is kept, "
        "another is refused. pinned: only the keys listed below.",
    )
    pinned_keys: dict[str, str] = Field(
        default_factory=dict,
        title="Known keys",
        description="Agent (ip:port) to fingerprint, as `obscale connect NAME --pin` fills it.",
    )
