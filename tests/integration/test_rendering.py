"""Promises of rendering, with the real child process, real PDFs and real images."""

import asyncio
import contextlib
import io
import json
import os
import signal
import struct
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw

from processor_service.document_pages import fit_scale, split_text
from processor_service.rendering import DocumentError, DocumentReason, DocumentRenderer, RenderedPage, RenderLimits

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT.parent / "shared" / "samples" / "machine-learning-cheatsheet-en.pdf"
PDF, PNG, JPEG, TIFF, WEBP = "application/pdf", "image/png", "image/jpeg", "image/tiff", "image/webp"


def pdf_of(*texts: str, size: tuple[float, float] | None = None, colour: int = 0, password: str | None = None) -> bytes:
    """A PDF of one page for each text; sizes in points, `colour` is the red of its letters."""
    pdf = FPDF(unit="pt", format=size or "A4")
    if password is not None:
        pdf.set_encryption(owner_password="owner", user_password=password)
    for text in texts:
        pdf.add_page()
        pdf.set_font("helvetica", size=24)
        pdf.set_text_color(colour, 0, 0)
        pdf.multi_cell(0, text=text)
    return bytes(pdf.output())


def image_of(form: str, image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def opened(page: RenderedPage) -> Image.Image:
    assert page.text is None
    assert page.png is not None
    image = Image.open(io.BytesIO(page.png))
    image.load()
    assert image.format == "PNG"
    return image


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "document"
        path.write_bytes(content)
        return path

    return write


async def first_page(path: Path, media_type: str, limits: RenderLimits | None = None) -> RenderedPage:
    async with DocumentRenderer(limits) as renderer:
        await renderer.open(path, media_type)
        return await renderer.render(0)


async def refusal(path: Path, media_type: str, limits: RenderLimits | None = None) -> DocumentError:
    with pytest.raises(DocumentError) as raised:
        await first_page(path, media_type, limits)
    return raised.value


def child_of(renderer: DocumentRenderer) -> int:
    pid = renderer.child_pid
    assert pid is not None
    return pid


async def end_of(pid: int) -> None:
    """Waits until process `pid` has ended, be it our child or not."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(watched, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), timeout=20)
    finally:
        loop.remove_reader(watched)
        os.close(watched)


# --- PDF --------------------------------------------------------------------------------------------------------


async def test_each_page_of_a_pdf_is_drawn_at_300_dpi(file: Callable[[bytes], Path]) -> None:
    async with DocumentRenderer() as renderer:
        info = await renderer.open(file(pdf_of("one", "", "three")), PDF)
        assert info.pages == 3
        images = [opened(await renderer.render(page)) for page in (0, 1, 2)]

    for image in images:
        assert image.size == (2481, 3508)  # A4: 595.28 x 841.89 points, rounded up
    inked = [image.convert("L").getextrema()[0] == 0 for image in images]
    assert inked == [True, False, True]


async def test_a_page_without_colour_is_gray_and_one_with_colour_keeps_it(file: Callable[[bytes], Path]) -> None:
    assert opened(await first_page(file(pdf_of("black")), PDF)).mode == "L"
    red = opened(await first_page(file(pdf_of("red", colour=255)), PDF))
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


async def test_an_encrypted_pdf_with_an_empty_user_password_opens(file: Callable[[bytes], Path]) -> None:
    assert opened(await first_page(file(pdf_of("open to all", password="")), PDF)).width == 2481


async def test_a_pdf_that_needs_a_password_is_refused_as_encrypted(file: Callable[[bytes], Path]) -> None:
    error = await refusal(file(pdf_of("secret", password="sesame")), PDF)
    assert (error.reason, error.permanent) == (DocumentReason.FILE_ENCRYPTED, True)
    assert "password" in error.message


@pytest.mark.parametrize(
    "content",
    [b"", b"%PDF-1.7\n", b"not a pdf", pdf_of("x" * 500)[:400], b"%PDF-1.4\n" + os.urandom(5000)],
    ids=["empty", "header only", "text", "truncated", "random"],
)
async def test_a_damaged_pdf_is_refused_as_corrupt_without_telling_its_path(
    file: Callable[[bytes], Path], content: bytes
) -> None:
    path = file(content)
    error = await refusal(path, PDF)
    assert (error.reason, error.permanent) == (DocumentReason.FILE_CORRUPT, True)
    assert str(path.parent) not in error.message


async def test_too_many_pages_are_refused_before_any_is_drawn(file: Callable[[bytes], Path]) -> None:
    error = await refusal(file(pdf_of(*"abcd")), PDF, RenderLimits(max_pages=3))
    assert (error.reason, error.permanent) == (DocumentReason.TOO_MANY_PAGES, True)
    assert "3 pages" in error.message


async def test_a_page_that_does_not_exist_is_an_error_and_the_next_call_still_works(
    file: Callable[[bytes], Path],
) -> None:
    async with DocumentRenderer() as renderer:
        await renderer.open(file(pdf_of("one")), PDF)
        with pytest.raises(DocumentError, match="damaged"):
            await renderer.render(1)
        assert opened(await renderer.render(0)).width == 2481


@pytest.mark.skipif(not SAMPLE.exists(), reason="sample documents are not there")
async def test_a_real_course_document_is_drawn_whole() -> None:
    async with DocumentRenderer() as renderer:
        assert (await renderer.open(SAMPLE, PDF)).pages == 16
        for page in range(16):
            image = opened(await renderer.render(page))
            assert image.size == (3301, 2550)
            assert image.convert("L").histogram()[0] > 1000


# --- images -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (PNG, image_of("PNG", Image.effect_noise((400, 400), 50))[:-5000]),
        (JPEG, image_of("JPEG", Image.effect_noise((400, 400), 50))[:5000]),
        (TIFF, image_of("TIFF", Image.effect_noise((400, 400), 50))[:5000]),
        (PNG, image_of("JPEG", Image.new("L", (8, 8)))),
        (JPEG, b"\xff\xd8\xff"),
        (WEBP, b"RIFF\x00\x00\x00\x00WEBP"),
    ],
    ids=["png cut", "jpeg cut", "tiff cut", "a jpeg that says png", "jpeg start", "webp start"],
)
async def test_a_damaged_image_is_refused_as_corrupt(
    file: Callable[[bytes], Path], media_type: str, content: bytes
) -> None:
    error = await refusal(file(content), media_type)
    assert (error.reason, error.permanent) == (DocumentReason.FILE_CORRUPT, True)


# --- text -------------------------------------------------------------------------------------------------------


async def test_a_text_file_gives_its_text_page_by_page(file: Callable[[bytes], Path]) -> None:
    path = file("\ufeffÉté\x00 光\fsecond\f".encode())
    async with DocumentRenderer() as renderer:
        assert (await renderer.open(path, "text/markdown")).pages == 2
        pages = [await renderer.render(page) for page in (0, 1)]
    assert pages == [RenderedPage(png=None, text="Été 光"), RenderedPage(png=None, text="second")]


async def test_text_that_is_not_utf_8_is_refused_with_what_to_do(file: Callable[[bytes], Path]) -> None:
    error = await refusal(file("Größe".encode("latin-1")), "text/plain")
    assert error.reason is DocumentReason.FILE_CORRUPT
    assert "UTF-8" in error.message


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


# --- the child --------------------------------------------------------------------------------------------------


async def test_an_unknown_type_is_refused(file: Callable[[bytes], Path]) -> None:
    error = await refusal(file(b"MZ"), "application/x-msdownload")
    assert (error.reason, error.permanent) == (DocumentReason.FILE_UNSUPPORTED, True)


async def test_a_missing_file_is_not_the_document_s_fault(tmp_path: Path) -> None:
    async with DocumentRenderer() as renderer:
        with pytest.raises(FileNotFoundError):
            await renderer.open(tmp_path / "gone", PDF)
        assert renderer.child_pid is None


@contextlib.asynccontextmanager
async def three_pages(path: Path, call_seconds: float = 60.0) -> AsyncIterator[DocumentRenderer]:
    async with DocumentRenderer(call_seconds=call_seconds) as renderer:
        await renderer.open(path, PDF)
        yield renderer


async def test_the_child_has_its_limits_and_none_of_our_environment(
    file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_BRAIN_TOKEN", "s3cret")
    async with three_pages(file(pdf_of("one"))) as renderer:
        child = psutil.Process(child_of(renderer))
        assert set(child.environ()) <= {"PATH", "LANG", "PYTHONPATH", "LC_CTYPE"}
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_AS) == (RenderLimits().memory_bytes,) * 2
        assert child.rlimit(psutil.RLIMIT_NOFILE) == (RenderLimits().open_files,) * 2
        assert 0 < child.rlimit(psutil.RLIMIT_CPU)[0] <= RenderLimits().cpu_seconds + 5


async def test_the_child_is_gone_after_close_and_close_may_be_repeated(file: Callable[[bytes], Path]) -> None:
    renderer = DocumentRenderer()
    async with renderer:
        await renderer.open(file(pdf_of("one")), PDF)
        pid = child_of(renderer)
        assert psutil.pid_exists(pid)
    assert renderer.child_pid is None
    assert not psutil.pid_exists(pid)
    await renderer.__aexit__(None, None, None)


async def test_a_child_killed_between_pages_is_replaced(file: Callable[[bytes], Path]) -> None:
    async with three_pages(file(pdf_of("one", "two", "three"))) as renderer:
        first = child_of(renderer)
        await renderer.render(0)
        os.kill(first, signal.SIGKILL)
        await end_of(first)
        with pytest.raises(DocumentError) as raised:
            await renderer.render(1)
        assert (raised.value.reason, raised.value.permanent) == (DocumentReason.RENDERER_CRASHED, False)
        assert opened(await renderer.render(1)).width == 2481
        assert child_of(renderer) != first


@pytest.mark.parametrize("killer", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_child_that_dies_at_a_page_is_a_crash_and_at_the_second_time_permanent(
    file: Callable[[bytes], Path], killer: signal.Signals
) -> None:
    async with three_pages(file(pdf_of("one", "two", "three"))) as renderer:
        for permanent in (False, True):
            await renderer.render(0)
            pid = child_of(renderer)
            os.kill(pid, signal.SIGSTOP)  # so that it is at work on the page when it dies
            rendering = asyncio.create_task(renderer.render(1))
            await asyncio.sleep(0)
            os.kill(pid, killer)
            os.kill(pid, signal.SIGCONT)
            with pytest.raises(DocumentError) as raised:
                await rendering
            assert raised.value.reason is DocumentReason.RENDERER_CRASHED
            assert killer.name in raised.value.message
            assert raised.value.permanent is permanent
        assert opened(await renderer.render(2)).width == 2481


async def test_a_child_that_does_not_answer_is_killed_at_the_deadline(file: Callable[[bytes], Path]) -> None:
    async with three_pages(file(pdf_of("one", "two")), call_seconds=2.0) as renderer:
        pid = child_of(renderer)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DocumentError) as raised:
            await renderer.render(0)
        assert (raised.value.reason, raised.value.permanent) == (DocumentReason.RENDERING_TIMED_OUT, False)
        assert not psutil.pid_exists(pid)
        assert opened(await renderer.render(0)).width == 2481


async def test_a_cancelled_call_leaves_no_child_and_no_answer_out_of_step(file: Callable[[bytes], Path]) -> None:
    async with three_pages(file(pdf_of("one", "two"))) as renderer:
        pid = child_of(renderer)
        os.kill(pid, signal.SIGSTOP)
        rendering = asyncio.create_task(renderer.render(0))
        await asyncio.sleep(0)
        rendering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rendering
        assert not psutil.pid_exists(pid)
        blank = opened(await renderer.render(1))
        assert blank.width == 2481


async def test_calls_made_at_once_are_answered_each_with_its_own_page(file: Callable[[bytes], Path]) -> None:
    frames = [Image.new("L", (width, 5), 255) for width in (10, 20, 30, 40)]
    path = file(image_of("TIFF", frames[0], save_all=True, append_images=frames[1:]))
    async with DocumentRenderer() as renderer:
        await renderer.open(path, TIFF)
        pages = await asyncio.gather(*(renderer.render(page) for page in (3, 1, 0, 2)))
    assert [opened(page).width for page in pages] == [40, 20, 10, 30]


def decompression_bomb() -> bytes:
    """A PDF of a few kilobytes whose one page is an image of 30,000 x 30,000 pixels."""
    pixels = zlib.compress(bytes(30_000 * 30_000 // 8), 9)
    image = b"<</Type/XObject/Subtype/Image/Width 30000/Height 30000/ColorSpace/DeviceGray/BitsPerComponent 1"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 5 0 R/Resources<</XObject<</I 4 0 R>>>>>>",
        image + b"/Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(pixels), pixels),
        b"<</Length 23>>stream\n600 0 0 800 0 0 cm /I Do\nendstream",
    ]
    body = b"%PDF-1.4\n"
    for number, content in enumerate(objects, 1):
        body += b"%d 0 obj%s endobj\n" % (number, content)
    return body + b"trailer<</Root 1 0 R/Size 6>>\n"


async def test_a_page_beyond_the_memory_limit_ends_at_worst_its_own_child(file: Callable[[bytes], Path]) -> None:
    limits = RenderLimits(memory_bytes=220 * 1024 * 1024)
    content = image_of("PNG", Image.new("RGB", (9000, 9000), "white"))
    error = await refusal(file(content), PNG, limits)
    assert (error.reason, error.permanent) == (DocumentReason.RENDERING_OUT_OF_MEMORY, True)


async def test_a_pdf_whose_image_expands_ten_thousandfold_is_drawn_within_a_small_memory(
    file: Callable[[bytes], Path],
) -> None:
    path = file(decompression_bomb())
    async with DocumentRenderer(RenderLimits(memory_bytes=256 * 1024 * 1024)) as renderer:
        await renderer.open(path, PDF)
        assert opened(await renderer.render(0)).size == (2500, 3334)


async def test_computing_without_end_is_stopped_by_the_kernel(file: Callable[[bytes], Path]) -> None:
    # Tens of thousands of full-page shadings: minutes of work in a few hundred kilobytes.
    work = b"/P sh\n" * 200_000
    shading = (
        b"<</ShadingType 2/ColorSpace/DeviceRGB/Coords[0 0 600 800]/Extend[true true]"
        b"/Function<</FunctionType 2/Domain[0 1]/C0[0 0 0]/C1[1 1 1]/N 1>>>>"
    )
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Shading<</P 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(work), work),
        shading,
    ]
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj%s endobj\n" % item for item in enumerate(objects, 1))
    error = await refusal(file(body + b"trailer<</Root 1 0 R/Size 6>>\n"), PDF, RenderLimits(cpu_seconds=1))
    assert (error.reason, error.permanent) == (DocumentReason.RENDERING_TIMED_OUT, False)
    assert "computing time" in error.message


PARENT = """
import asyncio, pathlib, sys
from processor_service.rendering import DocumentRenderer

async def main():
    async with DocumentRenderer() as renderer:
        await renderer.open(pathlib.Path(sys.argv[1]), "application/pdf")
        print(renderer.child_pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_child_dies_with_its_parent_even_when_it_cannot_read_its_input(
    file: Callable[[bytes], Path],
) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(file(pdf_of("one"))), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), timeout=30))
    os.kill(pid, signal.SIGSTOP)
    parent.kill()
    await parent.wait()
    await end_of(pid)


