"""What each process holds: memory, file descriptors, threads; and whether it grows."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from tests.faults.fault_stack import FaultStack


@dataclass(frozen=True)
class Sample:
    """Of one process at one moment: `second` of the run, `age` in seconds, `memory` in bytes (Postgres: all its processes, shared pages by share)."""

    second: float
    part: str
    pid: int
    age: float
    memory: int
    files: int


def measure(stack: FaultStack, second: float) -> list[Sample]:
    """Every part as it is now; those that are just dying are left out."""
    samples = []
    for part in stack.parts:
        try:
            process = psutil.Process(stack.pid(part))
            with process.oneshot():
                memory, files = process.memory_info().rss, process.num_fds()
                age = time.time() - process.create_time()
            if part == "postgres":
                family = [process, *process.children(recursive=True)]
                memory = sum(each.memory_full_info().pss for each in family)
                files = len(family)
            samples.append(Sample(second, part, process.pid, age, memory, files))
        except (psutil.Error, KeyError):
            continue
    return samples


async def sample_for_ever(stack: FaultStack, samples: list[Sample], every: float) -> None:
    """Adds a sample of each part every so many seconds, until cancelled."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        samples += await asyncio.to_thread(measure, stack, clock() - began)
        await asyncio.sleep(every)


@dataclass(frozen=True)
class Trend:
    """Medians over the first, middle and last fifth of a process's life after its warm-up."""

    part: str
    seconds: float
    memory: tuple[int, int, int]
    files: tuple[int, int, int]

    @property
    def growth(self) -> float:
        """Of memory, from the first to the last fifth: 0.05 is five per cent."""
        return self.memory[2] / self.memory[0] - 1

    @property
    def more_files(self) -> int:
        """File descriptors (Postgres: processes) more than at first."""
        return self.files[2] - self.files[0]


def trends(samples: Iterable[Sample], *, warm_up: float, at_least: int = 10) -> list[Trend]:
    """The trend of the longest life of each part, those with too few samples left out."""
    lives: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.age >= warm_up:
            lives[sample.part, sample.pid].append(sample)
    longest: dict[str, list[Sample]] = {}
    for (part, _), life in lives.items():
        if len(life) >= at_least and len(life) > len(longest.get(part, [])):
            longest[part] = life
    return [_trend(part, life) for part, life in sorted(longest.items())]


def _trend(part: str, life: list[Sample]) -> Trend:
    fifth = max(1, len(life) // 5)
    middle = (len(life) - fifth) // 2
    thirds = (life[:fifth], life[middle : middle + fifth], life[-fifth:])
    first, half, last = (int(statistics.median(sample.memory for sample in each)) for each in thirds)
    files = tuple(int(statistics.median(sample.files for sample in each)) for each in thirds)
    return Trend(part, life[-1].second - life[0].second, (first, half, last), (files[0], files[1], files[2]))
