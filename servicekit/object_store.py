"""The object store: any URL that obstore knows (file://, s3://, gs://, az://), streamed in both directions.

Writing: the caller hands over chunks and is held back while the store is busy; at most `_QUEUED_CHUNKS` chunks and two parts are in memory, of a small
object all of it. An object appears under its key only when it is complete: a write that is given up leaves nothing. A stream runs in a task of its own that is
ended by a word through its queue, never by cancellation, since cancelling in the middle of obstore's native future can abort the interpreter. Large files
in a local directory have a writer of their own (local_objects.py).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from materials.v1 import errors_pb2
from obstore.store import from_url

from servicekit.errors import ServiceError, Unavailable
from servicekit.local_objects import LocalWriter

_QUEUED_CHUNKS = 1
#: How long the free space of a file system is taken to be what it was.
_MEASURED_SECONDS = 0.5
#: S3 wants parts of at least 5 MiB, but for the last.
_PART_BYTES = 5 * 1024 * 1024
#: Larger local files go through threads of ours, smaller ones through the library's, which need no turn at the interpreter.
_LOCAL_PIECE_BYTES = 256 * 1024
_WRITING_THREADS = 16
_WRITE_SECONDS = 120.0
_ABANDON_SECONDS = 10.0
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("No space left", "quota exceeded", "os error 28")


class ObjectMissing(Exception):
    """There is no object under this key."""


class _Abandoned(Exception):
    """Ends a write from inside, so that the store cleans up."""


class ObjectStore:
    """Objects by key. Raises Unavailable OBJECT_STORE_UNAVAILABLE, ServiceError OBJECT_STORE_FULL, ObjectMissing."""

    def __init__(self, url: str) -> None:
        scheme = urlsplit(url).scheme
        self._local_root: Path | None = None
        if scheme == "file":
            self._local_root = Path(unquote(urlsplit(url).path))
            self._local_root.mkdir(parents=True, exist_ok=True)
        self._store = from_url(url)
        # Apart from the process's other threads: a disk that hangs takes only these.
        self._threads = ThreadPoolExecutor(_WRITING_THREADS, "object-store")
        self._measuring: asyncio.Future[os.statvfs_result] | None = None
        self._measure_again_at = 0.0

    @asynccontextmanager
    async def writing(self, key: str) -> AsyncIterator[ObjectWriter]:
        """A writer for a new object; complete when the block ends well, gone when it does not."""
        root = self._local_root
        writer = (
            ObjectWriter(self._store, key, held_bytes=_PART_BYTES, stream=lambda: ObjectStream(self._store, key))
            if root is None
            else ObjectWriter(
                self._store,
                key,
                held_bytes=_LOCAL_PIECE_BYTES,
                stream=lambda: LocalWriter(root / key, self._threads, _translated),
            )
        )
        try:
            yield writer
            await writer.finish()
        except BaseException:
            if await writer.abandon():
                with suppress(ServiceError):  # what cannot be removed now is swept away later
                    await self.delete(key)
            raise

    async def read(
        self, key: str, offset: int = 0, length: int | None = None, chunk_bytes: int = 1024 * 1024
    ) -> AsyncIterator[bytes]:
        """The object's bytes from `offset` on, `length` of them or all, in chunks of at most `chunk_bytes`."""
        if length == 0:
            return
        # The whole object without a range: no range fits an empty one.
        options: Any = {}
        if offset or length is not None:
            options = {"range": {"offset": offset} if length is None else (offset, offset + length)}
        with _translated(missing=lambda: self._missing(key)):
            async with asyncio.timeout(30.0):
                result = await obstore.get_async(self._store, key, options=options)
            stream = result.stream(min_chunk_size=chunk_bytes)
        while True:
            with _translated(missing=lambda: self._missing(key)):
                async with asyncio.timeout(30.0):
                    chunk = await anext(stream, None)
            if chunk is None:
                return
            view = memoryview(chunk)
            for start in range(0, len(view), chunk_bytes):
                yield bytes(view[start : start + chunk_bytes])

    async def free_bytes(self) -> int | None:
        """How many bytes a local directory still takes; None for other stores, which do not say. Raises OBJECT_STORE_UNAVAILABLE, also when it is read-only."""
        if self._local_root is None:
            return None
        # All ask together: a file system that hangs must not take a thread for each of them. What was heard counts for a moment.
        now = asyncio.get_running_loop().time()
        if self._measuring is None or (self._measuring.done() and now >= self._measure_again_at):
            self._measuring = asyncio.ensure_future(asyncio.to_thread(os.statvfs, self._local_root))
            self._measure_again_at = now + _MEASURED_SECONDS
        with _translated():
            async with asyncio.timeout(5.0):
                space = await asyncio.shield(self._measuring)
        if space.f_flag & os.ST_RDONLY:
            raise _unavailable()
        return space.f_bavail * space.f_frsize

    def _missing(self, key: str) -> Exception:
        """What it means that nothing is under the key: where even the directory of all objects is gone, it is the store that is away, unmounted perhaps."""
        if self._local_root is not None and not (self._local_root / key.partition("/")[0]).is_dir():
            return _unavailable()
        return ObjectMissing()

    async def delete(self, key: str) -> None:
        """Removes the object; one that is not there is fine."""
        try:
            with _translated(missing=ObjectMissing):
                async with asyncio.timeout(30.0):
                    await obstore.delete_async(self._store, key)
        except ObjectMissing:
            pass

    async def list_older(self, prefix: str, moment: datetime) -> AsyncIterator[list[str]]:
        """Keys below `prefix` last written before `moment`, in batches."""
        batches = obstore.list(self._store, prefix=prefix, chunk_size=500)
        while True:
            with _translated():
                async with asyncio.timeout(60.0):
                    batch: Sequence[Any] | None = await anext(batches, None)
            if batch is None:
                return
            yield [item["path"] for item in batch if item["last_modified"] < moment]

    def remove_stale_parts(self, moment: datetime) -> int:
        """Removes what interrupted writes to a local directory left (`KEY#N`) before `moment`; returns how many. Other stores expire parts themselves."""
        removed = 0
        for path in self._local_root.rglob("*#*") if self._local_root else ():
            with suppress(FileNotFoundError):  # a write that ends meanwhile
                if path.is_file() and path.stat().st_mtime < moment.timestamp():
                    path.unlink()
                    removed += 1
        return removed


