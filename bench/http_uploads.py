"""The least HTTP/1.1 client that uploads need: a kept-alive connection that writes requests made beforehand, so that the client is not what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

import httptools

CONNECT_SECONDS = 10.0
BOUNDARY = "bench-1f0e6a7c9d5b4283"


def form_of(
    host: str, path: str, fields: Mapping[str, str], filename: str, size: int, headers: Mapping[str, str] | None = None
) -> tuple[bytes, bytes]:
    """A multipart POST of `fields` and a `file` of `size` bytes: all that comes before the file's bytes, and all that comes behind."""
    parts = [
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="{filename}"\r\n'
        "content-type: image/png\r\n\r\n"
    )
    before, behind = "".join(parts).encode(), f"\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"content-length: {len(before) + size + len(behind)}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        + "\r\n"
    )
    return head.encode() + before, behind


class KeptAlive(asyncio.Protocol):
    """One connection; one exchange at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> KeptAlive:
        """Connects. Raises OSError, TimeoutError."""
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    async def exchange(self, pieces: Sequence[bytes]) -> tuple[int, bytes]:
        """Writes a request; the answer's status and body. Raises ConnectionError when the other side closes. The caller sets a deadline."""
        if self._transport.is_closing():
            raise ConnectionError("the connection was closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines(pieces)
        return await self._answer

    def close(self) -> None:
        """At once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """By asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """By asyncio."""
        self._fail(ConnectionError(f"the connection was closed: {error}"))

    def data_received(self, data: bytes) -> None:
        """By asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(str(error)))
            self._transport.abort()

    def on_message_begin(self) -> None:
        """By httptools."""
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        """By httptools."""
        self._body += body

    def on_message_complete(self) -> None:
        """By httptools."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), bytes(self._body)))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
