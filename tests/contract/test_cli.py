"""Promises of the command line: the real command in a process of its own, against services that do what the test says."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from materials.v1 import errors_pb2, ingest_service_pb2, processor_service_pb2, status_service_pb2
from materials.v1 import material_pb2 as pb

from servicekit.errors import FieldInvalid, ServiceError, Unavailable
from tests.contract.scripted_services import TOKEN, ScriptedServices, refuse, scripted_services

PROJECT = Path(__file__).resolve().parents[2]
ID = "6f9c2a1e-58b7-4a57-9c0d-2f8e4f1a7b3c"
OTHER = "0d6b3c58-0f0f-4b60-8f39-7f1f5d3b9a11"
DEADLINE = 10.0


@dataclass(frozen=True)
class Result:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines; fails when there is anything else."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Cli:
    """Starts `materials` in a folder of its own."""

    folder: Path
    environment: dict[str, str]

    async def start(self, *arguments: str, **streams: Any) -> asyncio.subprocess.Process:
        pipes = {
            "stdin": asyncio.subprocess.DEVNULL,
            "stdout": asyncio.subprocess.PIPE,
            "stderr": asyncio.subprocess.PIPE,
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "materials_cli", *arguments,
            cwd=self.folder, env=self.environment, **(pipes | streams),
        )  # fmt: skip

    async def run(self, *arguments: str) -> Result:
        return await ended(await self.start(*arguments))

    def file(self, name: str, content: bytes = b"text") -> str:
        (self.folder / name).write_bytes(content)
        return name


async def ended(process: asyncio.subprocess.Process) -> Result:
    """Waits for a command's end. No command may ever show a traceback."""
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    assert b"Traceback" not in err
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def services() -> AsyncIterator[ScriptedServices]:
    async with scripted_services() as running:
        yield running


@pytest.fixture
def cli(services: ScriptedServices, tmp_path: Path) -> Cli:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MATERIALS_")}
    endpoints = {f"MATERIALS_{name}": services.address for name in ("INGEST", "STATUS", "PROCESSOR")}
    return Cli(tmp_path, {**kept, **endpoints, "MATERIALS_TOKEN": TOKEN, "PYTHONPATH": str(PROJECT)})


def material(revision: int, status: str, **fields: Any) -> pb.Material:
    known: dict[str, Any] = {"id": ID, "name": "notes.pdf", "course_id": "algebra", "file_size": 4}
    return pb.Material(
        revision=revision,
        processing_status=pb.ProcessingStatus.Value(f"PROCESSING_STATUS_{status.upper()}"),
        **(known | fields),
    )


def watched(*states: pb.Material) -> list[status_service_pb2.WatchMaterialResponse]:
    return [status_service_pb2.WatchMaterialResponse(material=state) for state in states]


def not_found() -> ServiceError:
    return ServiceError(errors_pb2.ERROR_REASON_MATERIAL_NOT_FOUND, "there is no such material")


def shutting_down() -> Unavailable:
    return Unavailable(errors_pb2.ERROR_REASON_SHUTTING_DOWN, "this replica is stopping", retry_after=0.01)


@dataclass
class Received:
    """One try at an upload."""

    metadata: ingest_service_pb2.UploadMetadata
    chunks: list[bytes]


async def receive(messages: AsyncIterator[ingest_service_pb2.UploadMaterialRequest]) -> Received:
    first = await anext(messages)
    return Received(first.metadata, [message.chunk async for message in messages])


async def accept(messages: Any, context: Any) -> ingest_service_pb2.UploadMaterialResponse:
    received = await receive(messages)
    return ingest_service_pb2.UploadMaterialResponse(material=material(1, "pending", name=received.metadata.name))


# --- uploads


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
    assert result.err.count("trying again") == 2


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


# --- watches


async def test_a_cut_watch_goes_on_after_the_last_revision(services: ScriptedServices, cli: Cli) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        if request.after_revision == 0:
            for response in watched(material(1, "pending"), material(2, "processing")):
                yield response
            await refuse(context, shutting_down())
        elif request.after_revision == 2:
            yield watched(material(5, "processing", pages_done=1, pages_total=3))[0]
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        else:
            yield watched(material(9, "completed", pages_done=3, pages_total=3))[0]

    services.on("WatchMaterial", watch)
    result = await cli.run("watch", ID, "--json")
    assert result.code == 0, result.err
    assert [request.after_revision for request in services.requests] == [0, 2, 5]
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


# --- looking


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


async def test_bytes_that_are_not_those_uploaded_leave_no_file(services: ScriptedServices, cli: Cli) -> None:
    services.on("DownloadMaterial", download_script(b"changed", "a.txt", sha256="0" * 64))
    result = await cli.run("download", ID)
    assert result.code == 1
    assert "sha256" in result.err
    assert list(cli.folder.iterdir()) == []


# --- changes


