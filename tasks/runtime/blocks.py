"""The vault that reads connections and secrets from Prefect's blocks.

In blocks: an `obshell-cluster` block for a cluster, Prefect's own `secret` block for one password,
a target agent's for instance: it holds one text and nothing has to be known beside it.
"""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, cast

from prefect.blocks.system import Secret
from pydantic import SecretStr, ValidationError

from obscale.agent.keys import KnownKeys, Unlisted
from obscale.agent.passwords import NamedSecret
from obscale.agent.silence import remembering_silence
from obscale.connect.connections import ClusterAccess, Connections, connected
from obscale.errors import SpecError
from obscale.events import AgentNotice
from obscale.removal.look import removal_connected
from obscale.request.models import BLOCK_NAME, ClusterSpec, TlsSpec
from obscale.request.removal import Removal
from obscale.request.scale_out import ScaleOut
from obscale.tasks.runtime.cluster_block import KeyTrust, ObshellCluster
from obscale.tasks.runtime.journal import publish
from obscale.tasks.runtime.prefect_private import BLOCK_TYPE_FIELD
from obscale.tasks.runtime.writing import ANSWER_SECONDS, last_known, recording, written

_UNLISTED: Final[dict[KeyTrust, Unlisted]] = {"first-use": "remember", "pinned": "refuse"}


def known_cluster(name: str, block: ObshellCluster) -> ClusterAccess:
    """Give the connection stored under a name in obscale's own terms.

    Raises:
        SpecError: A field does not fit, e.g. a host name among the entry agents.
    """
    unknown = sorted(k for k, v in (block.model_extra or {}).items() if _says_something(k, v))
    if unknown:
        raise SpecError(
            f"connection {name!r} was stored by a newer obscale: {', '.join(unknown)} is not "
            "known here",
            f"upgrade obscale here, or store it again: obscale connect {name} --endpoint …",
        )
    try:
        spec = ClusterSpec(
            endpoints=tuple(block.endpoints),
            name=block.name,
            id=block.cluster_id,
            tls=TlsSpec(
                verify=block.verify_tls,
                ca_file=block.ca_file,
                client_cert=block.client_cert,
                client_key=block.client_key,
            ),
        )
    except ValidationError as error:
        raise _unfit(name, error) from None
    unlisted = _UNLISTED.get(block.key_trust)
    announce = f"announce it: obscale connect {name} --pin"
    keys = KnownKeys(block.pinned_keys, unlisted, announce) if unlisted else None
    source = f"connection {name}"
    root = NamedSecret(block.root_password.get_secret_value(), source)
    own = block.agent_password
    agent = None if own is None else NamedSecret(own.get_secret_value(), source)
    return ClusterAccess(spec, root, agent, keys)


def _says_something(key: str, value: object) -> bool:
    """Whether an unknown field may change what is done; an empty one cannot."""
    return key != BLOCK_TYPE_FIELD and value not in (None, "", [], {})


def _unfit(name: str, error: ValidationError) -> SpecError:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "it"
    return SpecError(
        f"connection {name!r} cannot be used as it is stored: {place}: "
        f"{first['msg'].removeprefix('Value error, ')}",
        f"correct the block in Prefect's UI, or store it again: obscale connect {name} "
        "--endpoint …",
    )


async def stored_cluster(name: str) -> ObshellCluster | None:
    """Load a stored connection; None where there is none.

    Raises:
        SpecError: It was stored in another shape, which this version cannot read.
    """
    if not BLOCK_NAME.fullmatch(name):
        # No block can have it, and not every text can stand in a URL.
        return None
    try:
        return cast("ObshellCluster", await ObshellCluster.aload(name))
    except ValueError:
        return None
    except RuntimeError as error:
        # Prefect's own words for a stored block that does not validate; they name no field.
        if isinstance(error.__cause__, ValidationError):
            raise _unfit(name, error.__cause__) from None
        raise


