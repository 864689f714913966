"""Finds, for a finished English text, the template it was made from, and says it in Chinese."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count
from typing import Final

from obscale.language.choice import Language

CATALOGUE: Final = "zh_CN.yaml"
PLACE: Final = re.compile(r"\{[a-z_.]*\}|<(?:home|said)>")
"""What stands for a value in a message id."""
FILLED: Final = re.compile(r"\{(\d+)(?::([wnv]))?\}")
"""The same in its translation, by number; `:w`: a word of ours, `:n`: a number, `:v`: a name."""
_RUN: Final = re.compile(rf"(?:(?:{PLACE.pattern}))+")
"""Values without anything between them: they are found as one text."""
_LETTER: Final = re.compile(r"[^\W\d_]")
_MOST_KEPT: Final = 4096
_WEAK: Final = 8
"""Letters of a template below which its values must be names or known, or it matches anything."""
_NAME: Final = re.compile(
    r"(?:[≤≥] )?\S*|\S+-\S+: \S+|[^\w\s]*(['\"]).*\1|[\d\W]+(?: UTC)?", re.DOTALL
)
"""No sentence: one word, a quotation, a time or an amount."""
_SHORT: Final = re.compile(r"\S+(?: \S+)?")
"""A name, or a kind of thing with its name."""
_NUMBER: Final = r"([\d.,]+(?: ?(?:[KMGTPE]|[KMGTPE]iB|B|%))?)"
_NEXT: Final = ". Next: "
"""Between an error and the next step."""
_TURNS: Final = " → "
_LIST: Final = "; "
_LISTS: Final = {"; also: ": "；另外：", _LIST: "；", ", ": "，"}
"""Between sentences, each of them known."""
_SEPARATORS: Final = {
    ". ": "。",
    ": ": "：",
    "; ": "；",
    ", ": "，",
    " · ": " · ",
    " and ": " 和 ",
    " or ": " 或 ",
}
"""Between texts of which one is known; tried in this order."""
_ADDED: Final = " ,;:.("
"""How a text begins that is added to a sentence."""
_LEAST_ADDED: Final = 4
"""Letters of an addition that begins with a blank only."""
_LEAST_BEHIND_SIGN: Final = 3
"""Letters of one that begins with a comma or the like."""
_CODE: Final = re.compile(r"(.*\S)( \[[a-z-]+\])", re.DOTALL)
"""A text, and the id of a cause or rule behind it."""
_BEHIND_PLACE: Final = ("{}: ", "{}:{}: ")
"""How templates begin that say something of a file or an agent."""
_PLACE_OR_ID: Final = re.compile(r"(?!ERROR)(?:[A-Z_]{5,}|/\S+|\S*[\w\])][.:/_\[-]\S*)")
"""A file and a line in it, an agent, a field, a rule, or what can be chosen."""
_ID_BEHIND: Final = " [{}]"
_IN_QUOTATION: Final = re.compile(r"(?:^|[\s(\[])'[^']*$")
_CHINESE: Final = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
_SEAM: Final = re.compile(r"[A-Za-z0-9%][\u4e00-\u9fff]|[\u4e00-\u9fff][A-Za-z0-9]")
_BLANK_IN_CHINESE: Final = re.compile(rf"(?<={_CHINESE}) (?={_CHINESE})")

Show = Callable[[str, str], str]
"""Takes a value and its mark, `w`, `n`, `v` or none; gives how it is shown."""


@dataclass(frozen=True)
class _Template:
    """One message id, and how it is said."""

    id: str
    said: str
    """By the number of its runs of values."""
    pattern: re.Pattern[str]
    hint: str
    """Longest part of it without values: what a text must hold to be made from it."""
    names: frozenset[int]
    """Values that are never translated."""

    def inner(self, values: Sequence[str]) -> Sequence[str]:
        """Give the values behind which something of the template still stands."""
        is_last = _RUN.split(self.id)[-1] in {"", ")", "."}
        behind = 2 if self.id.endswith(_ID_BEHIND) else int(is_last)
        return values[: len(values) - behind]

    letters: int
    """Of what stands between its values."""

    @property
    def is_weak(self) -> bool:
        """Whether so little stands between its values that these must be known too."""
        return self.letters < _WEAK and self.id[0] not in _ADDED[1:]

    @property
    def is_set_apart(self) -> bool:
        """Whether a blank at one of its ends belongs to it."""
        return self.id != self.id.strip()


class Translations:
    """All translations of one language.

    Args:
        texts: By message id.
        words: Single words, and short templates around a number.
        same: Message ids that are not translated.
        forms: Titles and descriptions of forms, whole and as they are.
    """

    def __init__(
        self,
        texts: Mapping[str, str],
        words: Mapping[str, str],
        same: Sequence[str],
        forms: Mapping[str, str],
    ) -> None:
        self._forms = forms
        self._said = {**{each: _numbered(each) for each in same}, **words, **texts}
        self._exact = {each: said for each, said in self._said.items() if not PLACE.search(each)}
        # What is added to a sentence may also stand in a list, without the sign between them.
        for each, said in list(self._exact.items()):
            if each.startswith((_LIST, ", ")):
                self._exact.setdefault(each[2:], said[1:])
        order = sorted(self._said, key=lambda each: (-_letters(each), -len(each)))
        self._templates = [
            _template(each, self._said[each], is_short=each in words)
            for each in order
            if PLACE.search(each)
        ]
        added = [each for each in order if _is_added(each)]
        self._added = [(_ended(each, self._said[each]), each) for each in added]
        self.text = lru_cache(_MOST_KEPT)(self._text)
        self._candidates = lru_cache(_MOST_KEPT)(self._holding)
        self._sure = lru_cache(_MOST_KEPT)(self._surely)
        self._likely = lru_cache(_MOST_KEPT)(self._if_known)

    def filled(self, template: str, values: Sequence[str], show: Show) -> str:
        """Give a template of ours in this language, with values in their places.

        Args:
            template: The message id.
            values: One for each of its places.
            show: Makes of each what is written down.
        """
        return _fill(self._said.get(template) or _numbered(template), values, show)

    def form(self, text: str) -> str:
        """Give a title or description of a form in this language, wherever its lines break."""
        return self._forms.get(" ".join(text.split()), text)

    def _text(self, text: str, *, is_ours: bool = False) -> str:
        """Give a finished text in this language; as it is where it is not known.

        Args:
            text: In English.
            is_ours: Whether it is nobody's name, so that a single word may be translated too.
        """
        told = text.strip()
        if not told or (" " not in told and not is_ours):
            return text
        if said := self._sure(text):
            return said
        if told != text:
            if said := self._matched(text, lambda each: each.is_set_apart):
                return said
            before, _, after = text.partition(told)
            return f"{before}{self.text(told, is_ours=is_ours)}{after}"
        return self._likely(text) or self._parted(text, is_ours=is_ours) or text

    def _if_known(self, text: str) -> str | None:
        """Say a text that is ours if its parts are; None where one of them is not known."""
        return (
            self._matched(text, lambda each: each.is_weak and _TURNS in each.id)
            or (_TURNS in text and ", " not in text and self._listed(text, _TURNS, _TURNS))
            or self._with_addition(text)
            or self._behind_a_name(text, " ", " ")
            or self._matched(text, lambda each: each.is_weak)
            or None
        )

    def _surely(self, text: str) -> str | None:
        """Say a text that is ours beyond doubt; None of any other."""
        if text in self._exact:
            return self._exact[text]
        if text != text.strip() or " " not in text:
            return None
        if _NEXT in text:
            message, _, step = text.partition(_NEXT)
            return f"{self.text(message)}。下一步：{self.text(step)}"
        return (
            self._before_an_id(text)
            or (text[0] in _ADDED and self._matched(text, lambda each: each.id[0] in _ADDED))
            or self._mostly_ours(text)
            or self._behind_a_name(text, ": ", "：")
            or self._in_a_list(text)
            or self._matched(text, lambda each: not each.is_weak)
            or None
        )

    def _before_an_id(self, text: str) -> str | None:
        """Say what the id of a cause or rule stands behind, in brackets."""
        if not (found := _CODE.fullmatch(text)):
            return None
        if whole := self._matched(text, lambda each: each.id.endswith(_ID_BEHIND)):
            return whole
        said = self._sure(found[1])
        return f"{said}{found[2]}" if said else None

    def _mostly_ours(self, text: str) -> str | None:
        """Say a text most of which stands in its template, or that says something of a place."""
        letters, place = _letters(text), text.partition(": ")[0]
        is_of_place = _PLACE_OR_ID.fullmatch(place) is not None

        def is_meant(each: _Template) -> bool:
            says_of_place = each.id.startswith(_BEHIND_PLACE) and _LIST not in each.id
            is_most = 2 * each.letters >= letters
            return not each.is_weak and (is_most or (is_of_place and says_of_place))

        return self._matched(text, is_meant)

    def _in_a_list(self, text: str) -> str | None:
        for between, instead in _LISTS.items():
            if between in text and (said := self._listed(text, between, instead)):
                return said
        return None

    def _behind_a_name(self, text: str, between: str, instead: str) -> str | None:
        """Say what stands behind an address, an id or a place in a file."""
        name, found, rest = text.partition(between)
        if not found or " " not in rest or not _PLACE_OR_ID.fullmatch(name):
            return None
        said = self._sure(rest)
        return f"{name}{instead}{said}" if said else None

    def _holding(self, text: str) -> list[_Template]:
        """Give the templates that a text may have been made from, the longest first."""
        return [each for each in self._templates if each.hint in text]

    def _matched(
        self, text: str, is_meant: Callable[[_Template], bool] = lambda _: True
    ) -> str | None:
        for each in self._candidates(text):
            if is_meant(each) and (found := each.pattern.fullmatch(text)):
                values = found.groups()
                if each.is_weak and self._has_unknown(each, values):
                    continue
                if _LIST not in each.id and any(_LIST in value for value in each.inner(values)):
                    continue
                said = _fill(each.said, values, self._value)
                if said != text:
                    return said
        return None

    def _has_unknown(self, template: _Template, values: Sequence[str]) -> bool:
        return any(
            not (_NAME.fullmatch(value) or self._sure(value) or self._likely(value))
            for number, value in enumerate(values)
            if number not in template.names
        )

    def _value(self, value: str, mark: str) -> str:
        return value if mark == "v" else self.text(value, is_ours=mark == "w")

    def _listed(self, text: str, between: str, instead: str) -> str | None:
        """Say a list of sentences, each of them known; one may hold the sign between them too."""
        parts, told = text.split(between), list[str]()
        while parts:
            for many in range(len(parts), 0, -1):
                run = between.join(parts[:many])
                said = self._exact.get(run)
                if said is None and many > 1:
                    said = self._matched(run, lambda each: between in each.id and not each.is_weak)
                elif said is None:
                    said = self._one_of_list(run, between)
                if said is not None:
                    told.append(said)
                    parts = parts[many:]
                    break
            else:
                return None
        return instead.join(told) if between.join(told) != text else None

    def _one_of_list(self, text: str, between: str) -> str | None:
        if _NAME.fullmatch(text):
            return text
        said = self._sure(text)
        return said if said or between == ", " else self._likely(text)

    def _with_addition(self, text: str) -> str | None:
        """Say a text that ends as one of our additions to sentences."""
        for (pattern, said), each in self._added:
            if each[:2] in text and (found := pattern.fullmatch(text)):
                first, *values = found.groups()
                told = self.text(first)
                if _IN_QUOTATION.search(first) or (told == first and not _SHORT.fullmatch(first)):
                    continue
                return _beside(told, _fill(said, values, self._value))
        return None

    def _parted(self, text: str, *, is_ours: bool) -> str | None:
        """Say the parts of a line of which one at least is known."""
        for between, instead in _SEPARATORS.items():
            parts, told = text.split(between), list[str]()
            if len(parts) == 1:
                continue
            whole, is_word = parts, between.strip().isalpha()
            while parts:
                many = next(
                    (n for n in range(len(parts), 1, -1) if between.join(parts[:n]) in self._exact),
                    1,
                )
                told.append(self.text(between.join(parts[:many]), is_ours=is_ours))
                parts = parts[many:]
            if told != whole or (is_word and all(map(_NAME.fullmatch, whole))):
                return instead.join(told)
        return None


@cache
def translations_of(language: Language) -> Translations | None:
    """Read the translations of a language; None of English, which needs none."""
    if language == "en":
        return None
    from importlib.resources import files  # noqa: PLC0415 - whoever reads English does without

    import yaml  # noqa: PLC0415 - as above

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    source = files("obscale.language").joinpath(CATALOGUE).read_text(encoding="utf-8")
    held = yaml.load(source, Loader=loader)  # noqa: S506 - one of the two safe ones
    same = [each for ids in held["same"].values() for each in ids]
    return Translations(held["texts"], held["words"], same, held["forms"])


def _numbered(template: str) -> str:
    numbers: Iterator[int] = count()
    return PLACE.sub(lambda _: f"{{{next(numbers)}}}", template)


def _letters(template: str) -> int:
    return len(_LETTER.findall(PLACE.sub("", template)))


def _is_added(template: str) -> bool:
    letters = _letters(template)
    return letters > 0 and (
        (template[0] in _ADDED[1:] and letters >= _LEAST_BEHIND_SIGN)
        or (template[0] == " " and letters >= _LEAST_ADDED)
    )


def _fill(said: str, values: Sequence[str], show: Show) -> str:
    told, at = "", 0
    for place in FILLED.finditer(said):
        value = show(values[int(place[1])], place[2] or "")
        told = _beside(_beside(told, said[at : place.start()]), value)
        at = place.end()
    return _BLANK_IN_CHINESE.sub("", _beside(told, said[at:]))


def _beside(left: str, right: str) -> str:
    """Join two texts; Chinese and other writing have a blank between them."""
    return f"{left} {right}" if _SEAM.fullmatch(left[-1:] + right[:1]) else left + right


def _template(template: str, said: str, *, is_short: bool) -> _Template:
    pattern, by_run = _pattern(template, said, is_short=is_short)
    marks = {int(found[1]) for found in FILLED.finditer(by_run) if found[2] == "v"}
    hint = max(_RUN.split(template), key=len)
    found = re.compile(pattern, re.DOTALL)
    return _Template(template, by_run, found, hint, frozenset(marks), _letters(template))


def _ended(template: str, said: str) -> tuple[re.Pattern[str], str]:
    pattern, by_run = _pattern(template, said, is_short=False)
    return re.compile(f"(.*?){pattern}", re.DOTALL), by_run


def _pattern(template: str, said: str, *, is_short: bool) -> tuple[str, str]:
    """Give what texts of a template look like, and its translation by the number of each run."""
    marks = {int(found[1]): found[2] or "" for found in FILLED.finditer(said)}
    literals, runs = _RUN.split(template), _RUN.findall(template)
    pattern, places, first = re.escape(literals[0]), dict[int, int](), 0
    for number, (run, literal) in enumerate(zip(runs, literals[1:], strict=True)):
        places[first] = number
        is_number = is_short or marks.get(first) == "n"
        pattern += (_NUMBER if is_number else "(.*?)") + re.escape(literal)
        first += len(PLACE.findall(run))

    def by_run(found: re.Match[str]) -> str:
        # Of a run the first place gets all; the others are parts of it.
        number = places.get(int(found[1]))
        mark = f":{found[2]}" if found[2] else ""
        return "" if number is None else f"{{{number}{mark}}}"

    return pattern, FILLED.sub(by_run, said)
