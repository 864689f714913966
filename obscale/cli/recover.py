"""`obscale recover CLUSTER [DAG]`: carries out one decision about a failed scale-out."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console

from obscale.agent.models import Dag
from obscale.cli.busy import silence_shown
from obscale.cli.exits import Exit, end_with, error_object, exit_code_of
from obscale.cli.follow_scale_out import (
    DagId,
    FollowedScaleOut,
    Found,
    followed_of,
    looking_for,
    show_diagnosis,
    verify_or_raise,
    watch_live,
)
from obscale.cli.loudness import Quiet, Verbose, aloud
from obscale.cli.options import AsJson, ClusterName
from obscale.cli.recover_removal import recover_removal, removal_of
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import as_text, open_console, reader_line, say_json
from obscale.errors import DagFailedError, ObscaleError, SpecError
from obscale.follow.progress import Change
from obscale.follow.run import learn_members
from obscale.recovery.consequences import Remedy
from obscale.recovery.diagnosis import Diagnosis
from obscale.recovery.policy import refusal_of
from obscale.recovery.read import diagnose_now, next_step
from obscale.recovery.run import RolledBack, require_allowed, retry, roll_back, roll_back_untouched
from obscale.recovery.selection import diagnose_untouched, is_untouched
from obscale.removal.act import Does, Stopped
from obscale.report.report import ScaleOutReport
from obscale.request.time_limits import TimeLimits

Retry = Annotated[bool, typer.Option("--retry", help="Undo and repeat the failed stage, go on.")]
RollBack = Annotated[bool, typer.Option("--roll-back", help="Undo the whole scale-out.")]
Stop = Annotated[bool, typer.Option("--stop", help="Of a removal: cancel it, and roll it back.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before acting.")]
Loss = Annotated[
    bool,
    typer.Option(
        "--acknowledge-data-loss",
        help="Accept that data is deleted which this scale-out did not make.",
    ),
]
FLAGS: Final = {Remedy.RETRY: "--retry", Remedy.ROLLBACK: "--roll-back"}
WORDS: Final = {Remedy.RETRY: "retry", Remedy.ROLLBACK: "roll-back"}
"""What a person types to choose one."""
LEAVE: Final = "leave"
_OF_REMOVALS: Final[dict[Remedy, Does]] = {Remedy.RETRY: "retry", Remedy.ROLLBACK: "roll-back"}


@dataclass(frozen=True)
class Wish:
    """What the command line says.

    Args:
        cluster: Stored connection or file.
        dag_id: None: not named.
        remedy: None: a person is to choose.
        yes: Whether nobody is to be asked.
        acknowledged: Whether data may be lost that the scale-out did not make.
        stop: Whether a removal is to be stopped.
    """

    cluster: str
    dag_id: str | None
    remedy: Remedy | None
    yes: bool
    acknowledged: bool
    stop: bool = False

    @property
    def again(self) -> str:
        """The same command with the id of a DAG."""
        flags = [FLAGS[self.remedy]] if self.remedy else []
        flags += ["--yes"] if self.yes else []
        return " ".join(("obscale recover", self.cluster, "{dag}", *flags))


def recover(
    cluster: ClusterName,
    dag: DagId = None,
    wants_retry: Retry = False,
    wants_roll_back: RollBack = False,
    wants_stop: Stop = False,
    yes: Yes = False,
    acknowledged: Loss = False,
    as_json: AsJson = False,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Show why a scale-out failed and what each way out does and destroys; take one; follow it.

    With neither --retry nor --roll-back it asks which. Of a file's nodes only their own DAG is
    taken; another's wants its id. Dead ends are refused, whatever is acknowledged.

    A removal is known too: --retry goes on with it, --roll-back undoes a failed one, and --stop
    undoes one that runs, so that its server stays. PASS is never offered.

    Exit: 0 verified after --retry, or undone to the end after --roll-back or --stop; 1 refused,
    failed or left as it stands, 2 bad input, 3 cannot reach.
    """
    console = open_console(stderr=as_json)
    shown: list[Diagnosis] = []
    try:
        if wants_stop and (wants_retry or wants_roll_back):
            raise SpecError("recover: --stop excludes --retry and --roll-back", "give one of them")
        remedy = None if wants_stop else _one_of(wants_retry, wants_roll_back, yes)
        wish = Wish(cluster, dag, remedy, yes, acknowledged, wants_stop)
        with silence_shown(console):
            ending = PROGRAM.run(_recover(wish, console, shown))
    except ObscaleError as error:
        _end(error, shown, as_json=as_json)
    if as_json:
        say_json(_as_object(ending), indent=None)
    raise typer.Exit(Exit.DONE)


