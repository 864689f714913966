"""Tests of batches that remove, replace and use: their files, order, words and questions."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from obscale.batch.confirm import check_confirmed, is_confirmed, question_of_batch, word_of
from obscale.batch.dispatch_rows import WorkerAssignment, kind_in
from obscale.batch.ledger import ledger_of
from obscale.batch.plan import plan_of
from obscale.batch.report import report_of
from obscale.batch.schedule import Row, RowState, decide_wave, next_of, order_of
from obscale.errors import PreflightError, SpecError
from obscale.events import HalfBegun
from obscale.preflight.facts import TargetProgress
from obscale.request.asked import KINDS, SPECS
from obscale.request.policies import BatchPolicies
from obscale.spec.batch import BatchSpec, checked_batch, is_batch_file, parse_batch, read_batch

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = Path()
REMOVALS = """
policies: {max_removals: 3}
profile: lab
clusters:
  - cluster: east
    remove: [{agentInfo: {ip: 10.0.0.4}, zone: zone2}, {agentInfo: {ip: 10.0.0.5}, zone: zone3}]
  - cluster: west
    remove: [{agentInfo: {ip: 10.1.0.4}, zone: zone2}]
"""
USES = """
clusters:
  - cluster: east
    use: [{tenant: app, unit_num: 2}, {tenant: web, unit_num: 3}]
"""
REPLACEMENTS = """
policies: {max_removals: 1}
clusters:
  - cluster: east
    replace:
      - dead: {agentInfo: {ip: 10.0.0.4}, zone: zone2}
        by: {agentInfo: {ip: 10.0.0.9}, zone: zone2}
