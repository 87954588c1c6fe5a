"""After a failed write the object store is left alone for a while: whole files must not be taken only to be thrown away.

    closed     a write failed for want of the store    open, a cool-down drawn
    open       an upload asks before its end           refused, for the same reason
    open       an upload asks after its end            admitted to try the store (half-open); the next one no sooner than another cool-down later
    any        a write succeeded                       closed

A try that ends without a verdict (its client went away, its file was no good) needs no care: another one follows. Pure: the clock (monotonic, seconds) and the
random number are passed in.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from servicekit.errors import Unavailable

#: Shorter than a person's patience, longer than a storm of uploads.
COOLDOWN_SECONDS = (2.0, 5.0)


class StoreCooldown:
    """The state of one replica's store."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._clock, self._uniform = clock, uniform
        self._failure: Unavailable | None = None
        self._until = 0.0

    def check(self) -> None:
        """Returns when an upload may use the store. Raises Unavailable as the failed write did."""
        if self._failure is None:
            return
        remaining = self._until - self._clock()
        if remaining > 0:
            failure = self._failure
            raise Unavailable(failure.reason, failure.message, retry_after=max(failure.retry_after, remaining))
        self._draw()

    def failed(self, failure: Unavailable) -> None:
        """The store failed for this reason."""
        self._failure = failure
        self._draw()

    def worked(self) -> None:
        """The store took a whole object."""
        self._failure = None

    def _draw(self) -> None:
        self._until = self._clock() + self._uniform(*COOLDOWN_SECONDS)
