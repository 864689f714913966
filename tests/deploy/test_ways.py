"""Tests of each way to start a run, from a checkout and from a wheel."""

import json
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from obscale import __version__
from obscale.sandbox import Fault
from tests.cli.conftest import told
from tests.deploy.conftest import AUTH, ROOT, ROOT_PASSWORD, end, run_in, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="session")
def trigger(client_environment, tmp_path_factory):
    """Give a function that runs one of the two trigger examples."""
    elsewhere = tmp_path_factory.mktemp("portal")

    def run(bin_folder: Path, request: Path, *further: str, shell: bool = False):
        python = bin_folder / "python"
        words = [python, "-m", "obscale.deployments.trigger"]
        if shell:
            folder = run_in(
                elsewhere, [python, "-m", "obscale.deployments.where"], {}
            ).stdout.strip()
            words = ["sh", f"{folder}/trigger.sh"]
        return run_in(elsewhere, [*words, request, *further], client_environment)

    return run


def runs_of(api, deployment: str) -> list[dict]:
    """All runs of a deployment."""
    found = api.get(f"/deployments/name/{deployment}").raise_for_status().json()
    asked = {"deployments": {"id": {"any_": [found["id"]]}}}
    runs: list[dict] = api.post("/flow_runs/filter", json=asked).raise_for_status().json()
    return runs


def once_free(ask) -> httpx.Response:
    """Ask again while the server's SQLite is busy with others, as Prefect's own client does."""

    def answer() -> httpx.Response | None:
        told: httpx.Response = ask()
        return None if told.status_code == httpx.codes.SERVICE_UNAVAILABLE else told

    told: httpx.Response = wait_until(answer, "Prefect's database is free")
    return told.raise_for_status()


def ended(api, run_id: str) -> str | None:
    """The type of a run's state once it has ended."""
    kind: str = api.get(f"/flow_runs/{run_id}").raise_for_status().json()["state"]["type"]
    return kind if kind in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None


