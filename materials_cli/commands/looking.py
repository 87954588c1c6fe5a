"""`materials list`, `show`, `text` and `search`."""

from __future__ import annotations

import asyncio
import enum
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import typer
from materials.v1 import material_pb2, processor_service_pb2, status_service_pb2

from materials_cli.brain_health import brain_is_away
from materials_cli.commands.running import Course, Json, MaterialId, run
from materials_cli.connection import CALL_SECONDS, STALL_SECONDS, Connection
from materials_cli.documents import to_json
from materials_cli.errors import NotFound
from materials_cli.presentation import (
    plain,
    print_history,
    print_material,
    print_materials,
    print_notice,
    print_results,
)
from materials_cli.refusals import explained
from servicekit.documents import document

MAX_PAGE = 1_000


class Status(enum.StrEnum):
    """The states by the names that people type."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def number(self) -> material_pb2.ProcessingStatus.ValueType:
        """The contract's value."""
        return material_pb2.ProcessingStatus.Value(f"PROCESSING_STATUS_{self.name}")


def list_materials(
    course: Annotated[
        str, typer.Option("--course", "-c", metavar="COURSE", help="Only this course; else your own of all courses.")
    ] = "",
    status: Annotated[
        list[Status] | None, typer.Option("--status", "-s", help="Only this state; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most as many.")] = 50,
    everything: Annotated[bool, typer.Option("--all", "-a", help="All there are, without a limit.")] = False,
    json: Json = False,
) -> None:
    """List materials, newest first.

    Where standard output is no terminal: lines of id, status, pages, bytes, course, time of creation and name, separated by tabs.
    """
    run(lambda connection: _list(connection, course, status or [], None if everything else limit, json))


async def _list(connection: Connection, course: str, status: list[Status], limit: int | None, json: bool) -> None:
    left, token = limit, ""
    while True:
        request = status_service_pb2.ListMaterialsRequest(
            course_id=course,
            processing_statuses=[each.number for each in status],
            page_size=min(left or MAX_PAGE, MAX_PAGE),
            page_token=token,
        )
        with explained(connection.service("status")):
            page = await connection.status.ListMaterials(request, metadata=connection.identity, timeout=CALL_SECONDS)
        if json:
            for material in page.materials:
                print(to_json(document(material)), flush=True)
        elif page.materials:
            print_materials(page.materials, one_course=bool(course))
        elif not token:
            print_notice("no materials; upload some with: materials upload FILE --course COURSE")
        token, left = page.next_page_token, left and left - len(page.materials)
        if not token:
            return
        if left == 0:
            print_notice(f"there are more than {limit}; see them with --all or a larger --limit")
            return


def show(
    material_id: MaterialId,
    history: Annotated[bool, typer.Option("--history", help="Also every change of its state, oldest first.")] = False,
    json: Json = False,
) -> None:
    """Show all that is known of a material.

    Where it stands, what it waits for, why it failed; with --history also how it came to that.
    """
    run(lambda connection: _show(connection, material_id, history, json))


async def _show(connection: Connection, material_id: str, history: bool, json: bool) -> None:
    request = status_service_pb2.GetMaterialRequest(material_id=material_id)
    with explained(connection.service("status"), material_id):
        response = await connection.status.GetMaterial(request, metadata=connection.identity, timeout=CALL_SECONDS)
        transitions = await _transitions(connection, material_id) if history else []
    if json:
        changes = {"history": [document(each) for each in transitions]} if history else {}
        print(to_json(document(response.material) | changes), flush=True)
        return
    pending = response.material.processing_status == material_pb2.PROCESSING_STATUS_PENDING
    told = "AI Brain" in response.material.status_message
    away = pending and not told and await brain_is_away(connection)
    print_material(response.material, waiting_for="the AI Brain, which is away" if away else "")
    if history:
        print()
        print_history(transitions)


