"""Finds the deployment that mends how a run ended, and the address of its form, filled in.

Only addresses are made here: whoever opens one sees the form, and nothing runs before it is sent.
What destroys something is never filled in: a rollback is chosen in the form, by a person.
"""

import json
from typing import Any, Final
from urllib.parse import urlencode

from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.utilities.urls import url_for
from pydantic import BaseModel, ConfigDict

from obscale.errors import DagFailedError, VerifyError
from obscale.recovery.consequences import Remedy
from obscale.recovery.diagnosis import Diagnosis
from obscale.report.report import PrefectForm, ScaleOutReport
from obscale.request.removal import Removal
from obscale.request.replacement import Replacement
from obscale.request.scale_out import ScaleOut
from obscale.tasks.runtime.baselines import AWAY, bounded, told
from obscale.tasks.runtime.run_log import run_logger

RECOVER: Final = "recover"
WATCH: Final = "watch"
VERIFY: Final = "verify"
"""The flows that look after a scale-out, by their names in Prefect."""
USUAL: Final = ("workers", "served")
"""Of deployments/prefect.yaml, and of deployments/serve.py: how their names end."""
_OPERATES: Final = frozenset({Remedy.RETRY, Remedy.ROLLBACK})


class Mend(BaseModel):
    """A flow that mends how a run ended, and what its form holds already."""

    model_config = ConfigDict(frozen=True)

    flow: str
    does: str
    parameters: dict[str, Any]


def mend_of(report: ScaleOutReport, order: ScaleOut | Removal) -> Mend | None:
    """Decide which flow mends an end; None: none does.

    Args:
        report: Of the end.
        order: What was asked.
    """
    if isinstance(order, Removal):
        # Its forms are those of a scale-out; a removal is mended by the commands of its report.
        return None
    left = report.remains
    if report.error_kind == DagFailedError.kind and report.diagnosis:
        return _recovery(report.diagnosis, order)
    if report.error_kind == VerifyError.kind:
        node = {"agentInfo", "zone", "obConfigs", "targetAgentPassword"}
        asked = order.node.model_dump(mode="json", include=node, exclude_none=True)
        does = "proves the node again, and changes nothing"
        return Mend(flow=VERIFY, does=does, parameters={"cluster": cluster_of(order), **asked})
    if left and left.was_sent and left.dag_id and not left.is_failed:
        does = "follows the DAG to its end and proves the node; it changes nothing"
        return Mend(flow=WATCH, does=does, parameters=_named(order, left.dag_id))
    return None


def _recovery(found: Diagnosis, order: ScaleOut) -> Mend | None:
    ways = [each for each in found.choices if each.operator in _OPERATES and not each.dead_end]
    if not ways:
        return None
    parameters = _named(order, found.dag_id)
    retry = found.choice(Remedy.RETRY)
    if retry and retry.safe and found.recommended is not Remedy.ROLLBACK:
        parameters["decision"] = "retry"
        does = "retries it, follows it and proves the node: send the form, or choose another way"
    else:
        does = "asks what shall be done, does that, and follows it to its end"
    return Mend(flow=RECOVER, does=does, parameters=parameters)


def _named(order: ScaleOut, dag_id: str) -> dict[str, Any]:
    named: dict[str, Any] = {"cluster": cluster_of(order), "dag": dag_id}
    if password := order.node.targetAgentPassword:
        named["targetAgentPassword"] = password.model_dump(mode="json", exclude_none=True)
    return named


def cluster_of(order: ScaleOut | Removal | Replacement) -> Any:
    """Give the cluster as a parameter names it; a password in it is named only."""
    if isinstance(order.cluster, str):
        return order.cluster
    return order.cluster.model_dump(mode="json", exclude_defaults=True)


def names_of(mend: Mend, own: str = "") -> list[str]:
    """Name the deployments of a flow, best first: that beside a run's own one, then the usual ones.

    Args:
        mend: Whose flow is wanted.
        own: How the name of the run's own deployment ends; empty: it has none.
    """
    ends = dict.fromkeys(filter(None, (own, *USUAL)))
    return [f"{mend.flow}/{mend.flow}-{end}" for end in ends]


def filled_in(address: str, parameters: dict[str, Any]) -> str:
    """Give the address of a deployment's form with parameters, as both of Prefect's UIs read it.

    The older one decodes it once more than it was encoded: no per cent sign may stand in the JSON.

    Args:
        address: Of the deployment's page.
        parameters: To be filled in.
    """
    text = json.dumps(parameters).replace("%", "\\u0025")
    return f"{address}/run?{urlencode({'parameters': text})}"


async def form_of(report: ScaleOutReport, order: ScaleOut | Removal) -> PrefectForm | None:
    """Find what mends an end from Prefect's UI; None where nothing does, or nobody has deployed it.

    Args:
        report: Of the end.
        order: What was asked.
    """
    mend = mend_of(report, order)
    if mend is None:
        return None
    try:
        found = await bounded(lambda: _deployment(mend))
    except AWAY as error:
        run_logger().warning("form.not_read reason=%r", told(error))
        return None
    if found is None:
        return None
    name, deployment = found
    page = url_for("deployment", deployment.id)
    url = filled_in(page, mend.parameters) if page else ""
    return PrefectForm(deployment=name, does=mend.does, url=url)


async def _deployment(mend: Mend) -> tuple[str, DeploymentResponse] | None:
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    async with get_client() as client:
        own = ""
        if run and run.deployment_id and context and context.flow:
            name = (await client.read_deployment(run.deployment_id)).name
            own = _end(name, context.flow.name)
        for name in names_of(mend, own):
            try:
                return name, await client.read_deployment_by_name(name)
            except ObjectNotFound:
                continue
    return None


def _end(name: str, flow: str) -> str:
    """Give how a deployment's name ends behind its flow's; empty: it does not begin with it."""
    return name.removeprefix(f"{flow}-") if name.startswith(f"{flow}-") else ""