"""
OF_KIND = {"remove": REMOVALS, "use": USES, "replace": REPLACEMENTS}


def parsed(text):
    """Read a batch."""
    return parse_batch(text, "batch.yaml", HERE)


def judged(text, *progress):
    """Give the ledger of a batch that preflight found nothing against."""
    ledger = ledger_of(parsed(text))
    zones = {"zone1": 2, "zone2": 2, "zone3": 2}
    ledger.sizes = {name: dict(zones) for name in ledger.by_cluster()}
    for entry, known in zip(ledger.entries, progress, strict=False):
        entry.progress = known
    return ledger


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("batch-of-removals.yaml", "remove"),
        ("batch-of-replacements.yaml", "replace"),
        ("batch-of-uses.yaml", "use"),
        ("batch-many-clusters.yaml", "nodes"),
    ],
)
def test_an_example_of_each_kind_is_read(name, kind):
    """As a batch; every row has an order."""
    path = EXAMPLES / name

    spec = read_batch(path)

    assert is_batch_file(path)
    assert spec.kind == kind
    assert {entry.kind for entry in ledger_of(spec).entries} == {kind}


def test_what_holds_for_all_is_inherited_and_limits_are_merged():
    """As for nodes."""
    spec = parsed(REMOVALS + "time_limits: {poll_seconds: 7}\n")

    assert {cluster.profile for cluster in spec.clusters} == {"lab"}
    orders = [entry.order for entry in ledger_of(spec).entries]
    assert {order.time_limits.poll_seconds for order in orders} == {7}
    assert orders[0].batch == spec.clusters[0].remove


@pytest.mark.parametrize("key", ["remove", "replace", "use"])
def test_policies_make_a_request_of_one_cluster_a_batch(key, tmp_path):
    """Of one cluster; units of tenants are one without, since no other command takes the file."""
    item = {
        "remove": "remove: [{agentInfo: {ip: 10.0.0.4}, zone: zone2}]",
        "replace": "replace: [{dead: {agentInfo: {ip: 10.0.0.4}, zone: zone2}, "
        "by: {agentInfo: {ip: 10.0.0.9}, zone: zone2}}]",
        "use": "use: [{tenant: app, unit_num: 2}]",
    }[key]
    plain = tmp_path / "plain.yaml"
    plain.write_text(f"cluster: east\n{item}\n", encoding="utf-8")
    batch = tmp_path / "batch.yaml"
    batch.write_text(f"cluster: east\n{item}\npolicies: {{max_removals: 1}}\n", encoding="utf-8")

    assert is_batch_file(plain) is (key == "use")
    assert is_batch_file(batch)
    assert read_batch(batch).kind == key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            REMOVALS + "  - {cluster: north, use: [{tenant: app, unit_num: 2}]}\n",
            (
                "the batch holds remove (of east), use (of north); a batch holds one kind: write a "
                "file for each"
            ),
        ),
        (
            REMOVALS.replace("max_removals: 3", "max_removals: 2"),
            (
                "policies.max_removals: 2 may leave, and 3 are named: too many are 10.1.0.4:2886 "
                "of west; take them out, or raise max_removals"
            ),
        ),
        (
            REMOVALS.replace("max_removals: 3", "canary: node"),
            (
                "policies.max_removals: missing; 3 nodes would leave, so write policies: "
                "{max_removals: 3}, the most that may leave in all"
            ),
        ),
        (REPLACEMENTS.replace("max_removals: 1", "canary: node"), "max_removals: missing;"),
        (REMOVALS.replace("zone: zone3}", "zone: zone3, force_kill: true}"), "force_kill has no"),
        (REMOVALS.replace("10.1.0.4", "10.0.0.4"), "10.0.0.4:2886 is to leave west and east"),
        (REMOVALS.replace("max_removals: 3", "max_removals: 3, on_failure: roll-back"), "roll-bac"),
        (REMOVALS + "rows: nodes.csv\n", "rows: a table lists nodes that join"),
        (REMOVALS + "defaults: {zone: zone1}\n", "defaults: this is for nodes that join"),
        (REMOVALS.replace("zone: zone3", "zon: zone3"), "did you mean 'zone'?"),
        (USES.replace("unit_num: 3", "unit_num: '3'"), "unit_num: must be a whole number"),
        (USES.replace("web", "app"), "tenant app is named twice"),
        (USES.replace("use:", "nodes: []\n    use:"), "holds nodes and use; hold one of nodes"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(text, told):
    """It names the field, what was wrong, and what to write instead."""
    with pytest.raises(SpecError) as caught:
        parsed(text)

    problems = caught.value.problems or (str(caught.value),)
    assert any(told in problem for problem in problems), problems


def test_an_override_that_cannot_be_used_is_refused_before_anybody_is_asked():
    """By the rules of a removal, not those of a scale-out."""
    final = "overrides: [{rule: rm-majority, reason: the owner agreed, until: 2099-12-31}]\n"

    with pytest.raises(SpecError, match="rm-majority may not be overridden"):
        ledger_of(parsed(REMOVALS + final))


def test_the_key_is_of_what_is_asked():
    """The same for the same rows; another number of units is another batch."""
    keys = {ledger_of(parsed(text)).key for text in OF_KIND.values()}

    assert len(keys) == len(OF_KIND)
    assert ledger_of(parsed(USES)).key == ledger_of(parsed(USES)).key
    assert ledger_of(parsed(USES.replace("3}", "4}"))).key not in keys


def rows_of(effect, *zones):
    """Give waiting rows of one cluster."""
    return [
        Row(number, "east", zone, f"10.0.0.{number}:2886", effect=effect)
        for number, zone in enumerate(zones, start=1)
    ]


def test_of_nodes_that_leave_the_largest_zone_gives_one_up_first():
    """In turns from then on; one that has run or ended well counts."""
    rows = rows_of(-1, "zone1", "zone2", "zone2", "zone2")
    sizes = {"zone1": 2, "zone2": 4}

    order = [row.number for row in order_of(rows, sizes)]

    assert order == [2, 3, 1, 4]
    assert next_of(rows, sizes).number == 2
    assert next_of(rows, sizes, {"zone2": -3}).number == 1


def test_what_changes_no_number_goes_as_it_is_written():
    """Whatever the zones."""
    rows = rows_of(0, "zone3", "zone1", "zone2")

    assert [row.number for row in order_of(rows, {"zone1": 9})] == [1, 2, 3]


def test_what_is_at_work_goes_first_and_a_closed_window_holds_new_rows_alone():
    """A removal under way holds the lock; a node that has left is only looked at."""
    rows = rows_of(-1, "zone2", "zone2", "zone2")
    rows[1] = Row(**(vars(rows[1]) | {"progress": TargetProgress.LEAVING}))
    rows[2] = Row(**(vars(rows[2]) | {"progress": TargetProgress.GONE}))

    assert [row.number for row in order_of(rows, {})] == [2, 3, 1]
    assert decide_wave(rows, {}, BatchPolicies(), NOON).start == (2,)


def test_the_word_says_what_is_done_and_to_how_many():
    """Not y, not a number alone; and only where nodes leave."""
    assert [word_of(judged(OF_KIND[kind])) for kind in ("remove", "replace", "use")] == [
        "remove 3 nodes",
        "replace 1 node",
        "",
    ]
    assert is_confirmed(judged(REMOVALS), " Remove  3 nodes ")
    for typed in ("y", "yes", "3", "remove", "remove 2 nodes", "replace 3 nodes", ""):
        assert not is_confirmed(judged(REMOVALS), typed)
    with pytest.raises(SpecError, match="is not what this batch does, remove 3 nodes"):
        check_confirmed(judged(REMOVALS), "remove 2 nodes")
    check_confirmed(judged(REMOVALS), "")


def test_the_question_says_what_becomes_of_the_others():
    """Gone already, under way, or blocked: counted apart."""
    ledger = judged(REMOVALS, TargetProgress.GONE, TargetProgress.LEAVING)

    assert question_of_batch(ledger) == (
        "remove 1 of 3 nodes from west (1 under way, 1 already gone)?"
    )
    assert question_of_batch(judged(REMOVALS)) == "remove 3 nodes from east, west?"


def test_the_plan_says_the_kind_and_the_servers_after():
    """In its words: removals, gone already."""
    ledger = judged(REMOVALS, TargetProgress.GONE)

    made = plan_of(ledger, NOON)

    assert made.kind == "remove"
    assert made.summary == "3 of 3 removals ready, 1 gone already"
    assert made.rows[0].already == "already gone"
    assert [row.what for row in made.rows][:2] == [
        "10.0.0.4:2886 ← zone2",
        "10.0.0.5:2886 ← zone3",
    ]
    assert made.clusters[0].zones_after == {"zone1": 2, "zone2": 2, "zone3": 1}
    assert plan_of(judged(USES), NOON).summary == "2 of 2 tenants ready"


def test_a_blocked_row_stops_its_cluster_and_nothing_of_it_is_asked_for():
    """The question counts what would leave."""
    ledger = judged(REMOVALS)
    ledger.entries[0].refuse(PreflightError("rm-receivers: none", "lower the locality"))

    assert question_of_batch(ledger) == "remove 1 of 3 nodes from west (1 blocked)?"


def test_a_replacement_that_stays_half_done_is_a_server_more():
    """And one that is done changes nothing."""
    ledger = judged(REPLACEMENTS)
    (entry,) = ledger.entries
    entry.begin()
    entry.how = "posted"
    entry.hear(HalfBegun(half="remove", target=entry.target))
    entry.end(PreflightError("rm-lock: DAG 9", "wait"))

    half = report_of(ledger).clusters[0]
    entry.state, entry.how = RowState.VERIFIED, "posted"
    done = report_of(ledger).clusters[0]

    assert half.zones_after["zone2"] == 3
    assert done.zones_after == done.zones_before


def test_a_replacement_put_back_between_its_halves_says_so():
    """The batch was stopped meanwhile: whoever reads it must not take it for not begun."""
    ledger = judged(REPLACEMENTS)
    (entry,) = ledger.entries
    entry.begin()
    entry.hear(HalfBegun(half="remove", target=entry.target))
    entry.put_back()
    entry.skip("the batch stops after 1 failed")

    assert entry.note.startswith("10.0.0.9:2886 is verified, and 10.0.0.4:2886 is still there")


@pytest.mark.parametrize("kind", ["remove", "replace", "use"])
def test_a_run_on_a_worker_gets_the_same_rows(kind):
    """Its parameters read back to the orders of the batch; they name no zone a tenant has not."""
    ledger = judged(OF_KIND[kind])
    mine = [entry for entry in ledger.entries if entry.cluster == "east"]

    part = WorkerAssignment.of(ledger.key, mine)
    read = [SPECS[kind].model_validate(each) for each in part.parameters["clusters"]]
    again = ledger_of(checked_batch(BatchSpec(clusters=tuple(read))))

    assert [entry.order for entry in again.entries] == [entry.order for entry in mine]
    assert kind_in(part.parameters["clusters"]) == (kind, len(mine))
    assert (
        part.name
        == {
            "remove": "rows of east: 2 removals",
            "replace": "rows of east: 1 replacement",
            "use": "rows of east: 2 tenants",
        }[kind]
    )
    assert "zone:" not in part.tags


def test_every_kind_has_its_words():
    """None is forgotten."""
    assert {*SPECS} == {*KINDS}
