"""ProcessorService: search and text, on the whole stack with the real Brain; and what becomes of hostile files, from upload to outcome."""

from __future__ import annotations

import asyncio
import io
import uuid

import pytest
from fpdf import FPDF
from materials.v1 import material_pb2
from materials.v1 import processor_service_pb2 as pb
from PIL import Image

from tests.contract.person import Person
from tests.contract.refusals import refused
from tests.local_stack import Client, LocalStack, unique_course

COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
FAILED = material_pb2.PROCESSING_STATUS_FAILED
ENCRYPTED = material_pb2.FAILURE_REASON_FILE_ENCRYPTED
CORRUPT = material_pb2.FAILURE_REASON_FILE_CORRUPT
PLANTS = "Photosynthesis converts the energy of light into sugar. It happens in the chloroplasts of green leaves.\n"
FRANCE = "# The Revolution\n\nIn 1789 the people of Paris stormed the Bastille, and the king lost his power.\n"
SORTING = "Quicksort chooses a pivot and partitions the array around it; on average it needs n log n comparisons.\n"
SHEETS = 120


async def search(client: Client, course: str, query: str, limit: int = 0) -> list[pb.SearchResult]:
    request = pb.SearchMaterialsRequest(course_id=course, query=query, limit=limit)
    return list((await client.processor.SearchMaterials(request, metadata=client.metadata, timeout=30)).results)


async def text_of(client: Client, material_id: str, first_page: int = 0) -> list[pb.GetMaterialTextResponse]:
    request = pb.GetMaterialTextRequest(material_id=material_id, first_page=first_page)
    call = client.processor.GetMaterialText(request, metadata=client.metadata, timeout=30)
    return [page async for page in call]


async def read(client: Client, content: bytes, course: str, name: str = "notes.txt") -> material_pb2.Material:
    """The material when it has ended."""
    material = await client.upload(content, course=course, name=name)
    return (await client.watch_to_end(material.id))[-1]


@pytest.fixture(scope="module")
async def library(stack: LocalStack) -> dict[str, material_pb2.Material]:
    """Materials of one course, read to the end. By name: plants, france, sorting, and a book of many pages."""
    course = unique_course()
    book = "\f".join(f"Chapter {number}. The lecture on glaciers, part {number}." for number in range(1, SHEETS + 1))
    contents = {"plants.txt": PLANTS, "france.md": FRANCE, "sorting.txt": SORTING, "book.txt": book}
    async with stack.client() as client:
        ended = await asyncio.gather(
            *(read(client, content.encode(), course, name) for name, content in contents.items())
        )
    assert {material.processing_status for material in ended} == {COMPLETED}
    return {material.name.partition(".")[0]: material for material in ended}


@pytest.fixture(scope="module")
def library_course(library: dict[str, material_pb2.Material]) -> str:
    return library["plants"].course_id


