"""Which attempts give up their place, so that owners with fewer have a turn."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from status_service.turns import Lease, to_yield

NOW = datetime(2030, 1, 1, 1, 0, tzinfo=UTC)
QUANTUM = 30.0


def lease(owner: str, worker: str = "w1", *, seconds: float = 5.0) -> Lease:
    """Held for so many seconds."""
    return Lease(uuid.uuid4(), owner, worker, NOW - timedelta(seconds=seconds))


def yielded(leases: list[Lease], waiting: list[str], **slots: int) -> list[Lease]:
    """With as many slots as leases unless told otherwise."""
    slots = slots or dict(Counter(lease.worker for lease in leases))
    return to_yield(leases, slots, waiting, now=NOW, quantum=QUANTUM)


def test_an_owner_with_every_slot_gives_one_up_to_one_that_waits_and_it_is_the_one_held_longest() -> None:
    leases = [lease("ann", seconds=seconds) for seconds in (3, 9, 6, 1)]
    assert yielded(leases, ["bob"]) == [leases[1]]


def test_nothing_is_given_up_while_any_slot_of_the_fleet_is_free() -> None:
    leases = [lease("ann"), lease("ann"), lease("ann", "w2")]
    assert yielded(leases, ["bob"], w1=2, w2=2) == []
    assert len(yielded(leases, ["bob"], w1=2, w2=1)) == 1


def test_nothing_is_given_up_when_nobody_else_waits() -> None:
    assert yielded([lease("ann"), lease("ann")], []) == []
    assert yielded([lease("ann"), lease("ann")], ["ann"]) == []


def test_nothing_is_given_up_where_it_would_only_turn_the_two_round() -> None:
    assert yielded([lease("ann", seconds=999), lease("ann", seconds=999), lease("bob", seconds=999)], ["bob"]) == []


def test_owners_with_one_each_take_turns_once_a_lease_was_held_for_a_quantum() -> None:
    fresh = [lease("ann", seconds=29), lease("bob", seconds=28)]
    assert yielded(fresh, ["cyd"]) == []
    held = [lease("ann", seconds=31), lease("bob", seconds=32)]
    assert yielded(held, ["cyd"]) == [held[1]]
    assert yielded(held, ["cyd", "dan"]) == [held[1], held[0]]
    assert len(yielded(held, ["cyd", "dan", "eve"])) == 2


def test_a_lease_of_which_it_is_not_known_since_when_it_is_held_is_the_oldest() -> None:
    unknown = Lease(uuid.uuid4(), "ann", "w1", None)
    assert yielded([lease("bob", seconds=500), unknown], ["cyd"]) == [unknown]


def test_what_a_lost_processor_holds_is_not_asked_for() -> None:
    lost = [lease("ann", "lost", seconds=900) for _ in range(3)]
    mine = lease("ann")
    assert yielded([*lost, mine], ["bob"], w1=1) == [mine]
    assert yielded(lost, ["bob"], w1=0) == []


def test_several_owners_that_wait_are_each_given_one_until_it_is_even() -> None:
    leases = [lease("ann") for _ in range(6)]
    given_up = yielded(leases, ["bob", "cyd", "dan", "eve", "fay", "gus"])
    assert len(given_up) == len(set(given_up)) == 5
    assert len(yielded([*leases, lease("bob")], ["cyd", "bob"])) == 2


OWNERS = st.sampled_from("abcde")


@given(
    st.lists(st.tuples(OWNERS, st.sampled_from(["w1", "w2"]), st.floats(0, 100)), min_size=1, max_size=10),
    st.lists(OWNERS, unique=True),
)
def test_what_is_given_up_brings_owners_nearer_and_is_asked_of_each_attempt_once(
    held: list[tuple[str, str, float]], waiting: list[str]
) -> None:
    leases = [lease(owner, worker, seconds=seconds) for owner, worker, seconds in held]
    given_up = yielded(leases, waiting)
    assert given_up == yielded(list(reversed(leases)), waiting), "another replica would ask others"
    assert len(given_up) == len({lease.material_id for lease in given_up}) <= len(waiting)
    before = Counter(lease.owner_id for lease in leases)
    fewest_waiting = min((before[owner] for owner in waiting), default=0)
    for owner, count in Counter(lease.owner_id for lease in given_up).items():
        assert before[owner] - count >= min(1, before[owner] - 1), "its last was taken with the others"
        assert before[owner] > fewest_waiting


@given(st.integers(1, 8), st.integers(1, 4))
def test_turns_come_to_rest(slots: int, owners: int) -> None:
    """Whoever yields is followed by the owner with the fewest; with at-once turns alone it ends, and evenly."""
    leases = [lease("a") for _ in range(slots)]
    everyone = list("abcd"[:owners])
    for _ in range(50):
        held = Counter(lease.owner_id for lease in leases)
        ranked = sorted(everyone, key=lambda owner: held[owner])
        given_up = yielded(leases, ranked)
        if not given_up:
            break
        leases = [lease for lease in leases if lease not in given_up]
        for _ in given_up:
            held = Counter(lease.owner_id for lease in leases)
            leases.append(lease(min(everyone, key=lambda owner: held[owner])))
    else:
        raise AssertionError("they give up their places for ever")
    held = Counter(lease.owner_id for lease in leases)
    assert max(held.values()) - min(held[owner] for owner in everyone) <= 1
