"""Object stores that cannot be written: read-only, forbidden, or not there at all. None of them is a missing object."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from materials.v1 import errors_pb2

from servicekit.errors import Unavailable
from servicekit.object_store import ObjectStore

KEY = "objects/0b/0b9f2a52-6f6a-4f0e-9a53-2f9f2a526f6a"
NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Not as root, whom no permission holds back."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(uid)


async def write(store: ObjectStore) -> None:
    async with store.writing(KEY) as writer:
        await writer.write(b"x" * 2 * 1024 * 1024)


async def test_directory_without_the_right_to_write_is_away(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path.as_uri())
    tmp_path.chmod(0o555)
    try:
        with unprivileged(), pytest.raises(Unavailable) as error:
            await write(store)
    finally:
        tmp_path.chmod(0o755)
    assert error.value.reason == errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE
    await write(store)


async def test_read_only_file_system_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(tmp_path.as_uri())
    fields = list(os.statvfs(tmp_path))
    fields[8] |= os.ST_RDONLY  # f_flag; to mount one takes root
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
    with pytest.raises(Unavailable) as error:
        await store.free_bytes()
    assert error.value.reason == errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE


async def test_room_of_a_directory_is_what_its_file_system_gives_to_anybody(tmp_path: Path) -> None:
    free = await ObjectStore(tmp_path.as_uri()).free_bytes()
    space = os.statvfs(tmp_path)
    assert free is not None
    assert abs(free - space.f_bavail * space.f_frsize) < 1 << 30  # others write meanwhile


async def test_directory_that_is_gone_is_away(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    store = ObjectStore(root.as_uri())
    root.rmdir()
    with pytest.raises(Unavailable) as error:
        await store.free_bytes()
    assert error.value.reason == errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE


@pytest.fixture
def no_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 that knows no bucket."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b"<Error><Code>NoSuchBucket</Code></Error>"
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name, value in {
        "AWS_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "local",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("no_bucket")
async def test_bucket_that_is_not_there_is_away_and_its_room_unknown() -> None:
    store = ObjectStore("s3://bucket")
    with pytest.raises(Unavailable) as error:
        await write(store)
    assert error.value.reason == errors_pb2.ERROR_REASON_OBJECT_STORE_UNAVAILABLE
    assert await store.free_bytes() is None
