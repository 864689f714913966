"""The machine, the versions and the load that a benchmark ran with."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from obscale import __version__

MATTER: Final = ("obshell", "prefect", "httpx", "cryptography", "pycryptodome", "requests")
GIB: Final = 1 << 30


def machine_lines() -> list[str]:
    """Give date, processor, memory, load and versions, one line each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    hardware = f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB"
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"{hardware}, {platform.system()} {platform.release()}; load before the run {load}",
        f"Python {platform.python_version()}, obscale {__version__}, "
        + ", ".join(f"{name} {version(name)}" for name in MATTER),
    ]


def _processor() -> str:
    """Give the processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
