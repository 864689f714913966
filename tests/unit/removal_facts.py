"""A cluster of three zones, a second server in zone2, and facts about a removal from it.

Each method changes the facts and gives the case back: a test says in one line what is wrong.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from obscale.agent.models import (
    AgentInfo,
    AgentStatus,
    ClusterInfo,
    Dag,
    Identity,
    ObInfo,
    Parameter,
    Server,
    Zone,
)
from obscale.agent.resources import ResourcePool, Tenant
from obscale.preflight.facts import ClusterFacts, server_address
from obscale.removal.facts import DeadLook, LeavingFacts, RemovalFacts
from obscale.removal.judge import RULES, judge
from obscale.request.models import AgentInfoSpec, ClusterSpec, SecretName
from obscale.request.removal import LeavingNode, Removal

NOW = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
NEVER = "0001-01-01T00:00:00Z"
GIB = 1 << 30
ENTRY, LEAVING = "10.0.0.1:2886", "10.0.0.4:2886"
VERSION = "4.5.0.0-12026050815"
BUILD = "4.3.5.2_102000092025042111-0123(Apr 21 2025 11:46:38)"
SPEC = ClusterSpec(
    endpoints=(ENTRY, "10.0.0.2:2886", "10.0.0.3:2886"),
    password=SecretName(env="X"),
    name="obcluster",
    id=1,
)
PARAMETERS = {
    "enable_rereplication": "True",
    "enable_upgrade_mode": "False",
    "data_disk_usage_limit_percentage": "90",
    "resource_hard_limit": "100",
    "log_disk_size": "24G",
    "server_permanent_offline_time": "3600s",
    "obconfig_url": "",
}
OF_SYS = {"enable_rebalance": "True", "major_freeze_duty_time": "02:00"}


def stats(memory=8, cores=16, disk=24, *, used_cores=0, used_memory=0, used_disk=0.25):
    """Capacity and what is taken of it; sizes in GiB."""
    return {
        "cpu_core_total": cores,
        "cpu_core_assigned": used_cores,
        "memory_in_bytes_total": memory * GIB,
        "memory_in_bytes_assigned": used_memory * GIB,
        "disk_in_bytes_total": disk * GIB,
        "disk_in_bytes_assigned": int(used_disk * GIB),
    }


def server(number, **changes):
    """A server that serves; `id`, IP and ports by its number."""
    told = {
        "id": number,
        "ip": f"10.0.0.{number}",
        "svr_port": 2882,
        "sql_port": 2881,
        "version": BUILD,
        "status": "RUNNING",
        "ob_status": 3,
        "inner_status": "ACTIVE",
        "start_time": "2026-11-28T22:48:04.8+08:00",
        "stop_time": NEVER,
        "stats": stats(),
        "data_dir": "/data/ob/store",
        "redo_dir": "/redo/ob",
        "log_dir": "/home/admin/oceanbase/log",
        "obshell_port": 2886,
    }
    return Server.model_validate(told | changes)


def unit(name, *, cores=2, memory=4, log=12, number=1001):
    """A unit config; sizes in GiB."""
    return {
        "unit_config_id": number,
        "name": name,
        "min_cpu": cores,
        "max_cpu": cores,
        "memory_size": memory * GIB,
        "log_disk_size": log * GIB,
    }


def failed(name, *, kind=2, stage=1, operator="RUN", state="FAILED", lines=(), number=7, nodes=()):
    """A DAG of the cluster as the list of unfinished ones shows it."""
    tasks = [{"task_logs": list(lines)}]
    return Dag.model_validate(
        {
            "id": f"1{number}",
            "dag_id": number,
            "name": name,
            "stage": stage,
            "max_stage": 5,
            "maintenance_type": kind,
            "state": state,
            "operator": operator,
            "nodes": [{"name": "Delete observer", "sub_tasks": tasks}]
            + [{"name": each, "sub_tasks": []} for each in nodes],
        }
    )


class Case:
    """What one removal is judged by."""

    def __init__(self):
        self.servers = {
            "zone1": [server(1, with_rootserver=True)],
            "zone2": [server(2), server(4)],
            "zone3": [server(3)],
        }
        self.units = {
            "sys": (1, unit("u_sys", cores=1, memory=2, log=2, number=1), 1),
            "app": (1002, unit("u_app"), 1),
        }
        """Tenant: its id, its unit config, its unit_num."""
        self.placed = {"zone1": [1], "zone2": [2], "zone3": [3]}
        """Numbers of the servers with the units of every tenant."""
        self.placed_of = {}
        """The same of one tenant."""
        self.tells_units = True
        self.parameters = dict(PARAMETERS)
        self.of_sys = dict(OF_SYS)
        self.pools = []
        """Pools beside those of the tenants."""
        self.locality = {}
        self.primary_zone = {}
        self.strings = {}
        self.logs = {}
        self.agents = {}
        """Identity of an agent's row by its number; None: no row."""
        self.zone_states = {}
        self.cluster_changes = {}
        self.info_changes = {}
        self.changes = {}
        self.order = None
        self.leaves(4)

    def leaves(self, *numbers, zone="zone2", force=False, port=2886):
        """Ask for the removal of these nodes; of none: of the zone."""
        nodes = tuple(
            LeavingNode(
                agentInfo=AgentInfoSpec(ip=f"10.0.0.{number}", port=port),
                zone=zone,
                force_kill=force,
            )
            for number in numbers
        )
        self.order = Removal(cluster=SPEC, zone=zone, node=nodes[0] if nodes else None, batch=nodes)
        return self

    def zone_leaves(self, zone="zone2"):
        """Ask for the removal of a whole zone."""
        return self.leaves(zone=zone)

    def alter(self, number, **changes):
        """Have a server told otherwise."""
        for servers in self.servers.values():
            for at, each in enumerate(servers):
                if each.id == number:
                    servers[at] = each.model_validate(each.model_dump() | changes)
        return self

    def dead(self, number):
        """Have a server be down."""
        gone = stats(0, 0, 0, used_disk=0)
        return self.alter(
            number, inner_status="INACTIVE", status="PROCESS_STOPPED", start_time=NEVER, stats=gone
        )

    def drop(self, number):
        """Have a server not be there."""
        for servers in self.servers.values():
            servers[:] = [each for each in servers if each.id != number]
        return self

    def place(self, *numbers, zone="zone2", tenant=None):
        """Put the units of a zone onto these servers, of every tenant or of one."""
        if tenant:
            self.placed_of[tenant] = self.placed_of.get(tenant, dict(self.placed)) | {
                zone: list(numbers)
            }
        else:
            self.placed[zone] = list(numbers)
        return self

    def holding(self):
        """The units of zone2 are on the server that leaves."""
        return self.place(4)

    def set(self, **changes):
        """Replace facts, by their names."""
        self.changes |= changes
        return self

    def of_cluster(self, **changes):
        """Replace facts of the cluster, by their names."""
        self.cluster_changes |= changes
        return self

    def asks(self, **changes):
        """Replace values of this case, by their names."""
        for name, value in changes.items():
            setattr(self, name, value)
        return self

    def parameter(self, **values):
        """Set parameters of the cluster; None: not listed."""
        self.parameters |= values
        return self

    def leaving_says(self, **changes):
        """Have the leaving agent say other things of itself."""
        self.info_changes |= changes
        return self

    def unfinished(self, *dags):
        """These DAGs are unfinished."""
        return self.of_cluster(unfinished=dags)

    def looked(self, *, state=1, times=3, apart=30.0, entries=2, **row):
        """Somebody has looked whether the server is dead."""
        shown = server(4, **({"inner_status": "INACTIVE", "start_time": NEVER} | row))
        return self.set(
            dead_looks=tuple(
                DeadLook(
                    f"10.0.0.{1 + entry}:2886", NOW + timedelta(seconds=apart * n), shown, state
                )
                for n in range(times)
                for entry in range(entries)
            )
        )

    def facts(self):
        """The facts as they would be read."""
        zones = tuple(self._zone(name, servers) for name, servers in self.servers.items())
        tenants, info = self._tenants(), self._ob_info()
        cluster = ClusterFacts(
            entry=ENTRY,
            scheme="http",
            info=self._agent_info(1, "zone1"),
            status=self._status(),
            ob_info=info,
            cluster_info=ClusterInfo(
                cluster_name="obcluster",
                cluster_id=1,
                ob_version="4.3.5.2",
                is_shared_storage=False,
                startup_mode="NORMAL",
                zones=zones,
            ),
            topology=zones,
            parameters=tuple(self._parameters()),
            unit_config_limit=None,
            unfinished=(),
            last_dag=None,
            unit_configs=(),
            pools=self._pools(),
            tenants=tuple(tenants),
            license=None,
            statistics=None,
            utc_offsets_seconds={ENTRY: 28800.0},
        )
        node = self.order.node
        leaving = None
        if node is not None:
            number = int(node.agentInfo.ip.rpartition(".")[2])
            leaving = LeavingFacts(
                node.address, self._agent_info(number, node.zone), self._status(), None
            )
            if self.info_changes:
                changed = changed_info(leaving.info, self.info_changes)
                leaving = replace(leaving, info=changed)
        sys_rows = [row for row in cluster.parameters if row.name in self.of_sys]
        facts = RemovalFacts(
            order=self.order,
            cluster=replace(cluster, **self.cluster_changes),
            leaving=leaving,
            members={str(each): info for each in SPEC.endpoints},
            tenants=tenants,
            sys_parameters={row.name: row for row in sys_rows},
            expected_name="obcluster",
            expected_id=1,
            now=NOW,
        )
        return replace(facts, **self.changes)

    def finding(self, rule, profile="prod"):
        """The finding of one rule, judged alone; the gravest where there are several."""
        facts = self.facts()
        (one,) = [each for each in RULES if each.id == rule]
        (verdict,) = one.verdicts(facts, facts.progress())
        return one.weigh(verdict, facts, profile)

    def judge(self, profile="prod", overrides=()):
        """All findings."""
        return judge(self.facts(), profile, overrides)

    def _zone(self, name, servers):
        leader = next((s for s in servers if s.with_rootserver), None)
        root = {"ip": leader.ip, "svr_port": leader.svr_port, "role": "LEADER"} if leader else {}
        return Zone(
            name=name,
            status="RUNNING",
            inner_status=self.zone_states.get(name, "ACTIVE"),
            root_server=root,
            servers=tuple(self._with_load(each, name) for each in servers),
        )

    def _with_load(self, each, zone):
        """Its own numbers say of assigned cores and memory what its units take."""
        told = each.stats
        if not told.cpu_core_total or told.cpu_core_assigned or told.memory_in_bytes_assigned:
            return each
        held = [
            config
            for tenant, (_, config, _) in self.units.items()
            if each.id in self.placed_of.get(tenant, self.placed).get(zone, [])
        ]
        load = {
            "cpu_core_assigned": sum(config["min_cpu"] for config in held),
            "memory_in_bytes_assigned": sum(config["memory_size"] for config in held),
        }
        return each.model_copy(update={"stats": each.stats.model_copy(update=load)})

    def _agent_info(self, number, zone):
        return AgentInfo(
            ip=f"10.0.0.{number}",
            port=2886,
            identity="CLUSTER AGENT",
            version=VERSION,
            zone=zone,
            ob_version="4.3.5.2-102000092025042111",
            home_path="/home/admin/oceanbase",
        )

    def _status(self):
        return AgentStatus.model_validate({"agent": {}, "obState": 3, "underMaintenance": False})

    def _ob_info(self):
        rows = []
        for zone, servers in self.servers.items():
            for each in servers:
                identity = self.agents.get(each.id, "CLUSTER AGENT")
                if identity:
                    rows.append({"ip": each.ip, "port": 2886, "zone": zone, "identity": identity})
        listed = {int(row["ip"].rpartition(".")[2]) for row in rows}
        for number, identity in self.agents.items():
            if identity and number not in listed:
                row = {"ip": f"10.0.0.{number}", "port": 2886, "zone": "zone2"}
                rows.append(row | {"identity": identity})
        topology = {
            zone: [
                {
                    "svr_ip": each.ip,
                    "svr_port": each.svr_port,
                    "agent_port": each.obshell_port,
                    "status": each.inner_status,
                }
                for each in servers
            ]
            for zone, servers in self.servers.items()
        }
        return ObInfo.model_validate(
            {
                "agent_info": rows,
                "obcluster_info": {"id": 1, "name": "obcluster", "topology": topology},
            }
        )

    def _tenants(self):
        found = []
        for number, (name, (tenant_id, config, unit_num)) in enumerate(self.units.items()):
            placed = self.placed_of.get(name, self.placed)
            zones = [zone for zone in placed if placed[zone]]
            observers = [f"10.0.0.{each}:2882" for zone in zones for each in placed[zone]]
            locality = ", ".join(f"FULL{{1}}@{zone}" for zone in zones)
            pool = {
                "pool_id": 100 + number,
                "pool_name": f"pool_{name}",
                "zone_list": ";".join(zones),
                "unit_num": unit_num,
                "unit_config": config,
            }
            if self.tells_units:
                pool["observer_list"] = ",".join(observers)
            found.append(
                Tenant.model_validate(
                    {
                        "tenant_id": tenant_id,
                        "tenant_name": name,
                        "locality": self.locality.get(name, locality),
                        "primary_zone": self.primary_zone.get(name, "RANDOM"),
                        "pools": [pool],
                        "connection_strings": self.strings.get(name),
                    }
                )
            )
        return tuple(found)

    def _pools(self):
        rows = [
            ResourcePool(
                id=pool.pool_id,
                name=pool.pool_name,
                zone_list=pool.zone_list,
                unit_num=pool.unit_num,
                unit_config_id=pool.unit_config.unit_config_id,
                tenant_id=tenant.tenant_id,
            )
            for tenant in self._tenants()
            for pool in tenant.pools
        ]
        return (*rows, *self.pools)

    def _parameters(self):
        servers = [each for rows in self.servers.values() for each in rows]
        for name, value in self.parameters.items():
            if value is None:
                continue
            rows = [
                {
                    "svr_ip": each.ip,
                    "svr_port": each.svr_port,
                    "value": self.logs.get(each.id, value) if name == "log_disk_size" else value,
                }
                for each in servers
            ]
            yield Parameter.model_validate(
                {"name": name, "scope": "CLUSTER", "ob_parameters": rows}
            )
        for name, value in self.of_sys.items():
            rows = [
                {"svr_ip": each.ip, "svr_port": each.svr_port, "value": value, "tenant_id": 1}
                for each in servers
            ]
            yield Parameter.model_validate({"name": name, "scope": "TENANT", "ob_parameters": rows})


def changed_info(info, changes):
    """An agent that says other things of itself."""
    if "identity" in changes:
        changes = changes | {"identity": Identity(changes["identity"])}
    return info.model_copy(update=changes)


def stray(zone="zone2", tenant_id=0):
    """A pool that no listed tenant has."""
    return ResourcePool(
        id=900, name="pool_left", zone_list=zone, unit_num=1, unit_config_id=9, tenant_id=tenant_id
    )


def address(number):
    """`ip:rpc port` of a server by its number."""
    return server_address(server(number))
