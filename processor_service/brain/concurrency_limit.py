"""How many calls at once the AI Brain turns into results rather than into waiting. Pure: replies in, a number out.

    what is seen                                   what follows
    ---------------------------------------------  -------------------------------------------------------------------------------
    busy (429), timed out, unavailable             half as many, once for all calls that were begun before it did so
    enough quick replies while all were in use     one more (or one fewer) is tried for a while
    ... and more made the throughput grow          the larger number stays
    ... and more only made each call slower        the smaller number stays, and it is longer until the next try

Throughput is calls at once over seconds a call. One more call must bring half at least of what it would bring a Brain with room for it: a Brain with one lane
answers two calls at once in twice the time, and is given one. (Additive increase, multiplicative decrease; the comparison is that of TCP Vegas and of
gradient limits, but of geometric means rather than of one best reply, since a blank page costs a hundredth of a full one.) Replies that came while
there was room for further calls say nothing about the limit, and are not looked at. Fewer are not tried again where more were found to be better, until calls
take longer than they did then: each such try leaves the Brain a slot idle.

What can go wrong: pages of very different cost can make a try look better or worse than it is. It costs a few slower pages, until the next try; the bounds
hold always.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log

#: Where a limit begins, bounds allowing.
START = 2
#: Replies that a try is judged by, for each call at once.
REPLIES_PER_CALL = 6
#: Replies before the first try of another number; doubles with each that was in vain.
FIRST_PATIENCE = 12
MOST_PATIENCE = 192
#: The mean follows so many replies.
MEMORY = 32
#: Calls are slower when they take longer by this factor.
SLOWER = 1.25
#: Shorter replies than a clock can tell apart count as this.
SHORTEST_SECONDS = 1e-4


@dataclass(frozen=True)
class Seen:
    """The replies at one level: how many, and the smoothed mean of the logarithm of their seconds."""

    replies: int = 0
    log_seconds: float = 0.0

    def and_one_of(self, seconds: float) -> Seen:
        """With another reply."""
        replies = self.replies + 1
        fresh = log(max(seconds, SHORTEST_SECONDS))
        return Seen(replies, self.log_seconds + (fresh - self.log_seconds) / min(replies, MEMORY))


@dataclass(frozen=True)
class ConcurrencyLimit:
    """`level` calls may be under way, of `most` at most. `era` goes up with each decrease: what a call began in tells whether it was already answered for."""

    most: int
    level: int
    era: int = 0
    seen: Seen = Seen()
    patience: int = FIRST_PATIENCE
    step: int = 1
    #: While another level is tried: the one before, and what was seen there.
    settled: tuple[int, Seen] | None = None
    #: Where this level was found to be better than one fewer: the logarithm of the seconds that calls took then.
    proven: float | None = None


def starting(most: int) -> ConcurrencyLimit:
    """A limit of 1 to `most`, where nothing is known yet."""
    return ConcurrencyLimit(most, min(START, most))


def answered(limit: ConcurrencyLimit, seconds: float, *, era: int, in_use: int) -> ConcurrencyLimit:
    """A call begun in `era` was answered after `seconds`; `in_use` were under way when it began, itself among them."""
    if era != limit.era or in_use != limit.level:
        return limit
    seen = limit.seen.and_one_of(seconds)
    if limit.settled is not None:
        if seen.replies < REPLIES_PER_CALL * limit.level:
            return replace(limit, seen=seen)
        return _judged(limit, seen, limit.settled)
    if seen.replies < limit.patience or limit.most == 1:
        return replace(limit, seen=seen)
    proven = limit.proven is not None and seen.log_seconds < limit.proven + log(SLOWER)
    step = 1 if proven else limit.step
    if not 1 <= limit.level + step <= limit.most:
        step = -step
    if proven and step < 0:
        return replace(limit, seen=seen)
    return replace(limit, level=limit.level + step, step=step, seen=Seen(), settled=(limit.level, seen))


def troubled(limit: ConcurrencyLimit, *, era: int) -> ConcurrencyLimit:
    """A call begun in `era` met a Brain that is busy, timed out or was not there."""
    if era != limit.era:
        return limit
    # A try that met trouble was in vain. While nothing is tried the Brain has changed, not our knowledge of when to try.
    patience = limit.patience if limit.settled is None else _longer(limit.patience)
    return ConcurrencyLimit(limit.most, max(1, limit.level // 2), era=limit.era + 1, patience=patience)


def _judged(limit: ConcurrencyLimit, seen: Seen, settled: tuple[int, Seen]) -> ConcurrencyLimit:
    before, then = settled
    more_is_tried = limit.level > before
    more_is_better = (
        _worth_it(before, then, limit.level, seen) if more_is_tried else _worth_it(limit.level, seen, before, then)
    )
    if more_is_better is more_is_tried:
        proven = seen.log_seconds if more_is_better else None
        return replace(limit, seen=Seen(), settled=None, patience=FIRST_PATIENCE, proven=proven)
    proven = then.log_seconds if more_is_better else limit.proven
    patience = _longer(limit.patience)
    return replace(limit, level=before, seen=Seen(), settled=None, patience=patience, step=-limit.step, proven=proven)


def _worth_it(fewer: int, at_fewer: Seen, more: int, at_more: Seen) -> bool:
    """Whether the larger number brings at least half of the throughput that it would bring if no call became slower."""
    slower = exp(at_more.log_seconds - at_fewer.log_seconds)
    return more / slower >= (fewer + more) / 2


def _longer(patience: int) -> int:
    return min(2 * patience, MOST_PATIENCE)
