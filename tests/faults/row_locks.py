"""A row lock of our own: whoever wants to change that row waits in the middle of its transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.fault_stack import FaultStack

_WAITING = """
    SELECT 1 FROM pg_stat_activity WHERE usename = 'status' AND wait_event_type = 'Lock' HAVING count(*) >= $1
"""


@asynccontextmanager
async def course_locked(stack: FaultStack, course: str) -> AsyncIterator[None]:
    """The course's row is ours: no change of any of its materials commits."""
    async with stack.database() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM status.courses WHERE course_id = $1 FOR UPDATE", course)
        yield


@asynccontextmanager
async def material_locked(stack: FaultStack, material_id: str) -> AsyncIterator[None]:
    """The material's row is ours."""
    async with stack.database() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM status.materials WHERE material_id = $1::uuid FOR UPDATE", material_id)
        yield


async def until_status_waits(stack: FaultStack, transactions: int = 1) -> None:
    """Returns when so many transactions of Status wait for a lock."""
    await stack.until_row(_WAITING, transactions)
