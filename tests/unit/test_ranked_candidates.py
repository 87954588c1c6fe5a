"""What a search shows of its two lists: nothing of them is lost, and how near a passage is counts, not its place alone."""

from __future__ import annotations

import uuid

from processor_service.search.search_store import Candidate, Candidates, Hit
from processor_service.search.searching import ranked

MATERIAL = uuid.uuid4()


def candidate(text: str, similarity: float, coverage: float = 1.0) -> Candidate:
    hit = Hit(MATERIAL, 1, len(text), 0, len(text), "", text)
    return Candidate(hit, similarity, coverage)


def test_one_common_word_does_not_put_a_far_passage_before_a_near_one() -> None:
    near, far = candidate("plate tectonics moves continents", 0.44), candidate("page two of the notes on water", 0.14)
    found = ranked(Candidates([near, far], [candidate(far.hit.text, 0.14, coverage=0.15)]))
    assert [each.hit for each in found] == [near.hit, far.hit]


def test_all_words_of_the_query_put_a_passage_before_one_that_is_a_little_nearer() -> None:
    near, exact = candidate("updating a belief by evidence", 0.52), candidate("Bayes 1763", 0.48)
    found = ranked(Candidates([near, exact], [exact]))
    assert found[0].hit == exact.hit


def test_what_has_nothing_in_common_with_the_query_is_found_all_the_same() -> None:
    similarities = {"osmosis": 0.05, "revolution": -0.02, "quicksort": -0.3}
    found = ranked(Candidates([candidate(text, similarity) for text, similarity in similarities.items()], []))
    assert [each.hit.text for each in found] == list(similarities)
    assert all(0 < each.score <= 1 for each in found)


def test_nothing_of_a_hidden_material_is_shown_nor_counts() -> None:
    shown, gone = candidate("osmosis in the roots", 0.5), candidate("osmosis in the roots, again", 0.9)
    gone = gone._replace(hit=gone.hit._replace(material_id=uuid.uuid4()))
    [found] = ranked(Candidates([gone, shown], [gone]), {str(gone.hit.material_id)})
    assert (found.hit, found.score, found.repeats) == (shown.hit, 1.0, 0)


def test_first_ones_are_the_first_of_all_with_the_same_repeats() -> None:
    subjects = [
        "osmosis in the roots of plants",
        "tides and the moon above them",
        "osmosis in the roots of plants",
        "quicksort by halves",
    ]
    candidates = Candidates([candidate(text, 0.9 - 0.1 * at) for at, text in enumerate(subjects)], [])
    # Of one length, and yet not one passage.
    candidates.nearest[2] = candidates.nearest[2]._replace(hit=candidates.nearest[2].hit._replace(page_number=2))
    found = ranked(candidates)
    assert [each.repeats for each in found] == [1, 0, 0]
    assert [ranked(candidates, at_most=count) for count in range(4)] == [found[:count] for count in range(4)]
