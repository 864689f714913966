"""Takes what the last `make e2e` saw over into docs/pictures, in few colours and small."""

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
SEEN = ROOT / "build" / "screenshots"
SHOWN = ROOT / "docs" / "pictures"
BOTH_UIS = (
    "report-success",
    "report-blocked",
    "report-failed",
    "report-batch",
    "findings-success",
    "form-scale-out",
    "form-batch",
    "form-recover",
    "approval",
    "ask",
)
"""Seen in Prefect's older UI, and with `-v2` in its newer one."""
NAMES = (
    *("form", "running", "report", "plan-zh", "recover-zh", "report-zh"),
    *(f"{name}{suffix}" for name in BOTH_UIS for suffix in ("", "-v2")),
)
# A page of Prefect's has few: letters keep their edges, and a file shrinks to a third. Those that
# are rare on a page, of a bar say, mean the most: they are kept too.
COLOURS = 128
METHOD = Image.Quantize.FASTOCTREE
TALLEST = 1400
"""Pixels; what stands below is in the run."""


def main() -> str | None:
    """Write each picture of `NAMES`; says what is missing where a run has not left one."""
    missing = [name for name in NAMES if not (SEEN / f"{name}.png").exists()]
    if missing:
        return f"build/screenshots has no {', '.join(missing)}: run `make e2e` first"
    SHOWN.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        seen = Image.open(SEEN / f"{name}.png").convert("RGB")
        seen = seen.crop((0, 0, seen.width, min(seen.height, TALLEST)))
        seen.quantize(COLOURS, METHOD).save(SHOWN / f"{name}.png", optimize=True)
    return None


if __name__ == "__main__":
    sys.exit(main())
