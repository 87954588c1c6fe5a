"""Page and resume tokens: what we know, sealed so that only we can read and write it.

A token is base64url(AES-SIV(JSON), RFC 5297): what it says (how many changes a course has had, say) is nobody's business, it is bound to what it was given
for by what is in it, and the same content gives the same token. The keys are derived from the services' secret, so that every replica reads every other's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

_MAC_BYTES = 16


class OpaqueTokens:
    """Seals and opens tokens."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"opaque tokens\0" + secret.encode()).digest()
        self._cipher = AESSIV(hashlib.sha512(b"sealed tokens\0" + secret.encode()).digest())

    def seal(self, content: dict[str, Any]) -> str:
        """A token of JSON content."""
        body = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
        return base64.urlsafe_b64encode(self._cipher.encrypt(body, None)).decode()

    def open(self, token: str) -> dict[str, Any] | None:
        """The content of a token of ours; None for anything else."""
        try:
            sealed = base64.urlsafe_b64decode(token.encode())
        except (ValueError, binascii.Error):
            return None
        # The decoder is lenient: one spelling only is ours.
        if base64.urlsafe_b64encode(sealed).decode() != token:
            return None
        try:
            body = self._cipher.decrypt(sealed, None)
        except (InvalidTag, ValueError):
            return None
        content: dict[str, Any] = json.loads(body)
        return content

    def sign(self, body: bytes) -> str:
        """A signature of `body`, for `verify`."""
        return self._mac(b"signed\0" + body).hex()

    def verify(self, body: bytes, signature: str) -> bool:
        """Whether a replica of this service signed `body`."""
        return hmac.compare_digest(self.sign(body).encode(), signature.encode())

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()[:_MAC_BYTES]
