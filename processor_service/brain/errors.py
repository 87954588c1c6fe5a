"""What can go wrong with a call to the AI Brain, as a tree.

    BrainError                  one line, safe to show to a user; the technical cause is its `__cause__`
    ├── BrainUnavailable        refused, not reached, 408, 502, 503             retry; counts towards opening the breaker
    │   └── BrainInterrupted    reset once the request was on its way           the same, and the input may be the cause
    │       └── BrainTimedOut   no whole reply in time, 504                     the same, but not at once
    ├── BreakerOpen             the breaker is open: nothing was sent           wait until it closes; no attempt is spent
    ├── BrainBusy               429, or no free connection of ours              retry; the Brain is well
    ├── BrainFailed             500, or a reply that breaks the contract        retry; the Brain is well
    ├── BrainRefused            "Error processing file", 413, 422, other 4xx    permanent for this input
    └── BrainMisconfigured      wrong vector length, redirect, 401, 403, 404    an operator must change a setting

`retry_after` (seconds) is the server's own wish, where it sent one.

Why BrainInterrupted is apart: a page that hangs or crashes the Brain every time looks like an outage of the Brain. If
it were excused as one, it would be sent again after each recovery, for ever. So it opens the breaker like the others,
but its own material spends an attempt on it.
"""

from typing import ClassVar

MAX_REASON_CHARS = 300


def one_line(text: str, limit: int = MAX_REASON_CHARS) -> str:
    """`text` as one printable line of at most `limit` characters.

    Foreign text reaches logs and users through this only: no line break, control character or bidirectional override
    survives it.
    """
    # The slice bounds the work: nothing past it could be shown anyway.
    printable = "".join(char if char.isprintable() else " " for char in text[: limit * 4])
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


class BrainError(Exception):
    """A call to the AI Brain that gave no usable result.

    `transient` says whether the same call may succeed later; `retry_after` is in seconds, None when not stated.
    """

    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class BrainUnavailable(BrainError):
    """The Brain as a whole could not be reached or did not answer in time."""

    transient = True


class BrainInterrupted(BrainUnavailable):
    """The Brain took the request and was gone before its reply was whole."""


class BrainTimedOut(BrainInterrupted):
    """The Brain took the request and gave no whole reply before the deadline."""


class BreakerOpen(BrainError):
    """Not sent: the Brain is known to be away. Wait for the breaker to close."""

    transient = True


class BrainBusy(BrainError):
    """The Brain is well and asks for fewer requests."""

    transient = True


class BrainFailed(BrainError):
    """The Brain answered this one call with an error or with a reply that breaks the contract."""

    transient = True


class BrainRefused(BrainError):
    """The Brain will not take this input, however often it is sent; `reason` is its own word, one line."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class BrainMisconfigured(BrainError):
    """The Brain and our settings do not fit together; no retry helps until one of them is changed."""
