"""`materials retry`, `cancel` and `delete`: one material after the other, so that what is printed is what was done."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from materials.v1 import material_pb2, status_service_pb2

from materials_cli.commands.retrying_failed import retry_failed
from materials_cli.commands.running import Json, MaterialIds, run, run_with_view
from materials_cli.connection import CALL_SECONDS, Connection
from materials_cli.errors import CommandError, ExitCode, NotFound, WrongUsage
from materials_cli.presentation import plain, print_notice, status_name
from materials_cli.refusals import explained
from materials_cli.views import JsonView, LinesView, View

#: Of more materials than these the question before deleting gives only the number.
NAMED_BEFORE_DELETING = 20

Call = Callable[[Connection, str], Awaitable[material_pb2.Material | None]]


@dataclass(frozen=True)
class Change:
    """A call that changes a material and answers it (None: gone). `nothing_done` compares it before and after: a line when
    there was nothing to do, else "".
    """

    call: Call
    nothing_done: Callable[[material_pb2.Material, material_pb2.Material], str] | None = None


def retry(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of materials.")] = None,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed", help="All that failed: an operator everybody's, others their own or those of --course."
        ),
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="REASON", help="Only those failed for this; else any reason but cancelled."),
    ] = None,
    course: Annotated[str | None, typer.Option("--course", "-c", metavar="COURSE", help="Only this course.")] = None,
    json: Json = False,
) -> None:
    """Have failed materials read again.

    Pages read before are kept; a material that has not failed is left as it is. With --failed: all that another
    attempt may mend, as many as there are.
    """
    if bool(ids) == failed:
        raise WrongUsage(
            "name either materials or all that failed: `materials retry ID`, or `materials retry --failed`"
        )
    if not ids:
        retry_failed(course or "", reason, json=json)
        return
    if reason is not None or course is not None:
        raise WrongUsage("--reason and --course choose among all that failed; use them with --failed, without ids")

    async def change(connection: Connection, material_id: str) -> material_pb2.Material:
        request = status_service_pb2.RetryMaterialRequest(material_id=material_id)
        response = await connection.status.RetryMaterial(request, metadata=connection.identity, timeout=CALL_SECONDS)
        return response.material

    _change_each(ids, Change(change, not_retried), json=json)


def cancel(ids: MaterialIds, json: Json = False) -> None:
    """Stop the reading of materials.

    They become failed with the reason "cancelled"; `materials retry` takes them up again.
    """

    async def change(connection: Connection, material_id: str) -> material_pb2.Material:
        request = status_service_pb2.CancelMaterialRequest(material_id=material_id)
        response = await connection.status.CancelMaterial(request, metadata=connection.identity, timeout=CALL_SECONDS)
        return response.material

    _change_each(ids, Change(change, not_cancelled), json=json)


def delete(
    ids: MaterialIds,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete materials for good.

    Their files and all that was read out of them go too, for everybody. Asks before; scripts say --yes.
    """
    if not yes:
        if json or not sys.stdin.isatty():
            raise WrongUsage("deleting is for good; add --yes to do it without being asked")
        if not typer.confirm(_question(list(dict.fromkeys(ids))), err=True):
            print_notice("nothing deleted")
            raise typer.Exit(ExitCode.FAILED)

    async def change(connection: Connection, material_id: str) -> None:
        request = status_service_pb2.DeleteMaterialRequest(material_id=material_id)
        await connection.status.DeleteMaterial(request, metadata=connection.identity, timeout=CALL_SECONDS)

    _change_each(ids, Change(change), json=json)


def not_retried(before: material_pb2.Material, after: material_pb2.Material) -> str:
    """Why a retry did nothing, or "". One that did leaves a later revision, PENDING; workers may change the others in between."""
    retried = after.revision != before.revision and after.processing_status == material_pb2.PROCESSING_STATUS_PENDING
    return "" if retried else "not failed: nothing to retry"


def not_cancelled(before: material_pb2.Material, after: material_pb2.Material) -> str:
    """Why a cancel did nothing, or "". One that did leaves a later revision, CANCELLED."""
    cancelled = after.revision != before.revision and after.failure_reason == material_pb2.FAILURE_REASON_CANCELLED
    return "" if cancelled else f"already {status_name(after.processing_status)}: nothing to cancel"


def _question(ids: Sequence[str]) -> str:
    """What is to be deleted, by name and course; several are listed first. Raises CommandError."""
    found: dict[str, material_pb2.Material] = {}

    async def look(connection: Connection) -> None:
        request = status_service_pb2.BatchGetMaterialsRequest(material_ids=ids[:NAMED_BEFORE_DELETING])
        with explained(connection.service("status")):
            response = await connection.status.BatchGetMaterials(
                request, metadata=connection.identity, timeout=CALL_SECONDS
            )
        found.update((material.id, material) for material in response.materials)

    def named(material_id: str) -> str:
        material = found.get(material_id)
        return f"{material.name} (course {material.course_id})" if material else f"{material_id} (not there)"

    run(look)
    if len(ids) == 1:
        if not found:
            raise NotFound(f"{ids[0]}: there is no such material; see `materials list`")
        return f"delete {plain(named(ids[0]))} for good?"
    for material_id in ids[:NAMED_BEFORE_DELETING]:
        print_notice(f"  {named(material_id)}")
    if len(ids) > NAMED_BEFORE_DELETING:
        print_notice(f"  and {len(ids) - NAMED_BEFORE_DELETING} more")
    return f"delete {len(ids)} materials for good?"


def _change_each(ids: list[str], change: Change, *, json: bool) -> None:
    lines = None if json else LinesView()
    view: View = lines or JsonView()

    async def one(connection: Connection, material_id: str) -> None:
        before = material_pb2.Material()
        if lines and change.nothing_done:
            request = status_service_pb2.GetMaterialRequest(material_id=material_id)
            response = await connection.status.GetMaterial(request, metadata=connection.identity, timeout=CALL_SECONDS)
            before = response.material
        material = await change.call(connection, material_id)
        if material is None:
            view.deleted(material_id)
        elif lines and change.nothing_done and (why := change.nothing_done(before, material)):
            lines.unchanged(material, why)
        else:
            view.changed(material)

    async def work(connection: Connection) -> None:
        service = connection.service("status")
        for material_id in dict.fromkeys(ids):
            try:
                with explained(service, material_id):
                    await one(connection, material_id)
            except CommandError as error:
                view.failed({"id": material_id}, error)

    run_with_view(view, work)
