"""Suggests a request for a host: zone, memory, log disk and data disk.

Pure. As its peers where they agree and the host can carry it, else from the host by the documented
ratios. What is suggested has been judged: it blocks nothing in the world it was made for.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from obscale.agent.models import Server
from obscale.errors import PreflightError
from obscale.plan.suggest_dirs import directories
from obscale.plan.suggest_zone import Units, choose_zone, unfit
from obscale.preflight.facts import DEFAULT_PORTS, Facts
from obscale.preflight.finding import Findings
from obscale.preflight.host_facts import available_memory, cores, total_memory
from obscale.preflight.mounts import SLOG_BYTES, Disks, disks_of
from obscale.preflight.registry import judge
from obscale.preflight.rules.file_sizes import (
    DATA_PER_MEMORY,
    LOG_PER_MEMORY,
    SMALL_LOG,
    SMALLEST_DATAFILE,
    SMALLEST_UNIT_LOG,
)
from obscale.preflight.rules.memory import FLOOR, PRODUCTION_MIN_POOL, RECOMMENDED_SHARE
from obscale.preflight.sizing import (
    DEFAULT_MIN_POOL_BYTES,
    MIN_POOL_KEY,
    Share,
    automatic_system_memory,
    number_of,
    size_of,
)
from obscale.reading import Unread
from obscale.request.models import NodeSpec, Profile
from obscale.sizes import GIB, render_bytes, render_capacity

PORT_STEP: Final = 1000
"""From a port that is taken to the next one tried: 2881, 3881."""
NO_FOLDERS: Final = MappingProxyType[str, str]({})
COPIED: Final = ("cpu_count", "max_syslog_file_count")
"""Counts taken over from peers that agree on them."""


@dataclass(frozen=True)
class Advice:
    """One start option with the reason for its value."""

    key: str
    value: str
    why: str


@dataclass(frozen=True)
class Suggestion:
    """A request for one host that may be submitted as it is.

    Args:
        node: What to ask for.
        zone_why: Why this zone.
        advice: The start options with their reasons, in the node's order.
        notes: What keeps the new capacity from being used, and what could not be read.
        findings: What the rules say of it; nothing blocks.
    """

    node: NodeSpec
    zone_why: str
    advice: tuple[Advice, ...]
    notes: tuple[str, ...]
    findings: Findings


def suggest(
    facts: Facts,
    profile: Profile,
    *,
    zone: str | None = None,
    units: Units | None = None,
    folders: Mapping[str, str] = NO_FOLDERS,
) -> Suggestion:
    """Suggest a request for the target of these facts.

    Args:
        facts: As read; zone and start options of their node are not looked at.
        profile: How strictly the suggestion is judged.
        zone: Where it should join; None: where it serves most.
        units: Of the tenants; None: not read.
        folders: `data_dir` and `redo_dir` as somebody wants them; else the host's own disks count.

    Raises:
        PreflightError: Nothing can be suggested: the host is too small, or something blocks that no
            start option cures.
    """
    where, zone_why, notes = choose_zone(facts, zone)
    maker = _Maker(facts, where, folders)
    advice = tuple(maker.advice())
    node = facts.node.model_copy(
        update={"zone": where, "obConfigs": {each.key: each.value for each in advice}}
    )
    name, number = facts.cluster.identity() or (None, None)
    asked = replace(facts, node=node, batch=(node,), expected_name=name, expected_id=number)
    findings = judge(asked, profile)
    if findings.blockers:
        first = findings.blockers[0]
        reasons = "; ".join(f"{f.rule}: {f.measured}" for f in findings.blockers)
        raise PreflightError(
            f"nothing to suggest for {node.address}, it would be blocked: {reasons}", first.remedy
        )
    fit = () if units is None else unfit(facts, node, units)
    return Suggestion(node, zone_why, advice, (*notes, *maker.notes, *fit), findings)


class _Maker:
    """Works out the start options for one host in one zone."""

    def __init__(self, facts: Facts, zone: str, folders: Mapping[str, str]) -> None:
        known = {z.name: z.servers for z in facts.cluster.zones()}
        everyone = tuple(server for servers in known.values() for server in servers)
        self._peers = known.get(zone) or everyone
        self._who = f"peers in {zone}" if known.get(zone) else "peers"
        self._facts = facts
        self._wanted_folders = folders
        self.notes: list[str] = []

    def advice(self) -> list[Advice]:
        """Give all start options, in the order a person reads them."""
        ports, counts = self._ports(), self._counts()
        memory, limit, system = self._memory()
        folders = self._folders()
        return [
            *ports,
            *memory,
            *folders,
            *self._disks(limit, limit - system, [*counts, *folders]),
            *counts,
        ]

    def _agreed(self, key: str) -> str | None:
        """What all peers have for a parameter; None where they differ, or nobody says."""
        row = self._facts.cluster.parameter(key)
        if row is None:
            return None
        here = {(server.ip, server.svr_port) for server in self._peers}
        values = [v.value for v in row.ob_parameters if (v.svr_ip, v.svr_port) in here]
        if len(values) < len(here) or len(set(values)) != 1:
            return None
        return values[0]

    def _agreed_size(self, key: str) -> int | None:
        return size_of({key: self._agreed(key) or ""}, key)

    def _ports(self) -> list[Advice]:
        def port_of(server: Server, key: str) -> int:
            return server.sql_port if key == "mysql_port" else server.svr_port

        where = self._facts.node.agentInfo
        taken = {where.port}
        for _, server in self._facts.cluster.servers():
            if server.ip == where.ip:
                taken |= {server.sql_port, server.svr_port, server.obshell_port}
        found = []
        for key, default in DEFAULT_PORTS.items():
            ports = {port_of(server, key) for server in self._peers} - {0}
            port, why = default, "the default"
            if len(ports) == 1 and not ports & taken:
                port, why = ports.pop(), f"as all {self._who}"
            while port in taken:
                port, why = port + PORT_STEP, "free on this address, as far as the cluster knows"
            taken.add(port)
            found.append(Advice(key, str(port), why))
        return found

    def _counts(self) -> list[Advice]:
        found = []
        count = cores(self._facts)
        for key in COPIED:
            value = number_of({key: self._agreed(key) or ""}, key)
            too_many = key == "cpu_count" and (isinstance(count, Unread) or (value or 0) > count)
            if value and not too_many:
                found.append(Advice(key, str(value), f"as all {self._who}"))
        return found

    def _memory(self) -> tuple[list[Advice], int, int]:
        """Give memory_limit, system_memory and, where needed, the smallest unit."""
        total, available = total_memory(self._facts), available_memory(self._facts)
        peers = self._agreed_size("memory_limit")
        if isinstance(total, Unread) or isinstance(available, Unread):
            if peers is None:
                gap = total if isinstance(total, Unread) else available
                reason = gap.reason if isinstance(gap, Unread) else ""
                raise PreflightError(
                    f"no memory_limit can be suggested: {reason}, and none is known that all "
                    f"{self._who} have",
                    "upgrade the spare's obshell, or write the request by hand",
                )
            self.notes.append("the host's memory is not told: compare with free -g")
            carried, room = True, peers
        else:
            room = int(RECOMMENDED_SHARE * min(total, available))
            carried = peers is not None and peers <= min(RECOMMENDED_SHARE * total, available)
        if peers is not None and carried and peers >= FLOOR:
            limit, why = peers, f"as all {self._who}"
        else:
            limit = room // GIB * GIB
            why = f"9/10 of what is available; {self._why_not(peers, 'memory_limit')}"
        if limit < FLOOR:
            raise PreflightError(
                f"nothing to suggest for {self._facts.node.address}: {render_bytes(limit)} are "
                f"left for an observer, it needs {render_bytes(FLOOR)}",
                "free memory, or take a larger host",
            )
        found = [Advice("memory_limit", render_capacity(limit), why)]
        system, system_why = self._system_memory(limit, as_peers=limit == peers)
        if system_why:
            found.append(Advice("system_memory", render_capacity(system), system_why))
        if limit - system < DEFAULT_MIN_POOL_BYTES:
            found.append(self._min_pool(limit - system))
        return found, limit, system

    def _system_memory(self, limit: int, *, as_peers: bool) -> tuple[int, str]:
        """Give system_memory and why; no reason: it is better not sent."""
        automatic = automatic_system_memory(limit) // GIB * GIB
        if not as_peers:
            return automatic, f"the observer's own choice for {render_bytes(limit)}"
        peers = self._agreed_size("system_memory")
        if peers is not None and GIB <= peers < limit:
            return peers, f"as all {self._who}"
        if peers is None and self._agreed("system_memory") is not None:
            return automatic, ""
        return automatic, f"the observer's own choice for {render_bytes(limit)}"

    def _min_pool(self, left: int) -> Advice:
        told = self._facts.cluster.unit_config_limit
        gib = None if isinstance(told, Unread) else told.min_memory
        smallest = min(int(gib * GIB) if gib else PRODUCTION_MIN_POOL, left)
        return Advice(
            MIN_POOL_KEY,
            str(max(GIB, smallest)),
            f"bytes; {render_bytes(left)} for units is less than the first start wants without it",
        )

    def _why_not(self, peers: int | None, key: str) -> str:
        """Say why the peers' value is not taken."""
        if peers is not None:
            return f"{render_bytes(peers)} of the {self._who} does not fit"
        row = self._facts.cluster.parameter(key)
        values = Counter(v.value for v in row.ob_parameters) if row else Counter[str]()
        return f"the {self._who} differ" if len(values) > 1 else f"the {self._who} have none set"

    def _folders(self) -> list[Advice]:
        """Give data_dir and redo_dir where the host has disks for them."""
        found, notes = directories(self._facts, self._peers, self._who, self._wanted_folders)
        self.notes += notes
        return [Advice(key, folder.path, folder.why) for key, folder in found.items()]

    def _disks(self, limit: int, for_units: int, beside: list[Advice]) -> list[Advice]:
        """Give log_disk_size and datafile_size, with growth as the peers have it."""
        configs = {each.key: each.value for each in beside}
        node = self._facts.node.model_copy(update={"obConfigs": configs})
        disks = disks_of(replace(self._facts, node=node))
        log, data = self._agreed_size("log_disk_size"), self._agreed_size("datafile_size")
        least_log = LOG_PER_MEMORY * for_units
        if (
            log
            and data
            and log >= least_log
            and (isinstance(disks, Unread) or _fit(disks, log, data))
        ):
            if isinstance(disks, Unread):
                self.notes.append(f"the disks are not told: {disks.reason}; run df -B1 on the host")
            return [
                Advice("log_disk_size", render_capacity(log), f"as all {self._who}"),
                Advice("datafile_size", render_capacity(data), f"as all {self._who}"),
                *self._growth(disks, log),
            ]
        wanted_log = max(least_log, SMALL_LOG)
        if isinstance(disks, Unread):
            raise PreflightError(
                f"no disk sizes can be suggested: {disks.reason}, and the {self._who} give none",
                "write log_disk_size and datafile_size by hand, after df -B1 on the host",
            )
        log, data = _from_disks(disks, wanted_log, DATA_PER_MEMORY * limit)
        if min(log - SMALLEST_UNIT_LOG, data - SMALLEST_DATAFILE) < 0:
            raise PreflightError(
                f"nothing to suggest for {self._facts.node.address}: its disks have room for "
                f"{render_bytes(max(log, 0))} of log and {render_bytes(max(data, 0))} of data",
                "free a disk, or take a larger one",
            )
        if log < least_log:
            self.notes.append(
                f"log_disk_size should be {render_bytes(least_log)}, three times the memory for "
                "units; the disk has less, so units fill the log pool before the memory"
            )
        why = "three times the memory for units" if log >= wanted_log else "what the disk allows"
        return [
            Advice("log_disk_size", render_capacity(log), why),
            Advice("datafile_size", render_capacity(data), self._data_why(data, limit)),
        ]

    def _data_why(self, data: int, limit: int) -> str:
        whole = data >= DATA_PER_MEMORY * limit
        return "three times memory_limit; it grows online" if whole else "what the disk allows"

    def _growth(self, disks: Disks | Unread, log: int) -> list[Advice]:
        most, step = self._agreed_size("datafile_maxsize"), self._agreed_size("datafile_next")
        if not most or not step or isinstance(disks, Unread) or not _fit(disks, log, most):
            return []
        why = f"as all {self._who}"
        return [
            Advice("datafile_maxsize", render_capacity(most), why),
            Advice("datafile_next", render_capacity(step), why),
        ]


def _fit(disks: Disks, log: int, data: int) -> bool:
    """Whether both surely fit, as far as df shows."""
    sized = replace(
        disks,
        data_share=Share(data, None, is_given=True),
        log_share=Share(log, None, is_given=True),
    )
    return not any(sized.want(mount).may_exceed(mount) for mount in sized.mounts())


def _from_disks(disks: Disks, wanted_log: int, wanted_data: int) -> tuple[int, int]:
    """Give the log pool and the data file in whole GiB; the log pool goes first.

    Where one disk holds both and is too small, they share it evenly.
    """
    data_room = disks.data.least_free - SLOG_BYTES
    log_room = disks.redo.least_free
    if disks.home.hash == disks.data.hash:
        data_room -= disks.syslog_bytes
    if disks.are_one:
        log = (
            wanted_log if data_room - wanted_log >= wanted_log else min(wanted_log, data_room // 2)
        )
        data = min(wanted_data, data_room - log // GIB * GIB)
        return log // GIB * GIB, data // GIB * GIB
    if disks.home.hash == disks.redo.hash:
        log_room -= disks.syslog_bytes
    log, data = min(wanted_log, log_room), min(wanted_data, data_room)
    return log // GIB * GIB, data // GIB * GIB