@pytest.fixture(scope="session")
def workers(bin_folder, compose, client_environment, start):
    """Deployments and one worker, started as compose.yaml starts them; gives their programs."""
    path = f"{bin_folder}:{client_environment['PATH']}"
    # The console scripts of a wheel's environment belong to the packages that were installed there.
    deploy = compose.command("deploy", bin_folder)
    script = deploy[-1].replace("prefect ", f"{bin_folder}/python -m prefect ")
    done = run_in(Path("/"), [*deploy[:-1], script], client_environment | {"PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    worker = start(compose.command("worker", bin_folder), client_environment)
    yield bin_folder
    end(worker)


@pytest.fixture(scope="session")
def served(bin_folder, client_environment, start, api):
    """The process of `python -m obscale.deployments.serve`; gives its programs."""
    process = start(
        [str(bin_folder / "python"), "-m", "obscale.deployments.serve"], client_environment
    )

    def is_offered() -> bool:
        assert process.poll() is None, "serve ended"
        found = api.get("/deployments/name/plan/plan-served")
        return found.is_success and found.json()["status"] == "READY"

    wait_until(is_offered, "plan/plan-served is offered")
    yield bin_folder
    end(process)


def test_one_served_process_runs_what_the_api_asks_for(served, trigger, write, clusters):
    """Way 1: `python -m obscale.deployments.serve` alone carries out a scale-out, verified."""
    done = trigger(served, write(clusters.request()), "scale-out/scale-out-served")

    assert done.returncode == 0, done.stdout + done.stderr
    assert clusters.posts == 1


def test_a_worker_runs_a_scale_out_and_the_same_request_again_is_the_same_run(
    workers, trigger, write, clusters, api
):
    """Ways 2, 3 and 4: deployed by prefect.yaml, started over the API, sent twice, run once."""
    request = write(clusters.request())

    first = trigger(workers, request, "scale-out/scale-out-workers")
    again = trigger(workers, request, "scale-out/scale-out-workers")

    assert first.returncode == again.returncode == 0, first.stdout + first.stderr
    assert first.stdout == again.stdout
    assert clusters.posts == 1
    [run] = [r for r in runs_of(api, "scale-out/scale-out-workers") if r["id"] in first.stdout]
    assert run["name"].startswith("scale-out 127.0.")
    assert {"obscale", "oceanbase"} <= set(run["tags"])
    assert ROOT_PASSWORD not in json.dumps(run)


def test_a_new_ticket_is_a_new_run_and_still_no_second_scale_out(workers, trigger, write, clusters):
    """The node that has joined meanwhile is found and proved; nothing is posted again."""
    request = write(clusters.request())

    first = trigger(workers, request, "scale-out/scale-out-workers", "ticket-1")
    again = trigger(workers, request, "scale-out/scale-out-workers", "ticket-2", shell=True)

    assert first.returncode == again.returncode == 0, first.stdout + again.stdout + again.stderr
    assert first.stdout.splitlines()[0] != again.stdout.splitlines()[0]
    assert clusters.posts == 1


def test_a_batch_is_started_like_any_other_run(workers, trigger, write, clusters):
    """Two nodes of one cluster join one after the other, started by a portal's one request."""
    one = clusters.request()
    nodes = [
        {key: clusters.request(spare)[key] for key in ("agentInfo", "obConfigs")}
        | {"zone": f"zone{spare + 1}"}
        for spare in (0, 1)
    ]
    asked = {
        "clusters": [{"cluster": one["cluster"], "nodes": nodes}],
        "time_limits": one["time_limits"],
    }

    done = trigger(workers, write(asked), "batch/batch-workers")

    assert done.returncode == 0, done.stdout + done.stderr
    assert clusters.posts == 2


def test_a_dispatched_batch_and_its_parts_are_runs_of_one_worker(
    workers, trigger, write, clusters, api
):
    """Its clusters go to the deployment beside its own, without being told its name."""
    one = clusters.request()
    node = {key: one[key] for key in ("agentInfo", "obConfigs", "zone")}
    asked = {
        "clusters": [{"cluster": one["cluster"], "nodes": [node]}],
        "policies": {"dispatch": "deployment"},
        "time_limits": one["time_limits"],
    }
    before = {run["id"] for run in runs_of(api, "batch-part/batch-part-workers")}

    done = trigger(workers, write(asked), "batch/batch-workers")

    assert done.returncode == 0, done.stdout + done.stderr
    assert clusters.posts == 1
    [part] = [
        run for run in runs_of(api, "batch-part/batch-part-workers") if run["id"] not in before
    ]
    assert part["parent_task_run_id"]
    assert part["name"].startswith("rows of ")
    assert ROOT_PASSWORD not in json.dumps(part)


def test_a_batch_begun_meanwhile_waits_for_the_one_before_it(workers, clusters, api):
    """A schedule that comes round while its last batch runs: one after the other, both end."""
    found = api.get("/deployments/name/batch/batch-workers").raise_for_status().json()
    one = clusters.request()
    bodies = [
        {
            "clusters": [
                {
                    "cluster": one["cluster"],
                    "nodes": [
                        {
                            "agentInfo": clusters.request(spare)["agentInfo"],
                            "obConfigs": one["obConfigs"],
                            "zone": "zone3",
                        }
                    ],
                }
            ],
            "time_limits": one["time_limits"],
        }
        for spare in (0, 1)
    ]

    first, second = (
        once_free(
            lambda body=body: api.post(
                f"/deployments/{found['id']}/create_flow_run", json={"parameters": body}
            )
        ).json()
        for body in bodies
    )
    states = {
        run["id"]: wait_until(lambda run=run: ended(api, run["id"]), "a batch has ended")
        for run in (first, second)
    }

    assert set(states.values()) == {"COMPLETED"}
    times = sorted(
        (run["start_time"], run["end_time"])
        for run in (api.get(f"/flow_runs/{run_id}").json() for run_id in states)
    )
    assert times[0][1] <= times[1][0]
    assert clusters.posts == 2


def test_curl_starts_a_plan_that_touches_nothing(workers, trigger, write, clusters):
    """The shell example starts the plan-only flow twice, as one run, and nothing is posted."""
    parameters = clusters.request()
    parameters.pop("time_limits")
    request = write(parameters)

    first = trigger(workers, request, "plan/plan-workers", shell=True)
    again = trigger(workers, request, "plan/plan-workers", shell=True)

    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.splitlines()[0] == again.stdout.splitlines()[0]
    assert "COMPLETED" in first.stdout
    assert clusters.posts == 0


def test_a_held_run_is_mended_by_the_deployment_its_message_links(
    workers, trigger, write, clusters, api
):
    """Failed DAG, Held, one run of recover with what the link has filled in: verified, one POST."""
    clusters.world.play(Fault.observer_dies())
    request = clusters.request()

    done = trigger(workers, write(request), "scale-out/scale-out-workers")
    run_id = done.stdout.splitlines()[0].rpartition("/")[2]

    def told() -> str | None:
        # It is Failed at first, then named, and its message tells more.
        state = api.get(f"/flow_runs/{run_id}").raise_for_status().json()["state"]
        return state["message"] if state["name"] == "Held" else None

    message = wait_until(told, "the state is named")
    link = next(word for word in message.split() if "/run?parameters=" in word)
    [filled] = parse_qs(urlsplit(link).query)["parameters"]
    quick = {"time_limits": request["time_limits"]}
    asked = json.loads(filled) | quick
    mended = trigger(workers, write(asked), "recover/recover-workers")
    proof = {key: request[key] for key in ("cluster", "agentInfo", "zone", "obConfigs")}
    proved = trigger(workers, write(proof | quick), "verify/verify-workers")
    newest = {"cluster": request["cluster"]}
    watched = trigger(workers, write(newest | quick), "watch/watch-workers")

    assert done.returncode == 1
    assert asked["decision"] == "retry"
    assert ROOT_PASSWORD not in filled
    for each in (mended, proved, watched):
        assert each.returncode == 0, each.stdout + each.stderr
    assert clusters.posts == 1
    found = api.get("/deployments/name/recover/recover-workers").raise_for_status().json()
    assert urlsplit(link).path == f"/deployments/deployment/{found['id']}/run"


def test_a_growth_is_taken_back_by_a_worker(workers, trigger, write, clusters):
    """Grown and removed by two deployments; what leaves is typed a second time."""
    request = clusters.request()
    leaving = {key: request[key] for key in ("cluster", "agentInfo", "zone", "time_limits")}
    leaving["profile"] = request.get("profile", "lab")

    grown = trigger(workers, write(request), "scale-out/scale-out-workers")
    wrong = trigger(workers, write(leaving | {"confirm": "10.9.9.9"}), "remove/remove-workers")
    right = leaving | {"confirm": request["agentInfo"]["ip"]}
    removed = trigger(workers, write(right), "remove/remove-workers")

    assert grown.returncode == 0, grown.stdout + grown.stderr
    assert wrong.returncode == 1, "something else was typed"
    assert removed.returncode == 0, removed.stdout + removed.stderr
    assert clusters.world.count_dags("Cluster scale in") == 1


def test_a_dead_node_is_replaced_by_a_worker(workers, trigger, write, clusters):
    """By the deployment, both halves confirmed beforehand; a living one is not."""
    request = clusters.request()
    (dead,) = [
        {"ip": each["ip"], "port": each["port"]}
        for each in clusters.ready["clusters"][0]["agents"]
        if each["zone"] == request["zone"]
    ]
    asked = request | {
        "dead": dead,
        "confirm": dead["ip"],
        "approval": "none",
        "profile": "lab",
    }

    alive = trigger(workers, write(asked), "replace/replace-workers")
    clusters.world.play(Fault.observer_down(f"{dead['ip']}:{dead['port']}"))
    done = trigger(workers, write(asked), "replace/replace-workers", "CHG-2")

    assert alive.returncode == 1, "it is alive"
    assert done.returncode == 0, done.stdout + done.stderr
    assert clusters.posts == 1
    assert clusters.world.count_dags("Cluster scale in") == 1


def test_a_tenants_units_are_proved_by_a_run_of_use(workers, trigger, write, clusters):
    """The number is stored already, so nothing is sent, and the tenant is steady."""
    request = clusters.request()
    limits = request["time_limits"] | {"steady_seconds": 1}
    asked = {"cluster": request["cluster"], "tenant": "app", "unit_num": 1, "time_limits": limits}

    done = trigger(workers, write(asked), "use/use-workers")

    assert done.returncode == 0, done.stdout + done.stderr
    assert clusters.posts == 0


def test_recover_without_a_decision_is_no_run(workers, write, clusters, api):
    """The form's own choice is needed: create_flow_run refuses a run that would have none."""
    found = api.get("/deployments/name/recover/recover-workers").raise_for_status().json()
    asked = {"cluster": "prod-east", "dag": "11"}

    answers = [
        api.post(f"/deployments/{found['id']}/create_flow_run", json={"parameters": asked | more})
        for more in ({}, {"decision": "pass"}, {"decision": "retry", "dag": "../agent"})
    ]

    assert [each.status_code for each in answers] == [409] * 3
    assert "decision" in answers[0].text
    assert not runs_of(api, "recover/recover-workers") or not clusters.world.requests


def test_a_blocked_plan_fails_with_what_blocks_it(workers, trigger, write, clusters):
    """A portal learns the first reason from the state's message, without opening the UI."""
    too_big = clusters.request(obConfigs={"memory_limit": "800G"})
    too_big.pop("time_limits")

    done = trigger(workers, write(too_big), "plan/plan-workers")

    assert done.returncode == 1
    assert "mem-fits-total" in done.stdout


def test_an_unknown_connection_ends_the_run_in_one_clear_line(workers, trigger, write, clusters):
    """A name nobody stored is told with the command that stores it; nothing is asked."""
    done = trigger(
        workers, write(clusters.request(cluster="no-such")), "scale-out/scale-out-workers"
    )

    assert done.returncode == 1
    assert "no connection is stored under the name 'no-such'" in done.stdout
    assert "obscale connect no-such" in done.stdout
    assert clusters.posts == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"profile": "production"}, "profile"),
        ({"zone": None}, "zone"),
        ({"agentInfo": {"ip": "10.0.0.4", "prot": 2886}}, "prot"),
        ({"obConfigs": {"memory_limit": 16}}, "memory_limit"),
        ({"zoen": "zone3"}, "zoen"),
    ],
    ids=["unknown word", "no zone", "extra key inside", "number for text", "extra key"],
)
def test_wrong_parameters_are_refused_before_a_run_exists(
    workers, trigger, write, clusters, api, changes, told
):
    """Exit 2 naming what is wrong, for both examples, and no run is made."""
    before = len(runs_of(api, "scale-out/scale-out-workers"))
    request = write(clusters.request(**changes))

    for shell in (False, True):
        done = trigger(workers, request, "scale-out/scale-out-workers", shell=shell)
        assert done.returncode == 2, done.stdout + done.stderr
        assert told in done.stderr

    assert len(runs_of(api, "scale-out/scale-out-workers")) == before


