"""Says texts of obscale's own in the language of a terminal's reader, or of a deployment's pages.

The id of a text is the English template it is made from. Facts, records, JSON and events hold
finished English texts; only what is shown to a person passes here, and nothing is decided by it.
"""

from obscale.language.choice import page_language, reader_language
from obscale.language.translations import Translations, translations_of


def for_reader(text: str, *, is_ours: bool = False) -> str:
    """Give a text in the language of whoever sits at the terminal.

    Args:
        text: In English, finished.
        is_ours: Whether it is nobody's name, so that a single word may be translated too.
    """
    known = translations_of(reader_language())
    return known.text(text, is_ours=is_ours) if known else text


def for_page(text: str, *, is_ours: bool = False) -> str:
    """Give a text in the language of this deployment's pages and forms; as `for_reader`."""
    known = page_translations()
    return known.text(text, is_ours=is_ours) if known else text


def page_translations() -> Translations | None:
    """Give the translations for pages and forms; None where they are English."""
    return translations_of(page_language())
