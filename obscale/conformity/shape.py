"""The shape of a JSON value: types and keys, the union of two shapes, and how a value differs.

A shape is JSON itself, so that a file can hold it:

- `"string"`, `"number"`, `"bool"`, and `"any"` where nothing but null was ever seen;
- `{"null": SHAPE}`: null, or that;
- `{"list": SHAPE}`, and `{"map": SHAPE}` for objects whose keys are data (addresses, zones);
- `{"object": {KEY: SHAPE}}`, where `KEY?` may be absent and `KEY@4.3.1.0` came with that release.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

Shape = str | dict[str, Any]
"""See above."""
ANY: Final = "any"
_NAMES: Final = {"string": "a text", "number": "a number", "bool": "true or false"}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "bool": (bool,),
    "number": (int, float),
    "string": (str,),
    "list": (list,),
    "object": (dict,),
}
"""In this order: Python counts true among the numbers."""
_KINDS: Final = {"list": "a list", "map": "an object", "object": "an object", "null": "null"}


@dataclass(frozen=True)
class Difference:
    """One place where a value is not of its shape.

    Args:
        kind: `absent`: a key is not there; `other`: a value of another type; `new`: a key that the
            shape does not know, which nobody needs to mind.
        where: E.g. `data.zones[].servers[].log_dir`.
        words: The difference in words.
    """

    kind: Literal["absent", "other", "new"]
    where: str
    words: str


def shape_of(value: object, maps: frozenset[str] = frozenset(), key: str = "") -> Shape:
    """Give the shape of one value.

    Args:
        value: JSON.
        maps: Names of the keys whose objects are maps; `""` for the value itself.
        key: Under which the value stands.
    """
    kind = _kind_of(value)
    if isinstance(value, dict):
        if key in maps:
            return {"map": _of_all(value.values(), maps)}
        return {kind: {name: shape_of(each, maps, name) for name, each in value.items()}}
    if isinstance(value, list):
        return {kind: _of_all(value, maps)}
    return {kind: ANY} if value is None else kind


def _of_all(values: Any, maps: frozenset[str]) -> Shape:
    shape: Shape = ANY
    for each in values:
        # No key stands before a value of a list or map.
        shape = merged(shape, shape_of(each, maps, "[]"))
    return shape


def merged(one: Shape, other: Shape) -> Shape:
    """Give the shape both fit.

    Raises:
        ValueError: There is none: one is a text, say, and the other a number.
    """
    if ANY in (one, other):
        return other if one == ANY else one
    if _kind(one) == "null" or _kind(other) == "null":
        return {"null": merged(_inside(one, "null"), _inside(other, "null"))}
    if isinstance(one, str) or isinstance(other, str) or _kind(one) != _kind(other):
        if one != other:
            raise ValueError(f"{one} and {other} have no shape in common")
        return one
    kind = _kind(one)
    if kind != "object":
        return {kind: merged(one[kind], other[kind])}
    return {"object": _merged_keys(one[kind], other[kind])}


def _merged_keys(one: dict[str, Shape], other: dict[str, Shape]) -> dict[str, Shape]:
    keys = {}
    for name in dict.fromkeys(each.rstrip("?") for each in (*one, *other)):
        found = [
            keys_[each] for keys_ in (one, other) for each in (name, f"{name}?") if each in keys_
        ]
        always = name in one and name in other
        keys[name if always else f"{name}?"] = found[0] if len(found) == 1 else merged(*found)
    return keys


def differences(
    shape: Shape, value: object, version: tuple[int, ...], where: str = "data"
) -> Iterator[Difference]:
    """Say where a value is not of its shape, each place once.

    Args:
        shape: What is expected.
        value: JSON as it came.
        version: Of the agent; keys of later releases may be absent.
        where: Where the value stands.
    """
    seen = set()
    for each in _differences(shape, value, version, where):
        if each not in seen:
            seen.add(each)
            yield each


def _differences(
    shape: Shape, value: object, version: tuple[int, ...], where: str
) -> Iterator[Difference]:
    kind = _kind(shape)
    if kind == ANY or (kind == "null" and value is None):
        return
    if kind == "null":
        yield from _differences(cast("dict[str, Shape]", shape)["null"], value, version, where)
    elif _kind_of(value) != {"map": "object"}.get(kind, kind):
        yield Difference(
            "other", where, f"{where} is {_called(_kind_of(value))}, expected is {_called(kind)}"
        )
    elif isinstance(value, list):
        inside = cast("dict[str, Shape]", shape)["list"]
        for each in value:
            yield from _differences(inside, each, version, f"{where}[]")
    elif isinstance(value, dict):
        inside = cast("dict[str, Any]", shape)[kind]
        if kind == "map":
            for each in value.values():
                yield from _differences(inside, each, version, f"{where}.*")
        else:
            yield from _of_keys(inside, value, version, where)


def _of_keys(
    keys: dict[str, Shape], value: dict[str, Any], version: tuple[int, ...], where: str
) -> Iterator[Difference]:
    known = set()
    for key, shape in keys.items():
        name, _, since = key.partition("@")
        name, may_be_absent = name.rstrip("?"), name.endswith("?")
        known.add(name)
        if name in value:
            yield from _differences(shape, value[name], version, f"{where}.{name}")
        elif not may_be_absent and version >= numbers_of(since):
            yield Difference("absent", f"{where}.{name}", f"{where}.{name} is absent")
    for name in value.keys() - known:
        yield Difference("new", f"{where}.{name}", f"{where}.{name} is new")


def numbers_of(version: str) -> tuple[int, ...]:
    """Give `4.3.1.0` as numbers; the empty text as the first version of all."""
    return tuple(int(part) for part in version.split(".")) if version else ()


def _kind(shape: Shape) -> str:
    return shape if isinstance(shape, str) else next(iter(shape))


def _inside(shape: Shape, kind: str) -> Shape:
    return cast("Shape", shape[kind]) if isinstance(shape, dict) and kind in shape else shape


def _kind_of(value: object) -> str:
    return next(name for name, kinds in _TYPES.items() if isinstance(value, kinds))


def _called(kind: str) -> str:
    return (_NAMES | _KINDS)[kind]
