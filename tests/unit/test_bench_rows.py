"""What a benchmark makes of its figures: rounds, ratios, verdicts, and the page's words."""

from __future__ import annotations

import pickle
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.page_text import number, page_text, targets_table
from bench.rounds import Spread, interleaved, ratios, spread
from bench.rows import Row
from bench.series import Bars, Distribution, Lines, marginal, series_of, thinned

PROJECT = Path(__file__).resolve().parents[2]
#: What draws is installed for the benchmark alone.
BENCH = PROJECT / ".venv-bench"
RUN = {"rounds": 5, "quick": False, "machine": {"cpu": "a processor", "cores": 2}, "not_measured": []}
TEMPLATE = """# Page

{verdict}

{run}

{targets}

## Uploads

<!-- line: upload-rate -->

Not said: more.

## Search

<!-- line: search -->

## At the end

<!-- other lines -->
"""


def row(name: str = "uploads", figure: float = 1.0, **others: object) -> Row:
    return Row(name, figure, "×", **{"line": "upload-rate", **others})  # type: ignore[arg-type]


async def test_every_contestant_runs_once_a_round_and_the_warm_up_does_not_count() -> None:
    ran: list[str] = []

    async def run(name: str) -> int:
        ran.append(name)
        return len(ran)

    measured = await interleaved(
        {"a": lambda: run("a"), "b": lambda: run("b"), "c": lambda: run("c")}, 4, order=random.Random(7)
    )

    rounds = [ran[start : start + 3] for start in range(0, len(ran), 3)]
    assert len(rounds) == 5
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({tuple(names) for names in rounds}) > 1, "the order is another from round to round"
    assert all(len(values) == 4 and min(values) > 3 for values in measured.values())


def test_a_ratio_is_taken_within_its_round() -> None:
    # The machine became ten times slower after the first round; ours was twice as fast throughout.
    assert ratios([200, 20, 20], [100, 10, 10]) == Spread(2.0, 2.0, 2.0)


def test_a_ratio_needs_as_many_rounds_of_both() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_a_spread_is_median_and_quartiles_and_of_two_the_ends() -> None:
    assert spread([1, 2, 3, 4, 100]) == Spread(3, 2, 4)
    assert spread([1, 3]) == Spread(2, 1, 3)


@pytest.mark.parametrize(
    ("better", "figure", "met"),
    [("higher", 1.5, True), ("higher", 1.49, False), ("lower", 1.5, True), ("lower", 1.51, False)],
)
def test_a_row_is_met_up_to_its_limit(better: str, figure: float, met: bool) -> None:
    assert row(figure=figure, limit=1.5, better=better).met is met


def test_a_row_without_a_limit_has_no_verdict_and_no_target() -> None:
    assert row().met is None
    assert row().target == ""
    assert targets_table([row()]) == ""


def test_the_table_has_every_row_with_a_target_and_says_which_is_not_met() -> None:
    good = row("a | b", 2.0, limit=1.5, spread=Spread(2, 1.9, 2.1), floor="600/s", peers={"Celery": "300/s"})
    table = targets_table([good, row("slow", 1.0, limit=1.5), row("only shown")]).splitlines()

    assert len(table) == 4
    assert table[2] == "| a \\| b | ≥&nbsp;1.5&nbsp;× | 2&nbsp;× | 1.9&#8209;2.1 |  | 600/s | Celery: 300/s | met |"
    assert table[3].endswith("| **not met** |")


def test_the_page_leaves_out_sections_without_figures_and_adds_those_of_lines_it_does_not_know() -> None:
    text = page_text(
        TEMPLATE, RUN, [row(limit=0.5), row("something new", line="new-line")], {"new-line": ["![p](p.svg)"]}
    )

    assert "## Uploads\n\n- uploads: **1 ×**, target ≥ 0.5 × met" in text
    assert "Not said: more." in text
    assert "## Search" not in text
    assert "## New line\n\n- something new: **1 ×**\n\n![p](p.svg)" in text
    assert "<!--" not in text
    assert "{" not in text


def test_the_page_says_what_is_not_met_not_measured_and_that_a_run_was_quick() -> None:
    data = {**RUN, "not_measured": ["search"], "quick": True}
    text = page_text(TEMPLATE, data, [row(limit=0.5), row("slow", limit=2.0)], {})

    assert "**1 of 2 targets are met.** Not met: slow. Not measured, for an error: search." in text
    assert "quick run" in text


