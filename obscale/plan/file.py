"""Stores a plan in a file, and checks that it still holds when it is applied.

The file holds the request (secrets are only named), what was found, and the state it was planned
for. It is valid for a time and for that state; its digest tells a plan that was edited by hand.
"""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from obscale.agent.models import Disk, HostInfo
from obscale.errors import PlanChangedError, SpecError
from obscale.plan import Plan
from obscale.plan.forecast import Forecast
from obscale.plan.snapshot import Snapshot, changes
from obscale.preflight.facts import PreviousReading, TargetProgress
from obscale.preflight.finding import Answer, Finding
from obscale.request.models import ScaleOutSpec
from obscale.request.renamed import told_renamed
from obscale.sizes import quoted
from obscale.spec import parse_spec

DEFAULT_VALID_MINUTES: Final = 15
"""How long facts about free disks, memory and locks are worth something."""
MOST_VALID_MINUTES: Final = 1440
MAX_FILE_BYTES: Final = 16 << 20
"""A plan of a thousand nodes stays below."""
MOST_CHANGES_TOLD: Final = 5
"""In the one line of the error; the error itself carries all."""
MARK: Final = "obscale_plan"
SHAPE: Final = 3
"""Raised when a plan file of before can no longer be read."""
CLOCK_STEP: Final = timedelta(minutes=1)
"""A plan made so long after now is no plan of this machine's clock."""
AGE: Final = "preflight-freshness"
"""The rule that tells how long ago a plan was made."""
_QUIET: Final = {Answer.PASS, Answer.NOT_APPLICABLE}
_WEIGHTY: Final = {Answer.BLOCK, Answer.WARN}


class PlanFile(BaseModel):
    """A plan as it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    obscale_plan: Literal[3] = 3
    """Version of this shape; its presence makes a file a plan."""
    created: AwareDatetime
    expires: AwareDatetime
    command: str
    """Makes a new plan of the same request."""
    request: dict[str, Any]
    """In the shape of a request file, defaults merged."""
    verdict: str
    ready: bool
    findings: dict[str, tuple[Finding, ...]]
    """What says something, by target."""
    forecast: Forecast | None
    snapshot: Snapshot
    topology_hash: str
    disks: dict[str, tuple[Disk, ...]]
    """As in the plan: what changes on them until it is applied is judged."""
    digest: str = ""
    """SHA-256 of all the rest. It guards against slips, not against malice."""

    def signed(self) -> Self:
        """Give the plan with its digest."""
        return self.model_copy(update={"digest": self.own_digest()})

    def own_digest(self) -> str:
        """Work out the digest from everything else."""
        content = self.model_dump(mode="json", exclude={"digest"})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def plan_file(
    spec: ScaleOutSpec, made: Plan, command: str, valid_minutes: int = DEFAULT_VALID_MINUTES
) -> PlanFile:
    """Make a file's content of a plan.

    Args:
        spec: The request, with the profile it was judged in.
        made: Its plan.
        command: How to make it again.
        valid_minutes: From the plan's own time on.
    """
    return PlanFile(
        created=made.made_at,
        expires=made.made_at + timedelta(minutes=valid_minutes),
        command=command.encode(errors="backslashreplace").decode(),
        request=spec.model_dump(mode="json", exclude_none=True),
        verdict=made.verdict,
        ready=made.ready,
        findings={
            row.target: tuple(f for f in row.findings if f.answer not in _QUIET)
            for row in made.rows
        },
        forecast=made.forecast,
        snapshot=made.snapshot,
        topology_hash=made.topology_hash,
        disks=made.disks,
    ).signed()


def write_plan_file(path: Path, content: PlanFile) -> None:
    """Write a plan, whole or not at all; what is no file, `/dev/stdout` say, is written into.

    Raises:
        SpecError: The place cannot be written to.
    """
    text = content.model_dump_json(indent=2) + "\n"
    part = ""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            path.write_text(text, encoding="utf-8")
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            part = file.name
            file.write(text)
        Path(part).replace(path)
    except OSError as error:
        with suppress(OSError):
            if part:
                Path(part).unlink()
        raise SpecError(
            f"--out: {path} cannot be written: {os.strerror(error.errno or 0)}",
            "name a file in a folder you may write to",
        ) from error


def read_plan_file(path: Path) -> PlanFile | None:
    """Read a plan; None where the file is no plan but, perhaps, a request.

    Raises:
        SpecError: It says it is a plan, and is cut, edited or of another version.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
    except (OSError, ValueError):
        return None  # reading it as a request says why
    if not content.lstrip().startswith(b"{") or MARK.encode() not in content:
        return None
    again = f"make a new one of its request: obscale plan REQUEST.yaml --out {path}"
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise SpecError(f"{path}: is a plan, but cut or edited", again) from None
    if not isinstance(data, dict) or MARK not in data:
        return None
    if (number := data[MARK]) != SHAPE:
        raise SpecError(
            f"{path}: is a plan of shape {quoted(str(number))}, this obscale reads shape {SHAPE}"
            f"{_old_names(data)}",
            again,
        )
    try:
        plan = PlanFile.model_validate(data)
    except ValidationError:
        raise SpecError(
            f"{path}: is a plan, but edited after it was made{_old_names(data)}", again
        ) from None
    if plan.digest != plan.own_digest():
        raise SpecError(f"{path}: is a plan that was edited after it was made", plan.command)
    return plan


