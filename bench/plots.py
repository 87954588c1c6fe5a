"""The plots of the page: SVG without a background, in colours that are read on light and on dark, the same bytes for the same figures."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.page_text import number, with_unit
from bench.rounds import spread
from bench.series import OURS, Bars, Distribution, Lines, Series

WIDTH, LINE_HEIGHT, FRAME_HEIGHT, PLOT_HEIGHT = 7.2, 0.36, 0.62, 2.9
CHARACTERS_AN_INCH = 14
#: Contrast with white and with GitHub's dark page: 3.9 and 4.8.
INK, GRID = "#7a818b", "#7a818b40"
OWN_COLOUR, OTHER_BAR = "#2f81f7", "#8b949e"
COLOURS = ("#d9822b", "#3fa45b", "#a371f7", "#d1495b", "#1f9aa8", "#b08800", "#8b949e")
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "legend.frameon": False,
    "path.simplify": True,
}


def svg(series: Series) -> str:
    """The drawing, some kilobytes."""
    with rc_context(STYLE):
        if isinstance(series, Bars):
            figure = _bars(series)
        elif isinstance(series, Distribution):
            figure = _distribution(series)
        else:
            figure = _lines(series)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _bars(bars: Bars) -> Figure:
    """Ours on top; the bar is the median, the line across its end the quartiles, each dot a round."""
    figure, axes = _figure(FRAME_HEIGHT + LINE_HEIGHT * len(bars.rounds))
    most = max(max(rounds) for rounds in bars.rounds.values())
    for place, (name, rounds) in enumerate(bars.rounds.items()):
        middle = spread(rounds)
        axes.barh(place, middle.median, height=0.62, color=OWN_COLOUR if name in OURS else OTHER_BAR, alpha=0.5)
        axes.plot([middle.low, middle.high], [place, place], color=INK, linewidth=1.6)
        axes.scatter(rounds, [place] * len(rounds), s=7, color=INK, zorder=3)
        axes.text(most * 1.04, place, with_unit(middle.median, bars.unit), va="center")
    axes.set_yticks(range(len(bars.rounds)), list(bars.rounds))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, most * 1.22)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.grid(axis="x")
    axes.set_xlabel(bars.unit if not bars.unit.startswith("/") else "a second")
    axes.spines["left"].set_visible(False)
    return figure


def _distribution(distribution: Distribution) -> Figure:
    """The share of calls that took no longer, over milliseconds."""
    figure, axes = _figure(PLOT_HEIGHT)
    for name, colour in _coloured(distribution.milliseconds).items():
        values = distribution.milliseconds[name]
        shares = [100 * number / max(1, len(values) - 1) for number in range(len(values))]
        axes.plot(values, shares, color=colour, linewidth=1.8, label=_with_median(name, values))
    axes.set_xscale("log")
    _plain_logarithms(axes, min(min(values) for values in distribution.milliseconds.values()))
    axes.set_ylim(0, 101)
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("% took no longer")
    axes.grid()
    _legend(figure, [_with_median(*each) for each in distribution.milliseconds.items()])
    return figure


def _with_median(name: str, milliseconds: Sequence[float]) -> str:
    return f"{name}, median {number(median(milliseconds))} ms"


def _lines(lines: Lines) -> Figure:
    """Memory over time, or costs over sizes; from zero, so that what is flat looks flat."""
    figure, axes = _figure(PLOT_HEIGHT)
    growing = lines.kind == "growth"
    for name, colour in _coloured(lines.points).items():
        across, upward = zip(*lines.points[name], strict=True)
        axes.plot(across, upward, color=colour, linewidth=1.8, label=name, marker="o" if growing else "", markersize=4)
    if growing:
        axes.set_xscale("log")
        sizes = sorted({size for points in lines.points.values() for size, _ in points})
        axes.xaxis.set_major_locator(FixedLocator(sizes[:: -(-len(sizes) // 8)]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    most = max(cost for points in lines.points.values() for _, cost in points)
    axes.set_ylim(0, most * 1.15 or 1)
    axes.set_xlabel(lines.across)
    axes.set_ylabel(lines.upward)
    axes.grid()
    if len(lines.points) > 1 or "" not in lines.points:
        _legend(figure, lines.points)
    return figure


def _coloured(named: Mapping[str, object]) -> dict[str, str]:
    """A colour for each name; a single one, and ours, have ours."""
    others = [name for name in named if name not in OURS]
    if len(named) == 1:
        return dict.fromkeys(named, OWN_COLOUR)
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(others)}
    return {name: colours.get(name, OWN_COLOUR) for name in named}


def _legend(figure: Figure, names: Collection[str]) -> None:
    """Above the plot, in as many columns as there is room for."""
    columns = max(1, min(len(names), int(WIDTH * CHARACTERS_AN_INCH / (max(map(len, names)) + 6))))
    figure.legend(loc="outside upper left", ncols=columns, handlelength=1.2)


def _plain_logarithms(axes: Axes, least: float) -> None:
    """Milliseconds as people write them: 0.5, 1, 2, 5, 10."""
    ticks = [digit * 10.0**power for power in range(-4, 7) for digit in (1, 2, 5)]
    low, high = axes.get_xlim()
    inside = [tick for tick in ticks if min(low, least) <= tick <= high]
    axes.xaxis.set_major_locator(FixedLocator(inside if len(inside) <= 9 else inside[::3]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
