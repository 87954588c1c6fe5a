"""Bytes as they come over TCP: what a real client sent, cut, changed or made up."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from enum import Enum

from hypothesis import strategies as st

from tests.fuzz.wire import connect, reset

DATA, HEADERS = 0, 1
END_STREAM, END_HEADERS = 1, 4
FRAME_HEADER_BYTES = 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


class Farewell(Enum):
    """How a connection ends."""

    CLOSE = "closed"
    RESET = "reset"
    HALF_CLOSE = "closed for writing, then read to the end"


def play(address: str, data: bytes, farewell: Farewell) -> None:
    """Sends the bytes on a connection of their own, and ends it."""
    connection = connect(address)
    with suppress(OSError):  # the service may well have hung up
        connection.sendall(data)
        if farewell is Farewell.HALF_CLOSE:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
    reset(connection) if farewell is Farewell.RESET else connection.close()


def frame(kind: int, flags: int, stream: int, payload: bytes, lie: int) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1), its length wrong by `lie`."""
    return struct.pack(">I", max(0, len(payload) + lie))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def request_with_path(path: bytes) -> bytes:
    """A whole connection with one call to this path, in HPACK's plainest form (RFC 7541, 6.2.2)."""
    fields = {
        b":method": b"POST", b":scheme": b"http", b":path": path, b":authority": b"localhost", b"te": b"trailers",
        b"content-type": b"application/grpc",
    }  # fmt: skip
    block = b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields.items())
    message = frame(DATA, END_STREAM, 1, b"\0\0\0\0\0", 0)
    return PREFACE + SETTINGS + frame(HEADERS, END_HEADERS, 1, block, 0) + message


def data_frames(sent: bytes) -> list[tuple[int, int]]:
    """Where in a recording the frames with messages begin and end."""
    places, start = [], len(PREFACE)
    while start + FRAME_HEADER_BYTES <= len(sent):
        end = start + FRAME_HEADER_BYTES + int.from_bytes(sent[start : start + 3], "big")
        if sent[start + 3] == DATA:
            places.append((start, min(end, len(sent))))
        start = end
    return places


frames = st.builds(
    frame, st.integers(0, 12), st.integers(0, 255), st.sampled_from([0, 1, 3, 2**31 - 1, 2**32 - 1]), st.binary(max_size=64),
    st.sampled_from([0, 0, 0, 0, 1, -1, 70_000]),
)  # fmt: skip
made_up = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=300).map(lambda data: PREFACE + data),
    st.lists(frames, max_size=12).map(lambda several: PREFACE + SETTINGS + b"".join(several)),
    st.sampled_from(
        [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", PREFACE * 50, SETTINGS * 20]
    ),
)
farewells = st.sampled_from(Farewell)
#: Where to cut or change a recording, as a share of its length: it differs a little from run to run.
places = st.floats(0, 1, allow_nan=False)
