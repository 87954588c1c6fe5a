"""HTTP/2 by hand, for what no well-behaved client sends: requests that are never ended, resets, pings and headers without end."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator

from tests.fuzz.wire import connect
from tests.fuzz.wire_bytes import END_HEADERS, FRAME_HEADER_BYTES, HEADERS, PREFACE, SETTINGS, frame

RST_STREAM, SETTINGS_FRAME, PING, GOAWAY, CONTINUATION = 3, 4, 6, 7, 9
CANCEL, REFUSED_STREAM, ENHANCE_YOUR_CALM = 8, 7, 11
FRAME_BYTES = 16_384


def head(path: str, token: str) -> bytes:
    """The headers of a gRPC request in HPACK's plainest form (RFC 7541, 6.2.2)."""
    fields = {
        ":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost", "te": "trailers",
        "content-type": "application/grpc", "authorization": f"Bearer {token}",
    }  # fmt: skip
    return b"".join(
        b"\0" + _number(len(name)) + name.encode() + _number(len(value)) + value.encode()
        for name, value in fields.items()
    )


class Http2:
    """One connection. Sending ends quietly when the server has hung up: what it said first is in `frames`. Use as a context."""

    def __init__(self, address: str) -> None:
        self._socket = connect(address)
        self._received = b""
        self.closed = False
        self.send(PREFACE + SETTINGS)

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> bool:
        """Whether it went out."""
        try:
            self._socket.sendall(data)
        except OSError:
            self.closed = True
        return not self.closed

    def acknowledge_settings(self) -> bool:
        """Says that the server's limits are known."""
        return self.send(frame(SETTINGS_FRAME, 1, 0, b"", 0))

    def open_request(self, stream: int, block: bytes) -> bool:
        """A request's headers, and never its body."""
        return self.send(frame(HEADERS, END_HEADERS, stream, block, 0))

    def reset(self, stream: int) -> bool:
        """Cancels a request."""
        return self.send(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL), 0))

    def ping(self) -> bool:
        """Asks for an answer."""
        return self.send(frame(PING, 0, 0, bytes(8), 0))

    def frames(self, seconds: float = 20.0) -> Iterator[tuple[int, int, bytes]]:
        """Kind, stream and payload of each frame from the server, until it hangs up or says nothing for so long."""
        while True:
            while len(self._received) >= FRAME_HEADER_BYTES:
                end = FRAME_HEADER_BYTES + int.from_bytes(self._received[:3], "big")
                if len(self._received) < end:
                    break
                kind, stream = self._received[3], int.from_bytes(self._received[5:9], "big")
                payload, self._received = self._received[FRAME_HEADER_BYTES:end], self._received[end:]
                yield kind, stream, payload
            if self.closed and not select.select([self._socket], [], [], 0)[0]:
                return
            self._socket.settimeout(seconds)
            try:
                data = self._socket.recv(65_536)
            except OSError as error:
                self.closed = not isinstance(error, socket.timeout)
                return
            if not data:
                self.closed = True
                return
            self._received += data


def _number(value: int) -> bytes:
    """An integer with a prefix of 7 bits (RFC 7541, 5.1)."""
    if value < 127:
        return bytes([value])
    rest, encoded = value - 127, bytearray([127])
    while rest >= 128:
        encoded.append(rest % 128 | 128)
        rest //= 128
    return bytes([*encoded, rest])
