"""The cards in play, and which one acts now."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obscale.sandbox.agents import Agent
from obscale.sandbox.cluster import Cluster
from obscale.sandbox.config import ConfigError
from obscale.sandbox.faults.cards import SCALE_OUT, FaultCard, Kind, Operation, Phase
from obscale.sandbox.faults.effects import ACTS, newest_dag_of
from obscale.sandbox.faults.fault import Fault

if TYPE_CHECKING:
    from obscale.sandbox.world import World


@dataclass(eq=False)
class PlayedFault:
    """A card in the hand and how often it was drawn, or has acted."""

    fault: Fault
    target: Agent | None = None
    """The agent it is about, whatever address it moves to."""
    drawn: int = 0
    due: bool = False
    """Its phase or stage has come; a state card acts `after_seconds` later."""

    @property
    def left(self) -> bool:
        """Whether it may be drawn again."""
        return self.fault.times == 0 or self.drawn < self.fault.times

    def fits(self, stage: int | None) -> bool:
        """Whether a sub task at that stage, or any request, may draw it now."""
        if self.fault.row.kind is Kind.STEP:
            return self.fault.stage in (None, stage)
        return self.due or not self.fault.waits


class Hand:
    """The cards of one world.

    Args:
        world: Whose agents and clusters they are about.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.played: list[PlayedFault] = []

    def play(self, fault: Fault) -> None:
        """Put a card into play; a state card that waits for nothing acts at once.

        Raises:
            ConfigError: It names an agent or a cluster this world does not have.
        """
        self.check(fault)
        target = next((a for a in self._world.agents if a.address == fault.target), None)
        played = PlayedFault(fault, target)
        self.played.append(played)
        self._world.sync()
        if not fault.waits and fault.row.kind is Kind.STATE:
            self._become_due(played)
        self.notice()

    def check(self, fault: Fault) -> None:
        """Refuse a card about an agent or a cluster this world does not have.

        Raises:
            ConfigError: Names it.
        """
        if fault.target is not None and fault.target not in [a.address for a in self._world.agents]:
            raise ConfigError(f"faults: no agent '{fault.target}' in this world")
        if fault.cluster is not None and fault.cluster not in [
            c.name for c in self._world.clusters
        ]:
            raise ConfigError(f"faults: no cluster '{fault.cluster}' in this world")

    def clear(self) -> int:
        """Take all cards out of play, due ones too; what has acted stays done. Gives how many."""
        count = len(self.played)
        self.played.clear()
        return count

    def undrawn(self) -> list[Fault]:
        """Cards nobody has drawn yet."""
        return [played.fault for played in self.played if not played.drawn]

    def draw(
        self,
        card: FaultCard,
        *,
        target: Agent,
        cluster: str | None = None,
        stage: int | None = None,
        to: str | None = None,
        operation: Operation | None = None,
    ) -> Fault | None:
        """Take the first matching card, if there is one.

        Args:
            card: Which.
            target: The agent it is about.
            cluster: The cluster it is about.
            stage: The stage that draws it; None for no stage.
            to: Last word of the request that draws it.
            operation: What the stage belongs to; None where any card will do.
        """
        for played in self.played:
            fault = played.fault
            if (
                fault.card == card
                and played.left
                and played.target in (None, target)
                and fault.cluster in (None, cluster)
                and fault.to in (None, to)
                and (operation is None or fault.operation_meant in (None, operation))
                and played.fits(stage)
            ):
                played.drawn += 1
                return fault
        return None

    def notice(self) -> None:
        """See which cards' phase or stage has come; called whenever time passes."""
        for played in self.played:
            if played.fault.waits and not played.due and self._is_now(played.fault):
                self._become_due(played)

    def _is_now(self, fault: Fault) -> bool:
        wanted = fault.phase if fault.stage is None else fault.stage
        operation = fault.operation_meant or SCALE_OUT
        return any(_moment_of(cluster, operation) == wanted for cluster in self._about(fault))

    def _about(self, fault: Fault) -> Iterable[Cluster]:
        """The clusters whose scale-outs a card looks at; one it joins is not among them."""
        if fault.card == "join_elsewhere":
            return (c for c in self._world.clusters if c.name != fault.cluster)
        return (c for c in self._world.clusters if fault.cluster in (None, c.name))

    def _become_due(self, played: PlayedFault) -> None:
        played.due = True
        if played.fault.row.kind is not Kind.STATE:
            return
        if played.fault.after_seconds:
            self._world.engine.after(played.fault.after_seconds, lambda: self._act(played))
        else:
            self._act(played)

    def _act(self, played: PlayedFault) -> None:
        if played in self.played:
            played.drawn += 1
            ACTS[played.fault.card](self._world, played.fault, played.target)


def _moment_of(cluster: Cluster, operation: Operation) -> Phase | int:
    """Where a cluster stands with its newest operation: a phase, or the stage it is at."""
    dag = newest_dag_of(cluster.dags, operation)
    if dag is None:
        return "submit" if operation in cluster.asked else "preflight"
    if dag.state == "FAILED":
        return "failed"
    if dag.operator == "ROLLBACK":
        return "rollback"
    if dag.state == "SUCCEED":
        return "verify"
    return "submit" if dag.state == "READY" and dag.stage == 1 else dag.stage
