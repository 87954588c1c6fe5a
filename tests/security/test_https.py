"""The gateway by HTTPS, and behind it mutual TLS to the services: nothing goes in the open, and browsers are told to keep it so."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from single_node.ports import HOST
from tests.contract.gateway_process import START_SECONDS, started_gateway
from tests.contract.refusals import eventually
from tests.local_stack import LocalStack
from tests.security.certificates import Authority
from tests.security.secured_services import SecuredServices

CONTENT = b"Mitochondria turn sugar into ATP.\n"


@pytest.fixture(scope="module")
async def secured(stack: LocalStack) -> AsyncIterator[SecuredServices]:
    """Status and Ingest, which let nobody in without a certificate, under the address that they are called by."""
    running = SecuredServices(stack)
    try:
        await running.start(HOST)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
async def https(
    stack: LocalStack, secured: SecuredServices, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that trusts the gateway's authority, and no identity."""
    folder: Path = tmp_path_factory.mktemp("https")
    authority = Authority(folder, "public-authority")
    certificate, key = authority.issue(HOST).write(folder, "gateway")
    context = ssl.create_default_context(cafile=authority.file)

    async def serves(address: str) -> None:
        async def answers() -> bool:
            try:
                async with httpx.AsyncClient(verify=context) as client:
                    return (await client.get(f"https://{address}/healthz")).status_code == httpx.codes.OK
            except httpx.ConnectError:
                return False

        await eventually(answers, "the gateway answers by HTTPS", seconds=START_SECONDS)

    async with (
        started_gateway(
            stack,
            {
                "ingest": secured.endpoints["ingest"],
                "status": secured.endpoints["status"],
                "processor": secured.endpoints["status"],
            },
            ready=serves,
            HTTPS_CERT_FILE=str(certificate),
            HTTPS_KEY_FILE=str(key),
            TLS_CERT_FILE=str(secured.caller.certificate),
            TLS_KEY_FILE=str(secured.caller.key),
            TLS_CA_FILE=str(secured.authority.file),
        ) as gateway,
        httpx.AsyncClient(base_url=f"https://{gateway.address}", verify=context, timeout=30) as client,
    ):
        yield client


async def test_an_upload_goes_through_https_and_mutual_tls_to_the_record(
    https: httpx.AsyncClient, stack: LocalStack, course: str
) -> None:
    headers = {"Authorization": f"Bearer {stack.facts['token']}"}
    uploaded = await https.post(f"/courses/{course}/materials", files={"file": ("cells.txt", CONTENT)}, headers=headers)
    assert uploaded.status_code == httpx.codes.CREATED, uploaded.text
    content = await https.get(f"/materials/{uploaded.json()['id']}/content", headers=headers)
    assert content.content == CONTENT
    assert content.headers["Strict-Transport-Security"]


async def test_the_session_cookie_goes_by_https_alone(https: httpx.AsyncClient, stack: LocalStack) -> None:
    answer = await https.post("/session", headers={"Authorization": f"Bearer {stack.facts['token']}"})
    assert answer.status_code == httpx.codes.OK, answer.text
    flags = {each.strip().lower() for each in answer.headers["Set-Cookie"].split(";")[1:]}
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= flags


async def test_plain_http_gets_nothing(https: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient() as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get(str(https.base_url).replace("https:", "http:"))
