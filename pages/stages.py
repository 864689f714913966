"""Where a scale-out usually stands when a stage fails, to say what a remedy would destroy there."""

from dataclasses import dataclass
from typing import Any, Final

from obscale.agent.models import AgentInfo, Dag
from obscale.recovery.case import Case
from obscale.recovery.consequences import Choice, weigh_retry, weigh_rollback
from obscale.scale_out_dag import (
    ADD_AGENT,
    ADD_SERVER,
    CHECK_FINISHED,
    CHECK_ZONE,
    CREATE_LOCAL,
    LOCAL_SCALE_OUT,
    SCALE_OUT,
    START,
    WAIT_DEPLOY,
    WAIT_READY,
    WAIT_START,
    WORKDIR,
)

_CLUSTER: Final = (
    *("Integrate server config", CREATE_LOCAL, WAIT_READY, WAIT_DEPLOY, WAIT_START),
    *(CHECK_ZONE, ADD_SERVER, ADD_AGENT, CHECK_FINISHED),
)
_TARGET: Final = (
    *("Be scaling agent", "Start preparations", WORKDIR, "Start preparations", START),
    *("Watch cluster scale_out dag", "Sync from observer"),
)
_HOME: Final = "/home/admin/oceanbase"
_MADE: Final = (f"mkdir data_dir: {_HOME}/store", f"mkdir redo_dir: {_HOME}/store")
"""Lines of a target whose store this scale-out has made."""


@dataclass(frozen=True)
class Stage:
    """A stage at which the cluster's DAG failed, and how far the target's own had come.

    Args:
        number: Of the stage.
        own: Stage and state of the target's own DAG; None: it has none yet.
        target: The same in words.
        logs: What the making of directories said.
    """

    number: int
    own: tuple[int, str] | None
    target: str
    logs: tuple[str, ...] = _MADE

    @property
    def where(self) -> str:
        """The stage by number and title."""
        return f"{self.number} {_CLUSTER[self.number - 1]}"


STAGES: Final = (
    Stage(1, None, "was not called yet"),
    Stage(2, None, "was called in vain"),
    Stage(3, (2, "FAILED"), "waits for the cluster's DAG"),
    Stage(4, (3, "FAILED"), "failed to make its directories, after <home>/store"),
    Stage(
        *(4, (3, "FAILED"), "failed because a directory was not empty"),
        logs=(f"Directory '{_HOME}/store' is not empty",),
    ),
    Stage(5, (5, "FAILED"), "failed to start the observer"),
    Stage(6, (6, "RUNNING"), "has started the observer"),
    Stage(7, (6, "RUNNING"), "has started the observer"),
    Stage(8, (6, "RUNNING"), "has started the observer"),
    Stage(9, (7, "RUNNING"), "is about to become a member"),
)


def told_at(stage: Stage) -> tuple[str, str]:
    """Say what RETRY and ROLLBACK would destroy where this stage failed."""
    case = _case(stage)
    return _told(weigh_retry(case)), _told(weigh_rollback(case))


def _told(choice: Choice) -> str:
    if choice.dead_end:
        return f"a dead end: {choice.dead_end}"
    return choice.destroys.replace(_HOME, "<home>") + (
        "; may be others'" if choice.needs_acknowledgement else ""
    )


def _case(stage: Stage) -> Case:
    cluster = _dag(SCALE_OUT, _CLUSTER, stage.number, "FAILED", {})
    own = None
    if stage.own is not None:
        number, state = stage.own
        own = _dag(LOCAL_SCALE_OUT, _TARGET, number, state, {3: stage.logs})
    return Case(
        dag=cluster,
        target="the target",
        info=AgentInfo.model_validate(
            {"ip": "10.0.0.4", "port": 2886, "identity": "SCALING OUT", "homePath": _HOME}
        ),
        local=own,
        unfinished=(cluster,),
    )


def _dag(
    name: str, titles: tuple[str, ...], stage: int, state: str, logs: dict[int, tuple[str, ...]]
) -> Dag:
    """Make a DAG that came to a stage and stands there."""

    def node(number: int, title: str) -> dict[str, Any]:
        at = "SUCCEED" if number < stage else state if number == stage else "PENDING"
        known = {"state": at, "operator": "RUN"}
        sub_task = {
            **known,
            "execute_agent": {"ip": "10.0.0.1", "port": 2886},
            "task_logs": list(logs.get(number, ())) if number <= stage else [],
        }
        return {"name": title, **known, "sub_tasks": [sub_task]}

    return Dag.model_validate(
        {
            "id": "17",
            "dag_id": 7,
            "name": name,
            "stage": stage,
            "max_stage": len(titles),
            "state": state,
            "operator": "RUN",
            "additional_data": {"main_dag_id": "17"},
            "nodes": [node(number, title) for number, title in enumerate(titles, start=1)],
        }
    )
