"""For everybody: axe finds nothing serious in any state, and a keyboard is enough."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.web.conftest import DESKTOP, OpenPage
from tests.web.course_page import CoursePage
from tests.web.web_documents import MITOSIS, pdf

PHONE = {"width": 390, "height": 844}


async def serious_findings(tab: CoursePage, state: str) -> list[str]:
    """What axe holds to be serious or critical, in a line each. Once nothing moves: a colour on its way is no colour."""
    await tab.page.evaluate(
        "Promise.allSettled(document.getAnimations().filter((one) => one.effect.getTiming().iterations < 2).map((one) => one.finished))"
    )
    found = (await Axe().run(tab.page)).response["violations"]
    return [
        f"{state}: {each['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize(
    ("screen", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["light desktop", "dark phone"]
)
async def test_axe_finds_nothing_serious_in_any_state(
    open_page: OpenPage, course: str, read_course: str, screen: dict[str, int], scheme: str
) -> None:
    tab = await open_page(viewport=screen, color_scheme=scheme)
    page, findings = tab.page, []

    async def check(state: str) -> None:
        findings.extend(await serious_findings(tab, state))

    await page.goto(tab.url)
    await page.fill("#token", "not-a-token")
    await page.click("#sign-in-button")
    await expect(page.locator("#sign-in-error")).not_to_be_empty()
    await check("sign-in")
    await tab.open(course)
    await expect(page.locator("#empty")).to_be_visible()
    await check("empty")
    await page.route("**/courses/*/materials", lambda route: None)
    await tab.upload("waiting.txt", b"text\n")
    await tab.upload("archive.zip", b"")
    await expect(page.locator(".upload")).to_have_count(2)
    await check("uploading")
    await page.click("#uploads-cancel")
    await page.click("#course")
    await expect(page.get_by_role("option").first).to_be_visible()
    await check("course picker")
    await tab.open(read_course)
    await check("list")
    await page.locator(".material .delete").first.click()
    await check("confirmation")
    await page.keyboard.press("Escape")
    await page.click("#account-button")
    await check("account")
    await page.keyboard.press("Escape")
    await tab.search("why do siblings differ?")
    await check("results")
    await page.locator(".result-open").first.click()
    await expect(page.locator("#sheet-text mark")).to_be_visible()
    await check("reader")
    await page.get_by_role("tab", name="History").click()
    await expect(page.locator(".history-event").first).to_be_visible()
    await check("history")
    assert findings == []


async def test_a_keyboard_alone_uploads_searches_and_reads(tab: CoursePage, course: str, tmp_path: Path) -> None:
    (tmp_path / "cells.pdf").write_bytes(pdf(MITOSIS))
    await tab.page.goto(tab.url)
    await expect(tab.page.locator("#token")).to_be_focused()
    await tab.page.keyboard.insert_text(tab.token)
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("#choose-course")).to_be_visible()
    await tab_to(tab, "course")
    await tab.page.keyboard.insert_text(course)
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("#empty")).to_be_visible()

    await tab_to(tab, "upload")
    async with tab.page.expect_file_chooser() as chooser:
        await tab.page.keyboard.press("Enter")
    await (await chooser.value).set_files(tmp_path / "cells.pdf")
    await tab.expect_state("cells.pdf", "Ready")

    await tab.page.keyboard.press("/")
    await expect(tab.page.locator("#query")).to_be_focused()
    await tab.page.keyboard.insert_text("copies of chromosomes")
    await tab.page.keyboard.press("Enter")
    result = tab.page.locator(".result-open").first
    await expect(result).to_be_visible()
    await tab_to(tab, "", ".result-open")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("#sheet-text mark")).to_contain_text("Mitosis")
    await tab.page.keyboard.press("Escape")
    await expect(result).to_be_focused()


async def tab_to(tab: CoursePage, element_id: str, selector: str = "") -> None:
    """Presses Tab until the element has the focus; fails when it is not reached."""
    wanted = selector or f"#{element_id}"
    for _ in range(30):
        if await tab.page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
            return
        await tab.page.keyboard.press("Tab")
    raise AssertionError(f"{wanted} cannot be reached with Tab")


async def test_the_colours_follow_the_system_until_somebody_chooses(open_page: OpenPage) -> None:
    tab = await open_page(color_scheme="dark")
    await tab.page.goto(await tab.sign_in_link())
    theme = tab.page.locator("html")
    await expect(theme).to_have_attribute("data-theme", "dark")
    await tab.page.get_by_role("button", name="Dark colours").click()
    await expect(theme).to_have_attribute("data-theme", "light")
    await tab.page.reload()
    await expect(theme).to_have_attribute("data-theme", "light")
    await tab.page.get_by_role("button", name="Dark colours").click()
    await tab.page.emulate_media(color_scheme="light")
    await expect(theme).to_have_attribute("data-theme", "light")


async def test_who_wants_no_motion_sees_none(open_page: OpenPage, read_course: str) -> None:
    tab = await open_page(reduced_motion="reduce")
    await tab.open(read_course)
    await tab.row("cells.pdf").locator(".material-name").click()
    await expect(tab.page.locator("#sheet-text")).to_contain_text("Mitosis")
    moving = "document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 1).length"
    assert await tab.page.evaluate(moving) == 0
