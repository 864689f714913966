"""The recorded answers that a simulated agent does not give on purpose, each with its reason."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

WHOLE = "*"


@dataclass(frozen=True)
class Meant:
    """One answer that differs.

    Attributes:
        reason: Why it may.
        only: Patterns of the places that may differ; everything else must agree as always. None is
            about keys that are missing or too many, but the one for a whole answer.
    """

    reason: str
    only: tuple[str, ...] = (WHOLE,)

    def is_about(self, path: str) -> bool:
        """Whether that place may differ."""
        if WHOLE in self.only:
            return True
        return not path.endswith(": keys") and any(fnmatchcase(path, each) for each in self.only)


FOUNDING = Meant(
    "the DAGs of a cluster's founding are simulated by names, states and numbers alone: one sub "
    "task a node, run once, without logs",
    ("*.sub_tasks: length", "*.task_logs: length", "*.sub_tasks.*", "*.operator"),
)
TOO_EARLY = Meant(
    "asked before the stand-in observers had made the view the unit configs are read from"
)
DEAD_BUT_LISTED = Meant(
    "the stand-in observers went on listing a dead one as ACTIVE, with its capacity",
    (
        "data.zones.1.servers.1.*",
        "data.stats.*",
        "data.zones.3.*",
        "data.tenants.*",
        "data.tenant_stats.*",
    ),
)
ANY_VALUE = Meant("the stand-in observers took any name and any value for a parameter")
NEW_ZONE = (
    "data.zones.3.region_name",
    "data.zones.3.root_server.ip",
    "data.zones.3.root_server.role",
    "data.zones.3.root_server.zone",
    "data.zones.3.root_server.svr_port",
)
"""The stand-in observers put a root server into a zone without tenants, and made up its region."""
MEANT: dict[str, Meant] = {
    "cluster/dags-agent": FOUNDING,
    "cluster/dag-maintain-agent": FOUNDING,
    "cluster/dag-maintain-agents": FOUNDING,
    "cluster-observer-down/dag-maintain-agents": FOUNDING,
    "cluster/obcluster-info": TOO_EARLY,
    "cluster/obcluster-statistics": TOO_EARLY,
    "cluster/tenant-app": TOO_EARLY,
    "cluster/unit-config-one": TOO_EARLY,
    "cluster/units-config": TOO_EARLY,
    "cluster/obcluster-charsets": Meant(
        "the stand-in observers listed the charsets of MariaDB", ("data.contents*",)
    ),
    "cluster/obcluster-parameters": Meant(
        "the stand-in observers had parameters of their own, other ones in another order"
    ),
    "cluster-observer-down/dag-1": Meant(
        "the first scale-out failed for a view that the stand-in observers had not made yet",
        ("data.nodes.0.sub_tasks.0.task_logs.0",),
    ),
    "cluster-observer-down/obcluster-info": DEAD_BUT_LISTED,
    "cluster-observer-down/obcluster-topology": DEAD_BUT_LISTED,
    "answers/obcluster-info-real": Meant(
        "what a tenant is set to and takes, and a zone without any, the stand-in observers made up",
        ("data.tenants.*", "data.tenant_stats.*", "data.zones.3.*"),
    ),
    "cluster/so-not-obshell": Meant(
        "a simulated world has no host on which something else than obshell answers",
        ("error.errCode", "error.message"),
    ),
    "removal/param-backtick": ANY_VALUE,
    "removal/param-emptyvalue": ANY_VALUE,
    "removal/param-unknown": ANY_VALUE,
    "removal/held-topology": Meant(
        "the stand-in observers listed no capacity of a server that is being deleted",
        ("data.zones.1.servers.1.stats.*", *NEW_ZONE),
    ),
    "removal/agentdead-force-topology": Meant(
        "what the stand-in observers made up of a new zone", NEW_ZONE
    ),
}
MOST = 25
"""More than these would be a simulation of something else."""
