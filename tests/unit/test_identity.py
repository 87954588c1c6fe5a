"""Who is let in, as whom, and everything that is refused. Keys come from a real HTTP server on this machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from materials.v1 import errors_pb2

from servicekit.errors import ServiceError
from servicekit.identity import SERVICE_ISSUER, Caller, ServiceTokens, TokenVerifier

USER_SECRET = "user-secret-user-secret-user-secret-123"
SERVICE_SECRET = "service-secret-service-secret-service-1"
INVALID, EXPIRED = errors_pb2.ERROR_REASON_TOKEN_INVALID, errors_pb2.ERROR_REASON_TOKEN_EXPIRED
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEXT_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


class KeyServer:
    """Serves a JWKS over HTTP and counts how often it is asked."""

    def __init__(self, keys: list[dict[str, Any]]) -> None:
        self.keys, self.asked, self.broken = keys, 0, False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked += 1
                if owner.broken:
                    self.send_error(503)
                    return
                body = json.dumps({"keys": owner.keys}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @contextmanager
    def running(self) -> Iterator[KeyServer]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


def jwk(key: Any, kid: str, **extra: str) -> dict[str, Any]:
    """The public half as a key server publishes it."""
    algorithm: dict[type, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    kind = next(algorithm[kind] for kind in algorithm if isinstance(key, kind))
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig", **extra}


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    keys = [jwk(RSA_KEY, "rsa-1"), jwk(EC_KEY, "ec-1"), jwk(ED_KEY, "ed-1"), jwk(NEXT_RSA_KEY, "enc-1", use="enc")]
    with KeyServer(keys).running() as server:
        yield server


def claims(**changes: Any) -> dict[str, Any]:
    """A good user's claims with some changed; None takes one away."""
    good = {"sub": "ada", "aud": "materials", "exp": int(time.time()) + 600, "courses": {"algebra": "editor"}}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def user_token(**changes: Any) -> str:
    return jwt.encode(claims(**changes), USER_SECRET, algorithm="HS256")


def segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def raw(header: bytes, payload: bytes) -> str:
    """Any bytes in the place of a token's header and payload."""
    return f"{segment(header)}.{segment(payload)}.x"


def handmade(header: dict[str, Any], payload: bytes, secret: bytes) -> str:
    """Signed by hand: what no well-behaved library would make."""
    signed = f"{segment(json.dumps(header).encode())}.{segment(payload)}"
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def verifier(*, hs256: str = USER_SECRET, jwks: str = "", issuer: str = "", cooldown: float = 10.0) -> TokenVerifier:
    return TokenVerifier(
        hs256_secret=hs256,
        jwks_url=jwks,
        audience="materials",
        issuer=issuer,
        service_secret=SERVICE_SECRET,
        key_cooldown=cooldown,
    )


async def refused(token: str, by: TokenVerifier | None = None) -> int:
    """The reason; the message must hold nothing of the token or of our insides."""
    with pytest.raises(ServiceError) as error:
        await (by or verifier()).verify(token)
    assert error.value.__cause__ is None
    assert "get a new one" in error.value.message
    return error.value.reason


async def test_good_user_token_is_its_subject_and_courses() -> None:
    token = user_token(courses={"algebra": "reader", "*": "editor"})
    caller = await verifier().verify(token)
    assert caller == Caller("ada", {"algebra": "reader", "*": "editor"}, is_service=False, token=token)
    assert token not in repr(caller)


async def test_token_without_courses_is_a_caller_of_no_course() -> None:
    assert (await verifier().verify(user_token(courses=None))).courses == {}


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "...",
        "e30.e30.",
        "ключ.ключ.ключ",
        "\0.\0.\0",
        "\ud800.a.b",
        "A" * 8_000,
        raw(b"[]", b"{}"),
        raw(b"null", b"null"),
        raw(b"{", b"{}"),
        raw(b'{"alg":"HS256"}', b"[1]"),
        raw(b'{"alg":"HS256"}', b'{"a":' + b"[" * 3_000 + b"]" * 3_000 + b"}"),
        raw(b"[" * 3_000 + b"]" * 3_000, b"{}"),
        raw(b'{"alg":"HS256"}', b'{"exp":' + b"9" * 5_000 + b"}"),
        raw(b'{"alg":["HS256"]}', b"{}"),
        raw(b'{"alg":"HS256"}', b"\xff\xfe"),
    ],
)
async def test_malformed_token_is_invalid(token: str) -> None:
    assert await refused(token) == INVALID


@given(
    token=st.one_of(
        st.text(), st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(lambda p: ".".join(map(segment, p)))
    )
)
def test_no_junk_is_ever_let_in_or_fails_in_another_way(token: str) -> None:
    assert asyncio.run(refused(token)) == INVALID


