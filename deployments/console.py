"""A console for workers that outlives the process it writes to.

Prefect's own colours its lines through Rich, which ends the process when nobody reads its output
any more: a run would end as crashed at its next log line when its worker is killed. The plain
handler of the standard library does not know the `styles` Prefect's logging.yml hands to it, and
where one handler cannot be made Prefect keeps no log of the run at all.
"""

import logging
from collections.abc import Mapping
from typing import TextIO


class PlainConsole(logging.StreamHandler[TextIO]):
    """Writes lines as they are.

    Args:
        stream: Where to; standard error if left out.
        styles: Prefect's colours, not used.
    """

    def __init__(
        self, stream: TextIO | None = None, styles: Mapping[str, str] | None = None
    ) -> None:
        del styles
        super().__init__(stream)
