"""Memory of processes while something goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from bench.processes import memory_mib

#: Of each process: [second since the beginning, MiB].
MemoryOverTime = dict[str, list[list[float]]]


@asynccontextmanager
async def memory_over_time(pids: Mapping[str, int], every: float = 0.5) -> AsyncIterator[MemoryOverTime]:
    """Samples what each process and those below it have for themselves, every so many seconds while the block runs."""
    taken: MemoryOverTime = {name: [] for name in pids}
    began = time.monotonic()

    async def sample() -> None:
        while True:
            for name, pid in pids.items():
                held = await asyncio.to_thread(memory_mib, [pid])
                taken[name].append([round(time.monotonic() - began, 2), round(held, 2)])
            await asyncio.sleep(every)

    sampling = asyncio.create_task(sample(), name="sampling")
    try:
        yield taken
    finally:
        sampling.cancel()
        await asyncio.wait([sampling])
        if not sampling.cancelled():
            sampling.result()
