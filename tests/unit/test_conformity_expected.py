"""Tests of what a conformity check expects: made of the recordings, and every difference is found.

`python -m tests.unit.test_conformity_expected` makes obscale/conformity/expected.json anew.
"""

import json
from copy import deepcopy
from functools import cache, reduce
from pathlib import Path

import pytest

from obscale.conformity.expected import (
    EVERYBODY,
    EXPECTED_FILE,
    NO_SUCH_ID,
    QUESTIONS,
    Answer,
    NotAsked,
    Told,
    age_of,
    expected,
    judge,
    state_of,
)
from obscale.conformity.shape import ANY, differences, merged, shape_of

REAL = Path(__file__).parents[1] / "data" / "real-obshell"
STATES = ("single", "cluster", "cluster-observer-down", "scaling-out")
MAPS = frozenset({"topology", "additional_data"})
"""Keys whose objects have zones or anything else for keys."""
FREE = {"additional_data": {"null": {"map": ANY}}}
"""Whatever an operation wants to keep of itself: ob/agent/engine/task/task_dto.go, 4.5.0.0."""
WHOLE_DAGS = ("dag", "dag-maintain-agent", "dag-maintain-ob")
DAG_LISTS = ("dag-agent-unfinish", "dag-ob-unfinish", "dag-unfinish")
INSTEAD = {
    # Asked before the stand-ins had unit configs: their fault.
    ("cluster", "obcluster-info"): ["answers/obcluster-info-real"],
}
BESIDE = {
    # Whether there ever was a DAG is no matter of the version.
    ("single", "dag-maintain-agent"): ["cluster/dag-maintain-agent"],
    ("cluster", "dag-maintain-agent"): ["single/dag-maintain-agent"],
    ("cluster", "dag-maintain-ob"): ["dags/dag-scaleout-observer-died"],
    **{(state, "dag"): ["dags/dag-scaleout-succeed"] for state in STATES},
}
STANDALONE = "obcluster-license"
"""The recorded cluster needed no licence; where one is needed the answer is one."""
MAY_BE_ABSENT = {
    # Zero values that Go leaves out: ob/agent/lib/http/state.go, ob/param/*.go,
    # ob/agent/repository/model/bo/*.go, 4.5.0.0.
    "open-status": {"sqlPort"},
    "unit-config-limit": {"min_memory"},
    "obcluster-parameters": {"tenant_id", "tenant_name", "tenant_value", "ob_parameters", "values"},
    "obcluster-info": {"license", "local_task_id", "tenant_id"},
    "obcluster-topology": {"license", "local_task_id"},
}
SINCE = {
    # Keys that came with a release: history of oceanbase/obshell, see docs/protocol.md.
    "obVersion": "4.2.4.0",
    "supportedAuth": "4.2.5.0",
    "security": "4.2.6.0",
    "isObproxyAgent": "4.2.6.0",
    "architecture": "4.3.0.0",
    "read_only": "4.3.0.0",
    "connection_strings": "4.3.0.0",
    "maintenance_type": "4.3.1.0",
    "maintenance_key": "4.3.1.0",
    "is_standalone": "4.4.0.0",
    "dead_lock_detection_enabled": "4.4.0.0",
    "observer_list": "4.4.0.0",
    "ob_status": "4.4.1.0",
    "data_dir": "4.4.1.0",
    "redo_dir": "4.4.1.0",
    "obshell_port": "4.4.1.0",
    "comment": "4.4.1.0",
    "log_dir": "4.4.2.0",
    "is_shared_storage": "4.4.2.0",
    "startup_mode": "4.4.2.0",
    "data_disk_size": "4.4.2.0",
}


@cache
def recorded():
    """Give every recording by folder and name; those of removals are of no state that is asked."""
    return {
        f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(REAL.glob("*/*.json"))
        if path.parent.name != "removal"
    }


def said(recording):
    """Give status, and code where it is a refusal."""
    status = recording["status_line"].split()[1]
    code = ((recording.get("json") or {}).get("error") or {}).get("errCode")
    return f"{status} {code}" if code else status


def marked(shape, question):
    """Write into the keys since when they are there, and which may be absent."""
    if isinstance(shape, str):
        return shape
    (kind, inside), *_ = shape.items()
    if kind != "object":
        return {kind: marked(inside, question)}
    may_be_absent = MAY_BE_ABSENT.get(question, set())
    keys = {}
    for key, each in sorted(inside.items()):
        name = key.rstrip("?")
        mark = "?" if key.endswith("?") or name in may_be_absent else ""
        since = f"@{SINCE[name]}" if name in SINCE else ""
        keys[f"{name}{mark}{since}"] = FREE.get(name) or marked(each, question)
    return {kind: keys}


def all_merged(shapes):
    """Give one shape that all fit."""
    return reduce(merged, shapes, ANY)


