"""Starting and stopping a service.

A service is a list of parts, each with two verbs: `start(tasks)` returns when the part works (its background tasks belong to the TaskGroup it is given),
`stop()` returns when it has let go of everything and is safe to call twice or before `start`. The manager starts them in order, waits for SIGTERM or
SIGINT, and stops them in reverse, each within its time. A background task that raises ends the service with an error: whoever supervises it
(Kubernetes, single_node) starts it afresh. Nothing limps on half alive.

A part that stands for something outside (a database, a broker) may also say whether that is there: the manager asks every few seconds and reports it to the
health service under the part's name. The process stays SERVING meanwhile: it answers, with an error that says when to try again.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

import structlog
import uvloop

log = structlog.get_logger()

CHECK_SECONDS = 5.0


class Part(Protocol):
    """Something that lives as long as the service."""

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Returns when the part works; its background tasks are created in `tasks`."""

    async def stop(self) -> None:
        """Lets go of everything. Safe to call twice, and before `start`."""


@runtime_checkable
class Checked(Protocol):
    """A part that stands for something outside the process."""

    async def check(self) -> bool:
        """Whether it is there now. Has a deadline of its own and does not raise."""


class BackgroundTask:
    """A part that is one endless coroutine: created at start, cancelled and awaited at stop."""

    def __init__(self, run: Callable[[], Awaitable[Any]], name: str) -> None:
        self._run, self._name = run, name
        self._task: asyncio.Task[Any] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to run."""

        async def body() -> None:
            await self._run()
            raise RuntimeError(f"{self._name} has ended, which it never should")

        self._task = tasks.create_task(body(), name=self._name)

    async def stop(self) -> None:
        """Cancels, and waits until the coroutine has cleaned up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


class _StoppedLate(Exception):
    """Ends the TaskGroup of a service whose parts did not all stop: what they left running is cancelled, and cannot keep the process."""


class ServiceManager:
    """Starts parts in order, stops them in reverse. One for each service process."""

    def __init__(
        self,
        name: str,
        *,
        report: Callable[[str, bool], Awaitable[None]] | None = None,
        start_timeout: float = 60.0,
        stop_timeout: float = 8.0,
    ) -> None:
        self._name, self._report = name, report
        self._parts: list[tuple[str, Part]] = []
        self._start_timeout, self._stop_timeout = start_timeout, stop_timeout
        self._stopping = asyncio.Event()

    def add(self, name: str, part: Part) -> None:
        """Appends a part; order is start order."""
        self._parts.append((name, part))

    def request_stop(self) -> None:
        """What SIGTERM does."""
        self._stopping.set()

    async def run(self) -> None:
        """Lives from start to SIGTERM. Raises what a part's start or a background task raised (in an ExceptionGroup)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._live(tasks)
        except* _StoppedLate:
            pass
        log.info("service stopped", service=self._name)

    async def _live(self, tasks: asyncio.TaskGroup) -> None:
        started: list[tuple[str, Part]] = []
        # A task of its own, so that a part that waits for what is away does not keep SIGTERM waiting.
        living = tasks.create_task(self._start_and_watch(tasks, started), name="service")
        try:
            await self._stopping.wait()
            log.info("service stopping", service=self._name)
        finally:
            # Runs also when the group is cancelled because a task failed: connections and leases are still handed back.
            stopping = asyncio.create_task(self._stop_all(living, started))
            try:
                await asyncio.shield(stopping)
            except asyncio.CancelledError:
                # A task failed while the parts were stopping: the others are stopped all the same.
                await stopping
                raise
        if not stopping.result():
            raise _StoppedLate

    async def _start_and_watch(self, tasks: asyncio.TaskGroup, started: list[tuple[str, Part]]) -> None:
        for name, part in self._parts:
            started.append((name, part))
            try:
                async with asyncio.timeout(self._start_timeout) as limit:
                    await part.start(tasks)
            except TimeoutError:
                if limit.expired():
                    raise TimeoutError(f"{name} did not start within {self._start_timeout:g} s") from None
                raise
        log.info("service ready", service=self._name)
        known: dict[str, bool] = {}
        while not self._stopping.is_set():
            for name, part in self._parts:
                if isinstance(part, Checked):
                    there = await part.check()
                    if known.get(name, True) != there:
                        log.warning("part is back" if there else "part is away", part=name)
                    if known.get(name) != there and self._report is not None:
                        await self._report(name, there)
                    known[name] = there
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._stopping.wait()

    async def _stop_all(self, living: asyncio.Task[None], started: list[tuple[str, Part]]) -> bool:
        """Whether all of them stopped in time."""
        living.cancel()
        await asyncio.wait([living])
        return all([await self._stop(name, part) for name, part in reversed(started)])

    async def _stop(self, name: str, part: Part) -> bool:
        try:
            async with asyncio.timeout(self._stop_timeout):
                await part.stop()
        except TimeoutError:
            log.warning("part did not stop in time", part=name, seconds=self._stop_timeout)
            return False
        except Exception:
            log.exception("part failed to stop", part=name)
        return True


def run_service(main: Callable[[], Awaitable[None]]) -> None:
    """Runs a service's main coroutine on uvloop; exits 1 with the reasons logged when it fails."""
    try:
        uvloop.run(main())  # type: ignore[arg-type]
    except* Exception as group:
        for error in _leaves(group):
            log.error("service failed", error=str(error), kind=type(error).__name__, exc_info=error)
        sys.exit(1)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
