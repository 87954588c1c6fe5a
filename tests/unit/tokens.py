"""Tokens good and bad, the keys that sign them, and a server that publishes keys over real HTTP."""

from __future__ import annotations

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
from materials.v1 import errors_pb2

from servicekit.errors import ServiceError
from servicekit.identity import TokenVerifier

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
