"""One process that all rendering children come from: shared by documents, and replaced when it dies."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from processor_service.documents.forkserver import RenderForkserver
from processor_service.documents.rendering import DocumentError, DocumentReason, DocumentRenderer
from tests.integration.rendered_documents import PDF, PICTURES, opened, pdf_of


@pytest.fixture
async def forkserver() -> AsyncIterator[RenderForkserver]:
    server = RenderForkserver()
    yield server
    await server.stop()


def child_of(renderer: DocumentRenderer) -> psutil.Process:
    assert renderer.child_pid is not None
    return psutil.Process(renderer.child_pid)


async def test_documents_have_a_child_each_of_one_forkserver_and_it_outlives_them(
    file: Callable[[bytes], Path], forkserver: RenderForkserver
) -> None:
    path = file(pdf_of("one"))
    async with DocumentRenderer(PICTURES, forkserver=forkserver) as first:
        await first.open(path, PDF)
        async with DocumentRenderer(PICTURES, forkserver=forkserver) as second:
            await second.open(path, PDF)
            assert child_of(first).pid != child_of(second).pid
            parent = child_of(first).ppid()
            assert child_of(second).ppid() == parent
            ended = child_of(second).pid
        assert not psutil.pid_exists(ended)
        assert opened(await first.render(0)).width == 2481
    assert psutil.pid_exists(parent)
    assert psutil.Process(parent).children() == []
    await forkserver.stop()
    assert not psutil.pid_exists(parent)


async def test_when_it_dies_its_children_do_and_the_next_call_starts_another(
    file: Callable[[bytes], Path], forkserver: RenderForkserver
) -> None:
    async with DocumentRenderer(PICTURES, forkserver=forkserver) as renderer:
        await renderer.open(file(pdf_of("one", "two")), PDF)
        before = child_of(renderer).ppid()
        os.kill(before, signal.SIGKILL)
        with pytest.raises(DocumentError) as raised:
            await renderer.render(0)
        assert (raised.value.reason, raised.value.permanent) == (DocumentReason.RENDERER_CRASHED, False)
        assert opened(await renderer.render(0)).width == 2481
        assert child_of(renderer).ppid() != before


async def test_children_hold_no_connection_of_another_document(
    file: Callable[[bytes], Path], forkserver: RenderForkserver
) -> None:
    path = file(pdf_of("one"))
    async with DocumentRenderer(forkserver=forkserver) as first, DocumentRenderer(forkserver=forkserver) as second:
        await first.open(path, PDF)
        await second.open(path, PDF)
        held = [
            {str(link.readlink()) for link in Path(f"/proc/{child_of(renderer).pid}/fd").iterdir()}
            for renderer in (first, second)
        ]
        sockets = [{place for place in places if place.startswith("socket:")} for places in held]
        assert all(len(each) == 1 for each in sockets)
        assert not sockets[0] & sockets[1]
