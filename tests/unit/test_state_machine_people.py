"""Rows of the state machine's table: what people ask for (cancel, retry, delete), the purge that follows, and events with nothing to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from materials.v1 import material_pb2 as pb

from status_service.events import Cancel, Delete, Event, ExpireLease, Purged, Retry
from status_service.record import ALL_PURGED, FAILED, OBJECT_PURGED, PASSAGES_PURGED, PENDING, Record
from status_service.state_machine import Transition, Verdict
from tests.unit.material_states import (
    ANNOUNCED_AGAIN,
    BROKEN,
    CREATED,
    DONE,
    EVERY_EVENT,
    NOW,
    REMOVED,
    WAITING,
    WORKING,
    after,
    assert_unchanged,
    differences,
)


@pytest.mark.parametrize("record", [WAITING, WORKING, replace(WAITING, not_before=NOW + timedelta(seconds=9))])
def test_cancel_ends_what_waits_or_works_and_revokes_the_lease(record: Record) -> None:
    decision = after(record, Cancel("ada"))
    changed = decision.record
    assert (changed.status, changed.failure_reason, changed.retryable) == (FAILED, pb.FAILURE_REASON_CANCELLED, True)
    assert (changed.error_message, changed.processed_at, changed.not_before) == ("cancelled by ada", NOW, None)
    assert (changed.lease_worker, changed.lease_claim_id, changed.lease_expires_at) == ("", "", None)
    assert decision.transition == Transition(
        record.status, FAILED, "cancelled", "ada", pb.FAILURE_REASON_CANCELLED, "cancelled by ada", record.attempt
    )


def test_retry_gives_fresh_budgets_keeps_pages_and_is_announced_again() -> None:
    before = replace(BROKEN, pages_done=3, pages_total=9)
    decision = after(before, Retry("ada"))
    assert differences(before, decision.record) == ANNOUNCED_AGAIN | {
        "status": PENDING,
        "revision": 7,
        "updated_at": NOW,
        "failure_reason": 0,
        "error_message": "",
        "retryable": False,
        "processed_at": None,
        "failures": 0,
        "crashes": 0,
    }
    assert decision.transition == Transition(FAILED, PENDING, "retried", "ada", 0, "", 2)


def test_retry_with_a_message_tells_it_in_the_history_alone() -> None:
    decision = after(BROKEN, Retry("ada", "retried with all others"))
    assert decision.record == after(BROKEN, Retry("ada")).record
    assert decision.transition == Transition(FAILED, PENDING, "retried", "ada", 0, "retried with all others", 2)


def test_retry_of_what_no_attempt_can_mend_is_refused() -> None:
    hopeless = replace(BROKEN, retryable=False)
    assert_unchanged(after(hopeless, Retry("ada")), hopeless, Verdict.NOT_RETRYABLE)


@pytest.mark.parametrize("record", [WAITING, WORKING, DONE, BROKEN])
def test_delete_hides_every_state_revokes_the_lease_and_is_announced(record: Record) -> None:
    decision = after(record, Delete("ada"))
    changed = decision.record
    assert changed.deleted_at == NOW
    assert (changed.announcement, changed.announced_at) == (record.announcement + 1, None)
    assert (changed.lease_worker, changed.lease_claim_id, changed.lease_expires_at) == ("", "", None)
    assert changed.request_id == "", "the request id may be used again"
    assert changed.revision == record.revision + 1
    assert decision.transition == Transition(record.status, record.status, "deleted", "ada", 0, "", record.attempt)


@pytest.mark.parametrize("event", EVERY_EVENT)
def test_nothing_brings_a_deleted_material_back(event: Event) -> None:
    for record in (REMOVED, replace(WORKING, deleted_at=CREATED), replace(BROKEN, deleted_at=CREATED)):
        assert_unchanged(after(record, event), record, Verdict.NOT_FOUND)


def test_purges_are_counted_once_each_in_any_order_and_the_last_takes_the_name() -> None:
    for first, second in ((OBJECT_PURGED, PASSAGES_PURGED), (PASSAGES_PURGED, OBJECT_PURGED)):
        half_gone = after(REMOVED, Purged(first)).record
        assert differences(REMOVED, half_gone) == {"purged_parts": first}
        assert_unchanged(after(half_gone, Purged(first)), half_gone, Verdict.REPEATED)
        gone = after(half_gone, Purged(second)).record
        assert differences(half_gone, gone) == {"purged_parts": ALL_PURGED, "name": ""}
        assert_unchanged(after(gone, Purged(second)), gone, Verdict.REPEATED)


@pytest.mark.parametrize(
    ("event", "record"),
    [
        *[(ExpireLease(), not_overdue) for not_overdue in (WORKING, WAITING, DONE, BROKEN)],
        *[(Cancel("ada"), ended) for ended in (DONE, BROKEN)],
        *[(Retry("ada"), not_failed) for not_failed in (WAITING, WORKING, DONE)],
        *[(Purged(OBJECT_PURGED), not_deleted) for not_deleted in (WAITING, WORKING, DONE, BROKEN)],
    ],
    ids=lambda value: pb.ProcessingStatus.Name(value.status) if isinstance(value, Record) else type(value).__name__,
)
def test_event_with_nothing_to_do_answers_the_material_as_it_is(event: Event, record: Record) -> None:
    assert_unchanged(after(record, event), record, Verdict.REPEATED)
