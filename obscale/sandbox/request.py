"""What an endpoint sees of a request, and the answers it can give."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from obscale.sandbox.agents import CLUSTER_AGENT, SINGLE, Agent
from obscale.sandbox.cluster import Cluster
from obscale.sandbox.dags.dag import DagPrinter
from obscale.sandbox.errors import Panic, Refusal, not_supported
from obscale.sandbox.ids import GenericId, parse_generic_id

if TYPE_CHECKING:
    from obscale.sandbox.world import World

TRUE_WORDS: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE_WORDS: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""What Go's strconv.ParseBool understands."""


class _Nothing:
    """An answer without `data`, or one without any body."""


NO_DATA: Final = _Nothing()
NO_CONTENT: Final = _Nothing()


@dataclass(frozen=True)
class Call:
    """One request after it was opened and let in.

    Attributes:
        names: Parts of the path, e.g. `{"id": "17"}`.
        query: Query parameters, the last of each name.
        body: Decrypted body, `b""` for none.
        keys: AES key and IV of the request, `b""` without a sealed header.
        wall_seconds: The agent's clock when the request arrived.
    """

    world: "World"
    agent: Agent
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    keys: bytes
    wall_seconds: float

    @property
    def printer(self) -> DagPrinter:
        """Prints DAGs as this agent's release does."""
        return DagPrinter(
            self.world.config.utc_offset_minutes,
            with_maintenance=self.agent.has("maintenance type"),
        )

    @property
    def show_details(self) -> bool:
        """`show_details`, true by default; any other word than a Go bool panics."""
        word = self.query.get("show_details")
        if word is None or word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
        raise Panic("strconv.ParseBool")

    def json_body(self) -> dict[str, Any]:
        """The body as an object with lower-case names, `{}` for none: Go ignores the case.

        Raises:
            Refusal: Not a JSON object.
        """
        if not self.body:
            return {}
        try:
            value = json.loads(self.body.decode())
        except ValueError as error:
            raise bind_failed(f"invalid character in body: {error}") from error
        if not isinstance(value, dict):
            raise bind_failed("json: cannot unmarshal value into Go value of type struct")
        return {str(name).lower(): field for name, field in value.items()}

    def own_cluster(self) -> Cluster:
        """The cluster this cluster agent serves.

        Raises:
            Refusal: It has another identity.
        """
        if self.agent.identity != CLUSTER_AGENT or self.agent.cluster is None:
            raise not_supported(self.agent, self.agent.identity, CLUSTER_AGENT)
        return self.agent.cluster

    def member_of(self) -> Cluster | None:
        """The cluster the agent belongs to or joins; `None` while SINGLE."""
        return None if self.agent.identity == SINGLE else self.agent.cluster

    def id_of(self, text: str) -> GenericId:
        """Parse an id of the path.

        Raises:
            Refusal: 400 for what no agent hands out, 404 for what is not canonical.
        """
        try:
            parsed = parse_generic_id(text)
        except ValueError as error:
            raise Refusal(
                400, "Task.GenericID.Invalid", f"Generic ID '{text}' is invalid"
            ) from error
        if parsed.ip is not None and ":" in parsed.ip and text[1] == "0":
            # obshell drops leading zero bytes of IPv6 addresses and cannot read its own id again.
            raise Refusal(400, "Task.GenericID.Invalid", f"Generic ID '{text}' is invalid")
        if str(parsed) != text:
            raise Refusal(404, "Task.NotFound", "Task not found: dag id not match")
        return parsed


def bind_failed(reason: str) -> Refusal:
    """400 for a body that is not what the endpoint expects."""
    return Refusal(400, "Common.BindJsonFailed", f"Bind JSON failed: {reason}")
