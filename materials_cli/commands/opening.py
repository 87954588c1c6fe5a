"""`materials open`."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from materials_cli.commands.running import Json, run
from materials_cli.connection import Connection
from materials_cli.documents import to_json
from materials_cli.presentation import plain, print_notice
from materials_cli.sign_in import sign_in_link
from servicekit.documents import Document


def open_page(
    only_print: Annotated[bool, typer.Option("--print", help="Print the link, and open nothing.")] = False,
    json: Json = False,
) -> None:
    """Open the page in your browser, signed in as you are here.

    The link works once, for 10 minutes. With --json it is written as a document, and nothing is opened.
    """
    link: Document = {}

    async def work(connection: Connection) -> None:
        link.update(await sign_in_link(connection))

    run(work)
    if json:
        print(to_json(link), flush=True)
    elif only_print or not webbrowser.open(link["url"]):
        print(plain(link["url"]), flush=True)
        if not only_print:
            print_notice("found no browser: open the link yourself; it works once, for 10 minutes")
    else:
        print_notice(f"opened {link['url'].partition('#')[0]} in your browser")
