"""When a part of the stack is ready to be used: what is asked of it, and the asking.

The parts are foreign processes with no way to call back, so each is asked every 50 ms until it says yes or the deadline is over.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import assert_never

import asyncpg
import grpc
import grpc.aio
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from single_node.errors import DataUnusable, StartFailed

POLL_SECONDS = 0.05
ONE_QUESTION_SECONDS = 3.0


@dataclass(frozen=True)
class PostgresAccepts:
    """A connection to `dsn` answers a query."""

    dsn: str


@dataclass(frozen=True)
class NatsGreets:
    """`host:port` greets with INFO that says JetStream is on (the server listens only once its streams are recovered)."""

    host: str
    port: int


@dataclass(frozen=True)
class BrainActive:
    """`GET {url}/` answers 200 with status "Active", as the Brain's contract has it."""

    url: str


@dataclass(frozen=True)
class GrpcServing:
    """gRPC health at `target` (host:port) answers SERVING for the whole server, the service name ""."""

    target: str


@dataclass(frozen=True)
class HttpServing:
    """`GET {url}/healthz` answers 200."""

    url: str


Readiness = PostgresAccepts | NatsGreets | BrainActive | GrpcServing | HttpServing


class NotReadyYet(Exception):
    """Ask again; the message says what was answered."""


async def until_ready(readiness: Readiness, deadline: float) -> None:
    """Returns once the part is ready.

    Raises StartFailed with its last answer after `deadline` seconds, DataUnusable when waiting cannot help.
    """
    last = "nothing was answered"
    try:
        async with asyncio.timeout(deadline):
            while True:
                try:
                    await ask(readiness)
                except NotReadyYet as answer:
                    last = str(answer)
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    return
    except TimeoutError:
        raise StartFailed(f"not ready within {deadline:.0f} s; last answer: {last}") from None


async def ask(readiness: Readiness) -> None:
    """Asks once, for at most three seconds. Raises NotReadyYet, or DataUnusable when waiting cannot help."""
    try:
        async with asyncio.timeout(ONE_QUESTION_SECONDS):
            match readiness:
                case PostgresAccepts(dsn):
                    await _ask_postgres(dsn)
                case NatsGreets(host, port):
                    await _ask_nats(host, port)
                case BrainActive(url):
                    await _ask_brain(url)
                case GrpcServing(target):
                    await _ask_grpc(target)
                case HttpServing(url):
                    await _ask_http(url)
                case _:
                    assert_never(readiness)
    except TimeoutError:
        raise NotReadyYet(f"no answer within {ONE_QUESTION_SECONDS:.0f} s") from None
    except OSError as error:
        raise NotReadyYet(str(error)) from None


async def _ask_postgres(dsn: str) -> None:
    try:
        connection = await asyncpg.connect(dsn, timeout=ONE_QUESTION_SECONDS, ssl=False)
    except asyncpg.InvalidPasswordError:
        raise DataUnusable(
            "Postgres refuses the password in secrets.json, which was made for another database; "
            "restore the old secrets.json, or delete the data directory to start from nothing"
        ) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError) as error:
        raise NotReadyYet(str(error)) from None
    try:
        await connection.fetchval("SELECT 1", timeout=ONE_QUESTION_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotReadyYet(str(error)) from None
    finally:
        connection.terminate()


async def _ask_nats(host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        verb, _, body = (await reader.readline()).partition(b" ")
        if verb != b"INFO":
            raise NotReadyYet(f"greeted with {verb[:40]!r} instead of INFO")
        if not json.loads(body).get("jetstream"):
            raise NotReadyYet("JetStream is not on")
    except ValueError as error:
        raise NotReadyYet(f"greeted with INFO that is not understood: {error}") from None
    finally:
        writer.close()


async def _ask_brain(url: str) -> None:
    reply = await _get(url.rstrip("/") + "/")
    try:
        status = reply.json().get("status") if reply.status_code == httpx.codes.OK else None
    except (ValueError, AttributeError) as error:
        raise NotReadyYet(str(error)) from None
    if status != "Active":
        raise NotReadyYet(f"HTTP {reply.status_code} with status {status!r} instead of 'Active'")


async def _ask_http(url: str) -> None:
    reply = await _get(f"{url}/healthz")
    if reply.status_code != httpx.codes.OK:
        raise NotReadyYet(f"HTTP {reply.status_code}")


async def _get(url: str) -> httpx.Response:
    try:
        # trust_env: a proxy for the outside world has no business between two processes of one machine.
        async with httpx.AsyncClient(timeout=ONE_QUESTION_SECONDS, trust_env=False) as client:
            return await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotReadyYet(str(error) or type(error).__name__) from None


async def _ask_grpc(target: str) -> None:
    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            reply = await health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]  # its stubs leave the calls out
                health_pb2.HealthCheckRequest(service=""), timeout=ONE_QUESTION_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise NotReadyYet(f"{error.code().name}: {error.details()}") from None
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise NotReadyYet(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))
