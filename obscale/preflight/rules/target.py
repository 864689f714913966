"""Rules about the target's agent: there, free, and the one that is meant.

Sources: obshell ob/agent/api/info_handler.go, ob/agent/executor/ob/scale_out.go, 4.5.0.0.
"""

from datetime import datetime
from ipaddress import ip_address
from typing import Final

from obscale.agent.models import AgentInfo, Identity
from obscale.cleaning import clean_by_hand, way_out_of
from obscale.preflight.facts import (
    AGENT_AUTH,
    AGENT_REACHABLE,
    HOST_FACTS_MISSING,
    Facts,
    TargetProgress,
)
from obscale.preflight.finding import (
    Verdict,
    blocks,
    fires,
    not_applicable,
    notes,
    passes,
    unknown,
    warns,
)
from obscale.preflight.rule import BLOCK, INFO, WARN, rule
from obscale.reading import Unread

RUNNING: Final = 2
"""`state` of an agent that runs. Source: ob/agent/constant/agent.go, 4.5.0.0."""
SERVES: Final = "it serves a cluster: leave its observer alone, and choose another agent"
"""Never advise to stop, or to empty, what may hold the only replica of something."""
JOINS: Final = "finish or roll back the scale-out it is in first"
YOUNG_SECONDS: Final = 60.0
"""An agent younger than this may be in a restart loop; its age is told."""
NANOSECONDS: Final = 1_000_000_000


@rule(
    AGENT_REACHABLE,
    "the target agent answers",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    only_new=False,
    source="ob/agent/executor/ob/scale_out.go, 4.5.0.0: the handler asks the same",
)
def agent_reachable(facts: Facts) -> Verdict:
    """Asked from here, not from the cluster; that route stands in the checklist."""
    info = facts.target.info
    if not isinstance(info, Unread):
        return passes(f"{facts.target.scheme}://{facts.target.address} answers")
    if facts.progress() is TargetProgress.UNDER_WAY:
        return warns(
            info.reason, "an answer", "its scale-out is under way; start obshell there again"
        )
    return blocks(info.reason, "an answer", "start obshell on the target, or open its port")


@rule(
    "agent-tls-scheme",
    "target and cluster speak one scheme",
    prod=WARN,
    lab=INFO,
    worst=(BLOCK, BLOCK),
    otherwise="POST, or stage 2 before 4.4.2.0",
    ground="A",
    softens=True,
    source="ob/agent/lib/http, 4.5.0.0: an agent calls others by its own scheme",
)
def agent_tls_scheme(facts: Facts) -> Verdict:
    """Plain http on both sides works, but shows the traffic."""
    if isinstance(facts.target.info, Unread):
        return unknown(facts.target.info)
    if facts.target.scheme != facts.cluster.scheme:
        return blocks(
            f"target {facts.target.scheme}, cluster {facts.cluster.scheme}",
            "one scheme",
            "give the spare the cluster's certificates, or none",
        )
    if facts.target.scheme == "http":
        if facts.cluster.is_on_loopback():
            return passes("plain http that never leaves this host")
        return fires("plain http on both sides", "https", "give all agents certificates")
    return passes("https on both sides")


@rule(
    "agent-identity-single",
    "the target belongs to no cluster",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="POST",
    ground="A",
    only_new=False,
    source="ob/agent/executor/ob/scale_out.go, 4.5.0.0",
)
def agent_identity_single(facts: Facts) -> Verdict:
    """SINGLE, or on its way into this very cluster."""
    info = facts.target.info
    if isinstance(info, Unread):
        return unknown(info, "SINGLE")
    if info.identity is Identity.SINGLE:
        return passes("SINGLE", "SINGLE")
    match facts.progress():
        case TargetProgress.MEMBER:
            return notes(
                f"already a member, in zone {facts.node.zone}", "SINGLE", "nothing to submit"
            )
        case TargetProgress.UNDER_WAY:
            dag = facts.own_dag()
            return notes(
                f"{info.identity.value}; DAG {dag.id if dag else '?'} adds it",
                "SINGLE",
                "it will be adopted",
            )
        case _:
            return blocks(_misfit(facts, info), "SINGLE", _way_out(facts, info))


def _misfit(facts: Facts, info: AgentInfo) -> str:
    said = f"{info.identity.value} in zone {info.zone}" if info.zone else info.identity.value
    if facts.is_listed():
        return f"{said} of this cluster"
    if isinstance(facts.cluster.ob_info, Unread):
        return said
    claim = f"it says it is {said}, but the cluster does not list it"
    own = facts.target.ob_info
    if info.identity is Identity.SCALING_OUT:
        return f"{claim}, and no scale-out of the cluster names it"
    if isinstance(own, Unread) or not own.obcluster_info.name:
        return claim
    told = own.obcluster_info
    return f"{claim}: it names the cluster {told.name}/{told.id}"


