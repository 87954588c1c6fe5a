"""Whose page is next: start-time fair queueing over owners, and over the materials of each owner. Pure: no clock, no I/O.

Each owner that waits has a start tag on a virtual clock; the smallest goes next, and its tag moves on by the cost of what was served over the owner's weight.
The virtual clock stands at the tag served last. Who begins to wait begins there, or where its own service has brought it if that is later: so nobody
is owed anything for the time they wanted nothing, and a newcomer waits for one turn of each other owner at most. The same once more decides between the
materials of one owner. (Goyal, Vin, Cheng, "Start-time Fair Queuing", SIGCOMM 1996; tags are of the flow, not of the request, so that what is
withdrawn leaves no hole.)

What can go wrong: of an owner whose calls never overlap with others' nothing has to be remembered, yet its tag lies ahead of a clock that stands
still. So no more than `MOST_REMEMBERED` idle tags are kept; who is forgotten begins where everybody does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

MOST_REMEMBERED = 256
#: Background work, such as indexing again, is of no owner.
BACKGROUND = ""
BACKGROUND_WEIGHT = 1 / 16


@dataclass(frozen=True)
class Waiting:
    """One request. `cost` in pages, more than 0; `number` tells two requests of one material apart."""

    owner_id: str
    material_id: str
    cost: float
    number: int


def weight_of(owner_id: str) -> float:
    """All owners count the same; background work gets what a sixteenth of an owner would."""
    return BACKGROUND_WEIGHT if owner_id == BACKGROUND else 1.0


class FairQueue:
    """Requests that wait, and the order in which they are served."""

    def __init__(self, weight: Callable[[str], float] = weight_of) -> None:
        self._weight = weight
        self._numbers = count(1)
        self._owners = _Turns()
        self._materials: dict[str, _Turns] = {}
        self._requests: dict[tuple[str, str], dict[int, Waiting]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, owner_id: str, material_id: str, cost: float = 1.0) -> Waiting:
        """The request waits from now on."""
        request = Waiting(owner_id, material_id, cost, next(self._numbers))
        self._owners.begin(owner_id)
        self._materials.setdefault(owner_id, _Turns()).begin(material_id)
        self._requests.setdefault((owner_id, material_id), {})[request.number] = request
        self._length += 1
        return request

    def remove(self, request: Waiting) -> None:
        """The request waits no longer and was not served; nothing is charged for it. Without effect when it does not wait."""
        if self._take(request):
            self._end_if_idle(request)

    def first(self) -> Waiting | None:
        """Who would be next; None when nobody waits."""
        if not self._length:
            return None
        owner_id = self._owners.first()
        material_id = self._materials[owner_id].first()
        return next(iter(self._requests[owner_id, material_id].values()))

    def next(self) -> Waiting | None:
        """Who is next, served and charged for; None when nobody waits."""
        request = self.first()
        if request is None:
            return None
        self._take(request)
        self._owners.charge(request.owner_id, request.cost / self._weight(request.owner_id))
        self._materials[request.owner_id].charge(request.material_id, request.cost)
        self._end_if_idle(request)
        return request

    def _take(self, request: Waiting) -> bool:
        requests = self._requests.get((request.owner_id, request.material_id), {})
        if requests.pop(request.number, None) is None:
            return False
        self._length -= 1
        return True

    def _end_if_idle(self, request: Waiting) -> None:
        if self._requests[request.owner_id, request.material_id]:
            return
        del self._requests[request.owner_id, request.material_id]
        materials = self._materials[request.owner_id]
        materials.end(request.material_id)
        if materials.idle:
            self._owners.end(request.owner_id)
            # Its materials' tags matter only among themselves: with nobody to compare to, the next to come is first.
            del self._materials[request.owner_id]


class _Turns:
    """The tags of one level. Between equal ones the turn is of the one that had none for the longest."""

    def __init__(self) -> None:
        self._now = 0.0
        self._tags: dict[str, float] = {}
        self._idle: dict[str, float] = {}

    @property
    def idle(self) -> bool:
        return not self._tags

    def begin(self, key: str) -> None:
        if key not in self._tags:
            self._tags[key] = max(self._now, self._idle.pop(key, 0.0))

    def end(self, key: str) -> None:
        tag = self._tags.pop(key)
        if tag > self._now:
            self._idle[key] = tag
            if len(self._idle) > MOST_REMEMBERED:
                del self._idle[next(iter(self._idle))]

    def first(self) -> str:
        return min(self._tags, key=self._tags.__getitem__)

    def charge(self, key: str, cost: float) -> None:
        self._now = self._tags.pop(key)
        self._tags[key] = self._now + cost
        for idle in [other for other, tag in self._idle.items() if tag <= self._now]:
            del self._idle[idle]
