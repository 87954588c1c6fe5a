"""Page and resume tokens: ours open as sealed, and nothing else opens at all."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.opaque_tokens import OpaqueTokens

TOKENS = OpaqueTokens("secret-of-the-services")
CONTENT = st.dictionaries(
    st.text(max_size=8),
    st.one_of(st.text(), st.integers(), st.booleans(), st.lists(st.integers(), max_size=3)),
    max_size=4,
)


@given(content=CONTENT)
def test_token_opens_as_it_was_sealed_on_every_replica(content: dict[str, Any]) -> None:
    token = TOKENS.seal(content)
    assert OpaqueTokens("secret-of-the-services").open(token) == content
    assert token.isascii()
    assert not set(token) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")


@given(content=CONTENT)
def test_token_of_another_secret_does_not_open(content: dict[str, Any]) -> None:
    assert OpaqueTokens("another secret").open(TOKENS.seal(content)) is None


@given(content=CONTENT, data=st.data())
def test_altered_token_does_not_open(content: dict[str, Any], data: st.DataObject) -> None:
    token = TOKENS.seal(content)
    index = data.draw(st.integers(0, len(token)))
    cut = data.draw(st.integers(0, 2))
    inserted = data.draw(st.text("ABCabc019-_=+/ \n!é\ud800", max_size=3))
    altered = token[:index] + inserted + token[index + cut :]
    if altered != token:
        assert TOKENS.open(altered) is None


@given(token=st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_junk_does_not_open(token: str) -> None:
    assert TOKENS.open(token) is None


@pytest.mark.parametrize("body", [b"", b"{}", json.dumps({"course": "algebra", "revision": 1}).encode()])
def test_content_with_a_guessed_seal_does_not_open(body: bytes) -> None:
    for mac in (b"", b"\0" * 16, b"\xff" * 16, body[:16].ljust(16)):
        assert TOKENS.open(base64.urlsafe_b64encode(body + mac).decode()) is None
