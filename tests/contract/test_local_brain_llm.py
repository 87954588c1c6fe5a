"""Prompts are handed on to a language model where one is set, and whatever it does is told in the contract's form."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local_brain.llm_relay import LlmRelay, RelayError, RelaySettings, relay_settings
from tests.contract.scripted_llm import ScriptedLlm, choice, scripted_llm
from tests.contract.started_brain import PROMPT, START_SECONDS, embedding, encoded, picture, read, started_brain
from tests.local_stack import free_port

KEY = "sk-never-to-be-shown"
MODEL = "qwen3:4b"


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm() as script:
        yield script


def relay(llm: ScriptedLlm, seconds: float = 30.0) -> LlmRelay:
    return LlmRelay(RelaySettings(f"{llm.url}/v1/chat/completions", MODEL, KEY, seconds))


async def failure(relayed: LlmRelay) -> RelayError:
    with pytest.raises(RelayError) as caught:
        await relayed.write("secret prompt")
    assert KEY not in caught.value.detail
    assert "secret prompt" not in caught.value.detail
    return caught.value


def test_a_brain_with_a_model_answers_prompts_with_it_and_pages_itself(llm: ScriptedLlm, tmp_path: Path) -> None:
    llm.says(model="qwen3:4b-q4", choices=[choice(" In the stroma [1]. ")])
    settings = {
        "LOCAL_BRAIN_LLM_URL": llm.url,
        "LOCAL_BRAIN_LLM_MODEL": MODEL,
        "LOCAL_BRAIN_LLM_KEY": KEY,
        "LOG_LEVEL": "DEBUG",
    }
    log = tmp_path / "log"
    with started_brain(log, **settings) as (_, http):
        assert http.get("/").json()["text_model"] == MODEL
        reply = http.post("/router", data={"prompt": "Where does the Calvin cycle take place?"})
        assert reply.status_code == 200
        assert reply.json() == {"response": "In the stroma [1].", "model": "qwen3:4b-q4"}
        path, headers, asked = llm.asked[0]
        assert path == "/v1/chat/completions"
        assert headers["authorization"] == f"Bearer {KEY}"
        assert asked["messages"] == [{"role": "user", "content": "Where does the Calvin cycle take place?"}]
        assert (asked["model"], asked["temperature"], asked["stream"]) == (MODEL, 0, False)
        assert asked["max_tokens"] > 0

        assert read(http, encoded(picture("chloroplast"), "PNG")) == "chloroplast"
        assert any(embedding(http, "stroma"))
        assert len(llm.asked) == 1

        llm.status, llm.body = 404, b"model not found: sk-never-to-be-shown"
        refused = http.post("/router", data=PROMPT)
        assert refused.status_code == 500
        assert set(refused.json()) == {"detail"}
        assert "404" in refused.json()["detail"]
        llm.status, llm.headers = 429, {"Retry-After": "7"}
        busy = http.post("/router", data=PROMPT)
        assert (busy.status_code, busy.headers["Retry-After"]) == (429, "7")
    logged = log.read_text()
    assert KEY not in logged
    assert "Calvin" not in logged
    assert "Traceback" not in logged


def test_without_a_model_the_status_page_names_the_extractive_one(brain: httpx.Client) -> None:
    assert brain.get("/").json()["text_model"].startswith("extractive/")


@pytest.mark.parametrize(
    ("status", "told"),
    [(400, 500), (401, 500), (404, 500), (302, 500), (500, 502), (502, 502), (503, 503), (504, 504), (429, 429)],
)
async def test_each_refusal_has_a_status_of_the_contract(llm: ScriptedLlm, status: int, told: int) -> None:
    llm.status, llm.body, llm.headers = status, b"<html>secret prompt</html>", {"Location": f"{llm.url}/elsewhere"}
    error = await failure(relay(llm))
    assert error.status == told
    assert str(status) in error.detail or status == 429
    assert len(llm.asked) == 1, "one try, and no redirect followed"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"choices": [{"message": {"content": "cut', 502),
        (b"<html>secret prompt</html>", 502),
        (b"\xff\xfe", 502),
        (b"[" * 100_000, 502),
        (b"[]", 502),
        (b"", 502),
        (b'{"object": "error"}', 500),
        (b'{"choices": []}', 500),
        (b'{"choices": [{}]}', 500),
        (b'{"choices": [{"message": {"content": null}}]}', 500),
        (b'{"choices": [{"message": {"content": 7}}]}', 500),
        (b'{"choices": [{"message": {"content": " "}}]}', 500),
        (b'{"choices": "none"}', 500),
    ],
)
async def test_a_broken_reply_is_never_taken_for_text(llm: ScriptedLlm, body: bytes, told: int) -> None:
    llm.body = body
    assert (await failure(relay(llm))).status == told


async def test_a_reply_cut_off_on_the_way_is_a_502(llm: ScriptedLlm) -> None:
    llm.says(choices=[choice("the first half")])
    llm.declared_bytes = len(llm.body) + 100
    assert (await failure(relay(llm))).status == 502


async def test_a_reply_without_end_is_not_read_to_its_end(llm: ScriptedLlm) -> None:
    llm.says(choices=[choice("x" * 2**21)])
    assert (await failure(relay(llm))).status == 502


async def test_a_model_that_takes_too_long_is_a_504(llm: ScriptedLlm) -> None:
    llm.may_answer.clear()
    error = await failure(relay(llm, seconds=0.2))
    assert error.status == 504
    assert "0.2 s" in error.detail


async def test_a_model_that_is_not_there_is_a_503() -> None:
    nowhere = RelaySettings(f"http://127.0.0.1:{free_port()}/v1/chat/completions", MODEL, KEY)
    assert (await failure(LlmRelay(nowhere))).status == 503


async def test_prompts_beyond_the_bound_are_refused_and_the_others_answered(llm: ScriptedLlm) -> None:
    llm.says(choices=[choice("done")])
    llm.may_answer.clear()
    bounded = relay(llm)
    waiting = [asyncio.create_task(bounded.write("secret prompt")) for _ in range(16)]
    await asyncio.sleep(0)  # a turn for each, in which it takes its place
    error = await failure(bounded)
    assert (error.status, error.retry_after) == (429, "5")
    llm.may_answer.set()
    assert {answer.text for answer in await asyncio.gather(*waiting)} == {"done"}
    assert (await bounded.write("again")).text == "done"


async def test_the_model_is_named_as_asked_for_where_the_endpoint_does_not(llm: ScriptedLlm) -> None:
    llm.says(model=None, choices=[choice("caf\ud800é")])
    answer = await relay(llm).write("prompt")
    assert (answer.model, answer.text) == (MODEL, "caf?é")


@pytest.mark.parametrize(
    ("url", "chat_url"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1/chat/completions"),
        ("http://localhost:11434/", "http://localhost:11434/v1/chat/completions"),
        ("https://llm.example/openai/v1", "https://llm.example/openai/v1/chat/completions"),
        ("https://llm.example/openai/v1/", "https://llm.example/openai/v1/chat/completions"),
    ],
)
def test_the_address_is_made_from_the_url(url: str, chat_url: str) -> None:
    settings = relay_settings({"LOCAL_BRAIN_LLM_URL": url, "LOCAL_BRAIN_LLM_MODEL": MODEL, "LOCAL_BRAIN_LLM_KEY": KEY})
    assert settings == RelaySettings(chat_url, MODEL, KEY)
    assert KEY not in repr(settings)


def test_without_a_url_there_is_no_relay() -> None:
    assert relay_settings({"LOCAL_BRAIN_LLM_MODEL": MODEL, "LOCAL_BRAIN_LLM_URL": " "}) is None


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"LOCAL_BRAIN_LLM_URL": "localhost:11434"}, "LOCAL_BRAIN_LLM_URL"),
        ({"LOCAL_BRAIN_LLM_URL": "http://localhost:many"}, "LOCAL_BRAIN_LLM_URL"),
        ({"LOCAL_BRAIN_LLM_URL": "http://me:hunter2@localhost"}, "LOCAL_BRAIN_LLM_KEY"),
        ({"LOCAL_BRAIN_LLM_MODEL": ""}, "LOCAL_BRAIN_LLM_MODEL"),
        ({"LOCAL_BRAIN_LLM_KEY": "two\nlines"}, "LOCAL_BRAIN_LLM_KEY"),
        ({"LOCAL_BRAIN_LLM_SECONDS": "0"}, "LOCAL_BRAIN_LLM_SECONDS"),
        ({"LOCAL_BRAIN_LLM_SECONDS": "nan"}, "LOCAL_BRAIN_LLM_SECONDS"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(changed: dict[str, str], named: str) -> None:
    given = {"LOCAL_BRAIN_LLM_URL": "http://localhost:11434", "LOCAL_BRAIN_LLM_MODEL": MODEL, **changed}
    with pytest.raises(ValueError, match=named) as caught:
        relay_settings(given)
    assert "hunter2" not in str(caught.value)
    assert "two" not in str(caught.value)


def test_the_brain_does_not_start_without_the_models_name_and_its_help_names_the_settings() -> None:
    def started(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "local_brain", *arguments],
            env={"LOCAL_BRAIN_LLM_URL": "http://localhost:11434"},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    refused = started("--port", "0")
    assert refused.returncode == 2
    assert "LOCAL_BRAIN_LLM_MODEL" in refused.stderr
    assert "Traceback" not in refused.stderr
    helped = started("--help")
    assert helped.returncode == 0
    for name in ("URL", "MODEL", "KEY", "SECONDS"):
        assert f"LOCAL_BRAIN_LLM_{name}" in helped.stdout
