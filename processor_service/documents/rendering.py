"""Documents to page images, in a child process that may die; small text files to pages of text, without one.

A text file has no parser to attack, and up to `MAX_OWN_TEXT_BYTES` it costs this process a MiB and some milliseconds at
most, while starting a child costs far more than reading it: so it is decoded and cut here.

For all else `DocumentRenderer` owns at most one child (`render_child`, where the limits and the protocol are; `forkserver`, where it comes from), for one
document. The parent trusts it with nothing: it gets no environment but what Python needs to start, its replies
are bounded before they are read, each call has a deadline, and whatever goes wrong with a call (deadline, broken
protocol, death, our own cancellation) ends in SIGKILL, since a process that answers out of step is of no use. The next
call starts a new child and opens the document again, so one bad page does not cost the others.

Each call may use so much computing time, and all calls for a document together so much more: else a document of 2,000
pages, each of which takes what a page may take, would keep a replica busy for days. What a call has cost is what the child
says, within the time that has gone by; a call that ended its child has cost that time, up to what it was allowed.

A child that died is not proof against the document: the machine may be short of memory or time. So the first death on
a page is transient (`permanent=False`) and the second on the same page is permanent. A child that dies while a page's own
text may be read is not counted: the page is drawn at once, by another child that reads no text.
"""

import asyncio
import json
import math
import signal
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from processor_service.documents.document_pages import (
    PDF_TYPE,
    TEXT_TYPES,
    DocumentError,
    DocumentReason,
    RenderLimits,
    TextPages,
)
from processor_service.documents.forkserver import Child, RenderForkserver
from processor_service.documents.render_child import FRAME, MAX_HEADER_BYTES
from processor_service.metrics import RenderingMetrics

__all__ = ["DocumentError", "DocumentInfo", "DocumentReason", "DocumentRenderer", "RenderLimits", "RenderedPage"]

MAX_OWN_TEXT_BYTES = 64 * 1024
_EXIT_SECONDS = 2.0
_OPENING = -1  # stands for a page in the count of deaths


@dataclass(frozen=True)
class DocumentInfo:
    pages: int


@dataclass(frozen=True)
class RenderedPage:
    """Either the image of a page to be read (PNG, gray or RGB) or, for text files and pages of a PDF that have a good one, its text."""

    png: bytes | None
    text: str | None