async def _transitions(connection: Connection, material_id: str) -> list[material_pb2.MaterialTransition]:
    transitions: list[material_pb2.MaterialTransition] = []
    token = ""
    while True:
        request = status_service_pb2.ListMaterialTransitionsRequest(
            material_id=material_id, page_size=MAX_PAGE, page_token=token
        )
        page = await connection.status.ListMaterialTransitions(
            request, metadata=connection.identity, timeout=CALL_SECONDS
        )
        transitions += page.transitions
        token = page.next_page_token
        if not token:
            return transitions


def text(
    material_id: MaterialId,
    page: Annotated[
        int | None, typer.Option("--page", "-p", min=1, metavar="N", help="Only this page, from 1.")
    ] = None,
    json: Json = False,
) -> None:
    """Print the text read out of a material.

    While it is still being read: the pages that are there. Where standard output is no terminal
    pages are separated by form feeds, and the text is left as it is.
    """
    run(lambda connection: _text(connection, material_id, page or 0, json))


async def _text(connection: Connection, material_id: str, wanted: int, json: bool) -> None:
    count = 0
    async with aclosing(_pages(connection, material_id, wanted)) as pages:
        async for page in pages:
            if wanted and page.page_number != wanted:
                break
            _print_page(page, json=json, first=count == 0)
            count += 1
            if wanted:
                break
    if wanted and not count:
        raise NotFound(f"{material_id}: page {wanted} is not there, or not read yet; see: materials show {material_id}")
    if not count:
        away = "; the AI Brain is away, and what is pending waits for it" if await brain_is_away(connection) else ""
        print_notice(f"no page has been read yet{away}; see: materials show {material_id}")


async def _pages(
    connection: Connection, material_id: str, first: int
) -> AsyncGenerator[processor_service_pb2.GetMaterialTextResponse, None]:
    request = processor_service_pb2.GetMaterialTextRequest(material_id=material_id, first_page=first)
    with explained(connection.service("processor"), material_id):
        call = connection.processor.GetMaterialText(request, metadata=connection.identity)
        try:
            while True:
                async with asyncio.timeout(STALL_SECONDS):
                    page = await call.read()
                if not isinstance(page, processor_service_pb2.GetMaterialTextResponse):
                    return
                yield page
        finally:
            call.cancel()


def _print_page(page: processor_service_pb2.GetMaterialTextResponse, *, json: bool, first: bool) -> None:
    if json:
        print(to_json(document(page)), flush=True)
    elif sys.stdout.isatty():
        source = {
            processor_service_pb2.TEXT_SOURCE_BRAIN: ", read by the AI Brain",
            processor_service_pb2.TEXT_SOURCE_FILE: ", from the file's own text",
        }.get(page.source, "")
        print(
            f"--- page {page.page_number}{source} ---", plain(page.text, keep="\n\t"), sep="\n", end="\n\n", flush=True
        )
    else:
        print(page.text if first else f"\f{page.text}", flush=True)


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for, in your own words.")],
    course: Course,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=1, max=10, metavar="N", help="At most as many; else what the service is set to."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Search a course by meaning.

    The best passages come first, with material and page. The score is the cosine similarity of query and
    passage, at most 1. Where standard output is no terminal: lines of rank, score, material id, page, name and excerpt, separated by tabs.
    """
    run(lambda connection: _search(connection, query, course, limit or 0, json))


async def _search(connection: Connection, query: str, course: str, limit: int, json: bool) -> None:
    request = processor_service_pb2.SearchMaterialsRequest(course_id=course, query=query, limit=limit)
    with explained(connection.service("processor")):
        response = await connection.processor.SearchMaterials(
            request, metadata=connection.identity, timeout=STALL_SECONDS
        )
    if json:
        for rank, each in enumerate(response.results, start=1):
            print(to_json({"rank": rank, **document(each)}), flush=True)
    elif response.results:
        print_results(response.results)
    else:
        print_notice(f"nothing found; see what the course holds: materials list --course {course}")
