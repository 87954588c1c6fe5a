"""Promises of bodies made from a service's stream: what breaks in the middle is never given an end, and the call is ended however the response does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from gateway.service_streams import ServiceStream, ServiceStreamResponse
from gateway.services import Refused

SCOPE = {"type": "http", "asgi": {"spec_version": "2.4"}}


class Call:
    """A server stream that brings these messages, or raises them."""

    def __init__(self, *messages: Any) -> None:
        self._messages = list(messages)
        self.cancelled = False

    async def read(self) -> Any:
        message = self._messages.pop(0) if self._messages else grpc.aio.EOF
        if isinstance(message, BaseException):
            raise message
        return message

    def cancel(self) -> None:
        self.cancelled = True


def away() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")


async def sent_of(call: Call, *, client_stays: bool = True) -> list[Message]:
    """What the server is given to send."""
    stream: ServiceStream[bytes] = ServiceStream(call, "ingest")
    messages: list[Message] = []

    async def body() -> AsyncIterator[bytes]:
        async for message in stream:
            yield message

    async def send(message: Message) -> None:
        if not client_stays:
            raise OSError("the client has gone")
        messages.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    await ServiceStreamResponse(body(), stream)(SCOPE, receive, send)
    return messages


def is_ended(messages: list[Message]) -> bool:
    return messages[-1]["type"] == "http.response.body" and not messages[-1]["more_body"]


async def test_a_stream_that_ends_is_a_body_that_ends() -> None:
    call = Call(b"one", b"two")
    messages = await sent_of(call)
    assert b"".join(message.get("body", b"") for message in messages) == b"onetwo"
    assert is_ended(messages)
    assert call.cancelled


async def test_a_stream_that_breaks_is_a_body_without_an_end() -> None:
    call = Call(b"one", away())
    messages = await sent_of(call)
    assert b"".join(message.get("body", b"") for message in messages) == b"one"
    assert not is_ended(messages)
    assert call.cancelled


async def test_a_client_that_goes_ends_the_call() -> None:
    call = Call(b"one", b"two")
    with pytest.raises(ClientDisconnect):
        await sent_of(call, client_stays=False)
    assert call.cancelled


async def test_before_the_first_byte_a_refusal_is_one() -> None:
    call = Call(away())
    stream: ServiceStream[bytes] = ServiceStream(call, "ingest")
    with pytest.raises(Refused, match="the ingest service cannot be reached"), stream:
        await stream.next()
    assert call.cancelled
