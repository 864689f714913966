"""`obscale schema`: prints the JSON Schema of request files, for an editor."""

from obscale.cli.terminal import say_lines
from obscale.text import for_json


def schema() -> None:
    """Print the JSON Schema of request files: one node, several, or a batch.

    Kept beside a request as obscale.schema.json, an editor with the YAML language server completes
    the request and marks its slips; its first line names the file:

    # yaml-language-server: $schema=obscale.schema.json

    Exit: 0 printed.
    """
    import json  # noqa: PLC0415 - as all that only this command needs

    from obscale.spec.schema import request_schema  # noqa: PLC0415 - help needs none of it

    say_lines(for_json(f"{json.dumps(request_schema(), indent=2, ensure_ascii=False)}\n"))
