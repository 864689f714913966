"""Watches a world during a night, and says what must never have happened in it."""

from obscale.sandbox import World
from obscale.sandbox.agents import Agent
from obscale.sandbox.cluster import Server
from obscale.sandbox.units import has_majority
from tests.chaos.operations import Operation

OPERATE = "/api/v1/task/dag/"


class Witness:
    """Sees every change of a world's first cluster, however short it is.

    Args:
        world: Prepared, and not opened yet.
        operation: What will be asked of it.
    """

    def __init__(self, world: World, operation: Operation) -> None:
        self.world, self.operation = world, operation
        self.cluster = world.clusters[0]
        self.target: Agent = operation.target(world)
        self._halves = operation.halves()
        self.most_leaving = 0
        """Servers that were DELETING at one moment."""
        self.operators: set[str] = set()
        """What its DAG was ordered to do, by whomever."""
        self.majorities_lost: list[str] = []
        """Tenants that lost their majority when the leaving server stopped or went."""
        self._before = list(self.cluster.servers)
        self._zones = [zone.name for zone in self.cluster.zones]
        self._working = self._works()
        self._without = self._no_majority()
        notice = world.hand.notice

        def noticed() -> None:
            notice()
            self._look()

        # Called whenever time has passed; the world has no other place for who only looks.
        setattr(world.hand, "notice", noticed)  # noqa: B010 - not to be typed as a mistake

    def broken(self, *, others_leaving: int = 0, may_retry: bool = False) -> list[str]:
        """Say what must not have happened, however the run ended.

        Args:
            others_leaving: Servers that somebody else deletes meanwhile.
            may_retry: Whether the run itself may order a RETRY.
        """
        self.world.sync()
        wrong = [f"{tenant} lost its majority" for tenant in self.majorities_lost]
        if self.most_leaving > 1 + others_leaving:
            wrong.append(f"{self.most_leaving} servers were DELETING at once")
        writes = [
            f"{each.method} {each.target}"
            for each in self.world.requests
            if each.method != "GET"
            and not any(half.is_request(each.method, each.target) for half in self._halves)
        ]
        if may_retry:
            writes = [each for each in writes if not each.startswith(f"POST {OPERATE}")]
            if unmeant := self.operators - {"RUN", "RETRY"}:
                wrong.append(f"ordered: {', '.join(sorted(unmeant))}")
        if writes:
            wrong.append(f"sent unasked: {', '.join(writes)}")
        return wrong

    def unproved(self) -> list[str]:
        """Say what is not as it must be where a run says that it went well."""
        wrong = self.operation.at_end(self.world, self.target)
        if self.operation.kind == "add":
            return wrong
        here = [each for each in self._before if each.agent is not self.target]
        gone = [each.address for each in here if each not in self.cluster.servers]
        if gone:
            wrong.append(f"gone, too: {', '.join(gone)}")
        if leaving := [each.address for each in self.cluster.servers if each.deleting]:
            wrong.append(f"still DELETING: {', '.join(leaving)}")
        if holder := self.cluster.lock_holder:
            wrong.append(f"{holder.name} holds the lock")
        return wrong

    def touched(self) -> list[str]:
        """Say what has changed of a cluster of which nothing was asked."""
        wrong = [each.address for each in self._before if each not in self.cluster.servers]
        wrong += [each.address for each in self._before if each.deleting]
        zones = [zone.name for zone in self.cluster.zones]
        return [*wrong, *(zone for zone in self._zones if zone not in zones)]

    def _look(self) -> None:
        leaving = sum(server.deleting for server in self.cluster.servers)
        self.most_leaving = max(self.most_leaving, leaving)
        for dag in self.cluster.dags:
            if dag.name == self.operation.dag:
                self.operators.add(dag.operator)
        working, without = self._works(), self._no_majority()
        lost = without - self._without
        stopped = {server.agent for server in self._working - working}
        if lost and self.target in stopped:
            self.majorities_lost += sorted(lost)
        self._working, self._without = working, without

    def _works(self) -> set[Server]:
        return {server for server in self.cluster.servers if server.observer.works}

    def _no_majority(self) -> set[str]:
        tenants = self.cluster.tenants()
        return {tenant.name for tenant in tenants if not has_majority(self.cluster, tenant)}
