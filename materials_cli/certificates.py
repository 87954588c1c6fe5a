"""TLS from the command's side: which files it uses, and what to do when it fails.

`MATERIALS_CA_FILE`, the authority that signed the services' certificates, turns it on. `MATERIALS_CERT_FILE` and `MATERIALS_KEY_FILE` are for services that
ask their callers for a certificate; `MATERIALS_SERVER_NAME` is the name in the services' certificates, where that is not the host they are called by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from materials_cli.errors import WrongUsage
from servicekit.tls import TlsFiles, check_certificates, check_pair

#: How gRPC begins when no connection was made; else it was one that stood and was cut.
_NEVER_CONNECTED = ("connections to all backends failing", "failed to connect")
#: What gRPC says of a connection that came to nothing, and what to do about it.
_ADVICE = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not of the authority in MATERIALS_CA_FILE, or not valid now; set MATERIALS_CA_FILE to the right one",
    ),
    (
        "Hostname Verification Check failed",
        "its certificate is for another name; set MATERIALS_SERVER_NAME to that, or call it by it",
    ),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS; unset MATERIALS_CA_FILE, or set its address to one that does"),
    (
        "Socket closed",
        "it hung up; it may want TLS (MATERIALS_CA_FILE) or a certificate (MATERIALS_CERT_FILE, MATERIALS_KEY_FILE)",
    ),
)


def tls_files(environ: Mapping[str, str]) -> TlsFiles | None:
    """What the variables name; None for plain text. Raises WrongUsage, with the variable's name."""
    authority, certificate, key = (
        _path(environ, name) for name in ("MATERIALS_CA_FILE", "MATERIALS_CERT_FILE", "MATERIALS_KEY_FILE")
    )
    server_name = environ.get("MATERIALS_SERVER_NAME", "").strip()
    if authority is None:
        for name in ("MATERIALS_CERT_FILE", "MATERIALS_KEY_FILE", "MATERIALS_SERVER_NAME"):
            if environ.get(name, "").strip():
                raise WrongUsage(f"{name} needs MATERIALS_CA_FILE: without it there is no TLS")
        return None
    _check("MATERIALS_CA_FILE", check_certificates, authority)
    if certificate is None and key is None:
        return TlsFiles(authority=authority, server_name=server_name)
    if certificate is None or key is None:
        raise WrongUsage("set both MATERIALS_CERT_FILE and MATERIALS_KEY_FILE, or neither")
    _check("MATERIALS_CERT_FILE", check_certificates, certificate)
    _check("MATERIALS_KEY_FILE", check_pair, certificate, key)
    return TlsFiles(certificate, key, authority, server_name=server_name)


def tls_advice(details: str) -> str:
    """What to do about a connection that failed with these words of gRPC, where TLS is or may be the cause; else ""."""
    if not any(words in details for words in _NEVER_CONNECTED):
        return ""
    return next((advice for words, advice in _ADVICE if words in details), "")


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    value = environ.get(name, "").strip()
    return Path(value) if value else None


def _check(name: str, check: Callable[..., None], *paths: Path) -> None:
    try:
        check(*paths)
    except ValueError as error:
        raise WrongUsage(f"{name}: {error}") from None
