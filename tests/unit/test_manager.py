"""Starting and stopping: in order, in reverse, and to the end whatever fails on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from servicekit.manager import BackgroundTask, ServiceManager

ROOT = Path(__file__).resolve().parents[2]


class Recorder:
    """A part that writes down what is asked of it; `fails` names the verb that raises, `hangs` the one that never returns."""

    def __init__(self, name: str, journal: list[str], *, fails: str = "", hangs: str = "") -> None:
        self._name, self._journal, self._fails, self._hangs = name, journal, fails, hangs
        self.reached = asyncio.Event()

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        await self._do("start")

    async def stop(self) -> None:
        await self._do("stop")

    async def _do(self, verb: str) -> None:
        self._journal.append(f"{verb} {self._name}")
        if self._fails == verb:
            raise RuntimeError(f"{self._name} cannot {verb}")
        if self._hangs == verb:
            self.reached.set()
            await asyncio.Event().wait()


@pytest.fixture
def journal() -> list[str]:
    return []


@pytest.fixture(autouse=True)
async def _signals_given_back() -> Iterator[None]:  # type: ignore[misc]
    yield
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


def service(*parts: tuple[str, object], start_timeout: float = 30.0, stop_timeout: float = 30.0) -> ServiceManager:
    manager = ServiceManager("test", start_timeout=start_timeout, stop_timeout=stop_timeout)
    for name, part in parts:
        manager.add(name, part)  # type: ignore[arg-type]
    return manager


class Ready:
    """The last part: says that all others have started."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self.event.set()

    async def stop(self) -> None:
        pass


