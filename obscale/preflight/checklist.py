"""The list of what obshell cannot show and a person must check."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ManualCheck:
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
    ManualCheck("empty, for a rollback", "ls -A {home}/{{store,etc,log}}"),
    ManualCheck("disks as free as df shows", "df -B1 --output=avail"),
    ManualCheck("reached by every observer", "nc -zv HOST {port}, both ways"),
    ManualCheck("same edition and build", "rpm -q oceanbase{{-ce,}}"),
    ManualCheck("CPU with AVX (ARM: atomics)", "grep -cwE 'avx|atomics' /proc/cpuinfo"),
    ManualCheck("no second address of a member", "hostname -I"),
    ManualCheck("clock and kernel set up", "chronyc tracking; sysctl fs.aio-max-nr"),
)
"""Source: what OceanBase Deployer checks over SSH (plugins/oceanbase), and what obshell's endpoints
leave out (ob/agent/executor/host/info.go, 4.5.0.0)."""
