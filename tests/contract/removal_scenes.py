"""A simulated cluster whose member leaves, asked over HTTP as an operator would."""

from obscale.sandbox import Fault
from tests.contract.conftest import ENTRY, TARGET

SCALE_OUT_SECONDS = 60
OLD = "127.0.1.2:2886"
"""A founder: it holds a unit of sys and one of app."""


class Leaving:
    """A world into which the spare 127.0.1.4 has joined zone2, and from which somebody leaves."""

    def __init__(self, world, ask):
        self.world, self.ask = world, ask
        self.dag_id = ""

    async def grow(self, target=TARGET, zone="zone2"):
        """Let a spare join."""
        answer = await self.ask.scale_out(target=target, zone=zone)
        assert answer.status_code == 200, answer.text
        self.world.advance(SCALE_OUT_SECONDS)
        assert self.world.cluster().dags[-1].state == "SUCCEED"
        return self

    async def remove(self, target=TARGET, *, seconds=0.0, force=False, agent=ENTRY):
        """POST scale_in, then let time pass."""
        ip, _, port = target.rpartition(":")
        body = {"agent_info": {"ip": ip, "port": int(port)}, "force_kill": force}
        return await self._created(
            await self.ask("POST", "/api/v1/ob/scale_in", body, agent=agent), seconds
        )

    async def replicas(self, method, body, *, seconds=0.0, tenant="app"):
        """Change the replicas of a tenant, then let time pass."""
        target = f"/api/v1/tenant/{tenant}/replicas"
        return await self._created(await self.ask(method, target, body), seconds)

    async def delete_zone(self, zone, *, seconds=0.0):
        """DELETE a zone without any header, then let time pass."""
        answer = await self.ask.raw("DELETE", f"/api/v1/zone/{zone}", agent=ENTRY)
        return await self._created(answer, seconds)

    async def _created(self, answer, seconds):
        if answer.status_code == 200:
            self.dag_id = answer.json()["data"]["id"]
        self.world.advance(seconds)
        return answer

    async def operate(self, operator, *, seconds=0.0, agent=ENTRY):
        """Order something of the newest DAG; gives status and errCode."""
        answer = await self.ask.operate(self.dag_id, operator, agent=agent)
        self.world.advance(seconds)
        return answer.status_code, answer.json().get("error", {}).get("errCode", "")

    async def dag(self):
        """The newest DAG as an agent shows it."""
        return await self.ask.data(f"/api/v1/task/dag/{self.dag_id}")

    async def stands(self):
        """State, operator and stage of the newest DAG."""
        dag = await self.dag()
        return dag["state"], dag["operator"], dag["stage"]

    async def last_words(self):
        """Last line of the log of the node at which the newest DAG stands."""
        dag = await self.dag()
        return dag["nodes"][dag["stage"] - 1]["sub_tasks"][0]["task_logs"][-1]

    async def server(self, ip):
        """The row of a server in the topology; None where it is gone."""
        zones = (await self.ask.data("/api/v1/obcluster/topology/info"))["zones"]
        rows = [row for zone in zones for row in zone["servers"] or []]
        return next((row for row in rows if row["ip"] == ip), None)

    async def row_identity(self, ip):
        """What the cluster's row of an agent says; None where there is none."""
        rows = (await self.ask.data("/api/v1/ob/info"))["agent_info"]
        return next((row["identity"] for row in rows if row["ip"] == ip), None)

    async def status(self, agent=TARGET):
        """What an agent says of itself: identity, state of its observer, its lock."""
        data = (await self.ask.raw("GET", "/api/v1/status", agent=agent)).json()["data"]
        return data["agent"]["identity"], data["obState"], data["underMaintenance"]

    async def units(self, tenant="app"):
        """Where the units of a tenant are: last parts of addresses, in order."""
        data = await self.ask.data(f"/api/v1/tenant/{tenant}")
        listed = [at for pool in data["pools"] for at in pool["observer_list"].split(",") if at]
        return sorted(at.partition(":")[0].rpartition(".")[2] for at in listed)

    @property
    def lock_is_free(self):
        """Whether nothing holds the cluster's lock."""
        return self.world.cluster().lock_holder is None

    def hold(self, target=TARGET):
        """The server stays DELETING."""
        self.world.play(Fault.unit_stuck(target))
