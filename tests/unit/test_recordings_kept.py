"""Tests that the recordings of a real obshell stay as they were recorded."""

import hashlib
from pathlib import Path

REAL = Path(__file__).parents[1] / "data" / "real-obshell"


def test_every_recording_is_as_it_was_recorded():
    """No recording is changed, missing or added by hand: each has the checksum of its day."""
    listed = dict(
        reversed(line.split("  ", 1))
        for line in (REAL / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )

    there = {
        path.relative_to(REAL).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in REAL.rglob("*")
        if path.is_file() and path.name not in {"README.md", "SHA256SUMS"}
    }

    assert there == listed
    assert len(there) > 600
