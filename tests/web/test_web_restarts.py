"""The gateway dies in the middle: the page goes on by itself."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator

import pytest
from materials.v1 import status_service_pb2
from playwright.async_api import Request, Route, expect

from tests.local_stack import Client, LocalStack
from tests.web.course_page import CoursePage
from tests.web.web_documents import MITOSIS, pdf

RESTARTED_MS = 30_000


def kill_gateway(stack: LocalStack) -> None:
    """As a crash would; the supervisor starts another at the same address."""
    os.kill(stack.current()["pids"]["gateway"], signal.SIGKILL)


@pytest.fixture
async def slow_line(tab: CoursePage) -> AsyncIterator[None]:
    """Uploads take seconds."""
    network = await tab.page.context.new_cdp_session(tab.page)
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000}
    await network.send("Network.emulateNetworkConditions", conditions)
    yield
    await network.detach()


@pytest.mark.usefixtures("slow_line")
async def test_an_upload_under_way_arrives_once_all_the_same(tab: CoursePage, stack: LocalStack, course: str) -> None:
    await tab.open(course)
    await tab.upload("large.txt", b"All of this is sent, or none of it.\n" * 40_000)
    await expect(tab.uploading("large.txt").locator(".upload-state")).to_have_text(
        re.compile(r"^[1-9]\d?% of"), timeout=RESTARTED_MS
    )
    kill_gateway(stack)
    await expect(tab.uploading("large.txt")).to_have_attribute("data-state", "waiting")
    await expect(tab.page.locator("#uploads")).to_be_hidden(timeout=RESTARTED_MS)
    await expect(tab.page.locator(".material")).to_have_count(1)
    await tab.expect_state("large.txt", "Waiting", "Opening", "Reading", "Ready")


async def test_the_list_says_that_it_reconnects_and_misses_nothing_and_a_search_meanwhile_is_answered(
    tab: CoursePage, stack: LocalStack, client: Client, course: str
) -> None:
    before = await client.upload(b"Oxygen comes from water.\n", course=course, name="before.txt")
    await client.watch_to_end(before.id)
    await tab.open(course)
    kill_gateway(stack)
    await expect(tab.page.locator("#connection")).to_have_text("Reconnecting…")
    await tab.page.fill("#query", "where does oxygen come from?")
    await tab.page.press("#query", "Enter")
    during = await client.upload(pdf(MITOSIS), course=course, name="during.pdf")
    await expect(tab.page.locator(".result-name").first).to_have_text("before.txt", timeout=RESTARTED_MS)
    await expect(tab.page.locator("#connection")).to_be_empty(timeout=RESTARTED_MS)
    await tab.page.click("#results-close")
    await client.watch_to_end(during.id)
    await tab.expect_state("during.pdf", "Ready")


async def test_a_resume_token_that_is_refused_starts_again_and_drops_what_is_gone(
    tab: CoursePage, stack: LocalStack, client: Client, course: str
) -> None:
    kept = await client.upload(b"This one stays.\n", course=course, name="kept.txt")
    gone = await client.upload(b"This one goes.\n", course=course, name="gone.txt")
    for material in (kept, gone):
        await client.watch_to_end(material.id)
    await tab.open(course)
    await expect(tab.row("gone.txt")).to_be_visible()

    async def spoil(route: Route, request: Request) -> None:
        await route.continue_(url=request.url.split("?")[0] + "?last_event_id=never-given")

    await tab.page.route("**/courses/*/events?last_event_id=*", spoil)
    kill_gateway(stack)
    request = status_service_pb2.DeleteMaterialRequest(material_id=gone.id)
    await client.status.DeleteMaterial(request, metadata=client.metadata, timeout=20)
    async with tab.page.expect_response(lambda answer: "/events" in answer.url and answer.status == 400):
        await expect(tab.row("gone.txt")).to_have_count(0, timeout=RESTARTED_MS)
    await expect(tab.row("kept.txt")).to_be_visible()
    await expect(tab.page.locator("#connection")).to_be_empty()
