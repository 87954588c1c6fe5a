"""The local stack with its real Postgres and NATS; where a service would be stands a small real gRPC server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import nats
import nats.errors
import psutil
import pytest

from single_node.leftovers import RunningProcess, end_leftovers, load_running, save_running
from single_node.readiness import GrpcServing, ask, until_ready

PARTS = Path(__file__).parent / "single_node_parts"
PROJECT = Path(__file__).parents[2]
SECONDS = 60.0


@dataclass
class RunningStack:
    """A started single_node process; `announced` is the line it printed."""

    process: asyncio.subprocess.Process
    data_dir: Path
    announced: dict[str, Any]
    heard: list[str]

    async def hear(self, pattern: str) -> re.Match[str]:
        """The next line of stderr that the pattern is found in."""
        assert self.process.stderr is not None
        async with asyncio.timeout(SECONDS):
            while line := (await self.process.stderr.readline()).decode():
                self.heard.append(line)
                if found := re.search(pattern, line):
                    return found
        raise AssertionError(f"{pattern!r} was not said; stderr: {self.heard}")

    def stack_file(self) -> dict[str, Any]:
        return json.loads((self.data_dir / "stack.json").read_text())

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()

    def family(self) -> list[psutil.Process]:
        """Every process below the supervisor."""
        return psutil.Process(self.process.pid).children(recursive=True)


async def launch(data_dir: Path, *parts: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(PARTS / "stack_of_parts.py"), str(data_dir), *parts,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # Nothing listens there: a Brain that is away keeps nothing from starting.
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PARTS}", "AI_BRAIN_ENDPOINT": "http://127.0.0.1:9", **environment},
    )  # fmt: skip


@asynccontextmanager
async def started(data_dir: Path, *parts: str, **environment: str) -> AsyncIterator[RunningStack]:
    process = await launch(data_dir, *parts, **environment)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(SECONDS):
            line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        yield RunningStack(process, data_dir, json.loads(line), [])
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            await process.wait()


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and not ended(each)]


def ended(process: psutil.Process) -> bool:
    """Whether only its exit status is left, which init has yet to collect."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / 'a "data" directory'


async def test_a_second_start_finds_the_database_of_the_first_and_its_roles_own_only_their_schemas(
    data_dir: Path,
) -> None:
    async with started(data_dir) as stack:
        secrets = json.loads((data_dir / "secrets.json").read_text())
        server = stack.announced["postgres"].rpartition("@")[2]
        status = await asyncpg.connect(f"postgresql://status:{secrets['status_password']}@{server}")
        try:
            await status.execute("CREATE TABLE kept (text text, embedding vector(3))")
            await status.execute("INSERT INTO kept VALUES ('Äpfel', '[1,2,3]')")
            assert await status.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 'kept'") == "status"
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await status.execute("CREATE TABLE processor.stolen (id int)")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await status.execute("CREATE SCHEMA another")
        finally:
            await status.close()
        assert await stack.stop() == 0

    async with started(data_dir) as again:
        assert again.announced["postgres"] == stack.announced["postgres"], "ports and passwords are kept"
        status = await asyncpg.connect(f"postgresql://status:{secrets['status_password']}@{server}")
        try:
            assert await status.fetchval("SELECT lower(text) FROM kept WHERE embedding <-> '[1,2,3]' < 0.1") == "äpfel"
            assert await status.fetchval("SHOW fsync") == "on"
        finally:
            await status.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://status:guessed@{server}")


async def test_nats_keeps_streams_over_a_restart_and_lets_no_stranger_in(data_dir: Path) -> None:
    async with started(data_dir) as stack:
        client = await nats.connect(stack.announced["nats"])
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"a message")
        await client.close()
        server = stack.announced["nats"].rpartition("@")[2]
        with pytest.raises(nats.errors.Error):
            await nats.connect(f"nats://{server}", allow_reconnect=False)
    async with started(data_dir) as stack:
        client = await nats.connect(stack.announced["nats"])
        assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
        await client.close()


async def test_what_is_killed_comes_back_on_its_port_and_the_stack_file_follows(data_dir: Path) -> None:
    async with started(data_dir, "status=health_part") as stack:
        for name in ("status", "nats", "postgres"):
            pid = stack.announced["pids"][name]
            os.kill(pid, signal.SIGKILL)
            await stack.hear(rf"{name} \(pid {pid}\) died by SIGKILL; restarting in \d+\.\d s")
            new = int((await stack.hear(rf"{name} restarted \(pid (\d+)\)"))[1])
            assert stack.stack_file()["pids"][name] == new != pid
        await until_ready(GrpcServing(stack.announced["status"]), SECONDS)
        client = await nats.connect(stack.announced["nats"])
        await client.close()

        async def database_answers() -> int:
            while True:
                with suppress(asyncpg.PostgresError, OSError):
                    connection = await asyncpg.connect(stack.announced["postgres"], timeout=5)
                    try:
                        return await connection.fetchval("SELECT 1")
                    finally:
                        await connection.close()
                await asyncio.sleep(0.05)

        async with asyncio.timeout(SECONDS):
            assert await database_answers() == 1


