"""Writing a large object to a local directory, off the event loop: for a local file, a stream through the object store's library costs more than all the rest
of a large upload.

The same files as the library's own: an object is written beside its place as `KEY#N`, with N a number, and renamed when it is whole. A writer has one job in a
thread at a time, and takes the next bytes meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, suppress
from pathlib import Path

#: Written in one job.
_HELD_BYTES = 1024 * 1024
#: In one call of the system, which takes 1,024.
_MOST_PIECES = 512
#: Asked of the file system ahead.
_RESERVED_BYTES = 4 * 1024 * 1024
_JOB_SECONDS = 60.0


class LocalWriter:
    """One object being written; as `ObjectWriter`. Use through `ObjectStore.writing`.

    `translated` turns the system's errors into the store's; what went wrong in a job comes out of the next call.
    """

    def __init__(self, path: Path, threads: Executor, translated: Callable[[], AbstractContextManager[object]]) -> None:
        self._path, self._threads, self._translated = path, threads, translated
        self._part = path.with_name(f"{path.name}#{random.getrandbits(48)}")
        self._held: list[bytes | memoryview] = []
        self._held_bytes = 0
        self._size = self._reserved = 0
        self._file: int | None = None
        self._complete = False
        self._job: asyncio.Future[None] | None = None
        self._removing: asyncio.Task[None] | None = None

    async def write(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes when there is room for them."""
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes >= _HELD_BYTES:
            held = self._taken()
            await self._begin(lambda: self._append(held))

    async def finish(self) -> None:
        """Returns when the object is there."""
        held = self._taken()
        await self._begin(lambda: self._put_in_place(held))
        await self._settle()

    async def abandon(self) -> bool:
        """Gives the write up; returns when nothing is left of it, at most 10 s later: True when the object was complete already."""
        # A task of its own, so that what is left goes even if whoever waits is cancelled once more.
        self._removing = asyncio.ensure_future(self._remove_after(self._job))
        await asyncio.wait([self._removing], timeout=10.0)
        return self._complete

    async def _settle(self) -> None:
        if self._job is None:
            return
        with self._translated():
            async with asyncio.timeout(_JOB_SECONDS):
                # Not cancelled with whoever waits: the thread goes on, and has the file.
                await asyncio.wait([self._job])
            job, self._job = self._job, None
            job.result()

    async def _begin(self, work: Callable[[], None]) -> None:
        await self._settle()
        self._job = asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _taken(self) -> list[bytes | memoryview]:
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    async def _remove_after(self, job: asyncio.Future[None] | None) -> None:
        if job is not None:
            await asyncio.wait([job])
            job.exception()  # what counts has been raised
        if not self._complete:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._remove)

    # -- in a thread ----------------------------------------------------------------------------------------------------------

    def _append(self, pieces: list[bytes | memoryview]) -> None:
        if self._file is None:
            self._file = self._open()
        self._size += sum(map(len, pieces))
        if self._size > self._reserved:
            self._reserve(self._file)
        left = [memoryview(piece) for piece in pieces]
        while left:
            written = os.writev(self._file, left[:_MOST_PIECES])
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = left[0][written:]

    def _reserve(self, file: int) -> None:
        # Blocks that the file system gives out many at once cost half of what single ones do. Whether they can be had is the write's to say.
        ahead = self._size - self._reserved + _RESERVED_BYTES
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with suppress(OSError):
                os.posix_fallocate(file, self._reserved, ahead)
        self._reserved += ahead

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(self._part, flags, 0o666)
        except FileNotFoundError:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._part, flags, 0o666)

    def _put_in_place(self, rest: list[bytes | memoryview]) -> None:
        self._append(rest)
        assert self._file is not None
        os.ftruncate(self._file, self._size)
        self._close()
        self._part.rename(self._path)
        self._complete = True

    def _remove(self) -> None:
        with suppress(OSError):  # what cannot be removed now is swept away later
            self._part.unlink(missing_ok=True)
        with suppress(OSError):
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
