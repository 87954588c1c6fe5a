"""What one owner (a token's `sub`) may ask of one replica, so that nobody crowds out the others: calls a second, and places held at once.

Services are not held to these limits, since each works for everybody; nor are operators, who look after the system when it is crowded.
"""

from __future__ import annotations

import random
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from materials.v1 import errors_pb2

from servicekit.errors import Unavailable
from servicekit.identity import Caller

MAX_OWNERS = 10_000


def is_limited(caller: Caller) -> bool:
    """Whether the limits are for this caller: users, but for operators."""
    return not (caller.is_service or caller.is_operator)


class TokenBuckets:
    """A token bucket for each owner: `burst` calls at once, then `per_second` of them; `now` is in seconds, by a monotonic clock of the caller's.

    An owner whose bucket is full again is forgotten, since a new one is the same. More than `max_owners` are not remembered: past that, whoever called
    longest ago has a new bucket.
    """

    def __init__(self, per_second: float, burst: int, *, max_owners: int = MAX_OWNERS) -> None:
        self._per_second, self._burst, self._max_owners = per_second, burst, max_owners
        #: (tokens, as of when), by owner; whoever called longest ago comes first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, owner: str, now: float) -> float:
        """Takes one of the owner's tokens and returns 0; or takes nothing and returns in how many seconds there is one."""
        tokens = self._tokens(owner, now)
        taken = tokens >= 1
        self._buckets[owner] = (tokens - 1 if taken else tokens, now)
        self._buckets.move_to_end(owner)
        self._forget(now)
        return 0.0 if taken else (1 - tokens) / self._per_second

    def _tokens(self, owner: str, now: float) -> float:
        tokens, since = self._buckets.get(owner, (self._burst, now))
        return min(self._burst, tokens + (now - since) * self._per_second)

    def _forget(self, now: float) -> None:
        while len(self._buckets) > self._max_owners or self._tokens(next(iter(self._buckets)), now) >= self._burst:
            self._buckets.popitem(last=False)


class OwnerRequests:
    """How often one owner may call; `per_second` 0: as often as they like."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._buckets = TokenBuckets(per_second, burst) if per_second else None

    def admit(self, caller: Caller) -> None:
        """Counts a call. Raises Unavailable OWNER_REQUEST_LIMIT, with the time until the owner may call again."""
        if self._buckets is None or not is_limited(caller):
            return
        wait = self._buckets.take(caller.subject, time.monotonic())
        if wait:
            raise Unavailable(
                errors_pb2.ERROR_REASON_OWNER_REQUEST_LIMIT,
                "you call more often than one owner may; try again a little later",
                retry_after=wait + random.uniform(0.01, 0.1),  # so that not all of the owner's calls come back at once
            )


class OwnerPlaces:
    """How many places one owner may hold at once; `reason` and `message` refuse one more."""

    def __init__(self, most: int, reason: errors_pb2.ErrorReason.ValueType, message: str) -> None:
        self._most, self._reason, self._message = most, reason, message
        self._held: Counter[str] = Counter()

    @contextmanager
    def place(self, caller: Caller) -> Iterator[None]:
        """The block holds a place. Raises Unavailable before it when the owner has none left."""
        if not is_limited(caller):
            yield
            return
        owner = caller.subject
        if self._held[owner] >= self._most:
            raise Unavailable(self._reason, self._message, retry_after=random.uniform(1.0, 5.0))
        self._held[owner] += 1
        try:
            yield
        finally:
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]
