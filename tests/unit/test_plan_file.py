"""Tests of a stored plan: whole, true for a time, and free of secrets."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from obscale.errors import PlanChangedError, SpecError
from obscale.plan import plan_of
from obscale.plan.file import (
    MARK,
    earlier_looks,
    plan_file,
    read_plan_file,
    refuse_if_changed,
    request_of,
    write_plan_file,
)
from obscale.request.models import ScaleOutSpec
from obscale.request.scale_out import scale_outs_of

COMMAND = "obscale plan request.yaml --out plan.json"


@pytest.fixture
def spec(world):
    """The world's request, with the names of two secrets."""
    return ScaleOutSpec.model_validate(
        {
            "cluster": {
                "endpoints": ["https://10.0.0.1:2886"],
                "password": {"env": "OB_ROOT"},
                "name": "obcluster",
                "id": 1,
            },
            "nodes": [
                {
                    "agentInfo": {"ip": "10.0.0.4"},
                    "zone": "zone2",
                    "obConfigs": world.configs,
                    "targetAgentPassword": {"block": "spare-4"},
                }
            ],
        }
    )


def made_of(spec, world):
    return plan_of(scale_outs_of(spec), [world.facts()], source=["plan.json"])


@pytest.fixture
def keep(spec, world, tmp_path):
    """Keep the world's plan in a file, changed where a test says so; gives its path."""

    def kept(**changes):
        path = tmp_path / "plan.json"
        content = plan_file(spec, made_of(spec, world), COMMAND, 15)
        write_plan_file(path, content.model_copy(update=changes).signed() if changes else content)
        return path

    return kept


def test_a_kept_plan_gives_back_the_request_it_was_made_of(keep, spec):
    """Nodes, names of secrets, profile, policies: all of it."""
    path = keep()

    plan = read_plan_file(path)

    assert plan is not None
    assert request_of(path, plan) == spec
    assert plan.expires - plan.created == timedelta(minutes=15)
    assert plan.verdict == "ready with 2 warnings"


def test_a_kept_plan_is_one_file_and_holds_names_of_secrets_only(keep, monkeypatch):
    """No half-written neighbour stays behind; the secret's value is nowhere."""
    monkeypatch.setenv("OB_ROOT", "canary-9f3")

    path = keep()

    assert [file.name for file in path.parent.iterdir()] == ["plan.json"]
    text = path.read_text(encoding="utf-8")
    assert '"OB_ROOT"' in text
    assert "canary" not in text


def test_an_expired_plan_is_bad_input_and_says_when_and_how_to_renew(keep):
    """The instant, in UTC, and the very command that made it."""
    past = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    path = keep(expires=past)
    plan = read_plan_file(path)

    with pytest.raises(SpecError, match="expired at 2026-01-02 03:04:05 UTC") as caught:
        request_of(path, plan)

    assert caught.value.hint == COMMAND


def test_a_plan_is_valid_to_its_last_instant(keep):
    """The border belongs to the plan."""
    path = keep()
    plan = read_plan_file(path)

    assert request_of(path, plan, now=plan.expires)
    with pytest.raises(SpecError):
        request_of(path, plan, now=plan.expires + timedelta(microseconds=1))


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data["request"]["nodes"][0]["obConfigs"].update(memory_limit="64G"),
        lambda data: data.update(expires="2999-01-01T00:00:00Z"),
        lambda data: data.update(findings={}),
        lambda data: data["snapshot"]["servers"].popitem(),
        lambda data: data.pop("command"),
        lambda data: data.update(more=1),
    ],
)
def test_an_edited_plan_is_refused(keep, edit):
    """What was signed is what is applied."""
    path = keep()
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    path.write_text(json.dumps(data), encoding="utf-8")

    with pytest.raises(SpecError, match="edited"):
        read_plan_file(path)


@pytest.mark.parametrize("number", [4, 2, "3", None])
def test_a_plan_of_another_shape_is_refused_by_its_number(keep, number):
    """A newer obscale wrote it: no slip of anybody's hand, and its content is not guessed."""
    path = keep()
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(data | {"obscale_plan": number, "more": 1}), encoding="utf-8")

    with pytest.raises(SpecError, match="this obscale reads shape 3") as caught:
        read_plan_file(path)

    assert repr(str(number)) in str(caught.value)


def test_a_plan_of_the_future_is_refused(keep):
    """A clock that was set back would let it be valid for ever; a minute is nobody's fault."""
    path = keep()
    plan = read_plan_file(path)

    assert request_of(path, plan, now=plan.created - timedelta(seconds=59))
    with pytest.raises(SpecError, match="still to come") as caught:
        request_of(path, plan, now=plan.created - timedelta(seconds=61))

    assert caught.value.hint == COMMAND


