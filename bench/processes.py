"""What processes cost: computing time and memory, each with its children; and what machine this is."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import psutil

MIB = 1024 * 1024
_NAMED = ("grpcio", "asyncpg", "nats-py", "uvloop", "fastapi", "taskiq-nats", "celery", "procrastinate")


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes and all below them, those that have ended included, since they began."""
    total = 0.0
    for process in (each for pid in pids for each in family(pid)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mib(pids: Iterable[int]) -> float:
    """Memory that is theirs alone and would be free without them (USS), in MiB: pages that they share with others are not counted twice."""
    total = 0
    for process in (each for pid in pids for each in family(pid)):
        try:
            total += process.memory_full_info().uss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / MIB


def resident_mib(pids: Iterable[int]) -> float:
    """Resident memory (RSS), in MiB, as `ps` shows it."""
    total = 0
    for process in (each for pid in pids for each in family(pid)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / MIB


@dataclass
class Spent:
    """Computing time within a block, in seconds; known when the block has ended."""

    seconds: float = 0.0


@contextmanager
def spending(pids: Iterable[int]) -> Iterator[Spent]:
    """Measures what these processes, and those below them, compute within the block."""
    chosen = list(pids)
    spent, before = Spent(), cpu_seconds(chosen)
    yield spent
    spent.seconds = cpu_seconds(chosen) - before


def machine() -> dict[str, object]:
    """This machine, as the results file tells of it, with the packages that are installed."""
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        pass
    packages = {}
    for name in _NAMED:
        with suppress(PackageNotFoundError):  # the peers' are in the benchmark's environment alone
            packages[name] = version(name)
    return {
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "packages": packages,
    }
