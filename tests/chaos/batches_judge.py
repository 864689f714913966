"""Judges a played batch by the world's own log, then by its report."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from obscale.agent.models import joined_address
from tests.chaos.batches_cases import CLUSTERS, FAILING, ROWS, TURNS, BatchCase
from tests.chaos.batches_play import BatchScene
from tests.chaos.kills_backstage import Run
from tests.chaos.kills_play import POST_PATH, SCALE_OUT

ON_ITS_WAY_SECONDS: Final = 2.0
"""A request that left in the last second of a window may arrive so much later."""
LEARNING_SECONDS: Final = 5.0
"""From a run's first look at a failed DAG to its last POST that nobody could hold back any more."""


@dataclass(frozen=True)
class Posted:
    """A POST scale_out as it reached a cluster: real time, and its place among all requests."""

    cluster: str
    at: float
    place: int
    status: int


async def judge(scene: BatchScene) -> None:
    """Say everything that makes a case red, and count what the table shows."""
    scene.world.sync()
    outcome = scene.outcome
    posts = list(_posts(scene))
    outcome.runs, outcome.posts = len(scene.runs), len(posts)
    outcome.wrong += _rows(scene)
    outcome.wrong += _clusters(scene, posts)
    outside = [post for post in posts if _is_outside(scene, post)]
    late = list(_after_a_stop(scene, posts))
    outcome.outside, outcome.after_stop = len(outside), len(late)
    outcome.wrong += [f"POST to {post.cluster} outside the window" for post in outside]
    outcome.wrong += [f"POST to {post.cluster} after a stop" for post in late]
    outcome.wrong += _canaries(scene, posts)
    last = scene.runs[-1] if scene.runs else None
    if last is None or not (report := last.ended().get("report")):
        said = f"ended {last.status}: {last.words()[-300:]!r}" if last else "was never started"
        outcome.wrong.append(f"the last run has no report; it {said}")
        return
    outcome.wrong += _report(scene, report)
    for row in report["rows"]:
        outcome.states[row["state"]] += 1
        outcome.hows[row["submitted_how"] or "nothing sent"] += 1
    ended = [run for run in scene.runs if run.ended()]
    pages = await scene.pages(report["key"])
    if pages < len(ended):
        outcome.wrong.append(f"{len(ended)} runs ended and left {pages} reports")
    outcome.wrong += _tracebacks(scene.runs)


def _posts(scene: BatchScene) -> Iterator[Posted]:
    owner = {agent.address: c.name for c in scene.world.clusters for agent in c.agents}
    for place, record in enumerate(scene.world.requests):
        if (record.method, record.target) == ("POST", POST_PATH):
            at = scene.world.clock.wall_at(record.at)
            yield Posted(owner[record.agent], at, place, record.status)


def most_of(case: BatchCase, cluster: int) -> tuple[int, int]:
    """How many DAGs a cluster has at least and at most in the end, by story.

    Args:
        case: Its story.
        cluster: From 0.
    """
    mine = case.cluster == cluster
    match case.story:
        case "a row fails":
            return (case.turn + 1,) * 2 if mine else (ROWS, ROWS)
        case "a row is blocked":
            return (0, 0) if mine else (ROWS, ROWS)
        case "all stops at one":
            return (case.turn + 1,) * 2 if mine else (0, ROWS)
        case "canary node fails":
            return (1, 1) if mine else (0, 1)
        case _:
            return ROWS, ROWS


def _rows(scene: BatchScene) -> Iterator[str]:
    """One DAG a row that the policies allow, none for any other, in an order that stays even."""
    for number, (cluster, targets) in enumerate(
        zip(scene.world.clusters, scene.targets, strict=True)
    ):
        dags = [dag for dag in cluster.dags if dag.name == SCALE_OUT]
        began = [(dag.facts["target"].ip, dag.facts["target"].port) for dag in dags]
        least, most = most_of(scene.outcome.case, number)
        planned = [targets[turn] for turn in TURNS[number]]
        for target in targets:
            count = began.count(target)
            scene.outcome.dags[count] += 1
            if count > 1:
                yield f"{joined_address(*target)} has {count} DAGs"
        if not least <= len(began) <= most or began != planned[: len(began)]:
            said = ", ".join(joined_address(*target) for target in began)
            yield f"{cluster.name} began {said or 'nothing'}, not {least} to {most} of its rows"
        for dag in dags:
            agent = dag.facts["target"]
            listed = sum(server.agent is agent for server in cluster.servers)
            if dag.state == "SUCCEED" and (listed, agent.identity) != (1, "CLUSTER AGENT"):
                yield f"{agent.address} is {agent.identity} and listed {listed} times"


