"""What a long command shows while it runs. One interface, three looks.

    View            keeps what must be said when the command is interrupted
    ├── LinesView   plain lines: standard output is not a terminal
    ├── JsonView    one JSON document a line (`--json`)
    └── BarsView    live bars on a terminal, in `materials_cli.bars`

Errors and notices go to standard error in each of them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from materials.v1 import material_pb2 as pb

from materials_cli.documents import error_document, to_json
from materials_cli.errors import CommandError, MaterialFailed
from materials_cli.presentation import print_error, print_notice, print_plain, size_text, state_text
from materials_cli.watching import ended
from servicekit.documents import Document, document


class View(AbstractContextManager["View"]):
    """Told what happens, in any order over several files and materials."""

    def __init__(self) -> None:
        self.errors: list[CommandError] = []
        self._unsent: dict[str, None] = {}
        self._running: dict[str, None] = {}
        self._outages: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put away."""

    def moved(self, label: str, done: int, total: int) -> None:
        """`done` of `total` bytes of a file have been sent or received."""

    def waiting(self, file: str) -> None:
        """A file is to be uploaded."""
        self._unsent[file] = None

    def uploaded(self, file: str, material: pb.Material) -> None:
        """A file is with the service, and will be processed whatever happens here."""
        self._outages.discard(file)
        self._unsent.pop(file, None)
        self._note(material)

    def changed(self, material: pb.Material) -> None:
        """A material has a new state."""
        self._note(material)

    def deleted(self, material_id: str) -> None:
        """A material was deleted by somebody."""
        self._running.pop(material_id, None)

    def snapshot_begins(self) -> None:
        """What comes next is how a course stands now."""

    def snapshot_complete(self, course: str) -> None:
        """All that was in the course at the beginning has been told."""

    def failed(self, subject: Document, error: CommandError) -> None:
        """One item failed. `subject` names it for scripts: `{"file": …}` or `{"id": …}`."""
        self._unsent.pop(str(subject.get("file")), None)
        self._running.pop(str(subject.get("id")), None)
        self._outages.difference_update(map(str, subject.values()))
        self.errors.append(error)
        print_error(error.message)

    def notice(self, message: str) -> None:
        """What concerns all materials."""
        print_notice(message)

    def trying_again(self, key: str, why: str, when: str) -> None:
        """A file, a material or a course waits for the next try: a line for the first of an outage."""
        if key not in self._outages:
            self._outages.add(key)
            print_notice(f"{key}: {why}; trying again")

    def connected_again(self, key: str) -> None:
        """An outage is over."""
        if key in self._outages:
            self._outages.remove(key)
            print_notice(f"{key}: connected again")

    def interrupted(self) -> None:
        """Says what goes on without this command, and what does not."""
        print_notice("interrupted")
        if self._unsent:
            print_notice(f"not uploaded: {', '.join(self._unsent)}; upload again")
        if self._running:
            print_notice(
                f"processing goes on in the background; see it with: materials watch {' '.join(list(self._running)[:10])}"
                + (" …" if len(self._running) > 10 else "")
            )

    def _note(self, material: pb.Material) -> None:
        if ended(material):
            self._running.pop(material.id, None)
        else:
            self._running[material.id] = None


class LinesView(View):
    """A line for each state: id, status, pages, name, details."""

    def uploaded(self, file: str, material: pb.Material) -> None:
        super().uploaded(file, material)
        print_plain(material.id, "uploaded", size_text(material.file_size), file)

    def changed(self, material: pb.Material) -> None:
        super().changed(material)
        print_plain(material.id, state_text(material), material.name)

    def unchanged(self, material: pb.Material, why: str) -> None:
        """A change that was asked for had nothing to do."""
        print_plain(material.id, why, material.name)

    def deleted(self, material_id: str) -> None:
        super().deleted(material_id)
        print_plain(material_id, "deleted")


class JsonView(View):
    """Materials as documents; `file` is added to those just uploaded."""

    def uploaded(self, file: str, material: pb.Material) -> None:
        super().uploaded(file, material)
        self.write({"file": file, **document(material)})

    def changed(self, material: pb.Material) -> None:
        super().changed(material)
        self.write(document(material))

    def deleted(self, material_id: str) -> None:
        super().deleted(material_id)
        self.write({"id": material_id, "deleted": True})

    def snapshot_complete(self, course: str) -> None:
        self.write({"course_id": course, "snapshot_complete": True})

    def failed(self, subject: Document, error: CommandError) -> None:
        super().failed(subject, error)
        if not isinstance(error, MaterialFailed):  # The document of its last state has said it.
            self.write({**subject, "error": error_document(error)})

    def write(self, content: dict[str, Any]) -> None:
        """One document, at once."""
        print(to_json(content), flush=True)
