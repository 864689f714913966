"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated, Final

import typer

PROFILES: Final = ("prod", "lab")
SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="YAML or JSON; see examples/.")]
ANY_FILE: Final = typer.Argument(
    metavar="SPEC", help="YAML, JSON, or a table (CSV); see examples/."
)
AnyPath = Annotated[Path, ANY_FILE]
WantedProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="prod|lab",
        help="How strictly findings are weighed.",
        autocompletion=lambda incomplete: [w for w in PROFILES if w.startswith(incomplete)],
    ),
]
WantedCluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="NAME",
        help="Stored connection, for a file that names none: a bare body of POST /ob/scale_out.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
ClusterName = Annotated[
    str,
    typer.Argument(
        metavar="CLUSTER", help="Name of a stored connection, or the file of a request or plan."
    ),
]
