"""Tests that every row of the runbook is played, and every cause has one."""

import ast
import re
from pathlib import Path

import pytest

from obscale.batch.report import BatchIncompleteError
from obscale.errors import ObscaleError
from obscale.recovery.causes import CAUSES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROW = re.compile(r'^\| <a id="([a-z0-9-]+)"></a>(.+) \| (.+) \| (.+) \|$', re.MULTILINE)
ROWS = {row[1]: row.groups()[1:] for row in ROW.finditer(PAGE)}
FLOW, CLI, CONTRACT = "tests/flow/test_", "tests/cli/test_", "tests/contract/test_"
E2E = "tests/e2e/test_"
LOOPS = "tests/contract/loops/test_"
WAYS = "tests/deploy/test_ways.py::test_"
CAUSE = "tests/unit/test_rules_diagnosis.py::test_each_cause_is_named"
PLAYED = {
    "spec": CLI + "bad_input.py::test_every_fault_has_a_line_of_its_own",
    "blocked": FLOW + "endings.py::test_a_blocked_run_is_called_blocked",
    "plan-changed": CONTRACT + "plan_sandbox.py::test_a_plan_of_another_state_is_not_applied",
    "plan-expired": CONTRACT + "plan_sandbox.py::test_an_expired_plan_is_not_applied",
    "unreachable": CLI + "apply_command.py::test_a_cluster_out_of_reach_is_exit_3",
    "not-authorized": CLI + "out_of_reach.py::test_a_wrong_root_password_is_told",
    "two-passwords": LOOPS + "namesakes.py::test_a_password_one_agent_accepts",
    "two-clusters": LOOPS + "namesakes.py::test_entry_agents_of_two_clusters",
    "untrusted-key": FLOW + "connections.py::test_a_changed_key_of_a_pinned_agent",
    "password-withheld": CONTRACT + "stranger_at_the_target.py::test_a_stranger_learns_no_root",
    "foreign-dag": FLOW + "bad_nights.py::test_a_failed_foreign_dag_is_named",
    "scaling-in": FLOW + "bad_nights.py::test_a_target_that_was_scaled_in",
    "other-cluster": FLOW + "bad_nights.py::test_a_target_that_joined_another_cluster_is_blocked",
    "rejected": FLOW + "approval.py::test_a_rejected_run_touches_nothing",
    "not-recorded": FLOW + "before.py::test_what_cannot_be_written_down_is_not_posted",
    "answer-lost": LOOPS + "begin_once.py::test_a_lost_answer_leads_to_one_dag",
    "outcome-unknown": FLOW + "outcome_unknown.py::test_a_lost_answer_nobody_can_settle",
    "young": LOOPS + "settle.py::test_a_young_scale_out_of_our_own",
    "no-answer": LOOPS + "follow.py::test_an_agent_that_goes_away",
    "agent-silent": FLOW + "silent_endpoints.py::test_an_agent_silent_from_the_submit_on",
    "post-unanswered": FLOW + "silent_endpoints.py::test_a_post_that_hangs_and_is_carried_out_late",
    "password-changed": LOOPS + "follow.py::test_a_password_changed_meanwhile",
    "hollow": FLOW + "recover_cli.py::test_a_success_over_undone_stages_is_named",
    "all-agents-down": FLOW + "bad_nights.py::test_all_entry_agents_down_in_the_middle",
    "dag-stalled": FLOW + "ended_early.py::test_a_run_that_stalls",
    "cancelled": FLOW + "ended_early.py::test_a_run_cancelled_from_prefect",
    "ended-by-hand": CLI + "apply_command.py::test_ended_by_hand_it_says_what_goes_on",
    "dag-failed": FLOW + "recover.py::test_hold_leaves_the_dag_untouched",
    "held-form": FLOW + "look_after.py::test_a_held_run_is_retried_from_its_form",
    "completed-rolled-back": FLOW + "look_after.py::test_a_rollback_chosen_in_the_form",
    "paused": FLOW + "recover.py::test_a_paused_run_is_resumed_through_the_api",
    "gave-up": FLOW + "recover.py::test_retry_gives_up_after_three",
    "dag-rolled-back": LOOPS + "follow.py::test_a_dag_that_somebody_rolls_back",
    "dead-end": FLOW + "recover_cli.py::test_recover_refuses_a_dead_end",
    "verify": LOOPS + "verify.py::test_a_succeeded_dag_without_a_serving",
    "not-serving": LOOPS + "verify.py::test_a_succeeded_dag_without_a_serving",
    "reverted": FLOW + "verify.py::test_a_parameter_that_is_set_back_fails_the_run",
    "peer-harmed": FLOW + "before.py::test_a_member_dead_since_the_post_stays_red",
    "dead-before-unknown": FLOW + "before.py::test_of_anothers_dag_what_was_before_is_unknown",
    "dead-before": FLOW + "before.py::test_a_member_dead_before_already_is_an_exception",
    "held-against": FLOW + "before.py::test_a_member_that_restarts_in_time_is_told",
    "unread": LOOPS + "verify.py::test_what_can_never_be_read_is_told",
    "clock": LOOPS + "verify.py::test_clocks_that_were_set_meanwhile",
    "no-units": LOOPS + "verify.py::test_a_node_rises_level_by_level",
    "not-dead": FLOW + "replace.py::test_what_is_not_dead_is_not_replaced",
    "half-replaced": FLOW + "replace.py::test_a_failure_between_the_halves_is_told",
    "majority-empty": "tests/unit/test_replacement_rules.py::test_a_rule_fires_on_what_it_is_for",
    "no-row": LOOPS + "removal.py::test_gone_between_look_and_request_is_judged",
    "zombie": LOOPS + "removal.py::test_a_host_that_comes_back_is_a_zombie",
    "zone-name": "tests/unit/test_removal_rules.py::test_a_rule_fires_on_what_it_is_for",
    "stop-removal": LOOPS + "removal_decisions.py::test_a_running_removal_is_stopped",
    "crashed-retry": FLOW + "ended_early.py::test_a_killed_run_is_tried_again_from_prefect",
    "crashed-anew": FLOW + "ended_early.py::test_a_killed_run_is_taken_up_by_a_new_one",
    "left-running": FLOW + "ended_early.py::test_a_killed_run_is_tried_again_from_prefect",
    "server-gone": CLI + "server_gone.py::test_a_run_rides_through_a_server",
    "cancelled-in-prefect": CLI + "server_gone.py::test_a_run_cancelled_in_prefect_stops",
    "no-sign-of-life": E2E + "automations.py::test_a_run_killed_together_with_its_worker",
    "prefect-away": CLI + "server_gone.py::test_a_run_whose_server_is_killed_ends_by_its_proof",
    "run-deleted": CLI + "server_gone.py::test_a_run_deleted_in_prefect",
    "server-down": CLI + "prefect_out_of_reach.py::test_a_server_that_is_down_is_exit_3",
    "own-server": CLI + "own_server_fails.py::test_a_server_that_ends_is_told_by_its_own_last",
    "newer-database": CLI + "own_server_fails.py::test_a_database_of_a_newer_prefect_is_told",
    "no-room": CLI + "own_server_fails.py::test_a_full_folder_is_told_by_its_name",
    "old-server": CLI + "old_prefect_server.py::test_a_command_that_records_refuses_it",
    "bad-proxy": "tests/unit/test_proxies.py::test_a_proxy_nobody_can_use_is_refused_by_name",
    "server-closed": CLI + "prefect_out_of_reach.py::test_a_server_that_refuses_the_password",
    "unknown-parameter": WAYS + "an_unknown_parameter_ends_the_run",
    "older-worker": WAYS + "a_worker_older_than_the_deployment",
    "waits-in-queue": WAYS + "a_batch_begun_meanwhile_waits",
    "two-runs": LOOPS + "begin_once.py::test_two_at_once_for_one_target",
    "two-targets": LOOPS + "begin_once.py::test_two_targets_at_once",
    BatchIncompleteError.kind: CLI + "batch_command.py::test_a_failed_and_a_skipped_row_end",
    "dispatch": FLOW + "dispatch.py::test_without_a_worker_the_batch_ends",
    "run-lost": FLOW + "dispatch.py::test_a_run_somebody_cancels",
    "kept-artifacts": FLOW + "ended_early.py::test_a_killed_run_is_tried_again_from_prefect",
} | {f"cause-{cause.id}": CAUSE for cause in CAUSES}
"""Id of a row → the test that plays it, as far as its name is telling."""
ELSEWHERE = {
    "error": "the root of the tree, never raised by itself",
    "agent": "the root of what agents do",
    "refused": "the root of agents' refusals",
    "protocol": "unreachable",
    "not-supported": "unreachable",
    "database-down": "unreachable",
    "stale-key": "resent within the same call, never the end of a run",
    "under-maintenance": "foreign-dag",
    "identity": "other-cluster",
    "version": "blocked: preflight compares builds first",
    "already-member": "a member is verified, not added",
    "agent-trouble": "no-answer",
    "dag-not-found": "no-answer",
    "not-approved": "rejected",
    "prefect": "server-down, server-closed, own-server, newer-database, no-room, old-server, "
    "bad-proxy",
}
"""Error kinds without a row of their own: which row covers them, or why none is needed."""