async def test_what_a_library_prints_does_not_reach_the_protocol(file: Callable[[bytes], Path]) -> None:
    noisy = (
        "import os, sys, processor_service.render_child as child\n"
        "real = child.open_document\n"
        "def open_document(*arguments):\n"
        "    print('noise', flush=True); os.write(1, b'more noise')\n"
        "    return real(*arguments)\n"
        "child.open_document = open_document\n"
        "child.main()\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", noisy),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    request = {"call": "open", "path": str(file(b"text")), "media_type": "text/plain", "limits": {}}
    encoded = json.dumps(request).encode()
    output, errors = await process.communicate(struct.pack(">II", len(encoded), 0) + encoded)
    assert output == struct.pack(">II", 12, 0) + b'{"pages": 1}'
    assert errors == b"noise\nmore noise"
    assert process.returncode == 0


@pytest.mark.parametrize("size", [(612.0, 792.0), (1e9, 1e9), (1e-4, 1e9), (14_400.0, 0.001)])
@pytest.mark.parametrize("most", [1, 1000, 40_000_000])
def test_a_fitted_scale_never_gives_more_pixels_than_allowed(size: tuple[float, float], most: int) -> None:
    width, height = size
    scale = fit_scale(width, height, most)
    assert scale > 0
    assert -(-width * scale // 1) * -(-height * scale // 1) <= most
