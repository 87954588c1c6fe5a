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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

log = structlog.get_logger()

PREFIX = "attempt-"
#: Made and not locked yet: not swept under this name.
NEW_PREFIX = "new-"
SWEEP_EVERY_SECONDS = 60.0


class WorkDirectory:
    """Directories of attempts below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def attempt(self) -> Iterator[Path]:
        """A directory for one attempt; removed with all that is in it."""
        self._root.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=self._root, prefix=NEW_PREFIX))
        directory = made.with_name(PREFIX + made.name.removeprefix(NEW_PREFIX))
        lock = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            made.rename(directory)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)

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
        for path in self._root.glob(f"{PREFIX}*") if self._root.is_dir() else ():
            with suppress(OSError):
                lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
                    removed += 1
                finally:
                    os.close(lock)
        return removed
