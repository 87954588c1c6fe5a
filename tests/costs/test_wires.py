"""The readers of protocols: what they count must not depend on how the bytes are cut."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.costs.grpc_wire import GrpcWire
from tests.costs.nats_wire import NatsWire
from tests.costs.postgres_wire import PostgresWire, Unit

Cut = Callable[[bytes], list[bytes]]
CUTS = pytest.mark.parametrize("cut", [lambda data: [data], lambda data: [data[i : i + 1] for i in range(len(data))]])
READY = b"Z\0\0\0\5I"
READY_IN_TRANSACTION = b"Z\0\0\0\5T"


def message(letter: bytes, body: bytes) -> bytes:
    return letter + struct.pack("!I", len(body) + 4) + body


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


@CUTS
def test_postgres_units_are_transactions_or_statements_alone(cut: Cut) -> None:
    units: list[Unit] = []
    wire = PostgresWire(units.append)
    startup = struct.pack("!II", 8, 80877103) + struct.pack("!II", 9, 196608) + b"\0"
    prepare = message(b"P", b"s1\0SELECT\n  $1\0\0\0") + message(b"D", b"Ss1\0") + message(b"H", b"")
    execute = message(b"B", b"\0s1\0\0\0") + message(b"E", b"\0\0\0\0\0") + message(b"S", b"")

    def exchange(asked: bytes, answered: bytes) -> None:
        for piece in cut(asked):
            wire.sent(piece)
        for piece in cut(answered):
            wire.answered(piece)

    exchange(startup, b"N" + READY)
    exchange(prepare + execute, READY)
    exchange(message(b"Q", b"BEGIN;\0"), READY_IN_TRANSACTION)
    exchange(execute, READY_IN_TRANSACTION)
    exchange(message(b"Q", b"COMMIT;\0"), READY)
    exchange(prepare + execute, READY)
    assert [[statement.text for statement in unit.statements] for unit in units] == [
        ["SELECT $1"],
        ["BEGIN;", "SELECT $1", "COMMIT;"],
        ["SELECT $1"],
    ]
    assert [unit.round_trips for unit in units] == [1, 3, 1]
    assert [unit.prepared_again for unit in units] == [[], [], ["SELECT $1"]]


@CUTS
def test_nats_publishes_are_told_by_kind(cut: Cut) -> None:
    kinds: list[str] = []
    wire = NatsWire(kinds.append)
    sent = (
        b'CONNECT {"verbose": false}\r\nPING\r\n'
        b"HPUB status.v1.changes 12 18\r\nNATS/1.0\r\n\r\nPUB x 1\r\n"  # a payload that looks like a line
        b"PUB $JS.API.CONSUMER.MSG.NEXT.MATERIALS.processor _INBOX.1 2\r\n{}\r\n"
        b"PUB $JS.ACK.MATERIALS.processor.1.2.3 4\r\n-NAK\r\nPUB $JS.ACK.MATERIALS.processor.1.2.3 0\r\n\r\n"
    )
    for piece in cut(sent):
        wire.sent(piece)
    assert kinds == [
        "status.v1.changes",
        "JetStream CONSUMER.MSG.NEXT",
        "JetStream not acknowledged",
        "JetStream acknowledged",
    ]


@CUTS
def test_grpc_messages_are_told_by_method(cut: Cut) -> None:
    requests: list[str] = []
    responses: list[str] = []
    wire = GrpcWire(requests.append, responses.append)
    path = b"/materials.v1.RecordService/" + 110 * b"A"  # longer than one byte of length can say
    first = b"\x3f\xe1\x1f" + b"\x83" + b"\x44\x7f" + bytes([len(path) - 127]) + path + b"\x40\x02te\x01x"
    again = b"\x83" + b"\xbf"  # the path is the last entry but one
    one, two = b"\0\0\0\0\2hi", b"\0\0\0\0\0\0\0\0\0\1!"
    sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(
        [
            frame(4, 0, 0, b""),
            frame(1, 0x4 | 0x20, 1, b"\0\0\0\0\1" + first),
            frame(0, 0x8, 1, b"\2" + one[:3] + b"\0\0"),
            frame(0, 0x1, 1, one[3:]),
            frame(1, 0, 3, again[:1]),
            frame(9, 0x4, 3, again[1:]),
            frame(0, 0x1, 3, two),
        ]
    )
    for piece in cut(sent):
        wire.sent(piece)
    for piece in cut(frame(1, 0x4, 1, b"\x88") + frame(0, 0, 1, one)):
        wire.answered(piece)
    method = f"RecordService.{110 * 'A'}"
    assert requests == [method] * 3
    assert responses == [method]
