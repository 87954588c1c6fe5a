"""TLS between the services: where the certificates are, what they hold, and taking up renewed ones without a restart.

All files are PEM. Certificate and key are what this process shows, as a server and as a client; the authority is what others' certificates are checked against.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

log = structlog.get_logger()


@dataclass(frozen=True)
class TlsFiles:
    """Where they are. `certificate` and `key` are both set or neither: with them a server speaks TLS; with `authority` a client does.

    `server_name` is the name that a peer's certificate must carry, where that is not the host it is called by.
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    require_client_certificate: bool = False
    server_name: str = ""


@dataclass(frozen=True)
class TlsContents:
    """What the files held at one moment; None for a file that is not set."""

    certificate: bytes | None
    key: bytes | None
    authority: bytes | None


def load(files: TlsFiles) -> TlsContents:
    """What the files hold now, checked. Raises ValueError when that is of no use."""
    contents = _read(files)
    _check(files, contents)
    return contents


def check_certificates(path: Path) -> None:
    """Raises ValueError unless it is a readable PEM file of certificates."""
    _certificates(path, _bytes(path))


def check_pair(certificate: Path, key: Path) -> None:
    """Raises ValueError unless the key is the certificate's. Gives no word of what is in the key."""
    _check_pair(certificate, _bytes(certificate), key, _bytes(key))


class CurrentTls:
    """The newest contents of use. Files that are half written, or not yet a pair, are told once and left alone until they are."""

    def __init__(self, files: TlsFiles) -> None:
        """Reads them. Raises ValueError when they are of no use."""
        self._files = files
        self._told = ""
        self.contents = load(files)

    def renewed(self) -> TlsContents | None:
        """What the files hold now, when that is new and of use. Reads small files, and may be called by any thread: two that come at once both get it."""
        try:
            found = _read(self._files)
            if found == self.contents:
                return None
            _check(self._files, found)
        except ValueError as error:
            if str(error) != self._told:
                log.warning("renewed certificates are of no use; the ones before stay", error=str(error))
            self._told = str(error)
            return None
        self.contents, self._told = found, ""
        log.info("renewed certificates taken up", valid_until=valid_until(found))
        return found


def valid_until(contents: TlsContents) -> str:
    """When this process's certificate ends, in UTC; "" without one."""
    if contents.certificate is None:
        return ""
    return x509.load_pem_x509_certificates(contents.certificate)[0].not_valid_after_utc.isoformat()


def server_credentials(current: CurrentTls, *, require_client_certificate: bool) -> grpc.ServerCredentials:
    """For a server's port. gRPC asks for the files anew at each connection; connections that stand keep what they began with."""

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        found = current.renewed()
        return None if found is None else _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(current.contents),
        renewed,  # type: ignore[arg-type]  # gRPC's stubs leave out None, which is: nothing new
        require_client_authentication=require_client_certificate,
    )


def channel_credentials(contents: TlsContents) -> grpc.ChannelCredentials:
    """For a channel to a peer: fixed for as long as it lives."""
    return grpc.ssl_channel_credentials(contents.authority, contents.key, contents.certificate)


def _configuration(contents: TlsContents) -> grpc.ServerCertificateConfiguration:
    assert contents.key is not None
    assert contents.certificate is not None
    return grpc.ssl_server_certificate_configuration([(contents.key, contents.certificate)], contents.authority)


def _read(files: TlsFiles) -> TlsContents:
    return TlsContents(
        *[None if path is None else _bytes(path) for path in (files.certificate, files.key, files.authority)]
    )


def _check(files: TlsFiles, contents: TlsContents) -> None:
    if files.certificate and contents.certificate and files.key and contents.key:
        _check_pair(files.certificate, contents.certificate, files.key, contents.key)
    if files.authority and contents.authority:
        _certificates(files.authority, contents.authority)


def _bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    if not content.strip():
        raise ValueError(f"{path} is empty")
    return content


def _certificates(path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ValueError(f"{path} holds no certificate in PEM") from None


def _check_pair(certificate: Path, certificate_content: bytes, key: Path, key_content: bytes) -> None:
    public = _certificates(certificate, certificate_content)[0].public_key()
    try:
        private = load_pem_private_key(key_content, password=None)
    except TypeError:
        raise ValueError(f"the key in {key} has a password; it must have none") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{key} holds no private key in PEM") from None
    if private.public_key() != public:
        raise ValueError(f"the key in {key} is not that of the certificate in {certificate}")