def leaves(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [str(error)]


async def test_parts_start_in_order_and_stop_in_reverse(journal: list[str]) -> None:
    ready = Ready()
    manager = service(("a", Recorder("a", journal)), ("b", Recorder("b", journal)), ("ready", ready))
    running = asyncio.create_task(manager.run())
    await ready.event.wait()
    assert journal == ["start a", "start b"]
    manager.request_stop()
    await running
    assert journal == ["start a", "start b", "stop b", "stop a"]


async def test_part_that_cannot_start_stops_those_begun_and_no_other_is_started(journal: list[str]) -> None:
    parts = [Recorder("a", journal), Recorder("b", journal, fails="start"), Recorder("c", journal)]
    with pytest.raises(ExceptionGroup) as error:
        await service(*zip("abc", parts, strict=True)).run()
    assert leaves(error.value) == ["b cannot start"]
    assert journal == ["start a", "start b", "stop b", "stop a"]


async def test_part_that_never_starts_ends_the_service_with_its_name(journal: list[str]) -> None:
    manager = service(
        ("a", Recorder("a", journal)), ("postgres", Recorder("b", journal, hangs="start")), start_timeout=0.01
    )
    with pytest.raises(ExceptionGroup) as error:
        await manager.run()
    assert leaves(error.value) == ["postgres did not start within 0.01 s"]
    assert journal == ["start a", "start b", "stop b", "stop a"]


async def test_stop_while_a_part_is_starting_does_not_wait_for_it(journal: list[str]) -> None:
    slow = Recorder("b", journal, hangs="start")
    manager = service(("a", Recorder("a", journal)), ("b", slow), ("c", Recorder("c", journal)))
    running = asyncio.create_task(manager.run())
    await slow.reached.wait()
    manager.request_stop()
    await running
    assert journal == ["start a", "start b", "stop b", "stop a"]


async def test_a_task_that_loses_its_cancellation_does_not_keep_the_service(journal: list[str]) -> None:
    async def work() -> None:
        with suppress(asyncio.CancelledError):  # as asyncio.wait_for may, at the wrong moment
            await asyncio.Event().wait()
        journal.append("went on")
        await asyncio.Event().wait()

    ready = Ready()
    manager = service(
        ("a", Recorder("a", journal)), ("work", BackgroundTask(work, "work")), ("ready", ready), stop_timeout=0.05
    )
    running = asyncio.create_task(manager.run())
    await ready.event.wait()
    manager.request_stop()
    await running
    assert journal == ["start a", "went on", "stop a"]


async def test_failing_background_task_ends_the_service_and_stops_every_part(journal: list[str]) -> None:
    go = asyncio.Event()

    async def work() -> None:
        await go.wait()
        raise RuntimeError("lost the database")

    ready = Ready()
    manager = service(
        ("a", Recorder("a", journal)),
        ("work", BackgroundTask(work, "work")),
        ("b", Recorder("b", journal)),
        ("ready", ready),
    )
    running = asyncio.create_task(manager.run())
    await ready.event.wait()
    go.set()
    with pytest.raises(ExceptionGroup) as error:
        await running
    assert leaves(error.value) == ["lost the database"]
    assert journal == ["start a", "start b", "stop b", "stop a"]


async def test_background_task_that_fails_while_the_parts_stop_keeps_none_from_stopping(journal: list[str]) -> None:
    stopping = asyncio.Event()

    class Slow(Recorder):
        async def stop(self) -> None:
            journal.append("stop begins")
            stopping.set()
            # The failure comes in just here.
            for _ in range(10):
                await asyncio.sleep(0)
            journal.append("stop ends")

    async def work() -> None:
        await stopping.wait()
        raise RuntimeError("the connection is gone")

    ready = Ready()
    manager = service(
        ("a", Recorder("a", journal)),
        ("work", BackgroundTask(work, "work")),
        ("slow", Slow("slow", journal)),
        ("ready", ready),
    )
    running = asyncio.create_task(manager.run())
    await ready.event.wait()
    manager.request_stop()
    with pytest.raises(ExceptionGroup) as error:
        await running
    assert leaves(error.value) == ["the connection is gone"]
    assert journal == ["start a", "start slow", "stop begins", "stop ends", "stop a"]


@pytest.mark.parametrize("verb", ["fails", "hangs"])
async def test_part_that_cannot_stop_keeps_no_other_from_stopping(verb: str, journal: list[str]) -> None:
    ready = Ready()
    bad = Recorder("b", journal, **{verb: "stop"})
    manager = service(("a", Recorder("a", journal)), ("b", bad), ("ready", ready), stop_timeout=0.01)
    running = asyncio.create_task(manager.run())
    await ready.event.wait()
    manager.request_stop()
    await running
    assert journal == ["start a", "start b", "stop b", "stop a"]


async def test_background_task_runs_until_stopped_and_has_cleaned_up_by_then() -> None:
    began, cleaned = asyncio.Event(), []

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    part = BackgroundTask(work, "work")
    await part.stop()
    async with asyncio.TaskGroup() as tasks:
        await part.start(tasks)
        await began.wait()
        await part.stop()
        assert cleaned == [True]
        await part.stop()


async def test_service_can_be_told_to_stop_twice_and_before_it_runs(journal: list[str]) -> None:
    manager = service(("a", Recorder("a", journal)))
    manager.request_stop()
    manager.request_stop()
    await manager.run()
    assert journal in ([], ["start a", "stop a"])


async def test_cancelled_service_stops_its_parts_and_stays_cancelled(journal: list[str]) -> None:
    ready = Ready()
    running = asyncio.create_task(service(("a", Recorder("a", journal)), ("ready", ready)).run())
    await ready.event.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert journal == ["start a", "stop a"]


async def test_what_is_away_is_reported_under_its_parts_name_and_the_service_goes_on() -> None:
    reports: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    class Database(Ready):
        async def check(self) -> bool:
            return False

    async def report(name: str, there: bool) -> None:
        reports.put_nowait((name, there))

    manager = ServiceManager("test", report=report)
    manager.add("postgres", Database())
    manager.add("plain", Ready())
    running = asyncio.create_task(manager.run())
    assert await reports.get() == ("postgres", False)
    assert not running.done()
    manager.request_stop()
    await running
    assert reports.empty()


PROCESS = """
import asyncio, sys
from servicekit.logs import configure_logs
from servicekit.manager import BackgroundTask, ServiceManager, run_service

class Part:
    def __init__(self, name, mode):
        self.name, self.mode = name, mode

    async def start(self, tasks):
        if self.mode == "fails":
            raise RuntimeError("cannot listen on port 1")
        print("started", self.name, flush=True)
        if self.mode == "waits":
            await asyncio.Event().wait()

    async def stop(self):
        print("stopped", self.name, flush=True)

async def main():
    configure_logs(service="test", format="json", level="INFO")
    manager = ServiceManager("test")
    manager.add("a", Part("a", "works"))
    manager.add("b", Part("b", sys.argv[1]))
    await manager.run()

run_service(main)
"""


@pytest.mark.parametrize("mode", ["works", "waits"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_stops_in_order_with_status_0_on_a_signal(mode: str, number: signal.Signals) -> None:
    with process(mode) as running:
        assert running.stdout is not None
        assert [running.stdout.readline(), running.stdout.readline()] == ["started a\n", "started b\n"]
        os.kill(running.pid, number)
        output, errors = running.communicate(timeout=30)
    assert output == "stopped b\nstopped a\n"
    assert running.returncode == 0, errors
    assert "Traceback" not in errors


def test_process_that_cannot_start_says_why_in_its_log_and_exits_with_status_1() -> None:
    with process("fails") as running:
        output, errors = running.communicate(timeout=30)
    assert output == "started a\nstopped b\nstopped a\n"
    assert running.returncode == 1
    assert '"error": "cannot listen on port 1"' in errors
    assert all(line.startswith("{") for line in errors.splitlines()), "log lines only"


def process(mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, mode], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
