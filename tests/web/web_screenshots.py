"""Pictures of every state of the page, to be looked at: `WEB_SCREENSHOTS=/tmp/pictures pytest tests/web/web_screenshots.py`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.contract.answer_script import AnswerScript, brain_away, end, part, sources
from tests.local_stack import LocalStack, unique_course
from tests.web.answering import Answering, ask, script_material, three_sources
from tests.web.conftest import DESKTOP, OpenPage
from tests.web.course_page import CoursePage
from tests.web.scripted_feed import EVENTS, material, script_feed
from tests.web.web_documents import LIGHT, MEIOSIS, MITOSIS, pdf

DIRECTORY = os.environ.get("WEB_SCREENSHOTS", "")
PHONE = {"width": 390, "height": 844}
Shoot = Callable[[str], Awaitable[None]]

pytestmark = pytest.mark.skipif(not DIRECTORY, reason="WEB_SCREENSHOTS names no directory for the pictures")


def every_state() -> list[dict[str, Any]]:
    """One material in each state, under names as people give them."""
    told: list[dict[str, Any]] = [
        {"name": "Lecture 7 – Photosynthesis.pdf", "file_size": 4_300_000, "processing_status": "pending", "pages_done": 0, "pages_total": 0},
        {"name": "Field trip notes.txt", "file_type": "text", "file_size": 18_200, "processing_status": "pending", "pages_done": 0, "pages_total": 0,
         "status_message": "waiting for the AI Brain"},
        {"name": "Textbook, chapters 4 to 6.pdf", "file_size": 38_000_000, "processing_status": "processing", "stage": "reading", "pages_done": 37,
         "pages_total": 84},
        {"name": "Microscope slides.tif", "file_type": "tiff", "file_size": 9_100_000, "processing_status": "processing", "stage": "opening", "pages_done": 0,
         "pages_total": 0},
        {"name": "Exam 2024 (with solutions).pdf", "file_size": 812_000, "processing_status": "failed", "failure_reason": "file_encrypted", "pages_done": 0,
         "pages_total": 0, "error_message": "The PDF is protected by a password. Remove the protection and upload it again."},
        {"name": "Handout, week 5.pdf", "file_size": 1_900_000, "processing_status": "failed", "failure_reason": "brain_failed", "pages_done": 2,
         "pages_total": 6, "retryable": True, "error_message": "The AI Brain failed on page 3 again and again. Retry it later."},
        {"name": "Old script.pdf", "file_size": 640_000, "processing_status": "failed", "failure_reason": "cancelled", "retryable": True, "pages_done": 1,
         "pages_total": 22, "error_message": "cancelled by demo-user"},
        {"name": "Board photo.webp", "file_type": "webp", "file_size": 2_700_000, "pages_total": 1, "has_embedding": False},
        {"name": "Reading list.md", "file_type": "markdown", "file_size": 2_100, "pages_total": 1, "owner_id": "prof.lindqvist"},
        {"name": "Lecture 6 – Meiosis.pdf", "file_size": 3_900_000, "pages_total": 41},
        {"name": "Lecture 5 – Mitosis.pdf", "file_size": 3_600_000, "pages_total": 38},
    ]  # fmt: skip
    now = datetime.now(UTC)
    return [
        material(number, **fields, created_at=(now - timedelta(minutes=1 + number**3)).isoformat())
        for number, fields in enumerate(told)
    ]


async def looking_around(tab: CoursePage, shoot: Shoot, course: str) -> None:
    page = tab.page
    await page.goto(tab.url)
    await expect(page.locator("#token")).to_be_focused()
    await shoot("sign-in")
    await tab.open(course)
    await tab.search("what happens to a cell whose copies are damaged?")
    await shoot("search")
    await page.locator(".result-open").first.click()
    await expect(page.locator("#sheet-text mark")).to_be_visible()
    await shoot("reader")
    await page.get_by_role("tab", name="History").click()
    await expect(page.locator(".history-event").first).to_be_visible()
    await shoot("history")


async def asking(tab: CoursePage, shoot: Shoot, script: AnswerScript) -> None:
    page, more = tab.page, asyncio.Event()
    await script_material(page)
    await tab.open("biology-101")
    await page.click("#mode-ask")
    await shoot("ask")
    script.steps = (
        three_sources(), part("Siblings differ because of meiosis, which makes egg and sperm cells. ", 1), more,
        part("In it the number of chromosomes is halved, and crossing over mixes what is on them. ", 1, 3),
        part("Mitosis, on the other hand, gives each daughter cell a complete set.", 2), end(left_out=1),
    )  # fmt: skip
    await ask(page)
    await expect(page.locator(".citation")).to_have_count(1)
    await shoot("ask-streaming")
    more.set()
    await expect(page.locator("#answer-note")).not_to_be_empty()
    await shoot("ask-answered")
    await page.locator(".citation").first.click()
    await expect(page.locator("#sheet-text mark")).to_be_visible()
    await shoot("ask-passage")
    await page.keyboard.press("Escape")
    for name, steps in (
        ("quotes", (three_sources(), part("Crossing over is why siblings differ.", 1), end(model="extractive/minilm"))),
        ("nothing", (sources(), end("NOTHING_FOUND"))),
        ("unsupported", (three_sources(), end("UNSUPPORTED"))),
        ("away", (brain_away(),)),
        ("broke-off", (three_sources(), part("Siblings differ because of ", 1), brain_away())),
    ):
        script.steps = steps
        await page.press("#query", "Enter")
        await expect(page.locator("#answer-note")).not_to_be_empty()
        await shoot(f"ask-{name}")


async def working(tab: CoursePage, shoot: Shoot) -> None:
    page = tab.page
    await tab.open("biology-101-empty")
    await expect(page.locator("#empty")).to_be_visible()
    await shoot("empty")
    await page.evaluate(
        "document.querySelector('.drop-title').textContent = 'Drop to upload to biology-101'; drop.hidden = false"
    )
    await shoot("drop")
    await page.evaluate("drop.hidden = true")
    await page.click("#course")
    await shoot("course-picker")
    await page.keyboard.press("Escape")

    await script_feed(page, every_state())
    await tab.open("biology-101")
    await expect(page.locator(".material")).to_have_count(11)
    await shoot("processing")
    await expect(page.locator("#connection")).to_have_text("Reconnecting…")
    await page.get_by_role("button", name="Failed 3").click()
    await shoot("failed")
    await page.get_by_role("button", name="All 11").click()
    await page.locator(".material .delete").nth(1).click()
    await shoot("confirm")
    await page.keyboard.press("Escape")
    await uploading(page)
    await shoot("uploading")
    await page.unroute(EVENTS)


async def uploading(page: Page) -> None:
    network = await page.context.new_cdp_session(page)
    await page.set_input_files("#files", {"name": "archive.zip", "mimeType": "", "buffer": b"PK\x03\x04" + bytes(99)})
    await expect(page.locator('.upload[data-state="failed"]')).to_have_count(1)
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 60_000}
    await network.send("Network.emulateNetworkConditions", conditions)
    names = ["Lecture 8 – Respiration.pdf", "Lecture 9 – Enzymes.pdf", "Scan of chapter 12.pdf", "Exercise sheet 4.pdf"]
    contents = [bytes(900_000), bytes(700_000), bytes(1_600_000), bytes(400_000)]
    files: list[Any] = [
        {"name": name, "mimeType": "", "buffer": content} for name, content in zip(names, contents, strict=True)
    ]
    await page.set_input_files("#files", files)
    await expect(page.locator(".upload").nth(1).locator(".upload-state")).to_contain_text("3", timeout=60_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "screen"), [("desktop", DESKTOP), ("phone", PHONE)])
async def test_pictures(
    stack: LocalStack,
    open_page: OpenPage,
    device: str,
    screen: dict[str, int],
    scheme: str,
) -> None:
    directory = Path(DIRECTORY)
    directory.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {
        "viewport": screen, "color_scheme": scheme, "has_touch": device == "phone", "device_scale_factor": 1,
    }  # fmt: skip
    tab = await open_page(**profile)
    await looking_around(tab, pictures(tab, directory / f"{device}-{scheme}"), await course_to_search(stack))
    await working(tab, pictures(tab, directory / f"{device}-{scheme}"))


def pictures(tab: CoursePage, beginning: Path) -> Shoot:
    async def shoot(name: str) -> None:
        await tab.page.mouse.move(0, 0)
        await tab.page.wait_for_timeout(500)  # For what moves to come to rest.
        await tab.page.screenshot(path=f"{beginning}-{name}.png")

    return shoot


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "screen"), [("desktop", DESKTOP), ("phone", PHONE)])
async def test_pictures_of_answers(
    open_page: OpenPage, answering: Answering, device: str, screen: dict[str, int], scheme: str
) -> None:
    directory = Path(DIRECTORY)
    directory.mkdir(parents=True, exist_ok=True)
    tab = await open_page(url=answering.url, viewport=screen, color_scheme=scheme, has_touch=device == "phone")
    await asking(tab, pictures(tab, directory / f"{device}-{scheme}"), answering.begin())


CELL_CYCLE = """The cell cycle

A cell that divides goes through four phases. In G1 it grows, in S it copies its chromosomes, in G2 it checks the copies, and in M it divides. Between
the phases stand checkpoints: a cell whose copies are damaged waits, and one that cannot be mended ends its own life.

Mitosis

Mitosis makes two cells of one. Before it begins, the chromosomes are copied, so that each daughter cell receives a complete set. In prophase they
condense; in metaphase they line up in the middle of the cell; in anaphase they are drawn apart, and in telophase two nuclei form.

What goes wrong

Cells that pass the checkpoints with damaged copies may divide without end. This is how most tumours begin."""


async def course_to_search(stack: LocalStack) -> str:
    course = unique_course()
    async with stack.client() as client:
        for name, content in (
            ("Lecture 6 – Meiosis.pdf", pdf(MEIOSIS)),
            ("Lecture 5 – Mitosis.pdf", pdf(MITOSIS, LIGHT)),
            ("The cell cycle.md", CELL_CYCLE.encode()),
        ):
            await client.watch_to_end((await client.upload(content, course=course, name=name)).id)
    return course
