"""Another file system where the object store's directory was: small, read-only, or slow. Needs the right to mount."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.faults.fault_stack import FaultStack
from tests.faults.scenario import Skipped

FREEZE_AT_MOST_SECONDS = 20


@asynccontextmanager
async def in_memory(stack: FaultStack, megabytes: int) -> AsyncIterator[MountedStore]:
    """A tmpfs of this size over the store's directory; at the end what lies in it is moved to where it belongs."""
    async with _over(stack, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs") as store:
        yield store


@asynccontextmanager
async def on_a_disk_of_its_own(stack: FaultStack, megabytes: int) -> AsyncIterator[MountedStore]:
    """An ext4 in a file, mounted by a loop device: it can be frozen."""
    with tempfile.NamedTemporaryFile(prefix="materials-disk-") as disk:
        disk.truncate(megabytes * 1024 * 1024)
        await _try("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,nodiscard", disk.name)
        async with _over(stack, "-t", "ext4", "-o", "loop", disk.name) as store:
            yield store


class MountedStore:
    """A mounted file system at the store's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def remount(self, options: str) -> None:
        """With other options: `size=4m`, `ro`, `rw`."""
        await run("mount", "-o", f"remount,{options}", str(self.path))

    def parts(self) -> list[Path]:
        """Files of objects that are not complete."""
        return [path for path in self.path.rglob("*#*") if path.is_file()]

    def names(self) -> set[str]:
        """Of all files."""
        return {path.name for path in self.path.rglob("*") if path.is_file()}

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Writes hang until the end of the block. The file system thaws by itself after a while, should this process die."""
        watchdog = await asyncio.create_subprocess_exec(
            "sh", "-c", f'sleep {FREEZE_AT_MOST_SECONDS}; fsfreeze -u "$0"', str(self.path), start_new_session=True
        )
        await run("fsfreeze", "-f", str(self.path))
        try:
            yield
        finally:
            await run("fsfreeze", "-u", str(self.path))
            os.killpg(watchdog.pid, signal.SIGKILL)
            await watchdog.wait()


@asynccontextmanager
async def _over(stack: FaultStack, *mount: str) -> AsyncIterator[MountedStore]:
    path = stack.objects
    await _try("mount", *mount, str(path))
    kept = Path(tempfile.mkdtemp(prefix="materials-moved-"))
    try:
        yield MountedStore(path)
    finally:
        # Nobody writes any more, or only what may be lost.
        await asyncio.to_thread(_copy, path / "objects", kept)
        await run("umount", "--lazy", str(path))
        await asyncio.to_thread(_copy, kept, path / "objects")
        shutil.rmtree(kept)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)


async def _try(*command: str) -> None:
    """For what begins it all: raises Skipped where the program is missing or not allowed."""
    try:
        await run(*command)
    except (FileNotFoundError, RuntimeError) as error:
        raise Skipped(f"not possible here: {error}") from error


async def run(*command: str) -> None:
    """Raises FileNotFoundError where there is no such program, RuntimeError with its words where it fails."""
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
