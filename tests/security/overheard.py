"""What callers were told when they were refused, over gRPC and HTTP, and what of it must never be told to anybody."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx

from tests.local_stack import LocalStack

#: What is neither for callers nor for logs: stack traces, DSNs, object keys.
INSIDES = re.compile(
    r"Traceback \(most recent|File \"[^\"]+\", line \d|postgres(ql)?://|nats://|\bobjects/[0-9a-f]{2}/"
)
#: What is not for callers: how it is made.
WORKINGS = re.compile(r"SELECT .* FROM|asyncpg|<[\w.]+ object at 0x")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*")


class Overheard(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Keeps every refusal of the channels and HTTP clients that it is given to."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def channel(self, address: str) -> grpc.Channel:
        """A channel whose refusals are kept."""
        return grpc.intercept_channel(grpc.insecure_channel(address), self)

    def heard_http(self, response: httpx.Response) -> None:
        """An event hook of httpx."""
        if response.status_code >= 400:
            response.read()
            self.http_answer(f"{response.status_code} {dict(response.headers)} {response.text}")

    def http_answer(self, answer: str) -> None:
        """A refusal as it came over a socket."""
        self.told.append(answer)

    def _heard_grpc(self, call: Any) -> None:
        if call.code() in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED):
            return
        trailers = {
            key: value.decode("latin-1") if isinstance(value, bytes) else value
            for key, value in call.trailing_metadata() or ()
        }
        self.told.append(f"{call.code()} {call.details()} {trailers}")

    def _unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        outcome = continuation(details, request)
        self._heard_grpc(outcome)
        return outcome

    def _stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        call = continuation(details, request)
        call.add_done_callback(self._heard_grpc)
        return call

    intercept_unary_unary = intercept_stream_unary = _unary
    intercept_unary_stream = intercept_stream_stream = _stream


def secrets_of(stack: LocalStack) -> dict[str, str]:
    """Whatever must be known to nobody, by name."""
    names = {socket.gethostname(), socket.getfqdn()} - {"localhost", ""}
    return {
        **{name: str(value) for name, value in stack.secrets().items()},
        **{name: stack.facts[name] for name in ("token", "service_token", "postgres", "nats")},
        "data directory": str(stack.data_dir),
        **{f"host name {name}": name for name in names},
    }


def leaks(stack: LocalStack, text: str) -> Iterator[str]:
    """What in a text should not be there, with what stands around it."""
    secrets = {name: re.escape(secret) for name, secret in secrets_of(stack).items()}
    patterns = {name: re.compile(rf"(?<![\w.-]){secret}(?![\w-])") for name, secret in secrets.items()}
    for name, pattern in {**patterns, "insides": INSIDES, "a token": JWT}.items():
        if found := pattern.search(text):
            yield f"{name}: {text[max(0, found.start() - 300) : found.end() + 900]}"
