"""Rules about disk space for data file, log pool and the observer's own logs.

`df -h` can prove a disk too small, never big enough: a pass reads "as far as df shows". Sources:
OceanBase src/share/ob_local_device.cpp and src/observer/ob_server_utils.cpp, 4.3.5; the checks of
OceanBase Deployer (plugins/oceanbase), where said so.
"""

from collections.abc import Iterator
from typing import Final

from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
    warns,
)
from obscale.preflight.host_facts import host_of
from obscale.preflight.mounts import (
    PATHS_UNRESOLVED,
    SLOG_BYTES,
    Disks,
    Mount,
    Need,
    disks_of,
    find_mount,
    need_of,
    paths_of,
    sized_disks_of,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.preflight.sizing import Share, share_of, size_of
from obscale.reading import Unread
from obscale.sizes import GIB, render_bytes

TRAP_USED_SHARE: Final = 0.05
CROWDED_PERCENT: Final = 90
WHOLE_PERCENT: Final = 100
HOME_NEEDS: Final = 10 * GIB
MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})
AS_FAR: Final = "as far as df shows"


@rule(
    PATHS_UNRESOLVED,
    "each directory can be traced to a disk",
    prod=WARN,
    lab=INFO,
    otherwise="",
    source="ob/agent/executor/host/info.go, 4.5.0.0",
)
def disk_path_resolvable(facts: Facts) -> Verdict:
    """Doubts that can be seen; links and quotas cannot, and stand in the checklist."""
    host, paths = host_of(facts), paths_of(facts)
    for gap in (host, paths):
        if isinstance(gap, Unread):
            return unknown(gap, "home, data and redo on known disks")
    assert not isinstance(host, Unread)  # noqa: S101 - the loop saw to it
    assert not isinstance(paths, Unread)  # noqa: S101
    mounts = {path: find_mount(host, path) for path in paths.values()}
    gaps = [mount.reason for mount in mounts.values() if isinstance(mount, Unread)]
    if gaps:
        return unknown(
            "; ".join(dict.fromkeys(gaps)),
            "home, data and redo on known disks",
            f"give real paths, or run df -B1 {' '.join(dict.fromkeys(paths.values()))} on the host",
        )
    return passes(
        ", ".join(f"{path} on {m.path}" for path, m in mounts.items() if isinstance(m, Mount))
    )


@rule(
    "disk-fits",
    "what is allocated at the first start fits",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5",
    ground="A",
    softens=True,
    source="src/share/ob_local_device.cpp, 4.3.5; the log pool grows until the disk is full",
)
def disk_fits(facts: Facts) -> list[Verdict]:
    """Data file and log pool are allocated whole at the first start."""
    disks = sized_disks_of(facts)
    if isinstance(disks, Unread):
        return [unknown(disks, "enough free", "run df -B1 --output=avail on the host")]
    verdicts = [_fit(disks, mount) for mount in disks.mounts()]
    return [*verdicts, *_maybe_shared(disks)]


def _fit(disks: Disks, mount: Mount) -> Verdict:
    want = disks.want(mount)
    remedy = "shrink datafile_size or log_disk_size, or use another disk"
    for must in disks.musts(mount):
        if must.surely_exceeds(mount):
            return blocks(
                f"{_said(must, mount)} at first start ({_parts(disks, mount)}) on {mount.path}",
                f"≤ {_rest(must, mount)} free",
                remedy,
            )
    measured = f"{_said(want, mount)} in all on {mount.path}"
    needed = f"≤ {render_bytes(max(mount.least_free, 0))} to {render_bytes(mount.most_free)} free"
    if want.may_exceed(mount):
        return warns(
            measured,
            f"{needed}: too close to call",
            f"run df -B1 --output=avail {mount.path} on the host, or {remedy}",
        )
    return passes(measured, f"{needed}, {AS_FAR}")


def _maybe_shared(disks: Disks) -> Iterator[Verdict]:
    """Different mounts of one device may be one disk: then both needs count together."""
    mounts = disks.mounts()
    for at, one in enumerate(mounts):
        for other in mounts[at + 1 :]:
            both = disks.want(one) + disks.want(other)
            fits_alone = not any(disks.want(mount).may_exceed(mount) for mount in (one, other))
            if one.may_be(other) and fits_alone and both.may_exceed(one):
                yield warns(
                    f"{one.path} and {other.path} may be one disk ({one.device}); "
                    f"{_said(both, one)} in all",
                    f"≤ {render_bytes(max(one.least_free, 0))} free",
                    "see on the host whether they share their space",
                )


