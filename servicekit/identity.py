"""Who is calling, and what they may do.

Two kinds of bearer tokens, told apart by their issuer and verified with keys that have nothing to do with each other, so a user's token can never carry the
service role:

* users: HS256 with AUTH_HS256_SECRET, or any asymmetric algorithm with the keys of AUTH_JWKS_URL. Claims: `sub` (the owner), `courses`
  (`{course_id: "reader" | "editor"}`, `"*"` for every course), `operator` (true for those who look after the system), `aud`, `exp`, and `iss` where AUTH_ISSUER
  is set.
* services: HS256 with SERVICE_TOKEN_SECRET, `iss` "materials-services", `role` "service". Each service makes its own, short-lived.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import jwt
from materials.v1 import errors_pb2

from servicekit.errors import FieldInvalid, ServiceError, Unavailable
from servicekit.validation import visible_text

SERVICE_ISSUER = "materials-services"
JWKS_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
CLOCK_LEEWAY_SECONDS = 5
#: How long a verified token is not verified again; how many are known at most.
KNOWN_SECONDS = 30.0
MAX_KNOWN = 1_000
#: Between services: a machine whose clock is an hour off must not stop the work. Whoever holds the secret makes tokens at will, so `exp` guards little here.
SERVICE_CLOCK_LEEWAY_SECONDS = 2 * 3600


@dataclass(frozen=True)
class Caller:
    """A verified identity. `token` is the bearer token itself, to be forwarded to peers on the caller's behalf."""

    subject: str
    courses: Mapping[str, str] = field(default_factory=dict)
    is_service: bool = False
    is_operator: bool = False
    expires_at: int = field(default=0, compare=False)  # Unix seconds
    token: str = field(default="", repr=False)

    def may_read_course(self, course_id: str) -> bool:
        """Whether everything in the course is visible to the caller, not only what they own."""
        return self.is_service or course_id in self.courses or "*" in self.courses

    def may_write_course(self, course_id: str) -> bool:
        """Whether the caller may add to the course and change what others put there."""
        return self.is_service or "editor" in (self.courses.get(course_id), self.courses.get("*"))

    def may_read(self, *, owner_id: str, course_id: str) -> bool:
        """Whether a material is visible to the caller at all."""
        return owner_id == self.subject or self.may_read_course(course_id)

    def may_write(self, *, owner_id: str, course_id: str) -> bool:
        """Whether the caller may retry, cancel or delete a material that is visible to them."""
        return owner_id == self.subject or self.may_write_course(course_id)

    def require_operator(self) -> None:
        """Raises OPERATOR_REQUIRED unless the caller looks after the system."""
        if not self.is_operator:
            raise ServiceError(
                errors_pb2.ERROR_REASON_OPERATOR_REQUIRED, "this call needs a token with the claim `operator`"
            )


_caller: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Binds the caller to the running call. Done once, by the server's interceptor."""
    _caller.set(caller)


def current_caller() -> Caller:
    """The verified caller of the running call."""
    return _caller.get()


