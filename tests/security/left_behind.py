"""What the processors hold while they read, and must have let go of afterwards."""

from __future__ import annotations

from tests.local_stack import LocalStack
from tests.local_stack import rendering_children as rendering_children_of


def rendering_children(stack: LocalStack) -> list[int]:
    """Processes that draw documents."""
    pids: dict[str, int] = stack.current()["pids"]
    processors = [pid for name, pid in pids.items() if name.startswith("processor")]
    assert processors
    return [child.pid for pid in processors for child in rendering_children_of(pid)]


def files_of_attempts(stack: LocalStack) -> list[str]:
    """Directories of attempts, and what else lies beside them."""
    work = stack.data_dir / "work"
    assert work.is_dir(), "the processors keep their files elsewhere"
    return [path.name for path in work.iterdir()]
