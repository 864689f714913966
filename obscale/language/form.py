"""Says what a person reads of a form, its titles and descriptions, in the language of its pages.

Prefect makes a form of a JSON schema. Names, defaults, patterns and values of it never change.
"""

from typing import Any, Final

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from obscale.language import page_translations
from obscale.language.translations import Translations

_SAID: Final = ("title", "description")
_VALUES: Final = frozenset({"default", "enum", "const", "examples"})
_NAMED: Final = frozenset({"properties", "definitions", "$defs"})
"""What lies below these stands under names of somebody's choice, which may be `title` too."""


class SaidForPage:
    """Beside a type, in `Annotated`: its schema, and all it holds, in the language of pages."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Make the schema as it would be, and say its words."""
        return said_for_page(core_schema, handler)


def said_for_page(core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
    """Make a schema, with its words in the language of pages; as it would be where that is English.

    Args:
        core_schema: As pydantic gives it to whoever makes a schema.
        handler: As above.
    """
    schema = handler(core_schema)
    if known := page_translations():
        _say(schema, known, handler, set())
    return schema


def _say(
    schema: Any,
    known: Translations,
    handler: GetJsonSchemaHandler,
    seen: set[str],
    *,
    names: bool = False,
) -> None:
    """Say titles and descriptions, in place, in what is referred to as well."""
    if isinstance(schema, list):
        for each in schema:
            _say(each, known, handler, seen)
        return
    if not isinstance(schema, dict):
        return
    if not names and (where := schema.get("$ref")) and where not in seen:
        seen.add(where)
        _say(handler.resolve_ref_schema({"$ref": where}), known, handler, seen)
    for key, value in schema.items():
        if names or key not in {*_SAID, *_VALUES}:
            _say(value, known, handler, seen, names=key in _NAMED and not names)
        elif key in _SAID and isinstance(value, str):
            schema[key] = known.form(value)
