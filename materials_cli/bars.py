"""Live bars on a terminal: one for each file on its way and each material being read. What has ended becomes a line above them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from materials.v1 import material_pb2 as pb
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column, Table
from rich.text import Text

from materials_cli.errors import CommandError, MaterialFailed
from materials_cli.presentation import STATUS_STYLES, console, plain, size_text, state_text, status_name
from materials_cli.views import View
from materials_cli.watching import ended
from servicekit.documents import Document

_MARKS = {"completed": "✓", "failed": "✗"}


class _FieldColumn(ProgressColumn):
    """Shows a text that the row carries, cut to what there is room for."""

    max_refresh = None

    def __init__(self, field: str, column: Column) -> None:
        super().__init__(column)
        self._field = field

    def render(self, task: Task) -> Text:
        """The text, never read as markup."""
        return Text(str(task.fields[self._field]), overflow="ellipsis", no_wrap=True)


class _Bars(Progress):
    """Rows that end before the screen does: the `^C` that terminals write at the cursor must not begin a new line."""

    def __init__(self, screen: Console, *columns: ProgressColumn) -> None:
        self._screen = screen
        # Of what others print, only what goes to the same screen may be moved above the bars.
        super().__init__(*columns, console=screen, transient=True, redirect_stderr=sys.stderr.isatty())

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """As usual, three columns narrower than the screen."""
        table = super().make_tasks_table(tasks)
        table.width = max(self._screen.width - 3, 1)
        return table


class BarsView(View):
    """A row has a key: the file while its bytes move, the material's id while it is read."""

    def __init__(self) -> None:
        super().__init__()
        self._progress = _Bars(
            console(),
            _FieldColumn("label", Column(max_width=32, no_wrap=True)),
            BarColumn(bar_width=24),
            _FieldColumn("detail", Column(ratio=1, no_wrap=True)),
        )
        self._rows: dict[str, TaskID] = {}
        self._details: dict[str, str] = {}
        self._snapshot: dict[str, int] | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def moved(self, label: str, done: int, total: int) -> None:
        self._show(label, Path(label).name, f"{size_text(done)} of {size_text(total)}", done, total)

    def uploaded(self, file: str, material: pb.Material) -> None:
        super().uploaded(file, material)
        self._drop(file)
        self._line("↑", file, f"uploaded, {size_text(material.file_size)}  {material.id}", "")

    def changed(self, material: pb.Material) -> None:
        super().changed(material)
        status = status_name(material.processing_status)
        if not ended(material):
            pages = material.pages_total or None
            self._show(material.id, material.name, state_text(material), material.pages_done, pages)
            return
        self._drop(material.id)
        if self._snapshot is not None:
            self._snapshot[status] = self._snapshot.get(status, 0) + 1
            return
        self._line(_MARKS[status], material.name, f"{state_text(material)}  {material.id}", STATUS_STYLES[status])

    def deleted(self, material_id: str) -> None:
        super().deleted(material_id)
        self._drop(material_id)
        self._line("-", material_id, "deleted", "")

    def snapshot_begins(self) -> None:
        # Materials that have ended are counted, not told, until the snapshot is complete.
        self._snapshot = {}

    def snapshot_complete(self, course: str) -> None:
        counts, self._snapshot = self._snapshot or {}, None
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none ended yet"
        self._progress.print(Text(f"course {plain(course)}: {told}; watching for changes, Ctrl-C ends"))

    def failed(self, subject: Document, error: CommandError) -> None:
        for value in subject.values():
            self._drop(str(value))
        if isinstance(error, MaterialFailed):  # The line of its last state has said it.
            self.errors.append(error)
        else:
            super().failed(subject, error)

    def trying_again(self, key: str, why: str, when: str) -> None:
        if key in self._rows:
            self._progress.update(self._rows[key], detail=plain(f"{why}; trying again {when}"))
        else:
            super().trying_again(key, why, when)

    def connected_again(self, key: str) -> None:
        if key in self._rows:
            self._progress.update(self._rows[key], detail=self._details[key])
        super().connected_again(key)

    def _show(self, key: str, label: str, detail: str, done: int, total: int | None) -> None:
        if key not in self._rows:
            self._rows[key] = self._progress.add_task("", total=total, label=plain(label), detail=detail)
        self._details[key] = detail
        self._progress.update(self._rows[key], completed=done, total=total, detail=detail)

    def _drop(self, key: str) -> None:
        if (row := self._rows.pop(key, None)) is not None:
            del self._details[key]
            self._progress.remove_task(row)

    def _line(self, mark: str, name: str, text: str, style: str) -> None:
        self._progress.print(Text.assemble((f"{mark} {plain(name)}", style), f"  {plain(text)}"))
