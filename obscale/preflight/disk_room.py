"""Tells each disk of a new observer that is too small, or may be, with what is needed of it."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from obscale.preflight.facts import Facts, TargetProgress
from obscale.preflight.mounts import SLOG_BYTES, Disks, Mount, Need, need_of, sized_disks_of
from obscale.reading import Unread


class DiskPart(BaseModel):
    """What one part of an observer takes of a disk."""

    model_config = ConfigDict(frozen=True)

    name: str
    """`data`, `log`, `slog`, or `logs` for the observer's own."""
    size_bytes: int


class DiskRoom(BaseModel):
    """A disk that does not fit, as far as `df` shows it."""

    model_config = ConfigDict(frozen=True)

    path: str
    """Mount point."""
    total_bytes: int
    free_bytes: int
    """At most: `df` rounds up, and hides what is kept for root."""
    parts: tuple[DiskPart, ...]
    """What the first start takes; where that may fit, all that the disk should hold."""
    is_sure: bool
    """Whether it cannot fit; else it is too close to call."""


def disk_rooms_of(facts: Facts) -> tuple[DiskRoom, ...]:
    """Give the disks that `disk-fits` blocks or warns of; none where they could not be read.

    A member has all its files: it is not added again, and needs no room.
    """
    if facts.progress() is TargetProgress.MEMBER:
        return ()
    disks = sized_disks_of(facts)
    return () if isinstance(disks, Unread) else tuple(_rooms(disks))


def _rooms(disks: Disks) -> Iterator[DiskRoom]:
    for mount in disks.mounts():
        sure = next((must for must in disks.musts(mount) if must.surely_exceeds(mount)), None)
        if sure is None and not disks.want(mount).may_exceed(mount):
            continue
        yield DiskRoom(
            path=mount.path,
            total_bytes=mount.total.high,
            free_bytes=max(mount.most_free, 0),
            parts=tuple(
                DiskPart(name=name, size_bytes=need.upper_bytes(mount))
                for name, need in _parts(disks, mount, sure)
            ),
            is_sure=sure is not None,
        )


def _parts(disks: Disks, mount: Mount, sure: Need | None) -> Iterator[tuple[str, Need]]:
    data, log = need_of(disks.data_share), need_of(disks.log_share)
    holds_data, holds_log = (mount.hash == each.hash for each in (disks.data, disks.redo))
    # At the first start the slog counts beside the data file, the log pool by itself.
    by_log = sure is not None and sure == (data if holds_data else Need()) + log
    if holds_data:
        yield "data", data
    if holds_log and (sure is None or by_log):
        yield "log", log
    if holds_data and not by_log:
        yield "slog", Need(size=SLOG_BYTES)
    if mount.hash == disks.home.hash and sure is None:
        yield "logs", Need(size=disks.syslog_bytes)
