"""Services' tokens: no user's key makes one, and each is renewed in time."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from servicekit.identity import SERVICE_ISSUER, Caller, ServiceTokens
from tests.unit.tokens import (
    EXPIRED,
    INVALID,
    RSA_KEY,
    SERVICE_SECRET,
    KeyServer,
    claims,
    refused,
    user_token,
    verifier,
)


async def test_service_token_is_a_service() -> None:
    token = ServiceTokens(SERVICE_SECRET, "service:ingest", "materials").current()
    assert await verifier().verify(token) == Caller("service:ingest", {}, is_service=True, token=token)


@pytest.mark.parametrize("changes", [{"iss": SERVICE_ISSUER}, {"iss": SERVICE_ISSUER, "role": "service"}])
async def test_users_key_never_makes_a_service(changes: dict[str, Any], key_server: KeyServer) -> None:
    by = verifier(jwks=key_server.url)
    assert await refused(user_token(**changes), by) == INVALID
    assert (
        await refused(jwt.encode(claims(**changes), RSA_KEY, algorithm="RS256", headers={"kid": "rsa-1"}), by)
        == INVALID
    )


async def test_role_in_a_users_token_means_nothing() -> None:
    assert not (await verifier().verify(user_token(role="service"))).is_service
    assert not (await verifier().verify(user_token(iss=f"{SERVICE_ISSUER}/", role="service"))).is_service


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"role": None}, INVALID),
        ({"role": "user"}, INVALID),
        ({"iss": None}, INVALID),
        ({"iss": "other"}, INVALID),
        ({"aud": "payments"}, INVALID),
        ({"sub": None}, INVALID),
        ({"exp": None}, INVALID),
        ({"exp": 1}, EXPIRED),
    ],
)
async def test_services_key_makes_only_whole_service_tokens(changes: dict[str, Any], reason: int) -> None:
    content = claims(**{"sub": "service:x", "iss": SERVICE_ISSUER, "role": "service", **changes})
    assert await refused(jwt.encode(content, SERVICE_SECRET, algorithm="HS256")) == reason


async def test_service_tokens_are_renewed_at_half_their_life_and_when_the_clock_was_set_back() -> None:
    now = time.time()
    clock = [now]
    tokens = ServiceTokens(SERVICE_SECRET, "service:ingest", "materials", clock=lambda: clock[0])
    first = tokens.current()
    clock[0] = now + 299
    assert tokens.current() == first
    clock[0] = now + 301
    second = tokens.current()
    assert second != first
    clock[0] = now - 3_600
    assert tokens.current() not in (first, second)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_service_whose_clock_is_an_hour_off_is_let_in(hours: int) -> None:
    by_its_clock = time.time() + hours * 3_600
    token = ServiceTokens(SERVICE_SECRET, "service:ingest", "materials", clock=lambda: by_its_clock).current()
    assert (await verifier().verify(token)).is_service


@pytest.mark.parametrize("hours", [-3, 3])
async def test_service_whose_clock_is_three_hours_off_is_refused(hours: int) -> None:
    by_its_clock = time.time() + hours * 3_600
    token = ServiceTokens(SERVICE_SECRET, "service:ingest", "materials", clock=lambda: by_its_clock).current()
    assert await refused(token) == EXPIRED


async def test_service_is_no_operator_whatever_its_token_says() -> None:
    content = claims(sub="service:x", iss=SERVICE_ISSUER, role="service", operator=True)
    assert not (await verifier().verify(jwt.encode(content, SERVICE_SECRET, algorithm="HS256"))).is_operator


def test_nothing_runs_without_a_key() -> None:
    with pytest.raises(ValueError, match="AUTH_HS256_SECRET or AUTH_JWKS_URL"):
        verifier(hs256="")
    with pytest.raises(ValueError, match="SERVICE_TOKEN_SECRET"):
        ServiceTokens("", "service:x", "materials")