def _way_out(facts: Facts, info: AgentInfo) -> str:
    if info.identity is Identity.CLUSTER_AGENT and facts.is_listed():
        return "ask for the zone it is in, or choose an agent that belongs to no cluster"
    if info.identity is Identity.CLUSTER_AGENT:
        return (
            "see whether the address is the one that is meant; choose an agent that belongs to no "
            "cluster; or scale it in there, and plan again"
        )
    if info.identity is Identity.SCALING_OUT:
        return (
            "finish or roll back the scale-out it is in, which its own local DAG names; "
            "obscale watch tells what is safe"
        )
    return way_out_of(info)


@rule(
    "agent-address-matches",
    "the agent knows itself by the address it is asked at",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 7, after a full start",
    ground="A",
    source="ob/agent/cmd, 4.5.0.0: without --ip an agent falls back to loopback",
)
def agent_address_matches(facts: Facts) -> Verdict:
    """The observer binds to the agent's own address; the cluster adds the one of the request."""
    info, asked = facts.target.info, facts.node.agentInfo
    if isinstance(info, Unread):
        return unknown(info, facts.node.address)
    remedy = f"restart the target's obshell with --ip {asked.ip}"
    if not _same_ip(info.ip, asked.ip) or info.port != asked.port:
        return blocks(f"the agent calls itself {info.address}", facts.node.address, remedy)
    own = ip_address(info.ip)
    if own.is_loopback and not facts.cluster.is_on_loopback():
        return blocks(f"{info.ip} is a loopback address", "an address the cluster reaches", remedy)
    if own.is_unspecified or own.is_link_local:
        return blocks(f"{info.ip} is no address of a host", "an address of the host", remedy)
    return passes(info.address, facts.node.address)


def _same_ip(one: str, other: str) -> bool:
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False


@rule(
    "agent-not-obproxy",
    "the target is no agent of an obproxy",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 3 to 5",
    ground="A",
    source="ob/agent/meta/agent.go, 4.2.6.0",
)
def agent_not_obproxy(facts: Facts) -> Verdict:
    """Agents before 4.2.6.0 know no obproxy."""
    info = facts.target.info
    if isinstance(info, Unread):
        return unknown(info)
    if info.is_obproxy_agent is None:
        return not_applicable("this version knows no obproxy")
    if info.is_obproxy_agent:
        return blocks("it manages an obproxy", "an agent without one", "choose another agent")
    return passes("it manages no obproxy")


@rule(
    "agent-running",
    "the target agent is up and stays up",
    prod=BLOCK,
    lab=WARN,
    otherwise="stage 2",
    ground="B",
    source="ob/agent/constant/agent.go, 4.5.0.0",
)
def agent_running(facts: Facts) -> Verdict:
    """State 2. A young agent is only told: its age alone proves no restart loop."""
    status, info = facts.target.status, facts.target.info
    if isinstance(status, Unread):
        return unknown(status, "state 2 (running)")
    if status.state != RUNNING:
        return fires(f"state {status.state}", "state 2 (running)", "wait for the agent")
    told = () if isinstance(info, Unread) else (info.start_at, status.start_at)
    if all(told) and len(set(told)) > 1:
        return fires(
            "it started anew between two questions", "an agent that stays up", "see why it restarts"
        )
    if not isinstance(info, Unread) and info.start_at and facts.now:
        age = _seconds_since(info.start_at, facts, facts.now)
        if 0 <= age < YOUNG_SECONDS:
            return passes(f"state 2 (running), for {age:.0f} s only", "state 2 (running)")
    return passes("state 2 (running)", "state 2 (running)")


def _seconds_since(start_at_nanoseconds: int, facts: Facts, now: datetime) -> float:
    clock = facts.target.clock
    offset = 0.0 if isinstance(clock, Unread) else clock.offset_seconds
    return now.timestamp() + offset - start_at_nanoseconds / NANOSECONDS