class TestSearchMaterials:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("how do plants make food from sunshine", "plants"),
            ("uprising against the monarch in France", "france"),
            ("algorithm that orders a list of numbers", "sorting"),
        ],
    )
    async def test_finds_a_paraphrase_first(
        self, client: Client, library: dict[str, material_pb2.Material], library_course: str, query: str, found: str
    ) -> None:
        best = (await search(client, library_course, query))[0]
        assert best.material_id == library[found].id
        assert best.material_name == library[found].name
        assert best.page_number == 1
        assert 0.2 < best.score <= 1.0

    async def test_result_says_where_it_stands(
        self, client: Client, library: dict[str, material_pb2.Material], library_course: str
    ) -> None:
        best = (await search(client, library_course, "the storming of the Bastille"))[0]
        [page] = await text_of(client, library["france"].id)
        assert page.text[best.start_offset : best.end_offset].strip() == best.excerpt.strip()
        assert best.heading == "The Revolution"

    async def test_best_comes_first_and_a_sentence_itself_scores_highest(
        self, client: Client, library_course: str
    ) -> None:
        results = await search(client, library_course, PLANTS.strip(), limit=10)
        scores = [result.score for result in results]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > 0.9
        assert all(-1.0 <= score <= 1.0 + 1e-6 for score in scores)

    @pytest.mark.parametrize(("limit", "count"), [(0, 3), (1, 1), (10, 10)])
    async def test_limit(self, client: Client, library_course: str, limit: int, count: int) -> None:
        results = await search(client, library_course, "glaciers", limit=limit)
        assert len(results) == count
        places = [(result.material_id, result.page_number, result.start_offset) for result in results]
        assert len(set(places)) == count

    @pytest.mark.parametrize("limit", [-1, 11, 2**31 - 1, -(2**31)])
    async def test_limit_out_of_range_is_named(self, client: Client, course: str, limit: int) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "limit"):
            await search(client, course, "anything", limit=limit)

    @pytest.mark.parametrize(
        "query", ["", "   ", "\n\t", "\0", "a" * 501, "世" * 501], ids=lambda query: repr(query[:6])
    )
    async def test_query_out_of_range_is_named(self, client: Client, course: str, query: str) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "query"):
            await search(client, course, query)

    @pytest.mark.parametrize(
        "query",
        [
            "a" * 500,
            "世" * 500,
            "🌍" * 500,
            "the of and",
            "& | ! ( ) <-> :* ' \" \\",
            "%_%' OR 1=1; --",
            "gla\0ciers",
            "line\r\nbreak",
            "?text=x&text=y#fragment",
            "../../etc/passwd",
            "\u202egnihtyna",
        ],
        ids=lambda query: repr(query[:12]),
    )
    async def test_odd_query_is_a_normal_search(self, client: Client, library_course: str, query: str) -> None:
        assert len(await search(client, library_course, query)) == 3

    @pytest.mark.parametrize("course_id", ["", "a b", "a/b", "a\0b", "c" * 129])
    async def test_course_out_of_range_is_named(self, client: Client, course_id: str) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "course_id"):
            await search(client, course_id, "anything")

    async def test_empty_course_has_no_results(self, client: Client, course: str) -> None:
        assert await search(client, course, "anything") == []

    async def test_stranger_finds_nothing_but_their_own(
        self, stack: LocalStack, client: Client, library: dict[str, material_pb2.Material], library_course: str
    ) -> None:
        async with stack.client(stack.user_token("stranger", {"another": "editor"})) as stranger:
            assert await search(stranger, library_course, "glaciers", limit=10) == []
        subject = f"user-{uuid.uuid4()}"
        async with stack.client(stack.user_token(subject, {library_course: "editor"})) as member:
            own = await read(member, b"Glaciers carve valleys in the shape of a U.\n", library_course, "own.txt")
        async with stack.client(stack.user_token(subject)) as left:
            assert {each.material_id for each in await search(left, library_course, "glaciers", 10)} == {own.id}
        await Person(client).delete(own.id)

    async def test_reader_finds_what_others_uploaded(
        self, stack: LocalStack, library: dict[str, material_pb2.Material], library_course: str
    ) -> None:
        async with stack.client(stack.user_token("reader", {library_course: "reader"})) as reader:
            [best] = await search(reader, library_course, "chloroplasts in leaves", limit=1)
        assert best.material_id == library["plants"].id

    async def test_deleted_material_is_not_found_from_that_moment(self, client: Client, course: str) -> None:
        kept, deleted = await asyncio.gather(
            read(client, PLANTS.encode(), course, "kept.txt"),
            read(client, b"Sugar is sold in cubes and in bags.\n", course, "deleted.txt"),
        )
        assert {each.material_id for each in await search(client, course, "sugar")} == {kept.id, deleted.id}
        await Person(client).delete(deleted.id)
        assert {each.material_id for each in await search(client, course, "sugar")} == {kept.id}

    async def test_many_deleted_passages_do_not_crowd_out_what_is_left(self, client: Client, course: str) -> None:
        kept = await read(client, b"Sugar is made in leaves.\n", course, "kept.txt")
        crowd = await read(client, "\f".join([PLANTS] * 40).encode(), course, "crowd.txt")
        await Person(client).delete(crowd.id)
        results = await search(client, course, PLANTS.strip(), limit=3)
        assert {each.material_id for each in results} == {kept.id}


