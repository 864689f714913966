"""Tests that connections outlive the pauses between looks at a DAG."""

from annotated_types import Le

from obscale.agent.transport import KEPT
from obscale.request.time_limits import TimeLimits


def test_no_look_at_a_dag_needs_a_new_connection():
    """The longest pause an operator may ask for is shorter than an idle connection lives."""
    bounds = TimeLimits.model_fields["poll_seconds"].metadata
    longest = next(bound.le for bound in bounds if isinstance(bound, Le))

    assert KEPT.keepalive_expiry > longest
