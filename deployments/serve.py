"""`python -m obscale.deployments.serve`: one process, no worker, for UI, schedules and API."""

import os
from typing import Any, cast

from obscale.cli.exits import end_with
from obscale.cli.local_prefect import require_prefect, settle
from obscale.errors import PrefectUnreachableError

# Its runs would want the same port as itself, and crash.
os.environ["PREFECT_CLIENT_METRICS_ENABLED"] = "false"
settle(quiet=False)

from prefect import Flow, serve  # noqa: E402 - after settings
from prefect.deployments.runner import RunnerDeployment  # noqa: E402
from prefect.types.entrypoint import EntrypointType  # noqa: E402

from obscale import __version__  # noqa: E402
from obscale.flows.batch import batch  # noqa: E402
from obscale.flows.batch_worker import batch_part  # noqa: E402
from obscale.flows.plan import plan  # noqa: E402
from obscale.flows.recover import recover  # noqa: E402
from obscale.flows.remove import remove  # noqa: E402
from obscale.flows.replace import replace  # noqa: E402
from obscale.flows.scale_out import scale_out  # noqa: E402
from obscale.flows.use import use  # noqa: E402
from obscale.flows.verify import verify  # noqa: E402
from obscale.flows.watch import watch  # noqa: E402

TAGS = ["obscale", "oceanbase"]


def offered(
    flow: Flow[..., Any], description: str, *more_tags: str, by_hand: bool = True
) -> RunnerDeployment:
    """Give what is offered of a flow; by hand: people fill in its form."""
    deployment = flow.to_deployment(
        # As those of prefect.yaml: its list shows the names alone.
        name=f"{flow.name}-served",
        description=description,
        tags=[*TAGS, *more_tags],
        version=__version__,
        # Whatever a batch has accepted, from the command line too, its runs on workers take.
        enforce_parameter_schema=by_hand,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    # Prefect's own words say that it may be a coroutine; outside of an event loop it is none.
    return cast("RunnerDeployment", deployment)


def main() -> None:
    """Serve the flows, each as `FLOW-served`, until Ctrl-C. Exit 3: Prefect does not answer."""
    try:
        require_prefect(to_record=True)
    except PrefectUnreachableError as error:
        end_with(error)
    serve(
        offered(scale_out, "Add one observer to an OceanBase cluster, and prove that it joined."),
        offered(batch, "Add many nodes to many clusters; again does what is missing.", "batch"),
        offered(
            batch_part,
            "One cluster's rows of a dispatched batch, which starts it.",
            "batch",
            by_hand=False,
        ),
        offered(plan, "Say what would go wrong with one scale-out; touch nothing.", "read-only"),
        offered(verify, "Prove one node from cluster and node; submit nothing.", "read-only"),
        offered(watch, "Follow a scale-out and prove its node; change nothing.", "read-only"),
        offered(
            recover,
            "Retry a failed scale-out, or roll it back, which deletes; only as the form says.",
        ),
        offered(remove, "Take one observer, or a whole zone, out, and prove that it is gone."),
        offered(
            replace, "Add a node in the place of a dead one, prove it, then remove the dead one."
        ),
        offered(use, "Give one tenant another number of units, and prove that it has them."),
    )


if __name__ == "__main__":
    main()
