"""`python -m obscale.deployments.automations`: stores the automations that react to what runs tell.

Each is made or brought up to date; applying them again changes nothing. docs/events.md lists them
and the events. The server's address is taken from Prefect's own settings.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

import httpx
from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.blocks.core import Block
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, CallWebhook, ChangeFlowRunState, RunDeployment
from prefect.exceptions import ObjectNotFound, PrefectException
from pydantic import SecretStr

from obscale.cli.exits import end_with
from obscale.cli.local_prefect import require_prefect, settle
from obscale.deployments.messages import CHANNELS, block_name, fault_of, tell
from obscale.errors import PrefectUnreachableError
from obscale.request.policies import BATCH_FLOW, PARTS_FLOW
from obscale.tasks.runtime.events import (
    HALF_DONE,
    HELD,
    PREFIX,
    REMOVAL_PREFIX,
    REPLACEMENT_PREFIX,
)
from obscale.tasks.runtime.forms import RECOVER, VERIFY, WATCH
from obscale.tasks.runtime.prefect_private import block_id, from_template
from obscale.tasks.runtime.run_state import RERUN_TAG, STATE_NAMES

WEBHOOK_BLOCK: Final = "obscale-notify"
NEEDS_A_PERSON: Final = (HELD, "failed", "asking", HALF_DONE)
CAPACITY_EVENT: Final = "obscale.capacity.needed"
DOWN_EVENT: Final = "obscale.member.down"
"""Sent to Prefect by whatever watches the cluster, when a member stops serving."""
UP_EVENT: Final = "obscale.member.up"
"""Likewise, when it serves again."""
DOWN_FOR: Final = timedelta(hours=1)
"""As long as OceanBase waits itself, `server_permanent_offline_time`, before it gives one up."""
RERUN_AFTER: Final = timedelta(seconds=30)
"""A crash is reported twice, seconds apart, and the second report undoes a rerun begun before."""
HEARTBEAT: Final = "prefect.flow-run.heartbeat"
"""Sent by the process of every run, each PREFECT_FLOWS_HEARTBEAT_FREQUENCY seconds."""
SILENT_SECONDS: Final = 600
"""Three of Prefect's own heartbeats, 180 s each, and some."""
LEAST_SILENT_SECONDS: Final = 60
"""Two of the shortest heartbeats Prefect takes."""
HOLDING_FLOWS: Final = ("scale-out", BATCH_FLOW, PARTS_FLOW)
"""Whose runs may be held; not recover itself, which would ask again for ever."""
REPLACE: Final = "replace"
OUR_FLOWS: Final = (*HOLDING_FLOWS, "plan", VERIFY, WATCH, RECOVER, "remove", REPLACE)
FROM_ENVIRONMENT: Final = "env:"
"""Before the name of a variable that holds an address."""
QUIET_STATES: Final = (
    *("Completed", "Failed", "TimedOut", "Crashed", "Cancelled", *STATE_NAMES.values()),
    *("Scheduled", "AwaitingRetry", "Suspended"),
)
"""Of a run that has no process any more, and needs none."""
MESSAGE: Final = """{{ {
  "event": event.event, "cluster": event.payload.get("cluster"),
  "target": event.payload.get("target"), "zone": event.payload.get("zone"),
  "cause": event.payload.get("cause"), "remedy": event.payload.get("remedy"),
  "error_kind": event.payload.get("error_kind"), "error": event.payload.get("error"),
  "waits_for": event.payload.get("waits_for"), "run": flow_run|ui_url,
  "dag": event.payload.get("dag"), "next": event.payload.get("next"),
  "deployment": event.payload.get("deployment"), "form": event.payload.get("form")
} | tojson }}"""
"""Body of the notification; what an event does not have is null. No event holds a secret."""


NO_ADDRESSES: Final[Mapping[str, str]] = {}


def notify(webhook: UUID) -> AutomationCore:
    """Call a webhook when a run failed, is held or asks."""
    return AutomationCore(
        name="obscale: call when a run needs a person",
        description="Calls the webhook block obscale-notify with the cluster, target and cause.",
        trigger=_told(*NEEDS_A_PERSON, prefixes=ALL_PREFIXES),
        actions=[CallWebhook(block_document_id=webhook, payload=MESSAGE)],
    )


