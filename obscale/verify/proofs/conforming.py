"""CONFORMING: version, region, time and directories are as asked."""

from typing import Final

from obscale.agent.clock import WARN_SECONDS, ClockReading, farthest_apart
from obscale.preflight.rules.ulimits import LAB_BLOCK_SECONDS
from obscale.preflight.sizing import directories_of
from obscale.reading import Unread
from obscale.verify.observation import (
    LOOKED_AT_LAST,
    NO_BEFORE,
    NO_SERVER,
    UNREAD_TOPOLOGY,
    Level,
    ProofAnswer,
    ProofInput,
    Row,
    Verdict,
    pass_if,
)


def _version_equal(e: ProofInput) -> Verdict:
    expected = "one version on all servers"
    expected += f", {e.after.ob_version} as the cluster" if e.after.ob_version else ""
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, expected, UNREAD_TOPOLOGY
    # What follows the dash is a hash and a date of the same build.
    versions = {
        s.version.partition("-")[0] for zone in e.after.zones for s in zone.servers if s.version
    }
    found = ", ".join(sorted(versions)) or "not told"
    if not versions:
        return ProofAnswer.UNKNOWN, expected, found
    told = e.after.ob_version
    good = len(versions) == 1 and (not told or versions.pop().partition("_")[0] == told)
    return pass_if(good, ProofAnswer.FAIL), expected, found


def _zone_region(e: ProofInput) -> Verdict:  # noqa: PLR0911 - one return for each answer
    expected = "a new zone in its peers' region"
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, expected, UNREAD_TOPOLOGY
    if not e.before.zones:
        return ProofAnswer.NOT_APPLICABLE, expected, NO_BEFORE
    if any(zone.name == e.node.zone for zone in e.before.zones):
        return ProofAnswer.NOT_APPLICABLE, expected, "no new zone"
    if (zone := e.zone) is None:
        return e.not_yet, expected, f"no zone {e.node.zone}"
    regions = {other.region_name for other in e.after.zones if other is not zone} - {""}
    if not zone.region_name or not regions:
        return ProofAnswer.INFO, expected, "not told"
    if zone.region_name in regions:
        return ProofAnswer.PASS, expected, zone.region_name
    # obshell creates zones without a region, so this is usual, and a person's to mend.
    mend = f"ALTER SYSTEM ALTER ZONE {zone.name} SET REGION '{min(regions)}';"
    return ProofAnswer.INFO, f"{', '.join(sorted(regions))}", f"{zone.region_name}; mend: {mend}"


def _directories(e: ProofInput) -> Verdict:
    info = e.after.target_info
    home = info.home_path.rstrip("/") if info and info.home_path else None
    dirs = directories_of(e.node.obConfigs, home)
    # obshell tells the log pool's own directory as redo_dir.
    places = {
        "data_dir": dirs.data,
        "redo_dir": dirs.clog,
        "log_dir": f"{home}/log" if home else None,
    }
    wanted = {key: path.rstrip("/") for key, path in places.items() if path}
    expected = ", ".join(f"{key} {path}" for key, path in wanted.items())
    if (server := e.server) is None:
        return e.not_yet, expected, NO_SERVER
    found = {key: told.rstrip("/") for key in wanted if (told := getattr(server, key))}
    if not found:
        return ProofAnswer.INFO, expected, "this version does not tell"
    text = ", ".join(f"{key} {path}" for key, path in found.items())
    # A real path may differ through links, so a difference is for a person to look at.
    alike = all(wanted[key] == path for key, path in found.items())
    return pass_if(alike, ProofAnswer.INFO), expected, text


def _clock(e: ProofInput) -> Verdict:
    expected = f"within {WARN_SECONDS * 1000:.0f} ms of the other members"
    if e.around is None:
        return ProofAnswer.WAITING, expected, LOOKED_AT_LAST
    mine = e.around.clock
    if isinstance(mine, Unread):
        return ProofAnswer.UNKNOWN, expected, mine.reason
    told = {a: r for a, r in e.around.clocks.items() if isinstance(r, ClockReading)}
    if not told:
        if not e.around.clocks:
            return ProofAnswer.NOT_APPLICABLE, expected, "no other member"
        return ProofAnswer.UNKNOWN, expected, "no other member's clock could be read"
    # Only what is proved counts: the errors of both readings are taken off.
    apart, agent = max(
        (
            abs(mine.offset_seconds - r.offset_seconds) - mine.error_seconds - r.error_seconds,
            agent,
        )
        for agent, r in told.items()
    )
    if apart <= WARN_SECONDS:
        error = mine.error_seconds + max(r.error_seconds for r in told.values())
        is_shown = all(farthest_apart(mine, r) <= WARN_SECONDS for r in told.values())
        only = "" if is_shown else f", as far as {error * 1000:.0f} ms show"
        return ProofAnswer.PASS, expected, f"of {len(told)} asked, none is further off{only}"
    found = f"{apart * 1000:.0f} ms off {agent}"
    # Preflight lets less pass in one profile or the other; beyond this no cluster stands it.
    bearable = apart <= LAB_BLOCK_SECONDS
    return ProofAnswer.INFO if bearable else ProofAnswer.FAIL, expected, found


PROOFS: Final[tuple[Row, ...]] = (
    ("pv-version-equal", Level.CONFORMING, _version_equal),
    ("pv-zone-active:region", Level.CONFORMING, _zone_region),
    ("pv-dirs", Level.CONFORMING, _directories),
    ("pv-clock-after", Level.CONFORMING, _clock),
)
