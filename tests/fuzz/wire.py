"""TCP as a client's machine that dies leaves it: a relay that keeps what went through and can be cut, and sockets that close or reset."""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress

RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: close() sends RST


def connect(address: str) -> socket.socket:
    """A connection to `host:port`."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def reset(connection: socket.socket) -> None:
    """Closes with RST in place of FIN."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


class Relay:
    """Carries one connection to `target`. Use as a context; `sent` is what the client has sent so far."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._cut, self._told_to_cut = socket.socketpair()
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = bytearray()

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()
        self._listener.close()
        self._cut.close()

    def cut(self) -> None:
        """Resets both ends and returns when that is done. May be repeated."""
        with suppress(OSError):
            self._cut.send(b"!")
        self._thread.join(20)
        assert not self._thread.is_alive()

    def carried(self, count: int) -> None:
        """Returns when the client has sent at least so many bytes."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.sent) >= count, timeout=20)

    def _run(self) -> None:
        with self._told_to_cut:
            if self._told_to_cut in select.select([self._listener, self._told_to_cut], [], [])[0]:
                return
            client, _ = self._listener.accept()
            server = connect(self._target)
            server.settimeout(None)
            with suppress(OSError):
                self._carry({client: server, server: client}, client)
            reset(client)
            reset(server)

    def _carry(self, other: dict[socket.socket, socket.socket], client: socket.socket) -> None:
        while True:
            readable, _, _ = select.select([*other, self._told_to_cut], [], [])
            if self._told_to_cut in readable:
                return
            for end in readable:
                data = end.recv(65_536)
                if not data:
                    return
                other[end].sendall(data)
                if end is client:
                    with self._more:
                        self.sent += data
                        self._more.notify_all()
