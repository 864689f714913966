"""Timelines: what a poller sees of one run, as recorded from a real obshell and as played.

A line of a recording is `seconds kind text`; kinds are `cluster` and `local` (the current node of
each DAG), `info` and `status` (of the joining agent) and `ob/info`. Both sides are brought into
the same texts: process ids become their number of appearance, ids of DAGs go, of the members' list
the row of the joining agent stays. Compared is the order, never the second.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

RECORDED = Path(__file__).parents[2] / "data" / "real-obshell"
KINDS = ("cluster", "local", "info", "status", "ob/info")
TOGETHER = (
    (("local", "info", "status"), 1.0),
    (("cluster", "ob/info"), 1.0),
    (("cluster", "local"), 3.0),
)
"""What one look shows together, and how many seconds apart it may be in the played run.

Of one scheduler, the second between two of its looks; of both, the three between two looks that
the cluster's DAG has at the local one.
"""
LONG_SECONDS = 1.5
"""What a poller of 0.3 s cannot miss, however slow its machine was."""
REFUSED = "connection refused"
_LATE = re.compile(r"obVersion=\S+")
_LOGS = re.compile(r" logs=(\w+)$")


@dataclass(frozen=True)
class Seen:
    """One look: virtual or recorded seconds, and a text of each kind that was read."""

    at: float
    texts: Mapping[str, str]


@dataclass
class Stay:
    """How long one text was shown; both seconds inclusive."""

    text: str
    first: float
    last: float

    @property
    def head(self) -> str:
        """The text without the number of its log lines."""
        return _LOGS.sub("", self.text)

    @property
    def logs(self) -> int:
        """How many lines the sub task had logged, 0 for none."""
        found = _LOGS.search(self.text)
        return int(found[1]) if found and found[1] != "None" else 0


def read_recording(name: str, host: int, folder: str = "timelines") -> list[Seen]:
    """The looks of `timelines/NAME.txt`, in which the joining host has that number."""
    pids: dict[str, int] = {}
    looks = []
    text = (RECORDED / folder / f"{name}.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        at, kind, told = line.split(maxsplit=2)
        if kind in KINDS and not told.startswith("{"):
            looks.append(Seen(float(at), {kind: plain(kind, told, host, pids)}))
    return looks


def plain(kind: str, told: str, host: int, pids: dict[str, int]) -> str:
    """A text without what differs between two runs of the same kind."""
    if told.startswith("[Errno 111]"):
        return REFUSED
    if kind == "local":
        return re.sub(r"^Local scale out \d+ ", "", told)
    if kind == "info":
        told = re.sub(r"(obVersion=[\d.]+)-\d+", r"\1-build", told)
        return re.sub(r"pid=(\d+)", lambda m: f"pid={pids.setdefault(m[1], len(pids) + 1)}", told)
    if kind == "ob/info" and "; servers " not in told:
        agents, _, servers = told.removeprefix("agents ").partition(" servers ")
        row = next((each for each in servers.split(",") if each.startswith(f"{host}:")), ":-")
        is_listed = any(each.startswith(f"{host}:") for each in agents.split(","))
        return f"agent {'listed' if is_listed else '-'} server {row.partition(':')[2]}"
    return told


def without(fields: Iterable[str], looks: Iterable[Seen]) -> list[Seen]:
    """The same looks, but these fields of all texts say nothing."""
    pattern = re.compile(rf"({'|'.join(fields) or '(?!)'})=\w+")
    return [
        Seen(seen.at, {kind: pattern.sub(r"\1=*", text) for kind, text in seen.texts.items()})
        for seen in looks
    ]


def disagreements(recorded: Sequence[Seen], played: Sequence[Seen]) -> list[str]:
    """Where a recorded run is not one that was played; empty when it is.

    Each recorded text must be one the played run shows, in the same order; what one agent tells
    in one look must be shown there at the same time; and nothing that lasts may be missing.
    """
    found: list[str] = []
    stays = {kind: _stays(kind, played) for kind in KINDS}
    reached: dict[str, tuple[int, Stay]] = {}
    matched: dict[str, set[int]] = {kind: set() for kind in KINDS}
    for seen in _rounds(recorded):
        for kind, text in seen.texts.items():
            start = reached[kind][0] if kind in reached else 0
            after = enumerate(stays[kind][start:], start)
            at = next((n for n, _ in after if _shows(stays[kind], n, text)), None)
            if at is None:
                shown = stays[kind][start].text if stays[kind] else "nothing"
                found.append(f"{seen.at} {kind}: '{text}' is not played after '{shown}'")
                continue
            stay, wanted = stays[kind][at], Stay(text, 0.0, 0.0)
            # Lines that are written one after another are there at the end of the text before.
            begun = stay.last if wanted.head == stay.head and stay.text != text else stay.first
            reached[kind] = at, Stay(text, begun, stay.last)
            matched[kind].add(at)
        now = {kind: stay for kind, (_, stay) in reached.items()}
        found += [f"{seen.at}: {told}" for told in _apart(now, seen.texts.keys())]
    for kind, numbers in matched.items():
        found += _unrecorded(kind, stays[kind], numbers)
    return found


def _apart(now: Mapping[str, Stay], changed: AbstractSet[str]) -> Iterator[str]:
    """Which texts of one look the played run does not show together."""
    for group, seconds in TOGETHER:
        there = [now[kind] for kind in group if kind in now]
        if there and changed & set(group):
            apart = max(stay.first for stay in there) - min(stay.last for stay in there)
            if apart > seconds:
                texts = " and ".join(f"'{stay.text}'" for stay in there)
                yield f"{texts} are played {apart:.1f} s apart"


def _unrecorded(kind: str, stays: Sequence[Stay], numbers: set[int]) -> list[str]:
    """What lasted between the first and the last recorded stay and is none of them."""
    heads = {stays[number].head for number in numbers}
    between = stays[min(numbers, default=0) : max(numbers, default=0)]
    return [
        f"played {stay.first} {kind}: '{stay.text}' was not recorded"
        for stay in between
        if stay.last - stay.first >= LONG_SECONDS and stay.head not in heads
    ]


def _stays(kind: str, played: Iterable[Seen]) -> list[Stay]:
    stays: list[Stay] = []
    for seen in played:
        text = seen.texts.get(kind)
        if text is None:
            continue
        if stays and stays[-1].text == text:
            stays[-1].last = seen.at
        else:
            stays.append(Stay(text, seen.at, seen.at))
    return stays


def _shows(stays: Sequence[Stay], number: int, text: str) -> bool:
    """Whether a stay is that text; lines of a log are written, and copied, one after another."""
    stay = stays[number]
    if stay.text == text:
        return True
    late = _LATE.search(stays[number - 1].text) if number else None
    if late and _LATE.sub(late[0], stay.text) == text:
        # Who has just connected may still tell the version with its build.
        return True
    wanted = Stay(text, 0.0, 0.0)
    if wanted.head != stay.head or " RUNNING/" not in wanted.head.rpartition("| sub")[2]:
        return False
    later = stays[number + 1] if number + 1 < len(stays) else stay
    return later.text != text and stay.logs <= wanted.logs <= later.logs


def _rounds(recorded: Iterable[Seen]) -> list[Seen]:
    """Lines of one look of the recorder, which wrote down what had changed only."""
    rounds: list[Seen] = []
    for seen in recorded:
        if rounds and seen.at - rounds[-1].at < 0.2 and not rounds[-1].texts.keys() & seen.texts:
            rounds[-1] = Seen(rounds[-1].at, {**rounds[-1].texts, **seen.texts})
        else:
            rounds.append(seen)
    return rounds
