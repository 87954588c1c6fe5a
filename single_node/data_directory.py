"""Where everything of one stack is kept, and the lock that makes it one stack.

DIR/lock            held (flock) while a stack runs; the kernel lets go of it however the holder ends
DIR/secrets.json    keys and passwords, made once
DIR/ports.json      the ports of the last start
DIR/processes.json  what runs now, for cleaning up after a supervisor that was killed
DIR/stack.json      endpoints and tokens of the running stack, for clients
DIR/postgres/       the database cluster
DIR/nats/           JetStream's files, DIR/nats.conf its configuration
DIR/objects/        the uploaded files
DIR/work/           files while they are read; emptied at each start
DIR/logs/           one log a process
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from single_node.errors import AlreadyRunning, DataUnusable


@dataclass(frozen=True)
class DataDirectory:
    """The paths below one data directory, which is absolute."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    @property
    def processes(self) -> Path:
        return self.root / "processes.json"

    @property
    def stack(self) -> Path:
        return self.root / "stack.json"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def nats_configuration(self) -> Path:
        return self.root / "nats.conf"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


@contextmanager
def held(root: Path) -> Iterator[DataDirectory]:
    """Makes the directory where needed and holds its lock.

    Raises AlreadyRunning when another stack holds it, DataUnusable when it cannot be made or written to.
    """
    directory = DataDirectory(root.resolve())
    try:
        for path in (directory.root, directory.logs, directory.nats, directory.objects):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataUnusable(f"cannot use {directory.root}: {error}; choose another --data-dir") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunning(
                f"a stack already runs on {directory.root} (pid {holder}); stop it with `kill {holder}`, "
                "or choose another --data-dir to run a second one beside it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield directory
    finally:
        os.close(descriptor)
