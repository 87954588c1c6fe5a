"""Nothing of a file stays on the disk when its attempt is over, however it ended."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from processor_service import work_directory
from processor_service.work_directory import PREFIX, UNLOCKED_AGE_SECONDS, WorkDirectory

KILLED_IN_THE_MIDDLE = """
import sys, os, signal
from pathlib import Path
from processor_service.work_directory import WorkDirectory
with WorkDirectory(Path(sys.argv[1])).attempt() as directory:
    (directory / "file").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_attempts_directory_goes_with_the_attempt_also_when_it_fails(tmp_path: Path) -> None:
    work = WorkDirectory(tmp_path / "work")

    def failing_attempt() -> None:
        with work.attempt() as directory:
            (directory / "file").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing_attempt()
    assert list((tmp_path / "work").iterdir()) == []


def test_the_sweep_takes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    foreign = tmp_path / "something-else"
    foreign.mkdir()
    subprocess.run([sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(tmp_path)], check=False)
    [abandoned] = tmp_path.glob(f"{PREFIX}*")
    work = WorkDirectory(tmp_path)
    with work.attempt() as live:
        # Another replica with the same directory.
        assert WorkDirectory(tmp_path).sweep() == 1
        assert live.is_dir()
    assert not abandoned.exists()
    assert foreign.is_dir()


def test_a_missing_work_directory_is_made_when_it_is_needed(tmp_path: Path) -> None:
    work = WorkDirectory(tmp_path / "not" / "there")
    assert work.sweep() == 0
    with work.attempt() as directory:
        assert directory.is_dir()


def test_directories_of_a_version_that_locks_nothing_are_left_for_a_day(tmp_path: Path) -> None:
    live, abandoned = tmp_path / "attempt-live", tmp_path / "attempt-abandoned"
    for directory in (live, abandoned):
        directory.mkdir()
        (directory / "file").write_bytes(b"x")
    long_ago = time.time() - UNLOCKED_AGE_SECONDS - 60
    os.utime(abandoned, (long_ago, long_ago))
    assert WorkDirectory(tmp_path).sweep() == 1
    assert live.is_dir()
    assert not abandoned.exists()


def test_what_is_left_by_a_kill_before_the_lock_is_swept(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}made").mkdir()
    assert WorkDirectory(tmp_path).sweep() == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_free_descriptor_an_attempt_fails_and_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"), WorkDirectory(tmp_path).attempt():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert list(tmp_path.iterdir()) == []


def sweeps_before_each_lock(monkeypatch: pytest.MonkeyPatch, work: WorkDirectory, times: int) -> None:
    """Another replica's sweep comes just between the making and the locking, so many times."""
    lock: Callable[[Path], int] = work_directory._lock
    left = times

    def late(directory: Path) -> int:
        nonlocal left
        if left:
            left -= 1
            monkeypatch.setattr(work_directory, "_lock", lock)
            assert work.sweep() == 1
            monkeypatch.setattr(work_directory, "_lock", late)
        return lock(directory)

    monkeypatch.setattr(work_directory, "_lock", late)


def test_an_attempt_whose_directory_was_swept_before_its_lock_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = WorkDirectory(tmp_path)
    sweeps_before_each_lock(monkeypatch, work, times=2)
    with work.attempt() as directory:
        assert work.sweep() == 0
        assert list(tmp_path.iterdir()) == [directory]


def test_an_attempt_gives_up_when_its_directory_is_taken_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = WorkDirectory(tmp_path)
    sweeps_before_each_lock(monkeypatch, work, times=100)
    with pytest.raises(FileNotFoundError), work.attempt():
        pass
