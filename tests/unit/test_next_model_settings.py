"""Settings for a change of the embedding model: whole or not at all."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from processor_service.brain.part import brain_addresses
from processor_service.settings import ProcessorSettings

GOOD = {
    "SERVICE_TOKEN_SECRET": "a secret of the services",
    "AUTH_HS256_SECRET": "a secret of the users",
    "PROCESSOR_DATABASE_URL": "postgresql://127.0.0.1/processor",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.lower() in ProcessorSettings.model_fields:
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_usually_there_is_one_model() -> None:
    (only,) = brain_addresses(ProcessorSettings())
    assert (only.embedding_model, only.health_name) == ("default", "ai_brain")


def test_next_model_has_its_own_address_token_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "NEXT_EMBEDDING_MODEL": "m2",
        "NEXT_AI_BRAIN_ENDPOINT": "http://brain-2:8001",
        "NEXT_AI_BRAIN_TOKEN": "its own",
        "NEXT_EMBEDDING_DIMENSIONS": "768",
        "AI_BRAIN_TOKEN": "the first one's",
    }.items():
        monkeypatch.setenv(name, value)
    first, following = brain_addresses(ProcessorSettings())
    assert (first.token, first.embedding_dimensions) == ("the first one's", 1024)
    assert (following.embedding_model, following.endpoint) == ("m2", "http://brain-2:8001")
    assert (following.token, following.embedding_dimensions, following.health_name) == ("its own", 768, "next_ai_brain")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"NEXT_EMBEDDING_MODEL": "m2"}, "next_ai_brain_endpoint"),
        ({"NEXT_AI_BRAIN_ENDPOINT": "http://brain-2:8001"}, "next_ai_brain_endpoint"),
        ({"NEXT_EMBEDDING_MODEL": "m2", "NEXT_AI_BRAIN_ENDPOINT": "brain-2:8001"}, "next_ai_brain_endpoint"),
        ({"NEXT_EMBEDDING_MODEL": "default", "NEXT_AI_BRAIN_ENDPOINT": "http://b"}, "next_embedding_model"),
    ],
)
def test_half_a_change_stops_the_start(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], field: str) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as refused:
        ProcessorSettings()
    assert [error["loc"] for error in refused.value.errors()] == [(field,)]
