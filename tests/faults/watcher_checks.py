"""What every watcher must have seen."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import asyncpg

from tests.faults.verdict import Verdict, within
from tests.faults.workload import CourseWatcher, Watcher
from tests.local_stack import ENDED

SETTLE_SECONDS = 15.0


def watcher_saw_the_end(watcher: Watcher, by_id: dict[str, asyncpg.Record], verdict: Verdict) -> None:
    revisions = watcher.revisions
    if any(after <= before for before, after in pairwise(revisions)):
        verdict.wrong.append(f"a watcher of {watcher.material_id} saw revisions {revisions}")
    if (error := _failure(watcher.task)) is not None:
        verdict.wrong.append(f"a watcher of {watcher.material_id} ended with {error!r}")
        return
    row = by_id.get(watcher.material_id)
    if row is None or row["deleted_at"] is not None:
        return
    if not watcher.states or watcher.states[-1].processing_status not in ENDED:
        verdict.stuck.setdefault(watcher.material_id, f"its watcher never saw the end, only {revisions}")
    elif watcher.states[-1].revision != row["revision"]:
        verdict.wrong.append(
            f"a watcher of {watcher.material_id} ended at {revisions[-1]}, the record is at {row['revision']}"
        )


async def course_watcher_saw_all(watcher: CourseWatcher, by_id: dict[str, asyncpg.Record], verdict: Verdict) -> None:
    def behind() -> list[str]:
        newest = dict(watcher.seen)
        return [
            key
            for key, row in by_id.items()
            # One that was deleted need not have been seen at all.
            if newest.get(key, None if row["deleted_at"] else 0) != (None if row["deleted_at"] else row["revision"])
        ]

    await within(SETTLE_SECONDS, lambda: _now(not behind()))
    if behind():
        verdict.wrong.append(f"a watcher of the course is behind with {behind()}")
    newest: dict[str, int | None] = {}
    for key, revision in watcher.seen:
        before = newest.get(key, 0)
        if before is None:
            verdict.wrong.append(f"a watcher of the course was told of {key} (revision {revision}) after its deletion")
        elif revision is not None and revision <= before:
            verdict.wrong.append(f"a watcher of the course saw revision {revision} of {key} after {before}")
        newest[key] = revision
    if (error := _failure(watcher.task)) is not None:
        verdict.wrong.append(f"a watcher of the course ended with {error!r}")


def _failure(task: asyncio.Task[None] | None) -> BaseException | None:
    return task.exception() if task is not None and task.done() and not task.cancelled() else None


async def _now(value: bool) -> bool:
    return value