async def test_the_start_after_a_killed_supervisor_ends_what_it_left(data_dir: Path) -> None:
    async with started(data_dir, "status=health_part", HEALTH_PART_CHILD="1") as killed:
        left = killed.family()
        os.kill(killed.process.pid, signal.SIGKILL)
        await killed.process.wait()
    assert {each.pid for each in left} > set(killed.announced["pids"].values()), "a child of the service among them"
    assert any(each.is_running() for each in left)
    async with started(data_dir, "status=health_part") as stack:
        assert running(left) == []
        assert stack.announced["status"] == killed.announced["status"], "its port was free again"
        await ask(GrpcServing(stack.announced["status"]))
        connection = await asyncpg.connect(stack.announced["postgres"])
        await connection.close()


async def test_sigterm_ends_everything_even_what_ignores_it(data_dir: Path) -> None:
    async with started(data_dir, "status=health_part", HEALTH_PART_CHILD="1", HEALTH_PART_STUBBORN="1") as stack:
        family = stack.family()
        assert len(family) > len(stack.announced["pids"]) == 3
        assert await stack.stop() == 0
        assert running(family) == []
        assert not (data_dir / "stack.json").exists()
        assert not (data_dir / "processes.json").exists()
        log = (data_dir / "logs" / "postgres.log").read_text()
        assert log.rstrip().endswith("database system is shut down"), "Postgres had the time to write everything out"


async def test_sigterm_during_the_start_ends_what_was_started(data_dir: Path) -> None:
    listening = asyncio.Event()

    async def told(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listening.set()
        writer.close()

    server = await asyncio.start_server(told, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await launch(
        data_dir, "status=health_part", HEALTH_PART_STATUS="NOT_SERVING", HEALTH_PART_TELL=f"127.0.0.1:{port}"
    )
    try:
        async with asyncio.timeout(SECONDS):
            await listening.wait()
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            stdout, _ = await process.communicate()
        server.close()
    assert (process.returncode, stdout) == (0, b"")
    assert running(family) == []


async def test_a_service_that_cannot_start_fails_the_start_with_its_own_words_and_leaves_nothing(
    data_dir: Path,
) -> None:
    process = await launch(data_dir, "status=no_such_module_of_ours")
    async with asyncio.timeout(SECONDS):
        _, stderr = await process.communicate()
    assert process.returncode == 1
    assert "exited with code 1; that was death number 5 before it was ready" in stderr.decode()
    assert "No module named no_such_module_of_ours" in stderr.decode()
    assert "Traceback" not in stderr.decode()
    owned = [each for each in psutil.process_iter() if str(data_dir) in " ".join(command_line(each))]
    assert owned == []


def command_line(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


async def test_one_directory_serves_one_stack_and_two_directories_two(data_dir: Path, tmp_path: Path) -> None:
    async with started(data_dir) as stack, started(tmp_path / "other") as beside:
        assert stack.announced["nats"] != beside.announced["nats"]
        assert stack.announced["token"] != beside.announced["token"]
        second = await launch(data_dir)
        async with asyncio.timeout(SECONDS):
            stdout, stderr = await second.communicate()
        assert (second.returncode, stdout) == (1, b"")
        assert f"already runs on {data_dir} (pid {stack.process.pid})" in stderr.decode()
        assert stack.stack_file() == stack.announced, "the running stack is left alone"


async def test_the_stack_file_and_the_secrets_are_for_their_owner_only(data_dir: Path) -> None:
    async with started(data_dir, "status=health_part") as stack:
        await stack.hear("AI Brain at http://127.0.0.1:9 does not answer")
        assert stack.stack_file() == stack.announced
        for name in ("stack.json", "secrets.json", "processes.json", "nats.conf"):
            assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600
        assert stack.announced["endpoints"] == {"status": [stack.announced["status"]]}


def test_a_process_that_merely_has_the_number_of_a_recorded_one_is_spared(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as stranger:
        record = tmp_path / "processes.json"
        save_running(record, [RunningProcess("status", stranger.pid, psutil.Process(stranger.pid).create_time() - 60)])
        assert load_running(record)
        said: list[str] = []
        end_leftovers(record, tmp_path, said.append)
        assert (said, stranger.poll()) == ([], None)
        assert not record.exists()
        stranger.kill()
