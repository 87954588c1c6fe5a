"""Every page of a document comes out as the Brain can read it: dark ink on white, within limits, or as text."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw

from processor_service.documents.document_pages import fit_scale, split_text
from processor_service.documents.rendering import DocumentRenderer, RenderedPage, RenderLimits
from processor_service.documents.upright import lie_of
from tests.integration.rendered_documents import (
    JPEG,
    PDF,
    PICTURES,
    PNG,
    TIFF,
    WEBP,
    first_page,
    image_of,
    opened,
    pdf_of,
)

# --- PDF ---------------------------------------------------------------------------------------------------------


async def test_each_page_of_a_pdf_is_drawn_at_300_dpi(file: Callable[[bytes], Path]) -> None:
    async with DocumentRenderer(PICTURES) as renderer:
        info = await renderer.open(file(pdf_of("one", "", "three")), PDF)
        assert info.pages == 3
        images = [opened(await renderer.render(page)) for page in (0, 1, 2)]

    for image in images:
        assert image.size == (2481, 3508)  # A4: 595.28 x 841.89 points, rounded up
    inked = [image.convert("L").getextrema()[0] == 0 for image in images]
    assert inked == [True, False, True]


async def test_a_page_without_colour_is_gray_and_one_with_colour_keeps_it(file: Callable[[bytes], Path]) -> None:
    assert opened(await first_page(file(pdf_of("black")), PDF, PICTURES)).mode == "L"
    red = opened(await first_page(file(pdf_of("red", colour=255)), PDF, PICTURES))
    assert red.mode == "RGB"
    assert (255, 0, 0) in {colour for _, colour in red.getcolors(maxcolors=1 << 24) or []}


@pytest.mark.parametrize("size", [(14_400, 14_400), (14_400, 100), (3, 14_400), (1, 1)])
async def test_a_huge_page_is_scaled_down_to_the_pixel_limit(
    file: Callable[[bytes], Path], size: tuple[float, float]
) -> None:
    pdf = FPDF(unit="pt", format=size)
    pdf.add_page()
    image = opened(await first_page(file(bytes(pdf.output())), PDF))
    assert image.width * image.height <= 40_000_000
    assert max(image.size) <= 32_767


@pytest.mark.parametrize("size", [(612.0, 792.0), (1e9, 1e9), (1e-4, 1e9), (14_400.0, 0.001)])
@pytest.mark.parametrize("most", [1, 1000, 40_000_000])
def test_a_fitted_scale_never_gives_more_pixels_than_allowed(size: tuple[float, float], most: int) -> None:
    width, height = size
    scale = fit_scale(width, height, most)
    assert scale > 0
    assert -(-width * scale // 1) * -(-height * scale // 1) <= most


async def test_an_encrypted_pdf_with_an_empty_user_password_opens(file: Callable[[bytes], Path]) -> None:
    assert opened(await first_page(file(pdf_of("open to all", password="")), PDF, PICTURES)).width == 2481


async def test_a_real_course_document_is_drawn_whole(samples: Path) -> None:
    async with DocumentRenderer(PICTURES) as renderer:
        assert (await renderer.open(samples / "machine-learning-cheatsheet-en.pdf", PDF)).pages == 16
        for page in range(16):
            image = opened(await renderer.render(page))
            assert image.size == (3301, 2550)
            assert image.convert("L").histogram()[0] > 1000


# --- images ------------------------------------------------------------------------------------------------------


def drawn(mode: str, ink: object, paper: object) -> Image.Image:
    """Left half `ink`, right half `paper`."""
    image = Image.new(mode, (80, 40), paper)  # type: ignore[arg-type]
    ImageDraw.Draw(image).rectangle((0, 0, 39, 39), fill=ink)  # type: ignore[arg-type]
    return image


def sixteen_bits() -> Image.Image:
    row = struct.pack("<80H", *[100] * 40, *[4095] * 40)  # 12 bits of 16, as scanners write them
    return Image.frombytes("I;16", (80, 40), row * 40)


def palette_with_transparency() -> bytes:
    image = drawn("P", 1, 0)
    image.putpalette([255, 0, 0, 0, 0, 0])
    return image_of("PNG", image, transparency=0)


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (PNG, image_of("PNG", drawn("RGB", "black", "white"))),
        (PNG, image_of("PNG", drawn("L", 0, 255))),
        (PNG, image_of("PNG", drawn("1", 0, 1))),
        (PNG, image_of("PNG", sixteen_bits())),
        (PNG, image_of("PNG", drawn("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)))),
        (PNG, image_of("PNG", drawn("LA", (0, 255), (0, 0)))),
        (PNG, palette_with_transparency()),
        (PNG, image_of("PNG", drawn("RGB", "black", "blue"), transparency=(0, 0, 255))),
        (JPEG, image_of("JPEG", drawn("RGB", "black", "white"))),
        (JPEG, image_of("JPEG", drawn("CMYK", (0, 0, 0, 255), (0, 0, 0, 0)))),
        (WEBP, image_of("WEBP", drawn("RGB", "black", "white"), lossless=True)),
        (WEBP, image_of("WEBP", drawn("RGBA", (0, 0, 0, 255), (255, 0, 0, 0)), lossless=True)),
        (TIFF, image_of("TIFF", drawn("1", 0, 1), compression="group4")),
        (TIFF, image_of("TIFF", sixteen_bits())),
        (TIFF, image_of("TIFF", drawn("F", -0.5, 1.5))),
        (TIFF, image_of("TIFF", drawn("CMYK", (0, 0, 0, 255), (0, 0, 0, 0)))),
    ],
)
async def test_every_kind_of_image_becomes_dark_ink_on_white(
    file: Callable[[bytes], Path], media_type: str, content: bytes
) -> None:
    image = opened(await first_page(file(content), media_type))
    assert image.mode in ("L", "RGB")
    assert image.size == (80, 40)
    gray = image.convert("L")
    assert gray.getpixel((10, 20)) <= 40  # type: ignore[operator]
    assert gray.getpixel((70, 20)) >= 250  # type: ignore[operator]


async def test_a_blank_deep_gray_image_is_white(file: Callable[[bytes], Path]) -> None:
    image = opened(await first_page(file(image_of("PNG", Image.new("I;16", (8, 8), 0))), PNG))
    assert image.getextrema() == (255, 255)


@pytest.mark.parametrize(("form", "media_type"), [("JPEG", JPEG), ("TIFF", TIFF), ("PNG", PNG), ("WEBP", WEBP)])
async def test_a_photo_is_turned_as_its_exif_orientation_says(
    file: Callable[[bytes], Path], form: str, media_type: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned: show it a quarter turn clockwise
    content = image_of(form, drawn("RGB", "black", "white"), exif=exif)
    image = opened(await first_page(file(content), media_type)).convert("L")
    assert image.size == (40, 80)
    assert image.getpixel((20, 10)) < 30  # type: ignore[operator]
    assert image.getpixel((20, 70)) > 225  # type: ignore[operator]


async def test_each_frame_of_a_tiff_is_a_page_of_its_own_size(file: Callable[[bytes], Path]) -> None:
    frames = [Image.new("L", (10 * number, 20), 255) for number in (1, 2, 3)]
    content = image_of("TIFF", frames[0], save_all=True, append_images=frames[1:])
    async with DocumentRenderer() as renderer:
        assert (await renderer.open(file(content), TIFF)).pages == 3
        assert [opened(await renderer.render(page)).width for page in (2, 0, 1)] == [30, 10, 20]


@pytest.mark.parametrize("degrees", [-7, 3, 90, 267])
async def test_a_scan_that_lies_askew_is_put_upright(
    file: Callable[[bytes], Path], samples: Path, degrees: float
) -> None:
    scan = Image.open(samples / "phototest.tif").convert("L")
    skewed = scan.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    straight = opened(await first_page(file(image_of("PNG", skewed)), PNG))
    assert lie_of(skewed) != lie_of(scan)
    assert (lie_of(straight).quarter, lie_of(straight).skew) == (False, 0.0)


async def test_a_scan_in_a_pdf_is_put_upright_too(file: Callable[[bytes], Path], samples: Path) -> None:
    scan = Image.open(samples / "phototest.tif").convert("L")
    skewed = scan.rotate(4, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    straight = opened(await first_page(file(image_of("PDF", skewed, resolution=100)), PDF))
    assert lie_of(straight).skew == 0.0
    assert lie_of(skewed).skew == pytest.approx(4, abs=0.2)


async def test_a_large_photo_is_scaled_down_and_keeps_its_shape(file: Callable[[bytes], Path]) -> None:
    content = image_of("JPEG", Image.new("RGB", (9000, 6000), "orange"))
    image = opened(await first_page(file(content), JPEG))
    assert 39_000_000 < image.width * image.height <= 40_000_000
    assert image.width / image.height == pytest.approx(1.5, rel=0.001)


async def test_a_page_that_does_not_compress_is_halved_until_it_fits(file: Callable[[bytes], Path]) -> None:
    noise = Image.frombytes("L", (1000, 1000), os.urandom(1_000_000))
    page = await first_page(file(image_of("PNG", noise)), PNG, RenderLimits(max_page_bytes=300_000))
    assert len(page.png or b"") <= 300_000
    assert opened(page).size == (500, 500)


# --- text --------------------------------------------------------------------------------------------------------


async def test_a_text_file_gives_its_text_page_by_page(file: Callable[[bytes], Path]) -> None:
    path = file("\ufeffÉté\x00 光\fsecond\f".encode())
    async with DocumentRenderer() as renderer:
        assert (await renderer.open(path, "text/markdown")).pages == 2
        pages = [await renderer.render(page) for page in (0, 1)]
    assert pages == [RenderedPage(png=None, text="Été 光"), RenderedPage(png=None, text="second")]


async def test_an_empty_text_file_is_one_blank_page(file: Callable[[bytes], Path]) -> None:
    assert await first_page(file(b""), "text/plain") == RenderedPage(png=None, text="")


def test_a_long_text_is_paged_at_paragraphs_and_loses_nothing() -> None:
    text = "\n\n".join(f"Paragraph {number}. " + "Words follow here. " * 30 for number in range(40))
    pages = split_text(text)
    assert "".join(pages) == text
    assert len(pages) > 5
    assert all(page.startswith("Paragraph") and len(page) <= 3000 for page in pages)


@pytest.mark.parametrize("text", ["x" * 10_000, "line\n" * 3000, "word " * 3000, "\n" * 9000 + "end"])
def test_a_text_without_paragraphs_is_paged_all_the_same(text: str) -> None:
    pages = split_text(text)
    assert "".join(pages) == text
    assert all(1 <= len(page) <= 3000 for page in pages)