@rule(
    HOST_FACTS_MISSING,
    "the target's machine can be looked at",
    prod=WARN,
    lab=INFO,
    otherwise="",
    source="obshell GET /agent/host-info, 4.3.0.0",
)
def host_facts_missing(facts: Facts) -> Verdict:
    """One finding for all rules that need the machine."""
    host = facts.target.host
    if not isinstance(host, Unread):
        return passes("memory, disks, CPU and limits are told")
    upgrade = "" if host.supported else "upgrade the target's obshell to 4.3.0.0 or newer, or "
    return unknown(
        host,
        "GET /agent/host-info",
        f"{upgrade}look on the host: grep -E 'MemTotal|MemAvailable' /proc/meminfo; df -B1; nproc; "
        "ulimit -n -u",
    )


@rule(
    AGENT_AUTH,
    "the target takes our credentials",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 2, with the lock held",
    ground="A",
    source="ob/agent/secure/auth.go, 4.2.6.0 to 4.5.0.0",
)
def agent_auth(facts: Facts) -> Verdict:  # noqa: PLR0911 - one return for each answer
    """The handler does not try the password; a signed read does."""
    info, tried = facts.target.info, facts.target.signed_read
    if isinstance(info, Unread):
        return unknown(info, "a signed read")
    if info.security and not facts.has_target_password:
        return blocks(
            "the target has an agent password, none was given",
            "targetAgentPassword",
            "name its secret: targetAgentPassword: {env: NAME}",
        )
    if isinstance(tried, Unread):
        return unknown(tried, "a signed read")
    if tried.startswith("withheld"):
        return blocks(
            f"it says it is SINGLE, and wants what only a member gets: {tried}",
            "a signed read without the password of root@sys",
            "see whether the address is the one that is meant",
        )
    if tried.startswith("unusable"):
        return blocks(
            tried, "a signed read", "see whether it is obshell, and the one that is meant"
        )
    if tried != "ok":
        return blocks(tried, "a signed read", "correct the agent password")
    if not info.security and facts.has_target_password:
        return notes("a password was given, the target has none", "none", "it is ignored")
    if info.security is None:
        return not_applicable("this version knows no agent password")
    return passes("a signed read was answered")


@rule(
    "agent-not-busy",
    "no local DAG holds the target",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 2, with the lock held",
    ground="A",
    only_new=False,
    source="ob/agent/service/task/status_maintainer.go, 4.5.0.0",
)
def agent_not_busy(facts: Facts) -> Verdict:
    """Its own lock, which says nothing of the cluster's."""
    status, dags = facts.target.status, facts.target.unfinished
    if isinstance(dags, Unread):
        return unknown(dags, "nothing unfinished")
    if isinstance(status, Unread):
        return unknown(status, "not under maintenance")
    names = ", ".join(f"{dag.name} ({dag.id}) {dag.state.value}" for dag in dags)
    if not names and not status.under_maintenance:
        return passes("nothing unfinished")
    measured = names or "under maintenance"
    if facts.progress() is not TargetProgress.NEW:
        return notes(measured, "nothing unfinished", "part of its own scale-out")
    return blocks(
        measured, "nothing unfinished", "have that DAG retried or rolled back on the target first"
    )


@rule(
    "target-observer-not-running",
    "no observer runs at the target's home",
    prod=BLOCK,
    lab=BLOCK,
    otherwise="stage 4 or 5",
    ground="A",
    source="ob/agent/lib/http/state.go, 4.5.0.0",
)
def target_observer_not_running(facts: Facts) -> Verdict:
    """ObState 0 no process, 1 process only, 2 restricted, 3 connectable."""
    status = facts.target.status
    if isinstance(status, Unread):
        return unknown(status, "obState 0")
    if status.ob_state:
        return blocks(
            f"obState {status.ob_state}: an observer already runs there",
            "obState 0",
            way_out_of_remains(facts),
        )
    return passes("obState 0", "obState 0")


def way_out_of_remains(facts: Facts) -> str:
    """Say what to do about an observer, or what one has left, at the target's home."""
    info = facts.target.info
    # A fresh agent may stand beside an observer of the cluster's: the address decides.
    serves = any(server.ip == facts.node.agentInfo.ip for _, server in facts.cluster.servers())
    if serves or facts.serves_a_cluster():
        return SERVES
    if not isinstance(info, Unread) and info.identity is Identity.SCALING_OUT:
        return JOINS
    home = "" if isinstance(info, Unread) else info.home_path
    return f"is it the wrong host? Else {clean_by_hand(home or '<home>')}"


RULES: Final = (
    agent_reachable,
    agent_tls_scheme,
    agent_identity_single,
    agent_address_matches,
    agent_not_obproxy,
    agent_running,
    host_facts_missing,
    agent_auth,
    agent_not_busy,
    target_observer_not_running,
)
