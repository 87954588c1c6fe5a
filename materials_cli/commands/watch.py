"""`materials watch`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from typing import Annotated

import typer
from materials.v1 import material_pb2

from materials_cli.brain_health import told_of_brain
from materials_cli.commands.running import DEFAULT_RETRIES, Json, Retries, make_view, run_with_view
from materials_cli.connection import Connection
from materials_cli.errors import CommandError, MaterialFailed, WrongUsage
from materials_cli.presentation import state_text
from materials_cli.retrying import Attempts, Backoff
from materials_cli.views import View
from materials_cli.watching import Deleted, SnapshotComplete, watch_course, watch_material

#: Watches open at the same time; the others wait for their turn.
MAX_WATCHES = 50


def watch(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of materials.")] = None,
    course: Annotated[
        str | None, typer.Option("--course", "-c", metavar="COURSE", help="Watch a whole course instead, until Ctrl-C.")
    ] = None,
    retries: Retries = DEFAULT_RETRIES,
    json: Json = False,
) -> None:
    """Watch materials being read, live.

    Ends when each is completed or failed; a course is watched until Ctrl-C. A cut connection is taken up again where it was.
    Ends with 0 when all were completed, with 1 when one failed.
    """
    if bool(ids) == bool(course):
        raise WrongUsage(
            "name either materials or a course: `materials watch ID`, or `materials watch --course COURSE`"
        )
    view = make_view(json=json)
    if course:
        run_with_view(view, lambda connection: _watch_course(connection, course, view, Backoff(retries)))
    run_with_view(view, lambda connection: _watch_all(connection, ids or (), view, Backoff(retries)))


async def watch_to_end(connection: Connection, material_id: str, view: View, backoff: Backoff) -> None:
    """Shows each state of a material. Raises MaterialFailed when it ends as FAILED, and any CommandError."""
    attempts = Attempts(backoff, connection.service("status"), material_id, view)
    async with aclosing(watch_material(connection, material_id, attempts)) as states:
        async for material in states:
            view.changed(material)
    if material.processing_status == material_pb2.PROCESSING_STATUS_FAILED:
        advice = f"; try again with: materials retry {material_id}" if material.retryable else ""
        raise MaterialFailed(f"{material.name}: {state_text(material)}{advice}")


async def _watch_all(connection: Connection, ids: Iterable[str], view: View, backoff: Backoff) -> None:
    slots = asyncio.Semaphore(MAX_WATCHES)

    async def one(material_id: str) -> None:
        try:
            async with slots:
                await watch_to_end(connection, material_id, view, backoff)
        except CommandError as error:
            view.failed({"id": material_id}, error)

    async with told_of_brain(connection, view), asyncio.TaskGroup() as tasks:
        for material_id in dict.fromkeys(ids):
            tasks.create_task(one(material_id))


async def _watch_course(connection: Connection, course: str, view: View, backoff: Backoff) -> None:
    attempts = Attempts(backoff, connection.service("status"), f"course {course}", view)
    view.snapshot_begins()
    async with told_of_brain(connection, view), aclosing(watch_course(connection, course, attempts)) as events:
        async for event in events:
            match event:
                case Deleted(material_id):
                    view.deleted(material_id)
                case SnapshotComplete():
                    view.snapshot_complete(course)
                case material:
                    view.changed(material)
