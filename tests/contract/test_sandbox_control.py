"""Tests of the control port: faults played and history read, from loopback only."""

import asyncio
import socket

import httpx
import pytest

from obscale.sandbox import ScaledClock, World, default_config, serve

LONGEST_SECONDS = 10


@pytest.fixture
async def desk():
    """A served world and a client of its control endpoint."""
    world = World(default_config().model_copy(update={"port": 0}), clock=ScaledClock(speed=30))
    async with serve(world) as door:
        base = door.ready["control"]
        async with httpx.AsyncClient(
            base_url=base, trust_env=False, timeout=LONGEST_SECONDS
        ) as http:
            http.door, http.world = door, world
            yield http


def agent_url(desk, path="info"):
    """Where the entry agent answers."""
    entry = desk.door.ready["clusters"][0]["agents"][0]
    return f"http://{entry['ip']}:{entry['port']}/api/v1/{path}"


async def test_a_card_played_over_http_is_drawn_and_shows_so(desk):
    """Undrawn before, drawn after, and gone with DELETE."""
    played = await desk.post("/faults", json={"card": "panic", "to": "info"})
    before = (await desk.get("/faults")).json()
    answer = await desk.get(agent_url(desk))
    after = (await desk.get("/faults")).json()
    removed = await desk.delete("/faults")
    empty = (await desk.get("/faults")).json()

    card = {"card": "panic", "to": "info"}
    assert (played.status_code, played.json()) == (201, {"played": [card | {"drawn": 0}]})
    assert answer.status_code == 500
    assert before["undrawn"] == [card | {"drawn": 0}]
    assert before["drawn"] == after["undrawn"] == []
    assert after["drawn"] == after["played"] == [card | {"drawn": 1}]
    assert (removed.json(), empty["played"]) == ({"removed": 1}, [])


async def test_a_list_in_yaml_is_played_in_its_order(desk):
    """As it stands below `faults:` in a description; state cards act at once."""
    spare = desk.door.ready["spares"][0]
    name = f"{spare['ip']}:{spare['port']}"
    text = f"- {{card: fail_stage, stage: 5}}\n- {{card: agent_down, target: '{name}'}}\n"

    played = await desk.post("/faults", content=text)

    assert played.status_code == 201
    assert [card["card"] for card in played.json()["played"]] == ["fail_stage", "agent_down"]
    assert [card["drawn"] for card in played.json()["played"]] == [0, 1]
    assert desk.world.agent(name).down


@pytest.mark.parametrize(
    ("body", "field", "wrong", "write"),
    [
        ("{card: fail_stage}", "stage", "needs 'stage'", "{card: fail_stage, stage: 5}"),
        ("{card: fail_stage, stage: 12}", "stage", "12 does not fit", "less than or equal to 11"),
        ("{card: explode}", "card", "'explode' does not fit", "'fail_stage'"),
        ("{stage: 3}", "card", "it is missing", "Field required"),
        ("{card: panic, colour: red}", "colour", "no such field", "one of card, target, phase"),
        ("{card: panic, seconds: 3}", "seconds", "takes no 'seconds'", "only cluster, operation"),
        ("{card: agent_down, target: '9.9.9.9:1'}", "target", "no agent '9.9.9.9:1'", "127.0.1.1:"),
        ("{card: tenant_task, seconds: 1, cluster: x}", "cluster", "no cluster 'x'", "obcluster"),
        ("[{card: observer_dies}, {card: fail_stage}]", "1.stage", "needs 'stage'", "stage: 5"),
        ("[{card: observer_dies}, 7]", "1.card", "7 is no card", "{card: fail_stage, stage: 5}"),
        ("", "card", "None is no card", "one card, e.g."),
        ("{card: [", "body", "neither JSON nor YAML", "or a list of cards"),
        (b"\xff\xfe", "body", "no UTF-8 text", "one card"),
    ],
)
async def test_a_bad_card_is_refused_whole(desk, body, field, wrong, write):
    """400 that names the field, what is wrong and what to write; no card of the list is played."""
    answer = await desk.post("/faults", content=body)

    assert answer.status_code == 400, answer.text
    said = answer.json()
    assert said["field"] == field
    assert wrong in said["wrong"]
    assert write in said["write"]
    assert said["error"] == f"{said['field']}: {said['wrong']}; write {said['write']}"
    assert desk.world.hand.played == []


