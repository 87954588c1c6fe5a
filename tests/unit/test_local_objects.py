"""Writing to a local directory in threads: what a disk may do meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from materials.v1 import errors_pb2

from servicekit.errors import Unavailable
from servicekit.object_store import ObjectStore

MIB = 1024 * 1024
KEY = "objects/0b/0b9f2a52-6f6a-4f0e-9a53-2f9f2a526f6a"
CONTENT = os.urandom(3 * MIB + 17)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def put(store: ObjectStore, chunk: int) -> None:
    async with store.writing(KEY) as writer:
        for start in range(0, len(CONTENT), chunk):
            await writer.write(CONTENT[start : start + chunk])


@pytest.mark.parametrize("most", [1, 700_001, MIB])
async def test_disk_that_takes_less_than_it_is_given_is_given_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    def reluctant(file: int, pieces: Sequence[memoryview]) -> int:
        first = bytes(pieces[0])
        # Byte by byte only now and then: a whole file of single bytes takes too long.
        return os.write(file, first[: most if len(first) % 2 else len(first)])

    monkeypatch.setattr(os, "writev", reluctant)
    await put(ObjectStore(tmp_path.as_uri()), 100_000)
    assert (tmp_path / KEY).read_bytes() == CONTENT


async def test_write_cancelled_while_the_disk_is_busy_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, free = threading.Event(), threading.Event()
    write = os.writev

    def slow(file: int, pieces: Sequence[memoryview]) -> int:
        busy.set()
        assert free.wait(20)
        return write(file, pieces)

    monkeypatch.setattr(os, "writev", slow)
    uploading = asyncio.create_task(put(ObjectStore(tmp_path.as_uri()), MIB))
    assert await asyncio.to_thread(busy.wait, 20)
    uploading.cancel()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert files(tmp_path) == []


async def test_writer_is_held_back_while_the_disk_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy, free = threading.Event(), threading.Event()
    write = os.writev

    def slow(file: int, pieces: Sequence[memoryview]) -> int:
        busy.set()
        assert free.wait(20)
        return write(file, pieces)

    monkeypatch.setattr(os, "writev", slow)
    async with ObjectStore(tmp_path.as_uri()).writing(KEY) as writer:
        await writer.write(CONTENT[:MIB])
        assert await asyncio.to_thread(busy.wait, 20)
        held_back = asyncio.create_task(writer.write(CONTENT[MIB : 2 * MIB]))
        await asyncio.wait([held_back], timeout=0.2)  # however long: it cannot get past the disk
        assert not held_back.done()
        free.set()
        await held_back
        await writer.write(CONTENT[2 * MIB :])
    assert (tmp_path / KEY).read_bytes() == CONTENT


async def test_object_that_cannot_be_put_in_its_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / KEY).mkdir(parents=True)
    with pytest.raises(Exception, match="object store"):
        await put(ObjectStore(tmp_path.as_uri()), MIB)
    assert files(tmp_path) == []


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_disk_that_is_full_in_the_middle_refuses_as_full_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = os.writev, 0

    def until_full(file: int, pieces: Sequence[memoryview]) -> int:
        nonlocal written
        if written >= 2 * MIB:
            no_space()
        written += (taken := write(file, pieces))
        return taken

    monkeypatch.setattr(os, "writev", until_full)
    with pytest.raises(Unavailable) as error:
        await put(ObjectStore(tmp_path.as_uri()), 100_000)
    assert error.value.reason == errors_pb2.ERROR_REASON_OBJECT_STORE_FULL
    assert files(tmp_path) == []


async def test_disk_that_reserves_nothing_takes_what_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    await put(ObjectStore(tmp_path.as_uri()), MIB)
    assert (tmp_path / KEY).read_bytes() == CONTENT


async def test_what_was_reserved_and_not_used_is_given_back(tmp_path: Path) -> None:
    await put(ObjectStore(tmp_path.as_uri()), MIB)
    assert (tmp_path / KEY).read_bytes() == CONTENT
    assert (tmp_path / KEY).stat().st_blocks * 512 < len(CONTENT) + MIB


async def test_views_of_bytes_are_written_as_bytes_are(tmp_path: Path) -> None:
    for size in (1000, len(CONTENT)):
        async with ObjectStore(tmp_path.as_uri()).writing(KEY) as writer:
            await writer.write(memoryview(CONTENT)[:size])
        assert (tmp_path / KEY).read_bytes() == CONTENT[:size]
