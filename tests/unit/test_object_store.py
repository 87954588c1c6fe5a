"""The object store on a real directory."""

from __future__ import annotations

import asyncio
import gc
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from materials.v1 import errors_pb2

from servicekit.errors import ServiceError, Unavailable
from servicekit.object_store import ObjectMissing, ObjectStore

KIB, MIB = 1024, 1024 * 1024
KEY = "objects/0b/0b9f2a52-6f6a-4f0e-9a53-2f9f2a526f6a"
OTHER = "objects/1c/1c9f2a52-6f6a-4f0e-9a53-2f9f2a526f6a"
CONTENT = bytes(range(256)) * 12 * KIB  # 3 MiB, several parts of a local file


class Refusal(Exception):
    """What goes wrong in the middle of an upload."""


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path.as_uri())


async def put(store: ObjectStore, key: str, content: bytes, chunk: int = 300 * KIB) -> None:
    async with store.writing(key) as writer:
        for start in range(0, len(content), chunk):
            await writer.write(content[start : start + chunk])


async def get(store: ObjectStore, key: str, offset: int = 0, length: int | None = None, chunk: int = MIB) -> bytes:
    chunks = [chunk async for chunk in store.read(key, offset, length, chunk)]
    assert all(0 < len(item) <= chunk for item in chunks)
    return b"".join(chunks)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, KIB, MIB - 1, MIB, MIB + 1, len(CONTENT)])
@pytest.mark.parametrize("chunk", [100 * KIB, MIB, 2 * MIB])
async def test_what_was_written_is_read_back(store: ObjectStore, tmp_path: Path, size: int, chunk: int) -> None:
    await put(store, KEY, CONTENT[:size], chunk)
    assert await get(store, KEY) == CONTENT[:size]
    assert files(tmp_path) == [KEY]


@pytest.mark.parametrize("written", [0, 1, 2 * MIB + 1, len(CONTENT)])
async def test_write_given_up_leaves_nothing(store: ObjectStore, tmp_path: Path, written: int) -> None:
    async def upload() -> None:
        async with store.writing(KEY) as writer:
            for start in range(0, written, 300 * KIB):
                await writer.write(CONTENT[start : min(start + 300 * KIB, written)])
            raise Refusal

    await put(store, OTHER, b"another's", MIB)
    with pytest.raises(Refusal):
        await upload()
    assert files(tmp_path) == [OTHER]
    with pytest.raises(ObjectMissing):
        await get(store, KEY)


async def test_object_is_not_there_before_it_is_whole(store: ObjectStore) -> None:
    await put(store, OTHER, b"another's")  # a store that has nothing at all may be one that is not mounted
    async with store.writing(KEY) as writer:
        await writer.write(CONTENT)
        with pytest.raises(ObjectMissing):
            await get(store, KEY)
    assert await get(store, KEY) == CONTENT


async def test_write_cancelled_while_it_waits_for_bytes_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    waiting = asyncio.Event()
    uploading = asyncio.create_task(write_without_end(store, waiting))
    await waiting.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert files(tmp_path) == []


async def test_write_cancelled_while_it_is_cleaned_up_is_not_reported_as_an_error_that_nobody_saw(
    store: ObjectStore, tmp_path: Path
) -> None:
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    waiting = asyncio.Event()
    try:
        uploading = asyncio.create_task(write_without_end(store, waiting))
        await waiting.wait()
        uploading.cancel()
        await asyncio.sleep(0)
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        del uploading
        await eventually_gone(tmp_path)
        await asyncio.sleep(0)
        gc.collect()
        assert reported == []
    finally:
        loop.set_exception_handler(handler)


async def write_without_end(store: ObjectStore, waiting: asyncio.Event) -> None:
    """Writes something, says that it waits for more, and never gets it."""
    async with store.writing(KEY) as writer:
        await writer.write(CONTENT)
        waiting.set()
        await asyncio.Event().wait()


async def eventually_gone(directory: Path) -> None:
    """Returns when no file is left."""
    async with asyncio.timeout(20):
        while files(directory):
            await asyncio.sleep(0.01)  # the store tells nobody


async def test_many_objects_are_written_at_once(store: ObjectStore) -> None:
    await asyncio.gather(*(put(store, f"{KEY}-{number}", CONTENT[number:]) for number in range(8)))
    for number in range(8):
        assert await get(store, f"{KEY}-{number}") == CONTENT[number:]


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, None), (0, 1), (1, None), (MIB - 1, 2), (5, 2 * MIB), (len(CONTENT) - 1, None), (len(CONTENT) - 1, 1), (7, 0)],
)
@pytest.mark.parametrize("chunk", [64 * KIB, MIB])
async def test_byte_ranges(store: ObjectStore, offset: int, length: int | None, chunk: int) -> None:
    await put(store, KEY, CONTENT)
    end = None if length is None else offset + length
    assert await get(store, KEY, offset, length, chunk) == CONTENT[offset:end]


