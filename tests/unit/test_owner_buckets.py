"""How often one owner may call and how many places one may hold, with the time said by the test."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import errors_pb2

from servicekit.errors import Unavailable
from servicekit.identity import Caller
from servicekit.owner_limits import OwnerPlaces, OwnerRequests, TokenBuckets

ANN, BOB = Caller("ann"), Caller("bob")
UNLIMITED = [Caller("olga", is_operator=True), Caller("service:ingest", is_service=True)]
WATCHES = errors_pb2.ERROR_REASON_OWNER_WATCH_LIMIT
#: What floating-point arithmetic may be off by.
TINY = 1e-6

rates = st.floats(0.01, 1_000)
bursts = st.integers(1, 20)
#: Calls as they come: seconds since the one before, and whose it is.
calls = st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.3]) | st.floats(0, 100), st.sampled_from("abc")), max_size=60)


@given(rates, bursts, calls)
def test_nobody_gets_more_than_the_burst_and_the_rate_in_any_span_of_time(
    per_second: float, burst: int, calls: list[tuple[float, str]]
) -> None:
    buckets, now = TokenBuckets(per_second, burst), 0.0
    taken: dict[str, list[float]] = {}
    for gap, owner in calls:
        now += gap
        if not buckets.take(owner, now):
            taken.setdefault(owner, []).append(now)
    for times in taken.values():
        for (first, begin), (last, end) in itertools.combinations(enumerate(times), 2):
            assert last - first + 1 <= burst + (end - begin) * per_second + TINY


@given(rates, bursts, calls)
def test_who_was_forgotten_is_answered_as_if_remembered(
    per_second: float, burst: int, calls: list[tuple[float, str]]
) -> None:
    forgetting, now = TokenBuckets(per_second, burst), 1_000.0
    # An owner alone in a bucket of its own is never forgotten between two calls of its own.
    alone = {owner: TokenBuckets(per_second, burst) for owner in "abc"}
    for gap, owner in calls:
        now += gap
        assert forgetting.take(owner, now) == alone[owner].take(owner, now)


@given(rates, bursts, st.floats(0, 10**7))
def test_whole_burst_is_there_at_once_and_one_more_after_the_wait_that_is_told(
    per_second: float, burst: int, now: float
) -> None:
    buckets = TokenBuckets(per_second, burst)
    assert not any(buckets.take("ann", now) for _ in range(burst))
    wait = buckets.take("ann", now)
    assert wait == pytest.approx(1 / per_second)
    assert buckets.take("ann", now + wait * 0.99) > 0
    assert buckets.take("ann", now + wait * 1.01 + TINY) == 0


def test_refused_calls_take_nothing() -> None:
    buckets = TokenBuckets(1.0, 1)
    assert buckets.take("ann", 0.0) == 0
    waits = [buckets.take("ann", tenth / 10) for tenth in range(1, 10)]
    assert waits == pytest.approx([1 - tenth / 10 for tenth in range(1, 10)])
    assert buckets.take("ann", 1.0 + TINY) == 0


def test_one_owner_takes_nothing_from_another() -> None:
    buckets = TokenBuckets(1.0, 3)
    while not buckets.take("ann", 0.0):
        pass
    assert [buckets.take("bob", 0.0) for _ in range(3)] == [0, 0, 0]


def test_owner_whose_bucket_is_full_again_is_forgotten() -> None:
    buckets = TokenBuckets(10.0, 20)
    for number in range(500):
        buckets.take(f"owner-{number}", number / 1_000)
    assert len(buckets) <= 101, "a token is back after 0.1 s, in which 100 call"
    buckets.take("ann", 60.0)
    assert len(buckets) == 1


def test_more_owners_than_the_bound_are_not_remembered() -> None:
    buckets = TokenBuckets(1.0, 1, max_owners=10)
    for number in range(1_000):
        assert buckets.take(f"owner-{number}", 0.0) == 0
        assert len(buckets) <= 10
    assert buckets.take("owner-999", 0.0) > 0, "who called just now is remembered"
    assert buckets.take("owner-0", 0.0) == 0, "who called longest ago is not"


def test_owner_who_calls_too_often_is_told_why_and_for_how_long() -> None:
    requests = OwnerRequests(0.5, 2)
    requests.admit(ANN)
    requests.admit(ANN)
    with pytest.raises(Unavailable) as refusal:
        requests.admit(ANN)
    assert refusal.value.reason == errors_pb2.ERROR_REASON_OWNER_REQUEST_LIMIT
    assert 0 < refusal.value.retry_after <= 2.1
    requests.admit(BOB)


@pytest.mark.parametrize("caller", UNLIMITED, ids=["operator", "service"])
def test_operators_and_services_call_and_hold_as_they_like(caller: Caller) -> None:
    requests, places = OwnerRequests(0.001, 1), OwnerPlaces(1, WATCHES, "too many")
    with places.place(caller), places.place(caller):
        for _ in range(100):
            requests.admit(caller)


def test_no_rate_is_no_limit() -> None:
    requests = OwnerRequests(0.0, 1)
    for _ in range(1_000):
        requests.admit(ANN)


def test_places_are_counted_by_owner() -> None:
    places = OwnerPlaces(2, WATCHES, "you have too many")
    with places.place(ANN), places.place(ANN):
        with pytest.raises(Unavailable, match="you have too many") as refusal, places.place(ANN):
            pass
        assert refusal.value.reason == WATCHES
        assert refusal.value.retry_after > 0
        with places.place(BOB):
            pass


@pytest.mark.parametrize("ending", [ValueError, asyncio.CancelledError, GeneratorExit])
def test_place_is_free_again_whatever_the_block_ends_with(ending: type[BaseException]) -> None:
    places = OwnerPlaces(1, WATCHES, "you have too many")
    for _ in range(3):
        with pytest.raises(ending), places.place(ANN):
            raise ending
    with places.place(ANN):
        pass
