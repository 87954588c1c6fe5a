"""An upgrade and a way back: data of the last release is served by this code, and what this code has written, and made of the schema, by the last release."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from materials.v1 import ingest_service_pb2, material_pb2, processor_service_pb2
from materials.v1 import record_service_pb2 as pb

from tests.contract.bare_services import BareServices
from tests.contract.record_calls import RecordCalls
from tests.local_stack import Client, LocalStack, unique_course
from tests.upgrades.released_code import PROJECT, NotHere, Release, ReleasedCode, last_release, take_out

COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> ReleasedCode:
    release = last_release((PROJECT / "CHANGELOG.md").read_text())
    assert release is not None, "no version in the changelog has a date and a commit"
    try:
        return take_out(release, tmp_path_factory.mktemp("released"))
    except NotHere as missing:
        pytest.skip(f"UPGRADES NOT TRIED: {missing}")


@pytest.fixture(scope="module")
async def replicas(stack: LocalStack, released: ReleasedCode) -> AsyncIterator[BareServices]:
    """Of Status: `old`, which has made the record, and `new`, which has migrated it."""
    bare = BareServices(stack)
    try:
        await bare.start_nats()
        dsn = await bare.make_database()
        await bare.start_status("old", dsn, tree=released.tree, **released.environment)
        await bare.start_status("new", dsn)
        yield bare
    finally:
        bare.stop()


def test_a_release_is_known_by_its_line() -> None:
    changelog = (
        "# Changelog\n\n## 0.6.0 (unreleased)\n\n## 0.5.0 (2026-11-27, 97f7097)\n\n## 0.4.0 (2026-10-01, abcdef0)\n"
    )
    assert last_release(changelog) == Release("0.5.0", "97f7097")
    assert last_release("## 0.6.0 (unreleased)\n## 0.1.0\n") is None


class Writer:
    """Uploads notes, and looks whether all of them are still there."""

    def __init__(self) -> None:
        self.course = unique_course()
        self.notes: dict[str, tuple[str, bytes]] = {}  # what a search finds it by, and its bytes, by material

    async def upload(self, client: Client) -> None:
        """One more note, read to its end."""
        mark = f"zq{uuid.uuid4().hex[:12]}"
        content = f"# Notes\n\nThe word {mark} stands for a lesson about osmosis.\n".encode()
        material = await client.upload(content, course=self.course, name=f"{mark}.md")
        end = (await client.watch_to_end(material.id))[-1]
        assert end.processing_status == COMPLETED, end.error_message
        self.notes[material.id] = mark, content

    async def look(self, client: Client) -> None:
        """Each note is COMPLETED, found by its word, and its bytes come back."""
        for material_id, (mark, content) in self.notes.items():
            assert (await client.get(material_id)).processing_status == COMPLETED
            search = processor_service_pb2.SearchMaterialsRequest(course_id=self.course, query=mark)
            found = await client.processor.SearchMaterials(search, metadata=client.metadata, timeout=30)
            assert found.results[0].material_id == material_id
            request = ingest_service_pb2.DownloadMaterialRequest(material_id=material_id)
            call = client.ingest.DownloadMaterial(request, metadata=client.metadata, timeout=30)
            assert b"".join([response.chunk async for response in call]) == content


async def test_data_goes_to_the_new_code_and_back_to_the_old(released: ReleasedCode, tmp_path: Path) -> None:
    written = Writer()
    for tree, environment in (
        (released.tree, released.environment),
        (None, None),
        (released.tree, released.environment),
    ):
        stack = await asyncio.to_thread(LocalStack.start, tmp_path, environment=environment, tree=tree)
        try:
            async with stack.client() as client:
                await written.look(client)
                await written.upload(client)
                await written.look(client)
        finally:
            await asyncio.to_thread(stack.stop, keep=True)
    assert len(written.notes) == 3


class TestBothAtOnce:
    """A rolling upgrade: replicas of both on one record."""

    @pytest.mark.parametrize(("first", "second"), [("old", "new"), ("new", "old")])
    async def test_each_goes_on_with_what_the_other_has_begun(
        self, replicas: BareServices, stack: LocalStack, first: str, second: str
    ) -> None:
        token = stack.facts["service_token"]
        async with (
            replicas.client(token, status=first, ingest=first) as one,
            replicas.client(token, status=second, ingest=second) as other,
        ):
            begins, ends = RecordCalls(one.record, one.metadata), RecordCalls(other.record, other.metadata)
            course = unique_course()
            for _ in range(3):
                material = await begins.create("ann", course)
                claimed = await ends.claimed(material.id)
                progress = pb.Progress(pages_done=1, pages_total=2, stage=material_pb2.PROCESSING_STAGE_READING)
                assert await begins.report(claimed, progress=progress) == pb.REPORT_RESULT_RECORDED
                done = pb.Completion(pages_total=2, has_embedding=True)
                assert await ends.report(claimed, completion=done) == pb.REPORT_RESULT_RECORDED
                assert await begins.report(claimed, completion=done) == pb.REPORT_RESULT_RECORDED, "a repeat"
                seen = await one.get(material.id)
                assert seen == await other.get(material.id)
                assert (seen.processing_status, seen.pages_done) == (COMPLETED, 2)

    async def test_many_changes_through_both_are_numbered_without_a_gap(
        self, replicas: BareServices, stack: LocalStack
    ) -> None:
        token = stack.facts["service_token"]
        async with (
            replicas.client(token, status="old", ingest="old") as one,
            replicas.client(token, status="new", ingest="new") as other,
        ):
            calls = [RecordCalls(each.record, each.metadata) for each in (one, other)]
            course = unique_course()
            made = await asyncio.gather(*(calls[number % 2].create("bob", course) for number in range(40)))
            # Both want each of them: one gets it.
            answers = await asyncio.gather(
                *(each.claim(material.id, f"worker-{number}") for material in made for number, each in enumerate(calls))
            )
            granted = [answer.material for answer in answers if not answer.refusal]
            assert sorted(each.id for each in granted) == sorted(each.id for each in made)
        connection = await asyncpg.connect(replicas.databases["old"], ssl=False)
        try:
            newest = await connection.fetchval("SELECT revision FROM status.courses WHERE course_id = $1", course)
            rows = await connection.fetch("SELECT course_revision FROM status.materials WHERE course_id = $1", course)
        finally:
            await connection.close()
        assert newest == 2 * len(made)
        assert len({row["course_revision"] for row in rows}) == len(made)