def _one_of(wants_retry: bool, wants_roll_back: bool, yes: bool) -> Remedy | None:
    if wants_retry and wants_roll_back:
        raise SpecError("recover: --retry and --roll-back exclude each other", "give one of them")
    if not (wants_retry or wants_roll_back):
        if yes:
            raise SpecError(
                "recover: --yes says that nobody is asked, but not what is to be done",
                "add either --retry or --roll-back",
            )
        return None
    return Remedy.RETRY if wants_retry else Remedy.ROLLBACK


async def _recover(
    wish: Wish, console: Console, shown: list[Diagnosis]
) -> ScaleOutReport | RolledBack | Stopped:
    async with removal_of(wish.cluster, wish.dag_id, wanted=wish.stop) as removal:
        if removal is not None:
            does = _OF_REMOVALS[wish.remedy] if wish.remedy else None
            return await recover_removal(
                removal, "stop" if wish.stop else does, console, yes=wish.yes
            )
    unasked = wish.yes and wish.dag_id is None
    async with looking_for(
        wish.cluster, wish.dag_id, console, wish.again, unasked=unasked
    ) as found:
        if is_untouched(found.meant):
            return await _free(found, wish, console, shown)
        async with followed_of(found) as followed:
            link = followed.link
            remedy, diagnosis = await _decide(
                lambda: diagnose_now(link, followed.dag.id), followed.words, wish, console, shown
            )
            await learn_members(link, lambda text: _say(console, text))
            _begins(remedy, found)
            if remedy is Remedy.RETRY:
                await retry(link, diagnosis, lambda text: _say(console, text))
                return await verify_or_raise(followed, await watch_live(followed, console), console)
            return await _undo(followed, wish.acknowledged, console)


async def _decide(
    look: Callable[[], Awaitable[Diagnosis]],
    words: str,
    wish: Wish,
    console: Console,
    shown: list[Diagnosis],
) -> tuple[Remedy, Diagnosis]:
    """Show the diagnosis, have somebody decide where nothing was decided, and look once more.

    Raises:
        DagFailedError: What is wanted is not safe, or nothing was to be done.
        SpecError: Somebody is to be asked, and nobody is there.
    """
    diagnosis = await look()
    shown[:] = [diagnosis]
    show_diagnosis(console, diagnosis)
    remedy = wish.remedy or _choose(diagnosis, words, wish)
    require_allowed(diagnosis, remedy, wish.cluster, acknowledged=wish.acknowledged)
    if not wish.yes:
        if wish.remedy:
            _confirm(remedy, words)
        # The answer may have taken its time: what was safe then need not be now.
        diagnosis = await look()
        shown[:] = [diagnosis]
        require_allowed(diagnosis, remedy, wish.cluster, acknowledged=wish.acknowledged)
    return remedy, diagnosis


