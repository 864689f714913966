"""`obscale rehearse SPEC`: plays the whole run against a simulated double of the cluster.

The real cluster and its targets are only read, as by `obscale plan`; everything after that happens
between this process and loopback.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from ipaddress import ip_address
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from obscale.agent.address import AgentAddress
from obscale.agent.models import joined_address
from obscale.agent.silence import remembering_silence
from obscale.cli.apply import Ending, endings_as_data, run_all
from obscale.cli.exits import end_with
from obscale.cli.follow_scale_out import show_diagnosis
from obscale.cli.guarded import without_group_signals
from obscale.cli.local_prefect import require_prefect, settle
from obscale.cli.loudness import Quiet, Verbose
from obscale.cli.options import AsJson, SpecPath, WantedProfile
from obscale.cli.plan import Asked, read_request, secret_store_for
from obscale.cli.stopping import PROGRAM, Stopped
from obscale.cli.terminal import as_text, open_console, say_json
from obscale.errors import ObscaleError, SpecError
from obscale.plan import survey_all
from obscale.preflight.facts import Facts
from obscale.request.models import AgentInfoSpec, ClusterSpec, NodeSpec, SecretName, TlsSpec
from obscale.request.policies import OnFailure
from obscale.request.scale_out import ScaleOut, scale_outs_of
from obscale.request.time_limits import TimeLimits

if TYPE_CHECKING:
    from obscale.sandbox import Door, Fault, World

ROOT_VARIABLE: Final = "OBSCALE_REHEARSAL_ROOT_PASSWORD"
AGENT_VARIABLE: Final = "OBSCALE_REHEARSAL_AGENT_PASSWORD"
REAL_POLL_SECONDS: Final = 3.0

Speed = Annotated[
    float, typer.Option("--speed", min=0.1, max=1000, help="Times real pace; 1 = real.")
]


def completed_card(incomplete: str) -> list[str]:
    """Complete a fault card, up to the field it needs first."""
    from obscale.sandbox.faults.cards import CARDS  # noqa: PLC0415 - only where it is asked

    words = (f"{name}:{card.needs[0]}=" if card.needs else name for name, card in CARDS.items())
    return [word for word in words if word.startswith(incomplete)]


WantedFaults = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="CARD[:KEY=VALUE,…]",
        help="What shall go wrong, e.g. slow_observer:seconds=150 or fail_stage:stage=7.",
        autocompletion=completed_card,
    ),
]
WantedPolicy = Annotated[
    str, typer.Option("--on-failure", metavar="hold|retry|roll-back", help="As in a real run.")
]


def rehearse(
    spec: SpecPath,
    fault: WantedFaults = None,
    on_failure: WantedPolicy = "hold",
    speed: Speed = 10.0,
    as_json: AsJson = False,
    profile: WantedProfile = None,
    _quiet: Quiet = False,
    _verbose: Verbose = False,
) -> None:
    """Play a request against a simulated double of its cluster; nothing real is touched.

    The double has the real cluster's topology, versions and parameters and the target's host, as
    `obscale plan` reads them. What a failed run would ask a person is shown at its end.

    Exit: as apply: 0 verified, 1 blocked or failed, 2 bad input, 3 the real cluster cannot be read.
    """
    console = open_console(stderr=as_json)
    try:
        asked = read_request(Asked(spec, profile, None))
        cards, policy = [_card_of(text) for text in fault or ()], _checked_policy(on_failure)
        orders = scale_outs_of(asked)
        facts = _snapshot(orders)
        PROGRAM.stands(lambda: ("a rehearsal: nothing real was touched", ""))
        settle(own_home=True)
        endings = PROGRAM.run(_rehearse(orders, facts, cards, policy, speed, console))
    except ObscaleError as error:
        end_with(error, as_json=as_json)
    if as_json:
        say_json(endings_as_data(endings))
    raise typer.Exit(max(code for _, code, _ in endings))


def _snapshot(orders: tuple[ScaleOut, ...]) -> tuple[Facts, ...]:
    """Read the real cluster in a process of its own.

    So the process that plays has never held a real password, and a stored connection is read from
    the Prefect the user has, while the rehearsal writes into a Prefect of its own.

    Raises:
        SpecError: A name in the request resolves to nothing.
        AgentError: No entry agent of the cluster could be asked.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as reader:
        with without_group_signals():
            reading = reader.submit(_read, orders)
        try:
            return reading.result()
        except Stopped:
            for process in active_children():
                process.kill()
            raise


def _read(orders: tuple[ScaleOut, ...]) -> tuple[Facts, ...]:
    with remembering_silence():
        return asyncio.run(survey_all(orders, secret_store_for(orders)))


async def _rehearse(
    orders: tuple[ScaleOut, ...],
    facts: tuple[Facts, ...],
    cards: Sequence["Fault"],
    policy: OnFailure,
    speed: float,
    console: Console,
) -> list[Ending]:
    from obscale.rehearse.double import double_of, real_addresses  # noqa: PLC0415 - the sandbox's server
    from obscale.sandbox import ScaledClock, World, serve  # noqa: PLC0415

    real = real_addresses(facts)
    world = World(double_of(facts), clock=ScaledClock(speed=speed))
    async with serve(world) as door:
        stands_for = _pairs(real, door.ready)
        _show_pairs(console, stands_for, speed)
        for card in cards:
            _play(world, card, stands_for)
        doubled = [_on_stage(order, orders, door, stands_for, policy, speed) for order in orders]
        _insist_on_loopback(doubled)
        await asyncio.to_thread(require_prefect)
        endings = await run_all(tuple(doubled), console)
    for report, _, _ in endings:
        if report is not None and report.diagnosis is not None:
            show_diagnosis(console, report.diagnosis)
    console.print(as_text("a rehearsal: nothing real was touched", style="bold"))
    return endings


