"""The headers of a response, sent before there is anything to answer."""

from __future__ import annotations

import asyncio
from typing import Any


async def send_response_headers(context: Any) -> None:
    """Sends them, which works only while the call stands. Raises CancelledError when the client has gone."""
    try:
        await context.send_initial_metadata(())
    except Exception as error:
        raise asyncio.CancelledError("the client has gone") from error
