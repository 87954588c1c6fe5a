"""The command line sends files: again when they are put off, at most three at once, and watches them when asked to."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from materials.v1 import errors_pb2, ingest_service_pb2
from materials.v1 import material_pb2 as pb

from servicekit.errors import FieldInvalid, ServiceError, Unavailable
from tests.contract.command_line import DEADLINE, ID, Cli, Received, accept, ended, material, receive, watched
from tests.contract.scripted_services import ScriptedServices, refuse


async def test_an_upload_put_off_is_sent_again_whole_with_the_same_request_id(
    services: ScriptedServices, cli: Cli
) -> None:
    tries: list[Received] = []
    refusals = [
        Unavailable(errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE, "the record cannot be reached", retry_after=0.01),
        Unavailable(errors_pb2.ERROR_REASON_TOO_MANY_UPLOADS, "as many uploads as it can", retry_after=0.01),
    ]

    async def upload(messages: Any, context: Any) -> Any:
        tries.append(await receive(messages))
        if refusals:
            await refuse(context, refusals.pop(0))
        return ingest_service_pb2.UploadMaterialResponse(material=material(1, "pending"))

    services.on("UploadMaterial", upload)
    content = os.urandom(600_000)
    result = await cli.run("upload", cli.file("a.pdf", content), "--course", "algebra", "--json")
    assert result.code == 0, result.err
    assert [document["id"] for document in result.documents] == [ID]
    assert result.documents[0] | {"file": "a.pdf", "processing_status": "pending"} == result.documents[0]
    assert len(tries) == 3
    assert len({each.metadata.request_id for each in tries}) == 1
    for each in tries:
        assert (each.metadata.course_id, each.metadata.name, each.metadata.file_size) == ("algebra", "a.pdf", 600_000)
        assert b"".join(each.chunks) == content
        assert max(map(len, each.chunks)) == 256 * 1024
    assert result.err == "a.pdf: the record cannot be reached; trying again\n"


async def test_an_upload_that_stays_refused_ends_after_its_retries(services: ScriptedServices, cli: Cli) -> None:
    tries = 0

    async def upload(messages: Any, context: Any) -> Any:
        nonlocal tries
        tries += 1
        await receive(messages)
        await refuse(context, Unavailable(errors_pb2.ERROR_REASON_RECORD_UNAVAILABLE, "no record", retry_after=0.01))

    services.on("UploadMaterial", upload)
    result = await cli.run("upload", cli.file("a.pdf"), "-c", "algebra", "--retries", "1", "--json")
    assert result.code == 3
    assert tries == 2
    assert result.documents == [
        {"file": "a.pdf", "error": {"reason": "record_unavailable", "message": "a.pdf: no record"}}
    ]


@pytest.mark.parametrize("retries", ["1", "0"])
@pytest.mark.parametrize(
    ("reason", "message", "advice"),
    [
        (errors_pb2.ERROR_REASON_TOO_MANY_UNFINISHED, "500 wait; cancel some", "; see them with `materials list"),
        (errors_pb2.ERROR_REASON_MEMORY_SHORT, "this replica is short of memory", "; try again in a moment"),
        (errors_pb2.ERROR_REASON_OBJECT_STORE_FULL, "the object store has no room", "; tell whoever runs the service"),
    ],
)
async def test_an_upload_refused_before_its_bytes_waits_as_told_and_says_for_what(
    services: ScriptedServices, cli: Cli, reason: Any, message: str, advice: str, retries: str
) -> None:
    tries: list[str] = []

    async def upload(messages: Any, context: Any) -> Any:
        first = await anext(messages)
        tries.append(first.metadata.request_id)
        if len(tries) < 3:
            await refuse(context, Unavailable(reason, message, retry_after=0.01))
        return ingest_service_pb2.UploadMaterialResponse(material=material(1, "pending"))

    services.on("UploadMaterial", upload)
    file = cli.file("a.pdf", bytes(3_000_000))
    given_up = await cli.run("upload", file, "-c", "algebra", "--retries", retries)
    assert (given_up.code, given_up.out) == (1, "")
    *notices, last = given_up.err.splitlines()
    assert last.startswith(f"error: a.pdf: {message}{advice}")
    assert notices == [f"a.pdf: {message.partition(';')[0]}; trying again"][: int(retries)]
    assert len(tries) == int(retries) + 1
    uploaded = await cli.run("upload", file, "-c", "algebra")
    assert uploaded.code == 0
    assert len(set(tries)) == 2, "each command keeps its request id over all its tries"


async def test_bars_say_what_an_upload_waits_for_before_when(services: ScriptedServices, cli: Cli) -> None:
    tries = 0

    async def upload(messages: Any, context: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            await refuse(
                context, Unavailable(errors_pb2.ERROR_REASON_TOO_MANY_UNFINISHED, "500 of yours wait", retry_after=0.2)
            )
        return await accept(messages, context)

    services.on("UploadMaterial", upload)
    async with cli.terminal("upload", cli.file("a.pdf"), "-c", "algebra") as terminal:
        await terminal.shows("500 of yours wait; trying again in 0.2 s (1 of 8)")
        await terminal.shows("uploaded")
        assert await terminal.ends() == 0


async def test_a_refusal_in_the_middle_is_told_in_the_words_of_the_service(
    services: ScriptedServices, cli: Cli
) -> None:
    async def upload(messages: Any, context: Any) -> Any:
        await anext(messages)
        await refuse(context, FieldInvalid("name", "must not contain the character U+001B"))

    services.on("UploadMaterial", upload)
    files = [cli.file(f"bad-\x1b[31m-{number}.pdf", bytes(3_000_000)) for number in range(12)]
    result = await cli.run("upload", *files, "-c", "algebra")
    assert result.code == 1
    lines = result.err.splitlines()
    assert len(lines) == 12
    assert all("name: must not contain the character U+001B" in line and "\\x1b" in line for line in lines)
    assert "\x1b" not in result.err


async def test_at_most_three_uploads_are_on_their_way_at_once(services: ScriptedServices, cli: Cli) -> None:
    running, most, three = 0, 0, asyncio.Event()

    async def upload(messages: Any, context: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            three.set()
        async with asyncio.timeout(DEADLINE):
            await three.wait()
        response = await accept(messages, context)
        running -= 1
        return response

    services.on("UploadMaterial", upload)
    for number in range(7):
        cli.file(f"{number}.pdf")
    result = await cli.run("upload", "*.pdf", "-c", "algebra")
    assert result.code == 0
    assert most == 3
    assert len(result.out.splitlines()) == 7


async def test_one_refused_file_does_not_stop_the_others(services: ScriptedServices, cli: Cli) -> None:
    async def upload(messages: Any, context: Any) -> Any:
        received = await receive(messages)
        if not received.chunks:
            await refuse(context, ServiceError(errors_pb2.ERROR_REASON_FILE_EMPTY, "the file is empty"))
        return ingest_service_pb2.UploadMaterialResponse(material=material(1, "pending", name=received.metadata.name))

    services.on("UploadMaterial", upload)
    files = [cli.file("a.pdf"), cli.file("empty.pdf", b""), cli.file("c.pdf")]
    result = await cli.run("upload", *files, "-c", "algebra", "--json")
    assert result.code == 1
    by_file = {document["file"]: document for document in result.documents}
    assert set(by_file) == set(files)
    assert by_file["empty.pdf"]["error"]["reason"] == "file_empty"
    assert result.err == "error: empty.pdf: the file is empty\n"


async def test_an_upload_is_watched_to_its_end(services: ScriptedServices, cli: Cli) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        reading = material(3, "processing", stage=pb.PROCESSING_STAGE_READING, pages_done=1, pages_total=2)
        for response in watched(material(2, "processing"), reading, material(4, "completed", has_embedding=True)):
            yield response

    services.on("UploadMaterial", accept)
    services.on("WatchMaterial", watch)
    result = await cli.run("upload", cli.file("notes.pdf"), "-c", "algebra", "--watch")
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        f"{ID}\tuploaded\t4 B\tnotes.pdf",
        f"{ID}\tprocessing\tnotes.pdf",
        f"{ID}\tprocessing: reading, 1/2 pages\tnotes.pdf",
        f"{ID}\tcompleted\tnotes.pdf",
    ]


async def test_ctrl_c_while_watching_says_that_processing_goes_on(services: ScriptedServices, cli: Cli) -> None:
    gone = asyncio.Event()

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        for response in watched(material(2, "processing")):
            yield response
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    services.on("UploadMaterial", accept)
    services.on("WatchMaterial", watch)
    process = await cli.start("upload", cli.file("notes.pdf"), "-c", "algebra", "--watch")
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        while b"processing" not in await process.stdout.readline():
            pass
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert result.code == 130
    assert f"processing goes on in the background; see it with: materials watch {ID}" in result.err
    async with asyncio.timeout(DEADLINE):
        await gone.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_in_the_middle_of_an_upload_says_what_was_not_uploaded(
    services: ScriptedServices, cli: Cli, number: signal.Signals, code: int
) -> None:
    begun, cut = asyncio.Event(), asyncio.Event()

    async def upload(messages: Any, context: Any) -> Any:
        await anext(messages)
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    services.on("UploadMaterial", upload)
    process = await cli.start("upload", cli.file("big.pdf", bytes(5_000_000)), "-c", "algebra")
    async with asyncio.timeout(DEADLINE):
        await begun.wait()
        process.send_signal(number)
        result = await ended(process)
        await cut.wait()
    assert result.code == code
    assert "not uploaded: big.pdf" in result.err
    assert "background" not in result.err
