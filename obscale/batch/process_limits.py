"""Prepares this process for a batch: the limit of open files and the garbage collector.

A login shell often allows 1024 files. A batch of one hundred clusters at once was seen with 913, of
two hundred with twice as many: past the limit every further connection fails as if its agent were
away.
"""

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

FILES_A_CLUSTER: Final = 24
"""Open at once for a cluster that grows: nine were seen, and its entry agents may be more."""
FILES_BESIDE: Final = 1024
"""For Prefect's own, and for preflight, which reads up to 32 clusters and their targets at once."""

OBJECTS_A_SEARCH: Final = 20_000
"""New objects after which the youngest are searched; Python's own 700 suits small programs."""


def raise_file_limit(clusters_at_once: int) -> int:
    """Raise this process's limit of open files as far as is needed and allowed.

    Args:
        clusters_at_once: That grow side by side; 0: they are only read.

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


def clusters_within_limit(most: int) -> int:
    """Give how many clusters may be read at once with the files this process may open.

    Args:
        most: No more than so many.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else min(most, soft // FILES_A_CLUSTER)


@contextmanager
def fewer_gc_runs() -> Iterator[None]:
    """Have garbage searched for less often in this block, and not among what is loaded by now.

    Prefect and what it imports are well over 100 000 objects that live as long as the process, and
    each question leaves some hundreds behind for a moment: searching took an eighth of a batch's
    CPU time. What is not in a circle, nearly all of it, is given back at once anyway.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_A_SEARCH, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
