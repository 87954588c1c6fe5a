"""Keys and passwords of one data directory, made once, and the tokens signed with them.

Nothing runs without authentication, not even on one machine: every other user of it can reach loopback.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path

import jwt

from single_node.errors import DataUnusable
from single_node.private_files import write_private

AUDIENCE = "materials"
USER_ISSUER = "materials-local"
SERVICE_ISSUER = "materials-services"
TOKEN_LIFETIME = timedelta(days=30)


@dataclass(frozen=True, repr=False)
class Credentials:
    """Each is URL-safe text of 256 random bits."""

    auth_hs256_secret: str
    service_token_secret: str
    postgres_password: str
    status_password: str
    processor_password: str
    nats_password: str

    def user_token(self, now: float) -> str:
        """A user who may do everything with the materials of every course, and an operator, from `now` (Unix seconds) for 30 days."""
        claims = {
            "sub": "demo-user",
            "courses": {"*": "editor"},
            "operator": True,
            "aud": AUDIENCE,
            "iss": USER_ISSUER,
            "iat": int(now),
            "exp": int(now + TOKEN_LIFETIME.total_seconds()),
        }
        return jwt.encode(claims, self.auth_hs256_secret, algorithm="HS256")

    def service_token(self, now: float) -> str:
        """A service identity, for the calls that peers make to one another, from `now` (Unix seconds) for 30 days."""
        claims = {
            "sub": "service:single-node",
            "role": "service",
            "aud": AUDIENCE,
            "iss": SERVICE_ISSUER,
            "iat": int(now),
            "exp": int(now + TOKEN_LIFETIME.total_seconds()),
        }
        return jwt.encode(claims, self.service_token_secret, algorithm="HS256")


def load_or_create(path: Path) -> Credentials:
    """The credentials kept in `path`; what is not there yet is made and kept. Raises DataUnusable when the file is not readable."""
    try:
        kept = json.loads(path.read_text("utf-8"))
        if not isinstance(kept, dict):
            raise ValueError("not a JSON object")
    except FileNotFoundError:
        kept = {}
    except (OSError, ValueError) as error:
        raise DataUnusable(
            f"cannot read {path}: {error}; restore it, or delete {path.parent} to start from nothing"
        ) from None
    credentials = Credentials(
        **{each.name: kept.get(each.name) or secrets.token_urlsafe(32) for each in fields(Credentials)}
    )
    if kept != asdict(credentials):
        write_private(path, json.dumps(asdict(credentials), indent=2) + "\n")
    return credentials