async def test_changes_go_through_all_ids_and_report_each(services: ScriptedServices, cli: Cli) -> None:
    async def cancel(request: Any, context: Any) -> Any:
        if request.material_id == OTHER:
            await refuse(context, ServiceError(errors_pb2.ERROR_REASON_COURSE_WRITE_DENIED, "only an editor may"))
        state = material(3, "failed", failure_reason=pb.FAILURE_REASON_CANCELLED, retryable=True)
        return status_service_pb2.CancelMaterialResponse(material=state)

    services.on("CancelMaterial", cancel)
    result = await cli.run("cancel", OTHER, ID, "--json")
    assert result.code == 1
    assert result.documents[0]["error"]["reason"] == "course_write_denied"
    assert result.documents[1]["failure_reason"] == "cancelled"


async def test_nothing_is_deleted_without_a_yes(services: ScriptedServices, cli: Cli) -> None:
    async def delete(request: Any, context: Any) -> Any:
        return status_service_pb2.DeleteMaterialResponse()

    services.on("DeleteMaterial", delete)
    refused = await cli.run("delete", ID)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert services.requests == []
    result = await cli.run("delete", ID, "--yes", "--json")
    assert (result.code, result.documents) == (0, [{"id": ID, "deleted": True}])


# --- errors


async def test_what_is_not_there_is_not_found(services: ScriptedServices, cli: Cli) -> None:
    async def get(request: Any, context: Any) -> Any:
        await refuse(context, not_found())

    services.on("GetMaterial", get)
    result = await cli.run("show", ID, "--json")
    assert (result.code, result.out) == (4, "")
    assert result.err == f"error: {ID}: there is no such material; see `materials list`\n"


async def test_a_service_that_is_not_there_is_named_with_what_to_do(cli: Cli) -> None:
    cli.environment["MATERIALS_STATUS"] = "127.0.0.1:1"
    for command in (("list",), ("watch", ID, "--retries", "0")):
        result = await cli.run(*command)
        assert (result.code, result.out) == (3, "")
        assert len(result.err.splitlines()) == 1
        assert "the status service at 127.0.0.1:1 (from MATERIALS_STATUS) cannot be reached" in result.err
        assert "make run" in result.err


async def test_without_any_setting_the_error_says_how_to_begin(cli: Cli) -> None:
    for name in ("MATERIALS_INGEST", "MATERIALS_TOKEN"):
        del cli.environment[name]
    result = await cli.run("upload", cli.file("a.pdf"), "-c", "algebra")
    assert result.code == 3
    assert "make run" in result.err
    assert "MATERIALS_INGEST" in result.err


async def test_the_running_stack_is_found_from_a_folder_below(services: ScriptedServices, cli: Cli) -> None:
    async def page(request: Any, context: Any) -> Any:
        return status_service_pb2.ListMaterialsResponse(materials=[material(1, "completed")])

    services.on("ListMaterials", page)
    for name in ("INGEST", "STATUS", "PROCESSOR", "TOKEN"):
        del cli.environment[f"MATERIALS_{name}"]
    stack = cli.folder / ".local" / "run" / "stack.json"
    stack.parent.mkdir(parents=True)
    stack.write_text(json.dumps({"status": services.address, "token": TOKEN}))
    below = cli.folder / "notes"
    below.mkdir()
    result = await Cli(below, cli.environment).run("list", "--json")
    assert (result.code, len(result.documents)) == (0, 1), result.err


async def test_a_refused_token_says_what_to_do(cli: Cli) -> None:
    cli.environment["MATERIALS_TOKEN"] = "another"
    result = await cli.run("list")
    assert result.code == 1
    assert "MATERIALS_TOKEN" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("lis",),
        ("upload", "--course", "algebra"),
        ("upload", "gone.pdf", "--course", "algebra"),
        ("upload", ".", "--course", "algebra"),
        ("list", "--limit", "0"),
        ("search", "x", "--course", "algebra", "--limit", "11"),
        ("watch",),
        ("watch", ID, "--course", "algebra"),
    ],
)
async def test_wrong_usage_is_one_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = await cli.run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("error: ")


async def test_help_tells_exit_codes_and_each_command_has_an_example(cli: Cli) -> None:
    top = await cli.run("--help")
    assert top.code == 0
    assert "Exit codes:" in top.out
    assert all(variable in top.out for variable in ("MATERIALS_INGEST", "MATERIALS_TOKEN", "MATERIALS_STACK"))
    for command in ("upload", "retry"):
        example = (await cli.run(command, "--help")).out.split("Example:")[1]
        assert f"materials {command}" in " ".join(example.split())


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


# --- a terminal


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
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    cli.environment |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}
    process = await cli.start("watch", ID, stdin=child, stdout=child, stderr=child)
    os.close(child)
    screen, seen = bytearray(), asyncio.Event()

    def read() -> None:
        try:
            screen.extend(os.read(parent, 65536))
        except OSError:  # The other side is closed.
            asyncio.get_running_loop().remove_reader(parent)
        if b"reading, 1/4 pages, slow [bold]" in screen:
            seen.set()

    asyncio.get_running_loop().add_reader(parent, read)
    try:
        async with asyncio.timeout(DEADLINE):
            await seen.wait()
            go_on.set()
            assert await process.wait() == 0
    finally:
        asyncio.get_running_loop().remove_reader(parent)
        os.close(parent)
    text = screen.decode()
    assert r"no\x1b[31mtes[red].pdf" in text
    assert "\x1b[31mtes" not in text
    assert "━" in text
    assert "completed: 4/4 pages" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"
