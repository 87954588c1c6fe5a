"""Tokens signed with the keys that a key server publishes: which keys count for what, and what when the server is away."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from servicekit.errors import ServiceError
from servicekit.identity import Caller
from tests.unit.tokens import (
    EC_KEY,
    ED_KEY,
    INVALID,
    NEXT_RSA_KEY,
    RSA_KEY,
    USER_SECRET,
    KeyServer,
    claims,
    handmade,
    jwk,
    refused,
    segment,
    user_token,
    verifier,
)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS384", "HS1", None])
async def test_other_algorithms_than_the_agreed_are_refused(algorithm: str | None, key_server: KeyServer) -> None:
    head = segment(json.dumps({"alg": algorithm, "kid": "rsa-1"}).encode())
    body = segment(json.dumps(claims()).encode())
    for by in (verifier(), verifier(jwks=key_server.url), verifier(hs256="", jwks=key_server.url)):
        assert await refused(f"{head}.{body}.", by) == INVALID
        assert (
            await refused(handmade({"alg": algorithm}, json.dumps(claims()).encode(), USER_SECRET.encode()), by)
            == INVALID
        )


@pytest.mark.parametrize(
    ("key", "kid", "algorithm"),
    [(RSA_KEY, "rsa-1", "RS256"), (RSA_KEY, "rsa-1", "PS512"), (EC_KEY, "ec-1", "ES256"), (ED_KEY, "ed-1", "EdDSA")],
)
async def test_asymmetric_tokens_are_accepted_with_the_published_key(
    key: Any, kid: str, algorithm: str, key_server: KeyServer
) -> None:
    token = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": kid})
    for by in (verifier(jwks=key_server.url), verifier(hs256="", jwks=key_server.url)):
        assert await by.verify(token) == Caller("ada", {"algebra": "editor"}, token=token)


async def test_hs256_signed_with_a_published_key_is_refused(key_server: KeyServer) -> None:
    public = RSA_KEY.public_key()
    pems = [public.public_bytes(Encoding.PEM, kind) for kind in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1)]
    secrets = [*pems, *(pem.strip() for pem in pems), json.dumps(jwk(RSA_KEY, "rsa-1")).encode(), b""]
    for by in (verifier(jwks=key_server.url), verifier(hs256="", jwks=key_server.url)):
        for secret in secrets:
            token = handmade({"alg": "HS256", "kid": "rsa-1"}, json.dumps(claims()).encode(), secret)
            assert await refused(token, by) == INVALID


async def test_shared_secret_among_the_published_keys_is_no_key(key_server: KeyServer) -> None:
    secret = b"published-by-mistake-published-by-mistake"
    key_server.keys.append({"kty": "oct", "k": segment(secret), "kid": "oct-1", "use": "sig"})
    token = handmade({"alg": "HS256", "kid": "oct-1"}, json.dumps(claims()).encode(), secret)
    for by in (verifier(jwks=key_server.url), verifier(hs256="", jwks=key_server.url)):
        assert await refused(token, by) == INVALID


async def test_key_of_another_kind_or_use_than_the_token_says_is_refused(key_server: KeyServer) -> None:
    by = verifier(hs256="", jwks=key_server.url)
    for key, algorithm, kid in (
        (RSA_KEY, "RS256", "ec-1"),
        (RSA_KEY, "RS256", "ed-1"),
        (EC_KEY, "ES256", "rsa-1"),
        (EC_KEY, "ES256", "ed-1"),
        (ED_KEY, "EdDSA", "rsa-1"),
        (NEXT_RSA_KEY, "RS256", "rsa-1"),
        (NEXT_RSA_KEY, "RS256", "enc-1"),
    ):
        assert await refused(jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": kid}), by) == INVALID


@pytest.mark.parametrize(
    "kid",
    [
        "unknown",
        "../../../../etc/passwd",
        "/dev/null",
        "' OR 1=1 --",
        "http://127.0.0.1:1/k",
        "\0",
        "",
        "k" * 4_000,
        7,
        None,
        ["rsa-1"],
        {"rsa-1": 1},
    ],
)
async def test_kid_that_names_no_published_key_is_refused(kid: Any, key_server: KeyServer) -> None:
    head = segment(json.dumps({"alg": "RS256", "kid": kid}).encode())
    _, body, signature = jwt.encode(claims(), RSA_KEY, algorithm="RS256").split(".")
    assert await refused(f"{head}.{body}.{signature}", verifier(jwks=key_server.url)) == INVALID


async def test_keys_that_a_token_brings_along_are_never_used(key_server: KeyServer) -> None:
    with KeyServer([jwk(NEXT_RSA_KEY, "rsa-1")]).running() as foreign:
        headers = {"kid": "rsa-1", "jku": foreign.url, "x5u": foreign.url, "jwk": jwk(NEXT_RSA_KEY, "rsa-1")}
        token = jwt.encode(claims(), NEXT_RSA_KEY, algorithm="RS256", headers=headers)
        assert await refused(token, verifier(jwks=key_server.url)) == INVALID
        assert foreign.asked == 0


async def test_rotated_key_is_accepted_and_the_old_one_no_more(key_server: KeyServer) -> None:
    by = verifier(jwks=key_server.url, cooldown=0.0)
    known, old = (
        jwt.encode(claims(jti=name), RSA_KEY, algorithm="RS256", headers={"kid": "rsa-1"}) for name in ("known", "old")
    )
    new = jwt.encode(claims(), NEXT_RSA_KEY, algorithm="RS256", headers={"kid": "rsa-2"})
    first = await by.verify(known)
    key_server.keys = [jwk(NEXT_RSA_KEY, "rsa-2")]
    assert (await by.verify(new)).subject == "ada"
    assert await refused(old, by) == INVALID
    assert await by.verify(known) is first, "it is verified again after a while, see test_verified_tokens"


async def test_keys_are_cached_and_unknown_kids_do_not_flood_the_key_server(key_server: KeyServer) -> None:
    by = verifier(jwks=key_server.url)
    good = jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "rsa-1"})
    for number in range(20):
        await by.verify(good)
        await refused(jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": f"k{number}"}), by)
    assert key_server.asked == 1


async def test_nobody_is_let_in_while_no_key_can_be_had_and_everybody_afterwards(key_server: KeyServer) -> None:
    by = verifier(jwks=key_server.url)
    token = jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "rsa-1"})
    key_server.broken = True
    with pytest.raises(ServiceError):
        await by.verify(token)
    assert (await by.verify(user_token())).subject == "ada", "the other key needs no key server"
    key_server.broken = False
    assert (await by.verify(token)).subject == "ada"


async def test_known_keys_survive_a_key_server_that_is_away(key_server: KeyServer) -> None:
    by = verifier(jwks=key_server.url, cooldown=0.0)
    token = jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "rsa-1"})
    await by.verify(token)
    key_server.broken = True
    with pytest.raises(ServiceError):
        await by.verify(jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "new"}))
    assert (await by.verify(token)).subject == "ada"
