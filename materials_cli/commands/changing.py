"""`materials retry`, `cancel` and `delete`: one material after the other, so that what is printed is what was done."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from materials.v1 import material_pb2, status_service_pb2

from materials_cli.commands.running import Json, MaterialIds, run_with_view
from materials_cli.connection import CALL_SECONDS, Connection
from materials_cli.errors import CommandError, ExitCode, WrongUsage
from materials_cli.presentation import print_notice
from materials_cli.refusals import explained
from materials_cli.views import JsonView, LinesView, View

Change = Callable[[Connection, str], Awaitable[material_pb2.Material | None]]


def retry(ids: MaterialIds, json: Json = False) -> None:
    """Have failed materials read again.

    Pages read before are kept; a material that has not failed is left as it is.
    """

    async def change(connection: Connection, material_id: str) -> material_pb2.Material:
        request = status_service_pb2.RetryMaterialRequest(material_id=material_id)
        response = await connection.status.RetryMaterial(request, metadata=connection.identity, timeout=CALL_SECONDS)
        return response.material

    _change_each(ids, change, json=json)


def cancel(ids: MaterialIds, json: Json = False) -> None:
    """Stop the reading of materials.

    They become failed with the reason "cancelled"; `materials retry` takes them up again.
    """

    async def change(connection: Connection, material_id: str) -> material_pb2.Material:
        request = status_service_pb2.CancelMaterialRequest(material_id=material_id)
        response = await connection.status.CancelMaterial(request, metadata=connection.identity, timeout=CALL_SECONDS)
        return response.material

    _change_each(ids, change, json=json)


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
        what = "1 material" if len(ids) == 1 else f"{len(ids)} materials"
        if not typer.confirm(f"delete {what} for good?", err=True):
            print_notice("nothing deleted")
            raise typer.Exit(ExitCode.FAILED)

    async def change(connection: Connection, material_id: str) -> None:
        request = status_service_pb2.DeleteMaterialRequest(material_id=material_id)
        await connection.status.DeleteMaterial(request, metadata=connection.identity, timeout=CALL_SECONDS)

    _change_each(ids, change, json=json)


def _change_each(ids: list[str], change: Change, *, json: bool) -> None:
    view: View = JsonView() if json else LinesView()

    async def work(connection: Connection) -> None:
        service = connection.service("status")
        for material_id in dict.fromkeys(ids):
            try:
                with explained(service, material_id):
                    material = await change(connection, material_id)
            except CommandError as error:
                view.failed({"id": material_id}, error)
                continue
            if material is None:
                view.deleted(material_id)
            else:
                view.changed(material)

    run_with_view(view, work)
