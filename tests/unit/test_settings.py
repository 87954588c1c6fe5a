"""Settings are explained by --help, and wrong ones stop the start with one clear line each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from ingest_service.settings import IngestSettings
from processor_service.settings import ProcessorSettings
from servicekit.settings import ServiceSettings, help_text, load_settings
from status_service.settings import StatusSettings

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, type[ServiceSettings]] = {
    "status_service": StatusSettings,
    "ingest_service": IngestSettings,
    "processor_service": ProcessorSettings,
    "gateway": GatewaySettings,
}
KINDS = list(SERVICES.values())
SECRET = "a secret of the services"
GOOD = {
    "SERVICE_TOKEN_SECRET": SECRET,
    "AUTH_HS256_SECRET": "a secret of the users",
    "STATUS_DATABASE_URL": "postgresql://127.0.0.1/status",
    "PROCESSOR_DATABASE_URL": "postgresql://127.0.0.1/processor",
}


def load(monkeypatch: pytest.MonkeyPatch, kind: type[ServiceSettings], **changes: str | None) -> ServiceSettings:
    """Loads from an environment that holds GOOD with changes; None takes one away."""
    for name in os.environ:
        if name.lower() in kind.model_fields:
            monkeypatch.delenv(name)
    for name, value in {**GOOD, **changes}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    return load_settings(kind, [], "purpose")


def problems(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: type[ServiceSettings] = StatusSettings,
    **changes: str | None,
) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        load(monkeypatch, kind, **changes)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_help_names_every_variable_with_its_meaning(kind: type[ServiceSettings]) -> None:
    text = help_text(kind, "What it is for.")
    assert text.startswith("What it is for.")
    for name, field in kind.model_fields.items():
        assert re.search(rf"^  {name.upper()}  \(.+\)$", text, re.MULTILINE), name
        assert field.description
        assert field.description in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_printed_without_any_setting(
    kind: type[ServiceSettings], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        load_settings(kind, [flag], "purpose")
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == help_text(kind, "purpose")


@pytest.mark.parametrize("kind", KINDS)
def test_required_settings_are_enough(kind: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, kind)
    assert settings.service_token_secret.get_secret_value() == SECRET
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("kind", KINDS)
def test_each_missing_variable_has_a_line(
    kind: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [name.upper() for name, field in kind.model_fields.items() if field.is_required()]
    lines = problems(monkeypatch, capsys, kind, **dict.fromkeys(GOOD))
    assert sorted(line.split(": ")[1] for line in lines) == sorted([*missing, "AUTH_JWKS_URL"])
    assert all(line.startswith("settings: ") for line in lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE_SECONDS", "soon"),
        ("LEASE_SECONDS", "1"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_WATCHES", "-1"),
        ("MAX_WATCHES_PER_OWNER", "0"),
        ("OWNER_REQUESTS_PER_SECOND", "-1"),
        ("OWNER_REQUESTS_PER_SECOND", "nan"),
        ("OWNER_REQUEST_BURST", "0"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "LOUD"),
        ("SERVICE_TOKEN_SECRET", "short"),
        ("AUTH_JWKS_URL", "file:///etc/passwd"),
        ("AUTH_JWKS_URL", "login.example/keys"),
    ],
)
def test_wrong_value_is_named_and_never_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = problems(monkeypatch, capsys, StatusSettings, **{name: value})
    assert line.startswith(f"settings: {name}: ")
    assert value not in line or len(value) < 3


def test_all_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = problems(monkeypatch, capsys, LEASE_SECONDS="x", MAX_CRASHES="y", STATUS_DATABASE_URL=None)
    assert len(lines) == 3


def test_users_need_a_key_of_either_kind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    [line] = problems(monkeypatch, capsys, AUTH_HS256_SECRET=None)
    assert "AUTH_JWKS_URL" in line
    assert "AUTH_HS256_SECRET" in line
    assert load(monkeypatch, StatusSettings, AUTH_HS256_SECRET=None, AUTH_JWKS_URL="https://login.example/keys")


def test_users_key_may_not_be_the_services_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = problems(monkeypatch, capsys, AUTH_HS256_SECRET=SECRET)
    assert line.startswith("settings: SERVICE_TOKEN_SECRET: ")
    assert SECRET not in line


def test_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load(monkeypatch, ProcessorSettings, AI_BRAIN_CA_FILE="", PROCESSOR_SLOTS="")
    assert isinstance(settings, ProcessorSettings)
    assert (settings.ai_brain_ca_file, settings.processor_slots) == (None, 4)
    [line] = problems(monkeypatch, capsys, STATUS_DATABASE_URL="")
    assert line.startswith("settings: STATUS_DATABASE_URL: ")


def test_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load_settings(StatusSettings, ["--port", "1"], "purpose")
    assert ended.value.code == 2
    assert "'--port'" in capsys.readouterr().err


@pytest.mark.parametrize("service", SERVICES)
def test_process_without_settings_exits_with_2_and_lines_only(service: str) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    run = subprocess.run(
        [sys.executable, "-m", service],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    lines = run.stderr.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("settings: ") for line in lines)
