"""What a killed supervisor leaves behind, and cleaning it up before the next start.

Children of a supervisor that died by SIGKILL go on running, with its ports and its database. The next start on the data directory, which then
holds its lock, ends them first. A process is known to be one of them when its pid and creation time are those on record, or when its environment names
the data directory as its owner (children of children, and one that was started in the moment before it could be recorded). A pid alone proves nothing:
it may belong to somebody else by now.

Everything but Postgres is asked to end and killed after five seconds; Postgres then gets a fast shutdown. Its postmaster.pid is left to it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from single_node.private_files import write_private
from single_node.stack import OWNER_VARIABLE

GRACE_SECONDS = 5.0
POLL_SECONDS = 0.02
# psutil works creation times out from the boot time, which moves when the clock is set.
SAME_TIME_SECONDS = 2.0


@dataclass(frozen=True)
class RunningProcess:
    """A process as it was started. `created` is in Unix seconds, as psutil tells it."""

    name: str
    pid: int
    created: float


def save_running(path: Path, running: Iterable[RunningProcess]) -> None:
    """Keeps the record for a later `end_leftovers`."""
    write_private(path, json.dumps([asdict(each) for each in running], indent=2) + "\n")


def load_running(path: Path) -> list[RunningProcess]:
    """The record, empty when there is none or it is damaged."""
    try:
        return [RunningProcess(**each) for each in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def end_leftovers(path: Path, root: Path, say: Callable[[str], None]) -> None:
    """Ends what an earlier stack on the data directory `root` left, and its record `path`. Blocks for up to 20 seconds, mostly for none."""
    recorded = load_running(path)
    leaders = [process for process in map(_still_running, recorded) if process is not None]
    postmasters = {each.pid for each in recorded if each.name == "postgres"}
    servers = [process for process in leaders if process.pid in postmasters]
    server_children = [child for server in servers for child in _children(server)]
    spared = {process.pid for process in (*servers, *server_children, *psutil.Process().parents())} | {os.getpid()}
    others = {process.pid: process for process in (*leaders, *_owned_by(root)) if process.pid not in spared}
    if others or servers:
        say(f"ending {len(others) + len(servers)} processes that an earlier, killed single_node left")
    _end(list(others.values()), signal.SIGTERM)
    _end([*servers, *server_children], signal.SIGINT)
    path.unlink(missing_ok=True)


def _still_running(recorded: RunningProcess) -> psutil.Process | None:
    with suppress(psutil.Error):
        process = psutil.Process(recorded.pid)
        if abs(process.create_time() - recorded.created) < SAME_TIME_SECONDS:
            return process
    return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def _owned_by(root: Path) -> Iterable[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(OWNER_VARIABLE) == str(root):
                yield process


def _end(processes: Sequence[psutil.Process], request: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(request)
    for process in _still_alive(processes, GRACE_SECONDS):
        with suppress(psutil.Error):
            process.kill()
    _still_alive(processes, GRACE_SECONDS)


def _still_alive(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that live on after `seconds`, or none as soon as all have ended."""
    deadline = time.monotonic() + seconds
    while alive := [process for process in processes if not _has_ended(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return alive


def _has_ended(process: psutil.Process) -> bool:
    # A zombie has ended too: its parent is gone, and init collects it when it comes to it.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True
