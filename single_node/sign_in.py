"""The link that opens the page signed in: a ticket in the address's fragment, which no server ever sees in a log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx

SECONDS = 3.0


@dataclass(frozen=True)
class PageLink:
    """Where the page is. `signs_in`: the address holds a ticket of the demo user, good once, for ten minutes; else it is the plain address."""

    url: str = field(repr=False)
    signs_in: bool


async def page_link(gateway: str, token: str) -> PageLink:
    """A link made by the gateway at `gateway` (host:port); the plain address when it refuses, or does not answer within three seconds."""
    address = f"http://{gateway}"
    try:
        # trust_env: a proxy for the outside world has no business between two processes of one machine.
        async with asyncio.timeout(SECONDS), httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client:
            reply = await client.post(
                f"{address}/tickets",
                json={"purpose": "sign-in"},
                headers={"Authorization": f"Bearer {token}"},
            )
            path = reply.raise_for_status().json()["url"]
    except (TimeoutError, httpx.HTTPError, ValueError, KeyError, TypeError):
        path = ""
    if not isinstance(path, str) or not path.startswith("/#"):
        return PageLink(f"{address}/", signs_in=False)
    return PageLink(address + path, signs_in=True)
