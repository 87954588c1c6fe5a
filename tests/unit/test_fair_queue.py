"""Fair turns: whoever has much to be read does not make others wait for it."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from processor_service.brain.fair_queue import BACKGROUND, MOST_REMEMBERED, FairQueue, Waiting

OWNERS = st.sampled_from(["ann", "bob", "cyd", BACKGROUND])
MATERIALS = st.sampled_from(["one", "two", "three"])
#: What happens to a queue: a request comes, the next is served, or the n-th of those waiting leaves.
STEPS = st.lists(
    st.one_of(st.tuples(OWNERS, MATERIALS), st.just("serve"), st.integers(0, 20)), max_size=120
)  # fmt: skip


def filled(**pages: int) -> FairQueue:
    """A queue in which so many pages of each owner wait, an owner's all together."""
    queue = FairQueue()
    for owner, count in pages.items():
        for _ in range(count):
            queue.add(owner, f"{owner}'s book")
    return queue


def served(queue: FairQueue, count: int) -> list[Waiting]:
    """The next so many."""
    requests = [queue.next() for _ in range(count)]
    assert all(requests)
    return [request for request in requests if request is not None]


@given(STEPS)
def test_everything_that_waits_is_served_once_and_nothing_else(steps: list[tuple[str, str] | str | int]) -> None:
    queue = FairQueue()
    waiting: list[Waiting] = []
    for step in steps:
        if isinstance(step, tuple):
            waiting.append(queue.add(*step))
        elif isinstance(step, int):
            if waiting:
                queue.remove(waiting.pop(step % len(waiting)))
        else:
            expected = queue.first()
            request = queue.next()
            assert request == expected
            if waiting:
                assert request is not None, "work waits and nobody is served"
                waiting.remove(request)
            else:
                assert request is None
        assert len(queue) == len(waiting)
    assert sorted(request.number for request in served(queue, len(waiting))) == sorted(r.number for r in waiting)
    assert queue.next() is None


@given(st.lists(OWNERS.filter(bool), max_size=60), st.integers(1, 200))
def test_two_owners_that_always_want_something_get_the_same_number_of_pages(before: list[str], pages: int) -> None:
    queue = FairQueue()
    for owner in before:  # a past of any kind
        queue.add(owner, "earlier")
        queue.next()
    for owner in ("dan", "eve"):
        for _ in range(pages):
            queue.add(owner, "book")
    counted: Counter[str] = Counter()
    for request in served(queue, pages):
        counted[request.owner_id] += 1
        assert abs(counted["dan"] - counted["eve"]) <= 1


@given(st.integers(1, 12), st.integers(0, 100), st.booleans())
def test_a_newcomer_waits_for_one_page_of_each_other_owner_at_most(owners: int, past: int, background: bool) -> None:
    queue = FairQueue()
    for number in range(owners):
        for page in range(200):
            queue.add(f"owner {number}", f"book {page % 3}")
    if background:
        for _ in range(200):
            queue.add(BACKGROUND, "all of it")
    served(queue, past)
    note = queue.add("newcomer", "note")
    assert note in served(queue, owners + background + 1)


@given(st.integers(0, 50))
def test_a_note_waits_for_one_page_of_each_of_its_owners_books_at_most(past: int) -> None:
    queue = FairQueue()
    for book in range(3):
        for _ in range(60):
            queue.add("ann", f"book {book}")
    served(queue, past)
    note = queue.add("ann", "note")
    assert note in served(queue, 4)


def test_pages_count_by_their_cost() -> None:
    queue = FairQueue()
    for _ in range(30):
        queue.add("ann", "posters", cost=3.0)
        queue.add("bob", "notes", cost=1.0)
    counted = Counter(request.owner_id for request in served(queue, 40))
    assert abs(counted["bob"] - 3 * counted["ann"]) <= 3


def test_background_work_gets_little_beside_owners_and_all_when_alone() -> None:
    queue = filled(ann=160, **{BACKGROUND: 100})
    counted = Counter(request.owner_id for request in served(queue, 170))
    assert 1 <= counted[BACKGROUND] <= 11
    assert {request.owner_id for request in served(queue, 90)} == {BACKGROUND}


def test_who_wanted_nothing_for_long_is_owed_nothing() -> None:
    queue = filled(ann=300)
    served(queue, 200)
    for _ in range(100):
        queue.add("bob", "book")
    counted = Counter(request.owner_id for request in served(queue, 50))
    assert abs(counted["ann"] - counted["bob"]) <= 1


def test_an_owner_who_asks_for_a_page_at_a_time_gets_its_share_beside_one_who_asks_for_all() -> None:
    queue = filled(ann=300)
    counted: Counter[str] = Counter()
    queue.add("bob", "book")
    for request in iter(queue.next, None):
        counted[request.owner_id] += 1
        if request.owner_id == "bob":
            queue.add("bob", "book")
        if counted.total() == 200:
            break
    assert abs(counted["ann"] - counted["bob"]) <= 1


def test_what_is_withdrawn_costs_its_owner_nothing() -> None:
    queue = filled(ann=50, bob=50)
    withdrawn = [queue.add("ann", "another") for _ in range(20)]
    for request in withdrawn:
        queue.remove(request)
        queue.remove(request)  # once more does nothing
    counted = Counter(request.owner_id for request in served(queue, 40))
    assert abs(counted["ann"] - counted["bob"]) <= 1


def test_owners_that_came_once_are_forgotten() -> None:
    queue = FairQueue()
    for number in range(10 * MOST_REMEMBERED):
        queue.add(f"owner {number}", "note")
        queue.next()
    assert len(queue._owners._idle) <= MOST_REMEMBERED
    assert not queue._requests
    assert not queue._materials
