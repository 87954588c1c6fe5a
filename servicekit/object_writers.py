"""Writing one object through obstore: in one piece what is small, as a stream of parts what is not.

A stream runs in a task of its own that is ended by a word through its queue, never by cancellation, since cancelling in the middle of obstore's native future
can abort the interpreter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import obstore

from servicekit.local_objects import LocalWriter
from servicekit.object_store_errors import store_unavailable, translated

#: S3 wants parts of at least 5 MiB, but for the last.
PART_BYTES = 5 * 1024 * 1024
_QUEUED_CHUNKS = 1
_WRITE_SECONDS = 120.0
_ABANDON_SECONDS = 10.0


class _Abandoned(Exception):
    """Ends a write from inside, so that the store cleans up."""


class ObjectWriter:
    """One object being written. Use through `ObjectStore.writing`.

    What fits `held_bytes` is written in one piece by `whole`, which costs less than a stream; of what is larger, `stream` makes a writer.
    """

    def __init__(
        self,
        *,
        held_bytes: int,
        whole: Callable[[bytes], asyncio.Future[Any]],
        stream: Callable[[], ObjectStream | LocalWriter],
    ) -> None:
        self._held_bytes, self._write_whole, self._make_stream = held_bytes, whole, stream
        self._held: list[bytes | memoryview] = []
        self._held_size = 0
        self._stream: ObjectStream | LocalWriter | None = None
        self._whole: asyncio.Future[Any] | None = None

    async def write(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes when the store has room for them."""
        if self._stream is not None:
            await self._stream.write(chunk)
            return
        self._held.append(chunk)
        self._held_size += len(chunk)
        if self._held_size > self._held_bytes:
            self._stream = self._make_stream()
            held, self._held = self._held, []
            for piece in held:
                await self._stream.write(piece)

    async def finish(self) -> None:
        """Returns when the object is there."""
        if self._stream is not None:
            await self._stream.finish()
            return
        self._whole = self._write_whole(b"".join(self._held))
        await _ended(self._whole)

    async def abandon(self) -> bool:
        """Gives the write up; returns when the store has cleaned up, at most 10 s later: True when the object was complete already."""
        if self._stream is not None:
            return await self._stream.abandon()
        if self._whole is None:
            return False
        await asyncio.wait([self._whole], timeout=_ABANDON_SECONDS)
        return _succeeded(self._whole)


def put_whole(store: Any, key: str, content: bytes) -> asyncio.Future[Any]:
    """Done when the object is there."""
    return _put(store, key, content, use_multipart=False)


class ObjectStream:
    """A large object being written in parts; as `ObjectWriter`."""

    def __init__(self, store: Any, key: str) -> None:
        self._queue: asyncio.Queue[bytes | memoryview | _Abandoned | None] = asyncio.Queue(_QUEUED_CHUNKS)
        self._task = _put(store, key, self._chunks(), use_multipart=True, chunk_size=PART_BYTES, max_concurrency=2)

    async def write(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes when the store has room for them."""
        await self._enqueue(chunk)

    async def finish(self) -> None:
        """Returns when the object is there."""
        await self._enqueue(None)
        await _ended(self._task)

    async def abandon(self) -> bool:
        """As `ObjectWriter.abandon`."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(_Abandoned())
        await asyncio.wait([self._task], timeout=_ABANDON_SECONDS)
        return _succeeded(self._task)

    async def _chunks(self) -> AsyncIterator[bytes | memoryview]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, _Abandoned):
                raise item
            yield item

    async def _enqueue(self, item: bytes | memoryview | None) -> None:
        if self._queue.full() and not self._task.done():
            putting = asyncio.ensure_future(self._queue.put(item))
            try:
                async with asyncio.timeout(60.0):
                    await asyncio.wait([putting, self._task], return_when=asyncio.FIRST_COMPLETED)
            except TimeoutError:
                raise store_unavailable() from None
            finally:
                if not putting.done():
                    putting.cancel()
        elif not self._task.done():
            self._queue.put_nowait(item)
        if self._task.done() and item is not None:
            with translated():
                self._task.result()


def _put(store: Any, key: str, content: bytes | AsyncIterator[bytes | memoryview], **how: Any) -> asyncio.Future[Any]:
    task = asyncio.ensure_future(obstore.put_async(store, key, content, **how))
    task.add_done_callback(_look_at_error)
    return task


async def _ended(write: asyncio.Future[Any]) -> None:
    """Waits for it; it goes on when whoever waits does not. Raises ServiceError."""
    with translated():
        async with asyncio.timeout(_WRITE_SECONDS):
            await asyncio.shield(write)


def _succeeded(write: asyncio.Future[Any]) -> bool:
    return write.done() and not write.cancelled() and write.exception() is None


def _look_at_error(write: asyncio.Future[Any]) -> None:
    """So that the end of a write that was given up is not reported as lost, even when nobody waits for it any more."""
    if not write.cancelled():
        write.exception()
