"""`materials list` and `show`."""

from __future__ import annotations

import enum
from typing import Annotated

import typer
from materials.v1 import material_pb2, status_service_pb2

from materials_cli.brain_health import brain_is_away
from materials_cli.commands.running import Json, MaterialId, run
from materials_cli.connection import CALL_SECONDS, Connection
from materials_cli.documents import to_json
from materials_cli.presentation import print_history, print_material, print_materials, print_notice
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
