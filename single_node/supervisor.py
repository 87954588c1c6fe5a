"""Keeps processes running: starts them, starts them again when they die, stops them.

Each process is owned by one task, its keeper, from the moment it is started until nothing of it is left; only the keeper signals it,
so a stop that arrives while a process is just being started, or waits out its backoff, needs no special case. A process gets a session of its own:
Ctrl-C in the terminal reaches the supervisor alone, and a signal to the group reaches whatever the process has started itself.

When a process dies the rest of its group is killed before it is started again, so no orphan holds its port or its files. (Postgres's own children leave
the group; they notice the death of their parent by themselves, and a new server waits for that.)
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from single_node.errors import StartFailed
from single_node.leftovers import RunningProcess
from single_node.readiness import until_ready
from single_node.restart_policy import GiveUp, after_death
from single_node.stack import ProcessSpec

READY_SECONDS = 120.0
GROUP_GONE_SECONDS = 0.5
LOG_ROTATED_AT_BYTES = 16 * 1024 * 1024
LOG_TAIL_LINES = 15
# What a service exits with when it refuses its settings.
WRONG_SETTINGS = 2


class Supervisor:
    """Keeps the processes given to `start` until `stop`, which ends them in the reverse order of the calls of `start`.

    `tasks` owns the keepers. `say` is told of deaths and restarts. `on_change` is called after each start of a process.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        *,
        logs: Path,
        say: Callable[[str], None],
        on_change: Callable[[], None],
        chance: random.Random,
    ) -> None:
        self._tasks = tasks
        self._logs = logs
        self._say = say
        self._on_change = on_change
        self._chance = chance
        self._started: list[list[_Kept]] = []

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Starts all at once and returns when all are ready.

        Raises StartFailed, with the last lines of the log, for the first that dies five times before it is ready or is not ready
        within two minutes. What was started stays so until `stop`.
        """
        batch = [_Kept(spec, self._logs, self._say, self._on_change, self._chance) for spec in specs]
        self._started.append(batch)
        for kept in batch:
            kept.task = self._tasks.create_task(kept.keep(), name=f"keep-{kept.spec.name}")
        waiting = [self._tasks.create_task(kept.until_ready(), name=f"ready-{kept.spec.name}") for kept in batch]
        try:
            for ready in asyncio.as_completed(waiting):
                if (failure := await ready) is not None:
                    raise failure
        finally:
            for task in waiting:
                task.cancel()

    async def stop(self) -> None:
        """Ends every process, group by group; returns when none is left. Safe to call twice."""
        while self._started:
            batch = self._started[-1]
            for last in (False, True):
                leaving = [kept for kept in batch if kept.spec.stops_last is last]
                for kept in leaving:
                    kept.stopping.set()
                if keepers := [kept.task for kept in leaving if kept.task is not None]:
                    await asyncio.wait(keepers)
            self._started.pop()

    @property
    def running(self) -> list[RunningProcess]:
        """The processes that run now."""
        return [kept.running for batch in self._started for kept in batch if kept.running is not None]


class _Kept:
    """One process and its keeper."""

    def __init__(
        self,
        spec: ProcessSpec,
        logs: Path,
        say: Callable[[str], None],
        on_change: Callable[[], None],
        chance: random.Random,
    ) -> None:
        self.spec = spec
        self.task: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()
        self.running: RunningProcess | None = None
        self._log = logs / f"{spec.name}.log"
        self._say = say
        self._on_change = on_change
        self._chance = chance
        self._ready = False
        self._exit_code: int | None = None
        self._gave_up: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def keep(self) -> None:
        """Until `stopping` is set or the process has died too often before it was first ready."""
        deaths, restarts = 0, 0
        while not self.stopping.is_set():
            began = time.monotonic()
            death = await self._run_once(restarts)
            if death is None:
                return
            decision = after_death(
                deaths=deaths,
                lived=time.monotonic() - began,
                was_ready=self._ready,
                chance=self._chance.random(),
                wrong_settings=self._exit_code == WRONG_SETTINGS,
            )
            if isinstance(decision, GiveUp):
                why = (
                    "its settings are wrong"
                    if self._exit_code == WRONG_SETTINGS
                    else f"that was death number {decision.deaths} before it was ready"
                )
                self._gave_up.set_result(f"{death}; {why}")
                return
            deaths, restarts = decision.deaths, restarts + 1
            self._say(f"{death}; restarting in {decision.delay:.1f} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(decision.delay):
                    await self.stopping.wait()

    async def until_ready(self) -> StartFailed | None:
        """What keeps it from being ready; None when it is."""
        asking = asyncio.ensure_future(until_ready(self.spec.readiness, READY_SECONDS))
        either: set[asyncio.Future[Any]] = {asking, self._gave_up}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._gave_up.done():
                return StartFailed(f"{self._gave_up.result()}{self._log_tail()}")
            try:
                await asking
            except StartFailed as failure:
                return StartFailed(f"{self.spec.name}: {failure}{self._log_tail()}")
            self._ready = True
            return None
        finally:
            asking.cancel()

    async def _run_once(self, restarts: int) -> str | None:
        """Runs the process until it dies (then the words for it) or is stopped (None)."""
        name = self.spec.name
        try:
            process = await self._spawn()
        except OSError as error:
            return f"{name} could not be started: {error}"
        dying = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            with suppress(psutil.NoSuchProcess):
                self.running = RunningProcess(name, process.pid, psutil.Process(process.pid).create_time())
            self._on_change()
            if restarts:
                self._say(f"{name} restarted (pid {process.pid})")
            await asyncio.wait({dying, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not dying.done():
                _signal_group(process.pid, self.spec.stop_signal)
                await asyncio.wait({dying}, timeout=self.spec.grace)
        finally:
            # Also after a graceful end: what the process has started must not outlive it.
            _signal_group(process.pid, signal.SIGKILL)
            stopping.cancel()
            self._exit_code = code = await dying
            self.running = None
        await _until_group_is_gone(process.pid)
        return None if self.stopping.is_set() else f"{name} (pid {process.pid}) {_cause_of_death(code)}"

    async def _spawn(self) -> asyncio.subprocess.Process:
        if self._log.exists() and self._log.stat().st_size > LOG_ROTATED_AT_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.spec.environment),
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _log_tail(self) -> str:
        try:
            lines = self._log.read_text("utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        except OSError:
            lines = []
        return "".join(f"\n  {line}" for line in [f"the end of {self._log}:", *lines])


def _signal_group(pid: int, number: int) -> bool:
    """Whether there was anything to signal. A group's number stays taken while anything of the group lives, even after its leader."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    return True


async def _until_group_is_gone(pid: int) -> None:
    """Killed orphans hold their ports until the kernel is done with them; they are not our children, so nothing tells when."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GROUP_GONE_SECONDS):
            while _signal_group(pid, 0):  # noqa: ASYNC110 - the kernel sets no event
                await asyncio.sleep(0.01)


def _cause_of_death(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"died by {signal.Signals(-code).name}"
    except ValueError:
        return f"died by signal {-code}"
