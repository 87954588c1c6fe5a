"""When a consumer is deaf: what successive looks at it show."""

from __future__ import annotations

from datetime import UTC, datetime

from servicekit.durable_consumer import Deafness

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = datetime(2026, 1, 2, tzinfo=UTC)


def test_messages_that_wait_at_one_consumer_for_longer_than_patience_show_that_it_is_deaf() -> None:
    deafness = Deafness(patience=2.5)
    assert [deafness.shown(FIRST, 1, now) for now in (100.0, 102.5, 105.0)] == [False, False, True]


def test_a_message_that_has_just_come_in_shows_nothing() -> None:
    deafness = Deafness(patience=2.5)
    assert [deafness.shown(FIRST, waiting, 5.0 * look) for look, waiting in enumerate((0, 0, 1, 0, 1))] == [False] * 5


def test_a_consumer_that_another_slot_has_made_anew_is_given_its_own_time() -> None:
    deafness = Deafness(patience=2.5)
    assert not deafness.shown(FIRST, 1, 100.0)
    assert not deafness.shown(SECOND, 1, 105.0)
    assert deafness.shown(SECOND, 1, 110.0)


def test_time_in_which_nobody_fetched_does_not_count() -> None:
    deafness = Deafness(patience=2.5)
    assert not deafness.shown(FIRST, 1, 100.0)
    deafness.forget()
    assert not deafness.shown(FIRST, 1, 4_000.0)
