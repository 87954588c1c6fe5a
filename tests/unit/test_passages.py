"""Promises of the splitting of a page into passages."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor_service.index.passages import Passage, embedding_text, split_page

# Pieces that put every kind of place to cut, and none, next to each other.
PIECES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "\n\n",
            "\n",
            " ",
            ". ",
            "? ",
            "。",
            "！」",
            "# Title\n",
            "\n\n2.1 Limits\n",
            "```\n",
            "…",
            "\u3000",
            "\r\n\r\n",
        ]
    ),
    st.builds(
        lambda word, times: word * times,
        st.sampled_from(["word ", "光合作用", "x", "Слово. ", "नमस्ते ", " ", "🙂", "One sentence here. ", "....", "\n"]),
        st.integers(1, 60),
    ),
)
PAGES = st.lists(PIECES, max_size=25).map("".join)
SIZES = st.integers(16, 200).flatmap(
    lambda target: st.tuples(st.just(target), st.integers(target, 2 * target), st.integers(0, target // 2))
)


def covered_offsets(passages: list[Passage]) -> set[int]:
    return {offset for passage in passages for offset in range(passage.start, passage.end)}


@settings(max_examples=300, deadline=None)
@given(text=PAGES, sizes=SIZES)
def test_every_passage_is_a_trimmed_slice_of_bounded_size_and_nothing_readable_is_lost(
    text: str, sizes: tuple[int, int, int]
) -> None:
    target, most, overlap = sizes
    passages = split_page(text, target_chars=target, max_chars=most, overlap_chars=overlap)

    assert [passage.ordinal for passage in passages] == list(range(len(passages)))
    for passage in passages:
        assert text[passage.start : passage.end] == passage.text
        assert passage.text
        assert passage.text == passage.text.strip()
        assert len(passage.text) <= most
    covered = covered_offsets(passages)
    assert [offset for offset, char in enumerate(text) if not char.isspace() and offset not in covered] == []


@settings(max_examples=300, deadline=None)
@given(text=PAGES, sizes=SIZES)
def test_passages_move_forward_and_repeat_no_more_than_the_overlap(text: str, sizes: tuple[int, int, int]) -> None:
    target, most, overlap = sizes
    passages = split_page(text, target_chars=target, max_chars=most, overlap_chars=overlap)

    for before, after in pairwise(passages):
        assert before.start < after.start
        assert before.end < after.end
        assert before.end - after.start <= overlap


@settings(max_examples=100, deadline=None)
@given(text=PAGES)
def test_the_same_page_gives_the_same_passages(text: str) -> None:
    assert split_page(text) == split_page(text)


@pytest.mark.parametrize("blank", ["", " ", "\n\n \t\n", "\u3000\u2003"])
def test_a_blank_page_has_no_passages(blank: str) -> None:
    assert split_page(blank) == []


def test_a_short_page_is_one_passage() -> None:
    assert split_page("  Photosynthesis stores light.\n") == [
        Passage(ordinal=0, text="Photosynthesis stores light.", start=2, end=30, heading="")
    ]


def test_sections_are_cut_at_their_headings_and_carry_them() -> None:
    body = "Plants take up water and carbon dioxide. " * 10
    text = f"# Photosynthesis\n{body}\n\n## The light reactions\n{body}\n\n1.2 The Calvin cycle\n{body}\n"
    passages = split_page(text)

    assert [passage.heading for passage in passages] == [
        "Photosynthesis",
        "The light reactions",
        "1.2 The Calvin cycle",
    ]
    assert [passage.text.split("\n")[0] for passage in passages] == [
        "# Photosynthesis",
        "## The light reactions",
        "1.2 The Calvin cycle",
    ]


def test_a_passage_that_opens_with_two_headings_is_under_the_inner_one() -> None:
    [passage] = split_page("# Biology\n\n## Cells\n\nA cell has a membrane.")
    assert passage.heading == "Cells"


def test_a_comment_in_a_code_block_is_no_heading() -> None:
    text = "Intro text goes here.\n\n```python\n# not a heading\nx = 1\n```\n" + "More text follows. " * 70
    assert {passage.heading for passage in split_page(text)} == {""}


def test_a_long_section_is_cut_between_paragraphs_before_sentences() -> None:
    paragraph = "All of this belongs together. " * 20
    passages = split_page("\n\n".join([paragraph] * 4), overlap_chars=0)
    assert [passage.text for passage in passages] == [paragraph.strip()] * 4


def test_running_text_is_cut_after_sentences_and_overlaps_by_whole_sentences() -> None:
    text = " ".join(f"Sentence number {number} says something about enzymes." for number in range(100))
    passages = split_page(text)

    assert len(passages) > 3
    for passage in passages:
        assert passage.text.startswith("Sentence number")
        assert passage.text.endswith("enzymes.")
    for before, after in pairwise(passages):
        assert after.start < before.end


def test_text_without_sentences_is_cut_between_words() -> None:
    words = [f"word{number}" for number in range(1000)]
    for passage in split_page(" ".join(words)):
        assert set(passage.text.split()) <= set(words)


def test_chinese_is_cut_after_its_full_stops_into_passages_of_about_400_characters() -> None:
    text = "".join(f"植物在第{number}天吸收二氧化碳并释放氧气。" for number in range(200))
    passages = split_page(text)

    assert max(len(passage.text) for passage in passages) <= 400
    assert all(passage.text.endswith("。") for passage in passages)


def test_latin_passages_stay_near_the_target() -> None:
    text = "The cell divides and grows again. " * 300
    lengths = [len(passage.text) for passage in split_page(text)]
    assert all(450 <= length <= 1200 for length in lengths[:-1])


@pytest.mark.parametrize(
    "sizes",
    [
        {"target_chars": 15},
        {"target_chars": 900, "max_chars": 899},
        {"target_chars": 100, "overlap_chars": 51},
        {"overlap_chars": -1},
    ],
)
def test_sizes_that_cannot_work_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        split_page("text", **sizes)


@pytest.mark.parametrize("unit", [".", "\n", " ", "a", '."', "# ", "。", "\n\n", "1.", "A\n\n", "`"])
def test_hostile_repetition_is_split_in_linear_time(unit: str) -> None:
    # Anything quadratic would need minutes for this length, and end by the suite's time limit.
    text = (unit * 1_000_000)[:1_000_000]
    covered = 0
    for passage in split_page(text):
        assert text[covered : passage.start].strip() == ""
        covered = max(covered, passage.end)
    assert text[covered:].strip() == ""


def test_a_table_of_contents_with_dot_leaders_keeps_every_line() -> None:
    lines = [f"{number} Chapter {'.' * 60} {number * 7}" for number in range(1, 80)]
    passages = split_page("\n".join(lines))
    joined = "\n".join(passage.text for passage in passages)
    assert all(re.search(rf"^{number} Chapter", joined, re.MULTILINE) for number in range(1, 80))


ENTRY = (
    "{mark} Term number {number} – This is what the term means, in a sentence long enough to be about something by itself, "
    "and then in one more for good measure."
)


def test_marked_entries_are_passages_of_their_own() -> None:
    entries = [ENTRY.format(mark="❒", number=number) * 2 for number in range(8)]
    passages = split_page("\n".join(entries))
    assert [passage.text for passage in passages] == entries


def test_short_marked_entries_share_a_passage() -> None:
    passages = split_page("\n".join(f"■ Term {number} – short." for number in range(4)))
    assert len(passages) == 1


def test_list_is_cut_between_its_items() -> None:
    text = "\n".join(ENTRY.format(mark="•", number=number) for number in range(30))
    passages = split_page(text)
    assert len(passages) > 3
    assert all(passage.text.endswith("measure.") for passage in passages)


def test_numbered_heading_without_blank_lines_is_one() -> None:
    body = "Running text of the section goes on and on for a while.\n" * 6
    text = f"{body}2.3 Limits of functions\n{body}2.3.1 One-sided limits\n{body}"
    assert [passage.heading for passage in split_page(text)] == [
        "",
        "2.3 Limits of functions",
        "2.3.1 One-sided limits",
    ]


@pytest.mark.parametrize(
    "rows",
    [
        "1.1 Introduction . . . . . 2\n1.2 Notations . . . . . 3",
        "0.5 Ethanol 3\n1.5 Water 4\n2.5 Glucose 7",
    ],
    ids=["table of contents", "table of numbers"],
)
def test_numbered_rows_are_no_headings(rows: str) -> None:
    passages = split_page(f"Some text stands here first.\n{rows}\nAnd some more behind it.")
    assert {passage.heading for passage in passages} == {""}


def test_embedded_text_has_the_heading_once() -> None:
    body = "Plants take up water and carbon dioxide. " * 40
    first, second, *_ = split_page(f"# Photosynthesis\n{body}")
    assert embedding_text(first) == first.text
    assert embedding_text(second) == f"Photosynthesis\n{second.text}"
    assert embedding_text(Passage(0, "No heading.", 0, 11, "")) == "No heading."
