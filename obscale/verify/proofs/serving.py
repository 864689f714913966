"""SERVING: the observer serves, and keeps serving.

The decisive fact is the start of service: ADD SERVER writes the row as ACTIVE before the observer
has done anything. Source: OceanBase src/rootserver/ob_server_zone_op_service.cpp, 4.3.5.
"""

from typing import Final

from obscale.verify.observation import (
    NO_MOMENT,
    NO_SERVER,
    UNREAD_TOPOLOGY,
    Level,
    ProofAnswer,
    ProofInput,
    Row,
    Verdict,
    pass_if,
    stop_of,
)

CONNECTABLE: Final = 3
"""obState of an observer that takes connections."""
NO_PROCESS: Final = 0
"""obState where no observer process is there."""


def _status_active(e: ProofInput) -> Verdict:
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, "ACTIVE", UNREAD_TOPOLOGY
    if (server := e.server) is None:
        return e.not_yet, "ACTIVE", NO_SERVER
    if not server.inner_status:
        return ProofAnswer.INFO, "ACTIVE", f"this version tells only {server.status!r}"
    # ADD SERVER writes ACTIVE at once; it is INACTIVE when heartbeats stay out.
    good = server.inner_status == "ACTIVE"
    return pass_if(good, ProofAnswer.AGAINST), "ACTIVE", server.inner_status


def _service_started(e: ProofInput) -> Verdict:
    expected = "service started, not stopped"
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, expected, UNREAD_TOPOLOGY
    if (server := e.server) is None:
        return e.not_yet, expected, NO_SERVER
    if server.start_time is None:
        return e.untold(), expected, "not told"
    if stopped := stop_of(server):
        return ProofAnswer.FAIL, expected, f"stopped at {stopped.isoformat(' ', 'seconds')}"
    started = server.start_time > NO_MOMENT
    found = f"since {server.start_time.isoformat(' ', 'seconds')}" if started else "not yet"
    return pass_if(started, ProofAnswer.WAITING), expected, found


def _obshell_status(e: ProofInput) -> Verdict:
    expected = f"RUNNING, ob_status {CONNECTABLE}"
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, expected, UNREAD_TOPOLOGY
    if (server := e.server) is None:
        return e.not_yet, expected, NO_SERVER
    if not server.status:
        return ProofAnswer.INFO, expected, f"this version tells only {server.inner_status!r}"
    found = server.status
    found += f", ob_status {server.ob_status}" if server.ob_status is not None else ""
    good = server.status == "RUNNING" and server.ob_status in {None, CONNECTABLE}
    return pass_if(good, ProofAnswer.WAITING), expected, found


def _ob_state(e: ProofInput) -> Verdict:
    held, wanted = e.steady.serving, e.steady.wanted
    expected = f"obState {CONNECTABLE} for {wanted:g} s"
    status = e.after.target_status
    if status is None:
        return ProofAnswer.UNKNOWN, expected, "the target does not answer"
    if status.ob_state == NO_PROCESS:
        return ProofAnswer.AGAINST, expected, f"obState {NO_PROCESS}: its observer does not run"
    if status.ob_state != CONNECTABLE:
        return ProofAnswer.WAITING, expected, f"obState {status.ob_state}"
    if held >= wanted:
        return ProofAnswer.PASS, expected, f"obState {CONNECTABLE}, held"
    return ProofAnswer.WAITING, expected, f"obState {CONNECTABLE} for {max(held, 0):.0f} s so far"


def _zone_active(e: ProofInput) -> Verdict:
    if e.after.zones is None:
        return ProofAnswer.UNKNOWN, "zone ACTIVE", UNREAD_TOPOLOGY
    if (zone := e.zone) is None:
        return e.not_yet, "zone ACTIVE", f"no zone {e.node.zone}"
    if not zone.inner_status:
        return e.untold(), "zone ACTIVE", "not told"
    good = zone.inner_status == "ACTIVE"
    return pass_if(good, ProofAnswer.AGAINST), "zone ACTIVE", zone.inner_status


PROOFS: Final[tuple[Row, ...]] = (
    ("pv-status-active", Level.SERVING, _status_active),
    ("pv-service-started", Level.SERVING, _service_started),
    ("pv-obshell-status", Level.SERVING, _obshell_status),
    ("pv-ob-state", Level.SERVING, _ob_state),
    ("pv-zone-active", Level.SERVING, _zone_active),
)
