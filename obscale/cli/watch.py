"""`obscale watch CLUSTER [DAG]`: follows a scale-out or a removal, whoever started it."""

import typer
from rich.console import Console

from obscale.cli.busy import silence_shown
from obscale.cli.exits import Exit, end_with
from obscale.cli.follow_scale_out import (
    DagId,
    followed_of,
    looking_for,
    verify_or_raise,
    watch_live,
)
from obscale.cli.loudness import Quiet, Verbose
from obscale.cli.options import AsJson, ClusterName
from obscale.cli.recover_removal import removal_of, to_its_end
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import open_console, say_json
from obscale.errors import ObscaleError
from obscale.report.report import ScaleOutReport


def watch(
    cluster: ClusterName,
    dag: DagId = None,
    as_json: AsJson = False,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Follow a scale-out to its end, and verify the node or say why it failed.

    A removal is followed likewise, and what leaves is proved gone: name its DAG, or nothing where
    it is the one that is unfinished. Changes nothing; Ctrl-C only ends the watching.

    Exit: 0 verified, 1 failed, 2 bad input, 3 cannot reach.
    """
    try:
        console = open_console(stderr=as_json)
        with silence_shown(console):
            report = PROGRAM.run(_watch(cluster, dag, console))
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        say_json({"exit_code": 0, "report": report.model_dump(mode="json")}, indent=None)
    raise typer.Exit(Exit.DONE)


async def _watch(cluster: str, dag_id: str | None, console: Console) -> ScaleOutReport:
    async with removal_of(cluster, dag_id, wanted=False) as removal:
        if removal is not None:
            return await to_its_end(removal, console)
    again = f"obscale watch {cluster} {{dag}}"
    async with (
        looking_for(cluster, dag_id, console, again) as found,
        followed_of(found) as followed,
    ):
        return await verify_or_raise(followed, await watch_live(followed, console), console)