class DocumentRenderer:
    """Renders one document; an async context manager, so that no child outlives its use.

    Calls made at the same time are answered in turn. `call_seconds` is the deadline of each. `forkserver`: where children come from; without one it has its
    own, which ends with it.
    """

    def __init__(
        self,
        limits: RenderLimits | None = None,
        *,
        forkserver: RenderForkserver | None = None,
        call_seconds: float = 120.0,
        metrics: RenderingMetrics | None = None,
    ) -> None:
        self._limits = limits or RenderLimits()
        self._forkserver, self._forkserver_is_own = forkserver or RenderForkserver(), forkserver is None
        self._call_seconds = call_seconds
        self._metrics = metrics or RenderingMetrics()
        self._turn = asyncio.Lock()
        self._child: Child | None = None
        self._document: tuple[Path, str] | None = None
        self._own_text: TextPages | None = None
        self._deaths: Counter[int] = Counter()
        self._drawn_only: set[int] = set()  # pages whose own text is not to be read
        self._cpu_left = float(self._limits.document_cpu_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._bury()
        if self._forkserver_is_own:
            await self._forkserver.stop()

    @property
    def _has_text(self) -> bool:
        return self._limits.text_layers and self._document is not None and self._document[1] == PDF_TYPE

    @property
    def child_pid(self) -> int | None:
        """Process id of the child; None while there is none."""
        return None if self._child is None else self._child.pid

    async def open(self, path: Path, media_type: str) -> DocumentInfo:
        """Opens the document that `render` is about; once for each renderer.

        Raises DocumentError; FileNotFoundError when there is no such file, which is not the document's fault.
        """
        assert self._document is None, "one renderer renders one document"
        self._document = (path, media_type)
        self._own_text = await asyncio.to_thread(_own_text, path, media_type, self._limits)
        if self._own_text is not None:
            return DocumentInfo(pages=self._own_text.pages)
        async with self._turn:
            return await self._open()

    async def render(self, page_index: int) -> RenderedPage:
        """Page `page_index`, counted from 0. Raises DocumentError; another page may still succeed after it."""
        assert self._document is not None, "open comes first"
        if self._own_text is not None:
            return RenderedPage(png=None, text=self._own_text.render(page_index))
        async with self._turn:
            header, body = await self._page(page_index)
        if header["kind"] == "text":
            return RenderedPage(png=None, text=body.decode())
        return RenderedPage(png=body, text=None)

    async def _page(self, page: int) -> tuple[dict[str, Any], bytes]:
        """The reply to a page's request. A page that ends the child while its own text may be read is drawn; that end is not held against it."""
        request = {"call": "render", "page": page}
        if self._child is None:
            await self._open()
        if not self._has_text or page in self._drawn_only:
            return await self._call(request, page)
        try:
            return await self._call(request, None)
        except DocumentError as error:
            if error.permanent:
                raise
        self._drawn_only.add(page)
        await self._open(text_layers=False)
        try:
            return await self._call(request, page)
        finally:
            await self._bury()  # the next page may have its text read

    async def _open(self, *, text_layers: bool = True) -> DocumentInfo:
        assert self._document is not None
        path, media_type = self._document
        await self._start()
        limits = replace(self._limits, text_layers=self._limits.text_layers and text_layers)
        request = {"call": "open", "path": str(path), "media_type": media_type, "limits": asdict(limits)}
        try:
            header, _ = await self._call(request, _OPENING)
        except DocumentError:
            await self._bury()  # it lives but has no document open
            raise
        return DocumentInfo(pages=int(header["pages"]))

    async def _start(self) -> None:
        self._child = await self._forkserver.child()

    async def _call(self, request: dict[str, Any], page: int | None) -> tuple[dict[str, Any], bytes]:
        """One exchange; page is what a death is held against, if anything."""
        assert self._child is not None
        allowed = min(self._limits.cpu_seconds, math.ceil(self._cpu_left))
        if allowed < 1:
            raise self._spent()
        clock = asyncio.get_running_loop().time
        begun = clock()
        answered: float | None = None
        try:
            async with asyncio.timeout(self._call_seconds):
                header, body = await self._exchange(self._child, request | {"cpu_seconds": allowed})
            answered = max(0.0, float(header["cpu_seconds"]))
        except TimeoutError as error:
            await self._bury()
            raise self._death(page, DocumentReason.RENDERING_TIMED_OUT, "took too long to be drawn") from error
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError) as error:
            # RuntimeError: what uvloop raises for a write to a child that has gone.
            reason, what = _cause_of_death(await self._last_status())
            if reason is DocumentReason.RENDERING_TIMED_OUT and allowed >= self._cpu_left:
                raise self._spent() from error
            raise self._death(page, reason, what) from error
        except BaseException:
            await self._bury()
            raise
        finally:
            self._cpu_left -= min(allowed if answered is None else answered, clock() - begun)
        if "error" in header:
            problem = header["error"]
            raise DocumentError(
                DocumentReason(problem["reason"]), str(problem["message"]), permanent=bool(problem["permanent"])
            )
        return header, body

    async def _exchange(self, child: Child, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Raises IncompleteReadError or ConnectionError when the child is gone, or answers beyond the bounds."""
        encoded = json.dumps(request).encode()
        child.writer.write(FRAME.pack(len(encoded), 0) + encoded)
        await child.writer.drain()
        header_bytes, body_bytes = FRAME.unpack(await child.reader.readexactly(FRAME.size))
        if header_bytes > MAX_HEADER_BYTES or body_bytes > self._limits.max_page_bytes:
            raise ConnectionAbortedError("the reply is larger than its bounds")
        header = json.loads(await child.reader.readexactly(header_bytes))
        return header, await child.reader.readexactly(body_bytes)

    async def _last_status(self) -> int | None:
        """How a child that has closed its output ended: its exit status, or minus the signal; None if it did not."""
        assert self._child is not None
        try:
            # Killing it at once could take its status away from asyncio.
            async with asyncio.timeout(_EXIT_SECONDS):
                return await asyncio.shield(self._child.ended)
        except TimeoutError:
            return None
        finally:
            await self._bury()

    async def _bury(self) -> None:
        """Kills the child, if there is one, and waits until it is gone."""
        child, self._child = self._child, None
        if child is not None:
            await child.end()

    def _spent(self) -> DocumentError:
        return DocumentError(
            DocumentReason.RENDERING_TIMED_OUT,
            "The document takes more computing time than is allowed for all its pages. Split it, or save it in a simpler form.",
        )

    def _death(self, page: int | None, reason: DocumentReason, what: str) -> DocumentError:
        timed_out = reason is DocumentReason.RENDERING_TIMED_OUT
        self._metrics.deaths.labels("timed_out" if timed_out else "crashed").inc()
        if page is None:
            return DocumentError(reason, f"A page {what}.", permanent=False)
        self._deaths[page] += 1
        subject = "The document" if page == _OPENING else f"Page {page + 1}"
        return DocumentError(reason, f"{subject} {what}.", permanent=self._deaths[page] > 1)


def _own_text(path: Path, media_type: str, limits: RenderLimits) -> TextPages | None:
    """The pages of a small text file; None for what a child has to open. Raises DocumentError, FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(path)
    if media_type not in TEXT_TYPES or path.stat().st_size > MAX_OWN_TEXT_BYTES:
        return None
    return TextPages(str(path), limits)


def _cause_of_death(status: int | None) -> tuple[DocumentReason, str]:
    if status == -signal.SIGXCPU:
        return DocumentReason.RENDERING_TIMED_OUT, "took too much computing time to be drawn"
    if status is not None and status < 0:
        return DocumentReason.RENDERER_CRASHED, f"ended its renderer ({signal.Signals(-status).name})"
    return DocumentReason.RENDERER_CRASHED, "broke its renderer"
