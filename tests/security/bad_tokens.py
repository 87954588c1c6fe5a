"""Bearer tokens that must open nothing, each with the reason it is refused for."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.local_stack import LocalStack
from tests.unit.tokens import NEXT_RSA_KEY, RSA_KEY, handmade, jwk, raw, segment

INVALID, EXPIRED = "TOKEN_INVALID", "TOKEN_EXPIRED"
KIDS = (
    "unknown", "", "../../../../dev/null", "/etc/passwd", "rsa' OR '1'='1", "rsa; DROP TABLE materials; --", "http://127.0.0.1/key",
    "rsa\0", "x" * 1_000,
)  # fmt: skip


def claims(**changes: Any) -> dict[str, Any]:
    """A good user's, an editor of everything, but for the changes."""
    now = int(time.time())
    good = {
        "sub": "mallory",
        "aud": "materials",
        "iss": "materials-local",
        "exp": now + 600,
        "courses": {"*": "editor"},
    }
    return {**good, **changes}


def published_key_token(kid: str = "rsa", key: Any = RSA_KEY, **headers: Any) -> str:
    """Signed with a key, under the name of a published one."""
    return jwt.encode(claims(), key, algorithm="RS256", headers={"kid": kid, **headers})


def bad_tokens(stack: LocalStack, elsewhere: str) -> dict[str, tuple[str, str]]:
    """Token and reason, by what is wrong. `elsewhere` is a URL with an attacker's keys, which nobody may fetch."""
    good = stack.user_token("mallory", {"*": "editor"})
    payload = json.dumps(claims()).encode()
    public = RSA_KEY.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = {
        "words": "garbage",
        "empty parts": "..",
        "no object": raw(b"[]", b"{}"),
        "long": "A" * 6_000,
        "cut": good[:-2],
        "other signature": good.rpartition(".")[0] + "." + segment(b"x" * 32),
        "no signature": good.rpartition(".")[0] + ".",
        "wrong audience": stack.user_token("mallory", aud="payments"),
        "wrong issuer": stack.user_token("mallory", iss="https://login.example"),
        "no issuer": handmade(
            {"alg": "HS256"},
            json.dumps({name: value for name, value in claims().items() if name != "iss"}).encode(),
            stack.secrets()["auth_hs256_secret"].encode(),
        ),
        "services' issuer": stack.user_token("mallory", iss="materials-services", role="service"),
        "no subject": stack.user_token("mallory", sub=""),
        "HS256 with the public key": handmade({"alg": "HS256", "kid": "rsa"}, payload, pem),
        "HS256 with the public key, one line less": handmade({"alg": "HS256", "kid": "rsa"}, payload, pem.strip()),
        "HS256 with the public key's bytes": handmade(
            {"alg": "HS256", "kid": "rsa"}, payload, public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ),
        "HS256 with the published document": handmade(
            {"alg": "HS256", "kid": "rsa"}, payload, json.dumps(jwk(RSA_KEY, "rsa")).encode()
        ),
        "HS256 with an empty key": handmade({"alg": "HS256"}, payload, b""),
        "another's key under a known name": published_key_token(key=NEXT_RSA_KEY),
        "key brought along": published_key_token(key=NEXT_RSA_KEY, jwk=jwk(NEXT_RSA_KEY, "rsa")),
        "key elsewhere": published_key_token(key=NEXT_RSA_KEY, jku=elsewhere, x5u=elsewhere),
    }  # fmt: skip
    for alg in ("none", "None", "NONE", "nOnE", ""):
        forged[f"alg {alg!r}"] = f"{segment(json.dumps({'alg': alg}).encode())}.{segment(payload)}."
        forged[f"alg {alg!r}, signed"] = handmade({"alg": alg}, payload, b"")
    for kid in KIDS:
        forged[f"kid {kid[:30]!r}"] = published_key_token(kid)
        forged[f"HS256, kid {kid[:30]!r}"] = handmade({"alg": "HS256", "kid": kid}, payload, b"")
    untimely = {
        "expired": stack.user_token("mallory", {"*": "editor"}, exp=1),
        "expired a minute ago": stack.user_token("mallory", exp=int(time.time()) - 60),
        "not yet valid": stack.user_token("mallory", nbf=int(time.time()) + 600),
    }
    return {
        **{what: (token, INVALID) for what, token in forged.items()},
        **{what: (token, EXPIRED) for what, token in untimely.items()},
    }
