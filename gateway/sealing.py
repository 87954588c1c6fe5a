"""What the gateway gives away and takes back: session cookies and, to the record, what tickets stand for. Encrypted and signed (Fernet), so that only
gateways can read or make them.

The key is derived from the services' secret: every replica reads every other's, and none keeps anything.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: Longer than any of ours: a token of 8 KiB, the most that gRPC metadata takes, sealed.
MAX_SEALED_CHARACTERS = 16 * 1024


class Sealer:
    """Seals and opens. `purpose` keeps what is sealed for one thing from being opened for another."""

    def __init__(self, secret: str, purpose: str) -> None:
        key = HKDF(SHA256(), length=32, salt=None, info=f"gateway {purpose}".encode()).derive(secret.encode())
        self._fernet = Fernet(urlsafe_b64encode(key))

    def seal(self, content: dict[str, Any]) -> str:
        """URL-safe text."""
        return self._fernet.encrypt(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")

    def open(self, sealed: str) -> dict[str, Any] | None:
        """The content; None for whatever was not sealed here."""
        if len(sealed) > MAX_SEALED_CHARACTERS or not sealed.isascii():
            return None
        try:
            content: dict[str, Any] = json.loads(self._fernet.decrypt(sealed + "=" * (-len(sealed) % 4)))
        except (InvalidToken, ValueError):
            return None
        return content
