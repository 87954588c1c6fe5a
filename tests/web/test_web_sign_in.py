"""Who is at the page: signing in, signing out, and a session that ends in the middle of the work."""

from __future__ import annotations

import time

import httpx
from playwright.async_api import expect

from tests.local_stack import LocalStack
from tests.web.conftest import OpenPage
from tests.web.course_page import CoursePage


async def test_a_link_signs_in_and_its_ticket_leaves_the_address(tab: CoursePage) -> None:
    await tab.page.goto(await tab.sign_in_link())
    await expect(tab.page.locator("#no-course")).to_be_visible()
    assert "sign-in" not in tab.page.url
    await expect(tab.page.locator("#sign-in")).to_be_hidden()


async def test_a_link_that_was_used_says_so_and_a_pasted_link_or_token_signs_in(tab: CoursePage) -> None:
    link = await tab.sign_in_link()
    async with httpx.AsyncClient() as client:
        (await client.post(tab.url + "/session", json={"ticket": link.split("=", 1)[1]})).raise_for_status()
    await tab.page.goto(link)
    await expect(tab.page.locator("#sign-in-error")).to_contain_text("used before or is too old")
    await expect(tab.page.locator("#sign-in-hint")).to_contain_text("materials open")

    await tab.page.fill("#token", await tab.sign_in_link())
    await tab.page.click("#sign-in-button")
    await expect(tab.page.locator("#no-course")).to_be_visible()

    await tab.page.context.clear_cookies()
    await tab.page.reload()
    await tab.page.fill("#token", tab.token)
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("#no-course")).to_be_visible()


async def test_a_token_that_is_none_is_refused_in_the_servers_words(tab: CoursePage) -> None:
    await tab.page.goto(tab.url)
    await tab.page.fill("#token", "not-a-token")
    await tab.page.click("#sign-in-button")
    await expect(tab.page.locator("#sign-in-error")).not_to_be_empty()
    await expect(tab.page.locator("#page")).to_be_hidden()


async def test_signing_out_ends_the_session_and_forgets_the_courses(tab: CoursePage, course: str) -> None:
    await tab.open(course)
    await tab.page.click("#account-button")
    await expect(tab.page.locator(".account-name")).to_have_text("demo-user")
    await tab.page.click("#sign-out")
    await expect(tab.page.locator("#sign-in")).to_be_visible()
    assert await tab.page.context.cookies() == []
    assert await tab.page.evaluate("localStorage.getItem('courses')") is None


async def test_a_session_that_ended_brings_the_card_back_and_the_search_goes_on(
    tab: CoursePage, read_course: str
) -> None:
    await tab.open(read_course)
    await tab.page.context.clear_cookies()
    await tab.page.fill("#query", "egg and sperm")
    await tab.page.press("#query", "Enter")
    await expect(tab.page.locator("#sign-in")).to_be_visible()
    await expect(tab.page.locator(".material")).to_have_count(2)
    await tab.page.fill("#token", tab.token)
    await tab.page.click("#sign-in-button")
    await expect(tab.page.locator(".result").first).to_be_visible()
    await expect(tab.page.locator("#query")).to_have_value("egg and sperm")


async def test_a_stream_whose_session_ended_asks_to_sign_in_and_is_live_again(
    stack: LocalStack, open_page: OpenPage, course: str
) -> None:
    tab = await open_page(token=stack.user_token("maria", {course: "editor"}, exp=int(time.time()) + 3))
    await tab.open(course)
    await expect(tab.page.locator("#sign-in")).to_be_visible(timeout=60_000)
    await tab.page.fill("#token", stack.user_token("maria", {course: "editor"}))
    await tab.page.click("#sign-in-button")
    await expect(tab.page.locator("#sign-in")).to_be_hidden()
    await tab.upload("after.txt", b"Written after the second sign-in.\n")
    await tab.expect_state("after.txt", "Ready")


async def test_who_may_only_read_is_offered_nothing_that_would_be_refused(
    stack: LocalStack, open_page: OpenPage, read_course: str
) -> None:
    tab = await open_page(token=stack.user_token("tom", {read_course: "reader"}))
    await tab.open(read_course)
    await expect(tab.row("cells.pdf").locator(".material-owner")).to_have_text("demo-user")
    for offer in ("#upload", ".material .delete", ".material .retry"):
        await expect(tab.page.locator(offer).first).to_be_hidden()