async def test_a_body_without_end_is_cut_off(desk):
    """413 above a mebibyte."""
    answer = await desk.post("/faults", content=b"#" * (1 << 21))

    assert answer.status_code == 413


async def test_requests_and_dags_can_be_asked_for(desk):
    """The log of the agents' requests, and how many DAGs of each name there are."""
    await desk.get(agent_url(desk, "time"))
    await desk.post("/faults", json={"card": "tenant_task", "seconds": 500})

    requests = (await desk.get("/requests")).json()["requests"]
    dags = (await desk.get("/dags")).json()

    assert [(each["method"], each["target"], each["status"]) for each in requests] == [
        ("GET", "/api/v1/time", 200)
    ]
    assert dags["clusters"] == [{"name": "obcluster", "id": 1, "dags": {"Modify tenant": 1}}]
    first, *others = dags["agents"].values()
    assert first["Initialize cluster"] == 1
    assert [each["Join to master"] for each in others] == [1, 1]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1", "", "127.0.0.1.x"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_another_host_than_loopback_is_refused(desk, host, method):
    """403 for a name that DNS could point at loopback; nothing is played or shown."""
    await desk.post("/faults", json={"card": "observer_dies"})

    answer = await desk.request(
        method, "/faults", headers={"Host": host}, content='{"card": "observer_dies"}'
    )

    assert (answer.status_code, answer.json()["field"]) == (403, "Host")
    assert len(desk.world.hand.played) == 1


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:1", "https://{host}", "http://localhost", ""],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_page_of_another_origin_is_refused(desk, origin, method):
    """403 for what a browser sends for a page that is not this door's own; nothing is played."""
    await desk.post("/faults", json={"card": "observer_dies"})
    host = httpx.URL(desk.door.ready["control"]).netloc.decode()

    answer = await desk.request(
        method,
        "/faults",
        headers={"Origin": origin.format(host=host), "Content-Type": "text/plain"},
        content='{"card": "observer_dies"}',
    )

    assert (answer.status_code, answer.json()["field"]) == (403, "Origin")
    assert len(desk.world.hand.played) == 1


async def test_its_own_origin_is_served(desk):
    """As a browser sends it for this door's own address."""
    own = desk.door.ready["control"]

    assert (await desk.get("/dags", headers={"Origin": own})).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[" * 1_000_000, "nested too deeply"),
        ('{"a":' * 150_000, "nested too deeply"),
        ("- " * 400_000, "nested too deeply"),
        ("a: &a [x]\nb: [*a, *a]", "aliases"),
        ("{card: panic, seconds: " + "9" * 5000 + "}", "neither JSON nor YAML"),
        ("{card: 2001-99-99}", "neither JSON nor YAML"),
        ("{card: !!python/object:os.system x}", "neither JSON nor YAML"),
        ("{[a]: b}", "neither JSON nor YAML"),
    ],
    ids=["brackets", "mappings", "dashes", "aliases", "long number", "no day", "tag", "key"],
)
async def test_what_no_card_needs_is_refused_at_once(desk, body, said):
    """400, not minutes of parsing or a traceback, while the agents go on answering."""
    async with asyncio.timeout(LONGEST_SECONDS):
        answer = await desk.post("/faults", content=body)

    assert answer.status_code == 400, answer.text
    assert said in answer.json()["wrong"]
    assert len(answer.text) < 1000


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"])
async def test_loopback_by_any_name_is_served(desk, host):
    """Names that mean this machine, with a port or without."""
    assert (await desk.get("/dags", headers={"Host": host})).status_code == 200


async def test_it_listens_on_loopback_alone_and_ends_with_the_world():
    """The port is the operating system's choice, and closed once the world is left."""
    world = World(default_config().model_copy(update={"port": 0}), clock=ScaledClock())
    async with serve(world) as door:
        url = httpx.URL(door.ready["control"])
        with socket.create_connection((url.host, url.port), timeout=LONGEST_SECONDS) as held:
            assert held.getpeername()[0] == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(url.host, url.port)


async def test_unknown_paths_and_methods_say_so(desk):
    """404 and 405 of an ordinary web server."""
    assert (await desk.get("/")).status_code == 404
    assert (await desk.put("/faults")).status_code == 405
