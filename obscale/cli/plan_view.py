"""Shows a plan in a terminal: verdict, findings, and the cluster after the scale-out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from obscale.cli.bars import show_capacity
from obscale.cli.loudness import LOUDNESS, aloud
from obscale.cli.terminal import as_text, label, reader_line
from obscale.pictures.unit_room import changed
from obscale.plan import Plan, RowPlan
from obscale.plan.forecast import Forecast
from obscale.plan.preview import SentValue
from obscale.preflight.facts import TargetProgress
from obscale.preflight.finding import Answer, Finding, otherwise
from obscale.preflight.offers import Offer
from obscale.preflight.pictures import capacity_bars
from obscale.preflight.tenant_room import TenantRoom
from obscale.preflight.unit_room import UnitRoom
from obscale.sizes import render_bytes

COLOURS: Final = {
    "block": "bold red",
    "fail": "bold red",
    "warn": "yellow",
    "unknown": "magenta",
    "info": "cyan",
    "pass": "green",
    "n-a": "dim",
}
QUIET: Final = {Answer.PASS, Answer.NOT_APPLICABLE}
DIM: Final = "dim"
HEAD: Final = "bold"
MOST_OBSERVERS_NAMED: Final = 2
"""Of one zone, before the rest is only counted."""
INDENT: Final = 2
MOST_TARGETS_NAMED: Final = 3
MOST_NODES_NAMED: Final = 12
"""Of one request; --json lists all."""
MOST_CONFIGS_NAMED: Final = 2
MOST_ZONES_NAMED: Final = 4
MOST_TENANTS_NAMED: Final = 8
MOST_CHARACTERS: Final = 400
"""Of one value; --json has it whole."""
MOST_OF_A_NAME: Final = 48
WIDEST_KEY: Final = 40
"""Longer keys are folded, so that values keep their place."""
_PROGRESS: Final = {
    TargetProgress.MEMBER: " (a member already: nothing is submitted)",
    TargetProgress.UNDER_WAY: " (its scale-out is under way and will be taken up)",
}


@dataclass(frozen=True)
class Told:
    """One finding, with the targets it was made of."""

    finding: Finding
    targets: tuple[str, ...]


def show_plan(console: Console, plan: Plan) -> None:
    """Print a whole plan, the verdict first; and last again where it has left the screen."""
    if console.quiet:
        with aloud(console):
            _show_verdict(console, plan, whole=True)
        return
    with console.capture() as shown:
        _show_verdict(console, plan)
        _show_rest(console, plan)
    page = shown.get()
    console.file.write(page)
    if console.is_terminal and page.count("\n") >= console.height:
        _show_verdict(console, plan)


def _show_rest(console: Console, plan: Plan) -> None:
    _show_request(console, plan.rows)
    _show_told(console, merged(plan.rows), len(plan.rows))
    if plan.unknown:
        words = f"  could block, and could not be judged: {', '.join(plan.unknown)}"
        console.print(as_text(words, style="magenta"))
    for rule in plan.overrides_not_needed:
        console.print(as_text(f"  the override of {rule} is not needed; take it out", style=DIM))
    if plan.forecast is None:
        console.print(as_text("Expected after: the topology could not be read", style="magenta"))
    else:
        _show_forecast(console, plan.forecast)
    if plan.capacity is not None:
        show_capacity(console, capacity_bars(plan.capacity))
        show_unit_rooms(console, plan.capacity.units)
        show_tenant_rooms(console, plan.capacity.tenants)
    _show_checklist(console, plan)


def show_unit_rooms(console: Console, rooms: Sequence[UnitRoom]) -> None:
    """Print in a line how many more units of a config fit; --json has what ends first, and where.

    Args:
        console: Where to.
        rooms: The largest unit first.
    """
    for room in rooms[:MOST_CONFIGS_NAMED]:
        told = [f"{zone.zone} {changed(zone.now, zone.grown)}" for zone in room.zones]
        line = as_text(f"room for {room.config}: {changed(room.now, room.grown)} more")
        line.append_text(as_text(f"; {_listed(told, MOST_ZONES_NAMED)}"))
        if room.short_of:
            line.append_text(as_text(f"; {room.short_of} ends first"))
        _line(console, line)
    if more := len(rooms[MOST_CONFIGS_NAMED:]):
        _line(console, as_text(f"and {more} unit configs more; --json lists them", style=DIM))


def show_tenant_rooms(console: Console, rooms: Sequence[TenantRoom]) -> None:
    """Print in a line for each tenant how many units it could have once the nodes have joined."""
    for room in rooms[:MOST_TENANTS_NAMED]:
        _line(console, as_text(room.told))
    if more := len(rooms[MOST_TENANTS_NAMED:]):
        _line(console, as_text(f"and {more} tenants more; --json lists them", style=DIM))


def show_findings(console: Console, findings: Iterable[Finding]) -> None:
    """Print the findings that say something, the gravest first, and count the quiet ones."""
    _show_told(console, [Told(finding, ()) for finding in findings], 1)


def merged(rows: Sequence[RowPlan]) -> list[Told]:
    """Tell what several targets have in common once; the gravest first."""
    together: dict[Finding, list[str]] = {}
    for row in rows:
        for finding in row.findings:
            own = finding.subject == row.target
            key = finding.model_copy(update={"subject": ""}) if own else finding
            together.setdefault(key, []).append(row.target)
    order = list(Answer)
    return sorted(
        (Told(finding, tuple(targets)) for finding, targets in together.items()),
        key=lambda told: (order.index(told.finding.weight), order.index(told.finding.answer)),
    )


def _show_verdict(console: Console, plan: Plan, *, whole: bool = False) -> None:
    """Print the verdict and the next step; `whole`: in one line at any width."""
    line = as_text(label(plan.verdict).upper(), style="bold green" if plan.ready else "bold red")
    line.append_text(as_text(f" ({plan.profile})  next: ", style="not bold default"))
    line.append_text(as_text(plan.next, style="bold default"))
    console.print(line, soft_wrap=whole)


def _show_request(console: Console, rows: Sequence[RowPlan]) -> None:
    first = rows[0].request
    words = f"To be asked of {first.agent}: {first.endpoint}"
    if all(row.progress is not TargetProgress.NEW for row in rows):
        words = f"Nothing is asked of {first.agent} again"
    console.print(as_text(words, style=HEAD))
    counts = Counter((v.key, v.value, v.origin) for row in rows for v in row.request.sent)
    shared = {key for key, count in counts.items() if count == len(rows)}
    for row in rows[:MOST_NODES_NAMED]:
        origin = " (from the defaults)" if "zone" in row.request.merged else ""
        words = (
            f"{row.target} → {row.zone}{origin} of {_short(row.cluster, MOST_OF_A_NAME)}"
            f"{_PROGRESS.get(row.progress, '')}"
        )
        _line(console, as_text(words))
        if len(rows) > 1:
            _show_values(console, [v for v in row.request.sent if _id(v) not in shared], INDENT * 2)
    if more := len(rows[MOST_NODES_NAMED:]):
        _line(console, as_text(f"and {more} more; --json lists them", style=DIM))
    if len(rows) > 1:
        _line(console, as_text(f"all {len(rows)} nodes"))
    _show_values(console, [v for v in first.sent if _id(v) in shared], INDENT * 2)
    left = dict.fromkeys(
        f"{value.key} {value.value} ({label(value.why)})"
        for row in rows
        for value in row.request.left
    )
    if left:
        _line(console, as_text("not sent: " + " · ".join(left), style=DIM))


def _id(value: SentValue) -> tuple[str, str, str]:
    return value.key, value.value, value.origin


def _show_values(console: Console, values: Sequence[SentValue], indent: int) -> None:
    if not values:
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=WIDEST_KEY)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for value in values:
        size = "" if value.size_bytes is None else f"{value.size_bytes:,} B"
        origin = "" if value.origin == "node" else f"from the {value.origin}"
        table.add_row(
            as_text(" " * indent + _short(value.key, MOST_OF_A_NAME)),
            as_text(f'"{_short(value.value, MOST_CHARACTERS)}"'),
            as_text(size, style=DIM),
            as_text(origin.replace("from the node", "of the node"), style=DIM),
        )
    console.print(table)


def _show_told(console: Console, told: Sequence[Told], rows: int) -> None:
    quiet_ones = set() if LOUDNESS.is_verbose else QUIET
    telling = [each for each in told if each.finding.answer not in quiet_ones]
    quiet = {each.finding.rule for each in told} - {each.finding.rule for each in telling}
    console.print(as_text(label("Findings"), style=HEAD))
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    answers = [label(each.finding.answer.value) for each in telling]
    room = console.width - INDENT - max(map(cell_len, answers), default=0) - 1
    for each, answer in zip(telling, answers, strict=True):
        style = COLOURS[each.finding.answer.value]
        table.add_row(as_text(" " * INDENT + answer, style=style), _told(each, rows, room))
    console.print(table)
    words = f"{len(quiet)} rules pass or do not apply; obscale explain RULE tells of each"
    _line(console, as_text(words, style=DIM))


def _told(each: Told, rows: int, room: int) -> Text:
    finding = each.finding
    told = _line_of(each, rows, finding.needed)
    if finding.answer is Answer.INFO and not finding.overridden_by:
        # Worth knowing, not worth two lines where one will do: --json has it whole.
        return told if told.cell_len <= room else _line_of(each, rows, "")
    if why := finding.overridden_by:
        told.append("\n")
        told.append_text(
            as_text(f"overridden until {why.until}: {why.reason}", style="not bold cyan")
        )
    elif words := "; ".join(filter(None, (finding.remedy, otherwise(finding.otherwise)))):
        told.append("\n")
        told.append_text(as_text(f"→ {reader_line(words)}", style="not bold dim", is_said=True))
    return told


def _line_of(each: Told, rows: int, needed: str) -> Text:
    finding = each.finding
    text = as_text(finding.rule, style="bold")
    text.append_text(as_text(f"  {label(finding.measured)}", style="not bold"))
    if finding.subject and finding.subject not in each.targets and each.targets:
        text.append_text(as_text(f" ({_short(finding.subject, MOST_OF_A_NAME)})", style="not bold"))
    if needed:
        text.append_text(as_text(f"; needed {needed}", style="not bold"))
    if rows > 1 and len(each.targets) < rows:
        text.append_text(
            as_text(f" — {_listed(each.targets, MOST_TARGETS_NAMED)}", style="not bold")
        )
    return text


def _short(text: str, most: int) -> str:
    """Cut what no screen is made for; of what is longer than a name, say how long it is."""
    if len(text) <= most:
        return text
    return f"{text[:most]}…" + (f" ({len(text):,} characters)" if most > MOST_OF_A_NAME else "")


def _listed(names: Sequence[str], most: int) -> str:
    """Name the first few, and count the rest."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _show_forecast(console: Console, forecast: Forecast) -> None:
    table = Table.grid(padding=(0, 2))
    for _ in range(6):
        table.add_column(overflow="fold")
    names = ("Expected after", "observers", "", "cpu", "unit memory", "data disk")
    table.add_row(*(as_text(label(name), style=HEAD) for name in names))
    for zone in forecast.zones:
        servers = as_text(_listed(zone.observers, MOST_OBSERVERS_NAMED))
        if zone.joining:
            joining = f"+ {_listed(zone.joining, MOST_OBSERVERS_NAMED)}"
            servers.append_text(as_text(f" {joining}" if servers else joining, style="green"))
        name = f"{zone.zone} (new)" if zone.is_new else zone.zone
        table.add_row(as_text(f"  {name}"), *_offers(zone.before, zone.after, servers))
    table.add_row(
        as_text(f"  {label('cluster')}"), *_offers(forecast.before, forecast.after, as_text(""))
    )
    console.print(table)


