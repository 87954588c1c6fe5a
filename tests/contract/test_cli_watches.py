"""The command line watches: through cuts to the end, as lines, as JSON, and live on a terminal."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
from materials.v1 import errors_pb2, status_service_pb2
from materials.v1 import material_pb2 as pb

from servicekit.errors import ServiceError
from tests.contract.command_line import DEADLINE, ID, OTHER, Cli, ended, material, not_found, shutting_down, watched
from tests.contract.scripted_services import ScriptedServices, refuse


async def test_a_cut_watch_goes_on_at_the_last_revision_and_tells_no_state_twice(
    services: ScriptedServices, cli: Cli
) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        if request.after_revision == 0:
            for response in watched(material(1, "pending"), material(2, "processing")):
                yield response
            await refuse(context, shutting_down())
        elif request.after_revision == 1:
            for response in watched(material(2, "processing"), material(5, "processing", pages_done=1, pages_total=3)):
                yield response
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        else:
            yield watched(material(9, "completed", pages_done=3, pages_total=3))[0]

    services.on("WatchMaterial", watch)
    result = await cli.run("watch", ID, "--json")
    assert result.code == 0, result.err
    assert [request.after_revision for request in services.requests] == [0, 1, 4]
    assert [document["revision"] for document in result.documents] == [1, 2, 5, 9]
    assert [document["processing_status"] for document in result.documents][-1] == "completed"


async def test_a_watched_material_that_fails_is_a_failure_that_says_why(services: ScriptedServices, cli: Cli) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        failed = {
            "failure_reason": pb.FAILURE_REASON_BRAIN_FAILED,
            "error_message": "the AI Brain failed",
            "retryable": True,
        }
        yield watched(material(2, "failed", **failed))[0]

    services.on("WatchMaterial", watch)
    result = await cli.run("watch", ID, "--json")
    assert result.code == 1
    assert len(result.documents) == 1
    assert result.documents[0]["failure_reason"] == "brain_failed"
    assert f"materials retry {ID}" in result.err


async def test_a_watch_of_several_ends_when_all_have_ended(services: ScriptedServices, cli: Cli) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        if request.material_id == OTHER:
            await refuse(context, not_found())
        yield watched(material(2, "completed"))[0]

    services.on("WatchMaterial", watch)
    result = await cli.run("watch", ID, OTHER, ID, "--json")
    assert result.code == 4
    assert len(services.requests) == 2
    assert {document["id"]: document.get("error", {}).get("reason") for document in result.documents} == {
        ID: None,
        OTHER: "material_not_found",
    }


async def test_a_course_watch_resumes_by_token_and_repeats_a_cut_snapshot_without_doubles(
    services: ScriptedServices, cli: Cli
) -> None:
    response = status_service_pb2.WatchCourseResponse

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        match len(services.requests):
            case 1:  # The snapshot is cut.
                yield response(material=material(1, "pending"))
                yield response(material=material(4, "completed", id=OTHER))
                await refuse(context, shutting_down())
            case 2:  # OTHER was deleted in between; the watch is cut after a change.
                yield response(material=material(1, "pending"))
                yield response(snapshot_complete=status_service_pb2.SnapshotComplete(), resume_token="t1")
                yield response(material=material(2, "processing"), resume_token="t2")
                await refuse(context, shutting_down())
            case 3:  # The token is not known any more.
                await refuse(context, ServiceError(errors_pb2.ERROR_REASON_RESUME_TOKEN_INVALID, "start again"))
            case _:
                yield response(material=material(2, "processing"))
                yield response(snapshot_complete=status_service_pb2.SnapshotComplete(), resume_token="t3")
                yield response(deleted_material_id=ID, resume_token="t4")
                await asyncio.Event().wait()

    services.on("WatchCourse", watch)
    process = await cli.start("watch", "--course", "algebra", "--json")
    assert process.stdout is not None
    documents: list[dict[str, Any]] = []
    async with asyncio.timeout(DEADLINE):
        while {"id": ID, "deleted": True} not in documents:
            documents.append(json.loads(await process.stdout.readline()))
    process.send_signal(signal.SIGINT)
    assert (await ended(process)).code == 130
    assert [request.resume_token for request in services.requests] == ["", "", "t2", ""]
    told = [
        (each.get("id"), each.get("revision"), each.get("deleted"), each.get("snapshot_complete")) for each in documents
    ]
    assert told == [
        (ID, 1, None, None),
        (OTHER, 4, None, None),
        (OTHER, None, True, None),
        (None, None, None, True),
        (ID, 2, None, None),
        (ID, None, True, None),
    ]


async def test_a_reader_that_leaves_early_ends_the_command_quietly(services: ScriptedServices, cli: Cli) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        revision = 0
        while True:
            revision += 1
            yield watched(material(revision, "processing"))[0]

    services.on("WatchMaterial", watch)
    process = await cli.start("watch", ID, "--json")
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        await process.stdout.readline()
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        await process.wait()
    assert process.stderr is not None
    assert process.returncode == 1
    assert await process.stderr.read() == b""


async def test_a_terminal_shows_live_bars_and_escaped_names(services: ScriptedServices, cli: Cli) -> None:
    go_on = asyncio.Event()
    name = "no\x1b[31mtes[red].pdf"

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        reading = {
            "stage": pb.PROCESSING_STAGE_READING,
            "pages_done": 1,
            "pages_total": 4,
            "status_message": "slow [bold]",
        }
        yield watched(material(2, "processing", name=name, **reading))[0]
        await go_on.wait()
        yield watched(material(3, "completed", name=name, has_embedding=True, pages_done=4, pages_total=4))[0]

    services.on("WatchMaterial", watch)
    async with cli.terminal("watch", ID) as terminal:
        await terminal.shows("reading, 1/4 pages, slow [bold]")
        go_on.set()
        assert await terminal.ends() == 0
    text = terminal.screen.decode()
    assert r"no\x1b[31mtes[red].pdf" in text
    assert "\x1b[31mtes" not in text
    assert "━" in text
    assert "completed: 4/4 pages" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"


# --- outages


async def test_a_bar_shows_the_state_again_when_a_cut_watch_is_up_without_news(
    services: ScriptedServices, cli: Cli
) -> None:
    cut, up, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    reading = material(3, "processing", stage=pb.PROCESSING_STAGE_READING, pages_done=1, pages_total=4)

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        if len(services.requests) == 2:
            await up.wait()
        # As the service does: the present state at once when newer, then what comes.
        if reading.revision > request.after_revision:
            yield watched(reading)[0]
        if len(services.requests) == 1:
            await cut.wait()
            await refuse(context, shutting_down())
        await go_on.wait()
        yield watched(material(4, "completed", has_embedding=True, pages_done=4, pages_total=4))[0]

    services.on("WatchMaterial", watch)
    async with cli.terminal("watch", ID) as terminal:
        await terminal.shows("reading, 1/4 pages")
        cut.set()
        await terminal.shows("trying again in")
        up.set()
        await terminal.shows("reading, 1/4 pages")
        go_on.set()
        assert await terminal.ends() == 0
    assert len(services.requests) == 2


async def test_an_outage_is_two_lines_however_many_tries_it_takes(services: ScriptedServices, cli: Cli) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        if len(services.requests) == 1:
            yield watched(material(2, "processing"))[0]
        if len(services.requests) < 4:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        for response in watched(material(2, "processing"), material(3, "completed")):
            yield response

    services.on("WatchMaterial", watch)
    result = await cli.run("watch", ID)
    assert result.code == 0
    assert result.out.splitlines() == [f"{ID}\tprocessing\tnotes.pdf", f"{ID}\tcompleted: no text found\tnotes.pdf"]
    assert result.err.splitlines() == [
        f"{ID}: the status service at {services.address} cannot be reached; trying again",
        f"{ID}: connected again",
    ]
