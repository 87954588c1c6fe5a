"""What must hold after every fault, looked up where it is kept: the record, the object store, the index, the stream, the machine. Never in logs."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from itertools import pairwise

import asyncpg
from materials.v1 import material_pb2

from processor_service.index.page_passages import NEIGHBOUR_PAGES, passages_of
from servicekit.object_store import ObjectMissing, ObjectStore
from tests.faults.brain_front import CallKind
from tests.faults.debris import no_debris
from tests.faults.verdict import Verdict
from tests.faults.watcher_checks import course_watcher_saw_all, watcher_saw_the_end
from tests.faults.workload import Workload

PENDING, PROCESSING, COMPLETED, FAILED = 1, 2, 3, 4
_OWNED = "material_id IN (SELECT material_id FROM status.materials WHERE owner_id = $1)"


async def check(work: Workload) -> Verdict:
    """All invariants, for everything of the workload's owner and for what the whole stack must not keep."""
    verdict = Verdict()
    rows = await work.stack.fetch("SELECT * FROM status.materials WHERE owner_id = $1", work.owner)
    by_id = {str(row["material_id"]): row for row in rows}
    _accepted_is_kept(work, by_id, verdict)
    await _objects_are_whole(work, by_id, verdict)
    _everything_has_ended(work, rows, verdict)
    _one_material_an_upload(work, rows, verdict)
    await _history_is_whole(work, by_id, verdict)
    await _index_is_of_one_attempt(work, by_id, verdict)
    _harm_is_bounded(work, rows, verdict)
    for watcher in work.watchers:
        watcher_saw_the_end(watcher, by_id, verdict)
    for course_watcher in work.course_watchers:
        await course_watcher_saw_all(course_watcher, by_id, verdict)
    await no_debris(work, verdict)
    return verdict


def _accepted_is_kept(work: Workload, by_id: dict[str, asyncpg.Record], verdict: Verdict) -> None:
    for upload in work.accepted:
        row = by_id.get(upload.id)
        if row is None:
            verdict.lost[upload.id] = "a reply was received, and there is no record"
        elif not upload.deleted and row["deleted_at"] is not None:
            verdict.lost[upload.id] = "deleted though nobody asked for it"
        elif row["sha256"] != upload.sha256:
            verdict.lost[upload.id] = "the record is of other bytes"


async def _objects_are_whole(work: Workload, by_id: dict[str, asyncpg.Record], verdict: Verdict) -> None:
    store = ObjectStore(work.stack.objects_url)
    for upload in work.accepted:
        if upload.deleted or upload.spoilt or upload.id not in by_id:
            continue
        digest = hashlib.sha256()
        try:
            async for chunk in store.read(by_id[upload.id]["file_path"]):
                digest.update(chunk)
        except ObjectMissing:
            verdict.lost[upload.id] = "its bytes are gone"
        else:
            if digest.hexdigest() != upload.sha256:
                verdict.lost[upload.id] = "its bytes are not those uploaded"


def _everything_has_ended(work: Workload, rows: list[asyncpg.Record], verdict: Verdict) -> None:
    for row in rows:
        key, status = str(row["material_id"]), row["status"]
        if row["deleted_at"] is not None:
            continue
        if status in (PENDING, PROCESSING):
            verdict.stuck[key] = f"still {material_pb2.ProcessingStatus.Name(status)} ({row['status_message']})"
        elif status == FAILED:
            reason = material_pb2.FailureReason.Name(row["failure_reason"]).removeprefix("FAILURE_REASON_")
            if reason not in work.true_reasons:
                verdict.lost[key] = f"FAILED with {reason}, which nothing here explains: {row['error_message']}"
            elif not row["error_message"]:
                verdict.wrong.append(f"{key} FAILED without a word")


def _one_material_an_upload(work: Workload, rows: list[asyncpg.Record], verdict: Verdict) -> None:
    known = {upload.request_id: upload for upload in work.uploads}
    seen: Counter[str] = Counter()
    for row in rows:
        key = str(row["material_id"])
        upload = known.get(row["request_id"])
        # A deleted record gives its request id free.
        if upload is None and row["deleted_at"] is None:
            verdict.doubled[key] = "a material that nobody uploaded"
            continue
        seen[row["request_id"]] += 1
        if row["deleted_at"] is None and seen[row["request_id"]] > 1:
            verdict.doubled[key] = "one request id, two materials"


