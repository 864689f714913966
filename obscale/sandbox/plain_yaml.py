"""Reads plain values from YAML or JSON within limits."""

from typing import Any, Final

import yaml

MOST_LEVELS: Final = 20
"""A description of a world is six levels deep, a card two."""
MOST_EVENTS: Final = 20_000
"""Of a text that somebody else sends: thousands of cards."""


class UnfitYamlError(yaml.YAMLError):
    """The text is no plain YAML, or takes more than it may; `problem` says which."""

    def __init__(self, problem: str, mark: object = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.problem_mark = mark


def load_plain(text: str, *, is_foreign: bool = False) -> Any:
    """Give what a text says.

    Args:
        text: YAML or JSON.
        is_foreign: Whether somebody else wrote it: then it may hold no alias and only so much.

    Raises:
        yaml.YAMLError: It cannot be read; with `problem`, and `problem_mark` where there is one.
    """
    # Events come one by one: what is too deep ends before it is walked, let alone built.
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_LEVELS:
            raise UnfitYamlError("it is nested too deeply", event.start_mark)
        if is_foreign and count > MOST_EVENTS:
            raise UnfitYamlError("it holds too many values", event.start_mark)
        if is_foreign and isinstance(event, yaml.AliasEvent):
            raise UnfitYamlError("aliases (*…) have no use here", event.start_mark)
    try:
        return yaml.safe_load(text)
    except ValueError as error:
        # A day or number that does not exist, e.g. 2001-99-99, or one of thousands of digits.
        raise UnfitYamlError("it holds a date or number that is none; quote it") from error