def _old_names(data: dict[str, Any]) -> str:
    told = told_renamed(data)
    return f": {told}" if told else ""


def request_of(path: Path, plan: PlanFile, now: datetime | None = None) -> ScaleOutSpec:
    """Give the request of a plan that has not expired.

    Args:
        path: For what is said.
        plan: As read.
        now: Aware; None: this machine's clock.

    Raises:
        SpecError: It has expired, is of the future, or something in it, say an override, no longer
            holds.
    """
    now = now or datetime.now(UTC)
    if plan.created - now > CLOCK_STEP:
        raise SpecError(
            f"{path}: this plan was made at {plan.created.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, "
            f"which is still to come: the clock here, or where it was made, is wrong",
            plan.command,
        )
    if now > plan.expires:
        raise SpecError(
            f"{path}: this plan expired at {plan.expires.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
            plan.command,
        )
    return parse_spec(json.dumps(plan.request), str(path))


def earlier_looks(plan: PlanFile) -> dict[str, PreviousReading]:
    """Give the look at each target that the plan was made of, by `ip:port`."""
    return {
        target: PreviousReading(
            plan.created,
            HostInfo(disks=plan.disks[target]) if target in plan.disks else None,
        )
        for target in plan.findings
    }


def refuse_if_changed(path: Path, plan: PlanFile, now: Plan) -> None:
    """Refuse a plan whose cluster, or whose findings, are not what they were.

    Args:
        path: For what is said.
        plan: As read.
        now: The same request, planned anew.

    Raises:
        PlanChangedError: Each change is one of its lines.
    """
    found = [*_differences(plan, now), *_new_findings(plan, now)]
    if found:
        left = len(found) - MOST_CHANGES_TOLD
        told = [*found[:MOST_CHANGES_TOLD], *([f"and {left} more changes"] if left > 0 else [])]
        raise PlanChangedError(
            f"{path}: not as it was planned at {plan.created.astimezone(UTC):%H:%M:%S} UTC: "
            f"{'; '.join(told)}",
            plan.command,
            tuple(found),
        )


def is_old(finding: Finding) -> bool:
    """Whether it says that the plan has lain for long; how long it may was decided with it."""
    return finding.rule == AGE and finding.answer not in _QUIET


def _differences(plan: PlanFile, now: Plan) -> tuple[str, ...]:
    if plan.topology_hash == now.topology_hash:
        return ()
    return changes(plan.snapshot, now.snapshot)


def _new_findings(plan: PlanFile, now: Plan) -> tuple[str, ...]:
    """A block or a warning that nobody saw when the plan was approved."""
    return tuple(
        f"{finding.rule} now says {finding.answer.value} of {row.target}: {finding.measured}"
        for row in now.rows
        if row.progress is TargetProgress.NEW
        for finding in row.findings
        if finding.weight in _WEIGHTY
        and not is_old(finding)
        and not any(
            old.rule == finding.rule and old.weight in {finding.weight, Answer.BLOCK}
            for old in plan.findings.get(row.target, ())
        )
    )
