"""Rules that warn of what obshell does not show, by hints it does show.

Without such evidence these rules do not apply; a person looks, by the checklist.
"""

import re
from typing import Final

from obscale.agent.models import Dag
from obscale.preflight.facts import Facts
from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
)
from obscale.preflight.host_facts import host_of
from obscale.preflight.rule import BLOCK, INFO, rule
from obscale.preflight.rules.host import peer_hosts
from obscale.preflight.rules.target import SERVES, way_out_of_remains
from obscale.reading import CLUSTER_FACTS_MISSING, Unread

UNSEEN: Final = "obshell does not show it: the checklist asks"
_NO_ROUTE = re.compile(r"dial tcp|connection refused|i/o timeout|no route to host")
_PLAIN_CPUS: Final = re.compile(r"QEMU Virtual CPU|Common KVM processor", re.IGNORECASE)
"""Virtual CPU models `qemu64` and `kvm64`, which hide AVX from the guest whatever the host has.

Source: QEMU target/i386/cpu.c.
"""


@rule(
    "agent-reachable-from-cluster",
    "the cluster's agents reach the target too",
    prod=INFO,
    lab=INFO,
    otherwise="POST",
    source="ob/agent/executor/ob/scale_out.go, 4.5.0.0: the handler asks the target itself",
)
def agent_reachable_from_cluster(facts: Facts) -> Verdict:
    """We reach it from here, which says nothing of there; a failed attempt before does."""
    last = facts.cluster.last_dag
    if isinstance(last, Dag) and (said := _unreached(last, facts.node.address)):
        return fires(
            f"DAG {last.id} did not reach it: {said}",
            "a way from every member",
            "open the way between the agents first",
        )
    if facts.cluster.is_on_loopback():
        return passes("all agents are on this host")
    return not_applicable(UNSEEN)


def _unreached(dag: Dag, target: str) -> str:
    """What a DAG logged of not reaching the target; empty where it did not."""
    logs = (log for node in dag.nodes for task in node.sub_tasks for log in task.task_logs)
    return next((log for log in logs if target in log and _NO_ROUTE.search(log)), "")


@rule(
    "target-home-clean",
    "nothing lies in the target's home",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 4; SILENT where data_dir points elsewhere",
    ground="A",
    source="ob/agent/executor/ob/deploy.go and destroy.go, 4.5.0.0",
)
def target_home_clean(facts: Facts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """A running observer, or a cluster the agent believes to be in, shows that it is not."""
    status, listed = facts.target.status, facts.target.ob_info
    if isinstance(status, Unread):
        return unknown(status, "an empty home")
    if isinstance(listed, Unread):
        return unknown(listed, "an empty home")
    if status.ob_state:
        measured = f"obState {status.ob_state}: an observer lives there"
        return blocks(measured, "empty", way_out_of_remains(facts))
    others = [row.address for row in listed.agent_info if row.address != facts.node.address]
    if cluster := listed.obcluster_info.name:
        return blocks(f"it believes to be in cluster {cluster}", "empty", SERVES)
    if others:
        return blocks(f"it lists other agents: {', '.join(others)}", "empty", SERVES)
    if isinstance(facts.target.last_dag, Dag):
        dag = facts.target.last_dag
        return notes(
            f"{dag.name} ({dag.id}) {dag.state.value} was here before",
            "empty",
            "look below its home for what is left",
        )
    return not_applicable(UNSEEN)


@rule(
    "ob-edition",
    "all observers are of one edition",
    prod=INFO,
    lab=INFO,
    otherwise="stage 7 or RUNTIME",
    source="obshell GET /obcluster/statistics; a spare does not tell its edition",
)
def ob_edition(facts: Facts) -> Verdict:
    """Editions mixed within the cluster are seen; the target's own is not."""
    statistics = facts.cluster.statistics
    if isinstance(statistics, Unread):
        return unknown(Unread(statistics.reason, statistics.supported, CLUSTER_FACTS_MISSING))
    editions = sorted({row.type for row in statistics.instances if row.type})
    if len(editions) > 1:
        return fires(
            f"the cluster runs {' and '.join(editions)}", "one edition", "see which one is meant"
        )
    return not_applicable(f"the cluster runs {', '.join(editions) or '?'}; {UNSEEN}")


@rule(
    "cpu-instructions",
    "the CPU has what the observer was built for",
    prod=INFO,
    lab=INFO,
    otherwise="stage 5, it crashes",
    source="OceanBase Deployer: AVX on x86, atomics on ARM; obshell tells the model's name only",
)
def cpu_instructions(facts: Facts) -> Verdict:
    """The model of a machine on which an observer runs will do; a plain virtual one may not."""
    host, peers = host_of(facts), peer_hosts(facts)
    if isinstance(host, Unread):
        return unknown(host)
    model = host.cpu_info.model_name.strip()
    if _PLAIN_CPUS.search(model):
        return fires(f"{model}: hides AVX", "AVX", "give the virtual machine its host's CPU model")
    if isinstance(peers, Unread):
        return unknown(peers)
    alike = [ip for ip, peer in peers.items() if model and peer.cpu_info.model_name == model]
    if alike:
        return passes(f"{model}, as {alike[0]} where an observer runs")
    return not_applicable(UNSEEN)


RULES: Final = (agent_reachable_from_cluster, target_home_clean, ob_edition, cpu_instructions)
