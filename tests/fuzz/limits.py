"""The limits of the stack that is fuzzed."""

from __future__ import annotations

MAX_UPLOAD_BYTES = 5 * 1024 * 1024
MAX_CHUNK_BYTES = 2 * 1024 * 1024  # the contract's
MAX_CONCURRENT_UPLOADS = 16
MAX_WATCHES = 48
ENVIRONMENT = {
    "MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES),
    "MAX_CONCURRENT_UPLOADS": str(MAX_CONCURRENT_UPLOADS),
    "MAX_WATCHES": str(MAX_WATCHES),
    "UPLOAD_IDLE_SECONDS": "5",
    "OWNER_REQUESTS_PER_SECOND": "0",  # one owner is asked thousands of times whether all is well
}
