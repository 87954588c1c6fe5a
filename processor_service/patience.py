"""Waiting for our own parts to come back: an outage of the database or the object store is not the material's fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from servicekit.errors import Unavailable

Result = TypeVar("Result")

#: How long an attempt waits, with its lease kept, for the store or the database to come back.
PATIENCE_SECONDS = 300.0


async def patiently(call: Callable[[], Awaitable[Result]]) -> Result:
    """The call's result, repeated while Postgres or the object store is away. Raises the last Unavailable when that takes too long."""
    async for attempt in stamina.retry_context(on=Unavailable, attempts=None, timeout=PATIENCE_SECONDS, wait_max=5.0):
        with attempt:
            return await call()
    raise AssertionError("unreachable: stamina raises the last error")
