"""`materials text` and `search`: what was read."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import Annotated

import typer
from materials.v1 import processor_service_pb2 as pb

from materials_cli.brain_health import brain_is_away
from materials_cli.commands.running import DEFAULT_RETRIES, Course, Json, MaterialId, Retries, run
from materials_cli.connection import STALL_SECONDS, Connection
from materials_cli.documents import to_json
from materials_cli.errors import NotFound, WrongUsage
from materials_cli.pages import followed_pages, pages_there
from materials_cli.presentation import plain, print_notice, print_results
from materials_cli.refusals import explained
from materials_cli.retrying import Attempts, Backoff
from servicekit.documents import document

_SOURCES = {
    pb.TEXT_SOURCE_BRAIN: ", read by the AI Brain",
    pb.TEXT_SOURCE_FILE: ", from the file's own text",
}
#: What one call gives at most.
MAX_RESULTS = 10


def text(
    material_id: MaterialId,
    page: Annotated[
        int | None, typer.Option("--page", "-p", min=1, metavar="N", help="Only this page, from 1.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay while it is read: each further page comes once it is there.")
    ] = False,
    retries: Retries = DEFAULT_RETRIES,
    json: Json = False,
) -> None:
    """Print the text read out of a material.

    While it is still being read: the pages that are there, and with --follow the others as they come. Where standard output is no terminal
    pages are separated by form feeds, and the text is left as it is.
    """
    if follow and page is not None:
        raise WrongUsage("--page prints one page and --follow all that come; choose one of them")
    if follow:
        run(lambda connection: _follow(connection, material_id, retries, json))
    else:
        run(lambda connection: _text(connection, material_id, page or 0, json))


async def _text(connection: Connection, material_id: str, wanted: int, json: bool) -> None:
    count = 0
    async with aclosing(pages_there(connection, material_id, wanted)) as pages:
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


async def _follow(connection: Connection, material_id: str, retries: int, json: bool) -> None:
    attempts = Attempts(Backoff(retries), connection.service("processor"), material_id, _Outages())
    count = 0
    async with aclosing(followed_pages(connection, material_id, attempts)) as pages:
        async for page in pages:
            _print_page(page, json=json, first=count == 0)
            count += 1
    if not count:
        print_notice(f"it ended without a page; see: materials show {material_id}")


class _Outages:
    """Says on standard error when the pages stop for a while."""

    def trying_again(self, key: str, why: str, when: str) -> None:
        print_notice(f"{why}; trying again {when}")

    def connected_again(self, key: str) -> None:
        print_notice(f"{key}: connected again")


def _print_page(page: pb.GetMaterialTextResponse, *, json: bool, first: bool) -> None:
    if json:
        print(to_json(document(page)), flush=True)
    elif sys.stdout.isatty():
        print(
            f"--- page {page.page_number}{_SOURCES.get(page.source, '')} ---",
            plain(page.text, keep="\n\t"),
            sep="\n",
            end="\n\n",
            flush=True,
        )
    else:
        print(page.text if first else f"\f{page.text}", flush=True)


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for, in your own words.")],
    course: Course,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            max=MAX_RESULTS,
            metavar="N",
            help="At most as many; else what the service is set to.",
        ),
    ] = None,
    page_token: Annotated[
        str,
        typer.Option(
            "--page-token", metavar="TOKEN", help="Go on after the results that named it; same query and limit."
        ),
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="All that can be shown (100), one after the other.")
    ] = False,
    json: Json = False,
) -> None:
    """Search a course by meaning and by words.

    The best passages come first, with material and page. The score, at most 1, says how well a passage answers to this query beside the others;
    passages that say nearly the same are one. Where standard output is no terminal: lines of rank, score, material id, page, name and excerpt,
    separated by tabs. Where there are more, standard error says how to see them.
    """
    size = limit or (MAX_RESULTS if everything else 0)
    run(lambda connection: _search(connection, query, course, size, page_token, everything, json))


async def _search(
    connection: Connection, query: str, course: str, limit: int, token: str, everything: bool, json: bool
) -> None:
    rank = 1
    while True:
        request = pb.SearchMaterialsRequest(course_id=course, query=query, limit=limit, page_token=token)
        with explained(connection.service("processor")):
            response = await connection.processor.SearchMaterials(
                request, metadata=connection.identity, timeout=STALL_SECONDS
            )
        if json:
            for number, each in enumerate(response.results, start=rank):
                print(to_json({"rank": number, **document(each)}), flush=True)
        else:
            print_results(response.results, first_rank=rank)
        rank += len(response.results)
        if rank == 1 and not json:
            print_notice(f"nothing found; see what the course holds: materials list --course {course}")
        token = response.next_page_token
        if not token:
            return
        if not everything:
            print_notice(f"there are more; see all with --all, or the next with --page-token={token}")
            return
