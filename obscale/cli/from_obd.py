"""The options of `obscale plan --from-obd`, and what is said of such a file."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from obscale.cli.busy import busy, silence_shown
from obscale.cli.stopping import PROGRAM
from obscale.cli.terminal import open_console, say
from obscale.connect.connections import SecretStore
from obscale.errors import SpecError
from obscale.plan.from_obd import ObdImport, import_of, render_request, request_from
from obscale.plan.from_obd_read import read_cluster_of
from obscale.request.models import ClusterSpec, Profile, ScaleOutSpec, SecretName
from obscale.request.scale_out import ScaleOut
from obscale.spec.obd import ObdFile, read_obd

ROOT: str = "root_password"
"""The option of OBD's that holds the password of root@sys."""


@dataclass(frozen=True)
class ObdWanted:
    """What was written after the options that go with --from-obd, by their names.

    Passwords are only named; of OBD's file none is read.
    """

    from_obd: Path | None
    extra: Path | None
    out_request: Path | None
    password_block: str | None
    password_env: str | None
    cluster: str | None

    def given(self) -> tuple[str, ...]:
        """Name the options that were written and mean nothing without --from-obd."""
        return ("--extra",) if self.extra else ()

    def command(self, profile: str | None) -> str:
        """Give the command that plans the same again, without where it keeps anything."""
        said = {
            "--from-obd": self.from_obd,
            "--extra": self.extra,
            "--cluster": self.cluster,
            "--password-env": self.password_env,
            "--password-block": self.password_block,
            "--profile": profile,
        }
        words = [word for option, value in said.items() if value for word in (option, str(value))]
        return shlex.join(["obscale", "plan", *words])


def import_obd(
    wanted: ObdWanted,
    profile: Profile | None,
    store_for: Callable[[tuple[ScaleOut, ...]], SecretStore],
) -> tuple[ScaleOutSpec, ObdImport]:
    """Read the file, ask its cluster which servers are new, and keep the request where asked.

    Args:
        wanted: With the file.
        profile: None: prod.
        store_for: Gives the store that resolves what orders name.

    Raises:
        SpecError: An option or the file is wrong.
        PreflightError: The cluster says otherwise than the file.
        AgentError: Nobody could be asked.
    """
    if wanted.from_obd is None:
        raise SpecError("--from-obd: no file was named")
    file = read_obd(wanted.from_obd, wanted.extra)
    cluster = _cluster(wanted, file)
    refuse_existing(wanted.out_request)
    looks = f"plan: asks which servers of {wanted.from_obd} are members"
    with busy(looks), silence_shown(open_console(stderr=True)):
        seen = PROGRAM.run(read_cluster_of(file, cluster, store_for((_any_order(file, cluster),))))
    spec = request_from(seen.found, seen.told, cluster, profile)
    made = import_of(file, seen.found, seen.told, seen.homes)
    if wanted.out_request is not None:
        write_request(wanted.out_request, render_request(spec, made))
    return spec, made


def show_import(made: ObdImport, request: Path | None) -> None:
    """Say what was taken of the file, what was defaulted, and what was left out.

    Args:
        made: What became of it.
        request: Where the request was kept.
    """
    for line in _lines(made):
        say(line)
    if request is not None:
        say(f"  request kept in {request}")


def _lines(made: ObdImport) -> Iterator[str]:
    files = made.file if made.extra is None else f"{made.file} and {made.extra}"
    yield f"From {files} ({made.component}): {made.cluster}, asked by {made.scheme}"
    yield f"  members named there: {', '.join(made.members)}"
    if made.unnamed_members:
        others = ", ".join(made.unnamed_members)
        yield f"  members not named there, which stay as they are: {others}"
    for node in made.nodes:
        zone = next(value.value for value in node.values if value.field == "zone")
        yield f"  to add: {node.name}, {node.target} → {zone}"
        taken = [value for value in node.values if ":" in value.where]
        if taken:
            yield f"    taken: {', '.join(f'{v.field} ({v.where})' for v in taken)}"
        usual = [f"{v.field} {v.value}" for v in node.values if v not in taken]
        if usual:
            yield f"    OBD's defaults: {', '.join(usual)}"
    if made.left_out:
        left = "; ".join(f"{each.key} ({each.where}): {each.why}" for each in made.left_out)
        yield f"  left out: {left}"
    if made.secrets:
        kept = ", ".join(f"{each.key} ({each.where})" for each in made.secrets)
        yield f"  secrets, not copied: {kept}"
    if made.ignored:
        yield f"  other parts, ignored: {', '.join(made.ignored)}"
    for warning in made.warnings:
        yield f"  warning: {warning}"
    yield f"  afterwards: {made.afterwards}"


def _cluster(wanted: ObdWanted, file: ObdFile) -> str | SecretName | None:
    """Say how the cluster is reached: a stored connection, or where its password is kept.

    Raises:
        SpecError: More than one is named, or none while the file has a password.
    """
    named = {
        "--cluster": wanted.cluster,
        "--password-env": wanted.password_env,
        "--password-block": wanted.password_block,
    }
    given = [option for option, value in named.items() if value]
    if len(given) > 1:
        raise SpecError(f"{', '.join(given)}: each says where the password is; leave one")
    if wanted.cluster:
        return wanted.cluster
    if not given:
        held = next((each for each in file.secrets if each.what == ROOT), None)
        if held is not None:
            raise SpecError(
                f"{held.where}: {ROOT}: a password of a file is never used; say where it is kept",
                "export OB_ROOT=…, then add --password-env OB_ROOT (or --password-block NAME, "
                "or --cluster NAME)",
            )
        return None
    try:
        return SecretName(env=wanted.password_env, block=wanted.password_block)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SpecError(f"{given[0]}: {first['msg'].removeprefix('Value error, ')}") from None


def _any_order(file: ObdFile, cluster: str | SecretName | None) -> ScaleOut:
    """Give an order that names what the question has to be asked with."""
    node = file.servers[0].node
    asked = (
        cluster
        if isinstance(cluster, str)
        else ClusterSpec(endpoints=(node.address,), password=cluster)
    )
    return ScaleOut(cluster=asked, node=node)


def refuse_existing(path: Path | None) -> None:
    """Refuse to write a request over what is there.

    Raises:
        SpecError: Something is.
    """
    if path is not None and path.exists():
        raise SpecError(
            f"--out-request: {path} is there already", "name another file, or remove it"
        )


def write_request(path: Path, text: str) -> None:
    """Write a request as a new file.

    Raises:
        SpecError: It cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise SpecError(
            f"--out-request: {path} cannot be written: {error.strerror or error}",
            "name a file in a folder you may write to",
        ) from error