def _choose(diagnosis: Diagnosis, words: str, wish: Wish) -> Remedy:
    """Let a person choose among what may be done now; leaving it is always among that.

    Raises:
        DagFailedError: Nothing may be done, or it is to be left.
        SpecError: Nobody is there to choose.
    """
    offered = [
        remedy
        for remedy in FLAGS
        if not refusal_of(diagnosis, remedy, acknowledged=wish.acknowledged)
    ]
    if not offered:
        raise DagFailedError(
            f"{words} was not touched: nothing that can be done here is safe [{diagnosis.cause}]",
            next_step(diagnosis, wish.cluster),
        )
    if not _somebody_is_there():
        raise SpecError(
            f"recover: nobody is there to choose for {words}",
            f"add {' or '.join(FLAGS[remedy] for remedy in offered)}, and --yes",
        )
    answers = {WORDS[remedy]: remedy for remedy in offered}
    known = [*answers, LEAVE]

    def read(answer: str) -> str:
        if answer.strip().lower() not in known:
            raise typer.BadParameter(f"answer {', '.join(answers)} or {LEAVE}")
        return answer.strip().lower()

    with PROGRAM.asking():
        answer: str = typer.prompt(
            reader_line(f"What shall be done about {words}? ({'/'.join(known)})"),
            default=LEAVE,
            value_proc=read,
            err=True,
        )
    if answer == LEAVE:
        raise DagFailedError(f"{words} was left as it stands", next_step(diagnosis, wish.cluster))
    return answers[answer]


async def _undo(followed: FollowedScaleOut, acknowledged: bool, console: Console) -> RolledBack:
    diagnosis = await diagnose_now(followed.link, followed.dag.id)
    undone = await roll_back(
        followed.link,
        diagnosis,
        followed.order.time_limits,
        saw=_teller(console),
        say=lambda text: _say(console, text),
        acknowledged=acknowledged,
    )
    with aloud(console):
        words = f"{undone.target} is SINGLE again, the cluster's lock is free"
        console.print(as_text(words, style="bold green"))
    return undone


async def _free(found: Found, wish: Wish, console: Console, shown: list[Diagnosis]) -> RolledBack:
    """Undo a scale-out that failed before it named a node, so that the cluster's lock is free."""
    client, dag = found.cluster.client, found.meant.dag

    async def look() -> Diagnosis:
        return diagnose_untouched(await client.ask(lambda agent: agent.read_dag(dag.id)))

    await _decide(look, found.words, wish, console, shown)
    _begins(Remedy.ROLLBACK, found)
    undone = await roll_back_untouched(
        client, dag.id, TimeLimits(), saw=_teller(console), say=lambda text: _say(console, text)
    )
    with aloud(console):
        words = "the cluster's lock is free; no node had been called"
        console.print(as_text(words, style="bold green"))
    return undone


def _begins(remedy: Remedy, found: Found) -> None:
    """Let what ends the command from now on say what it may have begun."""
    what = f"{WORDS[remedy]} of {found.words}: it was sent, or about to be, and goes on by itself"
    follow = f"obscale watch {found.named} {found.meant.dag.id} shows what became of it"
    PROGRAM.stands(lambda: (what, follow))


def _teller(console: Console) -> Callable[[Dag, tuple[Change, ...]], Awaitable[None]]:
    async def saw(_dag: Dag, changes: tuple[Change, ...]) -> None:
        for change in changes:
            _say(console, change.text)

    return saw


def _confirm(remedy: Remedy, words: str) -> None:
    if not _somebody_is_there():
        raise SpecError(f"recover: nobody is there to answer for {words}", "add --yes")
    with PROGRAM.asking():
        typer.confirm(f"{remedy} {reader_line(words)}?", abort=True, err=True)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _say(console: Console, text: str) -> None:
    console.print(as_text(f"  {text}", style="dim"))


def _end(error: ObscaleError, shown: list[Diagnosis], *, as_json: bool) -> NoReturn:
    """Say an error; as an object together with the diagnosis it was made with."""
    if not (as_json and shown):
        end_with(error, as_json=as_json)
    told = {"error": error_object(error), "diagnosis": shown[0].model_dump(mode="json")}
    say_json(told, indent=None)
    raise typer.Exit(exit_code_of(error))


def _as_object(ending: ScaleOutReport | RolledBack | Stopped) -> dict[str, object]:
    if isinstance(ending, ScaleOutReport):
        return {"exit_code": 0, "report": ending.model_dump(mode="json")}
    if isinstance(ending, Stopped):
        undone = {"dag_id": ending.dag.id, "target": ending.target, "orphan": ""}
        return {"exit_code": 0, "undone": undone}
    return {
        "exit_code": 0,
        "undone": {"dag_id": ending.dag.id, "target": ending.target, "orphan": ending.orphan},
    }
