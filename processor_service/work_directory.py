"""Where files are while they are read: a directory an attempt, gone with it; and what a killed process left is removed later."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

log = structlog.get_logger()

PREFIX = "attempt-"
SWEEP_EVERY_SECONDS = 3_600.0


class WorkDirectory:
    """Directories of attempts below `root`. None is in use longer than `attempt_timeout` seconds."""

    def __init__(self, root: Path, *, attempt_timeout: float) -> None:
        self._root, self._attempt_timeout = root, attempt_timeout

    @contextmanager
    def attempt(self) -> Iterator[Path]:
        """A directory for one attempt; removed with all that is in it."""
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._root, prefix=PREFIX, ignore_cleanup_errors=True) as directory:
            yield Path(directory)

    async def sweep_for_ever(self) -> None:
        """Removes abandoned directories at once and then once an hour."""
        while True:
            removed = await asyncio.to_thread(self.sweep, time.time() - self._attempt_timeout)
            if removed:
                log.warning("abandoned work directories removed", count=removed)
            await asyncio.sleep(SWEEP_EVERY_SECONDS)

    def sweep(self, moment: float) -> int:
        """Removes directories made before `moment` (seconds since the epoch); returns how many. What another user made is left alone."""
        removed = 0
        for path in self._root.glob(f"{PREFIX}*") if self._root.is_dir() else ():
            with suppress(OSError):
                if path.is_dir() and path.stat().st_mtime < moment:
                    shutil.rmtree(path)
                    removed += 1
        return removed
