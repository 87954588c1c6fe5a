"""Uploads to an object store that stalls: a small real server that speaks S3's upload calls and answers when it is let."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from servicekit.object_store import ObjectStore

MIB = 1024 * 1024
KEY = "objects/0b/0b9f2a52-6f6a-4f0e-9a53-2f9f2a526f6a"


class UploadServer:
    """S3's multipart upload calls. While `gate` is closed, parts are received and not answered."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.part_came = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                path, query = self._target()
                self._body()
                if "uploads" in query:
                    number = str(len(owner.uploads) + 1)
                    owner.uploads[number] = {}
                    self._answer(
                        200,
                        f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>",
                    )
                else:
                    parts = owner.uploads.pop(query["uploadId"][0])
                    owner.objects[path] = b"".join(parts[number] for number in sorted(parts))
                    self._answer(200, '<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>')

            def do_PUT(self) -> None:
                _, query = self._target()
                body = self._body()
                owner.part_came.set()
                owner.gate.wait(30)
                owner.uploads.get(query["uploadId"][0], {})[int(query["partNumber"][0])] = body
                self._answer(200, "", ETag='"x"')

            def do_DELETE(self) -> None:
                owner.uploads.pop(self._target()[1]["uploadId"][0], None)
                self.send_response(204)
                self.end_headers()

            def _target(self) -> tuple[str, dict[str, list[str]]]:
                parts = urlsplit(self.path)
                return unquote(parts.path).removeprefix("/bucket/"), parse_qs(parts.query, keep_blank_values=True)

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("content-length") or 0))

            def _answer(self, status: int, text: str, **headers: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def upload_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadServer]:
    server = UploadServer()
    server.start()
    for name, value in {
        "AWS_ENDPOINT": server.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "local",
    }.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


async def test_writer_is_held_back_while_the_store_is_busy(upload_server: UploadServer) -> None:
    store, taken = ObjectStore("s3://bucket"), 0

    async def upload() -> None:
        nonlocal taken
        async with store.writing(KEY) as writer:
            for _ in range(40):
                await writer.write(b"x" * MIB)
                taken += 1

    uploading = asyncio.create_task(upload())
    await asyncio.to_thread(upload_server.part_came.wait, 30)
    await asyncio.wait([uploading], timeout=0.3)  # however long: it cannot get past this bound
    assert 5 <= taken <= 2 * 5 + 2 + 1, "two parts, two chunks in the queue and the one being looked at"
    upload_server.gate.set()
    await uploading
    assert upload_server.objects == {KEY: b"x" * 40 * MIB}


async def test_write_cancelled_while_it_is_held_back_is_given_up_at_the_store(upload_server: UploadServer) -> None:
    store = ObjectStore("s3://bucket")

    async def upload() -> None:
        async with store.writing(KEY) as writer:
            while True:
                await writer.write(b"x" * MIB)

    await cancel_when_held_back(upload(), upload_server)
    assert (upload_server.objects, upload_server.uploads) == ({}, {})


async def test_write_cancelled_while_its_end_is_held_back_is_given_up_too(upload_server: UploadServer) -> None:
    store = ObjectStore("s3://bucket")

    async def upload() -> None:
        async with store.writing(KEY) as writer:
            for _ in range(12):
                await writer.write(b"x" * MIB)

    await cancel_when_held_back(upload(), upload_server)
    assert (upload_server.objects, upload_server.uploads) == ({}, {})


async def cancel_when_held_back(upload: object, server: UploadServer) -> None:
    before = asyncio.all_tasks()
    uploading: asyncio.Task[None] = asyncio.create_task(upload)  # type: ignore[arg-type]
    await asyncio.to_thread(server.part_came.wait, 30)
    await asyncio.wait([uploading], timeout=0.3)
    assert not uploading.done()
    uploading.cancel()
    server.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert asyncio.all_tasks() <= before | {uploading}, "no task is left behind"
