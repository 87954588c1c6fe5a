"""The page as a person uses it, and what must never happen on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from playwright.async_api import ConsoleMessage, Locator, Page, Request, expect

#: Chromium's own line for each answer of 400 and more; the page handles those.
ANSWERED_WITH_AN_ERROR = "Failed to load resource"
READY_MS = 60_000


@dataclass
class CoursePage:
    """A tab. `url`: the gateway's; `token`: of the person at the keyboard."""

    page: Page
    url: str
    token: str
    wrongs: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Keeps what the browser complains of, and every request to another host."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.wrongs.append(f"uncaught: {error}"))
        self.page.on("request", self._on_request)
        # From the start: asked for only when a test is about to choose, the browser may open its own dialog first.
        self.page.on("filechooser", lambda _: None)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and ANSWERED_WITH_AN_ERROR not in message.text:
            self.wrongs.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.url + "/", "data:", "blob:")):
            self.wrongs.append(f"request to another host: {request.url}")

    async def sign_in_link(self) -> str:
        """A fresh link, as `materials open` makes it."""
        async with httpx.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}) as client:
            answer = await client.post("/tickets", json={"purpose": "sign-in"})
        answer.raise_for_status()
        return self.url + str(answer.json()["url"])

    async def open(self, course: str, query: Mapping[str, str] | None = None) -> None:
        """Signs in by cookie and opens a course; returns once its materials are there."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            answer = await client.post("/session", json={"token": self.token})
        answer.raise_for_status()
        cookies = [{"name": name, "value": value, "url": self.url} for name, value in answer.cookies.items()]
        await self.page.context.add_cookies(cookies)  # type: ignore[arg-type]
        await self.page.goto(f"{self.url}/?{httpx.QueryParams({'course': course, **(query or {})})}")
        await expect(self.page.locator("#course-summary")).to_contain_text("material")

    async def upload(self, name: str, content: bytes, media_type: str = "application/octet-stream") -> None:
        """Chooses a file, as with the button."""
        await self.page.set_input_files("#files", {"name": name, "mimeType": media_type, "buffer": content})

    def row(self, name: str) -> Locator:
        """The material with this name in the list."""
        return self.page.locator(".material").filter(has=self.page.get_by_role("button", name=name, exact=True))

    def uploading(self, name: str) -> Locator:
        """The file with this name on its way."""
        return self.page.locator(".upload").filter(has_text=name)

    async def expect_state(self, name: str, *words: str) -> None:
        """Waits until the material stands so."""
        pattern = re.compile("|".join(map(re.escape, words)))
        await expect(self.row(name).locator(".state-word")).to_have_text(pattern, timeout=READY_MS)

    async def search(self, query: str) -> Locator:
        """Types and presses Enter; returns the results once they are there."""
        await self.page.fill("#query", query)
        await self.page.press("#query", "Enter")
        results = self.page.locator(".result")
        await expect(results.first).to_be_visible()
        await expect(self.page.locator("#results")).not_to_have_attribute("aria-busy", "true")
        return results
