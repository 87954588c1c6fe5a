"""Documents that unpack without end, claim too much or refer to themselves: each ends with its reason, within the limits of the one process that opened it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from processor_service.documents.rendering import DocumentError, DocumentReason, DocumentRenderer, RenderLimits
from tests.integration.rendered_documents import JPEG, PDF, PNG, TIFF, opened, refusal
from tests.security import hostile_images, hostile_pdfs

#: As small as leaves room for a page of 40 million pixels.
LIMITS = RenderLimits(memory_bytes=608 * 1024 * 1024, cpu_seconds=20)
IMPATIENT = replace(LIMITS, cpu_seconds=1)
Made = Callable[[], bytes]

REFUSED: list[tuple[str, str, Made, DocumentReason]] = [
    ("a hundred thousand pages", PDF, lambda: hostile_pdfs.pages_of_their_own(100_000), DocumentReason.TOO_MANY_PAGES),
    ("a page a hundred thousand times", PDF, lambda: hostile_pdfs.same_page(100_000), DocumentReason.TOO_MANY_PAGES),
    ("a deep page tree", PDF, lambda: hostile_pdfs.deep_page_tree(100_000), DocumentReason.FILE_CORRUPT),
    ("a page tree of itself", PDF, lambda: hostile_pdfs.PAGE_TREE_OF_ITSELF, DocumentReason.FILE_CORRUPT),
    ("a catalog of itself", PDF, lambda: hostile_pdfs.CATALOG_OF_ITSELF, DocumentReason.FILE_CORRUPT),
    (
        "pages that refer to themselves",
        PDF,
        lambda: hostile_pdfs.PAGES_THAT_ARE_A_REFERENCE_TO_THEMSELVES,
        DocumentReason.FILE_CORRUPT,
    ),
    ("JPEG 2000 of 65,535", PDF, lambda: hostile_pdfs.jpx_page(65_535, 65_535), DocumentReason.PAGE_TOO_LARGE),
    (
        "JPEG 2000 of 65,535 in a form",
        PDF,
        lambda: hostile_pdfs.jpx_page(65_535, 65_535, in_form=True),
        DocumentReason.PAGE_TOO_LARGE,
    ),
    ("JBIG2 of 65,535", PDF, lambda: hostile_pdfs.jbig2_page(65_535, 65_535), DocumentReason.PAGE_TOO_LARGE),
    ("PNG of 65,535", PNG, lambda: hostile_images.png(65_535, 65_535), DocumentReason.PAGE_TOO_LARGE),
    ("packed text in a PNG", PNG, lambda: hostile_images.png_with_packed_text(64), DocumentReason.FILE_CORRUPT),
    ("packed profile in a PNG", PNG, lambda: hostile_images.png_with_packed_profile(64), DocumentReason.FILE_CORRUPT),
    ("JPEG of 65,500", JPEG, lambda: hostile_images.jpeg(65_500, 65_500), DocumentReason.PAGE_TOO_LARGE),
    ("a million directories", TIFF, lambda: hostile_images.tiff(1_000_000), DocumentReason.TOO_MANY_PAGES),
    (
        "directories in each other",
        TIFF,
        lambda: hostile_images.tiff_of_directories_in_each_other(2_000),
        DocumentReason.FILE_CORRUPT,
    ),
    ("TIFF of 65,535", TIFF, lambda: hostile_images.tiff(1, width=65_535, height=65_535), DocumentReason.PAGE_TOO_LARGE),
]  # fmt: skip

KILLED: list[tuple[str, str, Made, DocumentReason]] = [
    ("Flate to 2 GiB", PDF, lambda: hostile_pdfs.flate_bomb(2_048, 1), DocumentReason.RENDERER_CRASHED),
    ("Flate to 10 GiB in four", PDF, lambda: hostile_pdfs.flate_bomb(10_240, 4), DocumentReason.RENDERER_CRASHED),
    ("forms that multiply", PDF, lambda: hostile_pdfs.multiplying_forms(10, 10), DocumentReason.RENDERER_CRASHED),
    ("a pattern of itself", PDF, hostile_pdfs.pattern_of_itself, DocumentReason.RENDERING_TIMED_OUT),
    (
        "JBIG2 over and over",
        PDF,
        lambda: hostile_pdfs.jbig2_page(30_000, 30_000, regions=2_000),
        DocumentReason.RENDERING_TIMED_OUT,
    ),
    (
        "JPEG over and over",
        JPEG,
        lambda: hostile_images.jpeg_of_scans(10_900, 11_000, 5_000),
        DocumentReason.RENDERING_TIMED_OUT,
    ),
]

DRAWN: list[tuple[str, str, Made, tuple[int, int]]] = [
    ("parents in a circle", PDF, lambda: hostile_pdfs.PARENTS_IN_A_CIRCLE, (2550, 3301)),
    ("contents of itself", PDF, lambda: hostile_pdfs.CONTENTS_OF_ITSELF, (2500, 3334)),
    ("length of itself", PDF, lambda: hostile_pdfs.LENGTH_OF_ITSELF, (2500, 3334)),
    ("form of itself", PDF, lambda: hostile_pdfs.FORM_OF_ITSELF, (2500, 3334)),
    ("14,400 units", PDF, lambda: hostile_pdfs.page_of_size(14_400, 14_400), (6319, 6319)),
    ("14,400 units of 75,000", PDF, lambda: hostile_pdfs.page_of_size(14_400, 14_400, 75_000), (6319, 6319)),
    ("one page that says two milliards", PDF, lambda: hostile_pdfs.claimed_pages(2**31 - 1), (417, 417)),
    ("JPEG 2000 that says 1,000", PDF, lambda: hostile_pdfs.jpx_page(65_535, 65_535, said=1_000), (2500, 3334)),
    ("surplus in a PNG", PNG, lambda: hostile_images.png_with_surplus(64), (10, 10)),
    ("a TIFF in a circle", TIFF, lambda: hostile_images.tiff(1, circle=True), (8, 8)),
]


def cases(table: list[tuple[str, str, Made, DocumentReason]]) -> list[object]:
    return [pytest.param(*case[1:], id=case[0]) for case in table]


@pytest.mark.parametrize(("media_type", "made", "reason"), cases(REFUSED))
async def test_what_claims_too_much_or_is_a_knot_is_refused_for_good(
    tmp_path: Path, media_type: str, made: Made, reason: DocumentReason
) -> None:
    error = await refusal(written(tmp_path, made()), media_type, LIMITS)
    assert (error.reason, error.permanent) == (reason, True)
    assert str(tmp_path) not in error.message


@pytest.mark.parametrize(("media_type", "made", "reason"), cases(KILLED))
async def test_what_unpacks_or_computes_without_end_ends_its_own_process(
    tmp_path: Path, media_type: str, made: Made, reason: DocumentReason
) -> None:
    limits = IMPATIENT if reason is DocumentReason.RENDERING_TIMED_OUT else LIMITS
    async with DocumentRenderer(limits) as renderer:
        await renderer.open(written(tmp_path, made()), media_type)
        opened_by = renderer.child_pid
        assert opened_by is not None
        with pytest.raises(DocumentError) as raised:
            await renderer.render(0)
        assert (raised.value.reason, raised.value.permanent) == (reason, False)
        assert renderer.child_pid is None
        assert not psutil.pid_exists(opened_by)


@pytest.mark.parametrize(("media_type", "made", "size"), [pytest.param(*case[1:], id=case[0]) for case in DRAWN])
async def test_what_can_be_drawn_within_the_limits_is_drawn(
    tmp_path: Path, media_type: str, made: Made, size: tuple[int, int]
) -> None:
    async with DocumentRenderer(LIMITS) as renderer:
        info = await renderer.open(written(tmp_path, made()), media_type)
        assert info.pages == 1
        assert opened(await renderer.render(0)).size == size


async def test_page_tree_too_deep_for_the_stack_ends_at_worst_its_own_process(tmp_path: Path) -> None:
    path = written(tmp_path, hostile_pdfs.deep_page_tree(100_000, counted=False))
    error = await refusal(path, PDF, LIMITS)
    assert error.reason in (DocumentReason.RENDERER_CRASHED, DocumentReason.FILE_CORRUPT)


async def test_page_behind_a_bomb_is_drawn_by_a_new_process(tmp_path: Path) -> None:
    path = written(tmp_path, hostile_pdfs.multiplying_forms(10, 10, b"0 0 300 400 re f"))
    async with DocumentRenderer(LIMITS) as renderer:
        assert (await renderer.open(path, PDF)).pages == 2
        first = renderer.child_pid
        with pytest.raises(DocumentError):
            await renderer.render(0)
        assert opened(await renderer.render(1)).convert("L").getpixel((10, 3_000)) == 0
        second = renderer.child_pid
        assert second not in (None, first)
    assert second is not None
    assert not psutil.pid_exists(second)
    assert list(tmp_path.iterdir()) == [path], "something was written beside the document"


def written(directory: Path, content: bytes) -> Path:
    path = directory / "document"
    path.write_bytes(content)
    return path