def test_an_unknown_parameter_ends_the_run_before_it_asks_anybody(workers, clusters, api):
    """Who goes past the examples gets a crashed run whose log says in one line what to do.

    So does a worker that is older than the deployment, whose flow has the parameter.
    """
    found = api.get("/deployments/name/scale-out/scale-out-workers").raise_for_status().json()
    asked = {"parameters": clusters.request(zoen="zone3")}

    run = once_free(
        lambda: api.post(f"/deployments/{found['id']}/create_flow_run", json=asked)
    ).json()
    state = wait_until(lambda: ended(api, run["id"]), "the run has ended")

    assert state == "CRASHED"
    assert not clusters.world.requests

    def told() -> list[str]:
        asked = {"logs": {"flow_run_id": {"any_": [run["id"]]}, "level": {"ge_": 40}}}
        lines = api.post("/logs/filter", json=asked).raise_for_status().json()
        return [line["message"] for line in lines if "nothing was touched" in line["message"]]

    [line] = wait_until(told, "the log of the run")
    assert "'zoen'" in line
    assert f"obscale {__version__}" in line
    assert "install that on the worker" in line
    assert "Traceback" not in line


def test_a_worker_older_than_the_deployment_refuses_the_run(
    workers, trigger, write, clusters, client_environment, tmp_path
):
    """A portal reads which obscale is where and what to install; no agent is asked."""
    deployed = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
    newer = [
        each | {"name": "newer", "version": "99.0.0", "schedules": []}
        for each in deployed["deployments"]
        if each["entrypoint"] == "obscale.flows.scale_out:scale_out"
    ]
    (tmp_path / "newer.yaml").write_text(yaml.safe_dump(deployed | {"deployments": newer}))
    deploy = [workers / "python", "-m", "prefect", "--no-prompt", "deploy", "--all"]
    made = run_in(tmp_path, [*deploy, "--prefect-file", "newer.yaml"], client_environment)
    assert made.returncode == 0, made.stdout + made.stderr

    done = trigger(workers, write(clusters.request()), "scale-out/newer")

    assert done.returncode == 1, done.stdout + done.stderr
    assert f"this worker has obscale {__version__}" in done.stdout
    assert "install obscale 99.0.0 on every worker" in done.stdout
    assert not clusters.world.requests