def names_of(state, question):
    """Give the recordings of one question in one state."""
    names = INSTEAD.get((state, question.id), [f"{state}/{question.id}"])
    return [name for name in (*names, *BESIDE.get((state, question.id), ())) if name in recorded()]


def answers_to(question):
    """Give status and code of each answer, by state; of all states at once where they agree."""
    answers = {
        state: sorted({said(recorded()[name]) for name in names})
        for state in STATES
        if (names := names_of(state, question))
    }
    if question.id == STANDALONE:
        answers["cluster"].append("200")
    alike = {tuple(each) for each in answers.values()}
    return answers if len(alike) > 1 else {EVERYBODY: next(iter(answers.values()))}


def shape_to(question, dag):
    """Give the shape of what its successes hold."""
    if question.id in WHOLE_DAGS:
        return dag
    if question.id in DAG_LISTS:
        return {"object": {"contents": {"null": {"list": dag}}}}
    return all_merged(
        shape_of(recorded()[name]["json"]["data"], MAPS)
        for state in STATES
        for name in names_of(state, question)
        if said(recorded()[name]) == "200"
    )


def dags_in(value):
    """Give every DAG with details within an answer: what one agent keeps differs from another's."""
    if isinstance(value, dict):
        if "dag_id" in value and value["nodes"] is not None:
            yield value
        inside = value.values()
    else:
        inside = value if isinstance(value, list) else ()
    for each in inside:
        yield from dags_in(each)


def build():
    """Make of the recordings what `expected.json` holds."""
    successes = [
        each["json"]
        for each in recorded().values()
        if said(each) == "200" and isinstance(each.get("json"), dict)
    ]
    envelope = all_merged(
        shape_of({key: value for key, value in each.items() if key != "data"}) for each in successes
    )
    envelope["object"]["data?"] = ANY
    dag = all_merged(shape_of(dag, MAPS) for each in successes for dag in dags_in(each.get("data")))
    questions = {
        question.id: {
            "answers": answers_to(question),
            "shape": marked(shape_to(question, dag), question.id),
        }
        for question in QUESTIONS
    }
    version = recorded()["cluster/open-info"]["json"]["data"]["version"].partition("-")[0]
    return {"version": version, "envelope": envelope, "questions": questions}


def written(content):
    """Give the text of the file."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def test_what_is_expected_is_made_of_the_recordings():
    """Changed recordings, questions or rules, and the file is made anew."""
    assert EXPECTED_FILE.read_text(encoding="utf-8") == written(build())


def answers_of(folder):
    """Give what a recorded agent has told, by question."""
    everything = recorded()
    told = {}
    for question in QUESTIONS:
        each = everything.get(f"{folder}/{question.id}")
        if each is None:
            told[question.id] = NotAsked("not recorded")
        else:
            absent = said(each) == "404 Common.NotFound"
            told[question.id] = Told(said(each), envelope=each["json"], is_absent=absent)
    return told


@pytest.mark.parametrize("state", STATES)
def test_a_recorded_agent_is_as_expected(state):
    """Nothing is wrong, and nothing is new, with what it was made of, the rig aside."""
    version = (4, 5, 0, 0)

    found = {
        question.id: judge(question, told, state, version)
        for question, told in zip(QUESTIONS, answers_of(state).values(), strict=True)
        if (state, question.id) not in INSTEAD
    }

    assert {name for name, row in found.items() if row.answer is not Answer.EXPECTED} == {
        name for name, told in answers_of(state).items() if isinstance(told, NotAsked)
    }


def row_of(name, state="cluster", version=(4, 5, 0, 0), told=None, **changes):
    """Judge one recorded answer of a cluster agent, parts of its data changed."""
    question = next(each for each in QUESTIONS if each.id == name)
    if told is None:
        envelope = deepcopy(recorded()[f"{state}/{name}"]["json"])
        for key, value in changes.items():
            if value is None:
                del envelope["data"][key]
            else:
                envelope["data"][key] = value
        told = Told("200", envelope=envelope)
    return judge(question, told, state, version)


@pytest.mark.parametrize(
    ("changes", "version", "answer", "words"),
    [
        ({"homePath": None}, (4, 5, 0, 0), Answer.DIFFERENT, "data.homePath is absent"),
        ({"pid": "7"}, (4, 6, 0, 0), Answer.DIFFERENT, "data.pid is a text, expected is a number"),
        (
            {"supportedAuth": [2]},
            (4, 5, 0, 0),
            Answer.DIFFERENT,
            "data.supportedAuth[] is a number",
        ),
        ({"mood": "good"}, (4, 6, 0, 0), Answer.MORE, "data.mood is new"),
        ({"architecture": None}, (4, 2, 6, 0), Answer.EXPECTED, ""),
        ({"architecture": None}, (4, 3, 0, 0), Answer.DIFFERENT, "data.architecture is absent"),
    ],
)
def test_each_kind_of_difference_is_named_with_its_place(changes, version, answer, words):
    """Absent, of another type, new; and absent because it came later."""
    row = row_of("open-info", version=version, **changes)

    assert row.answer is answer
    assert words in " ".join(row.words)


@pytest.mark.parametrize(
    ("name", "told", "version", "answer"),
    [
        ("obcluster-topology", Told("404 Common.NotFound", is_absent=True), "4.4.0.0", "NOT_YET"),
        ("obcluster-topology", Told("404 Common.NotFound", is_absent=True), "4.4.1.0", "MISSING"),
        ("unknown-v1-auth", Told("404 Common.NotFound", is_absent=True), "4.5.0.0", "EXPECTED"),
        ("unknown-v1-auth", Told("200", envelope={}), "4.6.0.0", "DIFFERENT"),
        ("dag-unknown", Told("404 Task.Gone"), "4.6.0.0", "DIFFERENT"),
        ("dag-unknown", Told("404 2300"), "4.3.0.0", "EXPECTED"),
        ("ob-info", Told("400 1000"), "4.3.0.0", "DIFFERENT"),
        ("units-config", Told("400 MySQL.Error", "gone away", may_pass=True), "4.5.0.0", "UNCLEAR"),
        ("units-config", Told("400 Common.Sorry", "no"), "4.6.0.0", "DIFFERENT"),
        ("units-config", NotAsked("no password"), "4.5.0.0", "NOT_ASKED"),
    ],
)
def test_refusals_are_compared_by_status_and_code(name, told, version, answer):
    """Where a version had no codes yet, only that it refused."""
    row = row_of(name, version=tuple(map(int, version.split("."))), told=told)

    assert row.answer is Answer[answer]


def test_of_many_differences_the_first_are_named():
    """Whoever answers there may send anything."""
    row = row_of("open-info", **{f"key{number}": 1 for number in range(1000)})

    assert len(row.words) == 21
    assert row.words[-1] == "and 980 more"


def test_an_answer_without_the_envelope_it_had_is_different():
    """The agent's clock is read from each answer."""
    envelope = dict(recorded()["cluster/open-info"]["json"])
    del envelope["timestamp"]

    row = row_of("open-info", told=Told("200", envelope=envelope))

    assert row.words == ("answer.timestamp is absent",)


