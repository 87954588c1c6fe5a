"""The object store: any URL that obstore knows (file://, s3://, gs://, az://), streamed in both directions.

Writing: the caller hands over chunks and is held back while the store is busy; a chunk and two parts are in memory, of a small object all of it. An object
appears under its key only when it is complete: a write that is given up leaves nothing (object_writers.py; in a local directory: local_pieces.py for small
files, local_objects.py for large ones).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import from_url

from servicekit.errors import ServiceError
from servicekit.local_objects import LocalWriter
from servicekit.local_pieces import LocalPieces
from servicekit.object_store_errors import store_unavailable, translated
from servicekit.object_writers import PART_BYTES, ObjectStream, ObjectWriter, put_whole

#: How long the free space of a file system is taken to be what it was.
_MEASURED_SECONDS = 0.5
#: Smaller local files are written whole, several for each turn of a thread.
_LOCAL_PIECE_BYTES = 256 * 1024
#: At most, for small files and for large ones each.
_WRITING_THREADS = 16


class ObjectMissing(Exception):
    """There is no object under this key."""


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
        self._pieces = LocalPieces(most=_WRITING_THREADS)
        self._measuring: asyncio.Future[os.statvfs_result] | None = None
        self._measure_again_at = 0.0

    @asynccontextmanager
    async def writing(self, key: str) -> AsyncIterator[ObjectWriter]:
        """A writer for a new object; complete when the block ends well, gone when it does not."""
        root = self._local_root
        writer = (
            ObjectWriter(
                held_bytes=PART_BYTES,
                whole=lambda content: put_whole(self._store, key, content),
                stream=lambda: ObjectStream(self._store, key),
            )
            if root is None
            else ObjectWriter(
                held_bytes=_LOCAL_PIECE_BYTES,
                whole=lambda content: self._pieces.write(f"{root}/{key}", content),
                stream=lambda: LocalWriter(root / key, self._threads, translated),
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
        with translated(missing=lambda: self._missing(key)):
            async with asyncio.timeout(30.0):
                result = await obstore.get_async(self._store, key, options=options)
            stream = result.stream(min_chunk_size=chunk_bytes)
        while True:
            with translated(missing=lambda: self._missing(key)):
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
        with translated():
            async with asyncio.timeout(5.0):
                space = await asyncio.shield(self._measuring)
        if space.f_flag & os.ST_RDONLY:
            raise store_unavailable()
        return space.f_bavail * space.f_frsize

    def _missing(self, key: str) -> Exception:
        """What it means that nothing is under the key: where even the directory of all objects is gone, it is the store that is away, unmounted perhaps."""
        if self._local_root is not None and not (self._local_root / key.partition("/")[0]).is_dir():
            return store_unavailable()
        return ObjectMissing()

    async def delete(self, key: str) -> None:
        """Removes the object; one that is not there is fine."""
        try:
            with translated(missing=ObjectMissing):
                async with asyncio.timeout(30.0):
                    await obstore.delete_async(self._store, key)
        except ObjectMissing:
            pass

    async def list_older(self, prefix: str, moment: datetime) -> AsyncIterator[list[str]]:
        """Keys below `prefix` last written before `moment`, in batches."""
        batches = obstore.list(self._store, prefix=prefix, chunk_size=500)
        while True:
            with translated():
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
