"""Small objects written whole, in threads that they share: what a disk may do meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from materials.v1 import errors_pb2

from servicekit.errors import Unavailable
from servicekit.local_pieces import LocalPieces
from servicekit.object_store import ObjectStore

KEY = "objects/0b/0b9f2a52-6f6a-4f0e-9a53-2f9f2a526f6a"
SECONDS = 20.0


class Disk:
    """`os.write` as the writers see it: held back until `let_go` is called; `busy` tells that somebody has come, `threads` who."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self.threads: set[int] = set()
        self._came = threading.Semaphore(0)
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, file: int, content: bytes) -> int:
        self.threads.add(threading.get_ident())
        self._came.release()
        assert self.free.wait(SECONDS)
        return self._write(file, content)

    async def busy(self) -> None:
        assert await asyncio.to_thread(self._came.acquire, timeout=SECONDS)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_each_of_many_is_written_whole(tmp_path: Path) -> None:
    pieces = LocalPieces(most=3)
    contents = {f"{tmp_path}/{number % 7}/{number}": os.urandom(number) for number in range(200)}
    await asyncio.wait_for(asyncio.gather(*(pieces.write(*item) for item in contents.items())), SECONDS)
    assert {str(tmp_path / name): (tmp_path / name).read_bytes() for name in files(tmp_path)} == contents


async def test_one_that_cannot_be_written_fails_alone_and_leaves_nothing(tmp_path: Path) -> None:
    pieces = LocalPieces(most=1)
    (tmp_path / "taken").mkdir()
    names = ("first", "taken", "last")
    first, taken, last = await asyncio.wait_for(
        asyncio.gather(*(pieces.write(f"{tmp_path}/{name}", b"x") for name in names), return_exceptions=True), SECONDS
    )
    assert (first, last) == (None, None)
    assert isinstance(taken, IsADirectoryError)
    assert files(tmp_path) == ["first", "last"]


@pytest.mark.parametrize("most", [1, 1_000])
async def test_disk_that_takes_less_than_it_is_given_is_given_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, bytes(content[:most])))
    content = os.urandom(5_003)
    await asyncio.wait_for(LocalPieces(most=1).write(f"{tmp_path}/object", content), SECONDS)
    assert (tmp_path / "object").read_bytes() == content


async def test_those_that_gather_share_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.local_pieces._SLOW_SECONDS", SECONDS)  # however long this machine has us wait
    disk, pieces = Disk(monkeypatch), LocalPieces(most=4)
    disk.free.set()
    await asyncio.wait_for(
        asyncio.gather(*(pieces.write(f"{tmp_path}/{number}", b"x") for number in range(10))), SECONDS
    )
    assert len(disk.threads) == 1


async def test_slow_disk_gets_more_threads_but_no_more_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, pieces = Disk(monkeypatch), LocalPieces(most=3)
    writing = [pieces.write(f"{tmp_path}/{number}", b"x") for number in range(100)]
    for _ in range(3):
        await disk.busy()
    assert len(disk.threads) == 3
    disk.free.set()
    await asyncio.wait_for(asyncio.gather(*writing), SECONDS)
    assert len(files(tmp_path)) == 100
    assert len(disk.threads) == 3


async def test_each_piece_has_a_thread_while_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.local_pieces._SLOW_SECONDS", -1.0)
    pieces = LocalPieces(most=3)
    await asyncio.wait_for(pieces.write(f"{tmp_path}/slow", b"x"), SECONDS)
    disk = Disk(monkeypatch)
    writing = [pieces.write(f"{tmp_path}/{number}", b"x") for number in range(3)]
    for _ in range(3):
        await disk.busy()
    disk.free.set()
    await asyncio.wait_for(asyncio.gather(*writing), SECONDS)
    assert len(disk.threads) == 3


