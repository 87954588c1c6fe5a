"""Promises of the check against cross-site requests: a browser's word that a page of this very site sent it, or refusal."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from gateway.callers import bearer_token, same_origin
from servicekit.errors import ServiceError


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://learn.example.org"}, False),
        ({"sec-fetch-site": ""}, False),
        ({"origin": "https://learn.example.org"}, True),
        ({"origin": "http://learn.example.org"}, True),
        ({"origin": "https://evil.example.org"}, False),
        ({"origin": "https://learn.example.org.evil.org"}, False),
        ({"origin": "https://learn.example.org:8443"}, False),
        ({"origin": "https://learn.example.org@evil.org"}, False),
        ({"origin": "null"}, False),
        ({"origin": "null", "host": ""}, False),
        ({"origin": "http://[", "host": "["}, True),  # one and the same, whatever it is
        ({"origin": "http://["}, False),
        ({"origin": ""}, False),
        ({"referer": "https://learn.example.org/"}, False),
        ({}, False),
    ],
)
def test_only_what_a_browser_calls_the_same_origin_is(headers: dict[str, str], same: bool) -> None:
    assert same_origin(Headers({"host": "learn.example.org", **headers})) is same


def test_without_a_host_nothing_is_the_same_origin() -> None:
    assert not same_origin(Headers({"origin": "https://learn.example.org"}))
    assert not same_origin(Headers({"origin": "null"}))


@pytest.mark.parametrize("authorization", ["Bearer abc", "bearer abc", "BEARER   abc  "])
def test_the_scheme_is_read_in_any_case(authorization: str) -> None:
    assert bearer_token(Headers({"authorization": authorization})) == "abc"


@pytest.mark.parametrize("authorization", ["", "abc", "Bearer", "Bearer ", "Basic YWJj", "Bearerabc"])
def test_an_authorization_of_another_kind_is_no_token(authorization: str) -> None:
    with pytest.raises(ServiceError, match="Authorization: Bearer"):
        bearer_token(Headers({"authorization": authorization}))