class TestGetMaterialText:
    async def test_pages_come_in_order_to_the_last(
        self, client: Client, library: dict[str, material_pb2.Material]
    ) -> None:
        pages = await text_of(client, library["book"].id)
        assert [page.page_number for page in pages] == list(range(1, SHEETS + 1))
        assert all(
            page.text == f"Chapter {page.page_number}. The lecture on glaciers, part {page.page_number}."
            for page in pages
        )
        assert {page.source for page in pages} == {pb.TEXT_SOURCE_FILE}
        assert library["book"].pages_total == library["book"].pages_done == SHEETS

    @pytest.mark.parametrize(
        ("first_page", "pages"), [(1, SHEETS), (2, SHEETS - 1), (SHEETS, 1), (SHEETS + 1, 0), (2**31 - 1, 0)]
    )
    async def test_begins_at_the_page_asked_for(
        self, client: Client, library: dict[str, material_pb2.Material], first_page: int, pages: int
    ) -> None:
        numbers = [page.page_number for page in await text_of(client, library["book"].id, first_page)]
        assert numbers == list(range(first_page, first_page + pages))

    async def test_negative_page_is_refused(self, client: Client, library: dict[str, material_pb2.Material]) -> None:
        with refused("INVALID_ARGUMENT", "FIELD_INVALID", "first_page"):
            await text_of(client, library["book"].id, -1)

    async def test_foreign_unknown_and_deleted_materials_get_the_same_answer(
        self, stack: LocalStack, client: Client, course: str
    ) -> None:
        material = await read(client, PLANTS.encode(), course)
        deleted = await read(client, PLANTS.encode(), course)
        await Person(client).delete(deleted.id)
        answers = set()
        async with stack.client(stack.user_token("stranger")) as stranger:
            for material_id in (material.id, deleted.id, str(uuid.uuid4()), material.id.upper(), "../x", ""):
                with refused("NOT_FOUND", "MATERIAL_NOT_FOUND") as refusal:
                    await text_of(stranger, material_id)
                answers.add(refusal.status_bytes)
        with refused("NOT_FOUND", "MATERIAL_NOT_FOUND") as refusal:
            await text_of(client, deleted.id)
        assert answers == {refusal.status_bytes}

    async def test_text_is_kept_as_it_was_written(self, client: Client, course: str) -> None:
        text = "Grüße, 世界 🌍\n\n  indented — <b>not HTML</b> & %s \\n ${x}\r\nlast line without an end"
        material = await read(client, text.encode(), course)
        assert "".join(page.text for page in await text_of(client, material.id)) == text.replace("\r\n", "\n")


class TestBlankMaterials:
    @pytest.mark.parametrize("content", [b" ", b"\n\n\n", b"\f", b" \f \f ", b"\xef\xbb\xbf", b"\t\r\n"], ids=repr)
    async def test_text_of_blanks_is_completed_without_embedding(
        self, client: Client, course: str, content: bytes
    ) -> None:
        material = await read(client, content, course)
        assert material.processing_status == COMPLETED, material.error_message
        assert not material.has_embedding
        assert material.pages_total >= 1
        assert all(not page.text.strip() for page in await text_of(client, material.id))
        assert await search(client, course, "anything") == []

    async def test_blank_page_of_a_pdf_is_completed_without_embedding(self, client: Client, course: str) -> None:
        pdf = FPDF()
        pdf.add_page()
        material = await read(client, bytes(pdf.output()), course, "blank.pdf")
        assert (material.processing_status, material.has_embedding) == (COMPLETED, False)
        [page] = await text_of(client, material.id)
        assert (page.text.strip(), page.source) == ("", pb.TEXT_SOURCE_BRAIN)


