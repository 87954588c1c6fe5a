"""Which attempts should give up their place, so that owners with fewer take turns with those that have more. Pure.

Only while every slot of the fleet is taken. Then, for each owner that waits, the one with the fewest leases first:

    the owner with the most leases has ...              what follows
    --------------------------------------------------  -----------------------------------------------------------
    two more than the waiting one, or more              it gives one up, at once: the two are nearer to each other then
    one, and the waiting one none                       the lease held longest is given up, once it was held for a quantum
    anything else                                       nothing: giving up would only turn the two round

An owner gives up the lease that it has held longest. What is decided follows from what is in the record alone, so it is the same on each replica and each time
until the material has been handed back: nothing is asked for twice, and never more than there are owners waiting.

What can go wrong: a processor that does not hear of it (an older one) keeps its place; and what it would have given up is not asked of another in its stead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Lease:
    """A material that a worker works on, and since when; None when a Status of before this was noted has granted it."""

    material_id: UUID
    owner_id: str
    worker: str
    since: datetime | None


def to_yield(
    leases: Sequence[Lease], slots: Mapping[str, int], waiting: Sequence[str], *, now: datetime, quantum: float
) -> list[Lease]:
    """The leases to be given up. `slots` of each worker that is alive and can begin with another material; `waiting` owners with a material that is due,
    the one whose turn it is first; `quantum` in seconds."""
    if not waiting or not all_taken(leases, slots):
        return []
    held = Counter(lease.owner_id for lease in leases)
    # Nobody can give up the place of a processor that is no more: those leases run out.
    held_longest_first = sorted((lease for lease in leases if lease.worker in slots), key=_age)
    given_up: list[Lease] = []
    for owner in waiting:
        rest = [lease for lease in held_longest_first if lease not in given_up and lease.owner_id != owner]
        if not rest:
            break
        most = max(held[lease.owner_id] for lease in rest)
        if most >= held[owner] + 2:
            lease = next(lease for lease in rest if held[lease.owner_id] == most)
        elif most == 1 and held[owner] == 0:
            # Who has given one up just now keeps the last.
            nearer = {lease.owner_id for lease in given_up}
            only = next((lease for lease in rest if lease.owner_id not in nearer), None)
            if only is None or _held_for(only, now) < timedelta(seconds=quantum):
                continue
            lease = only
        else:
            continue
        given_up.append(lease)
        held[lease.owner_id] -= 1
        held[owner] += 1
    return given_up


def all_taken(leases: Sequence[Lease], slots: Mapping[str, int]) -> bool:
    """Whether no worker has a slot free; False when there is none at all."""
    taken = Counter(lease.worker for lease in leases)
    return bool(slots) and all(taken[worker] >= count for worker, count in slots.items())


def _age(lease: Lease) -> tuple[bool, float, UUID]:
    return (lease.since is not None, lease.since.timestamp() if lease.since else 0.0, lease.material_id)


def _held_for(lease: Lease, now: datetime) -> timedelta:
    return now - lease.since if lease.since is not None else timedelta.max
