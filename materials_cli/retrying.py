"""When a cut or refused stream is tried again, and after how long.

gRPC's channel tries unary calls again by itself; streams it cannot, since only the caller knows where to go on. What is worth another try: UNAVAILABLE
(nobody there, a connection cut, a replica that stops), CANCELLED (a replica that stopped before it looked at the call), and any refusal that carries
RetryInfo or says that only this try was too slow. The wait doubles from 0.25 s to 5 s with jitter, and is never shorter than what the service asks for.
Failures count in a row: anything received starts the count anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import grpc

from materials_cli.connection import CALL_SECONDS, Service
from materials_cli.errors import CommandError, Unreachable
from materials_cli.refusals import explain
from servicekit.errors import reason_of_status, retry_delay_of_call
from servicekit.refusals import status_of

Answer = TypeVar("Answer")

FIRST_SECONDS, LONGEST_SECONDS = 0.25, 5.0
#: A service that asks for more than this is not waited for.
LONGEST_ASKED_SECONDS = 60.0


@dataclass(frozen=True)
class Backoff:
    """How often, at most, to try again."""

    retries: int

    def delay(self, failures: int, asked: float | None, jitter: float) -> float | None:
        """Seconds to wait after the `failures`-th failure in a row, from 1; None to give up. `asked` is RetryInfo's, `jitter` in [0, 1)."""
        if failures > self.retries or (asked or 0.0) > LONGEST_ASKED_SECONDS:
            return None
        doubled = float(min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** (failures - 1)))
        return max(doubled * (0.5 + jitter / 2), (asked or 0.0) * (1 + jitter / 4))


def worth_retrying(error: grpc.aio.AioRpcError | TimeoutError) -> bool:
    """Whether the same call may succeed a little later."""
    if isinstance(error, TimeoutError) or error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return True
    return retry_delay_of_call(error) is not None or reason_of_status(status_of(error)) == "UPLOAD_TOO_SLOW"


class Watcher(Protocol):
    """Whoever is told of outages: of each wait for the next try, and of the end of it all."""

    def trying_again(self, key: str, why: str, when: str) -> None:
        """The stream of `key` failed; `why` and `when` ("in 0.2 s (1 of 8)") are short."""

    def connected_again(self, key: str) -> None:
        """The stream of `key`, which had failed, brings something again."""


class Attempts:
    """The tries at one stream. The watcher is told of each wait, and when something comes again; the subject is the key."""

    def __init__(self, backoff: Backoff, service: Service, subject: str, watcher: Watcher) -> None:
        self._backoff, self._service, self._subject, self._watcher = backoff, service, subject, watcher
        self._failures = 0

    def progressed(self) -> None:
        """Something came: failures before it do not count any more."""
        if self._failures:
            self._watcher.connected_again(self._subject)
        self._failures = 0

    async def answered(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to a call that asks how things are, made again until there is one. Raises CommandError when there is none."""
        while True:
            try:
                # A call without an answer is an outage like any other; gRPC's own deadline would be a refusal.
                async with asyncio.timeout(CALL_SECONDS):
                    answer = await call()
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                await self.failed(error)
            else:
                self.progressed()
                return answer

    async def failed(self, error: grpc.aio.AioRpcError | TimeoutError) -> None:
        """Waits until the next try. Raises CommandError when there is none."""
        explained = explain(error, self._service, self._subject)
        if not worth_retrying(error):
            raise explained from error
        asked = retry_delay_of_call(error) if isinstance(error, grpc.aio.AioRpcError) else None
        # Where the address was found, and what to do, is said when all tries have failed.
        why = explain(error, replace(self._service, origin="")).message.partition(";")[0]
        await self._wait(explained, asked, why)

    async def cut(self) -> None:
        """As `failed`, for a stream that ended without an error before its time."""
        early = Unreachable(f"{self._subject}: {self._service} ended the stream early; try again")
        await self._wait(early, None, f"the {self._service.name} service ended the stream early")

    async def _wait(self, error: CommandError, asked: float | None, why: str) -> None:
        self._failures += 1
        delay = self._backoff.delay(self._failures, asked, random.random())
        if delay is None:
            raise error
        when = f"in {delay:.1f} s ({self._failures} of {self._backoff.retries})"
        self._watcher.trying_again(self._subject, why, when)
        await asyncio.sleep(delay)
