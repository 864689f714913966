"""What an endpoint sees of a request, and the answers it can give."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from obscale.sandbox.agents import CLUSTER_AGENT, SINGLE, Agent
from obscale.sandbox.cluster import Cluster
from obscale.sandbox.dags.dag import DagPrinter
from obscale.sandbox.dags.snapshots import as_found
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
NO_LIST: Final[list[Any]] = []
"""A list Go never made: `null` where an empty one is `[]`."""


@dataclass(frozen=True)
class Call:
    """One request after it was opened and let in.

    Attributes:
        names: Parts of the path, e.g. `{"id": "17"}`.
        query: Query parameters, the last of each name.
        body: Decrypted body, `{}` for none.
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
            as_found=lambda dag: as_found(dag, self.world.engine.seconds_to_look(dag)),
        )

    @property
    def show_details(self) -> bool:
        """`show_details`, true by default; where it is looked at, no Go bool makes it panic."""
        word = self.query.get("show_details")
        if word is None or word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
        raise Panic("strconv.ParseBool")

    def json_body(self) -> dict[str, Any]:
        """The body as an object with lower-case names: Go ignores the case.

        Raises:
            Refusal: Not a JSON object. obshell has read it for its log by then, and puts only
                objects back: the handler finds nothing to read.
        """
        try:
            value = json.loads(self.body.decode())
        except ValueError as error:
            raise bind_failed("EOF") from error
        if not isinstance(value, dict):
            raise bind_failed("EOF")
        return {str(name).lower(): field for name, field in value.items()}

    def text(self, name: str) -> str:
        """One text of the body, empty for none."""
        value = self.json_body().get(name)
        return value if isinstance(value, str) else ""

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
        """Parse an id of the path; it need not be written as agents write it.

        Raises:
            Refusal: 400 for what no agent hands out.
        """
        try:
            parsed = parse_generic_id(text)
        except ValueError as error:
            raise _invalid_id(text) from error
        if parsed.ip is not None and ":" in parsed.ip and text[1] == "0":
            # obshell drops leading zero bytes of IPv6 addresses and cannot read its own id again.
            raise _invalid_id(text)
        return parsed


def _invalid_id(text: str) -> Refusal:
    return Refusal(400, "Task.GenericID.Invalid", f"Invalid ID: {text}: invalid generic id")


def require(form: str, fields: Mapping[str, object]) -> None:
    """Refuse a body without one of these fields, or with an empty one.

    Args:
        form: Name of obshell's own type, e.g. `SetAgentPasswordParam`.
        fields: Values by the name they have there, in its order.

    Raises:
        Refusal: Names every field that is missing.
    """
    missing = [
        f"Key: '{form}.{field}' Error:Field validation for '{field.rpartition('.')[2]}' "
        "failed on the 'required' tag"
        for field, value in fields.items()
        if not value
    ]
    if missing:
        raise bind_failed("\n".join(missing))


def bind_failed(reason: str) -> Refusal:
    """400 for a body that is not what the endpoint expects."""
    return Refusal(400, "Common.BindJsonFailed", f"Bind JSON failed: {reason}")