def _on_stage(
    order: ScaleOut,
    batch: Sequence[ScaleOut],
    door: "Door",
    stands_for: Mapping[str, str],
    policy: OnFailure,
    speed: float,
) -> ScaleOut:
    """Give the order with every real address replaced by the one that stands for it."""
    ready, cluster = door.ready, door.ready["clusters"][0]
    os.environ[ROOT_VARIABLE] = cluster["root_password"]
    return order.model_copy(
        update={
            "cluster": ClusterSpec(
                endpoints=tuple(
                    f"{door.scheme}://{joined_address(agent['ip'], agent['port'])}"
                    for agent in cluster["agents"]
                ),
                password=SecretName(env=ROOT_VARIABLE),
                name=cluster["name"],
                id=cluster["id"],
                tls=TlsSpec(ca_file=str(door.ca_path) if door.ca_path else None),
            ),
            "node": _node_on_stage(order.node, ready, stands_for),
            "batch": tuple(_node_on_stage(other.node, ready, stands_for) for other in batch),
            "on_failure": policy,
            "time_limits": TimeLimits(
                steady_seconds=order.time_limits.steady_seconds / speed,
                poll_seconds=max(0.2, min(REAL_POLL_SECONDS, 2 / speed)),
                retry_pause_seconds=order.time_limits.retry_pause_seconds / speed,
                lost_answer_seconds=max(1.0, order.time_limits.lost_answer_seconds / speed),
            ),
        }
    )


def _node_on_stage(
    node: NodeSpec, ready: Mapping[str, Any], stands_for: Mapping[str, str]
) -> NodeSpec:
    address = AgentAddress.parse(stands_for[node.address])
    password = next(
        spare["agent_password"]
        for spare in ready["spares"]
        if (spare["ip"], spare["port"]) == (address.ip, address.port)
    )
    os.environ[AGENT_VARIABLE] = password
    return node.model_copy(
        update={
            "agentInfo": AgentInfoSpec(ip=address.ip, port=address.port),
            "targetAgentPassword": SecretName(env=AGENT_VARIABLE) if password else None,
        }
    )


def _pairs(real: Sequence[str], ready: Mapping[str, Any]) -> dict[str, str]:
    """Give the simulated address of each real one."""
    simulated = (*ready["clusters"][0]["agents"], *ready["spares"])
    return {
        address: joined_address(agent["ip"], agent["port"])
        for address, agent in zip(real, simulated, strict=True)
    }


def _show_pairs(console: Console, stands_for: Mapping[str, str], speed: float) -> None:
    table = Table("real", "played by", title=f"The double, {speed:g}× real pace")
    table.title_justify = "left"
    for real, simulated in stands_for.items():
        table.add_row(as_text(real), as_text(simulated))
    console.print(table)


def _insist_on_loopback(orders: Sequence[ScaleOut]) -> None:
    """See that no order can reach anything real.

    Raises:
        ObscaleError: One names an address outside this machine's loopback.
    """
    for order in orders:
        assert not isinstance(order.cluster, str)  # noqa: S101 - written out by _on_stage
        addresses = [AgentAddress.parse(each).ip for each in order.cluster.endpoints]
        for ip in (*addresses, order.node.agentInfo.ip):
            if not ip_address(ip).is_loopback:
                raise ObscaleError(f"rehearse: {ip} is no loopback address; nothing was sent", "")


def _card_of(text: str) -> "Fault":
    """Take `card:key=value,key=value` apart.

    Raises:
        SpecError: It is not written so, or there is no such card, or it lacks something.
    """
    from obscale.sandbox import Fault  # noqa: PLC0415 - other commands start without its web server

    name, _, rest = text.partition(":")
    told: dict[str, str] = {"card": name.strip()}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise SpecError(
                f"--fault {text}: {part!r} is no KEY=VALUE", "e.g. slow_observer:seconds=150"
            )
        told[key.strip()] = value.strip()
    try:
        return Fault.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or name
        said = first["msg"].removeprefix("Value error, ")
        raise SpecError(f"--fault {text}: {place}: {said}", "e.g. fail_stage:stage=7") from None


def _play(world: "World", card: "Fault", stands_for: Mapping[str, str]) -> None:
    """Play one card; an address in it may be the real one.

    Raises:
        SpecError: Nobody in this rehearsal is at its address.
    """
    if card.target is not None:
        if card.target not in {*stands_for, *stands_for.values()}:
            raise SpecError(
                f"--fault {card.card}: no agent {card.target} takes part",
                f"name one of {', '.join(stands_for)}",
            )
        card = card.model_copy(update={"target": stands_for.get(card.target, card.target)})
    world.play(card)


def _checked_policy(text: str) -> OnFailure:
    match text:
        case "hold" | "retry" | "roll-back":
            return text
        case _:
            raise SpecError(
                f"--on-failure: {text!r} is no policy of a rehearsal", "hold, retry or roll-back"
            )
