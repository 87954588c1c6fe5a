"""The index for people: what is in use, and how far the next one is."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from materials.v1 import processor_service_pb2 as pb
from rich.console import Console
from rich.live import Live
from rich.text import Text

from materials_cli.documents import to_json
from materials_cli.presentation import plain, print_notice, print_plain, time_text
from materials_cli.views import View
from servicekit.documents import document

GOES_ON = "the index goes on being built without this command; see how far with: materials reindex --status, give it up with: materials reindex --cancel"


def generation_text(generation: pb.IndexGeneration) -> str:
    """Which one, of what: `2 (embedding model m, chunking rule 2)`."""
    return plain(
        f"{generation.generation} (embedding model {generation.embedding_model}, chunking rule {generation.chunking_rule})"
    )


def progress_text(generation: pb.IndexGeneration) -> str:
    """How far, and what it waits for: `34 of 120 pages, 28 %; waits: …`."""
    done, total = generation.pages_done, generation.pages_total
    text = f"{done} of {total} pages, {_percent(generation)} %" if total else "no pages"
    return plain(f"{text}; {generation.status_message}" if generation.status_message else text)


def print_index(index: pb.GetIndexResponse) -> None:
    """Lines that begin with what they are about: `serving` and, while one is built, `building`."""
    serving = index.serving
    since = f"since {time_text(serving.switched_at)}" if serving.HasField("switched_at") else ""
    print_plain("serving", generation_text(serving), progress_text(serving), since)
    if index.HasField("building"):
        building = index.building
        print_plain(
            "building", generation_text(building), progress_text(building), f"since {time_text(building.started_at)}"
        )


class IndexView(View):
    """A line when the building begins, at each further tenth, and whenever what it waits for changes."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[int, str] | None = None

    def building(self, index: pb.GetIndexResponse) -> None:
        """How far it is."""
        told = (_percent(index.building) // 10, index.building.status_message)
        if told != self._shown:
            self._shown = told
            print_plain("building", generation_text(index.building), progress_text(index.building))

    def in_use(self, index: pb.GetIndexResponse) -> None:
        """It is complete, and what search looks through."""
        print_plain("serving", generation_text(index.serving), progress_text(index.serving))

    def interrupted(self) -> None:
        print_notice("interrupted")
        print_notice(GOES_ON)


class IndexDocuments(IndexView):
    """The whole answer as a document, whenever it is another one."""

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def building(self, index: pb.GetIndexResponse) -> None:
        text = to_json(document(index))
        if text != self._last:
            self._last = text
            print(text, flush=True)

    in_use = building


class IndexScreen(IndexView):
    """One line in place."""

    def __init__(self, screen: Console) -> None:
        super().__init__()
        self._live = Live(
            console=screen, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def building(self, index: pb.GetIndexResponse) -> None:
        text = f"building {generation_text(index.building)}: {progress_text(index.building)}"
        self._live.update(Text(text, overflow="ellipsis", no_wrap=True), refresh=True)

    def in_use(self, index: pb.GetIndexResponse) -> None:
        self._live.stop()
        super().in_use(index)

    def trying_again(self, key: str, why: str, when: str) -> None:
        self._live.update(Text(plain(f"{why}; trying again {when}"), style="bold red"), refresh=True)


def _percent(generation: pb.IndexGeneration) -> int:
    return int(generation.pages_done * 100 // generation.pages_total) if generation.pages_total else 100