class TokenVerifier:
    """Turns a bearer token into a Caller.

    `verify` raises ServiceError TOKEN_INVALID or TOKEN_EXPIRED. Keys of a JWKS URL are cached for five minutes; an unknown `kid` fetches them again, at
    most once in `key_cooldown` seconds. A token that was good counts as good for KNOWN_SECONDS more, within its own time: to check its
    signature with every call costs as much as the call.
    """

    def __init__(
        self,
        *,
        hs256_secret: str,
        jwks_url: str,
        audience: str,
        issuer: str,
        service_secret: str,
        key_timeout: float = 5.0,
        key_cooldown: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not hs256_secret and not jwks_url:
            raise ValueError("no key for users' tokens: set AUTH_HS256_SECRET or AUTH_JWKS_URL")
        self._hs256_secret = hs256_secret
        self._jwks = (
            jwt.PyJWKClient(jwks_url, lifespan=300, timeout=key_timeout, cooldown_duration=key_cooldown)
            if jwks_url
            else None
        )
        self._audience = audience
        self._issuer = issuer or None
        self._service_secret = service_secret
        self._clock = clock
        #: By token: the caller, and until when it need not be looked at again; whoever was verified longest ago comes first.
        self._known: OrderedDict[str, tuple[Caller, float]] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """The caller a token speaks for. Signature, `exp`, `nbf`, `aud` and `iss` are checked."""
        now = self._clock()
        caller, checked_at = self._known.get(token, (None, 0.0))
        # Also when the clock was set back: `nbf` may lie ahead again.
        if caller is not None and checked_at <= now < min(checked_at + KNOWN_SECONDS, caller.expires_at):
            return caller
        caller = await self._verified(token)
        self._known[token] = caller, now
        self._known.move_to_end(token)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return caller

    async def _verified(self, token: str) -> Caller:
        try:
            # Read without trust, only to choose the key that is then held to it.
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
            if issuer == SERVICE_ISSUER:
                return self._service(token)
            return _user(await self._user_claims(token), token)
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            raise ServiceError(
                errors_pb2.ERROR_REASON_TOKEN_EXPIRED, "the token is expired or not yet valid; get a new one"
            ) from None
        except jwt.PyJWKClientConnectionError as error:
            raise Unavailable(
                errors_pb2.ERROR_REASON_TOKEN_KEYS_UNAVAILABLE,
                "the keys of tokens cannot be fetched; try again",
                retry_after=5,
            ) from error
        except (jwt.PyJWTError, FieldInvalid, ValueError, TypeError):
            raise ServiceError(
                errors_pb2.ERROR_REASON_TOKEN_INVALID, "the token is not one that this service accepts; get a new one"
            ) from None

    def _service(self, token: str) -> Caller:
        claims = self._decode(token, self._service_secret, ["HS256"], SERVICE_ISSUER, SERVICE_CLOCK_LEEWAY_SECONDS)
        if claims.get("role") != "service":
            raise ValueError("not a service token")
        return Caller(subject=claims["sub"], is_service=True, expires_at=int(claims["exp"]), token=token)

    async def _user_claims(self, token: str) -> dict[str, Any]:
        if self._hs256_secret and jwt.get_unverified_header(token).get("alg") == "HS256":
            return self._decode(token, self._hs256_secret, ["HS256"], self._issuer)
        if self._jwks is None:
            raise ValueError("no key for this algorithm")
        key = await asyncio.to_thread(self._jwks.get_signing_key_from_jwt, token)
        return self._decode(token, key.key, JWKS_ALGORITHMS, self._issuer)

    def _decode(
        self, token: str, key: Any, algorithms: list[str], issuer: str | None, leeway: float = CLOCK_LEEWAY_SECONDS
    ) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=self._audience,
            issuer=issuer,
            leeway=leeway,
            options={"require": ["sub", "exp", "aud"]},
        )


def _user(claims: dict[str, Any], token: str) -> Caller:
    courses = claims.get("courses", {})
    if not isinstance(courses, dict) or not all(role in ("reader", "editor") for role in courses.values()):
        raise ValueError("the claim `courses` must map course ids to reader or editor")
    # It is stored as the owner, written to logs and shown to others.
    visible_text("sub", claims["sub"], max_length=255)
    operator = claims.get("operator", False)
    if not isinstance(operator, bool):
        raise ValueError("the claim `operator` must be true or false")
    return Caller(
        subject=claims["sub"],
        courses={str(course): role for course, role in courses.items()},
        is_operator=operator,
        expires_at=int(claims["exp"]),
        token=token,
    )


class ServiceTokens:
    """Makes this service's own bearer tokens, each valid for ten minutes and renewed well before."""

    LIFETIME_SECONDS = 600

    def __init__(self, secret: str, subject: str, audience: str, *, clock: Callable[[], float] = time.time) -> None:
        if not secret:
            raise ValueError("no key for service identities: set SERVICE_TOKEN_SECRET")
        self._secret, self._subject, self._audience, self._clock = secret, subject, audience, clock
        self._token, self._renew_at = "", 0.0

    def current(self) -> str:
        """A token good for at least half its lifetime."""
        now = self._clock()
        # Also when the clock was set back: a token from the future would be refused.
        if now >= self._renew_at or now < self._renew_at - self.LIFETIME_SECONDS:
            claims = {
                "sub": self._subject, "role": "service", "iss": SERVICE_ISSUER, "aud": self._audience,
                "iat": int(now), "exp": int(now) + self.LIFETIME_SECONDS,
            }  # fmt: skip
            self._token = jwt.encode(claims, self._secret, algorithm="HS256")
            self._renew_at = now + self.LIFETIME_SECONDS / 2
        return self._token