ALL_PREFIXES: Final = (PREFIX, REMOVAL_PREFIX, REPLACEMENT_PREFIX)


def _told(
    *names: str, flows: tuple[str, ...] = (), prefixes: tuple[str, ...] = (PREFIX,)
) -> EventTrigger:
    """Give a trigger on what a run tells: the names of its events, and of the flows it is of."""
    related: dict[str, str | list[str]] = {}
    if flows:
        related = {"prefect.resource.role": "flow", "prefect.resource.name": list(flows)}
    return EventTrigger(
        expect={prefix + name for prefix in prefixes for name in names},
        match={"prefect.resource.id": "obscale.cluster.*"},
        match_related=related,
        posture=Posture.Reactive,
        threshold=1,
    )


def ask_when_held(deployment: UUID) -> AutomationCore:
    """Start recover for a DAG that is held, paused until a person chooses. It is made switched off.

    By itself it reads only; what is chosen on its page is carried out and followed to verified.
    """
    start: ActionTypes = RunDeployment(
        source="selected",
        deployment_id=deployment,
        parameters={
            "cluster": _from_event("connection"),
            "dag": _from_event("dag"),
            "decision": "ask",
        },
        job_variables=None,
    )
    return AutomationCore(
        name="obscale: ask what becomes of a held DAG",
        description="Starts recover with the decision ask: Resume on its page offers what is safe.",
        enabled=False,
        trigger=_told(HELD, flows=HOLDING_FLOWS),
        actions=[start],
    )


