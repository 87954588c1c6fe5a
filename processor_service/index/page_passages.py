"""The passages of a page: cut from what is its own, between the running lines that it shares with its neighbours. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from processor_service.index.passages import Passage, split_page
from processor_service.index.running_lines import Body, running_spans

#: So many pages before a page (and behind it, where they are known) are looked at for running lines.
NEIGHBOUR_PAGES = 3


def passages_of(text: str, neighbours: Sequence[str]) -> list[Passage]:
    """In order; offsets are those of the whole page. `neighbours` are the texts of pages beside it.

    A page that looks like running lines alone is taken whole: noise is found too often, but what is left out is never found.
    """
    body = running_spans(text, neighbours)
    if not text[body.start : body.end].strip():
        body = Body(0, len(text))
    return [
        replace(passage, start=passage.start + body.start, end=passage.end + body.start)
        for passage in split_page(text[body.start : body.end])
    ]
