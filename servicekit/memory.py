"""Whether this process is short of memory: what it has resident, against what it may have.

Linux only: where there is no /proc (macOS) nothing can be read, there is no limit, and memory is never short. Read are /proc/self/statm and, where no limit is
configured, `memory.max` of the process's own cgroup (version 2).
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from pathlib import Path

#: Work under way needs some room to end in.
SHORT_ABOVE = 0.85
TRIM_EVERY_SECONDS = 5.0
KEPT_BYTES, PIECE_BYTES = 8 * 1024 * 1024, 4 * 1024 * 1024
#: Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: New objects after which Python looks among them for cycles, and how many such looks make one further back, and those one through all. What a watcher
#: leaves behind when it goes is held by cycles, with gRPC's own memory: four times as many new objects, and a service with comings and goings grows by some
#: MiB. Looks through all are rare: with five thousand watchers they cost as much as telling them.
YOUNG_OBJECTS, MIDDLE_LOOKS, OLD_LOOKS = 5_000, 50, 100


def is_short(resident: int, limit: int) -> bool:
    """Whether so many bytes are too many to begin anything new."""
    return resident > SHORT_ABOVE * limit


class ProcessMemory:
    """This process's memory and its limit. The directories are those of the system."""

    def __init__(
        self, configured_limit: int, *, process: Path = Path("/proc/self"), cgroups: Path = Path("/sys/fs/cgroup")
    ) -> None:
        """`configured_limit` in bytes; 0 finds the cgroup's."""
        self._statm = process / "statm"
        self._trimmed_at = -TRIM_EVERY_SECONDS
        self._limit: int | None = None
        if self._statm.exists():
            self._at_start = self._resident()
            self._limit = configured_limit or _cgroup_limit(process / "cgroup", cgroups)

    @property
    def limit(self) -> int | None:
        """Bytes, None for no limit."""
        return self._limit

    def is_short(self, promised: int = 0) -> bool:
        """Whether nothing new should be begun now. `promised`: bytes that what is begun may come to hold, over what there was at the start, since what is
        resident lags behind. Reads one line of the kernel's: cheap enough for each call."""
        if self._limit is None:
            return False
        if is_short(self._at_start + promised, self._limit):
            return True
        # glibc keeps what a peak has left free in it: without this a process that was short once might stay so, with nothing to do.
        if is_short(self._resident(), self._limit) and time.monotonic() - self._trimmed_at >= TRIM_EVERY_SECONDS:
            self._trimmed_at = time.monotonic()
            trim_heap()
        return is_short(self._resident(), self._limit)

    def _resident(self) -> int:
        return int(self._statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def trim_heap() -> None:
    """Gives what glibc has kept of a peak back to the system. Takes some milliseconds for each 100 MiB."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, others give back by themselves
    if trim is not None:
        trim(0)


def collect_seldom() -> None:
    """Called once, when all of a service that lives as long as the process has been made: that is not looked through for garbage any more, and what comes
    later less often than by default. Else the service would stop for a tenth of a second now and then, in the middle of telling many watchers."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_LOOKS, OLD_LOOKS)


def keep_freed_memory() -> None:
    """For a process that passes large pieces of bytes on. glibc would give each back to the system when it is freed, and take cleared memory for the next one,
    which costs as much as receiving it; so it keeps up to KEPT_BYTES that are free, and takes pieces of up to PIECE_BYTES from them."""
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    if choose is not None:
        choose(_M_TRIM_THRESHOLD, KEPT_BYTES)
        choose(_M_MMAP_THRESHOLD, PIECE_BYTES)


def _cgroup_limit(membership: Path, cgroups: Path) -> int | None:
    try:
        # The line of version 2 is `0::/path`, with the path as this process sees it: "/" in most containers.
        paths = [line.partition("::/")[2] for line in membership.read_text().splitlines() if line.startswith("0::/")]
        return int((cgroups / paths[0] / "memory.max").read_text()) if paths else None
    except (OSError, ValueError):  # no such controller; `max`
        return None
