"""`materials open` gets a sign-in link from the gateway and opens it; the gateway is a real HTTP server that answers as the test says."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract.command_line import Cli
from tests.contract.scripted_services import TOKEN
from tests.security.certificates import Authority

LINK = {"ticket": "t-1", "url": "/#sign-in=t-1", "expires_at": "2026-01-01T00:10:00Z"}


@dataclass
class ScriptedGateway:
    """Answers every request with `status` and `content`; `asked` has head and body of each."""

    status: str = "201 Created"
    content: Any = field(default_factory=lambda: LINK)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    address: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        self.asked.append((head, json.loads(await reader.readexactly(length))))
        body = self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()
        writer.write(
            f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def gateway(cli: Cli) -> AsyncIterator[ScriptedGateway]:
    scripted = ScriptedGateway()
    async with listening(scripted.answer) as scripted.address:
        cli.environment["MATERIALS_GATEWAY"] = scripted.address
        yield scripted


@pytest.fixture
def opened(cli: Cli, tmp_path: Path) -> Path:
    """What the command's browser, a script, was given: one address a line."""
    told, browser = tmp_path / "opened.txt", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {told}\n')
    browser.chmod(0o700)
    cli.environment["BROWSER"] = f"{browser} %s"
    return told


async def test_the_link_is_opened_in_the_browser(gateway: ScriptedGateway, cli: Cli, opened: Path) -> None:
    result = await cli.run("open")
    assert (result.code, result.out) == (0, ""), result.err
    assert opened.read_text() == f"http://{gateway.address}/#sign-in=t-1\n"
    assert "t-1" not in result.err, "what signs in does not stay on the screen"
    [(head, body)] = gateway.asked
    assert head.startswith("POST /tickets HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}".lower() in head.lower()
    assert body == {"purpose": "sign-in"}


@pytest.mark.parametrize("address", ["http://{}", "http://{}/", "{}"])
async def test_print_shows_the_link_and_opens_nothing(
    gateway: ScriptedGateway, cli: Cli, opened: Path, address: str
) -> None:
    cli.environment["MATERIALS_GATEWAY"] = address.format(gateway.address)
    result = await cli.run("open", "--print")
    assert (result.code, result.out, result.err) == (0, f"http://{gateway.address}/#sign-in=t-1\n", "")
    result = await cli.run("open", "--json")
    assert result.documents == [{"url": f"http://{gateway.address}/#sign-in=t-1", "expires_at": LINK["expires_at"]}]
    assert not opened.exists()


async def test_without_a_browser_the_link_is_shown(gateway: ScriptedGateway, cli: Cli, tmp_path: Path) -> None:
    cli.environment |= {"PATH": str(tmp_path), "BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    result = await cli.run("open")
    assert (result.code, result.out) == (0, f"http://{gateway.address}/#sign-in=t-1\n")
    assert "no browser" in result.err


async def test_the_gateway_of_the_running_stack_is_found(gateway: ScriptedGateway, cli: Cli) -> None:
    del cli.environment["MATERIALS_GATEWAY"]
    del cli.environment["MATERIALS_TOKEN"]
    stack = cli.folder / ".local" / "run" / "stack.json"
    stack.parent.mkdir(parents=True)
    stack.write_text(json.dumps({"gateway": gateway.address, "token": "of-the-stack"}))
    result = await cli.run("open", "--print")
    assert (result.code, result.out) == (0, f"http://{gateway.address}/#sign-in=t-1\n"), result.err
    assert "Bearer of-the-stack" in gateway.asked[0][0]


async def test_a_refusal_is_told_in_the_gateway_s_words_with_what_to_do(
    gateway: ScriptedGateway, cli: Cli, opened: Path
) -> None:
    gateway.status = "401 Unauthorized"
    gateway.content = {"status": 401, "reason": "TOKEN_EXPIRED", "detail": "the token has expired"}
    result = await cli.run("open")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: the token has expired; set MATERIALS_TOKEN")
    gateway.status = "503 Service Unavailable"
    gateway.content = {"status": 503, "reason": "RECORD_UNAVAILABLE", "detail": "the record cannot be reached"}
    result = await cli.run("open")
    assert (result.code, result.err) == (3, "error: the record cannot be reached\n")
    assert not opened.exists()


@pytest.mark.parametrize(
    ("status", "content"),
    [
        ("200 OK", b"<html>"),
        ("200 OK", {"url": "http://elsewhere.example/"}),
        ("200 OK", {"url": 5}),
        ("200 OK", []),
        ("404 Not Found", {"title": "Not Found"}),
        ("308 Permanent Redirect", b""),
    ],
)
async def test_what_is_no_gateway_is_named_and_never_opened(
    gateway: ScriptedGateway, cli: Cli, opened: Path, status: str, content: Any
) -> None:
    gateway.status, gateway.content = status, content
    result = await cli.run("open")
    assert (result.code, result.out) == (1, "")
    assert f"what is at http://{gateway.address} (from MATERIALS_GATEWAY) is no gateway" in result.err
    assert not opened.exists()


async def test_a_gateway_that_is_not_there_is_named_with_what_to_do(cli: Cli) -> None:
    cli.environment["MATERIALS_GATEWAY"] = "127.0.0.1:1"
    result = await cli.run("open")
    assert (result.code, result.out) == (3, "")
    assert len(result.err.splitlines()) == 1
    assert "the gateway service at http://127.0.0.1:1 (from MATERIALS_GATEWAY) cannot be reached" in result.err
    assert "make run" in result.err
    del cli.environment["MATERIALS_GATEWAY"]
    result = await cli.run("open")
    assert result.code == 3
    assert "MATERIALS_GATEWAY" in result.err


async def test_a_connection_that_is_cut_before_the_answer_is_one_line(cli: Cli) -> None:
    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(cut) as cli.environment["MATERIALS_GATEWAY"]:
        result = await cli.run("open")
    assert (result.code, len(result.err.splitlines())) == (3, 1)


async def test_over_https_the_certificate_is_checked(cli: Cli, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*authority.issue("127.0.0.1").write(tmp_path, "gateway"))
    gateway = ScriptedGateway()
    async with listening(gateway.answer, tls) as address:
        cli.environment["MATERIALS_GATEWAY"] = f"https://{address}"
        result = await cli.run("open", "--print")
        assert result.code == 3
        assert "set MATERIALS_CA_FILE" in result.err
        assert gateway.asked == [], "no token for a stranger"
        cli.environment["MATERIALS_CA_FILE"] = str(authority.file)
        result = await cli.run("open", "--print")
    assert (result.code, result.out) == (0, f"https://{address}/#sign-in=t-1\n"), result.err