async def _secret(name: str) -> object:
    return await Secret.aload(name)


class PrefectSecrets:
    """Reads named secrets and stored connections from Prefect's blocks.

    Inside a run, while Prefect does not answer, as the run has read them before.
    """

    async def read_block(self, name: str, field: str) -> SecretStr:
        """Give the text of Prefect's `secret` block of this name.

        Raises:
            SpecError: No such block is stored, or it holds no text.
        """
        try:
            block = cast("Secret[Any]", await last_known("secret", name, lambda: _secret(name)))
        except ValueError as error:
            raise SpecError(
                f"{field}: no Prefect secret block is named {name!r}",
                f"prefect block create secret, and name it {name}",
            ) from error
        text = block.get()
        if not isinstance(text, str):
            raise SpecError(
                f"{field}: the Prefect secret block {name!r} holds no text, but "
                f"{type(text).__name__}",
                "store the password as plain text, in quotes if it looks like a number",
            )
        return NamedSecret(text, f"block {name}")

    async def read_cluster(self, name: str) -> ClusterAccess:
        """Give the connection stored as `obshell-cluster` block of this name.

        Raises:
            SpecError: No such block is stored, or this version cannot read it.
        """
        block = await last_known("cluster", name, lambda: stored_cluster(name))
        if block is None:
            raise SpecError(
                f"cluster: no connection is stored under the name {name!r}",
                f"obscale connect {name} --endpoint …, or write the cluster out",
            )
        return known_cluster(name, block)

    async def keep_keys(
        self, name: str, learned: Mapping[str, str], joined: Collection[str] = ()
    ) -> None:
        """Add keys seen for the first time to the stored connection; known ones stay.

        Where only pinned keys count, none but those of agents that have joined are added. Where
        Prefect does not take them within seconds, the next step or run learns them again.
        """
        mine = recording()
        if mine and (read := mine.read.get(("cluster", name))):
            read.pinned_keys = read.pinned_keys | _new_keys(read, learned, joined)

        async def keep() -> None:
            # Read again: meanwhile somebody may have announced keys, or another run learned some.
            block = await stored_cluster(name)
            if block is not None and (new := _new_keys(block, learned, joined)):
                block.pinned_keys |= new
                await block.asave(name, overwrite=True)

        await written(f"keys of {name}", keep, seconds=ANSWER_SECONDS)


def _new_keys(
    block: ObshellCluster, learned: Mapping[str, str], joined: Collection[str]
) -> dict[str, str]:
    """Give what a connection learns: at first use anybody's key, pinned only those who joined."""
    if block.key_trust == "any":
        return {}
    return {
        agent: key
        for agent, key in learned.items()
        if agent not in block.pinned_keys and (block.key_trust == "first-use" or agent in joined)
    }


@asynccontextmanager
async def open_connections(order: ScaleOut, *, proven: bool = False) -> AsyncIterator[Connections]:
    """Open an order's connections with Prefect's blocks as the store of secrets.

    Args:
        order: What is to be done.
        proven: Whether an earlier step of this run had the root password accepted.
    """
    async with connected(order, PrefectSecrets()) as link:
        link.cluster.password_was_accepted = proven
        yield link


@asynccontextmanager
async def open_removal(order: Removal, *, proven: bool = False) -> AsyncIterator[Connections]:
    """Open a removal's connections likewise.

    Args:
        order: What is to be done.
        proven: Whether an earlier step of this run had the root password accepted.
    """
    async with removal_connected(order, PrefectSecrets()) as link:
        link.cluster.password_was_accepted = proven
        yield link


@contextmanager
def naming_silent_agents() -> Iterator[None]:
    """Let all steps and rows of a run in this process share which agents are silent; tell of each.

    Each agent is named once, and once more when it is heard again.
    """

    def say(line: str) -> None:
        publish(AgentNotice(line=line))

    with remembering_silence(say):
        yield
