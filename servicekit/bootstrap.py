"""The parts that every composition root begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from servicekit.identity import ServiceTokens, TokenVerifier
from servicekit.interceptor import CallInterceptor
from servicekit.logs import configure_logs
from servicekit.owner_limits import OwnerRequests
from servicekit.settings import GrpcServiceSettings, ServiceSettings
from servicekit.tracing import configure_tracing


def configure_process(service: str, settings: ServiceSettings) -> None:
    """Logs and traces of this process."""
    configure_logs(service=service, format=settings.log_format, level=settings.log_level)
    configure_tracing(service)


def token_verifier(settings: ServiceSettings) -> TokenVerifier:
    """Verifies callers by the service's settings. Raises ValueError when there is no key: nothing runs without authentication."""
    return TokenVerifier(
        hs256_secret=settings.auth_hs256_secret.get_secret_value(),
        jwks_url=settings.auth_jwks_url,
        audience=settings.auth_audience,
        issuer=settings.auth_issuer,
        service_secret=settings.service_token_secret.get_secret_value(),
    )


def call_interceptor(
    settings: GrpcServiceSettings, *, decoders: Mapping[str, Callable[[bytes], Any]] = MappingProxyType({})
) -> CallInterceptor:
    """What every call of this service goes through, by its settings; `decoders` as for CallInterceptor. Raises as `token_verifier`."""
    return CallInterceptor(
        token_verifier(settings),
        OwnerRequests(settings.owner_requests_per_second, settings.owner_request_burst),
        decoders=decoders,
    )


def service_tokens(service: str, settings: ServiceSettings) -> ServiceTokens:
    """This service's own identity towards its peers."""
    return ServiceTokens(settings.service_token_secret.get_secret_value(), f"service:{service}", settings.auth_audience)
