"""Tests that every form is Chinese where a deployment asks for it, in its words alone."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from uuid import uuid4

import pytest
import yaml
from prefect.input import run_input
from prefect.input.run_input import keyset_from_base_key
from prefect.utilities.callables import parameter_schema

from obscale.flows.scale_out import scale_out
from obscale.recovery.consequences import Remedy
from obscale.tasks.approval import ApprovalForm
from obscale.tasks.recover import _decision_form
from tests.unit.message_ids import ROOT, form_schemas, form_texts, words_of
from tests.unit.test_form import fields_of, is_made

FORMS = yaml.safe_load((ROOT / "obscale/language/zh_CN.yaml").read_text("utf-8"))["forms"]
CHINESE = re.compile("[\u4e00-\u9fff]")
WORDS = {"title", "description"}
ID = re.compile(r"\b(?!scale-out)[a-z]+(?:[-_][a-z]+)+|[A-Z_]{4,}|\d[\d.]*|`[^`]+`")
"""Names, what can be chosen, states and amounts: they stand in both languages."""
PRINTS = """
import json, sys
opened = []
def hear(event, about):
    if event == "open" and str(about[0]).endswith("zh_CN.yaml"): opened.append(about[0])
sys.addaudithook(hear)
from tests.unit.message_ids import form_schemas
print(json.dumps({"schemas": form_schemas(), "opened": len(opened)}))
"""


@cache
def told_by_a_process(language):
    """Give what a process of its own prints, as one that deploys: all schemas, what it opened."""
    ended = subprocess.run(
        [sys.executable, "-c", PRINTS],
        env=os.environ | {"OBSCALE_LANG": language, "LANG": "zh_CN.UTF-8"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def without_words(schema, *, names=False):
    """Leave out what a person reads, except in values."""
    if isinstance(schema, list):
        return [without_words(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_words(value, names=key in {"properties", "definitions", "$defs"} and not names)
        for key, value in schema.items()
        if names or key not in WORDS
    }


def test_every_word_of_a_form_has_its_chinese_and_none_is_left_over():
    """`python -m tests.unit.message_ids` prints what is missing, with the form it stands in."""
    found = form_texts()

    assert [each for each in found if each not in FORMS] == []
    assert [each for each in FORMS if each not in found] == []
    assert [each for each, said in FORMS.items() if not CHINESE.search(said)] == []


def test_names_states_and_amounts_of_a_description_stand_in_its_chinese():
    """An option nobody finds again in the form would help nobody."""
    lost = {
        english: gone
        for english, said in FORMS.items()
        if (gone := [each for each in ID.findall(english) if each.rstrip(".") not in said])
    }

    assert lost == {}


def test_a_process_that_deploys_in_chinese_leaves_no_word_in_english():
    """Each field of each form, at any depth; a start option is titled by its own name."""
    schemas = told_by_a_process("zh")["schemas"]
    english = [
        f"{form}{where}"
        for form, schema in schemas.items()
        for where, text in words_of(schema)
        if not CHINESE.search(text) and not where.endswith(f"/properties/{text}/title")
    ]

    assert [where for where in english if where.count("/") > 1] == []
    assert len(schemas) == 13


def test_only_words_of_a_form_change():
    """Names, order, defaults, patterns, choices and positions are the same, byte for byte.

    No title is lost: pydantic leaves one out that is that of the parameter's own model.
    """
    english, chinese = form_schemas(), told_by_a_process("zh")["schemas"]

    for form, schema in english.items():
        assert dict(words_of(chinese[form])).keys() == dict(words_of(schema)).keys()
    assert json.dumps(without_words(chinese)) == json.dumps(without_words(english))
    assert chinese != english


def test_english_never_opens_the_catalogue_for_a_form():
    """Nor does a person's locale, which is Chinese here, decide what is stored."""
    told = told_by_a_process("en")

    assert told["opened"] == 0
    assert told["schemas"] == json.loads(json.dumps(form_schemas()))
    assert told_by_a_process("zh")["opened"] == 1


def test_a_flow_in_english_is_as_prefect_made_it():
    """No signature or docstring of its own stands over those of the function."""
    assert "__signature__" not in vars(scale_out)
    assert scale_out.__doc__ == scale_out.fn.__doc__
    assert not any(is_made(told["title"], name) for name, told in fields_of(scale_out).items())
    assert parameter_schema(scale_out) == parameter_schema(scale_out.fn)


@pytest.mark.parametrize(
    "form",
    [ApprovalForm, _decision_form((Remedy.RETRY, Remedy.HAND_OVER))],
    ids=["approval", "decision"],
)
async def test_a_paused_run_stores_its_form_in_its_own_language(form, monkeypatch):
    """As Prefect stores it for its page; what can be chosen stays."""
    stored = {}

    async def keep(key, value, **_):
        stored[key] = value

    monkeypatch.setattr(run_input, "acreate_flow_run_input", keep)
    schemas = []
    for language in ("en", "zh"):
        monkeypatch.setenv("OBSCALE_LANG", language)
        keys = keyset_from_base_key(uuid4().hex)
        await form.with_initial_data(description="…").asave(keys, uuid4())
        schemas.append(stored[keys["schema"]])

    english, chinese = schemas
    assert without_words(chinese) == without_words(english)
    fields = chinese["properties"]
    assert [name for name, each in fields.items() if not CHINESE.search(each["title"])] == []
    assert [name for name, each in fields.items() if not CHINESE.search(each["description"])] == []
    assert english["properties"]["name"]["title"] == "Your name"
