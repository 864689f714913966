"""Where do stored connections and secrets live in Prefect?

In blocks: an `obshell-cluster` block for a cluster, Prefect's own `secret` block for one password.
They stand in this importable module because a block defined beside a served flow does not validate.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from pydantic import Field, SecretStr, ValidationError

from obscale.errors import SpecError
from obscale.link import KnownCluster, Link, connected
from obscale.order import Order
from obscale.rules.asked import ClusterSpec, TlsSpec


class ObshellCluster(Block):
    """A cluster obscale may grow: its entry agents, who it must be, and its root password."""

    _block_type_name = "Obshell Cluster"
    _block_type_slug = "obshell-cluster"
    _description = "Entry agents and credentials of one OceanBase cluster run by obshell."

    endpoints: list[str] = Field(
        title="Entry agents",
        description="Cluster agents to ask, in this order; http unless https is written.",
        examples=[["https://10.0.0.1:2886", "https://10.0.0.2:2886"]],
        min_length=1,
    )
    root_password: SecretStr = Field(
        default=SecretStr(""), title="Password of root@sys", description="Stored encrypted."
    )
    name: str | None = Field(
        default=None, title="Cluster name", description="The name the cluster must answer with."
    )
    cluster_id: int | None = Field(
        default=None, title="Cluster id", description="The id the cluster must answer with."
    )
    verify_tls: bool = Field(default=True, title="Verify TLS certificates")
    ca_file: str | None = Field(
        default=None, title="CA file", description="On the machine that runs the flow."
    )

    def known(self) -> KnownCluster:
        """Give the connection in obscale's own terms.

        Raises:
            SpecError: A field does not fit, e.g. a host name among the entry agents.
        """
        try:
            spec = ClusterSpec(
                endpoints=tuple(self.endpoints),
                name=self.name,
                id=self.cluster_id,
                tls=TlsSpec(verify=self.verify_tls, ca_file=self.ca_file),
            )
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise SpecError(f"block {self._block_document_name}: {place}: {first['msg']}") from None
        return KnownCluster(spec, self.root_password)


class PrefectVault:
    """Reads named secrets and stored connections from Prefect's blocks."""

    async def read_block(self, name: str, field: str) -> SecretStr:
        """Give the text of Prefect's `secret` block of this name.

        Raises:
            SpecError: No such block is stored, or it holds no text.
        """
        try:
            block = cast("Secret[str]", await Secret.aload(name))
        except ValueError as error:
            raise SpecError(
                f"{field}: no Prefect secret block is named {name!r}",
                f"prefect block create secret, and name it {name}",
            ) from error
        return SecretStr(str(block.get()))

    async def read_cluster(self, name: str) -> KnownCluster:
        """Give the connection stored as `obshell-cluster` block of this name.

        Raises:
            SpecError: No such block is stored.
        """
        try:
            block = cast("ObshellCluster", await ObshellCluster.aload(name))
        except ValueError as error:
            raise SpecError(
                f"cluster: no connection is stored under the name {name!r}",
                "prefect block register --module tasks.connection, then make an "
                "'Obshell Cluster' block of this name; or write the cluster out",
            ) from error
        return block.known()


@asynccontextmanager
async def linked(order: Order) -> AsyncIterator[Link]:
    """Open an order's connections with Prefect's blocks as the vault."""
    async with connected(order, PrefectVault()) as link:
        yield link