def _said(need: Need, mount: Mount) -> str:
    size = render_bytes(need.upper_bytes(mount))
    return f"{size} (of it {need.percent} %)" if need.percent else size


def _parts(disks: Disks, mount: Mount) -> str:
    parts = []
    for name, share, place in (
        ("data", disks.data_share, disks.data),
        ("log", disks.log_share, disks.redo),
    ):
        if place.hash == mount.hash:
            parts.append(f"{name} {_share_text(share)}")
    if mount.hash == disks.data.hash:
        parts.append(f"slog {render_bytes(SLOG_BYTES)}")
    return ", ".join(parts)


def _share_text(share: Share) -> str:
    return render_bytes(share.size) if share.size is not None else f"{share.percent} %"


def _rest(need: Need, mount: Mount) -> str:
    """What can be free at most; for a percentage, what may be used at most."""
    free = render_bytes(max(mount.most_free, 0))
    if not need.percent:
        return free
    return f"{free}, and at most {max(WHOLE_PERCENT - need.percent, 0)} % used"


@rule(
    "disk-growth-fits",
    "the data file may grow as far as it is allowed to",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME, disk full",
    source="src/share/parameter/ob_parameter_seed.ipp, datafile_maxsize",
)
def disk_growth_fits(facts: Facts) -> Verdict:
    """datafile_maxsize is a promise for later."""
    most = size_of(facts.configs, "datafile_maxsize")
    if most is None:
        return not_applicable("no datafile_maxsize")
    disks = sized_disks_of(facts)
    if isinstance(disks, Unread):
        return unknown(disks)
    grown = Need(size=most + SLOG_BYTES)
    if disks.are_one:
        grown += need_of(disks.log_share)
    if disks.home.hash == disks.data.hash:
        grown += Need(size=disks.syslog_bytes)
    measured = f"{_said(grown, disks.data)} in the end on {disks.data.path}"
    needed = f"≤ {render_bytes(max(disks.data.most_free, 0))} free"
    if grown.surely_exceeds(disks.data):
        return fires(measured, needed, "lower datafile_maxsize")
    return passes(measured, f"{needed}, {AS_FAR}")


@rule(
    "disk-default-percent-trap",
    "no part takes its share of the disk by default",
    prod=WARN,
    lab=INFO,
    otherwise="stage 5, or a disk filled to 90 %",
    source="src/observer/ob_server_utils.cpp, 4.3.5",
)
def disk_default_percent_trap(facts: Facts) -> Verdict:
    """On an empty disk of its own that is the documented default."""
    disks = sized_disks_of(facts)
    if isinstance(disks, Unread):
        given = all(share_of(facts.configs, part, shared=True).is_given for part in ("data", "log"))
        return not_applicable("sizes are given") if given else unknown(disks)
    parts = [
        (name, share, mount)
        for name, share, mount in (
            ("data file", disks.data_share, disks.data),
            ("log pool", disks.log_share, disks.redo),
        )
        if not share.is_given
    ]
    if not parts:
        return not_applicable("sizes are given")
    measured = ", ".join(
        f"{name} takes {share.percent} % of {mount.path} by default" for name, share, mount in parts
    )
    remedy = "set datafile_size and log_disk_size"
    own = all(
        mount.hash != disks.home.hash and mount.path != "/" and mount.used_share <= TRAP_USED_SHARE
        for _, _, mount in parts
    )
    if own:
        return notes(measured, "a size", remedy)
    return fires(measured, "a size", remedy)


