"""What the processors hold while they read, and must have let go of afterwards."""

from __future__ import annotations

import psutil

from tests.local_stack import LocalStack


def rendering_children(stack: LocalStack) -> list[int]:
    """Processes that draw documents."""
    pids: dict[str, int] = stack.current()["pids"]
    processors = [psutil.Process(pid) for name, pid in pids.items() if name.startswith("processor")]
    assert processors
    return [
        child.pid
        for processor in processors
        for child in processor.children(recursive=True)
        if child.is_running() and "processor_service.documents.render_child" in command(child)
    ]


def command(process: psutil.Process) -> list[str]:
    """How it was started; nothing for one that has gone meanwhile."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def files_of_attempts(stack: LocalStack) -> list[str]:
    """Directories of attempts, and what else lies beside them."""
    work = stack.data_dir / "work"
    assert work.is_dir(), "the processors keep their files elsewhere"
    return [path.name for path in work.iterdir()]