def rerun() -> AutomationCore:
    """Schedule a crashed run again, half a minute later, if it carries the tag for it."""
    again: ActionTypes = ChangeFlowRunState(
        state=StateType.SCHEDULED,
        name="AwaitingRetry",
        message="Run again after a crash.",
        force=False,
    )
    return AutomationCore(
        name="obscale: run a crashed run again",
        description=f"Only runs tagged {RERUN_TAG}; the flow itself ends after five attempts.",
        trigger=EventTrigger(
            after={"prefect.flow-run.Crashed"},
            # Whoever has scheduled it again meanwhile was quicker.
            expect={"prefect.flow-run.Scheduled", "prefect.flow-run.AwaitingRetry"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={
                "prefect.resource.role": "tag",
                "prefect.resource.id": f"prefect.tag.{RERUN_TAG}",
            },
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=RERUN_AFTER,
        ),
        actions=[again],
    )


def _end_lost(silence: timedelta) -> AutomationCore:
    """End a run as Crashed that has told nothing of itself for so long, as its process does.

    A worker reports that a run's process was killed; where both were killed nobody does, and the
    run would be called running for ever. https://docs.prefect.io/v3/advanced/detect-zombie-flows

    Args:
        silence: Longer than the time between two heartbeats of any run.
    """
    over: ActionTypes = ChangeFlowRunState(
        state=StateType.CRASHED,
        name="Crashed",
        message=f"No sign of life for {silence.total_seconds():.0f} s: its process is gone.",
        # A run that has ended meanwhile stays what it is.
        force=False,
    )
    flows: dict[str, str | list[str]] = {
        "prefect.resource.role": "flow",
        "prefect.resource.name": list(OUR_FLOWS),
    }
    return AutomationCore(
        name="obscale: end a run whose process is gone",
        description=(
            f"A run of obscale's without a heartbeat for {silence.total_seconds():.0f} s is "
            "Crashed: its worker, which would have said so, is gone with it."
        ),
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *(f"prefect.flow-run.{name}" for name in QUIET_STATES)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=flows,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[over],
    )


def _plan_on_request(deployment: UUID) -> AutomationCore:
    """Start a plan-only run when something says that a cluster needs room."""
    start: ActionTypes = RunDeployment(
        source="selected",
        deployment_id=deployment,
        parameters={
            name: _from_event(name) for name in ("cluster", "agentInfo", "zone", "obConfigs")
        },
        job_variables=None,
    )
    return AutomationCore(
        name="obscale: plan when capacity is needed",
        description=f"On {CAPACITY_EVENT} with cluster, agentInfo, zone and obConfigs; only plans.",
        trigger=EventTrigger(
            expect={CAPACITY_EVENT},
            match={"prefect.resource.id": "obscale.cluster.*"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[start],
    )


def replace_when_down(deployment: UUID, down_for: timedelta = DOWN_FOR) -> AutomationCore:
    """Plan a replacement of a member that is down for an hour; the run waits for a person, twice.

    Nothing is added before somebody approves the plan, and nothing is removed before somebody types
    the address of the dead member. It is made switched off.

    Args:
        deployment: Of the flow replace.
        down_for: Without a word that it serves again.
    """
    start: ActionTypes = RunDeployment(
        source="selected",
        deployment_id=deployment,
        parameters={
            **{name: _from_event(name) for name in ("cluster", "dead", "agentInfo", "zone")},
            "obConfigs": _from_event("obConfigs"),
            "approval": "ask",
            "confirm": "",
        },
        job_variables=None,
    )
    hours = down_for.total_seconds() / 3600
    return AutomationCore(
        name="obscale: plan a replacement of a member that stays down",
        description=(
            f"On {DOWN_EVENT} with cluster, dead, agentInfo, zone and obConfigs, where no "
            f"{UP_EVENT} of the same member follows for {hours:g} h. The run adds nothing before "
            "its plan is approved."
        ),
        enabled=False,
        trigger=EventTrigger(
            after={DOWN_EVENT},
            expect={UP_EVENT},
            match={"prefect.resource.id": "obscale.agent.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=down_for,
        ),
        actions=[start],
    )


def _from_event(name: str) -> dict[str, Any]:
    """Take a parameter from the event's payload, whatever its shape."""
    template = f"{{{{ event.payload.{name} | tojson }}}}"
    return from_template(template)


async def apply(
    webhook_url: str | None,
    plan_deployment: str,
    silence: timedelta,
    *,
    recover_deployment: str = f"{RECOVER}/{RECOVER}-workers",
    replace_deployment: str = f"{REPLACE}/{REPLACE}-workers",
    addresses: Mapping[str, str] = NO_ADDRESSES,
) -> list[str]:
    """Make or update what can be; gives a line for each, also for what is left out.

    Args:
        webhook_url: To be called; None: that of the block there is.
        plan_deployment: Of the flow plan.
        silence: After which a run is lost.
        recover_deployment: Of the flow recover.
        replace_deployment: Of the flow replace.
        addresses: By the name of the channel; of others the block there is.
    """
    async with get_client() as client:
        wanted, told = [_end_lost(silence), rerun()], []
        if webhook := await _webhook(webhook_url):
            wanted.append(notify(webhook))
        else:
            told.append("left out: call when a run needs a person (give --webhook URL)")
        try:
            plan = await client.read_deployment_by_name(plan_deployment)
            wanted.append(_plan_on_request(plan.id))
        except ObjectNotFound:
            told.append(f"left out: plan when capacity is needed (no {plan_deployment})")
        try:
            wanted.append(
                ask_when_held((await client.read_deployment_by_name(recover_deployment)).id)
            )
        except ObjectNotFound:
            told.append(f"left out: ask what becomes of a held DAG (no {recover_deployment})")
        try:
            wanted.append(
                replace_when_down((await client.read_deployment_by_name(replace_deployment)).id)
            )
        except ObjectNotFound:
            what = "plan a replacement of a member that stays down"
            told.append(f"left out: {what} (no {replace_deployment})")
        told_by = {name: await _channel(name, addresses.get(name)) for name in CHANNELS}
        needs = _told(*NEEDS_A_PERSON, prefixes=ALL_PREFIXES)
        wanted.extend(tell(name, block, needs) for name, block in told_by.items() if block)
        return [await _kept(client, each) for each in wanted] + told


async def _channel(channel: str, address: str | None) -> UUID | None:
    """Store a channel's address; without one give the block there is, None where there is none."""
    made = CHANNELS[channel].block
    if address:
        return await made(address).asave(block_name(channel), overwrite=True)
    kind = type(made("https://example.org"))
    try:
        return block_id(cast("Block", await kind.aload(block_name(channel))))
    except ValueError:
        return None


async def _webhook(url: str | None) -> UUID | None:
    """Store the address, encrypted as every block; without one give the block there is."""
    if url:
        block = Webhook(method="POST", url=SecretStr(url))
        return await block.asave(WEBHOOK_BLOCK, overwrite=True)
    try:
        stored = cast("Webhook", await Webhook.aload(WEBHOOK_BLOCK))
    except ValueError:
        return None
    return block_id(stored)


async def _kept(client: PrefectClient, wanted: AutomationCore) -> str:
    there = await client.read_automations_by_name(wanted.name)
    if not there:
        await client.create_automation(wanted)
        return f"made{'' if wanted.enabled else ', switched off'}: {wanted.name}"
    # Somebody may have switched it off; that stays.
    kept = wanted.model_copy(update={"enabled": there[0].enabled})
    await client.update_automation(there[0].id, kept)
    return f"up to date: {wanted.name}"


def _silence(text: str) -> timedelta:
    if not text.isdecimal() or int(text) < LEAST_SILENT_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds from {LEAST_SILENT_SECONDS} on: living runs would "
            "be ended between two heartbeats"
        )
    return timedelta(seconds=int(text))


def _address(text: str) -> str:
    """Take an address, or that of a variable: what is typed is seen by every user."""
    if not text.startswith(FROM_ENVIRONMENT):
        return text
    name = text.removeprefix(FROM_ENVIRONMENT)
    if not (found := os.environ.get(name)):
        raise argparse.ArgumentTypeError(f"environment variable {name!r} is not set, or is empty")
    return found


def main() -> None:
    """Apply all automations. Exit: 0 applied, 2 bad input, 3 Prefect's API does not take them."""
    parser = argparse.ArgumentParser(prog="python -m obscale.deployments.automations")
    parser.add_argument(
        "--webhook",
        type=_address,
        help="address to POST to, or env:VARIABLE; kept in a block, needed once",
    )
    for name, channel in CHANNELS.items():
        parser.add_argument(
            f"--{name}",
            type=_address,
            metavar="ADDRESS",
            help=f"tell by {channel.title}, likewise: {channel.form.replace('%', '%%')}",
        )
    parser.add_argument("--plan", default="plan/plan-workers", help="deployment of the flow plan")
    parser.add_argument(
        "--recover",
        default=f"{RECOVER}/{RECOVER}-workers",
        help="deployment of the flow recover",
    )
    parser.add_argument(
        "--replace",
        default=f"{REPLACE}/{REPLACE}-workers",
        help="deployment of the flow replace",
    )
    parser.add_argument(
        "--lost-after",
        type=_silence,
        default=timedelta(seconds=SILENT_SECONDS),
        metavar="SECONDS",
        help="without a heartbeat, until a run is Crashed; at least three heartbeats of your "
        f"runs, see PREFECT_FLOWS_HEARTBEAT_FREQUENCY (default: {SILENT_SECONDS})",
    )
    given = parser.parse_args()
    addresses = {name: found for name in CHANNELS if (found := getattr(given, name))}
    for name, address in addresses.items():
        if fault := fault_of(name, address):
            parser.error(fault)
    settle(quiet=False)
    try:
        require_prefect(to_record=True)
        lines = asyncio.run(
            apply(
                given.webhook,
                given.plan,
                given.lost_after,
                recover_deployment=given.recover,
                replace_deployment=given.replace,
                addresses=addresses,
            )
        )
    except PrefectUnreachableError as error:
        end_with(error)
    except (PrefectException, httpx.HTTPError, RuntimeError) as error:
        # The address may hold a token, so only the first line, which names Prefect's own.
        said = str(error).split("\n", maxsplit=1)[0]
        print(f"automations: Prefect's API does not take them: {said}", file=sys.stderr)  # noqa: T201 - a program's answer
        sys.exit(3)
    print("\n".join(lines))  # noqa: T201 - a program's answer


if __name__ == "__main__":
    main()
