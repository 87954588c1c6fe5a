"""`materials upload` and `materials download`."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from materials_cli.brain_health import told_of_brain
from materials_cli.commands.running import DEFAULT_RETRIES, Course, Json, MaterialId, Retries, make_view, run_with_view
from materials_cli.commands.watch import MAX_WATCHES, watch_to_end
from materials_cli.connection import Connection
from materials_cli.documents import to_json
from materials_cli.downloading import download as download_file
from materials_cli.downloading import download_to_standard_output
from materials_cli.errors import CommandError, WrongUsage
from materials_cli.presentation import plain, print_notice, size_text
from materials_cli.retrying import Attempts, Backoff
from materials_cli.uploading import expand_files, shown_name
from materials_cli.uploading import upload as upload_file
from materials_cli.views import LinesView, View

#: Uploads on their way at the same time.
CONCURRENT_UPLOADS = 3


def upload(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files, or patterns such as '*.pdf'.")],
    course: Course,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay and show how the files are being read.")] = False,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The name that people see.")] = None,
    retries: Retries = DEFAULT_RETRIES,
    json: Json = False,
) -> None:
    """Upload files to a course.

    They may be PDF, PNG, JPEG, TIFF, WebP, plain text or Markdown. Returns when the files are kept safely; they are
    read in the background, and Ctrl-C does not stop that.
    An upload that is cut off, or that a busy service puts off, is tried again without making doubles.
    """
    paths = expand_files(files)
    if name is not None and len(paths) != 1:
        raise WrongUsage("--name names one file; leave it out, or upload one file at a time")
    view = make_view(json=json)
    run_with_view(view, lambda connection: _upload_all(connection, paths, course, name, watch, view, Backoff(retries)))


async def _upload_all(
    connection: Connection,
    paths: list[Path],
    course: str,
    name: str | None,
    watch: bool,
    view: View,
    backoff: Backoff,
) -> None:
    if watch:
        connection.service("status")  # Said now rather than after the upload.
    ingest = connection.service("ingest")
    slots, watches = asyncio.Semaphore(CONCURRENT_UPLOADS), asyncio.Semaphore(MAX_WATCHES)

    async def one(path: Path) -> None:
        file = str(path)
        subject = {"file": file}
        try:
            async with slots:
                material = await upload_file(
                    connection,
                    path,
                    course,
                    name or shown_name(path),
                    Attempts(backoff, ingest, file, view),
                    lambda done, total: view.moved(file, done, total),
                )
            view.uploaded(file, material)
            if watch:
                subject = {"id": material.id}
                async with watches:
                    await watch_to_end(connection, material.id, view, backoff)
        except CommandError as error:
            view.failed(subject, error)

    for path in paths:
        view.waiting(str(path))
    async with told_of_brain(connection, view) if watch else nullcontext(), asyncio.TaskGroup() as tasks:
        for path in paths:
            tasks.create_task(one(path))


def download(
    material_id: MaterialId,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write, - for standard output; else the material's name, made safe, here.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there already.")] = False,
    retries: Retries = DEFAULT_RETRIES,
    json: Json = False,
) -> None:
    """Download the file of a material.

    The file appears when it is complete and its sha256 is that of the upload, never in part.
    With `-o -` the bytes go to standard output as they come; the exit code tells whether they are those of the upload.
    """
    if output == "-":
        if json:
            raise WrongUsage("with `-o -` standard output is the file itself; leave --json out")
        _download_to_standard_output(material_id, Backoff(retries))
    view = make_view(json=json)

    async def fetch(connection: Connection) -> None:
        attempts = Attempts(Backoff(retries), connection.service("ingest"), material_id, view)
        target, metadata = await download_file(
            connection,
            material_id,
            output=Path(output) if output is not None else None,
            force=force,
            attempts=attempts,
            progress=lambda done, total: view.moved(output or material_id, done, total),
        )
        if json:
            content = {"id": material_id, "file": str(target), "name": metadata.name}
            print(to_json(content | {"file_size": metadata.file_size, "sha256": metadata.sha256}), flush=True)
        else:
            print(f"{plain(str(target))}: {size_text(metadata.file_size)}, sha256 verified", flush=True)

    run_with_view(view, fetch)


def _download_to_standard_output(material_id: str, backoff: Backoff) -> NoReturn:
    view = LinesView()

    async def fetch(connection: Connection) -> None:
        attempts = Attempts(backoff, connection.service("ingest"), material_id, view)
        metadata = await download_to_standard_output(connection, material_id, attempts=attempts)
        print_notice(f"{metadata.name}: {size_text(metadata.file_size)}, sha256 verified")

    run_with_view(view, fetch)