@pytest.fixture(scope="module")
def written():
    """Give each test of the files a row names, as `file::name`."""
    return [
        f"{file}::{each.name}"
        for file in {node.partition("::")[0] for node in PLAYED.values()}
        for each in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_the_page_is_read_whole():
    """Every table line with an anchor is a row of four parts, and no id is used twice."""
    assert len(ROWS) == PAGE.count('<a id="')
    assert len(ROWS) >= 60


def test_every_row_has_a_test_and_every_test_a_row():
    """Nothing is promised that is not played."""
    assert set(ROWS) == set(PLAYED)


@pytest.mark.parametrize("row", sorted(PLAYED))
def test_the_test_of_a_row_is_there(written, row):
    """Renamed or removed, it turns this red."""
    assert [node for node in written if node.startswith(PLAYED[row])], PLAYED[row]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)
def test_each_cause_stands_there_as_the_diagnosis_tells_it(cause):
    """Same words for what it means and what a person does."""
    _, means, does = ROWS[f"cause-{cause.id}"]
    told = [(each.title, each.by_hand) for each in CAUSES if each.id == cause.id]

    assert (means, does) in told


def test_each_kind_of_error_has_a_row_or_a_reason():
    """A new error class needs a line here: where does a person on call read about it?"""

    def kinds(cls: type[ObscaleError]) -> set[str]:
        return {cls.kind}.union(*map(kinds, cls.__subclasses__()))

    assert kinds(ObscaleError) - set(ROWS) == set(ELSEWHERE)