@pytest.mark.parametrize(
    "cut",
    [
        lambda text: text[:400],
        lambda text: text[:-3] + ', "more": ' + "[" * 200_000 + "]" * 200_000 + "}",
    ],
    ids=["half", "nested"],
)
def test_a_cut_plan_is_refused(keep, cut):
    """Half a file is no plan, and no request either; nor is one that folds up for ever."""
    path = keep()
    path.write_text(cut(path.read_text(encoding="utf-8")), encoding="utf-8")

    with pytest.raises(SpecError, match="cut or edited"):
        read_plan_file(path)


@pytest.mark.parametrize(
    "text", ["cluster: prod\n", '{"cluster": "prod"}', "", "- obscale_plan\n", '["obscale_plan"]']
)
def test_anything_else_is_no_plan(tmp_path, text):
    """A request is read as one, JSON included; a missing file too, so that reading it says why."""
    path = tmp_path / "request"
    path.write_text(text, encoding="utf-8")

    assert read_plan_file(path) is None
    assert read_plan_file(tmp_path / "missing") is None


def test_a_place_that_cannot_be_written_is_bad_input(keep, spec, world, tmp_path):
    """One line, and nothing left behind."""
    content = plan_file(spec, made_of(spec, world), COMMAND)

    with pytest.raises(SpecError, match=r"--out: .* cannot be written: No such file"):
        write_plan_file(tmp_path / "nowhere" / "plan.json", content)
    with pytest.raises(SpecError, match=r"--out: .* cannot be written"):
        write_plan_file(tmp_path, content)

    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_written_into_and_stays(spec, world, tmp_path):
    """A pipe or device keeps its place: a file moved there would end it for everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    write_plan_file(pipe, plan_file(spec, made_of(spec, world), COMMAND))

    assert pipe.is_fifo()
    assert MARK.encode() in os.read(reader, 1 << 16)
    os.close(reader)


def test_a_file_name_of_another_encoding_is_escaped(spec, world):
    """Neither plan nor page may hold half a character."""
    made = plan_of(scale_outs_of(spec), [world.facts()], source=["n\udcff.json"])

    assert r"n\udcff.json" in made.next
    assert made.model_dump_json()
    kept = plan_file(spec, made, "obscale plan n\udcff.json")
    assert kept.command == r"obscale plan n\udcff.json"
    assert kept.model_dump_json()


def test_the_same_state_is_not_refused(keep, spec, world):
    """Planned and applied in one breath."""
    path = keep()

    refuse_if_changed(path, read_plan_file(path), made_of(spec, world))


def test_a_changed_cluster_is_refused_with_what_changed(keep, spec, world):
    """The first line of each change, and the command that makes a new plan."""
    path = keep()
    world.change_server(3, inner_status="INACTIVE")

    with pytest.raises(PlanChangedError, match=r"server 10\.0\.0\.3:2882 was") as caught:
        refuse_if_changed(path, read_plan_file(path), made_of(spec, world))

    assert caught.value.hint == COMMAND
    assert len(caught.value.changes) >= 1


def test_a_warning_nobody_has_seen_is_refused(keep, spec, world, make_disk):
    """The disk filled up since: the topology is the same, the risk is not."""
    path = keep()
    world.disks(make_disk("/", used="400G"))

    with pytest.raises(PlanChangedError, match="disk-fits now says warn"):
        refuse_if_changed(path, read_plan_file(path), made_of(spec, world))


def test_a_finding_that_went_away_is_no_reason_to_refuse(spec, world, make_disk, tmp_path):
    """Somebody tidied up: all the better."""
    world.disks(make_disk("/", used="400G"))
    content = plan_file(spec, made_of(spec, world), COMMAND)
    world.disks(make_disk("/"))

    refuse_if_changed(tmp_path / "plan.json", content, made_of(spec, world))


def test_what_the_look_it_was_made_of_saw_is_kept(keep, world):
    """Its time, and the disks of each target: a later look is compared with them."""
    plan = read_plan_file(keep())

    look = earlier_looks(plan)["10.0.0.4:2886"]

    assert look.at == plan.created
    assert look.host.disks == world.host.disks


def test_a_disk_that_somebody_fills_is_a_reason_to_refuse(keep, spec, world, make_disk):
    """All still fits, but who plans anew learns that something writes there."""
    path = keep()
    world.set(host_before=world.host).disks(make_disk("/", used="100G"))

    with pytest.raises(PlanChangedError, match="disk-recent-usage now says warn"):
        refuse_if_changed(path, read_plan_file(path), made_of(spec, world))


def test_its_age_alone_is_no_reason_to_refuse(keep, spec, world):
    """How long it may wait was decided when it was made."""
    path = keep()
    world.set(judged_before=world.now - timedelta(hours=1))

    refuse_if_changed(path, read_plan_file(path), made_of(spec, world))
