"""Hostile documents on their way through the whole system: each has its exact end, those of others complete meanwhile, and nothing is left."""

from __future__ import annotations

import asyncio

import pytest
from fpdf import FPDF
from materials.v1 import material_pb2
from materials.v1 import processor_service_pb2 as pb

from tests.contract.person import Person
from tests.contract.refusals import eventually
from tests.local_stack import Client, LocalStack
from tests.security import hostile_images, hostile_pdfs
from tests.security.left_behind import files_of_attempts, rendering_children

COMPLETED = material_pb2.PROCESSING_STATUS_COMPLETED
FAILED = material_pb2.PROCESSING_STATUS_FAILED


def document(text: str, *, password: str | None = None) -> bytes:
    """A PDF of one line; `password` is what opens it, the owner's is another one."""
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=24)
    pdf.cell(text=text)
    if password is not None:
        pdf.set_encryption(owner_password="owner", user_password=password or None)
    return bytes(pdf.output())


async def read(client: Client, content: bytes, course: str, name: str) -> material_pb2.Material:
    """The material when it has ended."""
    material = await client.upload(content, course=course, name=name)
    return (await client.watch_to_end(material.id))[-1]


async def text_of(client: Client, material_id: str) -> list[str]:
    """What was read, page by page."""
    request = pb.GetMaterialTextRequest(material_id=material_id)
    call = client.processor.GetMaterialText(request, metadata=client.metadata, timeout=30)
    return [page.text async for page in call]


async def nothing_left(stack: LocalStack) -> None:
    """Fails when a process that draws, or a file that was read, is still there in a while."""

    async def gone() -> bool:
        return not rendering_children(stack) and not files_of_attempts(stack)

    await eventually(gone, "no rendering child and no file of an attempt")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(hostile_pdfs.same_page(100_000), "TOO_MANY_PAGES", id="a hundred thousand pages"),
        pytest.param(hostile_pdfs.PAGE_TREE_OF_ITSELF, "FILE_CORRUPT", id="page tree of itself"),
        pytest.param(hostile_pdfs.deep_page_tree(20_000), "FILE_CORRUPT", id="deep page tree"),
        pytest.param(hostile_pdfs.jpx_page(65_535, 65_535), "PAGE_TOO_LARGE", id="JPEG 2000 of 65,535"),
        pytest.param(hostile_images.png(65_535, 65_535), "PAGE_TOO_LARGE", id="PNG of 65,535"),
        pytest.param(hostile_images.tiff(20_000), "TOO_MANY_PAGES", id="TIFF of 20,000 directories"),
        pytest.param(document("The exam is on Monday.", password="sesame"), "FILE_ENCRYPTED", id="encrypted"),
    ],
)
async def test_hostile_document_fails_at_once_with_its_reason(
    stack: LocalStack, client: Client, course: str, content: bytes, reason: str
) -> None:
    processor = stack.current()["pids"]["processor"]
    material = await read(client, content, course, "lecture.pdf")
    assert material.processing_status == FAILED
    assert material_pb2.FailureReason.Name(material.failure_reason) == f"FAILURE_REASON_{reason}"
    assert (material.attempt, material.retryable) == (1, False)
    assert material.error_message
    assert str(stack.data_dir) not in material.error_message
    assert await text_of(client, material.id) == []
    await nothing_left(stack)
    assert stack.current()["pids"]["processor"] == processor


async def test_pdf_with_an_empty_password_is_opened_and_read(client: Client, course: str) -> None:
    material = await read(client, document("Mitochondria produce energy", password=""), course, "open.pdf")
    assert (material.processing_status, material.has_embedding) == (COMPLETED, True)
    [page] = await text_of(client, material.id)
    assert "Mitochondria" in page


async def test_bomb_is_killed_at_its_limit_while_the_materials_of_others_complete(
    stack: LocalStack, client: Client, course: str
) -> None:
    processor = stack.current()["pids"]["processor"]
    person = Person(client)
    bombs = [await client.upload(hostile_pdfs.flate_bomb(2_048, 2), course=course, name="bomb.pdf") for _ in range(2)]
    others = await asyncio.gather(
        *(read(client, f"Lecture {number} on glaciers.".encode(), course, "notes.txt") for number in range(5)),
        read(client, document("Plates drift"), course, "plates.pdf"),
    )
    assert [material.processing_status for material in others] == [COMPLETED] * 6
    for bomb in bombs:

        async def has_failed(material_id: str = bomb.id) -> bool:
            history = (await person.history(material_id)).transitions
            return any(
                (transition.event, transition.failure_reason)
                == ("attempt_failed", material_pb2.FAILURE_REASON_RENDERING_FAILED)
                for transition in history
            )

        await eventually(has_failed, "an attempt at the bomb ends as RENDERING_FAILED", seconds=60.0)
        await person.delete(bomb.id)
    await nothing_left(stack)
    assert stack.current()["pids"]["processor"] == processor, "the processor died with its child"