@rule(
    "disk-percent-sum",
    "percentages on one disk leave room",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 5",
    ground="A",
    softens=True,
    source="more than the whole disk",
)
def disk_percent_sum(facts: Facts) -> Verdict:
    """Of data and log on one disk."""
    both = [share_of(facts.configs, part, shared=True) for part in ("data", "log")]
    if any(share.size is not None for share in both):
        return not_applicable("sizes are given")
    disks = sized_disks_of(facts)
    if isinstance(disks, Unread):
        return unknown(disks, f"≤ {CROWDED_PERCENT} %")
    if not disks.are_one:
        return not_applicable("data and log lie on different disks")
    total = sum(share.percent or 0 for share in (disks.data_share, disks.log_share))
    if total > WHOLE_PERCENT:
        return blocks(f"{total} %", f"≤ {WHOLE_PERCENT} %", "lower one of them")
    if total > CROWDED_PERCENT:
        return warns(f"{total} %", f"≤ {CROWDED_PERCENT} %", "lower one of them")
    return passes(f"{total} %", f"≤ {CROWDED_PERCENT} %")


@rule(
    "disk-same-mount",
    "data and redo lie on different disks",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME, they compete",
    source="OceanBase Deployer; observer decides by file system",
)
def disk_same_mount(facts: Facts) -> Verdict:
    """Says so too where the observer's own logs lie there as well."""
    disks = disks_of(facts)
    if isinstance(disks, Unread):
        return unknown(disks)
    if not disks.are_one:
        return passes(f"{disks.data.path} and {disks.redo.path}")
    if disks.home.hash == disks.data.hash:
        return fires(
            f"home, data and redo all on {disks.data.path}{_unbounded(disks)}",
            "separate disks",
            "separate disks for data and redo; set max_syslog_file_count",
        )
    return fires(
        f"data and redo on {disks.data.path}", "separate disks", "separate disks for data and redo"
    )


def _unbounded(disks: Disks) -> str:
    return "" if disks.syslog_is_bounded else "; logs are never recycled"


@rule(
    "disk-home-shared",
    "the observer's own logs have room of their own",
    prod=WARN,
    lab=INFO,
    otherwise="RUNTIME",
    source="OceanBase Deployer",
)
def disk_home_shared(facts: Facts) -> Verdict:
    """Folded into `disk-same-mount` where all three are one disk."""
    disks = disks_of(facts)
    if isinstance(disks, Unread):
        return unknown(disks)
    home = disks.home
    if home.hash == disks.data.hash == disks.redo.hash:
        return not_applicable("told by disk-same-mount")
    shared = [
        name
        for name, mount in (("data", disks.data), ("redo", disks.redo))
        if mount.hash == home.hash
    ]
    remedy = "a disk of its own for logs, and set max_syslog_file_count"
    if shared:
        return fires(
            f"home and {' and '.join(shared)} on {home.path}{_unbounded(disks)}", "own disk", remedy
        )
    if home.path == "/" and home.least_free < HOME_NEEDS:
        return fires(
            f"home on / with {render_bytes(max(home.least_free, 0))} free{_unbounded(disks)}",
            f"≥ {render_bytes(HOME_NEEDS)} free",
            remedy,
        )
    return passes(f"home on {home.path}")


@rule(
    "disk-fs-type",
    "data and redo lie on local, lasting disks",
    prod=BLOCK,
    lab=WARN,
    otherwise="stage 5, or data lost at the next boot",
    ground="B",
    source="src/share/ob_local_device.cpp, 4.3.5: fallocate and O_DIRECT",
)
def disk_fs_type(facts: Facts) -> Verdict:
    """By the name of the device."""
    disks = disks_of(facts)
    if isinstance(disks, Unread):
        return unknown(disks, "a local disk")
    mounts = {mount.hash: mount for mount in (disks.data, disks.redo)}.values()
    bad = [f"{mount.path} is {mount.device}" for mount in mounts if is_unfit_device(mount.device)]
    if bad:
        return fires(", ".join(bad), "a local disk with ext4 or XFS", "use a local disk")
    return passes(", ".join(mount.device for mount in mounts))


def is_unfit_device(device: str) -> bool:
    """Whether its name is that of memory, a layer or a network: nothing for data that lasts."""
    return (
        device in MEMORY_FILE_SYSTEMS
        or device == "overlay"
        or ":/" in device
        or device.startswith("//")
        or "fuse" in device
    )


RULES: Final = (
    disk_path_resolvable,
    disk_fits,
    disk_growth_fits,
    disk_default_percent_trap,
    disk_percent_sum,
    disk_same_mount,
    disk_home_shared,
    disk_fs_type,
)