def test_a_portal_with_a_wrong_password_is_told_so(
    workers, trigger, write, clusters, client_environment, tmp_path
):
    """Status 401 is exit 3 for both examples; the password is not repeated."""
    wrong = client_environment | {"PREFECT_API_AUTH_STRING": "operator:canary-wrong"}
    request = write(clusters.request())
    folder = run_in(
        tmp_path, [workers / "python", "-m", "obscale.deployments.where"], {}
    ).stdout.strip()

    python = run_in(
        tmp_path, [workers / "python", "-m", "obscale.deployments.trigger", request], wrong
    )
    shell = run_in(tmp_path, ["sh", f"{folder}/trigger.sh", request], wrong)

    for done in (python, shell):
        assert done.returncode == 3
        assert "401" in done.stderr
        assert "canary-wrong" not in done.stdout + done.stderr


@pytest.mark.parametrize("module", ["serve", "automations"])
def test_without_a_server_it_is_told_so(client_environment, tmp_path, module):
    """One line and exit 3, as by every command."""
    nobody = client_environment | {"PREFECT_API_URL": "http://127.0.0.1:1/api"}

    done = run_in(tmp_path, [sys.executable, "-m", f"obscale.deployments.{module}"], nobody)

    assert (done.returncode, done.stdout) == (3, "")
    (line,) = told(done.stderr)
    assert line.startswith("obscale: Prefect's API does not answer")


