"""Nothing of a file stays on the disk when its attempt is over, however it ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from processor_service.work_directory import WorkDirectory


def test_an_attempts_directory_goes_with_the_attempt_also_when_it_fails(tmp_path: Path) -> None:
    work = WorkDirectory(tmp_path / "work", attempt_timeout=10)

    def failing_attempt() -> None:
        with work.attempt() as directory:
            (directory / "file").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing_attempt()
    assert list((tmp_path / "work").iterdir()) == []


def test_the_sweep_takes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    work = WorkDirectory(tmp_path, attempt_timeout=10)
    abandoned, foreign = tmp_path / "attempt-old", tmp_path / "something-else"
    for path in (abandoned, foreign):
        path.mkdir()
        (path / "file").write_bytes(b"x")
        os.utime(path, (1, 1))
    with work.attempt() as live:
        assert work.sweep(time.time() - 10) == 1
        assert live.is_dir()
    assert not abandoned.exists()
    assert foreign.is_dir()


def test_a_missing_work_directory_is_made_when_it_is_needed(tmp_path: Path) -> None:
    work = WorkDirectory(tmp_path / "not" / "there", attempt_timeout=10)
    assert work.sweep(time.time()) == 0
    with work.attempt() as directory:
        assert directory.is_dir()
