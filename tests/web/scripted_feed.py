"""A course's event stream with materials that nobody uploaded: thousands of them, or one in each state."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from playwright.async_api import Page, Route

EVENTS = "**/courses/*/events*"


def material(number: int, **fields: Any) -> dict[str, Any]:
    """A material as the gateway tells of it; a greater number is a newer one."""
    return {
        "id": f"00000000-0000-4000-8000-{number:012}", "course_id": "any", "name": f"material {number}.pdf", "file_type": "pdf", "file_size": 1000,
        "processing_status": "completed", "processed_at": None, "error_message": None, "has_embedding": True, "owner_id": "demo-user", "revision": 3,
        "created_at": f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}.{number:06}Z", "pages_done": 3, "pages_total": 3, "failure_reason": None,
        "retryable": False, "stage": None, "status_message": "", "next_attempt_at": None, **fields,
    }  # fmt: skip


async def script_feed(page: Page, materials: Sequence[dict[str, Any]]) -> None:
    """The course's stream tells of these and ends; the next one never answers."""
    events = [f"event: material\ndata: {json.dumps(each)}\n\n" for each in materials]
    body = "".join([*events, "event: snapshot_complete\nid: 1\ndata: {}\n\n"])
    answered = asyncio.Event()

    async def stream(route: Route) -> None:
        if not answered.is_set():
            answered.set()
            await route.fulfill(status=200, content_type="text/event-stream", body=body)

    await page.route(EVENTS, stream)
