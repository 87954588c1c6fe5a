"""Where files are while they are read: a directory an attempt, gone with it; and what a killed process left is removed within a minute.

Each directory is locked (flock) by the process that uses it. The kernel lets the lock go with the process, however that ends, so an unlocked one is
abandoned: no clock and no process id has to be trusted, and several replicas may share a disk.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

log = structlog.get_logger()

PREFIX = "materials-attempt-"
#: Of version 0.1.0, which locks nothing and may still run beside this one: only age tells that such a directory is abandoned.
UNLOCKED_PREFIX = "attempt-"
UNLOCKED_AGE_SECONDS = 86_400.0
SWEEP_EVERY_SECONDS = 60.0
TRIES = 3


class WorkDirectory:
    """Directories of attempts below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def attempt(self) -> Iterator[Path]:
        """A directory for one attempt; removed with all that is in it. Raises OSError."""
        directory, lock = self._make()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)

    def _make(self) -> tuple[Path, int]:
        """A new directory, and the descriptor that holds its lock."""
        self._root.mkdir(parents=True, exist_ok=True)
        tries = 0
        while True:
            tries += 1
            directory = Path(tempfile.mkdtemp(dir=self._root, prefix=PREFIX))
            try:
                return directory, _lock(directory)
            except OSError as error:
                with suppress(OSError):
                    directory.rmdir()
                # A sweep may come between the making and the locking.
                if not isinstance(error, BlockingIOError | FileNotFoundError) or tries == TRIES:
                    raise

    async def sweep_for_ever(self) -> None:
        """Removes abandoned directories at once and then once a minute."""
        while True:
            removed = await asyncio.to_thread(self.sweep)
            if removed:
                log.warning("abandoned work directories removed", count=removed)
            await asyncio.sleep(SWEEP_EVERY_SECONDS)

    def sweep(self) -> int:
        """Removes directories that no process holds; returns how many. What another user made is left alone."""
        removed = 0
        for path in self._root.glob(f"{PREFIX}*"):
            with suppress(OSError):
                lock = _lock(path)
                try:
                    shutil.rmtree(path)
                    removed += 1
                finally:
                    os.close(lock)
        for path in self._root.glob(f"{UNLOCKED_PREFIX}*"):
            with suppress(OSError):
                if path.is_dir() and path.stat().st_mtime < time.time() - UNLOCKED_AGE_SECONDS:
                    shutil.rmtree(path)
                    removed += 1
        return removed


def _lock(directory: Path) -> int:
    """The descriptor that holds the lock. Raises BlockingIOError when another holds it, FileNotFoundError when the directory is gone, OSError."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        directory.stat()  # whoever held the lock until now may have removed it
    except OSError:
        os.close(lock)
        raise
    return lock
