"""Rules about what nobody can judge from here, and whoever removes a node should know.

Sources: obshell ob/agent/executor/tenant/info.go, 4.5.0.0; OceanBase's documentation of a node's
removal.
"""

import re
from typing import Final

from obscale.cleaning import steps_after_removal
from obscale.preflight.facts import server_address
from obscale.preflight.finding import Verdict, fires, not_applicable, notes, passes, unknown
from obscale.preflight.rule import INFO, WARN, rule
from obscale.preflight.rules.cluster_mode import SYS_TENANT_ID, covered
from obscale.reading import Unread
from obscale.removal.facts import RemovalFacts
from obscale.removal.rules.shared import values_of
from obscale.removal.units import observers_of


@rule(
    "rm-backup",
    "a recent full backup of each tenant is there, and none is running",
    prod=INFO,
    lab=INFO,
    otherwise="",
    source="obscale reads no backups",
)
def rm_backup(facts: RemovalFacts) -> Verdict:
    """Whoever removes a node looks for himself: obscale reads no backups."""
    tenants = "" if isinstance(facts.tenants, Unread) else _users(facts)
    if not isinstance(facts.tenants, Unread) and not tenants:
        return not_applicable("no tenant of users")
    return fires(
        f"the backups of {tenants} are not looked at" if tenants else "backups are not looked at",
        "a recent one, none at work",
        "as root@sys: SELECT * FROM oceanbase.CDB_OB_BACKUP_JOBS; and CDB_OB_BACKUP_JOB_HISTORY",
    )


def _users(facts: RemovalFacts) -> str:
    tenants = () if isinstance(facts.tenants, Unread) else facts.tenants
    return ", ".join(each.tenant_name for each in tenants if each.tenant_id != SYS_TENANT_ID)


@rule(
    "rm-clients",
    "no client or proxy is told to go to the server",
    prod=WARN,
    lab=INFO,
    otherwise="SILENT",
    source="obshell GET /tenant/{name}; a static rs_list stays what a proxy was started with",
)
def rm_clients(facts: RemovalFacts) -> Verdict:
    """By connection strings; and the lists of root servers that proxies are started with.

    Those name the servers that have, or had at first, the sys tenant.
    """
    if isinstance(facts.cluster.topology, Unread):
        return unknown(facts.cluster.topology)
    if isinstance(facts.tenants, Unread):
        return unknown(Unread(facts.tenants.reason, facts.tenants.supported))
    named = sorted(
        {
            server.ip
            for server in facts.leaving_servers()
            for tenant in facts.tenants
            for each in tenant.connection_strings
            if _names(each.connection_string, server.ip)
        }
    )
    likely = _likely_in_rs_lists(facts)
    if likely is None and not named:
        return unknown(
            Unread("this version does not tell which server its zone had first", supported=False),
            "no client or proxy that names it",
        )
    found = [*named, *(ip for ip in likely or () if ip not in named)]
    if found:
        return fires(
            f"{', '.join(named)} is named by connection strings of tenants"
            if named
            else f"{', '.join(found)} was the first server of its zone, or has the sys tenant",
            "no client or proxy that names it",
            f"proxies with a static rs_list and drivers naming {', '.join(found)} must be changed",
        )
    if urls := [url for url in values_of(facts, "obconfig_url") if url]:
        return notes(
            f"obconfig_url {', '.join(urls)}",
            remedy="proxies that ask there learn of it themselves",
        )
    return passes("no list is likely to name it")


def _names(text: str, ip: str) -> bool:
    """Whether a text names an IP, also right behind the option `-h`, and no longer one."""
    return re.search(rf"(?:(?<![\w.:])|-h){re.escape(ip)}(?![\w.])", text) is not None


def _likely_in_rs_lists(facts: RemovalFacts) -> list[str] | None:
    """IPs of servers with the sys tenant, or that were the first of a zone that has it.

    None: neither is told.
    """
    zone, tenants = facts.zone(), facts.tenants
    if zone is None or isinstance(tenants, Unread):
        return []
    pools = [
        pool
        for tenant in tenants
        if tenant.tenant_id == SYS_TENANT_ID
        for pool in tenant.pools
        if zone.name in pool.zones
    ]
    known = [server.id for server in zone.servers if server.id]
    if not pools:
        return []
    told = [names for pool in pools if (names := observers_of(pool)) is not None]
    if not known and len(told) < len(pools):
        return None
    holders = frozenset().union(*told)
    return [
        server.ip
        for server in facts.leaving_servers()
        if server.id == min(known, default=-1) or server_address(server) in holders
    ]


@rule(
    "rm-shared-storage",
    "each server has its data on disks of its own",
    prod=WARN,
    lab=WARN,
    otherwise="SILENT",
    source="obshell GET /obcluster/info, 4.4.2.0; removal from shared storage was seen by nobody",
)
def rm_shared_storage(facts: RemovalFacts) -> Verdict:
    """Of shared storage nothing here is proved."""
    info = facts.cluster.cluster_info
    if isinstance(info, Unread):
        return unknown(covered(info))
    if info.is_shared_storage is None:
        return not_applicable("this version knows no shared storage")
    if info.is_shared_storage:
        return fires(
            f"the cluster has shared storage ({info.startup_mode or '?'})",
            "disks of their own",
            "try it on a cluster that may break first",
        )
    return passes(info.startup_mode or "not shared")


@rule(
    "rm-host-data",
    "it is known what stays on the host",
    prod=INFO,
    lab=INFO,
    otherwise="SILENT: the host cannot join again",
    source="seen on a real 4.5.0.0: nothing is deleted, and the agent stays SCALING IN",
)
def rm_host_data(facts: RemovalFacts) -> Verdict:
    """Everything does; the commands that clean it are told and never run."""
    servers = facts.leaving_servers()
    if not servers:
        return not_applicable("its server is not known")
    if facts.is_zone:
        told = ", ".join(map(server_address, servers))
        return fires(
            f"data, logs and settings stay on the hosts of {told}",
            "",
            "clean each of them by hand before its agent is to join again",
        )
    server, leaving = servers[0], facts.leaving
    info = leaving.info if leaving else None
    home = "" if info is None or isinstance(info, Unread) else info.home_path
    node = facts.order.node
    steps = steps_after_removal(
        home,
        ip=server.ip,
        port=node.agentInfo.port if node else server.obshell_port,
        data_dir=server.data_dir,
        redo_dir=server.redo_dir,
        log_dir=server.log_dir,
    )
    return fires(
        f"data, logs and settings stay on {server.ip}, and its agent stays SCALING IN",
        "",
        "to use the host again, on it and only once the cluster lists it no more: "
        f"{'; '.join(steps)}",
    )


RULES: Final = (rm_backup, rm_clients, rm_shared_storage, rm_host_data)
