"""Promises of the gateway's settings: what makes no sense stops the start, with one line that names the variable."""

from __future__ import annotations

import os

import pytest

from gateway.settings import GatewaySettings
from servicekit.settings import load_settings

GOOD = {"SERVICE_TOKEN_SECRET": "a secret of the services", "AUTH_HS256_SECRET": "a secret of the users"}


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> GatewaySettings:
    for name in os.environ:
        if name.lower() in GatewaySettings.model_fields:
            monkeypatch.delenv(name)
    for name, value in {**GOOD, **variables}.items():
        monkeypatch.setenv(name, value)
    return load_settings(GatewaySettings, [], "purpose")


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"HTTPS_CERT_FILE": "a.crt"}, "HTTPS_KEY_FILE: set both HTTPS_CERT_FILE and HTTPS_KEY_FILE, or neither"),
        ({"HTTPS_KEY_FILE": "a.key"}, "HTTPS_KEY_FILE: set both HTTPS_CERT_FILE and HTTPS_KEY_FILE, or neither"),
        *(
            ({"CORS_ALLOWED_ORIGINS": origins}, "CORS_ALLOWED_ORIGINS: each must be an origin")
            for origins in (
                "*", "learn.example.org", "https://", "https://*", "https://*.example.org", "https://a.org/",
                "https://a.org/path", "https://a.org, *", "null", "https://a.org https://b.org", "ftp://a.org",
                "https://u@a.org", "https://a.org?q",
            )
        ),
        ({"MAX_HTTP_REQUESTS": "0"}, "MAX_HTTP_REQUESTS"),
        ({"MAX_HEAD_BYTES": "100"}, "MAX_HEAD_BYTES"),
        ({"LISTEN_ADDRESS": "8080"}, "LISTEN_ADDRESS: must be host:port"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], line: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        load(monkeypatch, **variables)
    assert stopped.value.code == 2
    [told] = capsys.readouterr().err.splitlines()
    assert told.startswith(f"settings: {line}")


def test_a_certificate_with_its_key_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, HTTPS_CERT_FILE="a.crt", HTTPS_KEY_FILE="a.key")
    assert (str(settings.https_cert_file), str(settings.https_key_file)) == ("a.crt", "a.key")


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        ("", []),
        ("https://learn.example.org", ["https://learn.example.org"]),
        (" https://a.org ,http://localhost:3000,", ["https://a.org", "http://localhost:3000"]),
    ],
)
def test_origins_are_listed_with_commas(monkeypatch: pytest.MonkeyPatch, origins: str, allowed: list[str]) -> None:
    assert load(monkeypatch, CORS_ALLOWED_ORIGINS=origins).allowed_origins() == allowed