class ObjectWriter:
    """One object being written. Use through `ObjectStore.writing`.

    What fits `held_bytes` is written in one piece, which costs less than a stream; of what is larger, `stream` makes a writer.
    """

    def __init__(
        self, store: Any, key: str, *, held_bytes: int, stream: Callable[[], ObjectStream | LocalWriter]
    ) -> None:
        self._store, self._key, self._held_bytes, self._make_stream = store, key, held_bytes, stream
        self._held: list[bytes] = []
        self._held_size = 0
        self._stream: ObjectStream | LocalWriter | None = None
        self._whole: asyncio.Future[Any] | None = None

    async def write(self, chunk: bytes) -> None:
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
        content = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._whole = _put(self._store, self._key, content, use_multipart=False)
        with _translated():
            async with asyncio.timeout(_WRITE_SECONDS):
                await asyncio.shield(self._whole)

    async def abandon(self) -> bool:
        """Gives the write up; returns when the store has cleaned up, at most 10 s later: True when the object was complete already."""
        if self._stream is not None:
            return await self._stream.abandon()
        if self._whole is None:
            return False
        await asyncio.wait([self._whole], timeout=_ABANDON_SECONDS)
        return _succeeded(self._whole)


class ObjectStream:
    """A large object being written in parts; as `ObjectWriter`."""

    def __init__(self, store: Any, key: str) -> None:
        self._queue: asyncio.Queue[bytes | _Abandoned | None] = asyncio.Queue(_QUEUED_CHUNKS)
        self._task = _put(store, key, self._chunks(), use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=2)

    async def write(self, chunk: bytes) -> None:
        """Takes the next bytes when the store has room for them."""
        await self._enqueue(chunk)

    async def finish(self) -> None:
        """Returns when the object is there."""
        await self._enqueue(None)
        with _translated():
            async with asyncio.timeout(_WRITE_SECONDS):
                await asyncio.shield(self._task)

    async def abandon(self) -> bool:
        """As `ObjectWriter.abandon`."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(_Abandoned())
        await asyncio.wait([self._task], timeout=_ABANDON_SECONDS)
        return _succeeded(self._task)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, _Abandoned):
                raise item
            yield item

    async def _enqueue(self, item: bytes | None) -> None:
        if self._queue.full() and not self._task.done():
            putting = asyncio.ensure_future(self._queue.put(item))
            try:
                async with asyncio.timeout(60.0):
                    await asyncio.wait([putting, self._task], return_when=asyncio.FIRST_COMPLETED)
            except TimeoutError:
                raise _unavailable() from None
            finally:
                if not putting.done():
                    putting.cancel()
        elif not self._task.done():
            self._queue.put_nowait(item)
        if self._task.done() and item is not None:
            with _translated():
                self._task.result()


def _put(store: Any, key: str, content: bytes | AsyncIterator[bytes], **how: Any) -> asyncio.Future[Any]:
    task = asyncio.ensure_future(obstore.put_async(store, key, content, **how))
    task.add_done_callback(_look_at_error)
    return task


def _succeeded(write: asyncio.Future[Any]) -> bool:
    return write.done() and not write.cancelled() and write.exception() is None


def _look_at_error(write: asyncio.Future[Any]) -> None:
    """So that the end of a write that was given up is not reported as lost, even when nobody waits for it any more."""
    if not write.cancelled():
        write.exception()


def _unavailable() -> Unavailable:
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


class _translated:
    """Turns the store's errors into ours. What is `missing` where no object is asked for, is the store itself (its directory, its bucket)."""

    def __init__(self, missing: Callable[[], Exception] = _unavailable) -> None:
        self._missing = missing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, ServiceError | asyncio.CancelledError | GeneratorExit):
            return
        if isinstance(error, FileNotFoundError):
            raise self._missing() from error
        if isinstance(error, Exception):
            raise (store_full() if _says_full(error) else _unavailable()) from error


def _says_full(error: Exception) -> bool:
    # Local stores raise errors of the standard library or of their own, with the system's words in them.
    return getattr(error, "errno", None) in _FULL_ERRNOS or any(word in str(error) for word in _FULL_WORDS)
