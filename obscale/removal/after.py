"""What is left to a person: cleaning the host of a node that left, and taking a growth back."""

import shlex

from obscale.agent.models import Server, joined_address
from obscale.cleaning import steps_after_removal
from obscale.removal.result import RemovalRecord
from obscale.request.file_name import command_name
from obscale.request.removal import Removal
from obscale.request.scale_out import ScaleOut
from obscale.verify.baseline import Baseline
from obscale.verify.levels import VerifiedLevels
from obscale.verify.observation import Level


def host_steps_of(baseline: Baseline | None, order: Removal) -> tuple[str, ...]:
    """Give the commands that clean each host that left, by the paths read before it did.

    Args:
        baseline: The record of before; None: nobody has kept it.
        order: What was asked for.

    Returns:
        Commands for a shell, with a remark before those of each host; nobody runs them.
    """
    leaving = baseline.leaving if isinstance(baseline, RemovalRecord) else None
    if leaving is None:
        return ()
    steps: list[str] = []
    for server in leaving.servers:
        port = _agent_port(server, order)
        if port:
            address = joined_address(server.ip, port)
            steps.append(f"# on {server.ip}")
            steps += steps_after_removal(
                leaving.home_paths.get(address, ""),
                ip=server.ip,
                port=port,
                data_dir=server.data_dir,
                redo_dir=server.redo_dir,
                log_dir=server.log_dir,
            )
    return tuple(steps)


def undo_of(order: ScaleOut, levels: VerifiedLevels | None) -> tuple[str, ...]:
    """Give the command that takes a growth back, with what it would do now as remarks.

    Args:
        order: What was asked for, and carried out.
        levels: As it was proved; units that have come to the node would have to move back.
    """
    cluster = command_name(order.cluster)
    command = shlex.join(["obscale", "remove", cluster, order.target, "--zone", order.zone])
    if levels is not None and levels.level is Level.BALANCED:
        does = ("# now units have come to the node:", "# they, and their data, move back first")
    else:
        does = (
            "# now the node holds no unit:",
            "# it leaves within seconds, its observer is killed",
        )
    # Each of these lines is read on a page that shows no longer one.
    return (*does, f"{command} --plan", command)


def _agent_port(server: Server, order: Removal) -> int:
    return server.obshell_port or (order.node.agentInfo.port if order.node else 0)
