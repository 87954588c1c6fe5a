"""After all that was tried in this directory (these tests are collected last): the same processes, holding no more than at first, and nothing half kept."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from materials.v1 import ingest_service_pb2 as ingest_pb
from materials.v1 import status_service_pb2 as status_pb

from tests.contract.refusals import Refusal, eventually
from tests.fuzz.calls import SECONDS, Fuzzed, outcome
from tests.fuzz.leftovers import SERVICES, Usage
from tests.fuzz.limits import MAX_CONCURRENT_UPLOADS, MAX_WATCHES
from tests.fuzz.settings import TIMEOUT
from tests.local_stack import unique_course

pytestmark = TIMEOUT
#: Connections to Postgres and peers that are opened when first needed and then kept, and the workers of thread pools.
SLACK_FILES, SLACK_THREADS = 24, 16
UNFORESEEN = re.compile(r"traceback|exception|call failed|never retrieved|was destroyed but", re.IGNORECASE)


def test_every_process_is_the_one_that_was_started(fuzzed: Fuzzed, at_first: Usage) -> None:
    assert Usage.of(fuzzed).pids == at_first.pids
    assert fuzzed.stack.process.poll() is None


async def test_open_files_and_threads_are_back_near_where_they_began(fuzzed: Fuzzed, at_first: Usage) -> None:
    async def back() -> bool:
        now = Usage.of(fuzzed)
        return all(
            now.files[name] <= at_first.files[name] + SLACK_FILES
            and now.threads[name] <= at_first.threads[name] + SLACK_THREADS
            for name in SERVICES
        )

    await eventually(
        back, f"at first {at_first}, with {SLACK_FILES} files and {SLACK_THREADS} threads more at most", seconds=60
    )


def test_every_place_for_uploads_is_free(fuzzed: Fuzzed) -> None:
    course = unique_course()
    caller = fuzzed.caller(courses={course: "editor"})
    begun, go_on = threading.Semaphore(0), threading.Event()

    def messages(number: int) -> Iterator[ingest_pb.UploadMaterialRequest]:
        metadata = ingest_pb.UploadMetadata(course_id=course, name=f"{number}.txt")
        yield ingest_pb.UploadMaterialRequest(metadata=metadata)
        yield ingest_pb.UploadMaterialRequest(chunk=b"a" * 4096)
        begun.release()
        go_on.wait(SECONDS)

    with ThreadPoolExecutor(MAX_CONCURRENT_UPLOADS) as threads:
        uploads = [threads.submit(caller.upload, messages(number)) for number in range(MAX_CONCURRENT_UPLOADS)]
        try:
            for _ in uploads:
                assert begun.acquire(timeout=SECONDS)
            # A refusal of these would be known by now: the one more, begun after all of them, is refused itself.
            one_more = refused_at_last(lambda: caller.upload([]), "UPLOAD_METADATA_MISSING")
        finally:
            go_on.set()
        answers = [outcome(upload.result) for upload in uploads]
    assert not [answer for answer in answers if isinstance(answer, Refusal)], "a place was taken"
    assert one_more.reason == "TOO_MANY_UPLOADS"
    for answer in answers:
        assert not isinstance(answer, Refusal)
        caller.delete(answer.id)


def refused_at_last(call: Any, before: str) -> Refusal:
    """The first refusal for another reason than `before`, which is the answer while the places are not all taken yet."""
    for _ in range(200):
        answer = outcome(call)
        assert isinstance(answer, Refusal)
        if answer.reason != before:
            return answer
    raise AssertionError(f"answered with nothing but {before}")


def test_every_place_for_watches_is_free(fuzzed: Fuzzed) -> None:
    course = unique_course()
    caller = fuzzed.caller()
    request = status_pb.WatchCourseRequest(course_id=course)
    watches = [
        caller.status.WatchCourse(request, metadata=caller.metadata, timeout=SECONDS) for _ in range(MAX_WATCHES)
    ]
    try:
        for watch in watches:
            first = outcome(lambda watch=watch: next(watch))
            assert not isinstance(first, Refusal), f"a place was taken: {first.reason}"
        one_more = caller.status.WatchCourse(request, metadata=caller.metadata, timeout=SECONDS)
        refusal = outcome(lambda: next(one_more))
        assert isinstance(refusal, Refusal)
        assert refusal.reason == "TOO_MANY_WATCHES"
    finally:
        for watch in watches:
            watch.cancel()


async def test_the_object_store_holds_what_the_record_knows_and_nothing_else(fuzzed: Fuzzed) -> None:
    objects = fuzzed.stack.data_dir / "objects"
    connection = await asyncpg.connect(fuzzed.stack.facts["postgres"], ssl=False, timeout=20)
    try:

        async def the_same() -> bool:
            rows = await connection.fetch("SELECT file_path FROM status.materials WHERE deleted_at IS NULL", timeout=20)
            return stored(objects) == {row["file_path"] for row in rows}

        await eventually(
            the_same, "each file has its record, each record its file, and no part of one is left", seconds=60
        )
    finally:
        await connection.close(timeout=20)


def stored(objects: Path) -> set[str]:
    """Every file, the parts (`KEY#N`) of unfinished ones too."""
    return {str(path.relative_to(objects)) for path in objects.rglob("*") if path.is_file()}


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_unforeseen_was_logged(fuzzed: Fuzzed, service: str) -> None:
    log = (fuzzed.stack.data_dir / "logs" / f"{service}.log").read_text(errors="replace")
    assert log.count("call refused") or service == "processor", "the log tells of the calls"
    assert [line[:2000] for line in log.splitlines() if UNFORESEEN.search(line)] == []
