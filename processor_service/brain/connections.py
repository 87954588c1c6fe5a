"""Connections to the AI Brain, each in a client of its own, so that one which a call left in doubt can be thrown away with all that belongs to it.

A client with many connections loses one for good when a call is cancelled just as its reply arrives (httpcore, as of 1.0: it stays counted as in use). Calls
are cancelled all the time: a material is deleted, an asker has left. Here only a call that ended well gives its client back, for the next one to go on with
the same connection; of any other everything is closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx

#: Idle connections are dropped before a server's usual 5 s, else a request could meet one just being closed.
KEEP_SECONDS = 3.0


class BrainConnections:
    """At most `most` exchanges at once. `headers` go with each of them. Redirects are not followed, and proxies named in the environment not used."""

    def __init__(self, *, headers: Mapping[str, str], tls: ssl.SSLContext, most: int) -> None:
        self._headers, self._tls = headers, tls
        self._room = asyncio.Semaphore(most)
        self._idle: list[httpx.AsyncClient] = []
        self._closed = False

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, timeout: httpx.Timeout, **content: Any
    ) -> AsyncIterator[httpx.Response]:
        """The response of one exchange, its body not read yet; as `httpx.AsyncClient.stream`, whose errors it raises, PoolTimeout among them."""
        try:
            async with asyncio.timeout(timeout.pool):
                await self._room.acquire()
        except TimeoutError as error:
            raise httpx.PoolTimeout("all connections are in use") from error
        try:
            client = self._idle.pop() if self._idle else self._open()
            ended_well = False
            try:
                async with client.stream(method, url, timeout=timeout, **content) as response:
                    yield response
                ended_well = True
            finally:
                if ended_well and not self._closed:
                    self._idle.append(client)
                else:
                    await client.aclose()
        finally:
            self._room.release()

    async def aclose(self) -> None:
        """Closes what is idle now, and what is in use when its call has ended."""
        self._closed = True
        while self._idle:
            await self._idle.pop().aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            headers=self._headers,
            verify=self._tls,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )
