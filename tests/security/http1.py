"""HTTP/1.1 by hand, for what no well-behaved client sends: heads without end, bodies that lie about their length or stop in the middle."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.wire import connect
from tests.security.attacked import Attacked

BOUNDARY = "----boundary"


@dataclass(frozen=True)
class Reply:
    """What came back; status 0 when the server hung up without a word."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def reason(self) -> str:
        """The contract's reason."""
        document: dict[str, Any] = json.loads(self.body)
        return str(document.get("reason", ""))


class Http1:
    """One connection to the gateway. Use as a context."""

    def __init__(self, attacked: Attacked) -> None:
        self._overheard, self._host = attacked.overheard, attacked.gateway
        self._socket = connect(attacked.gateway)

    def __enter__(self) -> Http1:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> bool:
        """Whether it went out: the server may well have hung up."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def head(self, method: str, path: str, *headers: str) -> bool:
        """A request's line and headers, each `Name: value`."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", *headers]
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def end(self) -> None:
        """Nothing more will be sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reply(self, seconds: float = 20.0) -> Reply:
        """The answer. Raises TimeoutError when there is none within the time."""
        self._socket.settimeout(seconds)
        response = http.client.HTTPResponse(self._socket)
        try:
            response.begin()
            body = response.read()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return Reply()
        reply = Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
        if reply.status >= 400:
            self._overheard.http_answer(f"{reply.status} {reply.headers} {body.decode(errors='replace')}")
        return reply


def upload_head(course: str, token: str, *headers: str) -> tuple[str, ...]:
    """Arguments of `Http1.head` for an upload."""
    common = (f"Authorization: Bearer {token}", f"Content-Type: multipart/form-data; boundary={BOUNDARY}", *headers)
    return ("POST", f"/courses/{course}/materials", *common)


def part(content: bytes, disposition: str = 'form-data; name="file"; filename="notes.txt"', *headers: str) -> bytes:
    """One part of a form, without the boundary that ends it."""
    lines = [f"--{BOUNDARY}", f"Content-Disposition: {disposition}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
