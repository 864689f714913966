"""What may be asked of one cluster: nodes that join, leave or are replaced, or units of tenants."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, get_args

from pydantic import Discriminator, GetJsonSchemaHandler, Tag
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from obscale.request.models import ScaleOutSpec
from obscale.request.removal import Removal, RemovalSpec, removals_of
from obscale.request.replacement import Replacement, ReplacementSpec, replacements_of
from obscale.request.scale_out import ScaleOut
from obscale.request.use import Use, UseSpec, uses_of

Kind = Literal["nodes", "remove", "replace", "use"]
"""The one list a request holds, by the name it has in a file."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
LEAVING: Final[frozenset[Kind]] = frozenset({"remove", "replace"})
"""What takes nodes out of a cluster."""
Order = ScaleOut | Removal | Replacement | Use
"""One row of a batch as its task gets it."""


def kinds_in(data: object) -> tuple[Kind, ...]:
    """Give the lists that a request holds, as it was read; one node may be written at its top."""
    if not isinstance(data, Mapping):
        return ()
    found: list[Kind] = [kind for kind in KINDS if not {kind}.isdisjoint(data)]
    if "agentInfo" in data and "nodes" not in data:
        found.insert(0, "nodes")
    return tuple(found)


def first_kind(data: object) -> Kind:
    """Give the list a request holds; where it holds none, the one it is read for."""
    for kind in kinds_in(data):
        return kind
    return "nodes"


def _kind(value: object) -> Kind:
    if isinstance(value, Mapping):
        return first_kind(value)
    return kind_asked(value) if isinstance(value, _SPECS) else "nodes"


class _EachShown:
    """Lets Prefect's form offer one of several models: it reads `anyOf`, as its server does."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        schema["anyOf"] = schema.pop("oneOf")
        return schema


Asked = Annotated[
    Annotated[ScaleOutSpec, Tag("nodes")]
    | Annotated[RemovalSpec, Tag("remove")]
    | Annotated[ReplacementSpec, Tag("replace")]
    | Annotated[UseSpec, Tag("use")],
    Discriminator(_kind),
    _EachShown,
]
"""One cluster of a batch, with what is asked of it."""
SPECS: Final[
    Mapping[Kind, type[ScaleOutSpec] | type[RemovalSpec] | type[ReplacementSpec] | type[UseSpec]]
] = {
    "nodes": ScaleOutSpec,
    "remove": RemovalSpec,
    "replace": ReplacementSpec,
    "use": UseSpec,
}
_SPECS: Final = (ScaleOutSpec, RemovalSpec, ReplacementSpec, UseSpec)


def kind_asked(spec: ScaleOutSpec | RemovalSpec | ReplacementSpec | UseSpec) -> Kind:
    """Say which list a request holds."""
    match spec:
        case ScaleOutSpec():
            return "nodes"
        case RemovalSpec():
            return "remove"
        case ReplacementSpec():
            return "replace"
        case UseSpec():
            return "use"


def kind_of(order: Order) -> Kind:
    """Say which list of a request an order comes from."""
    match order:
        case ScaleOut():
            return "nodes"
        case Removal():
            return "remove"
        case Replacement():
            return "replace"
        case Use():
            return "use"


def orders_of(
    spec: RemovalSpec | ReplacementSpec | UseSpec,
) -> tuple[Removal, ...] | tuple[Replacement, ...] | tuple[Use, ...]:
    """Give one order for each row of a request, in its order."""
    match spec:
        case RemovalSpec():
            return removals_of(spec)
        case ReplacementSpec():
            return replacements_of(spec)
        case UseSpec():
            return uses_of(spec)