def _offers(before: Offer, after: Offer, servers: Text) -> tuple[Text, ...]:
    return (
        _change(str(before.servers), str(after.servers)),
        servers,
        _change(_number(before.cpu), _number(after.cpu)),
        _change(_size(before.memory_bytes), _size(after.memory_bytes)),
        _change(_size(before.data_disk_bytes), _size(after.data_disk_bytes)),
    )


def _change(before: str, after: str) -> Text:
    return as_text(before) if before == after else as_text(f"{before} → {after}", style="green")


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:g}"


def _size(value: int | None) -> str:
    return "?" if value is None else render_bytes(value)


def _show_checklist(console: Console, plan: Plan) -> None:
    if not plan.ready:
        words = f"{len(plan.checklist)} things are not visible to obshell; asked once this is ready"
        console.print(as_text(words, style=DIM))
        return
    asked = "acknowledged by whoever applies" if plan.profile == "prod" else "optional in the lab"
    console.print(as_text(f"Not visible to obshell, {asked}", style=HEAD))
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for check in plan.checklist:
        table.add_row(as_text(f"  ☐ {label(check.claim)}"), as_text(check.how, style=DIM))
    console.print(table)


def _line(console: Console, text: Text) -> None:
    console.print(Padding(text, (0, 0, 0, INDENT), expand=False))
