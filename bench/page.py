"""The page that tells of a run: docs/performance.md with its plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.page_text import number, page_text, with_unit
from bench.plots import svg
from bench.rows import Row
from bench.series import Bars, Distribution, Series, series_of

TEMPLATE = Path(__file__).with_name("performance.template.md")


def write_page(data: Mapping[str, object], rows: Sequence[Row], path: Path) -> None:
    """Writes the page, and its plots into a directory beside it that has the page's name; plots of earlier runs go."""
    directory = path.with_suffix("")
    directory.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}
    plots: dict[str, list[str]] = {}
    for row, key, series in _to_draw(rows):
        mine = plots.setdefault(row.line, [])
        name = f"{row.line or 'other'}-{len(mine) + 1}-{key}.svg"
        drawn[name] = svg(series)
        mine.append(f"*{row.name}*\n\n![{_words(row, series)}]({directory.name}/{name})")
    for old in directory.glob("*.svg"):
        if old.name not in drawn:
            old.unlink()
    for name, drawing in drawn.items():
        (directory / name).write_text(drawing, encoding="utf-8")
    path.write_text(page_text(TEMPLATE.read_text(encoding="utf-8"), data, rows, plots), encoding="utf-8")


def _to_draw(rows: Sequence[Row]) -> list[tuple[Row, str, Series]]:
    """Each plot once, where several rows hold the same data."""
    found: list[tuple[Row, str, Series]] = []
    for row in rows:
        for key, series in series_of(row).items():
            if all(series != other for _, _, other in found):
                found.append((row, key, series))
    return found


def _words(row: Row, series: Series) -> str:
    """What the plot shows, for who does not see it."""
    if isinstance(series, Bars):
        figures = [f"{name} {with_unit(median(rounds), series.unit)}" for name, rounds in series.rounds.items()]
    elif isinstance(series, Distribution):
        figures = [f"{name} median {number(median(times))} ms" for name, times in series.milliseconds.items()]
    else:
        figures = [
            f"{name} from {number(points[0][1])} to {number(points[-1][1])} {series.upward}".strip()
            for name, points in series.points.items()
        ]
    return f"{row.name}: {', '.join(figures)}".replace("[", "(").replace("]", ")")
