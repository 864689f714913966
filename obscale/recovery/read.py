"""Reads all facts around a failed scale-out and diagnoses it; it only reads."""

import logging
import shlex
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from obscale.agent.models import Dag, HostInfo
from obscale.connect.connections import Connections
from obscale.errors import AgentError, DagFailedError, DagRolledBackError, ObscaleError
from obscale.events import Diagnosed, Publish, publish_line
from obscale.follow.local_dag import read_local_dag
from obscale.follow.progress import failure_of
from obscale.reading import side_by_side
from obscale.recovery.case import Case
from obscale.recovery.consequences import Remedy
from obscale.recovery.diagnosis import Diagnosis, diagnose
from obscale.request.file_name import command_name
from obscale.request.models import ClusterSpec
from obscale.verify.read import read_zones

T = TypeVar("T")


async def diagnose_now(link: Connections, dag_id: str) -> Diagnosis:
    """Read a scale-out and everything around it, and diagnose it.

    Raises:
        AgentError: The DAG itself could not be read; whatever else is missing is said so.
    """
    return diagnose(await _read_failure(link, dag_id))


async def diagnosed(link: Connections, dag_id: str, publish: Publish) -> Diagnosis | None:
    """Diagnose a DAG that did not end well, and tell it; None where it could not be read again."""
    try:
        found = await diagnose_now(link, dag_id)
    except AgentError as error:
        publish_line(publish, "poll", f"diagnosis.not_made reason={str(error)!r}", logging.WARNING)
        return None
    publish(Diagnosed(diagnosis=found))
    for line in (*found.evidence, *consequence_lines(found)):
        publish_line(publish, "poll", f"diagnosis.says {line}", logging.WARNING)
    return found


async def _read_failure(link: Connections, dag_id: str) -> Case:
    """Read what a diagnosis looks at, all at the same time.

    Raises:
        AgentError: The DAG itself could not be read.
    """
    ask, target = link.cluster.ask, link.target

    async def dags() -> tuple[Dag, ...]:
        return (await ask(lambda agent: agent.read_dag(dag_id)),)

    async with side_by_side() as reads:
        info = reads.create_task(_or_words(target.read_info))
        status = reads.create_task(_or_none(target.read_status))
        unfinished = reads.create_task(
            _or_none(
                lambda: ask(lambda agent: agent.read_unfinished_cluster_dags(show_details=False))
            )
        )
        zones = reads.create_task(_or_none(partial(read_zones, link.cluster)))
        members = reads.create_task(_or_none(link.read_members))
    # Now it is known whether the target may be asked as a member. Its side comes before the
    # cluster's: both DAGs move, and the cluster's decides what may be done.
    who = info.result()
    local: Dag | str | None = str(who)
    host: HostInfo | None = None
    if not isinstance(who, str):
        async with side_by_side() as reads:
            own = reads.create_task(_or_words(partial(read_local_dag, link, dags)))
            machine = reads.create_task(_or_none(target.read_host_info))
        local, host = own.result(), machine.result()
    dag = await ask(lambda agent: agent.read_dag(dag_id))
    listed = members.result()
    return Case(
        dag=dag,
        target=str(target.address),
        info=who,
        status=status.result(),
        local=local,
        host=host,
        unfinished=unfinished.result(),
        zones=seen[0] if (seen := zones.result()) else None,
        members=listed.agent_info if listed else None,
    )


def error_of(
    dag: Dag, diagnosis: Diagnosis | None, cluster: str | ClusterSpec, *, told: bool = False
) -> ObscaleError | None:
    """Give the error a DAG's end stands for, with the diagnosis in it; None where it is done.

    Args:
        dag: As it ended.
        diagnosis: Of this end; None where it could not be made.
        cluster: How a command names the cluster, or the cluster written out; for the next command.
        told: Whether the reader has the choices before them already.
    """
    found = f". Diagnosis [{diagnosis.cause}]: {diagnosis.title}" if diagnosis else ""
    hint = next_step(diagnosis, cluster) if diagnosis else ""
    if dag.is_undone:
        return DagRolledBackError(
            f"DAG {dag.id} ended SUCCEED with operator ROLLBACK: the scale-out was undone, "
            f"nothing was added{found}",
            hint or "obscale plan, then apply again once the reason is known",
        )
    if dag.is_failed:
        failure = failure_of(dag)
        # Read around it, a diagnosis may know a reason the DAG itself has lost.
        reason = diagnosis.reason if diagnosis and diagnosis.reason else failure.reason
        return DagFailedError(
            f"DAG {dag.id} failed at stage {failure.stage}/{failure.max_stage} "
            f"{failure.node!r} on {failure.agent}: {reason}{found}",
            hint or "mend the cause, then retry or roll back the DAG; it keeps the cluster's lock",
            () if told else _consequences(diagnosis),
        )
    return None


def consequence_lines(diagnosis: Diagnosis) -> tuple[str, ...]:
    """Say each choice in one line: what it does, what it destroys, where it leads nowhere."""
    lines = []
    for choice in diagnosis.choices:
        if choice.dead_end:
            lines.append(f"{choice.operator} is a dead end: {choice.dead_end}")
            continue
        marks = ["recommended"] if choice.operator is diagnosis.recommended else []
        marks.append("safe" if choice.safe else "may destroy data of others")
        lines.append(
            f"{choice.operator} ({', '.join(marks)}): {choice.does}; destroys: {choice.destroys}"
        )
    return tuple(lines)


def _consequences(diagnosis: Diagnosis | None) -> tuple[str, ...]:
    if diagnosis is None:
        return ()
    return tuple(
        line
        for line, choice in zip(consequence_lines(diagnosis), diagnosis.choices, strict=True)
        if choice.operator is not Remedy.HAND_OVER
    )


def next_step(diagnosis: Diagnosis, cluster: str | ClusterSpec) -> str:
    """Give what to do and the command that does it, where there is one."""
    return f"{diagnosis.advice}. {_command(diagnosis, cluster)}".removesuffix(". ")


def _command(diagnosis: Diagnosis, cluster: str | ClusterSpec) -> str:
    named = shlex.quote(command_name(cluster))
    flags = {Remedy.RETRY: "--retry", Remedy.ROLLBACK: "--roll-back"}
    safe = [
        flags[choice.operator]
        for choice in diagnosis.choices
        if choice.safe and choice.operator in flags
    ]
    if not safe:
        return "The DAG keeps the cluster's lock" if diagnosis.choice(Remedy.RETRY) else ""
    command = f"obscale recover {named} {diagnosis.dag_id}"
    # Of two choices neither is written: as it stands it asks which, and can be pasted whole.
    return f"{command} {safe[0]}" if len(safe) == 1 else command


async def _or_none(read: Callable[[], Awaitable[T]]) -> T | None:
    try:
        return await read()
    except AgentError:
        return None


async def _or_words(read: Callable[[], Awaitable[T]]) -> T | str:
    try:
        return await read()
    except AgentError as error:
        return str(error)
