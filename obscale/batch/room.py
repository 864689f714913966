"""May this process hold as many open connections as a batch needs?

A login shell often allows 1024 files. A batch of two hundred clusters at once was seen with 2242:
past the limit every further connection fails as if its agent were away.
"""

import resource
from typing import Final

FILES_A_CLUSTER: Final = 24
"""Open at once for a cluster that grows: a dozen were seen, and its entry agents may be more."""
FILES_BESIDE: Final = 1024
"""For Prefect's own, and for preflight, which reads eight clusters and their targets at once."""


def make_room(clusters_at_once: int) -> int:
    """Raise this process's limit of open files as far as is needed and allowed.

    Args:
        clusters_at_once: That grow side by side.

    Returns:
        How many files are still wanting; 0: there is room.
    """
    wanted = FILES_BESIDE + FILES_A_CLUSTER * clusters_at_once
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return 0
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    return max(wanted - max(soft, allowed), 0)
