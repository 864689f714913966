"""Searches a team's database and logs for secrets after all other tests.

Comes last of all, see conftest.py.
"""

import json
import sys
from base64 import b64encode

import pytest

from tests.e2e import backing
from tests.e2e.asked import QUICK, SAMPLE, ended_as, start_run
from tests.e2e.conftest import AUTH, ROOT_PASSWORD


@pytest.mark.usefixtures("workers")
def test_neither_the_database_nor_a_log_holds_a_secret(
    deployed, compose, database, logs, clusters, connect, capsys
):
    """Places searched × hits = 0, in every table of PostgreSQL and what every process wrote."""
    opened = clusters()
    connect("left-east", opened)
    spare = opened.ready["spares"][0]
    asked = {
        "cluster": "left-east",
        "agentInfo": {"ip": spare["ip"], "port": spare["port"]},
        "zone": "zone2",
        "obConfigs": SAMPLE,
        "time_limits": QUICK,
    }
    runs = [
        start_run(deployed, "scale-out/scale-out-workers", asked),
        start_run(deployed, "scale-out/scale-out-workers", asked | {"cluster": "no-such"}),
    ]
    for run, name in zip(runs, ("Completed", "BadRequest"), strict=True):
        ended_as(deployed, run, name)
    secrets = [
        *(ROOT_PASSWORD, AUTH.partition(":")[2], backing.POSTGRES_PASSWORD),
        compose.services["server"]["environment"]["PREFECT_SERVER_ENCRYPTION_KEY"],
    ]
    forms = [
        form for each in secrets for form in (each, b64encode(each.encode()).decode().rstrip("="))
    ]

    places = {"PostgreSQL, all tables": backing.dump(database)}
    places |= {path.name: path.read_text(errors="replace") for path in sorted(logs.glob("*.log"))}
    places["blocks as the API shows them"] = json.dumps(
        deployed.api("POST", "/block_documents/filter", json={})
    )

    hits = {name: sum(map(text.count, forms)) for name, text in places.items()}
    rows = [f"{len(text):>10,}  {hits[name]:>4}  {name}" for name, text in places.items()]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(["characters  hits  place searched", *rows]) + "\n")
    assert {"server.log", "services.log", "worker-a.log", "worker-b.log"} <= set(places)
    assert f"target:{spare['ip']}:{spare['port']}" in places["PostgreSQL, all tables"]
    assert "left-east" in places["blocks as the API shows them"]
    assert "of left-east" in "".join(places[f"worker-{name}.log"] for name in "ab")
    assert sum(hits.values()) == 0
