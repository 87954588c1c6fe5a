"""A text layer is believed when nothing speaks against it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processor_service.documents.text_layer_check import MAX_CHARS, LayerFacts, Verdict, judge

PROSE = (
    "Glaciers form where more snow falls than melts, year after year, and the weight of new layers presses the older ones. "
    * 5
)
CHARS = len(PROSE.replace(" ", ""))
GOOD = LayerFacts(
    text=PROSE,
    chars=CHARS,
    unmapped=0,
    invisible=0,
    downwards=0,
    image_share=0.0,
    covered=False,
    shapes=0,
    annotated=False,
)


def of(text: str) -> LayerFacts:
    return replace(GOOD, text=text, chars=sum(not char.isspace() for char in text))


def shifted(text: str, by: int) -> str:
    return "".join(chr((ord(char) - 97 + by) % 26 + 97) if char.islower() else char for char in text)


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "Volcanoes build islands",
        "\n".join(f"Entry number {page} of it {'. ' * 40}{page}" for page in range(9)),
        "12 345 678,90 € × 2 = 24 691 357,80 €",
        "Größere Flächen fließen talwärts und hobeln dabei den Untergrund ab. Übrig bleiben Moränen. " * 4,
        "¿Qué ocurre después? El peso de las capas nuevas comprime las más antiguas. " * 4,
        "Lodowce powstają tam, gdzie spada więcej śniegu, niż topnieje. Ciężar nowych warstw ściska starsze. " * 4,
        "Ледники образуются там, где снега выпадает больше, чем тает. " * 5,
        "Οι παγετώνες σχηματίζονται εκεί όπου πέφτει περισσότερο χιόνι. " * 5,
        "氷河は、降る雪が融ける雪より多いところにできる。" * 10,
        "הקרחונים נוצרים במקום שבו יורד יותר שלג ממה שנמס. " * 5,
        "P(A ∪ B) ⩽ P(A) + P(B), ∀i ∈ [1, n], f(x) = ∑ aᵢ xⁱ, θ ← θ − α∇J(θ), Var(X) = E[X²] − E[X]² " * 2,
        "def f(x): return [y ** 2 for y in x if y != 0]  # squares of all but zero\n" * 5,
        "1.1 Introduction . . . . . . 2\n1.2 Notation . . . . . . . 3\n" * 3 + PROSE,
    ],
)
def test_text_of_many_kinds_is_good(text: str) -> None:
    assert judge(of(text)) is Verdict.GOOD


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (of(""), Verdict.NO_TEXT),
        (replace(GOOD, text=" "), Verdict.NO_TEXT),
        (replace(GOOD, text="", chars=MAX_CHARS + 1), Verdict.TOO_MUCH),
        (of(PROSE + "\ufffd" * 20), Verdict.MEANINGLESS),
        (of(PROSE + "\ue123" * 20), Verdict.MEANINGLESS),
        (replace(GOOD, unmapped=CHARS // 20), Verdict.MEANINGLESS),
        (of(shifted(PROSE, 3)), Verdict.GLYPH_SOUP),
        (of("!$%&/()=?#+*~<>|@" * 20), Verdict.GLYPH_SOUP),
        (replace(GOOD, invisible=CHARS), Verdict.INVISIBLE),
        (replace(GOOD, invisible=CHARS // 10), Verdict.INVISIBLE),
        (replace(GOOD, covered=True, image_share=1.0), Verdict.IMAGES),
        (replace(GOOD, image_share=0.6), Verdict.IMAGES),
        (replace(of("Received 12 May"), image_share=0.1), Verdict.IMAGES),
        (replace(of("page 3"), shapes=400), Verdict.OUTLINES),
        (replace(GOOD, annotated=True), Verdict.ANNOTATED),
        (replace(GOOD, downwards=CHARS // 2), Verdict.DOWNWARDS),
    ],
)
def test_each_doubt_has_its_name(facts: LayerFacts, verdict: Verdict) -> None:
    assert judge(facts) is verdict


def test_the_more_text_the_larger_a_figure_may_be() -> None:
    few, many = of("Growth of the ice since 1870"), replace(of(PROSE * 3))
    assert judge(replace(few, image_share=0.3)) is Verdict.IMAGES
    assert judge(replace(many, image_share=0.3)) is Verdict.GOOD
    assert judge(replace(few, image_share=0.005)) is Verdict.GOOD
