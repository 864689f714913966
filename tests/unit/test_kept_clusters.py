"""Tests of what one row leaves open for the next, and when it is opened anew."""

import time
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from obscale.agent.keys import KnownKeys
from obscale.agent.models import AgentInfo
from obscale.batch.connections import KEPT_SECONDS, ConnectionCache
from obscale.connect.connections import ClusterAccess
from obscale.errors import SpecError
from obscale.preflight.facts import ClusterFacts
from obscale.request.models import ClusterSpec, NodeSpec, SecretName
from obscale.request.scale_out import ScaleOut

AGENT = "10.0.0.1:2886"
INFO = {"ip": "10.0.0.9", "port": 2886, "identity": "SINGLE", "version": "4.5.0.0"}
SPEC = ClusterSpec(endpoints=(f"http://{AGENT}",), password=SecretName(env="OB_ROOT"))


class Store:
    """A secret_store of stored connections, any of which may be changed between two rows."""

    def __init__(self):
        self.connections = {name: _connection() for name in ("east", "west")}
        self.kept = []

    async def read_cluster(self, name):
        """Give what is stored now."""
        return self.connections[name]()

    async def read_block(self, name, field):
        """Refuse: no secret is stored."""
        raise SpecError(f"{field}: no stored secret is named {name!r}", "store it")

    async def keep_keys(self, name, learned, joined=()):
        """Note whose keys are kept."""
        self.kept.append((name, dict(learned)))


def _connection(*, password="old", pinned=None, unlisted="remember"):
    def made_anew():
        keys = KnownKeys(pinned or {}, unlisted)
        return ClusterAccess(SPEC, SecretStr(password), keys=keys)

    return made_anew


def order_for(cluster, **words):
    node = NodeSpec.model_validate({"agentInfo": {"ip": "10.0.0.9"}, "zone": "zone1", **words})
    return ScaleOut(cluster=cluster, node=node)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
async def clusters(store):
    async with ConnectionCache(store) as opened:
        yield opened


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, to be set forward."""
    told = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: told.seconds)
    return told


@pytest.fixture
def row(clusters):
    """Give a function that carries out a row of a cluster, and gives what it met."""

    async def carried_out(name="east", learns=None):
        async with clusters.link(name, order_for(name)) as (link, kept):
            met = SimpleNamespace(client=link.cluster, lasting=kept.lasting)
            kept.lasting = ClusterFacts(AGENT, "http")
            kept.cluster.known.keys.learned.update(learns or {})
        return met

    return carried_out


async def test_the_second_row_meets_what_the_first_has_opened_and_learned(row):
    """One client for both, and what lasts is at hand."""
    first, second = await row(), await row()

    assert second.client is first.client
    assert first.lasting is None
    assert second.lasting == ClusterFacts(AGENT, "http")


async def test_clusters_keep_to_themselves(row):
    """Another cluster's row meets nothing of it."""
    first, other = await row("east"), await row("west")

    assert other.client is not first.client
    assert other.lasting is None


@pytest.mark.parametrize(
    "change",
    [{"password": "new"}, {"pinned": {AGENT: "SHA256:x"}}, {"unlisted": "refuse"}],
    ids=lambda change: next(iter(change)),
)
async def test_a_changed_connection_counts_from_the_next_row_on(row, store, change):
    """Nothing that an old password or an old key has opened is used any more."""
    first = await row()
    store.connections["east"] = _connection(**change)

    second = await row()

    assert second.client is not first.client
    assert second.lasting is None


async def test_keys_learned_by_a_row_do_not_open_it_anew(row, store):
    """They are kept once, when the cluster is closed."""
    first = await row(learns={AGENT: "SHA256:y"})
    second = await row()

    assert second.client is first.client
    assert store.kept == []


async def test_what_was_learned_is_kept_at_the_end(row, store, clusters):
    """Closing a cluster hands its new keys to the secret_store."""
    await row(learns={AGENT: "SHA256:y"})

    await clusters.close_all_but()

    assert store.kept == [("east", {AGENT: "SHA256:y"})]


async def test_after_five_minutes_all_is_opened_anew(row, clock):
    """Its age counts from its first row on, however many came since."""
    first = await row()
    clock.seconds += KEPT_SECONDS - 1
    second = await row()
    clock.seconds += 1
    third = await row()

    assert second.client is first.client
    assert third.client is not first.client
    assert third.lasting is None


async def test_after_an_error_nothing_is_kept(row, clusters):
    """Whatever is the matter with it, the next row does not begin with it."""
    first = await row()
    with pytest.raises(ConnectionError):
        async with clusters.link("east", order_for("east")):
            raise ConnectionError

    second = await row()

    assert second.client is not first.client
    assert second.lasting is None


async def test_a_row_whose_password_is_missing_leaves_nothing_open(row, clusters):
    """A name that resolves to nothing is told; the row after it opens the cluster anew."""
    first = await row()
    order = order_for("east", targetAgentPassword={"block": "gone"})

    with pytest.raises(SpecError, match="gone"):
        async with clusters.link("east", order):
            pytest.fail("the row was begun")

    assert (await row()).client is not first.client


async def test_clusters_without_a_row_are_closed_and_others_not(row, clusters):
    """A batch closes what it is done with, and goes on with the rest."""
    east, west = await row("east"), await row("west")

    await clusters.close_all_but({"west"})

    assert (await row("east")).client is not east.client
    assert (await row("west")).client is west.client


async def test_the_first_row_meets_what_preflight_has_opened(row, clusters):
    """One client for the look and the row."""
    async with clusters.cluster("east", order_for("east")) as opened:
        pass

    assert (await row()).client is opened.client


async def test_a_preflight_that_failed_leaves_nothing_open(row, clusters):
    """What it met may be what was wrong."""
    with pytest.raises(SpecError):
        async with clusters.cluster("east", order_for("east")) as opened:
            raise SpecError("two clusters", "name one")

    assert (await row()).client is not opened.client


@pytest.mark.parametrize("had_password", [False, True])
async def test_what_is_learned_of_a_target_is_kept_unless_it_had_the_password(
    clusters, had_password
):
    """The next client begins without the password, so it learns by itself whom it meets."""
    order = order_for("east")
    async with clusters.link("east", order) as (link, kept):
        link.target._session.remember(AgentInfo.model_validate(INFO))
        if had_password:
            link.target.give_root_password(SecretStr("root"), None)

    assert (order.target in kept.cluster.newcomers) is not had_password
    async with clusters.link("east", order) as (link, _):
        assert (link.target._session._info is None) is had_password
