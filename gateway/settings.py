"""Every environment variable of the gateway."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from servicekit.settings import ServiceSettings, peer_endpoint


class GatewaySettings(ServiceSettings):
    """HTTP in front of the three services."""

    listen_address: str = Field("0.0.0.0:8080", description="host:port that the HTTP server listens on")
    ingest_endpoint: Annotated[str, AfterValidator(peer_endpoint)] = Field(
        "127.0.0.1:50051", description="Ingest service: host:port, several IP addresses with commas, or a gRPC target"
    )
    status_endpoint: Annotated[str, AfterValidator(peer_endpoint)] = Field(
        "127.0.0.1:50052", description="Status service: host:port, several IP addresses with commas, or a gRPC target"
    )
    processor_endpoint: Annotated[str, AfterValidator(peer_endpoint)] = Field(
        "127.0.0.1:50053",
        description="Processor service: host:port, several IP addresses with commas, or a gRPC target",
    )
    https_cert_file: Path | None = Field(None, description="PEM certificate chain for HTTPS; empty: plain HTTP")
    https_key_file: Path | None = Field(None, validate_default=True, description="PEM private key of that certificate")
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        description="proxies whose X-Forwarded-For and X-Forwarded-Proto are believed: addresses or networks with commas, * for any",
    )
    cors_allowed_origins: str = Field(
        "",
        description="origins with commas, such as https://learn.example.org, whose pages may call with a bearer token; empty: none",
    )
    max_http_requests: int = Field(
        10_000, gt=0, description="requests served at once, event streams among them; more get 503 with Retry-After"
    )
    max_head_bytes: int = Field(
        16 * 1024, ge=4096, description="longest request line and headers together, in bytes; longer ones get 431"
    )
    head_seconds: float = Field(10.0, gt=0, description="longest time for a request's line and headers, in seconds")
    body_idle_seconds: float = Field(
        30.0, gt=0, description="longest wait for the next bytes of a request's body, in seconds"
    )
    keep_alive_seconds: int = Field(
        75,
        gt=0,
        description="how long a connection may be idle between requests, in seconds; more than the proxy's own",
    )
    event_keepalive_seconds: float = Field(
        15.0,
        gt=0,
        description="a comment is sent on an event stream so often, so that proxies keep it open, in seconds",
    )
    watch_patience_seconds: float = Field(
        60.0,
        gt=0,
        description="how long an event stream waits for a Status that is away before it ends with a problem, in seconds",
    )
    unread_seconds: float = Field(
        30.0,
        gt=0,
        description="how long a client may leave what it was sent unread before its connection is cut, in seconds",
    )

    @field_validator("https_key_file")
    @classmethod
    def _goes_with_a_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if (key is None) != (info.data.get("https_cert_file") is None):
            raise ValueError("set both HTTPS_CERT_FILE and HTTPS_KEY_FILE, or neither")
        return key

    @field_validator("cors_allowed_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for origin in filter(None, (each.strip() for each in origins.split(","))):
            if not re.fullmatch(r"https?://[^/?#@\s*]+", origin):
                raise ValueError(
                    "each must be an origin such as https://learn.example.org, without a path; * is not taken"
                )
        return origins

    def allowed_origins(self) -> list[str]:
        """The origins of CORS_ALLOWED_ORIGINS."""
        return [origin for each in self.cors_allowed_origins.split(",") if (origin := each.strip())]
