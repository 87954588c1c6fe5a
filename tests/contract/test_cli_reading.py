"""The command line reads: lists, single materials, search, text, and downloads."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

from grpc_health.v1 import health_pb2
from materials.v1 import ingest_service_pb2, processor_service_pb2, status_service_pb2
from materials.v1 import material_pb2 as pb

from tests.contract.command_line import DEADLINE, ID, Cli, material, shutting_down
from tests.contract.scripted_services import ScriptedServices, refuse


async def test_a_list_of_all_follows_every_page(services: ScriptedServices, cli: Cli) -> None:
    async def pages(request: Any, context: Any) -> Any:
        number = int(request.page_token or 0)
        found = [material(1, "failed", id=f"{number}-{item}") for item in range(2)]
        return status_service_pb2.ListMaterialsResponse(
            materials=found, next_page_token=str(number + 1) if number < 2 else ""
        )

    services.on("ListMaterials", pages)
    result = await cli.run("list", "--all", "--json", "-c", "algebra", "-s", "failed", "-s", "pending")
    assert result.code == 0, result.err
    assert [document["id"] for document in result.documents] == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]
    assert [list(request.processing_statuses) for request in services.requests] == [[4, 1]] * 3


async def test_a_limited_list_says_that_there_is_more(services: ScriptedServices, cli: Cli) -> None:
    async def page(request: Any, context: Any) -> Any:
        found = [material(1, "completed", name="a\x1b]0;x\x07[red]\tb.pdf")] * request.page_size
        return status_service_pb2.ListMaterialsResponse(materials=found, next_page_token="more")

    services.on("ListMaterials", page)
    result = await cli.run("list", "--limit", "2")
    assert result.code == 0
    assert [line.split("\t")[-1] for line in result.out.splitlines()] == [r"a\x1b]0;x\x07[red]\tb.pdf"] * 2
    assert "--all" in result.err
    assert len(services.requests) == 1


async def test_a_material_is_shown_with_its_whole_history(services: ScriptedServices, cli: Cli) -> None:
    async def get(request: Any, context: Any) -> Any:
        return status_service_pb2.GetMaterialResponse(material=material(2, "processing"))

    async def transitions(request: Any, context: Any) -> Any:
        number = 2 if request.page_token else 1
        change = pb.MaterialTransition(revision=number, event=("created", "claimed")[number - 1], to_status=number)  # type: ignore[arg-type]
        return status_service_pb2.ListMaterialTransitionsResponse(
            transitions=[change], next_page_token="2" if number == 1 else ""
        )

    services.on("GetMaterial", get)
    services.on("ListMaterialTransitions", transitions)
    result = await cli.run("show", ID, "--history", "--json")
    assert result.code == 0, result.err
    (document,) = result.documents
    assert document["processing_status"] == "processing"
    assert [(each["event"], each["from_status"], each["to_status"]) for each in document["history"]] == [
        ("created", None, "pending"),
        ("claimed", None, "processing"),
    ]


async def test_a_terminal_shows_the_attempt_and_wraps_why_it_failed_beside_the_times(
    services: ScriptedServices, cli: Cli
) -> None:
    async def get(request: Any, context: Any) -> Any:
        return status_service_pb2.GetMaterialResponse(material=material(2, "failed"))

    async def transitions(request: Any, context: Any) -> Any:
        change = pb.MaterialTransition(
            event="failed", actor="worker\x1b", attempt=3, message="word " * 30,
            from_status=pb.PROCESSING_STATUS_PROCESSING, to_status=pb.PROCESSING_STATUS_FAILED,
            failure_reason=pb.FAILURE_REASON_BRAIN_FAILED,
        )  # fmt: skip
        return status_service_pb2.ListMaterialTransitionsResponse(transitions=[change])

    services.on("GetMaterial", get)
    services.on("ListMaterialTransitions", transitions)
    async with cli.terminal("show", ID, "--history") as terminal:
        assert await terminal.ends() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.screen.decode()).split("\r\n")
    (first,) = [number for number, line in enumerate(lines) if "processing -> failed" in line]
    assert lines[first].rstrip().endswith(r"failed, attempt 3, by worker\x1b")
    column = lines[first].index("failed, attempt")
    why = [line for line in lines[first + 1 :] if line.strip()]
    assert len(why) > 1
    assert why[0][column:].startswith("brain_failed: word word")
    assert not any(line[:column].strip() for line in why)


async def test_search_results_are_ranked_lines_without_control_characters(services: ScriptedServices, cli: Cli) -> None:
    async def search(request: Any, context: Any) -> Any:
        assert (request.query, request.course_id, request.limit) == ("a query", "algebra", 2)
        result = processor_service_pb2.SearchResult(
            material_id=ID, material_name="a\x1b.pdf", page_number=7, excerpt="one\n two\x07 " + "x" * 500, score=0.75
        )
        return processor_service_pb2.SearchMaterialsResponse(results=[result])

    services.on("SearchMaterials", search)
    result = await cli.run("search", "a query", "--course", "algebra", "--limit", "2")
    assert result.code == 0, result.err
    fields = result.out.rstrip("\n").split("\t")
    assert fields[:5] == ["1", "0.750", ID, "7", r"a\x1b.pdf"]
    assert fields[5].startswith(r"one two\x07 xxx")
    assert len(fields[5]) == 300
    result = await cli.run("search", "a query", "--course", "algebra", "--limit", "2", "--json")
    assert (result.documents[0]["rank"], result.documents[0]["page_number"]) == (1, 7)


async def test_text_comes_page_by_page_and_one_page_alone(services: ScriptedServices, cli: Cli) -> None:
    async def text(request: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(max(request.first_page, 1), 4):
            yield processor_service_pb2.GetMaterialTextResponse(page_number=number, text=f"page {number}")

    services.on("GetMaterialText", text)
    assert (await cli.run("text", ID)).out == "page 1\n\fpage 2\n\fpage 3\n"
    assert (await cli.run("text", ID, "--page", "2")).out == "page 2\n"
    missing = await cli.run("text", ID, "--page", "9")
    assert (missing.code, missing.out) == (4, "")


async def test_a_terminal_shows_search_results_indented_and_a_heading_once(
    services: ScriptedServices, cli: Cli
) -> None:
    async def search(request: Any, context: Any) -> Any:
        result = processor_service_pb2.SearchResult(
            material_id=ID, material_name="a.pdf", page_number=7, heading="Comets", excerpt="# Comets\n" + "tail " * 50
        )
        return processor_service_pb2.SearchMaterialsResponse(results=[result])

    services.on("SearchMaterials", search)
    async with cli.terminal("search", "a query", "--course", "algebra") as terminal:
        assert await terminal.ends() == 0
    first, *lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.screen.decode()).split("\r\n")
    assert first.startswith("1. a.pdf, page 7")
    texts = [line.rstrip() for line in lines if line.strip()]
    assert texts[0] == "   Comets"
    assert len(texts) > 2
    assert all(line.startswith("   tail") for line in texts[1:])


async def test_a_pending_material_and_an_empty_text_say_that_the_brain_is_away(
    services: ScriptedServices, cli: Cli
) -> None:
    state = material(1, "pending")

    async def get(request: Any, context: Any) -> Any:
        return status_service_pb2.GetMaterialResponse(material=state)

    async def text(request: Any, context: Any) -> AsyncIterator[Any]:
        for none in ():
            yield none

    services.on("GetMaterial", get)
    services.on("GetMaterialText", text)
    # The health service knows nothing of a Brain.
    assert "Brain" not in (await cli.run("show", ID)).out
    assert "Brain" not in (await cli.run("text", ID)).err
    await services.health.set("ai_brain", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert re.search("^waiting for +the AI Brain", (await cli.run("show", ID)).out, re.MULTILINE)
    assert "the AI Brain is away" in (await cli.run("text", ID)).err
    state = material(2, "processing")
    assert "Brain" not in (await cli.run("show", ID)).out
    state = material(1, "pending")
    # A processor that stops says so of everything.
    await services.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert "Brain" not in (await cli.run("show", ID)).out
    cli.environment["MATERIALS_PROCESSOR"] = "127.0.0.1:1"
    unknown = await cli.run("show", ID)
    assert (unknown.code, unknown.err) == (0, "")
    assert "Brain" not in unknown.out


# --- downloads


def download_script(content: bytes, name: str, *, sha256: str = "", cut_at: int = 0) -> Any:
    async def download(request: Any, context: Any) -> AsyncIterator[Any]:
        yield ingest_service_pb2.DownloadMaterialResponse(
            metadata=ingest_service_pb2.DownloadMetadata(
                name=name, file_size=len(content), sha256=sha256 or hashlib.sha256(content).hexdigest()
            )
        )
        end = cut_at if request.offset < cut_at else len(content)
        for start in range(request.offset, end, 1000):
            yield ingest_service_pb2.DownloadMaterialResponse(chunk=content[start : min(start + 1000, end)])
        if end < len(content):
            await refuse(context, shutting_down())

    return download


async def test_a_download_goes_on_where_it_was_cut_and_uses_no_stored_path(
    services: ScriptedServices, cli: Cli
) -> None:
    content = os.urandom(5_500)
    services.on("DownloadMaterial", download_script(content, "../../.ssh/authorized\x1b_keys", cut_at=2_500))
    result = await cli.run("download", ID, "--json")
    assert result.code == 0, result.err
    assert [request.offset for request in services.requests] == [0, 2_500]
    assert [path.name for path in cli.folder.iterdir()] == ["authorized_keys"]
    assert (cli.folder / "authorized_keys").read_bytes() == content
    assert result.documents[0]["file"] == "authorized_keys"


async def test_a_download_never_replaces_a_file_unasked(services: ScriptedServices, cli: Cli) -> None:
    services.on("DownloadMaterial", download_script(b"new", "a.txt"))
    cli.file("a.txt", b"old")
    result = await cli.run("download", ID)
    assert result.code == 1
    assert "--force" in result.err
    assert (cli.folder / "a.txt").read_bytes() == b"old"
    assert (await cli.run("download", ID, "-o", "a.txt", "--force")).code == 0
    assert (cli.folder / "a.txt").read_bytes() == b"new"


async def test_only_regular_files_are_replaced(services: ScriptedServices, cli: Cli) -> None:
    services.on("DownloadMaterial", download_script(b"new", "a.txt"))
    os.mkfifo(cli.folder / "pipe")
    (cli.folder / "link").symlink_to("/dev/null")
    (cli.folder / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(cli.folder / "socket"))
    before = sorted(cli.folder.iterdir())
    for target in ("pipe", "link", "folder", "socket", "/dev/null"):
        result = await cli.run("download", ID, "-o", target, "--force")
        assert (result.code, result.out) == (2, "")
        assert target in result.err
    assert sorted(cli.folder.iterdir()) == before
    assert (cli.folder / "link").is_symlink()


async def test_a_download_to_standard_output_is_the_bytes_alone(services: ScriptedServices, cli: Cli) -> None:
    content = os.urandom(300_000)
    services.on("DownloadMaterial", download_script(content, "a\x1b.txt", cut_at=100_500))
    process = await cli.start("download", ID, "-o", "-")
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, content)
    assert err.decode().splitlines()[-1] == r"a\x1b.txt: 293.0 KiB, sha256 verified"
    with (cli.folder / "copy").open("wb") as copy:
        process = await cli.start("download", ID, "-o", "-", stdout=copy)
    async with asyncio.timeout(DEADLINE):
        assert await process.wait() == 0
    assert (cli.folder / "copy").read_bytes() == content
    assert [path.name for path in cli.folder.iterdir()] == ["copy"]
    assert (await cli.run("download", ID, "-o", "-", "--json")).code == 2


async def test_a_download_to_standard_output_says_when_the_bytes_are_wrong(
    services: ScriptedServices, cli: Cli
) -> None:
    services.on("DownloadMaterial", download_script(b"changed", "a.txt", sha256="0" * 64))
    result = await cli.run("download", ID, "-o", "-")
    assert (result.code, result.out) == (1, "changed")
    assert "sha256" in result.err


async def test_a_download_to_a_reader_that_leaves_or_stands_still_ends_quietly(
    services: ScriptedServices, cli: Cli
) -> None:
    services.on("DownloadMaterial", download_script(os.urandom(5_000_000), "a.txt"))
    for number, code, said in (
        (None, 1, ""),
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, 143, "interrupted\n"),
    ):
        reader, writer = os.pipe()
        process = await cli.start("download", ID, "-o", "-", stdout=writer)
        os.close(writer)
        assert await asyncio.to_thread(os.read, reader, 1) != b""
        if number is None:
            os.close(reader)
        else:
            process.send_signal(number)
        async with asyncio.timeout(DEADLINE):
            _, err = await process.communicate()
        assert (process.returncode, err.decode()) == (code, said)
        if number is not None:
            os.close(reader)


async def test_bytes_that_are_not_those_uploaded_leave_no_file(services: ScriptedServices, cli: Cli) -> None:
    services.on("DownloadMaterial", download_script(b"changed", "a.txt", sha256="0" * 64))
    result = await cli.run("download", ID)
    assert result.code == 1
    assert "sha256" in result.err
    assert list(cli.folder.iterdir()) == []
