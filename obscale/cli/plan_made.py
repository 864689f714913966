"""Plans a request that is made here: of a file of OBD's, or of a pool of spares."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from obscale.cli.exits import Exit
from obscale.cli.from_obd import ObdWanted, import_obd, show_import
from obscale.cli.grow import MORE_SPARES, GrowWanted, choose_spares, lack_of, show_growth
from obscale.cli.plan import Asked, checked_profile, plan_now, refuse_minutes, secret_store_for
from obscale.cli.plan_view import show_plan
from obscale.cli.terminal import complain, open_console, say_json
from obscale.errors import SpecError
from obscale.plan import Plan
from obscale.plan.file import DEFAULT_VALID_MINUTES, plan_file, write_plan_file
from obscale.plan.grow_file import Grown
from obscale.request.models import ScaleOutSpec

LISTS: Final = ("grow", "cluster_endpoint")
"""Options that may be given several times."""


@dataclass(frozen=True)
class KeptFor:
    """How a request that is made here is judged, and where its plan is kept."""

    profile: str | None
    out: Path | None
    valid_minutes: int | None


def _refuse_misplaced(obd: ObdWanted, more: GrowWanted, spec: Path | None) -> None:
    """Refuse options that mean nothing together.

    Raises:
        SpecError: There are such.
    """
    if obd.from_obd is not None and more.grow:
        raise SpecError("--from-obd, --grow: each makes a request", "leave one of them out")
    for option, is_given in (("--from-obd", obd.from_obd is not None), ("--grow", bool(more.grow))):
        if is_given and spec is not None:
            raise SpecError(f"{option}: takes no SPEC beside it", "leave one of them out")
    if obd.from_obd is None and (given := obd.given()):
        raise SpecError(f"{', '.join(given)}: only with --from-obd", "leave it out")
    if not more.grow and (given := more.given()):
        raise SpecError(f"{', '.join(given)}: only with --grow", "leave it out")
    of_both = {
        "--out-request": more.out_request,
        "--password-env": more.password_env,
        "--password-block": more.password_block,
    }
    given = tuple(option for option, value in of_both.items() if value)
    if given and obd.from_obd is None and not more.grow:
        raise SpecError(f"{', '.join(given)}: only with --from-obd or --grow", "leave it out")


def plan_made(
    spec: Path | None, given: Mapping[str, Any], kept_for: KeptFor, *, as_json: bool
) -> Exit:
    """Plan a request that is made of OBD's file, or of a pool of spares.

    Args:
        spec: As written beside the options; there may be none.
        given: What was written after them, by their names.
        kept_for: How it is judged, and where the plan is kept.
        as_json: As for every command.

    Raises:
        SpecError: Options mean nothing together, or what they name is wrong.
        PreflightError: The cluster says otherwise.
        AgentError: Nobody could be asked.
    """
    of_obd = {each.name for each in fields(ObdWanted)}
    of_pool: dict[str, Any] = {each.name: given[each.name] for each in fields(GrowWanted)}
    of_pool |= {name: tuple(of_pool[name] or ()) for name in LISTS}
    obd = ObdWanted(**{name: given[name] for name in of_obd})
    more = GrowWanted(**of_pool)
    _refuse_misplaced(obd, more, spec)
    refuse_minutes(kept_for.out, kept_for.valid_minutes)
    if more.grow:
        return _plan_grown(more, kept_for, as_json=as_json)
    return _plan_obd(obd, kept_for, as_json=as_json)


def _plan_obd(wanted: ObdWanted, kept_for: KeptFor, *, as_json: bool) -> Exit:
    """Plan the new servers of a file of OBD's, keep the plan where asked, and show both."""
    profile = kept_for.profile
    asked, told = import_obd(wanted, checked_profile(profile), secret_store_for)
    names = wanted.out_request, wanted.from_obd or Path()
    made = _plan_of_made(asked, names, wanted.command(profile), kept_for)
    if as_json:
        say_json(made.model_dump(mode="json") | {"from_obd": told.model_dump(mode="json")})
    else:
        show_import(told, wanted.out_request)
        show_plan(open_console(), made)
    return Exit.DONE if made.ready else Exit.REFUSED


def _plan_grown(wanted: GrowWanted, kept_for: KeptFor, *, as_json: bool) -> Exit:
    """Choose spares, plan them as any request, keep the plan where asked, and show both."""
    grown = choose_spares(wanted, checked_profile(kept_for.profile), secret_store_for)
    if grown.spec is None:
        lack = lack_of(grown.told)
        if as_json:
            say_json(_as_object("blocked", f"{lack}; {MORE_SPARES}", grown, None))
        else:
            show_growth(open_console(), grown.told, None)
            complain(f"{lack}. Next: {MORE_SPARES}")
        return Exit.REFUSED
    names = wanted.out_request, Path("request.yaml")
    made = _plan_of_made(grown.spec, names, wanted.command(kept_for.profile), kept_for)
    if as_json:
        say_json(_as_object(made.verdict, made.next, grown, made))
    else:
        show_growth(open_console(), grown.told, wanted.out_request)
        show_plan(open_console(), made)
    return Exit.DONE if made.ready else Exit.REFUSED


def _as_object(verdict: str, cure: str, grown: Grown, made: Plan | None) -> dict[str, object]:
    return {
        "verdict": verdict,
        "ready": made is not None and made.ready,
        "next": cure,
        "grow": grown.told.model_dump(mode="json"),
        "plan": made and made.model_dump(mode="json"),
    }


def _plan_of_made(
    asked: ScaleOutSpec, names: tuple[Path | None, Path], command: str, kept_for: KeptFor
) -> Plan:
    """Plan a request that was made here, and keep the plan where asked.

    Args:
        asked: The request.
        names: Where it is kept, and what it is called otherwise.
        command: What makes it again.
        kept_for: How it is judged, and where the plan is kept.
    """
    request, stand_in = names
    out = kept_for.out
    kept_in = request or out
    made = plan_now(asked, Asked(kept_in or stand_in, None, None))
    if made.ready and kept_in is None:
        again = f"{command} --out-request request.yaml, then obscale apply that"
        made = made.model_copy(update={"next": again})
    if out is not None:
        words = f"{command} --out {shlex.quote(str(out))}"
        kept = plan_file(asked, made, words, kept_for.valid_minutes or DEFAULT_VALID_MINUTES)
        write_plan_file(out, kept)
    return made
