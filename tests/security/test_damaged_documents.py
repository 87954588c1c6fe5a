"""Real files with bits turned, cut short, spliced and overwritten: each comes to a clear end, and the process that opened it is usable afterwards or gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from processor_service.documents.rendering import DocumentError, DocumentReason, DocumentRenderer, RenderLimits
from tests.conftest import SAMPLES
from tests.fuzz.settings import EXAMPLES, fuzzing
from tests.integration.layered_documents import ENGLISH, chapter, over_image, table
from tests.integration.rendered_documents import JPEG, PDF, PNG, TIFF, WEBP, image_of
from tests.security import hostile_pdfs

LIMITS = RenderLimits(memory_bytes=512 * 1024 * 1024, cpu_seconds=5, max_pages=50, max_page_pixels=1_000_000)
#: Pages looked at of each file.
PAGES = 2
MOST_SAMPLE_BYTES = 2_000_000


def _picture() -> Image.Image:
    picture = Image.new("L", (300, 200), 255)
    drawing = ImageDraw.Draw(picture)
    for number in range(8):
        drawing.text((10, 10 + 22 * number), f"Line {number} of a scanned page", fill=0)
    return picture


def _sound_files() -> list[tuple[str, bytes]]:
    """Media types and contents, without what is made anew by chance each time."""
    picture = _picture()
    made = [
        (PDF, chapter(ENGLISH)),
        (PDF, table(ENGLISH[0], [("Planet", "Moons"), ("Mars", "2")], ENGLISH[1])),
        (PDF, over_image(ENGLISH[0], share=0.3)),
        (PDF, hostile_pdfs.pages_of_their_own(3)),
        (PNG, image_of("PNG", picture)),
        (PNG, image_of("PNG", picture.convert("P"))),
        (JPEG, image_of("JPEG", picture, progressive=True)),
        (TIFF, image_of("TIFF", picture, save_all=True, append_images=[picture], compression="tiff_lzw")),
        (TIFF, image_of("TIFF", picture.convert("1"), compression="group4")),
        (WEBP, image_of("WEBP", picture.convert("RGB"))),
        ("text/plain", ("Größe und Fläche\n" * 5_000).encode()),
    ]
    names = [("*.pdf", PDF), ("*.tif", TIFF), ("*.png", PNG)]
    real = [(kind, path.read_bytes()) for form, kind in names for path in sorted(SAMPLES.glob(form))]
    return made + [(kind, content) for kind, content in real if len(content) <= MOST_SAMPLE_BYTES]


FILES = _sound_files()


def damaged(content: bytes, other: bytes, damage: str, seed: int) -> bytes:
    """`content` after some damage; the same for the same `seed`."""
    dice = random.Random(seed)
    changed = bytearray(content)
    match damage:
        case "bits":
            for _ in range(dice.choice((1, 10, 200))):
                place = dice.randrange(len(changed))
                changed[place] ^= 1 << dice.randrange(8)
        case "cut":
            del changed[dice.randrange(len(changed)) :]
        case "hole":
            place = dice.randrange(len(changed))
            del changed[place : place + dice.choice((1, 64, 4096))]
        case "splice":
            changed[dice.randrange(len(changed)) :] = other[dice.randrange(len(other)) :]
        case "run":
            place, length = dice.randrange(len(changed)), dice.choice((4, 64, 4096))
            changed[place : place + length] = dice.choice((bytes(length), b"\xff" * length, dice.randbytes(length)))
        case "numbers":
            digits = [place for place, byte in enumerate(changed) if 48 <= byte <= 57]
            for place in dice.sample(digits, min(20, len(digits))):
                changed[place] = dice.randrange(48, 58)
        case "twice":
            place = dice.randrange(len(changed))
            changed[place:place] = changed[place : place + 4096]
    return bytes(changed)


async def ends_clearly(path: Path, media_type: str) -> list[DocumentError]:
    """Opens it and looks at its first pages. Fails unless each call gives a page or says what is wrong, and nothing is left behind."""
    errors: list[DocumentError] = []
    async with DocumentRenderer(LIMITS, call_seconds=60) as renderer:
        try:
            pages = (await renderer.open(path, media_type)).pages
        except DocumentError as error:
            errors.append(error)
            pages = 0
        assert pages <= LIMITS.max_pages
        for number in range(min(pages, PAGES)):
            try:
                page = await renderer.render(number)
                assert (page.png is None) != (page.text is None)
            except DocumentError as error:
                errors.append(error)
        child = renderer.child_pid
    assert child is None or not psutil.pid_exists(child)
    for told in errors:
        assert told.reason in DocumentReason
        assert told.message
        assert "/" not in told.message, "it may be a path"
    return errors


DAMAGES: Sequence[str] = ("bits", "cut", "hole", "splice", "run", "numbers", "twice")


@pytest.mark.timeout(120 + 10 * EXAMPLES)
@given(
    file=st.integers(0, len(FILES) - 1),
    other=st.integers(0, len(FILES) - 1),
    damage=st.sampled_from(DAMAGES),
    seed=st.integers(0, 2**32 - 1),
)
@example(file=0, other=1, damage="splice", seed=1)
@example(file=0, other=4, damage="splice", seed=2)
@fuzzing(3.0)
def test_a_damaged_file_comes_to_a_clear_end(
    tmp_path_factory: pytest.TempPathFactory, file: int, other: int, damage: str, seed: int
) -> None:
    media_type, content = FILES[file]
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged(content, FILES[other][1], damage, seed))
    asyncio.run(ends_clearly(path, media_type))


async def test_the_sound_files_are_sound(tmp_path: Path) -> None:
    for number, (media_type, content) in enumerate(FILES):
        path = tmp_path / str(number)
        path.write_bytes(content)
        assert await ends_clearly(path, media_type) == []


@pytest.mark.parametrize("said", [PDF, PNG, JPEG, TIFF, WEBP, "text/plain"])
async def test_a_file_of_another_kind_than_it_says_is_corrupt(tmp_path: Path, said: str) -> None:
    path = tmp_path / "document"
    for media_type, content in FILES[:10]:
        if media_type != said and not content.isascii():  # which is text, whatever else it is
            path.write_bytes(content)
            errors = await ends_clearly(path, said)
            assert [error.reason for error in errors] == [DocumentReason.FILE_CORRUPT]
            assert errors[0].permanent


async def test_a_document_without_pages_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "document"
    path.write_bytes(hostile_pdfs.pdf(hostile_pdfs.CATALOG, b"<</Type/Pages/Count 0/Kids[]>>"))
    errors = await ends_clearly(path, PDF)
    assert [error.reason for error in errors] == [DocumentReason.FILE_CORRUPT]


async def test_a_document_may_take_no_more_computing_time_than_all_its_pages_are_allowed(tmp_path: Path) -> None:
    # Each page takes what a page may take: the document is given up when it has had its own, not after all its pages.
    path = tmp_path / "document"
    pattern = b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 1 1]/XStep 1/YStep 1"
    tile = hostile_pdfs.stream(b"/Pattern cs /P scn 0 0 1 1 re f", pattern + b"/Resources<</Pattern<</P 5 0 R>>>>")
    leaf = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Pattern<</P 5 0 R>>>>>>"
    content = hostile_pdfs.stream(b"/Pattern cs /P scn 0 0 600 800 re f")
    pages = b"<</Type/Pages/Kids[%s]/Count 20>>" % (b"3 0 R " * 20)
    path.write_bytes(hostile_pdfs.pdf(hostile_pdfs.CATALOG, pages, leaf, content, tile))
    ends: list[DocumentError] = []
    async with DocumentRenderer(
        replace(LIMITS, max_page_pixels=40_000_000, cpu_seconds=1, document_cpu_seconds=3)
    ) as renderer:
        assert (await renderer.open(path, PDF)).pages == 20
        while not ends or not ends[-1].permanent:
            with pytest.raises(DocumentError) as raised:
                await renderer.render(len(ends))
            ends.append(raised.value)
        # From now on it costs nothing, and starts no process.
        with pytest.raises(DocumentError, match="all its pages") as raised:
            await renderer.render(19)
        assert raised.value.permanent
        assert renderer.child_pid is None
    assert {error.reason for error in ends} == {DocumentReason.RENDERING_TIMED_OUT}
    assert 2 <= len(ends) <= 4
    assert "all its pages" in ends[-1].message