@given(data=st.data())
def test_altered_token_is_never_let_in(data: st.DataObject) -> None:
    token = user_token()
    index = data.draw(st.integers(0, token.rindex(".") - 1))
    letter = data.draw(st.sampled_from("ABCabc019-_."))
    altered = token[:index] + letter + token[index + 1 :]
    if altered != token:
        assert asyncio.run(refused(altered)) in (INVALID, EXPIRED)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1}, EXPIRED),
        ({"exp": int(time.time()) - 60}, EXPIRED),
        ({"nbf": int(time.time()) + 600}, EXPIRED),
        ({"iat": int(time.time()) + 600}, EXPIRED),
        ({"exp": None}, INVALID),
        ({"exp": "soon"}, INVALID),
        ({"exp": [1]}, INVALID),
        ({"sub": None}, INVALID),
        ({"sub": ""}, INVALID),
        ({"sub": 7}, INVALID),
        ({"sub": "x" * 256}, INVALID),
        ({"sub": "ada\0"}, INVALID),
        ({"sub": "ada\r\nset: x"}, INVALID),
        ({"sub": "\u202eada"}, INVALID),
        ({"aud": None}, INVALID),
        ({"aud": "payments"}, INVALID),
        ({"aud": ["payments"]}, INVALID),
        ({"aud": 1}, INVALID),
        ({"aud": {"materials": 1}}, INVALID),
        ({"courses": ["algebra"]}, INVALID),
        ({"courses": "algebra"}, INVALID),
        ({"courses": 1}, INVALID),
        ({"courses": {"algebra": "owner"}}, INVALID),
        ({"courses": {"algebra": ["editor"]}}, INVALID),
        ({"courses": {"algebra": None}}, INVALID),
        ({"courses": {"algebra": "editor", "geometry": 1}}, INVALID),
    ],
)
async def test_token_with_a_wrong_claim_is_refused(changes: dict[str, Any], reason: int) -> None:
    payload = json.dumps(claims(**changes)).encode()
    assert await refused(handmade({"alg": "HS256", "typ": "JWT"}, payload, USER_SECRET.encode())) == reason


@pytest.mark.parametrize("expiry", [b"1e999", b"-1e999", b"NaN", b"null", b"true", b'""', b"{}"])
async def test_expiry_that_is_no_time_is_refused(expiry: bytes) -> None:
    payload = b'{"sub":"ada","aud":"materials","exp":' + expiry + b"}"
    assert await refused(handmade({"alg": "HS256"}, payload, USER_SECRET.encode())) in (INVALID, EXPIRED)


async def test_small_clock_differences_are_forgiven() -> None:
    now = int(time.time())
    assert (await verifier().verify(user_token(exp=now - 1, nbf=now + 2, iat=now + 2))).subject == "ada"


async def test_issuer_is_held_where_one_is_set() -> None:
    strict = verifier(issuer="https://login.example")
    assert (await strict.verify(user_token(iss="https://login.example"))).subject == "ada"
    for issuer in (None, "https://other.example", "https://login.example/", ["https://login.example"]):
        payload = json.dumps(claims(iss=issuer)).encode()
        assert await refused(handmade({"alg": "HS256"}, payload, USER_SECRET.encode()), strict) == INVALID


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


async def test_unknown_critical_header_is_refused() -> None:
    token = handmade({"alg": "HS256", "crit": ["exp2"], "exp2": 1}, json.dumps(claims()).encode(), USER_SECRET.encode())
    assert await refused(token) == INVALID


async def test_rotated_key_is_accepted_and_the_old_one_no_more(key_server: KeyServer) -> None:
    by = verifier(jwks=key_server.url, cooldown=0.0)
    old = jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "rsa-1"})
    new = jwt.encode(claims(), NEXT_RSA_KEY, algorithm="RS256", headers={"kid": "rsa-2"})
    assert (await by.verify(old)).subject == "ada"
    key_server.keys = [jwk(NEXT_RSA_KEY, "rsa-2")]
    assert (await by.verify(new)).subject == "ada"
    assert await refused(old, by) == INVALID


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


def test_nothing_runs_without_a_key() -> None:
    with pytest.raises(ValueError, match="AUTH_HS256_SECRET or AUTH_JWKS_URL"):
        verifier(hs256="")
    with pytest.raises(ValueError, match="SERVICE_TOKEN_SECRET"):
        ServiceTokens("", "service:x", "materials")


@pytest.mark.parametrize(
    ("caller", "read", "write"),
    [
        (Caller("ada"), True, True),
        (Caller("bob"), False, False),
        (Caller("bob", {"algebra": "reader"}), True, False),
        (Caller("bob", {"algebra": "editor"}), True, True),
        (Caller("bob", {"*": "reader"}), True, False),
        (Caller("bob", {"*": "editor"}), True, True),
        (Caller("bob", {"algebra": "reader", "*": "editor"}), True, True),
        (Caller("bob", {"geometry": "editor"}), False, False),
        (Caller("bob", {"": "editor"}), False, False),
        (Caller("service:x", is_service=True), True, True),
    ],
)
def test_who_may_see_and_change_a_material_of_ada_in_algebra(caller: Caller, read: bool, write: bool) -> None:
    assert caller.may_read(owner_id="ada", course_id="algebra") is read
    assert caller.may_write(owner_id="ada", course_id="algebra") is write


def test_owning_a_material_gives_no_right_to_the_course() -> None:
    ada = Caller("ada")
    assert not ada.may_read_course("algebra")
    assert not ada.may_write_course("algebra")
