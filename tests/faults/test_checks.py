"""The checks themselves: each kind of damage, done by hand to what was whole, has to be found."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from materials.v1.material_pb2 import PROCESSING_STATUS_COMPLETED, PROCESSING_STATUS_PENDING, Material
from materials.v1.status_service_pb2 import WatchMaterialResponse

from tests.faults import debris, watcher_checks
from tests.faults.catalogue import SCENARIOS
from tests.faults.fault_stack import FaultStack
from tests.faults.invariants import check
from tests.faults.people_calls import delete, stays_deleted
from tests.faults.scenario import SINGLE
from tests.faults.verdict import Verdict
from tests.faults.workload import CourseWatcher, Upload, Workload
from tests.local_stack import states_sent

PAGE = "material_id, page_number, attempt, text, source, generation"
COLUMNS = "page_number, ordinal, attempt, course_id, owner_id, start_offset, end_offset, heading, text, embedding, generation, words"
PASSAGE = f"material_id, {COLUMNS}"
ANY_PASSAGE_AS = f"SELECT $1, {COLUMNS} FROM processor.passages LIMIT 1"


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
        await stack.fetch(
            "DELETE FROM processor.documents WHERE material_id NOT IN (SELECT material_id FROM status.materials)"
        )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here gets better by waiting."""
    for module, name in ((debris, "DEBRIS_SECONDS"), (watcher_checks, "SETTLE_SECONDS")):
        monkeypatch.setattr(module, name, 5.0)


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
    columns = "material_id, page_number, attempt, course_id, owner_id, start_offset, end_offset, heading, text, embedding, generation, words"
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


async def test_an_end_that_was_sent_twice_to_a_watcher_is_found(work: Workload) -> None:
    [watcher] = work.watchers
    watcher.states.append(watcher.states[-1])
    assert any("saw revisions" in line for line in (await check(work)).wrong)


async def test_only_the_end_may_be_sent_again_and_only_to_one_that_resumes_after_it() -> None:
    waiting = Material(revision=1, processing_status=PROCESSING_STATUS_PENDING)
    ended = Material(revision=2, processing_status=PROCESSING_STATUS_COMPLETED)

    async def seen(last: Material | None, *sent: Material) -> list[Material]:
        async def call() -> AsyncIterator[WatchMaterialResponse]:
            for material in sent:
                yield WatchMaterialResponse(material=material)

        return [material async for material in states_sent(call(), last)]

    assert await seen(ended, ended) == []
    assert await seen(ended, ended, ended) == [ended]
    assert await seen(None, ended, ended) == [ended, ended]
    assert await seen(waiting, waiting, ended) == [waiting, ended]


async def test_a_deletion_that_a_watcher_of_the_course_was_not_told_of_is_found(work: Workload) -> None:
    watcher, upload = await deletion_watched(work)
    watcher.seen = [(key, revision) for key, revision in watcher.seen if revision is not None]
    assert any(f"is behind with ['{upload.id}']" in line for line in (await check(work)).wrong)


async def test_a_material_that_a_watcher_of_the_course_sees_after_its_deletion_is_found(work: Workload) -> None:
    watcher, upload = await deletion_watched(work)
    watcher.seen.append((upload.id, 100))
    assert any("after its deletion" in line for line in (await check(work)).wrong)


async def test_a_deletion_told_twice_is_found(work: Workload) -> None:
    watcher, upload = await deletion_watched(work)
    watcher.seen.append((upload.id, None))
    assert any("after its deletion" in line for line in (await check(work)).wrong)


async def deletion_watched(work: Workload) -> tuple[CourseWatcher, Upload]:
    """A watcher of the course that has seen the note alive and deleted; nothing wrong with it."""
    watcher = await work.watch_course()
    [upload] = work.accepted
    await delete(work, upload)
    await stays_deleted(work, upload)
    assert (await check(work)).lines() == []
    assert (upload.id, None) in watcher.seen
    assert len(watcher.seen) == 2
    return watcher, upload


@pytest.mark.parametrize("kind", ["pages", "passages", "the document"])
async def test_rows_of_the_index_without_a_material_are_found(work: Workload, kind: str) -> None:
    stray = uuid.uuid4()
    fence = "INSERT INTO processor.documents (material_id, attempt, purged_at) VALUES ($1, 1, {})"
    await work.stack.fetch(fence.format("NULL" if kind == "the document" else "now()"), stray)
    if kind == "pages":
        await work.stack.fetch(f"INSERT INTO processor.pages ({PAGE}) VALUES ($1, 1, 1, '', 0, 1)", stray)
    if kind == "passages":
        await work.stack.fetch(f"INSERT INTO processor.passages ({PASSAGE}) {ANY_PASSAGE_AS}", stray)
    found = (await check(work)).wrong
    await work.stack.fetch("DELETE FROM processor.documents WHERE material_id = $1", stray)
    assert f"rows of the index without a material: ['{kind} of {stray}']" in found


async def test_rows_of_a_deleted_material_are_found(work: Workload) -> None:
    _, upload = await deletion_watched(work)
    _, verdict = await damaged(work, f"INSERT INTO processor.pages ({PAGE}) VALUES ($1, 1, 1, '', 0, 1)")
    assert verdict.wrong == [f"rows of the index without a material: ['pages of {upload.id}']"]


async def test_a_passage_of_a_page_that_is_not_there_is_found(work: Workload) -> None:
    upload, verdict = await damaged(work, "UPDATE processor.passages SET page_number = 9 WHERE material_id = $1")
    assert verdict.wrong == [f"passages without a page: ['{upload.id} page 9']"]


async def test_a_spoilt_upload_does_not_hide_the_damage_to_another(work: Workload) -> None:
    [upload] = work.accepted
    [spoilt] = await work.notes(1)
    await work.settled(30)
    spoilt.spoilt = True
    work.true_reasons = {"OBJECT_MISSING"}
    for each in (upload, spoilt):
        work.stack.object_path(each.id).unlink()
    assert (await check(work)).lost == {upload.id: "its bytes are gone"}


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
