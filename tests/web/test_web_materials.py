"""The list: live, filtered, safe against names that are not names, and quick with thousands."""

from __future__ import annotations

from materials.v1 import status_service_pb2
from playwright.async_api import expect

from tests.local_stack import Client
from tests.web.conftest import OpenPage
from tests.web.course_page import CoursePage
from tests.web.scripted_feed import material, script_feed

PHONE = {"width": 360, "height": 740}
MARKUP = '<img src=x onerror="document.title=1">.txt'
LONG = "n" * 251 + ".txt"
HEBREW = "שיעור ראשון.txt"


async def test_what_others_upload_and_delete_comes_and_goes_by_itself(
    tab: CoursePage, client: Client, course: str
) -> None:
    await tab.open(course)
    await expect(tab.page.locator("#empty")).to_be_visible()
    theirs = await client.upload(b"From somebody else.\n", course=course, name="theirs.txt")
    await tab.expect_state("theirs.txt", "Ready")
    await expect(tab.page.locator("#announcer")).to_contain_text("theirs.txt is ready")
    request = status_service_pb2.DeleteMaterialRequest(material_id=theirs.id)
    await client.status.DeleteMaterial(request, metadata=client.metadata, timeout=20)
    await expect(tab.row("theirs.txt")).to_have_count(0)
    await expect(tab.page.locator("#empty")).to_be_visible()


async def test_deleting_asks_first_and_is_for_good(tab: CoursePage, client: Client, course: str) -> None:
    await client.upload(b"To be deleted.\n", course=course, name="old.txt")
    await tab.open(course)
    await tab.row("old.txt").get_by_role("button", name="Delete old.txt").click()
    await expect(tab.page.locator("#confirm-name")).to_have_text("old.txt")
    await tab.page.get_by_role("button", name="Keep it").click()
    await expect(tab.page.locator("#confirm")).to_be_hidden()
    await expect(tab.row("old.txt")).to_be_visible()
    await tab.row("old.txt").get_by_role("button", name="Delete old.txt").click()
    await tab.page.locator("#confirm-yes").click()
    await expect(tab.row("old.txt")).to_have_count(0)
    await tab.page.reload()
    await expect(tab.page.locator("#empty")).to_be_visible()


async def test_state_and_name_filter_the_list_together(tab: CoursePage, read_course: str) -> None:
    await tab.open(read_course)
    visible = tab.page.locator(".material:visible")
    await expect(visible).to_have_count(2)
    await tab.page.get_by_role("button", name="Failed 1").click()
    await expect(visible).to_have_count(1)
    await expect(tab.row("locked.pdf")).to_be_visible()
    await tab.page.fill("#name-filter", "CELLS")
    await expect(tab.page.locator("#no-match")).to_be_visible()
    await tab.page.get_by_role("button", name="Show all").click()
    await expect(visible).to_have_count(2)


async def test_names_are_text_whatever_they_hold_and_never_wider_than_a_phone(
    open_page: OpenPage, client: Client, course: str
) -> None:
    for name in (MARKUP, LONG, HEBREW):
        await client.upload(b"A name can be anything.\n", course=course, name=name)
    tab = await open_page(viewport=PHONE)
    await tab.open(course)
    for name in (MARKUP, LONG, HEBREW):
        await expect(tab.row(name)).to_be_visible()
    assert await tab.page.locator("#materials img[src='x']").count() == 0
    assert await tab.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    await tab.row(LONG).locator(".material-name").click()
    await expect(tab.page.locator("#reader-title")).to_have_text(LONG)
    assert await tab.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


async def test_a_name_that_turns_the_direction_of_writing_is_shown_with_the_turn_written_out(
    tab: CoursePage, course: str
) -> None:
    await tab.open(course)
    await tab.upload("invoice\u202egpj.exe", b"text\n")
    await expect(tab.page.locator(".upload-name")).to_have_text("invoice\\u202egpj.exe")
    await expect(tab.page.locator(".upload")).to_have_attribute("data-state", "failed")


async def test_two_thousand_materials_are_listed_newest_first_and_filtered(tab: CoursePage, course: str) -> None:
    await script_feed(tab.page, [material(number) for number in range(2000)])
    await tab.open(course)
    await expect(tab.page.locator("#course-summary")).to_contain_text("2,000 materials")
    await expect(tab.page.locator(".material")).to_have_count(2000)
    await expect(tab.page.locator(".material-name").first).to_have_text("material 1999.pdf")
    await tab.page.fill("#name-filter", "material 77")
    await expect(tab.page.locator(".material:visible")).to_have_count(11)


async def test_a_course_that_cannot_be_is_refused_in_words_and_another_can_be_chosen(
    tab: CoursePage, course: str
) -> None:
    await tab.open(course)
    await tab.page.goto(f"{tab.url}/?course={'c' * 129}")
    await expect(tab.page.locator(".toast")).to_contain_text("128")
    await tab.page.locator("#course-chips").get_by_role("button", name=course).click()
    await expect(tab.page.locator("#empty")).to_be_visible()


async def test_the_course_is_chosen_in_the_header_and_kept_in_the_address(
    tab: CoursePage, course: str, read_course: str
) -> None:
    await tab.open(course)
    await tab.page.fill("#course", read_course)
    await tab.page.press("#course", "Enter")
    await expect(tab.row("cells.pdf")).to_be_visible()
    assert f"course={read_course}" in tab.page.url
    await tab.page.reload()
    await expect(tab.row("cells.pdf")).to_be_visible()
    await tab.page.click("#course")
    await expect(tab.page.get_by_role("option")).to_have_text([read_course, course])
    await tab.page.get_by_role("option", name=course).click()
    await expect(tab.page.locator("h1#course-title")).to_have_text(course)
    await expect(tab.page.locator(".material")).to_have_count(0)
