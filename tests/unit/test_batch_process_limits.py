"""Tests of the limit of open files for large batches."""

import gc
import resource
from contextlib import suppress

import pytest

from obscale.batch.process_limits import (
    FILES_A_CLUSTER,
    FILES_BESIDE,
    clusters_within_limit,
    fewer_gc_runs,
    raise_file_limit,
)


@pytest.fixture
def limit():
    """Give a function that sets the limit a person meets; what it was comes back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def set_soft(soft):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
        return before[1]

    yield set_soft
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_login_shells_limit_is_raised(limit):
    """1024 files do not do for a hundred clusters; as many as needed are allowed afterwards."""
    limit(1024)

    missing = raise_file_limit(100)

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert missing == 0
    assert soft == FILES_BESIDE + 100 * FILES_A_CLUSTER


def test_enough_room_is_left_as_it_is(limit):
    """A limit is never lowered."""
    hard = limit(3000)

    assert raise_file_limit(8) == 0
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (3000, hard)


@pytest.mark.parametrize(
    ("files", "clusters"), [(256, 10), (1024, 32), (resource.RLIM_INFINITY, 32)]
)
def test_no_more_clusters_are_read_at_once_than_there_are_files_for(monkeypatch, files, clusters):
    """Else agents would be told to be away where it is this process that may open no more."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (files, files))

    assert clusters_within_limit(32) == clusters


def test_what_the_system_does_not_allow_is_told(monkeypatch):
    """Beyond the hard limit nothing can be raised; what is wanting is said."""
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: asked.append(limits))

    missing = raise_file_limit(200)

    assert asked == [(4096, 4096)]
    assert missing == FILES_BESIDE + 200 * FILES_A_CLUSTER - 4096


def test_what_is_loaded_is_not_searched_while_a_batch_runs():
    """Afterwards all is as it was, also where the batch ends by an error."""
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()

    with suppress(RuntimeError), fewer_gc_runs():
        during = gc.get_threshold(), gc.get_freeze_count()
        raise RuntimeError

    assert during[0][0] > thresholds[0]
    assert during[1] > frozen
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0
