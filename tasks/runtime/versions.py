"""Refuses a run whose deployment was made by a newer obscale than this worker's."""

import re
from typing import Final

from prefect.context import FlowRunContext

from obscale import __version__
from obscale.errors import ObscaleError
from obscale.tasks.runtime.run_log import run_logger

_NUMBERS: Final = re.compile(r"\d+(\.\d+)+", re.ASCII)
"""What `deployments/prefect.yaml` writes; Prefect's own versions are checksums."""


def check_version(deployed: str | None, here: str = __version__) -> None:
    """Refuse what a newer obscale has offered: this one may not know what was asked.

    An older deployment is only told of: what it offers is known here.

    Args:
        deployed: Version of the deployment; anything but numbers says nothing.
        here: Version of the obscale that runs.

    Raises:
        ObscaleError: The deployment is newer; nothing was touched.
    """
    if not deployed or not _NUMBERS.fullmatch(deployed) or deployed == here:
        return
    if _numbers(deployed) > _numbers(here):
        raise ObscaleError(
            f"this worker has obscale {here}, and the deployment is of {deployed}; "
            "nothing was touched",
            f"install obscale {deployed} on every worker of the pool, then start the run again",
        )
    run_logger().warning(
        "run.older_deployment deployed=%s here=%s next='deploy again'", deployed, here
    )


def check_worker() -> None:
    """Hold the current flow run to the version of its deployment.

    Raises:
        ObscaleError: The deployment is newer than this worker's obscale.
    """
    context = FlowRunContext.get()
    if context and context.flow_run:
        check_version(context.flow_run.deployment_version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