@pytest.mark.parametrize(
    ("identity", "ob_state", "state"),
    [
        ("SINGLE", 0, "single"),
        ("SCALING OUT", 1, "scaling-out"),
        ("CLUSTER AGENT", 3, "cluster"),
        ("CLUSTER AGENT", 2, "cluster-observer-down"),
        ("CLUSTER AGENT", None, "cluster-observer-down"),
        ("SCALING IN", 3, None),
        ("OTHER", 0, None),
    ],
)
def test_an_agent_is_compared_with_recordings_of_its_own_state(identity, ob_state, state):
    """A part nobody has recorded is compared in what all parts answer alike."""
    assert state_of(identity, ob_state) == state
    assert row_of("units-config", told=Told("200"), state=None).answer is Answer.NOT_ASKED
    assert row_of("unknown-v1-auth", told=Told("200"), state=None).answer is Answer.DIFFERENT


@pytest.mark.parametrize(
    ("version", "age"),
    [
        ("4.5.0.0-12026050815", "recorded"),
        ("4.2.2.0-1", "older"),
        ("4.5.1.0-1", "new"),
        ("5", "new"),
        ("", "unknown"),
        ("4.1.9.9", "unknown"),
    ],
)
def test_a_version_is_recorded_older_new_or_unknown(version, age):
    """Whatever the release behind the dash."""
    assert age_of(version) == age


def test_each_question_has_what_is_expected_and_no_other_has():
    """And the recorded version stands there."""
    assert list(expected()["questions"]) == [question.id for question in QUESTIONS]
    assert NO_SUCH_ID.isdigit()


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({"a": 1}, {"a": 2.5, "b": "x"}, {"object": {"a": "number", "b?": "string"}}),
        ([], [None, "x"], {"list": {"null": "string"}}),
        (None, [1], {"null": {"list": "number"}}),
        ([{"a": 1}, {}], [{"a": None}], {"list": {"object": {"a?": {"null": "number"}}}}),
    ],
)
def test_two_shapes_become_one_that_both_fit(one, other, both):
    """In either order; and neither value differs from it."""
    assert merged(shape_of(one), shape_of(other)) == both
    assert merged(shape_of(other), shape_of(one)) == both
    assert not [*differences(both, one, ()), *differences(both, other, ())]


def test_a_text_and_a_number_have_no_shape_in_common():
    """Recordings that say both need a person."""
    with pytest.raises(ValueError, match="no shape in common"):
        merged(shape_of("1"), shape_of(1))


if __name__ == "__main__":
    EXPECTED_FILE.write_text(written(build()), encoding="utf-8")
