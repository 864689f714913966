"""Tests that no command prints a secret or writes one into a file."""

import sys

from obscale.sandbox import Fault


def test_no_command_tells_a_secret(open_world, write, run_here, server_url, canaries, capsys):
    """Commands × hits = 0: their output, and the files they were told to write."""
    world = open_world(Fault.fail_stage(7))
    limits = {"steady_seconds": 0.2, "poll_seconds": 0.1}
    request = write(world.request() | {"time_limits": limits})
    target = "{ip}:{port}".format(**world.ready["spares"][0])
    agents = [f"{a['ip']}:{a['port']}" for a in world.ready["clusters"][0]["agents"]]
    endpoints = [word for agent in agents for word in ("--endpoint", agent)]
    obd = write(obd_file_of(world.ready, *canaries), "obd.yaml")
    plan, page, facts = (request.with_name(name) for name in ("plan.json", "run.md", "run.json"))
    commands = {
        "connect": (0, "connect", "told-east", *endpoints, "--password-env", "OBSCALE_TEST_ROOT"),
        "connect, wrong password": (
            *(3, "connect", "told-west", *endpoints),
            *("--password-env", "PATH"),
        ),
        "plan": (0, "plan", request),
        "plan --out": (0, "plan", request, "--json", "--out", plan),
        "suggest": (
            *(0, "suggest", target, "--zone", "zone1"),
            *("--cluster", "told-east", "--agent-password-env", "OBSCALE_TEST_AGENT"),
        ),
        "plan --from-obd": (
            *(1, "plan", "--from-obd", obd, "--cluster", "told-east"),
            *("--out-request", request.with_name("of-obd.yaml")),
        ),
        "plan --from-obd, no name": (2, "plan", "--from-obd", obd, "--json"),
        "plan, OBD's file": (2, "plan", obd),
        "apply, failed": (1, "apply", plan, "--yes"),
        "recover": (2, "recover", "told-east", "--json"),
        "evidence": (0, "evidence", target, "--out", page),
        "evidence --json": (0, "evidence", target, "--json", "--out", facts),
        "recover --retry": (0, "recover", request, "--retry", "--yes"),
        "watch": (0, "watch", request),
        "apply, verified": (0, "apply", request, "--yes", "--json"),
        "verify": (0, "verify", request, "--json"),
    }

    ended = {
        name: (code, run_here(*map(str, words), PREFECT_API_URL=server_url))
        for name, (code, *words) in commands.items()
    }

    places = {name: each.out + each.err for name, (_, each) in ended.items()}
    kept = (plan, page, facts, request.with_name("of-obd.yaml"))
    places |= {path.name: path.read_text() for path in kept}
    hits = {name: sum(map(text.count, canaries)) for name, text in places.items()}
    rows = [f"{len(text):>10,}  {hits[name]:>4}  {name}" for name, text in places.items()]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(["characters  hits  told by", *rows]) + "\n")
    for name, (code, each) in ended.items():
        assert each.code == code, f"{name}: {each.code}\n{each.out}{each.err}"
    assert target in places["run.md"] + places["run.json"] + places["plan.json"]
    assert all(text for name, text in places.items() if not name.startswith("evidence"))
    assert sum(hits.values()) == 0


def obd_file_of(ready, root, other):
    """OBD's file of a cluster and its first spare, with passwords in clear text."""
    part = {"servers": [], "global": {"root_password": root, "proxyro_password": other}}
    first_spare = ready["spares"][0] | {"zone": "zone1"}
    for number, agent in enumerate([*ready["clusters"][0]["agents"], first_spare]):
        name = f"server{number}"
        part["servers"].append({"name": name, "ip": agent["ip"]})
        part[name] = {"zone": agent["zone"], "obshell_port": agent["port"]}
    return {"user": {"username": "admin", "password": other}, "oceanbase-ce": part}
