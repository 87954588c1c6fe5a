"""Files that are not what their name says: taken as what their bytes are, or refused before more of them is taken than it needs to tell."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator

import grpc
import pytest
from fpdf import FPDF
from materials.v1 import errors_pb2
from materials.v1 import ingest_service_pb2 as pb

from ingest_service.file_types import HEAD_BYTES
from ingest_service.upload_check import Checked, Declared, UploadCheck
from servicekit.errors import ServiceError
from servicekit.upload_call import refusals_as_they_come
from tests.contract.refusals import refusal_of
from tests.local_stack import Client

LIMIT = 1024 * 1024
CHUNK = 256 * 1024


def real_pdf() -> bytes:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=24)
    pdf.cell(text="Photosynthesis makes sugar of light.")
    return bytes(pdf.output())


def archive(member: bytes = b"echo pwned", *, name: str = "setup.bat") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(name, member)
    return file.getvalue()


PDF = real_pdf()
HTML = b"<html><body><script>alert(1)</script></body></html>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
GIF_AND_SCRIPT = b"GIF89a\x2f\x2a\x0a\x00\x00\xff\x00\x2c\x00\x00\x00\x00\x2f\x2a\x0a\x00\x00\x02\x00\x3b*/=1;alert(1)"


def checked(content: bytes, name: str) -> Checked:
    """What an upload of this content turns out to be. Raises ServiceError."""
    check = UploadCheck(Declared("course", name), LIMIT)
    check.feed(content)
    return check.finish()[1]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"MZ\x90\0\x03\0\0\0" + bytes(2_000), id="Windows executable"),
        pytest.param(b"\x7fELF\x02\x01\x01" + bytes(2_000), id="Linux executable"),
        pytest.param(b"\xfe\xed\xfa\xcf" + bytes(2_000), id="macOS executable"),
        pytest.param(archive(), id="ZIP"),
        pytest.param(archive(b"<w:document/>", name="word/document.xml"), id="DOCX"),
        pytest.param(b"\x1f\x8b\x08\0" + bytes(2_000), id="gzip"),
        pytest.param(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2_000), id="DOC"),
        pytest.param(HTML, id="HTML"),
        pytest.param(b"<!DOCTYPE html>" + HTML, id="HTML with a type"),
        pytest.param(b"\n<!-- lecture notes -->\n<!-- two -->" + HTML, id="HTML behind comments"),
        pytest.param(SVG, id="SVG"),
        pytest.param(b"<?xml version='1.0'?>\n" + SVG, id="SVG as XML"),
        pytest.param(b"<!-- Generator: a drawing program -->\n" + SVG, id="SVG behind a comment"),
        pytest.param(HTML.decode().encode("utf-16"), id="HTML in UTF-16"),
        pytest.param(b"#!/bin/sh\nrm -rf /\n", id="script"),
        pytest.param(b"<?php system($_GET['c']);", id="PHP"),
        pytest.param(GIF_AND_SCRIPT, id="GIF and script"),
        pytest.param(bytes(range(1, 256)) * 8 + PDF, id="PDF behind 2 KB of junk"),
        pytest.param(bytes(HEAD_BYTES - 6) + PDF, id="PDF one byte too late"),
    ],
)
@pytest.mark.parametrize("name", ["lecture.pdf", "lecture.png", "lecture.txt", "lecture.md"])
def test_what_is_no_material_is_refused_whatever_its_name(content: bytes, name: str) -> None:
    with pytest.raises(ServiceError) as refused:
        checked(content, name)
    assert refused.value.reason == errors_pb2.ERROR_REASON_UNSUPPORTED_FILE_TYPE
    assert "PDF" in refused.value.message
    assert "lecture" not in refused.value.message


@pytest.mark.parametrize(
    ("content", "name", "media_type"),
    [
        pytest.param(PDF, "photo.png", "application/pdf", id="PDF named PNG"),
        pytest.param(PDF, "page.html", "application/pdf", id="PDF named HTML"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + PDF, "lecture.pdf", "image/png", id="PNG that goes on as PDF"),
        pytest.param(PDF + archive(), "lecture.zip", "application/pdf", id="PDF that ends as ZIP"),
        pytest.param(archive(PDF, name="a"), "lecture.zip", "application/pdf", id="ZIP that holds PDF as it is"),
        pytest.param(PDF + HTML, "lecture.html", "application/pdf", id="PDF that ends as HTML"),
        pytest.param(b"<!--" + PDF + b"-->" + HTML, "lecture.html", "application/pdf", id="PDF in a comment of HTML"),
        pytest.param(b"junk\n" * 200 + PDF, "lecture.pdf", "application/pdf", id="PDF behind 1,000 bytes of junk"),
        pytest.param(b"junk\n" * 400 + b"%PDF-1.7 is how a PDF begins", "x.pdf", "text/plain", id="text on PDF"),
        pytest.param(b"alert(document.cookie)", "notes.pdf", "text/plain", id="JavaScript is text"),
        pytest.param(b"GIF89a=1;alert(1)", "notes.gif", "text/plain", id="GIF without a pixel is text"),
        pytest.param(b"<!-- for teachers -->\n# Cells", "notes.md", "text/markdown", id="Markdown with a comment"),
    ],
)
def test_what_can_be_taken_for_several_things_is_one_and_never_one_that_runs(
    content: bytes, name: str, media_type: str
) -> None:
    assert checked(content, name).file_type.media_type == media_type


@pytest.mark.parametrize("start", [b"MZ\x90\0", archive(), b"\x7fELF"], ids=["executable", "ZIP", "ELF"])
def test_refusal_comes_with_the_first_kilobyte_and_nothing_is_stored_before(start: bytes) -> None:
    content = start + bytes(HEAD_BYTES)
    check = UploadCheck(Declared("course", "lecture.pdf"), LIMIT)
    stored = b"".join(check.feed(content[place : place + 1]) for place in range(HEAD_BYTES - 1))
    with pytest.raises(ServiceError) as refused:
        check.feed(content[HEAD_BYTES - 1 : HEAD_BYTES])
    assert refused.value.reason == errors_pb2.ERROR_REASON_UNSUPPORTED_FILE_TYPE
    assert stored == b""


async def test_executable_without_end_is_refused_after_a_few_megabytes(client: Client, course: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[pb.UploadMaterialRequest]:
        nonlocal sent
        yield pb.UploadMaterialRequest(metadata=pb.UploadMetadata(course_id=course, name="lecture.pdf"))
        while True:
            sent += CHUNK
            yield pb.UploadMaterialRequest(chunk=b"MZ\x90\0".ljust(CHUNK, b"\0"))

    call = client.ingest.UploadMaterial(endless(), metadata=client.metadata, timeout=30)
    answers = refusals_as_they_come(call)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call
    assert refusal_of(answers[0] if answers else ended.value).reason == "UNSUPPORTED_FILE_TYPE"
    # What is thrown away in a moment of hearing out, and what is on its way.
    assert sent <= 24 * 1024 * 1024
