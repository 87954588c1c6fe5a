"""A real browser in front of the real stack. Each test gets a fresh profile, and fails on anything the browser complains of."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.contract.answer_script import AnswerScript
from tests.contract.gateway_process import started_gateway
from tests.contract.scripted_services import scripted_services
from tests.local_stack import LocalStack, unique_course
from tests.web.answering import Answering
from tests.web.chromium import ARGUMENTS, NOT_FOUND, browser_environment, find_chromium
from tests.web.course_page import CoursePage
from tests.web.web_documents import LIGHT, MEIOSIS, MITOSIS, pdf

DESKTOP = {"width": 1440, "height": 900}
OpenPage = Callable[..., Awaitable[CoursePage]]
#: For a machine that has other things to do as well.
PATIENCE_MS = 20_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    executable = find_chromium()
    if executable is None:
        warnings.warn(NOT_FOUND, stacklevel=1)
        pytest.skip(NOT_FOUND)
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=executable, args=ARGUMENTS, env=dict(browser_environment(executable))
        )
        yield running
        await running.close()


@pytest.fixture(scope="session")
def gateway_url(stack: LocalStack) -> str:
    return f"http://{stack.facts['gateway']}"


@pytest.fixture
async def open_page(browser: Browser, stack: LocalStack, gateway_url: str) -> AsyncIterator[OpenPage]:
    """Opens a tab of its own profile; named arguments are those of the profile (`viewport`, `color_scheme`, …), the person's `token`, and another gateway's
    `url`."""
    opened: list[CoursePage] = []

    async def open_one(*, token: str | None = None, url: str | None = None, **profile: Any) -> CoursePage:
        context = await browser.new_context(**{"viewport": DESKTOP, **profile})
        context.set_default_timeout(PATIENCE_MS)
        tab = CoursePage(await context.new_page(), url or gateway_url, token or stack.facts["token"])
        tab.watch()
        opened.append(tab)
        return tab

    yield open_one
    for tab in opened:
        await tab.page.unroute_all(behavior="ignoreErrors")
        await tab.page.context.close()
    assert [wrong for tab in opened for wrong in tab.wrongs] == []


@pytest.fixture
async def tab(open_page: OpenPage) -> CoursePage:
    """One tab on a desktop's screen, as the demo user."""
    return await open_page()


@pytest.fixture(scope="session")
async def answering(stack: LocalStack) -> AsyncIterator[Answering]:
    """A gateway whose Processor answers as a test says."""
    async with (
        scripted_services(script := AnswerScript()),
        started_gateway(stack, {"processor": script.address}, EVENT_KEEPALIVE_SECONDS="0.2") as gateway,
    ):
        yield Answering(script, f"http://{gateway.address}")


@pytest.fixture(scope="session")
async def read_course(stack: LocalStack) -> str:
    """A course with materials that have been read, for tests that only look. `cells.pdf` has three pages, `locked.pdf` failed."""
    course = unique_course()
    async with stack.client() as client:
        cells = await client.upload(pdf(MITOSIS, MEIOSIS, LIGHT), course=course, name="cells.pdf")
        locked = await client.upload(pdf("secret", password="user"), course=course, name="locked.pdf")
        for material in (cells, locked):
            await client.watch_to_end(material.id)
    return course
