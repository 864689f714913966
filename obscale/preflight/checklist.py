"""The list of what obshell cannot show and a person must check."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Unseen:
    """One line of the checklist.

    Args:
        claim: What must be true.
        how: How to see it on the host; `{home}` stands for the agent's home, `{port}` for the RPC
            port of the new observer.
    """

    claim: str
    how: str

    def told(self, home: str, port: int) -> str:
        """Say how to see it for one target."""
        return self.how.format(home=home, port=port)


CHECKLIST: Final = (
    Unseen("empty, for a rollback", "ls -A {home}/{{store,etc,log}}"),
    Unseen("disks as free as df shows", "df -B1 --output=avail"),
    Unseen("reached by every observer", "nc -zv HOST {port}, both ways"),
    Unseen("same edition and build", "rpm -q oceanbase{{-ce,}}"),
    Unseen("CPU with AVX (ARM: atomics)", "grep -cwE 'avx|atomics' /proc/cpuinfo"),
    Unseen("no second address of a member", "hostname -I"),
    Unseen("clock and kernel set up", "chronyc tracking; sysctl fs.aio-max-nr"),
)
"""Source: what OceanBase Deployer checks over SSH (plugins/oceanbase), and what obshell's endpoints
leave out (ob/agent/executor/host/info.go, 4.5.0.0)."""
