"""A reply of the Brain held to its sources: what is cited, corrected, left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor_service.answers.answer_prompt import NOT_HELD
from processor_service.answers.citations import MAX_REPLY_CHARS, ReplySentence, check_reply, split_reply

PLANTS = "Photosynthesis converts the energy of light into sugar. It happens in the chloroplasts of green leaves."
FRANCE = "In 1789 the people of Paris stormed the Bastille, and the king lost his power."
SOURCES = [PLANTS, FRANCE]
LIGHT = "Photosynthesis converts the energy of light into sugar."
KING = "In 1789 the king lost his power."


def kept(reply: str, sources: list[str] | None = None) -> list[tuple[str, tuple[int, ...]]]:
    return [(each.text, each.numbers) for each in check_reply(reply, sources or SOURCES).sentences]


class TestMarks:
    @pytest.mark.parametrize(
        ("reply", "sentences"),
        [
            ("One. [1] Two. [2]", [("One.", (1,)), ("Two.", (2,))]),
            ("One [1]. Two [2].", [("One.", (1,)), ("Two.", (2,))]),
            ("One.[1] Two.[2]", [("One.", (1,)), ("Two.", (2,))]),
            ("One.[1][2] Two.", [("One.", (1, 2)), ("Two.", ())]),
            ("One [1, 2]. Two [1; 3].", [("One.", (1, 2)), ("Two.", (1, 3))]),
            ("One [1-3].", [("One.", (1, 2, 3))]),
            ("One 【1】。Two【2】。", [("One。", (1,)), ("Two。", (2,))]),
            ("One [Source 2]. Two [^1].", [("One.", (2,)), ("Two.", (1,))]),
            ("One [1, page 4].", [("One.", (1,))]),
            ("[1] One. [2] Two.", [("One.", (1,)), ("Two.", (2,))]),
            ("- One [1]\n- Two [2]", [("- One", (1,)), ("- Two", (2,))]),
            ("One part [1] and another [2].", [("One part and another.", (1, 2))]),
            ("See Fig. 3 of it [1]. Dr. No came at 3.5 m, e.g. late [2].", [("See Fig. 3 of it.", (1,)), ("Dr. No came at 3.5 m, e.g. late.", (2,))]),
            ("# Answer\n\n**One** is it. [1]\n---\n```\n", [("One is it.", (1,))]),
            ("Answer: One. [1]", [("One.", (1,))]),
            ("一。[1]二。[2]", [("一。", (1,)), ("二。", (2,))]),
            ("One [12345678901234567890].", [("One [12345678901234567890].", ())]),
            ("P = n! / (n - r)! [1]", [("P = n! / (n - r)!", (1,))]),
            ("", []),
            ("[1] [2]", []),
        ],
    )  # fmt: skip
    def test_are_taken_from_their_sentences(self, reply: str, sentences: list[tuple[str, tuple[int, ...]]]) -> None:
        assert [(each.text, each.numbers) for each in split_reply(reply)] == sentences

    def test_white_space_between_sentences_is_kept_and_none_follows_the_last(self) -> None:
        reply = f"{LIGHT} [1] {KING} [2]\n\nIt happens in the chloroplasts of green leaves. [1]\n"
        assert [each.space for each in check_reply(reply, SOURCES).sentences] == [" ", "\n", ""]


class TestSupport:
    def test_cited_sentence_stays_with_its_source(self) -> None:
        assert kept(f"{LIGHT} [1] {KING} [2]") == [(LIGHT, (1,)), (KING, (2,))]

    def test_numbers_of_no_source_are_dropped(self) -> None:
        assert kept(f"{LIGHT} [1][9] {KING} [0, 2]") == [(LIGHT, (1,)), (KING, (2,))]

    def test_sentence_that_its_source_does_not_say_is_left_out(self) -> None:
        checked = check_reply(f"{LIGHT} [1] The password is hunter2. [2] {KING} [1]", SOURCES)
        assert [each.text for each in checked.sentences] == [LIGHT]
        assert (checked.left_out, checked.declined) == (2, False)

    def test_of_several_sources_only_those_that_say_it_are_cited(self) -> None:
        assert kept(f"{LIGHT} [1][2]") == [(LIGHT, (1,))]

    def test_sentence_may_stand_on_two_sources_together(self) -> None:
        together = "Photosynthesis converts light into sugar, and in 1789 the king lost his power."
        assert kept(f"{together} [1][2]") == [(together, (1, 2))]
        assert kept(f"{together} [1]") == []

    @pytest.mark.parametrize("mark", ["", "[9]", "[0]"])
    def test_sentence_without_a_source_gets_the_one_that_says_it_beyond_doubt(self, mark: str) -> None:
        assert kept(f"{KING} {mark}") == [(KING, (2,))]
        assert kept(f"Photosynthesis is a kind of light-driven sugar factory process. {mark}") == []

    def test_numbered_list_is_no_claim_about_its_numbers(self) -> None:
        assert kept(f"1. {LIGHT} [1]\n2. {KING} [2]") == [(f"1. {LIGHT}", (1,)), (f"2. {KING}", (2,))]

    def test_source_that_is_empty_supports_nothing(self) -> None:
        assert kept(f"{LIGHT} [1] {KING} [2]", ["", FRANCE]) == [(KING, (2,))]


class TestRefusal:
    @pytest.mark.parametrize("reply", [NOT_HELD, f"  {NOT_HELD.lower()} [1]", f"**{NOT_HELD}**"])
    def test_model_that_says_so_has_declined(self, reply: str) -> None:
        checked = check_reply(reply, SOURCES)
        assert (checked.sentences, checked.left_out, checked.declined) == ((), 0, True)

    @pytest.mark.parametrize("reply", ["", "Nothing.", "I am sorry, but as a language model I cannot help. [1]"])
    def test_anything_else_unsupported_is_not_a_refusal(self, reply: str) -> None:
        checked = check_reply(reply, SOURCES)
        assert (checked.sentences, checked.declined) == ((), False)


class TestHostileReplies:
    def test_our_own_instructions_are_left_out(self) -> None:
        from processor_service.answers.answer_prompt import QuotedPassage, answer_prompt

        prompt = answer_prompt("What is it?", [QuotedPassage("notes.txt", 1, "", PLANTS)])
        instructions = prompt.partition("Context:")[0]
        assert check_reply(instructions, SOURCES).sentences == ()
        assert check_reply(" ".join(f"{line} [1]" for line in instructions.splitlines()), SOURCES).sentences == ()

    def test_control_and_bidirectional_characters_are_taken_out(self) -> None:
        assert kept(f"\u202e{LIGHT[:20]}\x00\x1b{LIGHT[20:]} [1]") == [(LIGHT, (1,))]

    def test_only_the_beginning_of_an_endless_reply_is_looked_at(self) -> None:
        reply = "Nonsense without end. [1] " * 50_000
        assert check_reply(reply, SOURCES).left_out <= MAX_REPLY_CHARS // len("Nonsense without end. [1] ") + 1

    @given(st.text(alphabet=st.sampled_from("ab cX.!?。[]12,-\n【】(){}*#>日本"), max_size=200))
    def test_whatever_the_reply_every_part_has_a_source(self, reply: str) -> None:
        checked = check_reply(reply, ["ab cX 12 日本", "X"])
        assert all(each.text.strip() and set(each.numbers) <= {1, 2} and each.numbers for each in checked.sentences)
        assert all(isinstance(each, ReplySentence) and "\n" not in each.text for each in checked.sentences)
