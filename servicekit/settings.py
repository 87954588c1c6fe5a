"""Settings every service has, and how they are read and explained.

A service's settings are one frozen pydantic class whose fields are its environment variables: `python -m SERVICE --help` prints each
with its meaning and default; a missing or wrong one stops the start with one clear line for each.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

from materials.channels import target_of
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from servicekit.tls import TlsFiles, check_certificates, check_pair

#: 128 bits, were they random; RFC 7518 section 3.2 asks for more, and for random ones.
LEAST_KEY_CHARACTERS = 16


class ServiceSettings(BaseSettings):
    """What every service of the system needs."""

    model_config = SettingsConfigDict(frozen=True, case_sensitive=False, extra="ignore", env_ignore_empty=True)

    listen_address: str = Field(description="host:port that the server listens on")
    metrics_address: str = Field(
        "", description="host:port of Prometheus' metrics, at /metrics, for the inside of the network; empty: none"
    )
    log_format: Literal["console", "json"] = Field("console", description="how log lines are written")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="the least level that is logged"
    )
    auth_hs256_secret: SecretStr = Field(
        SecretStr(""), description="HS256 key of users' tokens; this or AUTH_JWKS_URL is needed"
    )
    auth_jwks_url: str = Field(
        "",
        validate_default=True,
        description="where the public keys of users' tokens are, for asymmetric algorithms: http:// or https://",
    )
    auth_audience: str = Field("materials", description="the `aud` that every token must carry")
    auth_issuer: str = Field(
        "", description="the `iss` that users' tokens must carry; empty: any but the services' own"
    )
    service_token_secret: SecretStr = Field(
        min_length=LEAST_KEY_CHARACTERS,
        description="HS256 key of the services' own identities, the same for all services; at least 16 characters",
    )
    shutdown_grace_seconds: float = Field(5.0, gt=0, description="how long running calls may take to finish on SIGTERM")
    tls_cert_file: Path | None = Field(
        None,
        description="PEM file of this service's certificate, followed by those between it and the authority; with TLS_KEY_FILE the server speaks TLS alone",
    )
    tls_key_file: Path | None = Field(
        None, validate_default=True, description="PEM file of that certificate's key, without a password"
    )
    tls_ca_file: Path | None = Field(
        None,
        description="PEM file of the authority that signed the peers' certificates; with it peers are called by TLS",
    )
    tls_require_client_certificate: bool = Field(
        False, description="mutual TLS: only callers with a certificate of the authority in TLS_CA_FILE are let in"
    )
    tls_server_name: str = Field(
        "", description="name that peers' certificates must carry; empty: the host they are called by"
    )

    @field_validator("listen_address", "metrics_address")
    @classmethod
    def _is_an_address(cls, address: str, info: ValidationInfo) -> str:
        if not address and info.field_name == "metrics_address":
            return address
        if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\s/]+):[0-9]{1,5}", address):
            raise ValueError("must be host:port, such as 0.0.0.0:50051")
        return address

    @field_validator("auth_hs256_secret")
    @classmethod
    def _is_long_enough(cls, secret: SecretStr) -> SecretStr:
        if 0 < len(secret.get_secret_value()) < LEAST_KEY_CHARACTERS:
            raise ValueError(f"must have at least {LEAST_KEY_CHARACTERS} characters: a short key can be guessed")
        return secret

    @field_validator("auth_jwks_url")
    @classmethod
    def _users_have_a_key(cls, url: str, info: ValidationInfo) -> str:
        secret = info.data.get("auth_hs256_secret", SecretStr(""))
        if not url and not secret.get_secret_value():
            raise ValueError("set this or AUTH_HS256_SECRET: nothing runs without a key for users' tokens")
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url

    @field_validator("service_token_secret")
    @classmethod
    def _services_have_their_own_key(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        if secret == info.data.get("auth_hs256_secret"):
            raise ValueError("must not be AUTH_HS256_SECRET: whoever signs users' tokens could pass for a service")
        return secret

    @field_validator("tls_cert_file", "tls_ca_file")
    @classmethod
    def _holds_certificates(cls, path: Path | None) -> Path | None:
        if path is not None:
            check_certificates(path)
        return path

    @field_validator("tls_key_file")
    @classmethod
    def _is_the_certificates_key(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert_file" not in info.data:  # Wrong, and told already.
            return key
        certificate: Path | None = info.data["tls_cert_file"]
        if (certificate is None) != (key is None):
            raise ValueError("set both TLS_CERT_FILE and TLS_KEY_FILE, or neither")
        if certificate is not None and key is not None:
            check_pair(certificate, key)
        return key

    @field_validator("tls_require_client_certificate")
    @classmethod
    def _can_check_clients(cls, required: bool, info: ValidationInfo) -> bool:
        for name in ("tls_cert_file", "tls_ca_file"):
            if required and info.data.get(name, "told already") is None:
                raise ValueError(f"needs {name.upper()}")
        return required

    @field_validator("tls_server_name")
    @classmethod
    def _names_a_checked_peer(cls, name: str, info: ValidationInfo) -> str:
        if name and info.data.get("tls_ca_file", "told already") is None:
            raise ValueError("needs TLS_CA_FILE: without it no certificate is looked at")
        return name

    def tls(self) -> TlsFiles | None:
        """For the server and the channels to peers; None when both use plain text."""
        if self.tls_cert_file is None and self.tls_ca_file is None:
            return None
        return TlsFiles(
            self.tls_cert_file,
            self.tls_key_file,
            self.tls_ca_file,
            self.tls_require_client_certificate,
            self.tls_server_name,
        )


class GrpcServiceSettings(ServiceSettings):
    """What those that serve the contract need besides."""

    nats_url: str = Field("nats://127.0.0.1:4222", description="NATS server, or several with commas")
    max_concurrent_calls: int = Field(
        10_000, gt=0, description="calls served at once; more are refused with RESOURCE_EXHAUSTED"
    )
    owner_requests_per_second: float = Field(
        50.0,
        ge=0,
        allow_inf_nan=False,
        description="calls a second that one owner may make here, but for operators; more get OWNER_REQUEST_LIMIT; 0: no limit",
    )
    owner_request_burst: int = Field(
        250, gt=0, description="calls that one owner may make at once, before OWNER_REQUESTS_PER_SECOND counts"
    )


def postgres_url(url: SecretStr) -> SecretStr:
    """For fields that name a database. Raises ValueError for what can never connect."""
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    return url


def http_url(url: str) -> str:
    """For fields that name an HTTP service. Raises ValueError for what can never be called."""
    if not re.fullmatch(r"https?://[^\s/]+.*", url):
        raise ValueError("must begin with http:// or https:// and name a host")
    return url


def peer_endpoint(endpoint: str, info: ValidationInfo) -> str:
    """For fields that name a peer. Raises ValueError for what gRPC cannot connect to, and for several addresses when TLS has no name to look for in their
    certificates."""
    target_of(endpoint)
    if "," in endpoint and info.data.get("tls_ca_file") is not None and not info.data.get("tls_server_name"):
        raise ValueError("several addresses need TLS_SERVER_NAME: the name that all their certificates carry")
    return endpoint


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load_settings(kind: type[SettingsT], argv: list[str], purpose: str) -> SettingsT:
    """Reads the environment; prints help and exits on --help, one line for each wrong variable and exits 2 when any is wrong."""
    if any(argument in ("-h", "--help") for argument in argv):
        print(help_text(kind, purpose))  # noqa: T201
        sys.exit(0)
    if argv:
        _fail([f"unknown argument {argv[0]!r}: settings come from the environment; see --help"])
    try:
        return kind()
    except ValidationError as error:
        _fail([f"{'_'.join(map(str, item['loc'])).upper()}: {_in_words(item)}" for item in error.errors()])


def help_text(kind: type[ServiceSettings], purpose: str) -> str:
    """Every environment variable with default and meaning, for a terminal."""
    lines = [purpose, "", "Settings come from environment variables:", ""]
    for name, field in kind.model_fields.items():
        default = field.get_default()
        if field.is_required():
            shown = "required"
        elif isinstance(default, SecretStr):
            shown = "not set"
        else:
            shown = f"default {default!r}"
        lines += [f"  {name.upper()}  ({shown})", f"      {field.description}"]
    return "\n".join(lines)


def _in_words(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "missing":
            return "is not set; --help says what it is"
        case "too_short":
            return f"must have at least {problem['ctx']['min_length']} characters"
        case "value_error":
            return str(problem["ctx"]["error"])
        case _:
            return problem["msg"]


def _fail(problems: list[str]) -> NoReturn:
    for problem in problems:
        print(f"settings: {problem}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
