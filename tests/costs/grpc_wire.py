"""gRPC on HTTP/2, as far as it tells which methods are called and how many messages go each way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _CONTINUATION = 0x0, 0x1, 0x9
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_STATIC_HEADERS = 61
_STATIC_PATH_NAMES = (4, 5)  # `:path` with values that no gRPC call has


class HeaderDecoder:
    """HPACK (RFC 7541), for the paths of requests. What is compressed by Huffman's code is not read: gRPC sends no path so.

    Nothing is evicted from the table: indices count from its newest entry, so what is too old is never referred to.
    """

    def __init__(self) -> None:
        self._table: list[tuple[bytes, bytes]] = []

    def path(self, block: bytes) -> str | None:
        """The value of `:path` in a block of headers. None where there is none: trailers."""
        found: str | None = None
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                name, value = self._entry(index)
            elif first & 0xE0 == 0x20:
                _, at = _integer(block, at, 5)  # the table's new size
                continue
            else:
                kept = first & 0x40
                index, at = _integer(block, at, 6 if kept else 4)
                name = self._entry(index)[0] if index else b""
                if not index:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                if kept:
                    self._table.insert(0, (name, value))
            if name == b":path":
                found = value.decode()
        return found

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if index > _STATIC_HEADERS:
            return self._table[index - _STATIC_HEADERS - 1]
        return (b":path" if index in _STATIC_PATH_NAMES else b"", b"")


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value, at = block[at] & most, at + 1
    if value < most:
        return value, at
    shift = 0
    while True:
        value, shift, at = value + ((block[at] & 0x7F) << shift), shift + 7, at + 1
        if not block[at - 1] & 0x80:
            return value, at


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    length, start = _integer(block, at, 7)
    return block[start : start + length], start + length


@dataclass
class _Messages:
    """Counts the messages in one direction of a call: each a byte, four of length, so many of content."""

    buffer: bytearray = field(default_factory=bytearray)
    skip: int = 0

    def feed(self, data: bytes) -> int:
        """How many begin in this piece."""
        self.buffer += data
        begun = 0
        while self.buffer:
            if self.skip:
                taken = min(self.skip, len(self.buffer))
                del self.buffer[:taken]
                self.skip -= taken
            elif len(self.buffer) >= 5:
                self.skip = int.from_bytes(self.buffer[1:5])
                del self.buffer[:5]
                begun += 1
            else:
                break
        return begun


class _Frames:
    """Whole frames out of one direction of a connection."""

    def __init__(self, skip: int) -> None:
        self._buffer, self._skip = bytearray(), skip

    def feed(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        """(type, flags, stream, payload without padding and priority) of each that is complete now."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= self._skip + 9:
            head = self._buffer[self._skip : self._skip + 9]
            end = self._skip + 9 + int.from_bytes(head[:3])
            if len(self._buffer) < end:
                break
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
            payload = bytes(self._buffer[self._skip + 9 : end])
            if kind in (_DATA, _HEADERS) and flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            if kind == _HEADERS and flags & _PRIORITY:
                payload = payload[5:]
            del self._buffer[:end]
            self._skip = 0
            frames.append((kind, flags, stream, payload))
        return frames


class GrpcWire:
    """One connection. `on_request` is called with the method, as `RecordService.CreateMaterial`, for each message that the client sends in a call,
    `on_response` for each that the server does."""

    def __init__(self, on_request: Callable[[str], None], on_response: Callable[[str], None]) -> None:
        self._on_request, self._on_response = on_request, on_response
        self._sent_frames, self._answered_frames = _Frames(len(_PREFACE)), _Frames(0)
        self._headers = HeaderDecoder()
        self._block = b""
        self._methods: dict[int, str] = {}
        self._requests: dict[int, _Messages] = {}
        self._responses: dict[int, _Messages] = {}

    def sent(self, data: bytes) -> None:
        """See WireReader."""
        for kind, flags, stream, payload in self._sent_frames.feed(data):
            if kind in (_HEADERS, _CONTINUATION):
                self._block += payload
                if flags & _END_HEADERS:
                    path, self._block = self._headers.path(self._block), b""
                    if path is not None:
                        self._methods[stream] = path.rpartition(".")[2].replace("/", ".")
            elif kind == _DATA:
                for _ in range(self._requests.setdefault(stream, _Messages()).feed(payload)):
                    self._on_request(self._methods[stream])

    def answered(self, data: bytes) -> None:
        """See WireReader."""
        for kind, _, stream, payload in self._answered_frames.feed(data):
            if kind == _DATA:
                for _ in range(self._responses.setdefault(stream, _Messages()).feed(payload)):
                    self._on_response(self._methods[stream])