def test_a_portal_without_a_server_is_told_so(workers, write, clusters, tmp_path):
    """A server that is down is exit 3, in the example's words or in curl's own."""
    nobody = {"PREFECT_API_URL": "http://127.0.0.1:1/api", "PATH": "/usr/bin:/bin"}
    request = write(clusters.request())
    folder = run_in(
        tmp_path, [workers / "python", "-m", "obscale.deployments.where"], {}
    ).stdout.strip()

    python = run_in(
        tmp_path, [workers / "python", "-m", "obscale.deployments.trigger", request], nobody
    )
    shell = run_in(tmp_path, ["sh", f"{folder}/trigger.sh", request], nobody)

    assert (python.returncode, "does not answer" in python.stderr) == (3, True)
    assert (shell.returncode, "127.0.0.1" in shell.stderr) == (3, True)


def test_deployments_say_what_they_are(workers, api):
    """Each has a description and tags, those with a form a schema that is enforced."""
    found = {
        name: api.get(f"/deployments/name/{name}").raise_for_status().json()
        for name in (
            "scale-out/scale-out-workers",
            "batch/batch-workers",
            "batch-part/batch-part-workers",
            "plan/plan-workers",
            "plan/plan-weekly-example",
            "verify/verify-workers",
            "watch/watch-workers",
            "recover/recover-workers",
            "remove/remove-workers",
            "replace/replace-workers",
        )
    }

    for each in found.values():
        assert each["description"]
        assert "obscale" in each["tags"]
        assert each["version"] == __version__
        # Prefect ends a run whose lease it cannot renew: paused for an answer, or server away.
        assert each["global_concurrency_limit"] is None
        assert not each["pull_steps"]
        assert each["entrypoint"].startswith("obscale.flows.")
    # A batch has checked what it hands to its runs on workers, and may know more than the schema.
    enforced = {name for name, each in found.items() if each["enforce_parameter_schema"]}
    assert set(found) - enforced == {"batch-part/batch-part-workers"}
    read_only = {name for name, each in found.items() if "read-only" in each["tags"]}
    assert {name.partition("/")[0] for name in read_only} == {"plan", "verify", "watch"}
    [weekly] = found["plan/plan-weekly-example"]["schedules"]
    assert (weekly["active"], weekly["schedule"]["timezone"]) == (False, "Asia/Shanghai")


def test_a_schedule_makes_runs_ahead(workers, api):
    """Prefect's scheduler works with the libraries installed here: with some it makes no run."""
    found = api.get("/deployments/name/plan/plan-workers").raise_for_status().json()
    yearly = {"active": True, "schedule": {"cron": "0 0 1 1 *", "timezone": "UTC"}}
    path = f"/deployments/{found['id']}/schedules"
    [made] = once_free(lambda: api.post(path, json=[yearly])).json()

    def ahead() -> list[dict]:
        return [run for run in runs_of(api, "plan/plan-workers") if "auto-scheduled" in run["tags"]]

    planned = wait_until(ahead, "a run of the schedule")
    once_free(lambda: api.delete(f"{path}/{made['id']}"))

    assert {run["state"]["type"] for run in planned} == {"SCHEDULED"}


def test_queues_say_how_many_runs_go_at_once(workers, api):
    """Each deployment has its queue and the queue its limit: one batch, the next one waits."""
    limits = {
        name: api.get(f"/work_pools/obscale/queues/{name}")
        .raise_for_status()
        .json()["concurrency_limit"]
        for name in ("scale-out", "batch", "batch-part", "plan", "verify", "watch", "recover")
    }

    # The batch itself is the limit of its parts: another one would have it wait for itself.
    assert limits == {
        "scale-out": 8,
        "batch": 1,
        "batch-part": None,
        "plan": 8,
        "verify": 8,
        "watch": 16,
        "recover": 8,
    }
    for name in limits:
        offered = api.get(f"/deployments/name/{name}/{name}-workers").raise_for_status().json()
        assert offered["work_queue_name"] == name


def test_the_secured_server_lets_nobody_in_without_its_password(api_url, workers):
    """Without credentials the API answers 401; the password is not its address's business."""
    assert httpx.post(f"{api_url}/flow_runs/filter", trust_env=False).status_code == 401
    assert AUTH not in api_url
