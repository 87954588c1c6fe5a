"""Settings every service has, and how they are read and explained.

A service's settings are one frozen pydantic class whose fields are its environment variables: `python -m SERVICE --help` prints each
with its meaning and default; a missing or wrong one stops the start with one clear line for each.
"""

from __future__ import annotations

import re
import sys
from typing import Literal, NoReturn, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

#: 128 bits, were they random; RFC 7518 section 3.2 asks for more, and for random ones.
LEAST_KEY_CHARACTERS = 16


class ServiceSettings(BaseSettings):
    """What every service of the system needs."""

    model_config = SettingsConfigDict(frozen=True, case_sensitive=False, extra="ignore", env_ignore_empty=True)

    listen_address: str = Field(description="host:port that the gRPC server listens on")
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
    nats_url: str = Field("nats://127.0.0.1:4222", description="NATS server, or several with commas")
    shutdown_grace_seconds: float = Field(5.0, gt=0, description="how long running calls may take to finish on SIGTERM")
    max_concurrent_calls: int = Field(
        10_000, gt=0, description="calls served at once; more are refused with RESOURCE_EXHAUSTED"
    )

    @field_validator("listen_address")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
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