def _clusters(scene: BatchScene, posts: list[Posted]) -> Iterator[str]:
    """Never two rows of one cluster at work, nor more clusters than the policy says."""
    kills = scene.outcome.kills
    for cluster in scene.world.clusters:
        mine = [post for post in posts if post.cluster == cluster.name]
        refused = [post for post in mine if post.status != 200]
        dags = [dag for dag in cluster.dags if dag.name == SCALE_OUT]
        if len(mine) - len(refused) != len(dags):
            yield f"{cluster.name}: {len(dags)} DAGs of {len(mine)} POSTs"
        # The POST of a run that was killed may arrive between the next one's look and POST.
        if len(refused) > kills:
            yield f"{cluster.name} refused {len(refused)} POSTs: two rows at once"
        accepted = [post.at for post in mine if post.status == 200]
        for dag, later in zip(dags, accepted[1:], strict=False):
            if dag.end_at > later:
                yield f"{cluster.name}: a row was posted while another one was at work"
    moments = sorted((at, +1) for at, _ in _spans(scene))
    moments += [(end, -1) for _, end in _spans(scene)]
    at_work = most = 0
    for _, step in sorted(moments):
        at_work += step
        most = max(most, at_work)
    if most > scene.policies.max_clusters_at_once:
        yield f"{most} clusters at once"


def _spans(scene: BatchScene) -> list[tuple[float, float]]:
    return [(dag.start_at, dag.end_at) for dag in scene.dags()]


def _is_outside(scene: BatchScene, post: Posted) -> bool:
    if scene.window is None:
        return False
    moments = (post.at, post.at - ON_ITS_WAY_SECONDS)
    return not any(scene.window.is_open(datetime.fromtimestamp(at, UTC)) for at in moments)


def _after_a_stop(scene: BatchScene, posts: list[Posted]) -> Iterator[Posted]:
    """POSTs that a failed DAG should have kept from being sent.

    In its own cluster none may follow. Where it stops everything: none of a run that found it
    FAILED, and none of the run that saw it fail, once that run could know.
    """
    case = scene.outcome.case
    failed = next((dag for dag in scene.dags() if dag.state == "FAILED"), None)
    if case.story not in FAILING or failed is None:
        return
    mine = scene.world.clusters[case.cluster].name
    stops_all = case.story != "a row fails"
    known = _known_at(scene, failed)
    for post in posts:
        if post.at <= failed.end_at:
            continue
        began = max(run.began_at for run in scene.runs if run.began_at <= post.place)
        stood = began < len(scene.world.requests) and _wall(scene, began) > failed.end_at
        if post.cluster == mine or (stops_all and (stood or post.at > known + LEARNING_SECONDS)):
            yield post


def _known_at(scene: BatchScene, dag: Any) -> float:
    """When somebody was first shown that DAG as FAILED."""
    path = f"/task/dag/{dag.generic_id()}"
    # Each cluster counts its DAGs from 1.
    agents = {agent.address for agent in dag.facts["cluster"].agents}
    shown = (
        _wall(scene, place)
        for place, record in enumerate(scene.world.requests)
        if path in record.target and record.agent in agents and record.status == 200
    )
    return next((at for at in shown if at >= dag.end_at), float("inf"))


def _wall(scene: BatchScene, place: int) -> float:
    return scene.world.clock.wall_at(scene.world.requests[place].at)


def _canaries(scene: BatchScene, posts: list[Posted]) -> Iterator[str]:
    """Nothing follows a canary that is not done."""
    by_cluster = {
        cluster.name: [post for post in posts if post.cluster == cluster.name]
        for cluster in scene.world.clusters
    }
    dags = [
        [dag for dag in cluster.dags if dag.name == SCALE_OUT] for cluster in scene.world.clusters
    ]
    match scene.policies.canary:
        case "node":
            tried = [mine[0] for mine in dags if mine]
            whole = len(tried) == CLUSTERS and all(dag.state == "SUCCEED" for dag in tried)
            proven = max(dag.end_at for dag in tried) if whole else float("inf")
            for name, mine in by_cluster.items():
                if any(post.at < proven for post in mine[1:]):
                    yield f"{name} got a second node before every canary was done"
        case "cluster":
            first, *others = by_cluster
            whole = len(dags[0]) == ROWS and all(dag.state == "SUCCEED" for dag in dags[0])
            proven = max(dag.end_at for dag in dags[0]) if whole else float("inf")
            for name in others:
                if any(post.at < proven for post in by_cluster[name]):
                    yield f"{name} began before {first} was whole"
        case _:
            return


def _report(scene: BatchScene, report: dict[str, Any]) -> Iterator[str]:
    """The last report says of every row what the world says."""
    done = {dag.facts["target"].address: dag.state for dag in scene.dags()}
    wrong = joined_address(*scene.wrong_row)
    blocked = {wrong} if scene.outcome.case.story == "a row is blocked" else set()
    for row in report["rows"]:
        target = row["target"]
        due = {"SUCCEED": "verified", "FAILED": "failed"}.get(
            done.get(target, ""), "blocked" if target in blocked else "skipped"
        )
        if row["state"] != due:
            yield f"{target} is told as {row['state']} ({row['why'][:200]}), not {due}"


def _tracebacks(runs: list[Run]) -> Iterator[str]:
    for run in runs:
        for line in run.our_tracebacks():
            yield f"run {run.number}: traceback: {line}"
