"""Says texts of obscale's own in the language of a terminal's reader, or of a deployment's pages.

The id of a text is the English template it is made from. Facts, records, JSON and events hold
finished English texts; only what is shown to a person passes here, and nothing is decided by it.
"""

from typing import TYPE_CHECKING

from obscale.language.choice import Language, page_language, reader_language

if TYPE_CHECKING:
    from obscale.language.translations import Translations


def for_reader(text: str, *, is_ours: bool = False) -> str:
    """Give a text in the language of whoever sits at the terminal.

    Args:
        text: In English, finished.
        is_ours: Whether it is nobody's name, so that a single word may be translated too.
    """
    known = _translations_of(reader_language())
    return known.text(text, is_ours=is_ours) if known else text


def for_page(text: str, *, is_ours: bool = False) -> str:
    """Give a text in the language of this deployment's pages and forms; as `for_reader`."""
    known = page_translations()
    return known.text(text, is_ours=is_ours) if known else text


def page_translations() -> "Translations | None":
    """Give the translations for pages and forms; None where they are English."""
    return _translations_of(page_language())


def _translations_of(language: Language) -> "Translations | None":
    if language == "en":
        return None
    from obscale.language.translations import translations_of  # noqa: PLC0415 - English does without

    return translations_of(language)