async def _history_is_whole(work: Workload, by_id: dict[str, asyncpg.Record], verdict: Verdict) -> None:
    sql = f"SELECT * FROM status.transitions WHERE {_OWNED} ORDER BY material_id, revision"
    lines: dict[str, list[asyncpg.Record]] = defaultdict(list)
    for line in await work.stack.fetch(sql, work.owner):
        lines[str(line["material_id"])].append(line)
    for key, row in by_id.items():
        history = lines[key]
        if not history or history[0]["event"] != "created" or history[0]["revision"] != 1:
            verdict.wrong.append(f"{key}: its history does not begin with its creation")
            continue
        for before, after in pairwise(history):
            if after["from_status"] != before["to_status"] or after["attempt"] < before["attempt"]:
                verdict.wrong.append(f"{key}: {after['event']} does not follow {before['event']}")
            if after["created_at"] < before["created_at"]:
                verdict.wrong.append(f"{key}: {after['event']} is earlier than {before['event']}")
        events = Counter(line["event"] for line in history)
        claims = [line["attempt"] for line in history if line["event"] == "claimed"]
        if claims != list(range(1, row["attempt"] + 1)):
            verdict.doubled[key] = f"attempts claimed {claims}, the record counts {row['attempt']}"
        if events["completed"] > 1 + events["retried"]:
            verdict.doubled[key] = f"completed {events['completed']} times"
        last = history[-1]
        if last["to_status"] != row["status"] or last["revision"] > row["revision"]:
            verdict.wrong.append(f"{key}: its history ends elsewhere than its record")


async def _index_is_of_one_attempt(work: Workload, by_id: dict[str, asyncpg.Record], verdict: Verdict) -> None:
    pages: dict[str, dict[int, asyncpg.Record]] = defaultdict(dict)
    for page in await work.stack.fetch(f"SELECT * FROM processor.pages WHERE {_OWNED}", work.owner):
        pages[str(page["material_id"])][page["page_number"]] = page
    columns = "material_id, page_number, ordinal, attempt, start_offset, end_offset, text, owner_id, course_id"
    passages: dict[tuple[str, int], list[asyncpg.Record]] = defaultdict(list)
    sql = f"SELECT {columns} FROM processor.passages WHERE {_OWNED} ORDER BY material_id, page_number, ordinal"
    for passage in await work.stack.fetch(sql, work.owner):
        passages[str(passage["material_id"]), passage["page_number"]].append(passage)
    uploads = {upload.id: upload for upload in work.accepted}
    for key, row in by_id.items():
        mine = pages[key]
        if row["deleted_at"] is not None:
            continue  # looked at with the debris
        attempts = {page["attempt"] for page in mine.values()} | {
            passage["attempt"] for number in mine for passage in passages[key, number]
        }
        if len(attempts) > 1 or (attempts and attempts != {row["attempt"]} and row["status"] == COMPLETED):
            verdict.doubled[key] = f"rows of attempts {sorted(attempts)} in the index, the record's is {row['attempt']}"
        if row["status"] != COMPLETED:
            continue
        wanted = uploads[key].pages if key in uploads else row["pages_total"]
        if sorted(mine) != list(range(1, wanted + 1)):
            verdict.lost[key] = f"pages {sorted(mine)} of {wanted} are in the index"
        for number, page in mine.items():
            found = [(each["text"], each["start_offset"], each["end_offset"]) for each in passages[key, number]]
            before = [mine[other]["text"] for other in range(max(1, number - NEIGHBOUR_PAGES), number) if other in mine]
            whole = [(each.text, each.start, each.end) for each in passages_of(page["text"], before)]
            if found != whole:
                kind = verdict.doubled if len(found) > len(whole) else verdict.lost
                kind[key] = f"page {number} has {len(found)} passages; an undisturbed run gives {len(whole)}"


def _harm_is_bounded(work: Workload, rows: list[asyncpg.Record], verdict: Verdict) -> None:
    allowed = 1 + work.extra_attempts
    for row in rows:
        if row["attempt"] > allowed:
            verdict.doubled[str(row["material_id"])] = f"{row['attempt']} attempts; the fault explains {allowed}"
    calls = work.stack.brain.calls[work.calls_before :]
    reads = sum(1 for call in calls if call.kind is CallKind.READ)
    pages = sum(upload.pages for upload in work.uploads if upload.read_by_brain)
    if reads > pages + work.extra_reads:
        verdict.doubled["reads"] = (
            f"the Brain was asked {reads} times to read {pages} pages; the fault explains {work.extra_reads} more"
        )
    embedded = Counter(call.subject for call in calls if call.kind is CallKind.EMBED)
    again = sum(count - 1 for count in embedded.values())
    if again > work.extra_embeddings:
        verdict.doubled["embeddings"] = f"{again} texts were embedded again; the fault explains {work.extra_embeddings}"
