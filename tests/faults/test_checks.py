"""The checks themselves: each kind of damage, done by hand to what was whole, has to be found."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.catalogue import SCENARIOS
from tests.faults.fault_stack import FaultStack
from tests.faults.invariants import check
from tests.faults.scenario import SINGLE
from tests.faults.verdict import Verdict
from tests.faults.workload import Upload, Workload


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[FaultStack]:
    started = await FaultStack.start(SINGLE)
    yield started
    await started.stop()


@pytest.fixture
async def work(stack: FaultStack) -> AsyncIterator[Workload]:
    """A note that was uploaded, watched and completed, and nothing wrong with it."""
    owner = f"owner-{uuid.uuid4().hex[:10]}"
    async with stack.client(owner) as client:
        workload = Workload(stack, client, owner)
        [upload] = await workload.notes(1)
        workload.watch(upload)
        await workload.settled(30)
        assert (await check(workload)).lines() == []
        yield workload
        await workload.close()
        await stack.fetch("DELETE FROM status.materials WHERE owner_id = $1", owner)
        await stack.fetch("DELETE FROM processor.documents WHERE material_id = $1", uuid.UUID(upload.id))


async def damaged(work: Workload, sql: str) -> tuple[Upload, Verdict]:
    """What is found after a statement about the material `$1`."""
    [upload] = work.accepted
    await work.stack.fetch(sql, uuid.UUID(upload.id))
    return upload, await check(work)


async def test_lost_bytes_are_found(work: Workload) -> None:
    [upload] = work.accepted
    work.stack.object_path(upload.id).unlink()
    assert (await check(work)).lost == {upload.id: "its bytes are gone"}


async def test_changed_bytes_are_found(work: Workload) -> None:
    [upload] = work.accepted
    work.stack.object_path(upload.id).write_bytes(upload.content[:-1])
    assert (await check(work)).lost == {upload.id: "its bytes are not those uploaded"}


async def test_a_lost_record_is_found(work: Workload) -> None:
    upload, verdict = await damaged(work, "DELETE FROM status.materials WHERE material_id = $1")
    assert verdict.lost == {upload.id: "a reply was received, and there is no record"}


async def test_a_deletion_that_nobody_wanted_is_found(work: Workload) -> None:
    await damaged(work, "DELETE FROM processor.documents WHERE material_id = $1")
    sql = "UPDATE status.materials SET deleted_at = now(), purged_parts = 3 WHERE material_id = $1"
    upload, verdict = await damaged(work, sql)
    assert verdict.lost == {upload.id: "deleted though nobody asked for it"}


async def test_a_material_that_waits_for_ever_is_found(work: Workload) -> None:
    upload, verdict = await damaged(work, "UPDATE status.materials SET status = 1 WHERE material_id = $1")
    assert list(verdict.stuck) == [upload.id]


async def test_a_failure_that_nothing_explains_is_found(work: Workload) -> None:
    sql = "UPDATE status.materials SET status = 4, failure_reason = 15 WHERE material_id = $1"
    upload, verdict = await damaged(work, sql)
    assert "INTERNAL" in verdict.lost[upload.id]


async def test_a_missing_page_is_found(work: Workload) -> None:
    upload, verdict = await damaged(work, "DELETE FROM processor.pages WHERE material_id = $1")
    assert list(verdict.lost) == [upload.id]


async def test_a_missing_passage_is_found(work: Workload) -> None:
    upload, verdict = await damaged(work, "DELETE FROM processor.passages WHERE material_id = $1")
    assert list(verdict.lost) == [upload.id]


async def test_a_passage_too_many_is_found(work: Workload) -> None:
    columns = (
        "material_id, page_number, attempt, course_id, owner_id, start_offset, end_offset, heading, text, embedding"
    )
    upload, verdict = await damaged(
        work,
        f"INSERT INTO processor.passages (ordinal, {columns}) SELECT ordinal + 1, {columns} FROM processor.passages"
        " WHERE material_id = $1",
    )
    assert list(verdict.doubled) == [upload.id]


async def test_rows_of_two_attempts_are_found(work: Workload) -> None:
    upload, verdict = await damaged(work, "UPDATE processor.passages SET attempt = 7 WHERE material_id = $1")
    assert list(verdict.doubled) == [upload.id]


async def test_an_attempt_too_many_is_found(work: Workload) -> None:
    upload, verdict = await damaged(work, "UPDATE status.materials SET attempt = 2 WHERE material_id = $1")
    assert list(verdict.doubled) == [upload.id]


async def test_a_second_material_of_one_upload_is_found(work: Workload) -> None:
    twin = work.note()
    await work.send(twin)
    await work.settled(30)
    work.uploads.remove(twin)
    assert list((await check(work)).doubled) == [twin.id]


async def test_a_gap_in_the_history_is_found(work: Workload) -> None:
    _, verdict = await damaged(work, "DELETE FROM status.transitions WHERE material_id = $1 AND event = 'claimed'")
    assert any("does not follow" in line for line in verdict.wrong)


async def test_a_text_embedded_twice_is_found(work: Workload) -> None:
    work.stack.brain.calls.append(work.stack.brain.calls[-1])
    assert list((await check(work)).doubled) == ["embeddings"]


async def test_a_watcher_that_was_sent_a_revision_twice_is_found(work: Workload) -> None:
    [watcher] = work.watchers
    watcher.states.insert(0, watcher.states[-1])
    assert any("saw revisions" in line for line in (await check(work)).wrong)


async def test_a_watcher_that_never_saw_the_end_is_found(work: Workload) -> None:
    [watcher] = work.watchers
    del watcher.states[-1]
    assert list((await check(work)).stuck) == [watcher.material_id]


async def test_an_object_without_a_material_is_swept(work: Workload) -> None:
    stray = work.stack.object_path(str(uuid.uuid4()))
    await asyncio.to_thread(stray.parent.mkdir, parents=True, exist_ok=True)
    stray.write_bytes(b"stray")
    assert (await check(work)).good
    assert not stray.exists()


def test_every_fault_of_the_list_is_tried_and_every_scenario_is_of_the_list() -> None:
    text = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert {each.order[0] for each in SCENARIOS} == listed