def document(*, user_password: str | None = None) -> bytes:
    """A PDF of one page; protected against change, and with a password against reading too."""
    pdf = FPDF()
    pdf.set_font("helvetica", size=28)
    pdf.add_page()
    pdf.cell(text="Mitochondria produce energy")
    if user_password is not None:
        pdf.set_encryption(owner_password="owner", user_password=user_password or None)
    return bytes(pdf.output())


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((300, 300), 80).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = picture()


class TestHostileFiles:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            pytest.param(document(user_password="secret"), ENCRYPTED, id="encrypted PDF"),
            pytest.param(document()[:200], CORRUPT, id="PDF cut off"),
            pytest.param(b"%PDF-1.7\n" + b"\0junk" * 1_000, CORRUPT, id="PDF of junk"),
            pytest.param(b"%PDF-1.", CORRUPT, id="PDF of its mark"),
            pytest.param(PICTURE[: len(PICTURE) // 2], CORRUPT, id="PNG cut off"),
            pytest.param(PICTURE[:8], CORRUPT, id="PNG of its mark"),
            pytest.param(b"\xff\xd8\xff\xe0junk", CORRUPT, id="JPEG of junk"),
            pytest.param(b"II*\0\x08\0\0\0", CORRUPT, id="TIFF cut off"),
            pytest.param(b"RIFF\x10\0\0\0WEBPVP8 ", CORRUPT, id="WebP cut off"),
        ],
    )
    async def test_fails_at_once_for_good_and_says_why(
        self,
        stack: LocalStack,
        client: Client,
        course: str,
        content: bytes,
        reason: material_pb2.FailureReason.ValueType,
    ) -> None:
        person = Person(client)
        material = await read(client, content, course, "file.bin")
        assert (material.processing_status, material.failure_reason) == (FAILED, reason)
        assert (material.attempt, material.retryable) == (1, False)
        assert material.error_message
        for inside in (str(stack.data_dir), "/tmp", "Traceback", "Error(", material.file_path):
            assert inside not in material.error_message
        with refused("FAILED_PRECONDITION", "MATERIAL_NOT_RETRYABLE"):
            await person.retry(material.id)
        assert await person.events(material.id) == ["created", "claimed", "failed"]
        assert await text_of(client, material.id) == []
        assert await search(client, course, "anything") == []

    async def test_pdf_with_an_empty_password_is_read(self, client: Client, course: str) -> None:
        material = await read(client, document(user_password=""), course, "open.pdf")
        assert (material.processing_status, material.has_embedding) == (COMPLETED, True)
        [page] = await text_of(client, material.id)
        assert "Mitochondria" in page.text
        assert page.source == pb.TEXT_SOURCE_FILE

    async def test_bad_file_does_not_hold_up_the_good_ones_behind_it(self, client: Client, course: str) -> None:
        ended = await asyncio.gather(
            *(read(client, content, course) for content in [document()[:200], PLANTS.encode()] * 5)
        )
        assert [material.processing_status for material in ended] == [FAILED, COMPLETED] * 5

    async def test_deleted_bytes_are_a_missing_object(self, stack: LocalStack, client: Client, course: str) -> None:
        person = Person(client)
        material = await client.upload(document(), course=course, name="scan.pdf")
        await person.cancel(material.id)
        (stack.data_dir / "objects" / material.file_path).unlink()
        await person.retry(material.id)
        ended = (await client.watch_to_end(material.id))[-1]
        assert (ended.processing_status, ended.failure_reason) == (FAILED, material_pb2.FAILURE_REASON_OBJECT_MISSING)
        assert not ended.retryable

    async def test_changed_bytes_are_found_out(self, stack: LocalStack, client: Client, course: str) -> None:
        person = Person(client)
        material = await client.upload(document(), course=course, name="scan.pdf")
        await person.cancel(material.id)
        (stack.data_dir / "objects" / material.file_path).write_bytes(document() + b"%")
        await person.retry(material.id)
        ended = (await client.watch_to_end(material.id))[-1]
        assert (ended.processing_status, ended.failure_reason) == (FAILED, material_pb2.FAILURE_REASON_OBJECT_CHANGED)
