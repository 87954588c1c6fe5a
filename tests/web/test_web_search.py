"""Search, and the reader that a result opens."""

from __future__ import annotations

import json
import re

from materials.v1 import status_service_pb2
from playwright.async_api import Route, expect

from tests.local_stack import Client
from tests.web.course_page import CoursePage
from tests.web.web_documents import MEIOSIS


async def test_a_result_opens_the_reader_at_its_page_with_the_passage_marked(tab: CoursePage, read_course: str) -> None:
    await tab.open(read_course)
    results = await tab.search("why do siblings differ?")
    await expect(results.first.locator(".result-page")).to_have_text("page 2")
    await expect(results.first.locator(".result-excerpt mark").filter(has_text="siblings")).to_have_count(1)
    await results.first.locator(".result-open").click()
    await expect(tab.page.locator("#page-place")).to_have_text("Page 2 of 3")
    marked = tab.page.locator("#sheet-text mark")
    await expect(marked).to_contain_text("halves the number of chromosomes")
    await expect(marked).to_be_in_viewport()

    await tab.page.click("#page-after")
    await expect(tab.page.locator("#sheet-text")).to_contain_text("Photosynthesis")
    await expect(tab.page.locator("#sheet-text mark")).to_have_count(0)
    await tab.page.keyboard.press("ArrowLeft")
    await tab.page.keyboard.press("ArrowLeft")
    await expect(tab.page.locator("#sheet-text")).to_contain_text("Mitosis")

    async with tab.page.expect_download() as download:
        await tab.page.click("#reader-download")
    assert (await (await download.value).path()).read_bytes().startswith(b"%PDF")


async def test_the_browsers_back_closes_the_reader_and_its_address_opens_it_again(
    tab: CoursePage, read_course: str
) -> None:
    await tab.open(read_course, {"q": "oxygen from water"})
    await tab.page.locator(".result-open").first.click()
    await expect(tab.page.locator("#sheet-text mark")).to_be_visible()
    address = tab.page.url
    await tab.page.go_back()
    await expect(tab.page.locator("#reader")).to_be_hidden()
    await expect(tab.page.locator(".result").first).to_be_visible()
    await tab.page.goto(address)
    await expect(tab.page.locator("#reader-title")).to_have_text("cells.pdf")
    await expect(tab.page.locator("#sheet-text")).to_contain_text("Photosynthesis")
    await tab.page.click("#reader-close")
    await expect(tab.page.locator("#reader")).to_be_hidden()
    await expect(tab.page).not_to_have_url(re.compile("material="))


async def test_a_material_of_the_list_opens_its_text_and_its_history(tab: CoursePage, read_course: str) -> None:
    await tab.open(read_course)
    await tab.row("cells.pdf").locator(".material-name").click()
    await expect(tab.page.locator("#sheet-text")).to_contain_text("Mitosis")
    await tab.page.get_by_role("tab", name="History").click()
    await expect(tab.page.locator(".history-event")).to_have_text(["Uploaded", "Reading began", "Ready"])
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.locator("#reader")).to_be_hidden()
    await expect(tab.row("cells.pdf").locator(".material-name")).to_be_focused()


async def test_a_material_deleted_while_somebody_reads_it_closes_the_reader(
    tab: CoursePage, client: Client, course: str
) -> None:
    uploaded = await client.upload(b"Gone while it is read.\n", course=course, name="gone.txt")
    await tab.open(course)
    await tab.row("gone.txt").locator(".material-name").click()
    await expect(tab.page.locator("#reader")).to_be_visible()
    request = status_service_pb2.DeleteMaterialRequest(material_id=uploaded.id)
    await client.status.DeleteMaterial(request, metadata=client.metadata, timeout=20)
    await expect(tab.page.locator("#reader")).to_be_hidden()
    await expect(tab.page.locator(".toast")).to_contain_text("was deleted")


async def test_offsets_count_characters_as_the_record_does_not_as_javascript(
    tab: CoursePage, client: Client, course: str
) -> None:
    text = "🧬🧬🧬🧬🧬🧬 " * 30 + "\n\n# Cells\n\n" + MEIOSIS
    uploaded = await client.upload(text.encode(), course=course, name="emoji.md")
    await client.watch_to_end(uploaded.id)
    await tab.open(course)
    results = await tab.search("egg and sperm")
    await results.filter(has_text="sperm").first.locator(".result-open").click()
    await expect(tab.page.locator("#sheet-text mark")).to_contain_text("siblings differ.")
    await expect(tab.page.locator("#sheet-text")).to_contain_text(MEIOSIS)


async def test_a_course_without_a_passage_says_so(tab: CoursePage, course: str) -> None:
    await tab.open(course)
    await tab.page.fill("#query", "anything at all")
    await expect(tab.page.locator("#results-title")).to_have_text("Nothing found")
    await tab.page.click("#results-close")
    await expect(tab.page.locator("#empty")).to_be_visible()
    await expect(tab.page).not_to_have_url(re.compile("q="))


async def test_a_search_that_fails_says_why_and_can_be_made_again(tab: CoursePage, read_course: str) -> None:
    problem = {"title": "Internal Server Error", "status": 500, "detail": "something went wrong", "reason": "INTERNAL"}

    async def fail(route: Route) -> None:
        await route.fulfill(status=500, content_type="application/problem+json", body=json.dumps(problem))

    await tab.open(read_course)
    await tab.page.route("**/search", fail)
    await tab.page.fill("#query", "oxygen")
    await expect(tab.page.locator("#results-state")).to_contain_text("Something went wrong")
    await tab.page.unroute("**/search")
    await tab.page.get_by_role("button", name="Search again").click()
    await expect(tab.page.locator(".result").first).to_be_visible()
