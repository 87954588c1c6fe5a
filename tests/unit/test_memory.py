"""When a process is short of memory, and where its limit comes from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from servicekit.memory import SHORT_ABOVE, ProcessMemory, is_short

LIMIT = 200 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("resident", "limit", "short"),
    [(84, 100, False), (85, 100, False), (86, 100, True), (200, 100, True), (0, 1, False)],
)
def test_short_is_above_85_percent_of_the_limit(resident: int, limit: int, short: bool) -> None:
    assert is_short(resident, limit) is short


@pytest.fixture
def process(tmp_path: Path) -> Path:
    """A process of 100 pages in a cgroup of 200."""
    process = tmp_path / "self"
    process.mkdir()
    (process / "statm").write_text("900 100 50 1 0 40 0\n")
    (process / "cgroup").write_text("0::/service.slice/ingest\n")
    (tmp_path / "service.slice/ingest").mkdir(parents=True)
    (tmp_path / "service.slice/ingest/memory.max").write_text(f"{LIMIT}\n")
    return process


def memory_of(process: Path, configured: int = 0) -> ProcessMemory:
    return ProcessMemory(configured, process=process, cgroups=process.parent)


def test_limit_is_the_cgroups_where_none_is_configured(process: Path) -> None:
    assert memory_of(process).limit == LIMIT
    assert memory_of(process, 2 * LIMIT).limit == 2 * LIMIT


def test_a_container_sees_its_cgroup_as_the_root(process: Path) -> None:
    (process / "cgroup").write_text("0::/\n")
    (process.parent / "memory.max").write_text("5000\n")
    assert memory_of(process).limit == 5000


@pytest.mark.parametrize(
    "membership",
    ["0::/elsewhere\n", "4:memory:/service.slice/ingest\n", "4:memory:/service.slice/ingest\n0::/\n", "", "0::\n"],
    ids=["no controller", "version 1", "both versions", "empty", "no path"],
)
def test_no_limit_where_the_cgroup_has_none(process: Path, membership: str) -> None:
    (process / "cgroup").write_text(membership)
    assert memory_of(process).limit is None
    assert not memory_of(process).is_short()


def test_no_limit_where_the_cgroup_says_max(process: Path) -> None:
    (process.parent / "service.slice/ingest/memory.max").write_text("max\n")
    assert memory_of(process).limit is None


def test_no_limit_without_proc_whatever_is_configured(tmp_path: Path) -> None:
    memory = memory_of(tmp_path / "absent", 1)
    assert memory.limit is None
    assert not memory.is_short()


def test_what_is_resident_is_read_anew_each_time(process: Path) -> None:
    memory = memory_of(process)
    assert not memory.is_short()
    (process / "statm").write_text("900 250 50 1 0 40 0\n")
    assert memory.is_short()
    (process / "statm").write_text("900 100 50 1 0 40 0\n")
    assert not memory.is_short()


def test_what_is_promised_counts_before_it_is_resident(process: Path) -> None:
    memory = memory_of(process)
    promised = LIMIT // 2  # over the half that is resident at the start
    assert not memory.is_short(promised // 2)
    assert memory.is_short(promised)
    (process / "statm").write_text("900 150 50 1 0 40 0\n")
    assert not memory.is_short(promised // 2), "what was promised and has become resident is counted once"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_this_process_is_measured_as_others_measure_it() -> None:
    resident = psutil.Process().memory_info().rss
    assert ProcessMemory(resident // 2).is_short()
    assert not ProcessMemory(resident * 2).is_short()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_a_peak_has_left_free_is_given_back_before_anything_is_refused() -> None:
    process, mib = psutil.Process(), 1024 * 1024
    before = process.memory_info().rss
    memory = ProcessMemory(int((before + 100 * mib) / SHORT_ABOVE))
    blocks = [b"x" * 100_000 for _ in range(3_000)]  # 300 MB of the heap, each too small for a mapping of its own
    last = blocks[-1]  # keeps the heap from shrinking
    del blocks
    if process.memory_info().rss < before + 200 * mib:
        pytest.skip("this allocator gives back by itself")
    assert not memory.is_short()
    assert last
