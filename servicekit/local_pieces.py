"""Writing small objects to a local directory, off the event loop: one thread writes what has gathered, and wakes the loop once for all of it.

A thread of its own for each file costs several times what the file does: in waking, in waiting for the interpreter, in waiting for one another in the file
system. Where the disk is slow, more threads help. The same files as `LocalWriter`'s.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

#: Pieces for each thread, which it takes together, while the disk is quick; of a slow one, each piece gets a thread.
_GROUP = 16
_SLOW_SECONDS = 0.02
#: Nobody waits longer for the others of a group; where the disk hangs on one of them, until the loop looks.
_TELL_SECONDS = 0.002
_LOOK_SECONDS = 0.1
#: To begin costs a thread more than to wait for the next piece.
_LINGER_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Piece:
    path: str
    content: bytes
    written: asyncio.Future[None]


class LocalPieces:
    """Writes objects whole, for one event loop, with at most `most` threads; no more than `waiting` objects wait, for a disk that hangs."""

    def __init__(self, *, most: int, waiting: int = 256) -> None:
        # Its own: a thread that always finds more to write gives way to nobody.
        self._threads = ThreadPoolExecutor(most, "small-objects")
        self._most, self._bound = most, waiting
        self._waiting: SimpleQueue[_Piece] = SimpleQueue()
        #: Held to begin and to end a run, which is a thread's time with the pieces.
        self._lock = threading.Lock()
        self._runs: set[object] = set()
        self._slow = False
        self._ended: deque[tuple[_Piece, Exception | None]] = deque()
        self._looking = False

    def write(self, path: str, content: bytes) -> asyncio.Future[None]:
        """Done when the object is there, whole; missing directories are made. Whoever gives up leaves the future to its end: it is not cancelled.

        Its exception is the system's OSError; TimeoutError when too many wait, RuntimeError when no thread can be had.
        """
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        written.add_done_callback(_look_at_error)
        waiting = self._waiting.qsize()
        if waiting >= self._bound:
            written.set_exception(TimeoutError("too many objects wait for the disk"))
            return written
        with self._lock:
            if len(self._runs) < self._most and waiting >= (0 if self._slow else len(self._runs) * _GROUP):
                try:
                    self._begin(loop)
                except RuntimeError as error:
                    if not self._runs:
                        written.set_exception(error)
                        return written
            self._waiting.put(_Piece(path, content, written))
        return written

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        run = object()
        self._runs.add(run)
        try:
            self._threads.submit(self._run, run, loop)
        except RuntimeError:
            # May run all the same, whenever another has a thread: it is one too many then.
            self._runs.remove(run)
            raise
        if not self._looking:
            self._look(loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tell()
        self._looking = bool(self._runs)
        if self._looking:
            loop.call_later(_LOOK_SECONDS, self._look, loop)

    def _tell(self) -> None:
        while self._ended:
            piece, error = self._ended.popleft()
            if piece.written.done():
                continue
            if error is None:
                piece.written.set_result(None)
            else:
                piece.written.set_exception(error)

    # -- in a thread ----------------------------------------------------------------------------------------------------------

    def _run(self, run: object, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if run not in self._runs:
                return
        while pieces := self._take(run):
            told = began = time.monotonic()
            for piece in pieces:
                self._ended.append((piece, _error_of(piece)))
                ended = time.monotonic()
                self._slow = ended - began > _SLOW_SECONDS
                began = ended
                if ended - told > _TELL_SECONDS:
                    loop.call_soon_threadsafe(self._tell)
                    told = ended
            if self._ended:
                loop.call_soon_threadsafe(self._tell)

    def _take(self, run: object) -> list[_Piece]:
        """The next pieces; none when the run has ended. Of several, only one waits for more."""
        taken: list[_Piece] = []
        with suppress(Empty):
            taken.append(self._waiting.get(timeout=_LINGER_SECONDS if len(self._runs) == 1 else 0))
            while len(taken) < (1 if self._slow else _GROUP):
                taken.append(self._waiting.get_nowait())
        if taken:
            return taken
        with self._lock:
            # What has come just now has found this run, and begun no other.
            try:
                return [self._waiting.get_nowait()]
            except Empty:
                self._runs.remove(run)
                return []


def _look_at_error(written: asyncio.Future[None]) -> None:
    """So that the end of a write that was given up is not reported as lost."""
    if not written.cancelled():
        written.exception()


def _error_of(piece: _Piece) -> Exception | None:
    """What went wrong with the piece, which its run and the others outlive."""
    part = Path(f"{piece.path}#{random.getrandbits(48)}")
    try:
        _write(part, piece.content)
        part.rename(piece.path)
    except Exception as error:
        with suppress(OSError):  # what cannot be removed now is swept away later
            part.unlink()
        return error
    return None


def _write(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        file = os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, flags, 0o666)
    try:
        written = os.write(file, content)
        while written < len(content):
            written += os.write(file, memoryview(content)[written:])
    finally:
        os.close(file)
