"""Promises of the TLS settings of services and command: what makes no sense stops the start, with one line that names the variable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ingest_service.settings import IngestSettings
from materials_cli.certificates import tls_advice, tls_files
from materials_cli.connection import find_settings
from materials_cli.errors import WrongUsage
from servicekit.server import is_loopback
from servicekit.settings import load_settings
from servicekit.tls import CurrentTls, TlsFiles, valid_until
from tests.security.certificates import Authority

GOOD = {"SERVICE_TOKEN_SECRET": "a secret of the services", "AUTH_HS256_SECRET": "a secret of the users"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """own.crt with own.key, authority.pem, and what is wrong with others."""
    authority = Authority(tmp_path, "authority")
    pair = authority.issue("status.internal")
    pair.write(tmp_path, "own")
    authority.issue("other").write(tmp_path, "other")
    secret = load_pem_private_key(pair.key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    (tmp_path / "locked.key").write_bytes(secret)
    (tmp_path / "text.pem").write_text("not PEM")
    (tmp_path / "empty.pem").write_text("")
    return tmp_path


def load(monkeypatch: pytest.MonkeyPatch, folder: Path, **variables: str) -> IngestSettings:
    """From an environment of these variables; values with a suffix are files of the folder."""
    for name in os.environ:
        if name.lower() in IngestSettings.model_fields:
            monkeypatch.delenv(name)
    for name, value in {**GOOD, **in_folder(folder, variables)}.items():
        monkeypatch.setenv(name, value)
    return load_settings(IngestSettings, [], "purpose")


def in_folder(folder: Path, variables: dict[str, str]) -> dict[str, str]:
    return {
        name: str(folder / value) if name.endswith("_FILE") and value else value for name, value in variables.items()
    }


OWN = {"TLS_CERT_FILE": "own.crt", "TLS_KEY_FILE": "own.key"}
CA = {"TLS_CA_FILE": "authority.pem"}


@pytest.mark.parametrize(
    ("variables", "name", "words"),
    [
        ({"TLS_CERT_FILE": "own.crt"}, "TLS_KEY_FILE", "set both"),
        ({"TLS_KEY_FILE": "own.key"}, "TLS_KEY_FILE", "set both"),
        ({**OWN, "TLS_CERT_FILE": "gone.crt"}, "TLS_CERT_FILE", "gone.crt: No such file"),
        ({**OWN, "TLS_KEY_FILE": "gone.key"}, "TLS_KEY_FILE", "gone.key: No such file"),
        ({**OWN, "TLS_CERT_FILE": "own.key"}, "TLS_CERT_FILE", "holds no certificate in PEM"),
        ({**OWN, "TLS_KEY_FILE": "own.crt"}, "TLS_KEY_FILE", "holds no private key in PEM"),
        ({**OWN, "TLS_KEY_FILE": "text.pem"}, "TLS_KEY_FILE", "holds no private key in PEM"),
        ({**OWN, "TLS_KEY_FILE": "other.key"}, "TLS_KEY_FILE", "not that of the certificate"),
        ({**OWN, "TLS_KEY_FILE": "locked.key"}, "TLS_KEY_FILE", "has a password"),
        ({"TLS_CA_FILE": "text.pem"}, "TLS_CA_FILE", "holds no certificate in PEM"),
        ({"TLS_CA_FILE": "empty.pem"}, "TLS_CA_FILE", "is empty"),
        ({"TLS_CA_FILE": "."}, "TLS_CA_FILE", "Is a directory"),
        ({**OWN, "TLS_REQUIRE_CLIENT_CERTIFICATE": "true"}, "TLS_REQUIRE_CLIENT_CERTIFICATE", "needs TLS_CA_FILE"),
        ({**CA, "TLS_REQUIRE_CLIENT_CERTIFICATE": "true"}, "TLS_REQUIRE_CLIENT_CERTIFICATE", "needs TLS_CERT_FILE"),
        ({**OWN, "TLS_SERVER_NAME": "status.internal"}, "TLS_SERVER_NAME", "needs TLS_CA_FILE"),
        ({**CA, "STATUS_ENDPOINT": "10.0.0.1:1,10.0.0.2:1"}, "STATUS_ENDPOINT", "need TLS_SERVER_NAME"),
    ],
)
def test_what_makes_no_sense_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    variables: dict[str, str],
    name: str,
    words: str,
) -> None:
    with pytest.raises(SystemExit):
        load(monkeypatch, folder, **variables)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"settings: {name}: ")
    assert words in line


def test_without_files_there_is_no_tls(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert load(monkeypatch, folder).tls() is None
    assert load(monkeypatch, folder, STATUS_ENDPOINT="10.0.0.1:1,10.0.0.2:1").tls() is None


def test_server_and_channels_have_their_files_each_by_itself(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    certificate, key, authority = folder / "own.crt", folder / "own.key", folder / "authority.pem"
    assert load(monkeypatch, folder, **OWN).tls() == TlsFiles(certificate, key)
    assert load(monkeypatch, folder, **CA, TLS_CERT_FILE="", TLS_KEY_FILE="").tls() == TlsFiles(authority=authority)
    everything = {**OWN, **CA, "TLS_REQUIRE_CLIENT_CERTIFICATE": "true", "TLS_SERVER_NAME": "status.internal"}
    settings = load(monkeypatch, folder, **everything, STATUS_ENDPOINT="10.0.0.1:1,10.0.0.2:1")
    assert settings.tls() == TlsFiles(certificate, key, authority, True, "status.internal")


def test_renewed_files_are_new_once_and_bad_ones_never(folder: Path) -> None:
    current = CurrentTls(TlsFiles(folder / "own.crt", folder / "own.key", folder / "authority.pem"))
    before = current.contents
    assert valid_until(before)
    assert current.renewed() is None
    (folder / "own.key").write_bytes((folder / "other.key").read_bytes())
    assert current.renewed() is None
    (folder / "own.crt").unlink()
    assert current.renewed() is None
    assert current.contents == before
    (folder / "own.crt").write_bytes((folder / "other.crt").read_bytes())
    renewed = current.renewed()
    assert renewed is not None
    assert renewed.certificate == (folder / "other.crt").read_bytes()
    assert current.renewed() is None


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"MATERIALS_CERT_FILE": "own.crt", "MATERIALS_KEY_FILE": "own.key"},
            "MATERIALS_CERT_FILE needs MATERIALS_CA_FILE",
        ),
        ({"MATERIALS_SERVER_NAME": "status.internal"}, "MATERIALS_SERVER_NAME needs MATERIALS_CA_FILE"),
        ({"MATERIALS_CA_FILE": "gone.pem"}, "MATERIALS_CA_FILE: cannot read .*: No such file"),
        ({"MATERIALS_CA_FILE": "text.pem"}, "MATERIALS_CA_FILE: .* holds no certificate in PEM"),
        ({"MATERIALS_CA_FILE": "authority.pem", "MATERIALS_CERT_FILE": "own.crt"}, "set both MATERIALS_CERT_FILE and"),
        ({"MATERIALS_CA_FILE": "authority.pem", "MATERIALS_KEY_FILE": "own.key"}, "set both MATERIALS_CERT_FILE and"),
        (
            {
                "MATERIALS_CA_FILE": "authority.pem",
                "MATERIALS_CERT_FILE": "own.crt",
                "MATERIALS_KEY_FILE": "other.key",
            },
            "MATERIALS_KEY_FILE: the key in .* is not that of",
        ),
        ({"MATERIALS_STATUS": "status-1:1,status-2:2"}, "MATERIALS_STATUS: several endpoints must be IP addresses"),
        (
            {"MATERIALS_CA_FILE": "authority.pem", "MATERIALS_STATUS": "10.0.0.1:1,10.0.0.2:1"},
            "MATERIALS_STATUS has several addresses: set MATERIALS_SERVER_NAME",
        ),
    ],
)
def test_the_command_names_the_variable_that_makes_no_sense(
    folder: Path, variables: dict[str, str], words: str
) -> None:
    with pytest.raises(WrongUsage, match=words):
        find_settings(in_folder(folder, variables), folder)


def test_the_command_uses_tls_when_it_knows_the_authority(folder: Path) -> None:
    assert tls_files({"MATERIALS_CA_FILE": " "}) is None
    assert tls_files({"MATERIALS_CA_FILE": str(folder / "authority.pem")}) == TlsFiles(
        authority=folder / "authority.pem"
    )


def test_a_connection_that_was_cut_later_has_nothing_to_do_with_tls() -> None:
    assert tls_advice("Socket closed") == ""
    assert tls_advice("failed to connect to all addresses; last error: Connection refused") == ""
    for words in ("failed to connect to all addresses", "connections to all backends failing"):
        assert "certificate" in tls_advice(f"{words}; last error: UNAVAILABLE: Socket closed")


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("status.internal:1", False),
    ],
)
def test_only_this_machines_own_addresses_are_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
