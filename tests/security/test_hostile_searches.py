"""Search inputs made to harm: a field that is out of its range is named, everything else is text, over gRPC and HTTP alike."""

from __future__ import annotations

import pytest
from materials.v1 import processor_service_pb2

from tests.contract.refusals import refused
from tests.security.attacked import Attacked, World
from tests.security.hostile_texts import KEPT

TOO_LONG = {
    "a character too many": "x" * 501,
    "a character too many, four bytes each": "🙂" * 501,
    "100,000 tokens": "cell " * 100_000,
}
NOTHING = {"nothing": "", "spaces": "   ", "line breaks": "\r\n\t", "NUL": "\0"}
TEXT = {
    **KEPT,
    "only stop words": "the of and a",
    "operators": "& | ! ( ) <-> :* ' \" \\",
    "quotes": "'\"`\u2019",
    "wildcards": "%_%",
    "NUL within": "ce\0lls",
    "as long as may be": "x" * 500,
    "regular expression": "(a+)+$",
    "control characters": "a\x1b[31m\x07b",
    "bidi override": "\u202esllec",
    "URL": "?text=x&text=y#z",
}
LIMITS = [-1, 11, 2**31 - 1, -(2**31)]


@pytest.mark.parametrize("what", TOO_LONG | NOTHING)
def test_query_out_of_range_is_named(attacked: Attacked, world: World, what: str) -> None:
    query = (TOO_LONG | NOTHING)[what]
    with refused("INVALID_ARGUMENT", "FIELD_INVALID", "query"):
        search(world, query)
    with attacked.http(world.reader.token) as http:
        path = f"/courses/{world.course}/search"
        answers = [http.post(path, json={"query": query})]
        if what != "100,000 tokens":  # no client makes such a URL
            answers.append(http.get(path, params={"query": query}))
    for answer in answers:
        # What is too long for a body is not read to its end.
        assert answer.status_code == (413 if what == "100,000 tokens" else 422), answer.text
        if answer.status_code == 422:
            assert [error["field"] for error in answer.json()["errors"]] == ["query"]


@pytest.mark.parametrize("limit", LIMITS)
def test_limit_out_of_range_is_named(attacked: Attacked, world: World, limit: int) -> None:
    with refused("INVALID_ARGUMENT", "FIELD_INVALID", "limit"):
        search(world, "cells", limit)
    with attacked.http(world.reader.token) as http:
        path = f"/courses/{world.course}/search"
        answers = [
            http.post(path, json={"query": "cells", "limit": limit}),
            http.get(path, params={"query": "cells", "limit": limit}),
        ]
    for answer in answers:
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["limit"]


@pytest.mark.parametrize("limit", [2**31, -(2**63), 10**30, "three", "1;", "", "0x1", "1.5"])
def test_limit_that_is_no_number_of_ours_is_named_over_http(attacked: Attacked, world: World, limit: object) -> None:
    with attacked.http(world.reader.token) as http:
        answer = http.get(f"/courses/{world.course}/search", params={"query": "cells", "limit": str(limit)})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["limit"]


@pytest.mark.parametrize("what", TEXT)
def test_query_that_looks_like_more_is_text(attacked: Attacked, world: World, what: str) -> None:
    found = search(world, TEXT[what])
    assert [result.material_id for result in found] == [world.material.id]
    with attacked.http(world.reader.token) as http:
        path = f"/courses/{world.course}/search"
        answers = [http.post(path, json={"query": TEXT[what]}), http.get(path, params={"query": TEXT[what]})]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.json()["query"] == TEXT[what]
        assert [result["material_id"] for result in answer.json()["results"]] == [world.material.id]


def search(world: World, query: str, limit: int = 0) -> list[processor_service_pb2.SearchResult]:
    request = processor_service_pb2.SearchMaterialsRequest(course_id=world.course, query=query, limit=limit)
    reader = world.reader
    return list(reader.processor.SearchMaterials(request, metadata=reader.metadata, timeout=30).results)
