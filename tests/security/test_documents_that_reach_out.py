"""Documents that want something run or fetched: what they show is read, and nothing else happens.

A listener on this machine waits for a connection, and a file for being made; neither comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from materials.v1 import material_pb2
from materials.v1 import processor_service_pb2 as pb
from PIL import Image

from processor_service.documents.rendering import DocumentRenderer
from tests.integration.rendered_documents import PDF, PICTURES, opened
from tests.local_stack import Client
from tests.security import reaching_pdfs

Made = Callable[[bytes, Path], bytes]
EVERY_KIND: list[Made] = [
    reaching_pdfs.script,
    reaching_pdfs.actions,
    lambda url, marker: reaching_pdfs.embedded_file(marker),
    lambda url, marker: reaching_pdfs.remote_images(url),
    lambda url, marker: reaching_pdfs.xfa(url),
]
KINDS = ["script", "actions", "embedded file", "remote images", "XFA"]


class Listener:
    """Counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        """At the end it connects once itself, and fails when it has not heard that: a deaf listener proves nothing."""
        heard = asyncio.Event()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            writer.close()
            heard.set()

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{port}/fetched.png"
            yield self
            before = self.connections
            heard.clear()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(10):
                await heard.wait()
            writer.close()
            assert self.connections == before + 1


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with Listener().listening() as listening:
        yield listening


@pytest.mark.parametrize("made", EVERY_KIND, ids=KINDS)
async def test_drawing_it_runs_nothing_and_fetches_nothing(made: Made, listener: Listener, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "document"
    path.write_bytes(made(listener.url.encode(), marker))
    async with DocumentRenderer(PICTURES) as renderer:
        assert (await renderer.open(path, PDF)).pages == 1
        assert ink(opened(await renderer.render(0))) > 1_000, "its line is not on the page"
    async with DocumentRenderer() as renderer:
        await renderer.open(path, PDF)
        assert (await renderer.render(0)).text in (None, reaching_pdfs.LINE)
    assert listener.connections == 0
    assert list(tmp_path.iterdir()) == [path]


async def test_a_file_of_this_machine_is_not_drawn(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"0 0 600 800 re f")
    drawn = []
    for place in (secret, tmp_path / "nothing here"):
        path = tmp_path / "document"
        path.write_bytes(reaching_pdfs.local_file(place))
        async with DocumentRenderer(PICTURES) as renderer:
            await renderer.open(path, PDF)
            drawn.append(opened(await renderer.render(0)))
    assert ink(drawn[0]) == ink(drawn[1]) > 1_000


async def test_read_by_the_whole_system_it_is_its_visible_text_and_no_more(
    client: Client, course: str, listener: Listener, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    url = listener.url.encode()
    contents = [reaching_pdfs.actions(url, marker), reaching_pdfs.remote_images(url)]
    uploaded = [await client.upload(content, course=course, name=listener.url) for content in contents]
    for material in uploaded:
        ended = (await client.watch_to_end(material.id))[-1]
        assert ended.processing_status == material_pb2.PROCESSING_STATUS_COMPLETED, ended.error_message
        assert [squeezed(text) for text in await pages(client, material.id)] == [squeezed(reaching_pdfs.LINE)]
    assert listener.connections == 0
    assert not marker.exists()


async def test_addresses_in_text_are_text(client: Client, course: str, listener: Listener) -> None:
    text = (
        f"# Volcanoes\n\n![map]({listener.url}) <img src='{listener.url}'> <script src='{listener.url}'></script>\n"
        f"[notes]: {listener.url}\n"
    )
    material = await client.upload(text.encode(), course=course, name="volcanoes.md")
    ended = (await client.watch_to_end(material.id))[-1]
    assert ended.processing_status == material_pb2.PROCESSING_STATUS_COMPLETED
    assert await pages(client, material.id) == [text]
    assert listener.connections == 0


async def pages(client: Client, material_id: str) -> list[str]:
    request = pb.GetMaterialTextRequest(material_id=material_id)
    call = client.processor.GetMaterialText(request, metadata=client.metadata, timeout=30)
    return [page.text async for page in call]


def squeezed(text: str) -> str:
    """Without what a reading may add or lose between words."""
    return "".join(text.split())


def ink(image: Image.Image) -> int:
    """How many pixels are dark."""
    return sum(image.convert("L").histogram()[:128])