async def test_those_that_ended_are_told_before_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, gates = os.write, {b"first": threading.Event(), b"third": threading.Event()}

    def held(file: int, content: bytes) -> int:
        assert content not in gates or gates[content].wait(SECONDS)
        return write(file, content)

    monkeypatch.setattr(os, "write", held)
    pieces = LocalPieces(most=1)
    first, second, third = [
        pieces.write(f"{tmp_path}/{name.decode()}", name) for name in (b"first", b"second", b"third")
    ]
    gates[b"first"].set()
    await asyncio.wait_for(asyncio.gather(first, second), SECONDS / 2)
    assert not third.done()
    gates[b"third"].set()
    await asyncio.wait_for(third, SECONDS)


async def test_large_upload_does_not_wait_for_the_end_of_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servicekit.local_pieces._SLOW_SECONDS", -1.0)
    store = ObjectStore(tmp_path.as_uri())

    async def upload(name: str, size: int) -> None:
        async with store.writing(f"objects/{name}") as writer:
            await writer.write(b"x" * size)

    await upload("slow", 1)
    disk = Disk(monkeypatch)
    small = [asyncio.create_task(upload(f"small-{number}", 1)) for number in range(40)]
    for _ in range(16):
        await disk.busy()
    await asyncio.wait_for(upload("large", 3 * 1024 * 1024), SECONDS)
    assert not any(task.done() for task in small)
    disk.free.set()
    await asyncio.wait_for(asyncio.gather(*small), SECONDS)


@pytest.mark.parametrize("begun", [True, False], ids=["begins later", "never begins"])
async def test_when_no_thread_can_be_had_one_fails_and_not_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    pieces = LocalPieces(most=1)
    submit = pieces._threads.submit

    def no_thread(work: Callable[..., None], *arguments: Any) -> None:
        monkeypatch.undo()
        if begun:  # as the executor does, which keeps what it has taken in
            submit(work, *arguments)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pieces._threads, "submit", no_thread)
    with pytest.raises(RuntimeError):
        await pieces.write(f"{tmp_path}/first", b"x")
    for number in range(3):
        await asyncio.wait_for(
            asyncio.gather(*(pieces.write(f"{tmp_path}/{number}-{each}", b"x") for each in range(5))), SECONDS
        )
    assert len(files(tmp_path)) == 15
    assert "first" not in files(tmp_path)


async def test_those_after_one_that_fails_as_none_should_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def broken(file: int, content: bytes) -> int:
        if content == b"odd":
            raise ValueError("nobody thought of this")
        return write(file, content)

    monkeypatch.setattr(os, "write", broken)
    pieces = LocalPieces(most=1)
    odd, even = pieces.write(f"{tmp_path}/odd", b"odd"), pieces.write(f"{tmp_path}/even", b"even")
    with pytest.raises(ValueError, match="nobody"):
        await asyncio.wait_for(odd, SECONDS)
    await asyncio.wait_for(even, SECONDS)
    assert files(tmp_path) == ["even"]


async def test_no_more_wait_for_a_disk_that_hangs_than_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, pieces = Disk(monkeypatch), LocalPieces(most=1, waiting=5)
    writing = [pieces.write(f"{tmp_path}/begun", b"x")]
    await disk.busy()
    writing += [pieces.write(f"{tmp_path}/{number}", b"x") for number in range(5)]
    with pytest.raises(TimeoutError):
        await pieces.write(f"{tmp_path}/one too many", b"x")
    disk.free.set()
    await asyncio.wait_for(asyncio.gather(*writing), SECONDS)
    assert files(tmp_path) == ["0", "1", "2", "3", "4", "begun"]


async def test_upload_cancelled_while_the_disk_is_busy_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, store = Disk(monkeypatch), ObjectStore(tmp_path.as_uri())

    async def upload() -> None:
        async with store.writing(KEY) as writer:
            await writer.write(b"x" * 1_000)

    uploading = asyncio.create_task(upload())
    await disk.busy()
    uploading.cancel()
    disk.free.set()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert files(tmp_path) == []


async def test_directory_without_the_right_to_write_is_a_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    store = ObjectStore(tmp_path.as_uri())
    monkeypatch.setattr(os, "write", forbidden)
    with pytest.raises(Unavailable) as error:
        async with store.writing(KEY) as writer:
            await writer.write(b"x")
    assert error.value.reason == errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE
    assert files(tmp_path) == []
