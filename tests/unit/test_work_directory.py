"""Nothing of a file stays on the disk when its attempt is over, however it ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from processor_service.work_directory import WorkDirectory

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
    [abandoned] = tmp_path.glob("attempt-*")
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
