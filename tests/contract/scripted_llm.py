"""A small HTTP server that answers chats as a test says, byte for byte, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ScriptedLlm:
    """`url` without a path. What it answers may be changed at any time; `asked` holds (path, headers, body) of each request."""

    url: str = ""
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    #: What Content-Length says, if not the truth.
    declared_bytes: int | None = None
    #: While it is clear, no answer is given.
    may_answer: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    def says(self, **reply: Any) -> None:
        self.body = json.dumps(reply).encode()


def choice(content: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}


class _Server(ThreadingHTTPServer):
    request_queue_size = 64


@contextmanager
def scripted_llm() -> Iterator[ScriptedLlm]:
    script = ScriptedLlm()
    script.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            script.asked.append(
                (self.path, {key.lower(): value for key, value in self.headers.items()}, json.loads(sent))
            )
            script.may_answer.wait(60)
            self.send_response(script.status)
            declared = len(script.body) if script.declared_bytes is None else script.declared_bytes
            for name, value in {"Content-Length": str(declared), **script.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(script.body)

        def log_message(self, *_: object) -> None:
            return

    with _Server(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield script
        finally:
            script.may_answer.set()
            server.shutdown()
            serving.join()
