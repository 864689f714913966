"""The client of one agent: every endpoint obscale uses, with the errors each can raise."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.auth import Credentials
from obscale.agent.calls import HEADER_LIFETIME_SECONDS, Calls
from obscale.agent.clock import ClockReading
from obscale.agent.keys import KnownKeys
from obscale.agent.models import (
    AgentInfo,
    AgentSecret,
    AgentStatus,
    ClusterInfo,
    Dag,
    HostInfo,
    ObInfo,
    Operator,
    Parameter,
    ScaleInRequest,
    ScaleOutRequest,
    Server,
    Topology,
    UnitConfigLimit,
)
from obscale.agent.plain_httpx import httpx
from obscale.agent.reader import Asking
from obscale.agent.resources import (
    NOT_STANDALONE,
    License,
    ResourcePool,
    Statistics,
    Tenant,
    TenantOverview,
    UnitConfig,
)
from obscale.agent.session import Learned, Session
from obscale.agent.settable import setting_body
from obscale.agent.transport import Timeouts, Tls, Transport

__all__ = ["AgentClient", "Timeouts", "Tls"]


class AgentClient:
    """One agent, asked in its own words: every method is one request, built and sealed for itself.

    It never retries (the one exception stands in `obscale.agent.session`). All methods raise

    - `AgentUnreachableError`: no answer; for a write: it was certainly not sent. Transient.
    - `AgentProtocolError`: an answer that is not obshell's, or no agreement on TLS.
    - `AgentRefusedError` or the subclass that names the refusal, e.g. `NotAuthorizedError`.
    - `UntrustedKeyError`: its key is not the one it is known by.
    - `PasswordWithheldError`: it wants a root password, and the client has none to give.
    - `SpecError`: the TLS files or the password cannot be used; nothing was sent.

    and those that older agents do not know raise `NotSupportedError`.

    Args:
        address: The agent.
        root_password: Of root@sys of the agent's cluster; None keeps it back: what cannot be asked
            without it is not asked.
        agent_password: The agent's own, where it has one.
        tls: For https.
        keys: What the agent's key is held against; None trusts any.
        timeouts: Per request.
        header_lifetime_seconds: For reads; writes have at most 15.
        transport: Replaces the network. It stays the caller's to close.
        learned: What an earlier client with the same settings has learned of the agent.
    """

    def __init__(
        self,
        address: AgentAddress,
        *,
        root_password: SecretStr | None = None,
        agent_password: SecretStr | None = None,
        tls: Tls = Tls(),  # noqa: B008 - frozen
        keys: KnownKeys | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        header_lifetime_seconds: int = HEADER_LIFETIME_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
        learned: Learned | None = None,
    ) -> None:
        self.address = address
        self._credentials = Credentials(root_password, agent_password)
        self._tls = tls
        self._keys = keys
        self._timeouts = timeouts
        self._transport = transport
        self._exchange = Transport(address, tls, timeouts, transport)
        self._questions = Calls(timeouts.read_seconds, header_lifetime_seconds)
        self._session = Session(self._exchange, self._credentials, self._questions, keys, learned)
        self._asking = Asking(self._session, self._questions)

    def sibling(self, address: AgentAddress) -> "AgentClient":
        """A client of another agent of the same cluster, with the same settings and credentials."""
        return AgentClient(
            address,
            root_password=self._credentials.root_password,
            agent_password=self._credentials.agent_password,
            tls=self._tls,
            keys=self._keys,
            timeouts=self._timeouts,
            header_lifetime_seconds=self._questions.lifetime_seconds,
            transport=self._transport,
        )

    def without_passwords(self, address: AgentAddress) -> "AgentClient":
        """A client of another agent with the same settings, for what is told to anybody."""
        return AgentClient(
            address, tls=self._tls, timeouts=self._timeouts, transport=self._transport
        )

    @property
    def has_root_password(self) -> bool:
        """Whether the agent may have the password of root@sys."""
        return self._session.has_root_password

    def learned(self) -> Learned | None:
        """Give what a later client of this agent need not ask; None once it had the password."""
        return self._session.learned()

    @property
    def heard_at(self) -> float:
        """Monotonic seconds of the agent's last answer, whatever it said; `-inf`: none yet."""
        return self._session.heard_at

    @property
    def write_expires_at(self) -> datetime | None:
        """When the agent honours the last write no more, on our clock; None: none has left us.

        A write that is given up before its answer came may still arrive until then.
        """
        return self._session.write_expires_at

    def give_root_password(self, password: SecretStr, keys: KnownKeys | None) -> None:
        """Let the agent have the password of root@sys: somebody has proved that it is a member.

        Args:
            password: Of root@sys.
            keys: What its key is held against from now on; None trusts any.
        """
        self._session.trust(password, keys)

    def take_root_password(self, keys: KnownKeys | None) -> None:
        """Keep the password of root@sys back from now on: the agent is no member (any more)."""
        self._session.trust(None, keys)

    async def __aenter__(self) -> Self:
        await self._exchange.__aenter__()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._exchange.aclose()

    def __repr__(self) -> str:
        return f"AgentClient({str(self.address)!r})"

    # --- who and how is the agent: no header needed ---

    async def read_info(self) -> AgentInfo:
        """Read who the agent is.

        Source: obshell `GET /info`, ob/agent/api/info_handler.go
        """
        return await self._session.read_info()

    async def read_secret(self) -> AgentSecret:
        """Read the agent's public key as it serves it now.

        Source: obshell `GET /secret`, ob/agent/api/info_handler.go
        """
        return await self._session.read_secret()

    async def read_status(self) -> AgentStatus:
        """Read whether the agent's observer is there; as slow as its database.

        Source: obshell `GET /status`, ob/agent/lib/http/state.go
        """
        return await self._session.ask(self._questions.open("status", AgentStatus.model_validate))

    async def read_time(self) -> datetime:
        """Read the agent's clock, aware.

        Source: obshell `GET /time`, ob/agent/api/info_handler.go
        """
        return (await self._asking.read_time())[0]

    @property
    def answer_seconds(self) -> float:
        """How long its quickest answer of the last two minutes took; 0: there was none."""
        recent = self._session.recent_clock()
        return recent.answer_seconds if recent else 0.0

    async def read_clock(
        self, answer_seconds: float | None = None, *, surely: bool = False
    ) -> ClockReading:
        """Read how far the agent's clock is from ours: the quickest answer counts.

        What it has answered within the last two minutes counts too; where none of that is sure
        enough it is asked for the time, five times at most, and once where its answers are late.

        Args:
            answer_seconds: Longest wait for the first answer; None: as long as any read may take.
            surely: Whether a clock that is near ours is asked as often as any other.

        Returns:
            Agent minus us, with half the round trip as the possible error.

        Source: the time in every answer (ob/agent/lib/http/response.go), and `GET /time`.
        """
        return await self._asking.read_clock(answer_seconds, surely=surely)

    # --- the host and the cluster ---

    async def read_host_info(self) -> HostInfo:
        """Read the machine below the agent; also a SINGLE agent answers.

        Raises:
            NotSupportedError: Older than 4.3.0.0.

        Source: obshell `GET /agent/host-info`, ob/agent/executor/host/info.go
        """
        return await self._asking.read("agent/host-info", HostInfo, is_optional=True)

    async def read_ob_info(self) -> ObInfo:
        """Read the members of the cluster by agent and by server.

        A topology of None means that the database did not answer, not that there is no server.

        Source: obshell `GET /ob/info`, ob/agent/executor/ob/info.go
        """
        return await self._asking.read("ob/info", ObInfo)

    async def read_cluster_info(self) -> ClusterInfo:
        """Read the whole cluster with its resources; slow where one of its agents is down.

        Raises:
            NotSupportedError: Older than 4.3.0.0.
            IdentityMismatchError: Not a cluster agent.

        Source: obshell `GET /obcluster/info`, ob/agent/executor/ob/cluster.go
        """
        return await self._asking.read("obcluster/info", ClusterInfo, is_optional=True)

    async def read_topology(self) -> Topology:
        """Read zones and servers with their state.

        Raises:
            NotSupportedError: Older than 4.4.1.0.

        Source: obshell `GET /obcluster/topology/info`, ob/agent/executor/ob/cluster.go
        """
        return await self._asking.read("obcluster/topology/info", Topology, is_optional=True)

    async def read_parameters(self) -> tuple[Parameter, ...]:
        """Read all parameters whose names do not start with `_`, in no promised order.

        Raises:
            NotSupportedError: Older than 4.3.0.0.
            IdentityMismatchError: Not a cluster agent.

        Source: obshell `GET /obcluster/parameters`, ob/agent/executor/ob/parameter.go
        """
        return await self._asking.read_many("obcluster/parameters", Parameter, is_optional=True)

    async def read_unit_config_limit(self) -> UnitConfigLimit:
        """Read the smallest unit the cluster allows; a database that is silent gives an empty one.

        Raises:
            NotSupportedError: Older than 4.3.0.0.
            IdentityMismatchError: Not a cluster agent.

        Source: obshell `GET /obcluster/unit-config-limit`, ob/agent/executor/unit
        """
        path = "obcluster/unit-config-limit"
        limit = await self._asking.read_if_any(path, UnitConfigLimit, is_optional=True)
        return limit or UnitConfigLimit()

    async def read_statistics(self, answer_seconds: float | None = None) -> Statistics:
        """Read what the agent learns of all hosts and observers; one request to each, so slow.

        Args:
            answer_seconds: How long it may take, from when it is sent; None: as any read.

        Raises:
            NotSupportedError: Older than 4.3.0.0.

        Source: obshell `GET /obcluster/statistics`, ob/agent/executor/ob/statistics.go
        """
        return await self._asking.read(
            "obcluster/statistics", Statistics, is_optional=True, answer_seconds=answer_seconds
        )

    async def read_observer_info(self) -> Server:
        """Read this agent's own observer; without a database too, then with an `id` of 0.

        Raises:
            NotSupportedError: Older than 4.4.1.0.

        Source: obshell `GET /observer/info`, ob/agent/executor/ob/info.go
        """
        return await self._asking.read("observer/info", Server, is_optional=True)

    async def read_license(self) -> License | None:
        """Read the licence; None: the edition needs none, or a standalone cluster has none stored.

        Raises:
            NotSupportedError: Older than 4.4.0.0.

        Source: obshell `GET /obcluster/license`, ob/agent/executor/ob/cluster.go
        """
        return await self._asking.read_if_any(
            "obcluster/license", License, is_optional=True, absent=NOT_STANDALONE
        )

    # --- what tenants take: below 4.2.4.0 all raise NotSupportedError, without a database
    # DatabaseDownError (transient; AgentTroubleError below 4.3.1.0, where no code names it) ---

    async def read_unit_configs(self) -> tuple[UnitConfig, ...]:
        """Read all unit configs, in use or not; only a cluster agent can answer.

        Source: obshell `GET /units/config`, ob/agent/api/unit_handler.go
        """
        return await self._asking.read_many("units/config", UnitConfig, is_optional=True)

    async def read_resource_pools(self) -> tuple[ResourcePool, ...]:
        """Read all resource pools, granted or not; only a cluster agent can answer.

        Source: obshell `GET /resource-pools`, ob/agent/api/pool_handler.go
        """
        return await self._asking.read_many("resource-pools", ResourcePool, is_optional=True)

    async def read_tenants(self) -> tuple[TenantOverview, ...]:
        """Read all tenants, `sys` included, without their pools; only a cluster agent can answer.

        Source: obshell `GET /tenants/overview`, ob/agent/executor/tenant/info.go
        """
        return await self._asking.read_many("tenants/overview", TenantOverview, is_optional=True)

    async def read_tenant(self, name: str) -> Tenant:
        """Read one tenant with its pools and their unit configs.

        Raises:
            AgentRefusedError: There is none of this name (code `OB.Tenant.NotExist`).

        Source: obshell `GET /tenant/{name}`, ob/agent/executor/tenant/info.go
        """
        path = f"tenant/{quote(name, safe='')}"
        return await self._asking.read(path, Tenant, f"read tenant {name}", is_optional=True)

    # --- DAGs ---

    async def read_dag(self, dag_id: str, *, show_details: bool = True) -> Dag:
        """Read one DAG as the agent sees it at this moment.

        Args:
            dag_id: Opaque text as obshell handed it out; we never take it apart.
            show_details: False leaves out the nodes and `additional_data`.

        Returns:
            The DAG with its nodes and their sub tasks, in the order the agent sent them.

        Raises:
            DagNotFoundError: The agent does not know the id.
            DatabaseDownError: It cannot look now (transient).

        Source: obshell `GET /task/dag/{id}`, ob/agent/executor/task/dag.go
        """
        path = f"task/dag/{quote(dag_id, safe='')}"
        return await self._asking.read(path, Dag, f"read DAG {dag_id}", show_details=show_details)

    async def read_unfinished_dags(self, *, show_details: bool = True) -> tuple[Dag, ...]:
        """Read the unfinished DAGs of the cluster and of all agents that could be reached.

        A FAILED DAG counts as unfinished, whether it keeps the lock or not.

        Source: obshell `GET /task/dag/unfinish`, ob/agent/executor/task/dag.go
        """
        return await self._asking.read_dags("unfinish", show_details=show_details)

    async def read_unfinished_cluster_dags(self, *, show_details: bool = True) -> tuple[Dag, ...]:
        """Read the unfinished DAGs of the cluster; only a cluster agent can answer.

        Source: obshell `GET /task/dag/ob/unfinish`, ob/agent/executor/task/dag.go
        """
        return await self._asking.read_dags("ob/unfinish", show_details=show_details)

    async def read_unfinished_agent_dags(self, *, show_details: bool = True) -> tuple[Dag, ...]:
        """Read the unfinished local DAGs of this agent.

        Source: obshell `GET /task/dag/agent/unfinish`, ob/agent/executor/task/dag.go
        """
        return await self._asking.read_dags("agent/unfinish", show_details=show_details)

    async def read_last_cluster_dag(self, *, show_details: bool = True) -> Dag | None:
        """Read the newest cluster DAG that holds or held a lock; None: there never was one.

        Source: obshell `GET /task/dag/maintain/ob`, ob/agent/executor/task/dag.go
        """
        return await self._asking.read_dag_if_any("maintain/ob", show_details=show_details)

    async def read_cluster_dags(self) -> tuple[Dag, ...]:
        """Read all DAGs the cluster ever had, without their nodes; from 4.3.0.0 on.

        Raises:
            NotSupportedError: The agent is older.

        Source: obshell `GET /task/dags/ob`, ob/agent/executor/task/dag.go
        """
        return await self._asking.read_many(
            "task/dags/ob", Dag, is_optional=True, show_details=False
        )

    async def read_last_agent_dag(self, *, show_details: bool = True) -> Dag | None:
        """Read this agent's newest local DAG that holds or held its lock; None: never one.

        Source: obshell `GET /task/dag/maintain/agent`, ob/agent/executor/task/dag.go
        """
        return await self._asking.read_dag_if_any("maintain/agent", show_details=show_details)

    # --- any of them, to be compared with what another version answers ---

    async def read_as_sent(self, path: str, *, is_open: bool = False) -> Mapping[str, Any]:
        """Read any answer as the agent sends it: the JSON with its envelope, no model between.

        Args:
            path: Below `/api/v1/`, percent-encoded, with its query.
            is_open: Ask without a header, whether or not one is needed.

        Raises:
            NotSupportedError: There is no such endpoint.
        """
        return await self._asking.read_as_sent(path, is_open=is_open)

    # --- writes ---

    async def submit_scale_out(self, request: ScaleOutRequest) -> Dag:
        """Ask a cluster agent to add a server; look for a running DAG first, it is not idempotent.

        Args:
            request: As the API spells it; a target agent password travels inside the encrypted body
                only.

        Returns:
            The DAG just created, without nodes.

        Raises:
            AgentUnreachableError: Nothing was sent.
            OutcomeUnknownError: It was sent and no readable answer came; carries
                `header_expires_at`.
            AgentRefusedError: Or a subclass; no DAG was created.

        Source: obshell `POST /ob/scale_out`, ob/agent/executor/ob/scale_out.go
        """
        return await self._asking.write(
            "ob/scale_out",
            request.model_dump(mode="json", by_alias=True, exclude_none=True),
            Dag.model_validate,
            "scale_out",
            self._timeouts.submit_seconds,
        )

    async def submit_scale_in(self, request: ScaleInRequest) -> Dag | None:
        """Ask a cluster agent to remove another one's server; not idempotent, look first.

        Sent as a POST: `DELETE /observer` does the same, and libraries repeat a DELETE.

        Returns:
            The DAG just created, without nodes; None: the cluster has no row of this agent, which
            is no proof that its server is gone.

        Raises:
            AgentUnreachableError: Nothing was sent.
            OutcomeUnknownError: It was sent and no readable answer came; carries
                `header_expires_at`.
            NotSupportedError: Older than 4.2.6.0.
            AgentRefusedError: Or a subclass; no DAG was created.

        Source: obshell `POST /ob/scale_in`, ob/agent/executor/ob/scale_in.go
        """
        return await self._asking.write(
            "ob/scale_in",
            request.model_dump(mode="json", by_alias=True),
            _dag_if_any,
            "scale_in",
            self._timeouts.submit_seconds,
        )

    async def delete_zone(self, name: str) -> Dag | None:
        """Ask a cluster agent to delete another zone with all its servers; as `submit_scale_in`.

        The only way to delete a zone, so a DELETE: it is sent once all the same. obshell up to
        4.5.0.0 asks for no password here; a good header is sent.

        Args:
            name: Of the zone.

        Returns:
            The DAG just created, without nodes; None: there is no such zone.

        Source: obshell `DELETE /zone/{name}`, ob/agent/executor/ob/delete_zone.go
        """
        return await self._asking.write(
            f"zone/{quote(name, safe='')}",
            None,
            _dag_if_any,
            f"delete zone {name}",
            self._timeouts.submit_seconds,
            "DELETE",
        )

    async def set_parameters(self, server: str, values: Mapping[str, str]) -> None:
        """Set parameters of one server, one after another: what was set before an error stays set.

        Args:
            server: `ip:port` of the observer's RPC, IPv6 in brackets.
            values: By name, in the order they are set.

        Raises:
            SpecError: Name, value or server holds what must not be sent; nothing was sent.
            AgentUnreachableError: Nothing was sent.
            OutcomeUnknownError: It was sent and no readable answer came: read the parameters.
            AgentRefusedError: Or a subclass; the first of them may have been set.

        Source: obshell `PATCH /obcluster/parameters` (4.3.0.0), ob/agent/executor/ob/parameter.go
        """
        await self._asking.write(
            "obcluster/parameters",
            setting_body(server, values),
            lambda _data: None,
            f"set parameters of {server}",
            self._timeouts.read_seconds,
            "PATCH",
        )

    async def modify_unit_num(self, tenant: str, zones: Sequence[str], number: int) -> Dag | None:
        """Ask for another number of units of a tenant; look for a running DAG first.

        Args:
            tenant: Its name.
            zones: All zones the tenant has a replica in: obshell refuses a part of them.
            number: Units in each zone.

        Returns:
            The DAG just created, without nodes; None: the tenant has that many already.

        Raises:
            AgentUnreachableError: Nothing was sent.
            OutcomeUnknownError: It was sent and no readable answer came; carries
                `header_expires_at`.
            NotSupportedError: Older than 4.2.4.0.
            AgentRefusedError: Or a subclass; no DAG was created.

        Source: obshell `PATCH /tenant/{name}/replicas`, ob/agent/executor/tenant/modify_replicas.go
        """
        return await self._asking.write(
            f"tenant/{quote(tenant, safe='')}/replicas",
            {"zone_list": [{"zone_name": zone, "unit_num": number} for zone in zones]},
            lambda data: None if data is None else Dag.model_validate(data),
            f"set unit_num of tenant {tenant} to {number}",
            self._timeouts.read_seconds,
            "PATCH",
        )

    async def operate_dag(self, dag_id: str, operator: Operator) -> None:
        """Have a DAG retried, rolled back, cancelled or passed. No error means accepted, not done.

        Args:
            dag_id: As obshell handed it out.
            operator: What to do; every node of a scale-out can RETRY and ROLLBACK, none can CANCEL
                or PASS. Of a removal every node can CANCEL too.

        Raises:
            AgentUnreachableError: Nothing was sent.
            OutcomeUnknownError: It was sent and no readable answer came: read the DAG.
            AgentRefusedError: Or a subclass, e.g. because the DAG is not FAILED (any more).

        Source: obshell `POST /task/dag/{id}`, ob/agent/executor/task/dag.go
        """
        await self._asking.write(
            f"task/dag/{quote(dag_id, safe='')}",
            {"operator": operator.value},
            lambda _data: None,
            f"{operator.value} DAG {dag_id}",
            self._timeouts.read_seconds,
        )


def _dag_if_any(data: Any) -> Dag | None:
    """Read the DAG of an answer; 204 has none."""
    return None if data is None else Dag.model_validate(data)
