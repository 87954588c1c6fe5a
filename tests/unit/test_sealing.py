"""Promises of what the gateway seals: only what it sealed itself, for this purpose and unaltered, is opened."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.sealing import MAX_SEALED_CHARACTERS, Sealer

SECRET = "a secret of the services"
TOKEN = "a bearer token"
SEALER = Sealer(SECRET, "tickets")

contents = st.dictionaries(st.text(), st.text() | st.integers(), max_size=4)


@given(contents)
def test_what_was_sealed_is_opened_by_every_replica(content: dict[str, Any]) -> None:
    sealed = SEALER.seal(content)
    assert sealed.isascii()
    assert all(character.isalnum() or character in "-_" for character in sealed), "fit for a URL and a cookie"
    assert Sealer(SECRET, "tickets").open(sealed) == content
    assert TOKEN not in SEALER.seal({"token": TOKEN})


@given(contents, st.data())
def test_what_was_altered_is_not_opened(content: dict[str, Any], data: st.DataObject) -> None:
    sealed = SEALER.seal(content)
    # The last character of base64 may have bits that mean nothing.
    place = data.draw(st.integers(0, len(sealed) - 2))
    other = data.draw(st.characters().filter(lambda character: character != sealed[place]))
    assert SEALER.open(sealed[:place] + other + sealed[place + 1 :]) is None
    assert SEALER.open(sealed[:place]) is None


@given(st.text() | st.text("ab-_=").map(lambda text: "gAAAAA" + text))
def test_whatever_was_not_sealed_here_is_not_opened(sealed: str) -> None:
    assert SEALER.open(sealed) is None


def test_another_purpose_or_secret_does_not_open_it() -> None:
    sealed = SEALER.seal({"token": TOKEN})
    assert Sealer(SECRET, "session cookies").open(sealed) is None
    assert Sealer("another secret of services", "tickets").open(sealed) is None


def test_what_is_too_long_is_not_even_tried() -> None:
    sealed = SEALER.seal({"token": "x" * MAX_SEALED_CHARACTERS})
    assert len(sealed) > MAX_SEALED_CHARACTERS
    assert SEALER.open(sealed) is None
    longest_token = "x" * 8 * 1024
    assert SEALER.open(SEALER.seal({"token": longest_token})) == {"token": longest_token}
