"""Add one observer to one cluster, and prove that it joined."""

from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from obscale.order import Order
from obscale.report import ScaleOutReport
from obscale.rules.asked import (
    AgentInfoSpec,
    ClusterSpec,
    NodeSpec,
    OverrideSpec,
    Profile,
    SecretName,
)
from obscale.rules.recovery import OnFailure
from obscale.settings import DEFAULT_PATIENCE, Patience
from obscale.spec import checked, checked_overrides
from tasks.preflight import preflight
from tasks.recover import carry_through
from tasks.story import reported
from tasks.submit import submit
from tasks.verify import verify


def run_name() -> str:
    """Name the run after what it does, e.g. `scale-out 10.0.0.4 to zone2 of prod-east`."""
    asked = flow_run.parameters
    agent, cluster = asked.get("agentInfo"), asked.get("cluster")
    ip = agent["ip"] if isinstance(agent, dict) else getattr(agent, "ip", "?")
    name = cluster if isinstance(cluster, str) else getattr(cluster, "name", None)
    return f"scale-out {ip} to {asked.get('zone')} of {name or 'a cluster'}"


@flow(name="scale-out", flow_run_name=run_name, retries=0, persist_result=False)
async def scale_out(
    cluster: Annotated[
        str | ClusterSpec,
        Field(
            title="Cluster",
            description="Name of a stored connection, or the connection written out.",
            examples=["prod-east"],
        ),
    ],
    agentInfo: Annotated[
        AgentInfoSpec,
        Field(title="Target agent", description="Address of the obshell agent that is to join."),
    ],
    zone: Annotated[
        str, Field(title="Zone", description="Zone the node joins.", examples=["zone2"])
    ],
    obConfigs: Annotated[
        dict[str, str],
        Field(
            title="Observer configuration",
            description="Start options of the observer; values are text, sizes carry a unit.",
            examples=[{"mysql_port": "2881", "rpc_port": "2882", "memory_limit": "16G"}],
        ),
    ],
    targetAgentPassword: Annotated[
        SecretName | None,
        Field(
            title="Password of the target agent",
            description="Only the name of the secret; needed where the agent has a password.",
        ),
    ] = None,
    profile: Annotated[
        Profile,
        Field(title="Profile", description="How strictly findings are weighed: prod or lab."),
    ] = "prod",
    allow_new_zone: Annotated[
        bool,
        Field(
            title="Allow a new zone",
            description="Create the zone if the cluster has none so named.",
        ),
    ] = False,
    overrides: Annotated[
        tuple[OverrideSpec, ...],
        Field(
            title="Overrides",
            description="Findings that are accepted, each for a reason and until a day.",
        ),
    ] = (),
    on_failure: Annotated[
        OnFailure,
        Field(
            title="When the DAG fails",
            description="hold: leave it to a person. retry: up to 3 times, only where the "
            "diagnosis calls it safe. roll-back: only where it is safe; it deletes what obshell "
            "made on the target. ask: pause and let a person choose among what is safe.",
        ),
    ] = "hold",
    patience: Annotated[
        Patience, Field(title="Patience", description="Time limits of the run.")
    ] = DEFAULT_PATIENCE,
) -> ScaleOutReport:
    """Add one observer to one cluster through obshell, and prove that it joined.

    Preflight reads cluster and target and stops the run before anything is touched; submit looks
    for a scale-out of this target and begins one only if there is none; poll follows the DAG,
    and where it fails, recover does what `on_failure` says; verify proves the node from the
    cluster's own view. Running it again is safe.
    """
    node = NodeSpec(
        agentInfo=agentInfo, zone=zone, obConfigs=obConfigs, targetAgentPassword=targetAgentPassword
    )
    order = Order(
        cluster=cluster,
        node=checked(node),
        batch=(node,),
        profile=profile,
        allow_new_zone=allow_new_zone,
        overrides=checked_overrides(overrides),
        patience=patience,
        on_failure=on_failure,
    )
    async with reported(order) as story:
        before = await preflight(order)
        submitted = await submit(order, before.look())
        dag = await carry_through(order, submitted)
        await verify(order, dag, before)
    return story.report()
