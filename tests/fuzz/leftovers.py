"""What the services hold: to be compared before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from tests.fuzz.calls import Fuzzed

SERVICES = ("ingest", "status", "processor")


@dataclass(frozen=True)
class Usage:
    """Processes by part, and open files and threads by service."""

    pids: dict[str, int]
    files: dict[str, int]
    threads: dict[str, int]

    @classmethod
    def of(cls, fuzzed: Fuzzed) -> Usage:
        """As of now."""
        pids = dict(fuzzed.stack.current()["pids"])
        processes = {name: psutil.Process(pids[name]) for name in SERVICES}
        return cls(
            pids,
            {name: process.num_fds() for name, process in processes.items()},
            {name: process.num_threads() for name, process in processes.items()},
        )
