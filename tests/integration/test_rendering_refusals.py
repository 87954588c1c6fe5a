"""Documents that are not drawn, each refused with its reason: encrypted, damaged, too large, unsupported."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from processor_service.documents.rendering import DocumentError, DocumentReason, DocumentRenderer, RenderLimits
from tests.integration.rendered_documents import JPEG, PDF, PICTURES, PNG, TIFF, WEBP, image_of, opened, pdf_of, refusal


async def test_a_pdf_that_needs_a_password_is_refused_as_encrypted(file: Callable[[bytes], Path]) -> None:
    error = await refusal(file(pdf_of("secret", password="sesame")), PDF)
    assert (error.reason, error.permanent) == (DocumentReason.FILE_ENCRYPTED, True)
    assert "password" in error.message


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (PDF, b""),
        (PDF, b"%PDF-1.7\n"),
        (PDF, b"not a pdf"),
        (PDF, pdf_of("x" * 500)[:400]),
        (PDF, b"%PDF-1.4\n" + os.urandom(5000)),
        (PNG, image_of("PNG", Image.effect_noise((400, 400), 50))[:-5000]),
        (JPEG, image_of("JPEG", Image.effect_noise((400, 400), 50))[:5000]),
        (TIFF, image_of("TIFF", Image.effect_noise((400, 400), 50))[:5000]),
        (PNG, image_of("JPEG", Image.new("L", (8, 8)))),
        (JPEG, b"\xff\xd8\xff"),
        (WEBP, b"RIFF\x00\x00\x00\x00WEBP"),
    ],
    ids=[
        "empty", "header only", "text", "truncated", "random",
        "png cut", "jpeg cut", "tiff cut", "a jpeg that says png", "jpeg start", "webp start",
    ],
)  # fmt: skip
async def test_a_damaged_document_is_refused_as_corrupt_without_telling_its_path(
    file: Callable[[bytes], Path], media_type: str, content: bytes
) -> None:
    path = file(content)
    error = await refusal(path, media_type)
    assert (error.reason, error.permanent) == (DocumentReason.FILE_CORRUPT, True)
    assert str(path.parent) not in error.message


async def test_a_page_that_does_not_exist_is_an_error_and_the_next_call_still_works(
    file: Callable[[bytes], Path],
) -> None:
    async with DocumentRenderer(PICTURES) as renderer:
        await renderer.open(file(pdf_of("one")), PDF)
        with pytest.raises(DocumentError, match="damaged"):
            await renderer.render(1)
        assert opened(await renderer.render(0)).width == 2481


async def test_too_many_pages_are_refused_before_any_is_drawn(file: Callable[[bytes], Path]) -> None:
    error = await refusal(file(pdf_of(*"abcd")), PDF, RenderLimits(max_pages=3))
    assert (error.reason, error.permanent) == (DocumentReason.TOO_MANY_PAGES, True)
    assert "3 pages" in error.message


async def test_a_tiff_with_more_frames_than_allowed_is_refused(file: Callable[[bytes], Path]) -> None:
    frame = Image.new("1", (8, 8))
    content = image_of("TIFF", frame, save_all=True, append_images=[frame] * 10)
    error = await refusal(file(content), TIFF, RenderLimits(max_pages=10))
    assert error.reason is DocumentReason.TOO_MANY_PAGES


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def webp_bomb() -> bytes:
    # A lossless header of 16383 x 16383 pixels: 14 bits each for width - 1 and height - 1.
    bits = 16_382 | 16_382 << 14
    body = b"WEBPVP8L" + struct.pack("<I", 5) + b"\x2f" + struct.pack("<I", bits) + b"\x00"
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_bomb() -> bytes:
    """A sound first frame, then one that says that it has 60,000 x 60,000 pixels."""
    small = Image.new("1", (8, 8))
    content = bytearray(image_of("TIFF", small, save_all=True, append_images=[small]))
    for offset in range(len(content) - 12):
        tag, kind, count = struct.unpack_from("<HHI", content, offset)
        if tag in (256, 257) and kind in (3, 4) and count == 1 and offset > len(content) // 2:
            struct.pack_into("<HHII", content, offset, tag, 4, 1, 60_000)
    return bytes(content)


@pytest.mark.parametrize(
    ("media_type", "content"),
    [(PNG, png_bomb(65_535, 65_535)), (PNG, png_bomb(12_001, 10_000)), (WEBP, webp_bomb()), (TIFF, tiff_bomb())],
    ids=["png", "png just over", "webp", "second frame of a tiff"],
)
async def test_an_image_bomb_is_refused_by_its_header(
    file: Callable[[bytes], Path], media_type: str, content: bytes
) -> None:
    path = file(content)
    async with DocumentRenderer() as renderer:

        async def read_all() -> None:
            info = await renderer.open(path, media_type)
            for page in range(info.pages):
                await renderer.render(page)

        with pytest.raises(DocumentError) as raised:
            await read_all()
    assert (raised.value.reason, raised.value.permanent) == (DocumentReason.PAGE_TOO_LARGE, True)


async def test_text_that_is_not_utf_8_is_refused_with_what_to_do(file: Callable[[bytes], Path]) -> None:
    error = await refusal(file("Größe".encode("latin-1")), "text/plain")
    assert error.reason is DocumentReason.FILE_CORRUPT
    assert "UTF-8" in error.message


async def test_an_unknown_type_is_refused(file: Callable[[bytes], Path]) -> None:
    error = await refusal(file(b"MZ"), "application/x-msdownload")
    assert (error.reason, error.permanent) == (DocumentReason.FILE_UNSUPPORTED, True)


async def test_a_missing_file_is_not_the_document_s_fault(tmp_path: Path) -> None:
    async with DocumentRenderer() as renderer:
        with pytest.raises(FileNotFoundError):
            await renderer.open(tmp_path / "gone", PDF)
        assert renderer.child_pid is None
