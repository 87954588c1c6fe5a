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
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

#: Pieces for each thread, which it takes together, while the disk is quick; of a slow one, each piece gets a thread.
_GROUP = 16
_SLOW_SECONDS = 0.02
#: Nobody waits longer for the others of a group.
_TELL_SECONDS = 0.002
#: To begin costs a thread more than to wait for the next piece.
_LINGER_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Piece:
    path: str
    content: bytes
    written: asyncio.Future[None]


class LocalPieces:
    """Writes objects whole, with at most `most` of the `threads`; no more than `waiting` wait, for a disk that hangs."""

    def __init__(self, threads: Executor, *, most: int, waiting: int = 256) -> None:
        self._threads, self._most, self._bound = threads, most, waiting
        self._waiting: SimpleQueue[_Piece] = SimpleQueue()
        #: Held to begin and to end a thread.
        self._lock = threading.Lock()
        self._running = 0
        self._slow = False

    def write(self, path: str, content: bytes) -> asyncio.Future[None]:
        """Done when the object is there, whole; missing directories are made. Whoever gives up leaves the future to its end: it is not cancelled.

        Its exception is the system's OSError; TimeoutError when too many wait.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.add_done_callback(_look_at_error)
        if self._waiting.qsize() >= self._bound:
            written.set_exception(TimeoutError("too many objects wait for the disk"))
            return written
        with self._lock:
            self._waiting.put(_Piece(path, content, written))
            begins = self._running < self._most and self._waiting.qsize() > (
                0 if self._slow else self._running * _GROUP
            )
            self._running += begins
        if begins:
            self._threads.submit(self._run, asyncio.get_running_loop())
        return written

    # -- in a thread ----------------------------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while pieces := self._take():
            outcomes: list[tuple[_Piece, OSError | None]] = []
            told = began = time.monotonic()
            for piece in pieces:
                outcomes.append((piece, _outcome(piece)))
                ended = time.monotonic()
                self._slow = ended - began > _SLOW_SECONDS
                began = ended
                if ended - told > _TELL_SECONDS:
                    loop.call_soon_threadsafe(_tell, outcomes)
                    outcomes, told = [], ended
            if outcomes:
                loop.call_soon_threadsafe(_tell, outcomes)

    def _take(self) -> list[_Piece]:
        """The next pieces; none when the thread has ended. Of several, only one waits for more."""
        taken: list[_Piece] = []
        with suppress(Empty):
            taken.append(self._waiting.get(timeout=_LINGER_SECONDS if self._running == 1 else 0))
            while len(taken) < (1 if self._slow else _GROUP):
                taken.append(self._waiting.get_nowait())
        if taken:
            return taken
        with self._lock:
            # What has come just now has found this thread, and begun no other.
            try:
                return [self._waiting.get_nowait()]
            except Empty:
                self._running -= 1
                return []


def _tell(outcomes: Sequence[tuple[_Piece, OSError | None]]) -> None:
    for piece, error in outcomes:
        if piece.written.done():
            continue
        if error is None:
            piece.written.set_result(None)
        else:
            piece.written.set_exception(error)


def _look_at_error(written: asyncio.Future[None]) -> None:
    """So that the end of a write that was given up is not reported as lost."""
    if not written.cancelled():
        written.exception()


def _outcome(piece: _Piece) -> OSError | None:
    part = Path(f"{piece.path}#{random.getrandbits(48)}")
    try:
        _write(part, piece.content)
        part.rename(piece.path)
    except OSError as error:
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
