"""What the record writer knows without asking: leased materials, and the database's time."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from status_service.at_hand import MOST_LEASES, AtHand, DatabaseClock
from status_service.record import Record
from tests.unit.material_states import BROKEN, DONE, NOW, REMOVED, WAITING, WORKING

#: What a datetime and a float can tell apart, in seconds.
RESOLUTION = 2e-6


class Clocks:
    """Ours, and the database's, which is ahead of ours by `ahead` seconds."""

    def __init__(self, ahead: float = 1_000.0) -> None:
        self.ours, self.ahead = 5_000.0, ahead
        self.database = DatabaseClock(lambda: self.ours)

    @property
    def true(self) -> float:
        return self.ours + self.ahead

    def ask(self, there: float, back: float) -> None:
        """The question takes so long, and so does the answer."""
        asked = self.ours
        self.ours += there
        now = datetime.fromtimestamp(self.true, UTC)
        self.ours += back
        self.database.told(now, asked)

    @property
    def error(self) -> float:
        """How far what is known is from what it is, in seconds."""
        return self.database.now().timestamp() - self.true


#: An answer takes longer than what cannot be told apart.
ways = st.tuples(st.floats(1e-5, 3), st.floats(1e-5, 3), st.floats(0, 100))


@given(st.lists(ways, min_size=1))
def test_it_is_right_to_half_of_the_fastest_round_trip(asked: list[tuple[float, float, float]]) -> None:
    clocks = Clocks()
    for there, back, passed in asked:
        clocks.ask(there, back)
        clocks.ours += passed
    assert abs(clocks.error) <= min(there + back for there, back, _ in asked) / 2 + RESOLUTION


@given(st.floats(-1e6, 1e6), ways)
@example(-3_600.0, (0.1, 0.1, 0.0))
@example(3_600.0, (0.1, 0.1, 0.0))
def test_a_clock_that_was_set_is_known_by_its_next_answer(step: float, way: tuple[float, float, float]) -> None:
    clocks = Clocks(ahead=2e6)
    clocks.ask(0.0, 0.0)
    clocks.ahead += step
    there, back, _ = way
    clocks.ask(there, back)
    assert abs(clocks.error) <= there + back + RESOLUTION


def test_nothing_is_known_before_an_answer() -> None:
    with pytest.raises(ValueError, match="NaN"):
        DatabaseClock().now()


@pytest.fixture
def at_hand() -> AtHand:
    clocks = Clocks()
    clocks.ask(0.0, 0.0)
    return AtHand(clocks.database)


def leased(number: int) -> Record:
    return replace(WORKING, material_id=uuid.UUID(int=number))


def test_what_was_kept_is_taken_as_if_read_now(at_hand: AtHand) -> None:
    at_hand.keep([leased(1), leased(2), leased(3)])
    reading = at_hand.take([leased(1).material_id, leased(3).material_id])
    assert reading is not None
    assert reading.records == {record.material_id: record for record in (leased(1), leased(3))}
    assert reading.now == datetime.fromtimestamp(6_000.0, UTC)


def test_all_are_taken_or_none(at_hand: AtHand) -> None:
    at_hand.keep([leased(1)])
    assert at_hand.take([leased(1).material_id, leased(2).material_id]) is None
    assert at_hand.take([leased(1).material_id]) is not None


def test_what_was_taken_is_not_at_hand_until_it_is_kept_again(at_hand: AtHand) -> None:
    at_hand.keep([WORKING])
    assert at_hand.take([WORKING.material_id]) is not None
    assert at_hand.take([WORKING.material_id]) is None
    later = replace(WORKING, lease_expires_at=NOW + timedelta(minutes=1))
    at_hand.keep([later])
    reading = at_hand.take([WORKING.material_id])
    assert reading is not None
    assert reading.records == {WORKING.material_id: later}


@pytest.mark.parametrize("ended", [WAITING, DONE, BROKEN, REMOVED], ids=["waiting", "done", "failed", "deleted"])
def test_what_is_no_longer_leased_is_at_hand_no_longer(at_hand: AtHand, ended: Record) -> None:
    at_hand.keep([WORKING])
    at_hand.keep([replace(ended, material_id=WORKING.material_id)])
    assert at_hand.take([WORKING.material_id]) is None


def test_those_seen_longest_ago_are_forgotten(at_hand: AtHand) -> None:
    at_hand.keep([leased(number) for number in range(MOST_LEASES)])
    at_hand.keep([leased(0), leased(MOST_LEASES)])
    assert at_hand.take([leased(1).material_id]) is None
    assert at_hand.take([leased(number).material_id for number in (0, 2, MOST_LEASES)]) is not None