def test_a_page_without_any_row_is_a_page() -> None:
    assert "0 of 0 targets" in page_text(TEMPLATE, {}, [], {})


def test_notes_of_a_line_are_told_once() -> None:
    noted = {"note": "The disk was slow."}
    text = page_text(TEMPLATE, RUN, [row(details=noted), row("more", details=noted)], {})
    assert text.count("The disk was slow.") == 1


@pytest.mark.parametrize(("value", "text"), [(1670.4, "1,670"), (53.14, "53.1"), (0.2141, "0.214"), (99.96, "100")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_details_become_what_is_drawn_with_ours_first() -> None:
    found = series_of(
        row(
            details={
                "throughput": {"Celery": [1, 2], "ours": [3], "nobody": []},
                "throughput_unit": "uploads/s",
                "latencies_ms": {"ours": [3, 1, 2]},
                "memory_mib": {"processor": [[0, 90], [1, 91.5]]},
                "growth": [[10, 20], [100, 21]],
                "growth_of": "pages",
                "growth_unit": "CPU ms a page",
                "something": {"else": 1},
            }
        )
    )

    assert found == {
        "throughput": Bars("uploads/s", {"ours": [3.0], "Celery": [1.0, 2.0]}),
        "latencies": Distribution({"ours": [1.0, 2.0, 3.0]}),
        "memory": Lines("memory", "seconds", "MiB", {"processor": [(0.0, 90.0), (1.0, 91.5)]}),
        "growth": Lines("growth", "pages", "CPU ms a page", {"": [(10.0, 20.0), (100.0, 21.0)]}),
    }
    assert isinstance(found["throughput"], Bars)
    assert list(found["throughput"].rounds) == ["ours", "Celery"]


def test_details_that_are_empty_or_absent_draw_nothing() -> None:
    assert series_of(row(details={"throughput": {}, "growth": [], "memory_mib": {"processor": []}})) == {}


def test_thinned_keeps_the_first_and_the_last_and_the_order() -> None:
    kept = thinned(range(10_000))
    assert len(kept) == 200
    assert (kept[0], kept[-1]) == (0, 9_999)
    assert kept == sorted(set(kept))
    assert thinned([1, 2]) == [1, 2]


def test_a_marginal_cost_leaves_out_what_is_paid_once() -> None:
    assert marginal([(10, 500 + 10 * 2.0), (100, 500 + 100 * 2.0), (1000, 500 + 1000 * 3.0)]) == [
        (100, 2.0),
        (1000, pytest.approx((1000 * 3.0 - 100 * 2.0) / 900)),
    ]


def test_a_page_is_written_with_its_plots_the_same_for_the_same_figures(tmp_path: Path) -> None:
    if not (BENCH / ".installed").exists():
        pytest.skip("NO ENVIRONMENT OF THE BENCHMARK, whose packages draw the plots: `make bench-quick` makes it")
    page = tmp_path / "performance.md"
    shared = {"throughput": {"ours": [5, 6], "Celery": [2, 3]}}
    rows = [row(limit=0.5, details=shared), row("the same again", details=shared)]
    old = tmp_path / "performance" / "of-an-earlier-run.svg"
    old.parent.mkdir()
    old.write_text("<svg/>")

    _write_page(rows, page)
    plots = {path.name: path.read_bytes() for path in old.parent.iterdir()}
    assert list(plots) == ["upload-rate-1-throughput.svg"], "drawn once, and what is not of this run is gone"
    assert "![uploads: ours 5.5/s, Celery 2.5/s](performance/upload-rate-1-throughput.svg)" in page.read_text()
    assert b"<dc:date>" not in plots["upload-rate-1-throughput.svg"]
    assert len(plots["upload-rate-1-throughput.svg"]) < 40_000

    _write_page(rows, page)
    assert {path.name: path.read_bytes() for path in old.parent.iterdir()} == plots


def _write_page(rows: Sequence[Row], page: Path) -> None:
    """`bench.page.write_page`, by the benchmark's own Python."""
    subprocess.run(
        [
            *(str(BENCH / "bin" / "python"), "-c"),
            "import pickle, sys; from bench.page import write_page; write_page(*pickle.load(sys.stdin.buffer))",
        ],
        input=pickle.dumps((RUN, rows, page)),
        cwd=PROJECT,
        timeout=60,
        check=True,
    )
