"""Tests that Prefect still has each name obscale uses without a promise, in the shape it was read.

Where one fails after an update of Prefect: read the new one, and mend
`tasks/runtime/prefect_private.py`.
"""

import importlib.util
import inspect
import logging
import os
import signal
import sys
from pathlib import Path
from uuid import uuid4

import prefect.logging
import prefect.settings
import pytest
import yaml
from prefect._internal import concurrency
from prefect.blocks.core import Block
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.events.worker import EventsWorker
from prefect.exceptions import ExternalSignal, ParameterTypeError, TerminationSignal
from prefect.logging.loggers import flow_run_logger
from prefect.server.api import server as prefect_server
from prefect.settings import get_current_settings
from prefect.states import Cancelled
from prefect.utilities import engine
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate
from pydantic import SecretStr

from obscale.cli.local_prefect import QUIET_SETTINGS, SERVER_SETTINGS
from obscale.cli.own_server import AUTH_VARIABLES, OF_AN_OWN_SERVER, server_words
from obscale.flows.batch import batch
from obscale.tasks.runtime import prefect_private
from obscale.tasks.runtime.prefect_private import (
    BLOCK_TYPE_FIELD,
    FLOW_RUNS_LOGGER,
    FLOWS_LOGGER,
    PROCESS_OF_A_RUN,
    RUN_LOGGERS,
    SENDER_LOGGERS,
    SIGTERM_HANDLER,
    WRONG_PARAMETERS,
    block_id,
    from_template,
    hand_over_state,
)
from obscale.tasks.runtime.sigterm import heed

ROOT = Path(__file__).resolve().parents[2]

OF_A_HANDLER = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"


def source_of(name):
    """Give the source of a module of Prefect's without loading it."""
    return Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("create_flow_run_input", ["self", "flow_run_id", "key", "value", "sender"]),
        ("filter_flow_run_input", ["self", "flow_run_id", "key_prefix", "limit", "exclude_keys"]),
        ("set_flow_run_state", ["self", "flow_run_id", "state", "force"]),
        ("set_task_run_state", ["self", "task_run_id", "state", "force"]),
    ],
)
def test_the_client_is_asked_as_it_wants_to_be(method, parameters):
    """Its methods take what we give them, in this order."""
    assert list(inspect.signature(getattr(PrefectClient, method)).parameters) == parameters


def test_prefect_installs_our_handler_of_sigterm_and_knows_it_again(monkeypatch):
    """By its name alone: renamed, every run would be ended as Crashed again, and nobody told."""
    code = source_of("prefect.utilities.engine")
    assert f"def {SIGTERM_HANDLER}(" in code
    assert f"signal.SIGTERM, {SIGTERM_HANDLER}" in code

    monkeypatch.setattr(engine, SIGTERM_HANDLER, heed)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert not engine.is_prefect_sigterm_handler_installed()
        signal.signal(signal.SIGTERM, heed)
        assert engine.is_prefect_sigterm_handler_installed()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_ends_a_run_from_outside_is_one_kind_of_signal():
    """The report calls it cancelled; no `except Exception` of a task may swallow it."""
    assert issubclass(TerminationSignal, ExternalSignal)
    assert not issubclass(ExternalSignal, Exception)


def test_loggers_have_the_names_that_are_filtered():
    """Those of runs, and those of the threads that send what runs tell."""
    run = FlowRun(flow_id=uuid4(), name="run")
    assert flow_run_logger(run).logger.name == FLOW_RUNS_LOGGER
    loggers = source_of("prefect.logging.loggers")
    assert all(f'get_logger("{name}")' in loggers for name in RUN_LOGGERS)
    internal, clients, *services = SENDER_LOGGERS
    assert f"class {services[0]}(" in source_of("prefect.events.worker")
    assert f"class {services[1]}(" in source_of("prefect.logging.handlers")
    service = source_of("prefect._internal.concurrency.services")
    assert 'logging.getLogger(f"{type(self).__name__}")' in service
    assert "get_logger(__name__)" in source_of(clients)
    assert concurrency.logger.name == internal


def test_a_process_that_was_made_for_a_run_knows_its_id():
    """A worker, and `serve`, hand it over by this variable."""
    assert f'"{PROCESS_OF_A_RUN}": str(' in source_of("prefect.runner._starter_engine")


