"""The process that draws: its limits, its death in the middle of the work, and its end with its parent."""

import asyncio
import contextlib
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
from PIL import Image

from processor_service.documents import pdf_pages
from processor_service.documents.rendering import DocumentError, DocumentReason, DocumentRenderer, RenderLimits
from tests.integration.rendered_documents import PDF, PICTURES, PNG, ROOT, TIFF, image_of, opened, pdf_of, refusal


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


async def killed_at_work(pid: int, work: asyncio.Task[object]) -> None:
    """Lets `work` send its request to the child, which is stopped meanwhile, and kills the child."""
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    await end_of(pid)
    assert not work.cancelled()


@contextlib.asynccontextmanager
async def three_pages(path: Path, call_seconds: float = 60.0) -> AsyncIterator[DocumentRenderer]:
    async with DocumentRenderer(PICTURES, call_seconds=call_seconds) as renderer:
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
            with contextlib.suppress(ProcessLookupError):  # SIGKILL does not wait for it
                os.kill(pid, signal.SIGCONT)
            with pytest.raises(DocumentError) as raised:
                await rendering
            assert raised.value.reason is DocumentReason.RENDERER_CRASHED
            assert killer.name in raised.value.message
            assert raised.value.permanent is permanent
        assert opened(await renderer.render(2)).width == 2481


async def test_a_page_whose_text_ends_the_child_is_drawn_and_the_next_gives_its_text(
    file: Callable[[bytes], Path],
) -> None:
    async with DocumentRenderer() as renderer:
        await renderer.open(file(pdf_of("the first page", "the second page", "the third page")), PDF)
        assert (await renderer.render(0)).text == "the first page"
        await killed_at_work(child_of(renderer), rendering := asyncio.create_task(renderer.render(1)))
        assert opened(await rendering).width == 2481
        assert (await renderer.render(2)).text == "the third page"


def test_a_page_whose_text_cannot_be_read_is_drawn(
    file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = pdf_pages.PdfPages(str(file(pdf_of("some text"))), RenderLimits())
    assert pages.render(0) == "some text"
    for step in ("read_objects", "read_characters", "page_text", "mend"):
        with monkeypatch.context() as broken:
            broken.setattr(pdf_pages, step, lambda *_: 1 / 0)
            assert isinstance(pages.render(0), bytes), step


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
    async with DocumentRenderer(RenderLimits(cpu_seconds=1)) as renderer:
        await renderer.open(file(body + b"trailer<</Root 1 0 R/Size 6>>\n"), PDF)
        # The end while its text might still have been read is not counted.
        for permanent in (False, True):
            with pytest.raises(DocumentError) as raised:
                await renderer.render(0)
            assert (raised.value.reason, raised.value.permanent) == (DocumentReason.RENDERING_TIMED_OUT, permanent)
            assert "computing time" in raised.value.message


PARENT = """
import asyncio, pathlib, sys
from processor_service.documents.rendering import DocumentRenderer

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
        "import os, sys, processor_service.documents.render_child as child\n"
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
    request = {"call": "open", "path": str(file(b"text")), "media_type": "text/plain", "limits": {}, "cpu_seconds": 10}
    encoded = json.dumps(request).encode()
    output, errors = await process.communicate(struct.pack(">II", len(encoded), 0) + encoded)
    assert struct.unpack(">II", output[:8]) == (len(output) - 8, 0)
    assert json.loads(output[8:])["pages"] == 1
    assert errors == b"noise\nmore noise"
    assert process.returncode == 0
