"""A token that was verified is not verified again with each call, and not taken for good any longer than it is."""

from __future__ import annotations

import time

import pytest

from servicekit.errors import ServiceError
from servicekit.identity import KNOWN_SECONDS, MAX_KNOWN, TokenVerifier
from tests.unit.tokens import SERVICE_SECRET, USER_SECRET, user_token


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(clock: Clock) -> TokenVerifier:
    return TokenVerifier(
        hs256_secret=USER_SECRET,
        jwks_url="",
        audience="materials",
        issuer="",
        service_secret=SERVICE_SECRET,
        clock=clock,
    )


async def test_a_known_token_is_the_caller_of_before(verifier: TokenVerifier, clock: Clock) -> None:
    token = user_token()
    first = await verifier.verify(token)
    clock.now += KNOWN_SECONDS - 1
    assert await verifier.verify(token) is first
    clock.now += 2
    assert await verifier.verify(token) is not first


async def test_a_known_token_ends_when_it_says(verifier: TokenVerifier, clock: Clock) -> None:
    token = user_token(exp=int(clock.now) - 3)  # within the leeway for clocks that differ
    first = await verifier.verify(token)
    assert await verifier.verify(token) is not first


async def test_a_clock_that_was_set_back_makes_no_token_known(verifier: TokenVerifier, clock: Clock) -> None:
    token = user_token()
    first = await verifier.verify(token)
    clock.now -= 1
    assert await verifier.verify(token) is not first


async def test_an_altered_token_is_not_the_known_one(verifier: TokenVerifier) -> None:
    token = user_token()
    await verifier.verify(token)
    for altered in (token[:-4] + "AAAA", token + "A"):
        with pytest.raises(ServiceError):
            await verifier.verify(altered)


async def test_only_so_many_are_known(verifier: TokenVerifier) -> None:
    first = await verifier.verify(user_token(sub="0"))
    for number in range(1, MAX_KNOWN + 1):
        last = await verifier.verify(user_token(sub=str(number)))
    assert await verifier.verify(user_token(sub=str(MAX_KNOWN))) is last
    assert await verifier.verify(user_token(sub="0")) is not first
