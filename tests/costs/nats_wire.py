"""NATS's protocol, as far as it tells what a client publishes."""

from __future__ import annotations

from collections.abc import Callable

_ACKNOWLEDGEMENTS = {
    b"": "acknowledged", b"+ACK": "acknowledged", b"-NAK": "not acknowledged", b"+WPI": "in progress", b"+TERM": "given up",
}  # fmt: skip


class NatsWire:
    """One connection; `on_publish` is called with the kind of each message: its subject, or what it asks of JetStream."""

    def __init__(self, on_publish: Callable[[str], None]) -> None:
        self._on_publish = on_publish
        self._buffer = bytearray()

    def sent(self, data: bytes) -> None:
        """See WireReader."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n")) >= 0:
            words = bytes(self._buffer[:end]).split()
            if not words or words[0].upper() not in (b"PUB", b"HPUB"):
                del self._buffer[: end + 2]
                continue
            body_end = end + 2 + int(words[-1])
            if len(self._buffer) < body_end + 2:
                return
            self._on_publish(_kind(words[1].decode(), bytes(self._buffer[end + 2 : body_end])))
            del self._buffer[: body_end + 2]

    def answered(self, data: bytes) -> None:
        """See WireReader: not of interest."""


def _kind(subject: str, body: bytes) -> str:
    """As in `JetStream CONSUMER.MSG.NEXT`, `JetStream acknowledged`, `materials.v1.uploaded`."""
    if subject.startswith("$JS.ACK."):
        return f"JetStream {_ACKNOWLEDGEMENTS[body.partition(b' ')[0]]}"
    if subject.startswith("$JS.API."):
        # Words in capitals are the call, the others names of streams and consumers.
        return (
            f"JetStream {'.'.join(word for word in subject.split('.')[2:] if word.isupper() and word != 'MATERIALS')}"
        )
    return subject
