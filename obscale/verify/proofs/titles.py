"""What each proof shows, in a sentence, for whoever reads its id."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pv-dag-forward-success": "the DAG was carried out forwards to its last stage, none of it "
        "undone or skipped",
        "pv-agent-identity": "the target's agent says it is a member, in the zone asked for",
        "pv-agent-listed": "the cluster lists the agent once, as a member in that zone",
        "pv-topology-registered": "the new observer stands in the topology, in its zone and with "
        "its ports",
        "pv-lock-released": "the cluster's maintenance lock is free again",
        "pv-local-dag-finished": "the target's own DAG has ended too",
        "pv-status-active": "the cluster calls the new server ACTIVE",
        "pv-service-started": "the new server has begun to serve",
        "pv-obshell-status": "obshell beside it answers and sees its observer",
        "pv-ob-state": "the observer can be connected to, and stays so for the steady time",
        "pv-zone-active": "its zone is ACTIVE",
        "pv-version-equal": "the new observer runs the build of its peers",
        "pv-zone-active:region": "its zone lies in the region of before",
        "pv-dirs": "data and redo lie in the directories asked for",
        "pv-clock-after": "its clock is as close to the others as OceanBase bears",
        "pv-no-collateral": "no other observer is worse off than before the POST",
        "pv-capacity-server": "it offers the memory, log and data disk asked for",
        "pv-capacity-cluster": "the cluster's capacity has grown by what the new server offers",
        "pv-disk-after": "its disks have room left",
        "pv-params-effective": "a start option is in effect as it was asked for, and stays so; "
        "one line a parameter",
        "pv-params-vs-peers": "its parameters are those of its peers, or the difference was asked "
        "for",
        "pv-restart-safety": "what was asked for outlives a restart; what does not is told with "
        "its ALTER SYSTEM statement",
        "pv-rebalance-observed": "units of tenants have come to the new server",
    }
)