def test_the_engine_goes_on_with_the_state_it_is_handed():
    """A run has both: the state, and its name."""
    run = FlowRun(flow_id=uuid4(), name="run")
    state = Cancelled(name="Held")

    hand_over_state(run, state)

    assert run.state is state
    assert run.state_name == "Held"


def test_a_block_tells_by_what_it_is_stored():
    """Its id; nothing of a block that was only made here; and the field that is added."""
    block = Webhook(url=SecretStr("http://127.0.0.1/"))
    assert block_id(block) is None
    assert "_block_document_id" in set(Block.__private_attributes__)
    assert block.model_dump()[BLOCK_TYPE_FIELD] == "webhook"


def test_an_automation_makes_a_parameter_of_a_template_that_writes_json():
    """Whatever its shape: the text of a template alone would always be a text."""
    context = HydrationContext(
        render_jinja=True, jinja_context={"event": {"payload": {"ports": {"rpc": 2882}}}}
    )
    wanted = {"ports": from_template("{{ event.payload.ports | tojson }}")}

    assert hydrate(wanted, context) == {"ports": {"rpc": 2882}}


@pytest.mark.parametrize(
    "name", sorted({*SERVER_SETTINGS, *QUIET_SETTINGS, *AUTH_VARIABLES} - {OF_A_HANDLER})
)
def test_settings_that_are_given_by_the_environment_exist(name):
    """A variable Prefect no longer reads is passed over without a word."""
    assert getattr(prefect.settings, name).name == name


def test_the_console_of_runs_can_be_silenced_by_the_environment():
    """No setting of its own: the variable's name is the way to a value in Prefect's logging.yml."""
    levels = yaml.safe_load((Path(prefect.logging.__file__).parent / "logging.yml").read_text())

    assert OF_A_HANDLER in QUIET_SETTINGS
    assert "level" in levels["handlers"]["console"]


def test_no_other_file_names_what_is_private():
    """One place to look after an update of Prefect."""
    private = (
        SIGTERM_HANDLER,
        "_block_document_",
        "__prefect_kind",
        "force=True",
        PROCESS_OF_A_RUN,
    )
    private += ("_flow_run_input(", "ExternalSignal", "SignatureMismatchError", *SENDER_LOGGERS)
    own = Path(prefect_private.__file__).resolve()
    files = [f for top in ("tasks", "flows", "deployments") for f in (ROOT / top).rglob("*.py")]
    imported = "from obscale.tasks.runtime.prefect_private import"

    wrong = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        if file != own
        for text in [file.read_text(encoding="utf-8")]
        for name in private
        if name in text and not (name.isidentifier() and imported in text)
    ]

    assert not wrong


def test_parameters_that_do_not_fit_are_not_written_into_the_log(caplog):
    """Prefect writes all of them, and a password may stand in one by mistake."""
    clusters = [{"cluster": {"password": "canary-in-a-parameter"}}]

    logger = logging.getLogger(FLOWS_LOGGER)

    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(ParameterTypeError):
            batch.validate_parameters({"clusters": clusters})
    finally:
        logger.removeHandler(caplog.handler)

    # Where the level lets lines pass to other handlers too, it is heard twice.
    assert {record.getMessage() for record in caplog.records} == {f"{WRONG_PARAMETERS} 'batch'"}


def test_events_that_are_queued_are_waited_for_within_a_limit():
    """All instances, whichever client they send with; it stops at the end, so nothing is lost."""
    assert list(inspect.signature(EventsWorker.drain_all).parameters) == ["timeout", "at_exit"]


def test_our_own_server_is_started_as_prefect_starts_one_for_a_client(monkeypatch):
    """The same program, words and variables; ours does without importing all of the server."""
    started = {}
    monkeypatch.setattr(
        prefect_server.subprocess,
        "Popen",
        lambda args, env: started.update(words=args, environment=env),
    )
    server = prefect_server.SubprocessASGIServer(port=9)

    server._run_uvicorn_command()
    server.stop()

    assert started["words"] == [sys.executable, "-m", *server_words(9)]
    theirs = {k: v for k, v in started["environment"].items() if k not in os.environ}
    assert theirs.items() >= OF_AN_OWN_SERVER.items()
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    assert theirs.keys() - OF_AN_OWN_SERVER.keys() <= settings.keys()
