"""The queue again and again: in place on a terminal, through times when the service is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from materials.v1 import status_service_pb2
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from materials_cli.connection import Connection
from materials_cli.presentation import plain
from materials_cli.queue_report import Queue, queue_screen
from materials_cli.retrying import Attempts
from materials_cli.views import View

REFRESH_SECONDS = 2.0


async def watch_queue(connection: Connection, attempts: Attempts, show: Callable[[Queue], None]) -> None:
    """Shows the queue every REFRESH_SECONDS, without an end. Raises CommandError."""
    request = status_service_pb2.GetQueueRequest()
    while True:
        show(await attempts.answered(lambda: connection.status.GetQueue(request, metadata=connection.identity)))
        await asyncio.sleep(REFRESH_SECONDS)


class QueueScreen(View):
    """The newest queue in place. While the service is away it stays, and the last line says so."""

    def __init__(self, screen: Console) -> None:
        super().__init__()
        self._live = Live(console=screen, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._queue: tuple[Queue, datetime] | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, queue: Queue) -> None:
        """Takes the place of what was shown before."""
        self._queue = (queue, datetime.now(UTC))
        self._draw(Text("every 2 s, Ctrl-C ends", style="dim"))

    def trying_again(self, key: str, why: str, when: str) -> None:
        self._draw(Text(plain(f"{why}; trying again {when}"), style="bold red"))

    def _draw(self, last_line: Text) -> None:
        parts: list[RenderableType] = []
        if self._queue is not None:
            queue, seen = self._queue
            parts = [queue_screen(queue, seen), Text()]
            shown_at = seen.astimezone().strftime("%H:%M:%S")
            last_line = Text.assemble((f"as of {shown_at}: ", "dim"), last_line)
        self._live.update(Group(*parts, last_line), refresh=True)