async def test_range_behind_the_end_is_an_error_and_not_silence(store: ObjectStore) -> None:
    await put(store, KEY, b"short")
    with pytest.raises(Unavailable):
        await get(store, KEY, 5)
    with pytest.raises(Unavailable):
        await get(store, KEY, 9, 2)


async def test_missing_object_is_told_apart_from_a_store_that_is_away(store: ObjectStore, tmp_path: Path) -> None:
    await put(store, "objects/another", CONTENT)
    with pytest.raises(ObjectMissing):
        await get(store, KEY)
    with pytest.raises(ObjectMissing):
        await get(store, KEY, 3, 4)
    # As when a volume is not mounted: its mount point is there, and empty.
    (tmp_path / "objects").rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        await get(store, KEY)


async def test_reader_that_goes_away_leaves_the_store_usable(store: ObjectStore) -> None:
    await put(store, KEY, CONTENT)
    chunks = store.read(KEY, chunk_bytes=64 * KIB)
    assert await anext(chunks) == CONTENT[: 64 * KIB]
    await chunks.aclose()  # type: ignore[attr-defined]
    assert await get(store, KEY) == CONTENT


async def test_delete_may_be_repeated(store: ObjectStore, tmp_path: Path) -> None:
    await put(store, KEY, CONTENT)
    await store.delete(KEY)
    await store.delete(KEY)
    await store.delete("objects/never/there")
    assert files(tmp_path) == []


async def test_only_older_objects_are_listed(store: ObjectStore, tmp_path: Path) -> None:
    moment = datetime.now(UTC)
    for name, age in (("objects/aa/old", 60), ("objects/bb/new", -60), ("other/old", 60)):
        await put(store, name, b"x")
        os.utime(tmp_path / name, times=(moment.timestamp() - age,) * 2)
    assert [key async for keys in store.list_older("objects", moment) for key in keys] == ["objects/aa/old"]


async def test_only_parts_of_old_interrupted_writes_are_removed(store: ObjectStore, tmp_path: Path) -> None:
    moment = datetime.now(UTC)
    await put(store, "objects/aa/whole", b"x")
    old, fresh = tmp_path / "objects/aa/killed#1", tmp_path / "objects/aa/running#1"
    for path, age in ((old, 60), (fresh, -60), (tmp_path / "objects/aa/whole", 60)):
        path.write_bytes(b"x")
        os.utime(path, times=(moment.timestamp() - age,) * 2)
    (tmp_path / "directory#1").mkdir()
    assert store.remove_stale_parts(moment) == 1
    assert store.remove_stale_parts(moment) == 0
    assert files(tmp_path) == ["objects/aa/running#1", "objects/aa/whole"]


async def test_parts_of_a_write_in_progress_are_those_the_sweep_looks_for(store: ObjectStore, tmp_path: Path) -> None:
    async with store.writing(KEY) as writer:
        while not files(tmp_path):
            await writer.write(CONTENT)
            await asyncio.sleep(0)
        assert all("#" in name for name in files(tmp_path))
        assert store.remove_stale_parts(datetime.now(UTC) - timedelta(hours=1)) == 0


@pytest.mark.parametrize("name", ["with space", "per%cent", "ümlaut", "a#b", "a?b", "deep/er"])
async def test_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    store = ObjectStore(root.as_uri())
    await put(store, KEY, CONTENT)
    assert await get(store, KEY) == CONTENT
    assert files(tmp_path) == [f"{name}/{KEY}"]
    (root / "objects/x#1").write_bytes(b"x")
    assert store.remove_stale_parts(datetime.now(UTC) + timedelta(hours=1)) == 1


async def test_store_that_cannot_write_says_so_and_to_try_again(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "objects").write_bytes(b"a file where a directory should be")
    with pytest.raises(Unavailable) as error:
        await put(store, KEY, CONTENT)
    assert error.value.reason == errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE
    assert str(tmp_path) not in error.value.message


async def test_full_disk_is_told_apart() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    from servicekit.object_store_errors import translated

    with pytest.raises(ServiceError) as error, translated(), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    assert error.value.reason == errors_pb2.ERROR_REASON_OBJECT_STORE_FULL
