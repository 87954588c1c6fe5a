"""Files on their way: chosen, dropped, several at once, refused, cut off and tried again."""

from __future__ import annotations

import asyncio
import json

from playwright.async_api import Request, Route, expect

from tests.local_stack import Client
from tests.web.course_page import CoursePage
from tests.web.web_documents import LIGHT, MEIOSIS, MITOSIS, pdf

POSTS = "**/courses/*/materials"
#: Keeps every text the page shows at `selector`, in order.
RECORD = """(selector) => {
  globalThis.shownTexts = [];
  new MutationObserver(() => {
    for (const element of document.querySelectorAll(selector)) {
      if (globalThis.shownTexts.at(-1) !== element.textContent) globalThis.shownTexts.push(element.textContent);
    }
  }).observe(document.getElementById("course-page"), { subtree: true, childList: true, characterData: true, attributes: true });
}"""


async def test_a_file_chosen_is_read_page_by_page_before_ones_eyes(tab: CoursePage, course: str) -> None:
    await tab.open(course)
    await tab.page.evaluate(RECORD, ".state-note")
    async with tab.page.expect_file_chooser() as chooser:
        await tab.page.click("#upload")
    await (await chooser.value).set_files(
        {"name": "cells.pdf", "mimeType": "application/pdf", "buffer": pdf(*(MITOSIS, MEIOSIS, LIGHT) * 20)}
    )
    await tab.expect_state("cells.pdf", "Ready")
    # How far it is comes ten times a second at most: three pages would be read before.
    assert any(" of 60 pages" in text for text in await tab.page.evaluate("shownTexts"))
    await expect(tab.row("cells.pdf").locator(".material-facts")).to_contain_text("60 pages")
    await expect(tab.row("cells.pdf").locator(".cancel")).to_be_hidden()


async def test_files_dropped_anywhere_on_the_page_are_uploaded(tab: CoursePage, course: str) -> None:
    await tab.open(course)
    dropped = await tab.page.evaluate_handle(
        """() => {
          const transfer = new DataTransfer();
          for (const name of ["one.txt", "two.txt"]) transfer.items.add(new File([`This is ${name}.`], name));
          return transfer;
        }"""
    )
    await tab.page.dispatch_event("h1", "dragenter", {"dataTransfer": dropped})
    await expect(tab.page.locator("#drop")).to_contain_text(course)
    await tab.page.dispatch_event("h1", "drop", {"dataTransfer": dropped})
    await expect(tab.page.locator("#drop")).to_be_hidden()
    for name in ("one.txt", "two.txt"):
        await tab.expect_state(name, "Ready")
    await expect(tab.page.locator("#uploads")).to_be_hidden()


async def test_an_encrypted_pdf_says_why_it_failed_and_offers_no_retry(tab: CoursePage, course: str) -> None:
    await tab.open(course)
    await tab.upload("locked.pdf", pdf("secret", password="user"))
    await tab.expect_state("locked.pdf", "Failed")
    await expect(tab.row("locked.pdf").locator(".material-error")).to_contain_text("password")
    await expect(tab.row("locked.pdf").locator(".retry")).to_be_hidden()
    await expect(tab.page.locator("#announcer")).to_contain_text("locked.pdf failed")


async def test_what_was_cancelled_can_be_retried(tab: CoursePage, course: str) -> None:
    await tab.open(course)
    await tab.upload("long.pdf", pdf(*[MITOSIS] * 40))
    await tab.row("long.pdf").locator(".cancel").click()
    await tab.expect_state("long.pdf", "Cancelled")
    await tab.row("long.pdf").locator(".retry").click()
    await tab.expect_state("long.pdf", "Waiting", "Opening", "Reading")
    await tab.row("long.pdf").locator(".cancel").click()
    await tab.expect_state("long.pdf", "Cancelled")


async def test_a_file_that_is_refused_says_why_in_the_servers_words(tab: CoursePage, course: str) -> None:
    await tab.open(course)
    await tab.upload("archive.zip", b"PK\x03\x04" + bytes(200))
    await expect(tab.uploading("archive.zip")).to_have_attribute("data-state", "failed")
    await expect(tab.uploading("archive.zip").locator(".upload-state")).to_contain_text("PDF")
    await tab.uploading("archive.zip").get_by_role("button", name="Retry archive.zip").click()
    await expect(tab.uploading("archive.zip")).to_have_attribute("data-state", "failed")
    await tab.uploading("archive.zip").get_by_role("button", name="Dismiss archive.zip").click()
    await expect(tab.page.locator("#uploads")).to_be_hidden()


async def test_three_go_at_once_the_others_wait_and_each_can_be_cancelled(tab: CoursePage, course: str) -> None:
    await tab.open(course)
    gate = asyncio.Event()

    async def hold(route: Route) -> None:
        await gate.wait()
        await route.continue_()

    await tab.page.route(POSTS, hold)
    names = [f"part-{number}.txt" for number in range(6)]
    await tab.page.set_input_files(
        "#files", [{"name": name, "mimeType": "text/plain", "buffer": f"This is {name}.".encode()} for name in names]
    )
    await expect(tab.page.locator('.upload[data-state="sending"]')).to_have_count(3)
    await expect(tab.page.locator('.upload[data-state="queued"]')).to_have_count(3)
    await tab.page.get_by_role("button", name="Cancel the upload of part-0.txt").click()
    await tab.page.get_by_role("button", name="Cancel the upload of part-5.txt").click()
    await expect(tab.page.locator('.upload[data-state="sending"]')).to_have_count(3)
    gate.set()
    await expect(tab.page.locator("#uploads")).to_be_hidden()
    await expect(tab.page.locator(".material")).to_have_count(4)


async def test_a_try_that_fails_in_passing_is_made_again_under_the_same_key(
    tab: CoursePage, client: Client, course: str
) -> None:
    await tab.open(course)
    keys: list[str | None] = []
    busy = {"title": "Too Many Requests", "status": 429, "detail": "too many uploads", "retry_after": 0.1}

    async def fail_twice(route: Route, request: Request) -> None:
        keys.append(await request.header_value("Idempotency-Key"))
        if len(keys) == 1:
            await route.fulfill(status=429, content_type="application/problem+json", body=json.dumps(busy))
        elif len(keys) == 2:
            # It arrives, and the answer is lost.
            await route.fetch()
            await route.abort("connectionreset")
        else:
            await route.continue_()

    await tab.page.route(POSTS, fail_twice)
    await tab.page.evaluate(RECORD, ".upload-state")
    await tab.upload("notes.txt", b"Notes that arrive once.\n")
    await tab.expect_state("notes.txt", "Ready")
    await expect(tab.page.locator("#uploads")).to_be_hidden()
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert any("Too many uploads. Trying again" in text for text in await tab.page.evaluate("shownTexts"))
    await expect(tab.page.locator(".material")).to_have_count(1)
