"""Postgres's protocol, version 3, as far as it tells what was asked of the server and where a transaction ended."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from asyncpg import introspection

_ENCRYPTION_REQUESTS = (80877103, 80877104)
_LENGTH = struct.Struct("!I")


def normalised(statement: str) -> str:
    """Its text in one line."""
    return " ".join(statement.split())


#: What the driver asks on a connection that meets a type for the first time.
_DRIVERS_OWN = frozenset(
    map(
        normalised,
        (
            introspection.INTRO_LOOKUP_TYPES,
            introspection.INTRO_LOOKUP_TYPES_13,
            introspection.TYPE_BY_NAME,
            "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new",
        ),
    )
)


@dataclass(frozen=True)
class Statement:
    """As it was executed: `text` in one line, `arguments` as they were bound."""

    text: str
    arguments: bytes = b""


@dataclass
class Unit:
    """A transaction, or a statement alone. `round_trips`: how often the server was waited for, but for preparing a statement for the first time on the
    connection and for the driver's own questions. `prepared_again`: statements that had been prepared on this connection before."""

    statements: list[Statement] = field(default_factory=list)
    round_trips: int = 0
    prepared_again: list[str] = field(default_factory=list)


class PostgresWire:
    """One connection; `on_unit` is called for each unit when the server has said that it is done. Raises where it is encrypted."""

    def __init__(self, on_unit: Callable[[Unit], None]) -> None:
        self._on_unit = on_unit
        self._sent, self._answered = bytearray(), bytearray()
        self._started, self._letters = False, 0
        self._prepared: dict[bytes, str] = {}
        self._portals: dict[bytes, Statement] = {}
        self._unit, self._waits = Unit(), False

    def sent(self, data: bytes) -> None:
        """See WireReader."""
        self._sent += data
        while not self._started and len(self._sent) >= 8:
            (length,), (code,) = _LENGTH.unpack_from(self._sent), _LENGTH.unpack_from(self._sent, 4)
            if len(self._sent) < length:
                return
            del self._sent[:length]
            if code in _ENCRYPTION_REQUESTS:
                self._letters += 1  # its answer has no frame
            else:
                self._started = True
        while self._started and (message := _take(self._sent)):
            self._asked(*message)

    def answered(self, data: bytes) -> None:
        """See WireReader."""
        self._answered += data
        if self._letters and self._answered:
            assert self._answered[:1] == b"N", "the connection is encrypted: nothing can be counted"
            del self._answered[:1]
            self._letters -= 1
        while message := _take(self._answered):
            if message == (b"Z", b"I"):  # ready, in no transaction
                if self._unit.statements or self._unit.prepared_again:
                    self._on_unit(self._unit)
                self._unit = Unit()

    def _asked(self, kind: bytes, body: bytes) -> None:
        match kind:
            case b"Q":
                self._execute(Statement(normalised(body[:-1].decode())))
                self._wait()
            case b"P":
                name, text, _ = body.split(b"\0", 2)
                statement = normalised(text.decode())
                if statement in self._prepared.values() and statement not in _DRIVERS_OWN:
                    self._unit.prepared_again.append(statement)
                self._prepared[name] = statement
            case b"B":
                portal, name, arguments = body.split(b"\0", 2)
                self._portals[portal] = Statement(self._prepared[name], arguments)
            case b"E":
                self._execute(self._portals[body.partition(b"\0")[0]])
            case b"S" | b"H":
                self._wait()

    def _execute(self, statement: Statement) -> None:
        if statement.text not in _DRIVERS_OWN:
            self._unit.statements.append(statement)
            self._waits = True

    def _wait(self) -> None:
        self._unit.round_trips += self._waits
        self._waits = False


def _take(buffer: bytearray) -> tuple[bytes, bytes] | None:
    """The first whole message of the buffer, out of it: its letter and body."""
    if len(buffer) < 5:
        return None
    (length,) = _LENGTH.unpack_from(buffer, 1)
    if len(buffer) < 1 + length:
        return None
    message = bytes(buffer[:1]), bytes(buffer[5 : 1 + length])
    del buffer[: 1 + length]
    return message
