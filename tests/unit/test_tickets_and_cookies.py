"""Promises of what the gateway seals: only what it sealed itself, for this purpose, unaltered and in time, is opened."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import errors_pb2

from gateway.sealing import MAX_SEALED_CHARACTERS, Sealer
from gateway.services import Services
from gateway.tickets import LIFETIMES, Purpose, Tickets
from servicekit.errors import ServiceError

SECRET = "a secret of the services"
TOKEN = "a bearer token"
PATH = "/materials/0b8f6a52-0a3f-4b0e-9d0b-3f6f1c2d4e5a/events"
SEALER = Sealer(SECRET, "tickets")

contents = st.dictionaries(st.text(), st.text() | st.integers(), max_size=4)


class Clock:
    """As the test sets it."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Asked(Exception):
    """The record was asked whether the ticket is used: all that can be said without it was right."""


class NoServices:
    @property
    def record(self) -> Any:
        raise Asked


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tickets(clock: Clock) -> Tickets:
    return Tickets(SEALER, cast(Services, NoServices()), clock=clock)


async def assert_invalid(tickets: Tickets, sealed: str, purpose: Purpose = Purpose.EVENTS, path: str = PATH) -> None:
    with pytest.raises(ServiceError) as caught:
        await tickets.redeem(sealed, purpose, path)
    assert caught.value.reason == errors_pb2.ERROR_REASON_TICKET_INVALID


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


@pytest.mark.parametrize("purpose", Purpose)
async def test_a_ticket_is_good_until_its_end_and_not_at_it(tickets: Tickets, clock: Clock, purpose: Purpose) -> None:
    ticket = tickets.issue(TOKEN, purpose, PATH)
    assert ticket.expires_at == clock.now + LIFETIMES[purpose]
    clock.now = ticket.expires_at - 0.001
    with pytest.raises(Asked):
        await tickets.redeem(ticket.sealed, purpose, PATH)
    clock.now = ticket.expires_at
    await assert_invalid(tickets, ticket.sealed, purpose)


async def test_a_ticket_for_something_else_is_refused_before_it_is_used_up(tickets: Tickets) -> None:
    ticket = tickets.issue(TOKEN, Purpose.EVENTS, PATH)
    await assert_invalid(tickets, ticket.sealed, Purpose.CONTENT)
    await assert_invalid(tickets, ticket.sealed, Purpose.SIGN_IN, "")
    for path in ("", PATH.upper(), PATH + "/", PATH.replace("0b8f", "0b8e"), "/courses/biology-101/events"):
        await assert_invalid(tickets, ticket.sealed, path=path)


async def test_what_is_no_ticket_is_refused_alike(tickets: Tickets) -> None:
    cookie = Sealer(SECRET, "session cookies").seal({"token": TOKEN})
    for sealed in ("", "x", "\x00", "🦠", "x" * 100_000, cookie):
        await assert_invalid(tickets, sealed)


def test_no_two_tickets_are_the_same(tickets: Tickets) -> None:
    assert len({tickets.issue(TOKEN, Purpose.EVENTS, PATH).sealed for _ in range(20)}) == 20
