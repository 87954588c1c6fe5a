"""The wire form of server-sent events (WHATWG HTML, section 9.2), for data that is one line of JSON."""

from __future__ import annotations

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = b": keep-alive\n\n"


def opening(retry_milliseconds: int) -> bytes:
    """The first thing on a stream: something to read at once, and how long browsers wait before they come back."""
    return f": live status\nretry: {retry_milliseconds}\n\n".encode()


def event(name: str, data: str, event_id: str = "") -> bytes:
    """One event. `data` is JSON without line breaks; an id is what Last-Event-ID brings back, "" for an event that nothing can be resumed after."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {data}\n\n".encode()
