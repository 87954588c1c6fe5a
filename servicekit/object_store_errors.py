"""What goes wrong with the object store, in the words of the contract."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

from materials.v1 import errors_pb2

from servicekit.errors import ServiceError, Unavailable

_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("No space left", "quota exceeded", "os error 28")


def store_unavailable() -> Unavailable:
    """OBJECT_STORE_UNAVAILABLE, to a client."""
    return Unavailable(
        errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE,
        "the object store cannot be reached; try again shortly",
        retry_after=2,
    )


def store_full() -> Unavailable:
    """OBJECT_STORE_FULL, to a client."""
    return Unavailable(
        errors_pb2.ERROR_REASON_OBJECT_STORE_FULL, "the object store has no room; try again later", retry_after=60
    )


class translated:
    """Turns the store's errors into ours. What is `missing` where no object is asked for, is the store itself (its directory, its bucket)."""

    def __init__(self, missing: Callable[[], Exception] = store_unavailable) -> None:
        self._missing = missing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, ServiceError | asyncio.CancelledError | GeneratorExit):
            return
        if isinstance(error, FileNotFoundError):
            raise self._missing() from error
        if isinstance(error, Exception):
            raise (store_full() if _says_full(error) else store_unavailable()) from error


def _says_full(error: Exception) -> bool:
    # Local stores raise errors of the standard library or of their own, with the system's words in them.
    return getattr(error, "errno", None) in _FULL_ERRNOS or any(word in str(error) for word in _FULL_WORDS)
