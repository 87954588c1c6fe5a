"""With mutual TLS nobody is let in, or trusted, without a certificate of the authority; renewed ones are taken up without a restart."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from materials.v1 import material_pb2

from servicekit import channels
from servicekit.channels import Peer, open_channel
from servicekit.tls import TlsFiles
from tests.contract.command_line import Cli
from tests.contract.refusals import eventually
from tests.contract.refusals import refused as refused_call
from tests.local_stack import LocalStack
from tests.security.secured_services import (
    INGEST_NAME,
    STATUS_NAME,
    SecuredServices,
    environment,
    probe,
    refused,
)

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
async def services(stack: LocalStack) -> AsyncIterator[SecuredServices]:
    """Both services, with mutual TLS."""
    running = SecuredServices(stack)
    try:
        await running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def ingest(services: SecuredServices) -> str:
    return services.endpoints["ingest"]


def served(endpoint: str, tls: TlsFiles) -> str:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=tls.authority)
    context.check_hostname = False
    assert tls.certificate
    context.load_cert_chain(tls.certificate, tls.key)
    host, _, port = endpoint.rpartition(":")
    with ssl.create_connection((host, int(port)), timeout=10) as plain, context.wrap_socket(plain) as connection:
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown)


class TestWhoIsLetIn:
    async def test_an_upload_goes_from_the_caller_to_the_record_by_mutual_tls(
        self, services: SecuredServices, stack: LocalStack, course: str
    ) -> None:
        async with services.caller_of_both(stack.facts["token"]) as client:
            material = await client.upload(b"Mitosis makes two cells of one.\n", course=course)
            assert (await client.get(material.id)).processing_status == material_pb2.PROCESSING_STATUS_PENDING

    async def test_a_probe_with_a_certificate_and_without_a_token_is_answered(self, services: SecuredServices) -> None:
        for name, host in (("status", STATUS_NAME), ("ingest", INGEST_NAME)):
            assert await probe(services.endpoints[name], services.as_caller(host)) == "SERVING"

    async def test_a_certificate_is_no_identity(self, services: SecuredServices, course: str) -> None:
        async with services.caller_of_both("not a token") as client:
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await client.upload(b"text", course=course)
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED

    @pytest.mark.parametrize("service", ["status", "ingest"])
    async def test_a_caller_without_a_certificate_is_refused(self, services: SecuredServices, service: str) -> None:
        name = {"status": STATUS_NAME, "ingest": INGEST_NAME}[service]
        tls = TlsFiles(authority=services.authority.file, server_name=name)
        assert "Socket closed" in await refused(services.endpoints[service], tls)

    async def test_a_caller_with_a_certificate_of_another_authority_is_refused(
        self, services: SecuredServices, ingest: str
    ) -> None:
        stranger = services.authority.files(services.another_authority.issue("caller"), "stranger")
        assert "Socket closed" in await refused(ingest, stranger)

    @pytest.mark.parametrize("service", ["status", "ingest"])
    async def test_a_caller_in_plain_text_is_refused(self, services: SecuredServices, service: str) -> None:
        assert await refused(services.endpoints[service], None)


class TestWhoIsTrusted:
    async def test_a_service_of_an_unknown_authority_is_not(self, services: SecuredServices, ingest: str) -> None:
        tls = TlsFiles(services.caller.certificate, services.caller.key, services.another_authority.file)
        assert "CERTIFICATE_VERIFY_FAILED" in await refused(ingest, tls)

    async def test_a_service_by_another_name_is_not(self, services: SecuredServices, ingest: str) -> None:
        assert "Hostname Verification" in await refused(ingest, services.as_caller("search.materials.internal"))
        assert "Hostname Verification" in await refused(services.endpoints["status"], services.caller)

    async def test_a_service_by_the_host_it_is_called_by_is(self, services: SecuredServices, ingest: str) -> None:
        assert await probe(ingest, services.caller) == "SERVING"

    async def test_one_of_several_addresses_is_by_the_name_given_alone(
        self, services: SecuredServices, ingest: str
    ) -> None:
        several = f"{ingest},{ingest}"
        assert await probe(several, services.as_caller(INGEST_NAME)) == "SERVING"
        assert "Hostname Verification" in await refused(several, services.caller)
        assert "Hostname Verification" in await refused(several, services.as_caller(STATUS_NAME))

    async def test_a_status_that_is_not_keeps_ingest_from_taking_uploads(
        self, services: SecuredServices, stack: LocalStack, course: str
    ) -> None:
        await services.start_ingest(
            "wary-ingest",
            "status",
            **services.settings("wary-ingest", INGEST_NAME),
            TLS_SERVER_NAME="another-status.materials.internal",
        )
        async with services.caller_of_both(stack.facts["token"], ingest="wary-ingest") as client:
            with refused_call("UNAVAILABLE", "RECORD_UNAVAILABLE"):
                await client.upload(b"text", course=course)
        assert "Hostname Verification" in services.log("wary-ingest")


class TestRenewal:
    async def test_new_connections_see_the_renewed_certificate_and_those_that_stand_go_on(
        self, services: SecuredServices, ingest: str
    ) -> None:
        async with open_channel(ingest, services.as_caller(INGEST_NAME)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
            assert await watch.read() is not grpc.aio.EOF
            renewed = services.authority.issue(INGEST_NAME, "127.0.0.1")
            assert await asyncio.to_thread(served, ingest, services.caller) != renewed.certificate.decode()
            services.renew("ingest", renewed)
            assert await asyncio.to_thread(served, ingest, services.caller) == renewed.certificate.decode()
            assert await probe(ingest, services.as_caller(INGEST_NAME)) == "SERVING"
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)  # type: ignore[attr-defined]
            assert not watch.done()
            watch.cancel()

    async def test_files_that_are_no_pair_leave_the_certificate_before_in_use(
        self, services: SecuredServices, ingest: str
    ) -> None:
        good = services.authority.issue(INGEST_NAME, "127.0.0.1")
        services.renew("ingest", good)
        assert await asyncio.to_thread(served, ingest, services.caller) == good.certificate.decode()
        (services.directory / "ingest.key").write_bytes(services.authority.issue("another").key)
        for _ in range(3):
            assert await probe(ingest, services.caller) == "SERVING"
        assert await asyncio.to_thread(served, ingest, services.caller) == good.certificate.decode()
        assert services.log("ingest").count("renewed certificates are of no use") == 1
        services.renew("ingest", good)

    async def test_a_peer_keeps_a_few_channels_of_before_and_no_more(
        self, services: SecuredServices, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(channels, "RENEWAL_CHECK_SECONDS", 0.02)
        monkeypatch.setattr(channels, "MAX_RETIRED_CHANNELS", 1)
        tls = services.authority.files(services.authority.issue("peer"), "often-renewed", server_name=STATUS_NAME)
        peer = Peer(services.endpoints["status"], lambda: "", tls)
        async with asyncio.TaskGroup() as tasks:
            await peer.start(tasks)
            opened = [peer.channel]
            for _ in range(2):
                services.authority.issue("peer").write(services.directory, "often-renewed")
                assert await changed(peer, opened[-1])
                opened.append(peer.channel)

            async def first_is_closed() -> bool:
                return opened[0].get_state() is grpc.ChannelConnectivity.SHUTDOWN

            await eventually(first_is_closed, "the oldest channel is closed")
            assert grpc.ChannelConnectivity.SHUTDOWN not in {channel.get_state() for channel in opened[1:]}
            await peer.stop()
        assert {channel.get_state() for channel in opened} == {grpc.ChannelConnectivity.SHUTDOWN}

    async def test_a_peers_renewed_certificate_is_shown_by_new_calls_while_those_under_way_go_on(
        self, services: SecuredServices, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(channels, "RENEWAL_CHECK_SECONDS", 0.02)
        pair = services.authority.issue("peer")
        tls = services.authority.files(pair, "peer", server_name=STATUS_NAME)
        peer = Peer(services.endpoints["status"], lambda: "", tls)
        async with asyncio.TaskGroup() as tasks:
            await peer.start(tasks)
            before = peer.channel
            watch = health_pb2_grpc.HealthStub(before).Watch(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
            assert await watch.read() is not grpc.aio.EOF
            services.another_authority.issue("peer").write(services.directory, "peer")
            assert await changed(peer, before)
            with pytest.raises(grpc.aio.AioRpcError, match="Socket closed"):
                await checked(peer)
            refused_one = peer.channel
            services.authority.issue("peer").write(services.directory, "peer")
            assert await changed(peer, refused_one)
            await checked(peer)
            assert not watch.done()
            await peer.stop()
            assert watch.done()


async def changed(peer: Peer, before: grpc.aio.Channel) -> bool:
    """Waits until the peer's channel is another one."""

    async def look() -> bool:
        return peer.channel is not before

    await eventually(look, "a channel with the renewed certificate")
    return True


async def checked(peer: Peer) -> None:
    """One call as a service makes them. Raises AioRpcError."""
    await health_pb2_grpc.HealthStub(peer.channel).Check(health_pb2.HealthCheckRequest(), timeout=20)  # type: ignore[attr-defined]


class TestTheCommand:
    @pytest.fixture
    def cli(self, services: SecuredServices, stack: LocalStack, tmp_path: Path) -> Cli:
        """With all that mutual TLS needs. Ingest alone: its certificate and that of Status have no name in common."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MATERIALS_")}
        variables = environment(services, stack.facts["token"], services.caller)
        return Cli(tmp_path, {**kept, **variables, "PYTHONPATH": str(PROJECT)})

    async def test_uploads_with_its_variables_and_lists_under_the_name_given(self, cli: Cli, course: str) -> None:
        uploaded = await cli.run("upload", cli.file("notes.txt"), "-c", course, "--json")
        assert uploaded.code == 0, uploaded.err
        cli.environment["MATERIALS_SERVER_NAME"] = STATUS_NAME
        listed = await cli.run("list", "-c", course, "--json")
        assert listed.code == 0, listed.err
        assert [each["name"] for each in listed.documents] == ["notes.txt"]

    @pytest.mark.parametrize(
        ("variables", "words"),
        [
            ({"MATERIALS_CA_FILE": "another-authority.pem"}, "not of the authority in MATERIALS_CA_FILE"),
            ({"MATERIALS_SERVER_NAME": "search.internal"}, "for another name; set MATERIALS_SERVER_NAME"),
            (
                {"MATERIALS_CERT_FILE": "", "MATERIALS_KEY_FILE": ""},
                "may want TLS (MATERIALS_CA_FILE) or a certificate",
            ),
            (
                {"MATERIALS_CA_FILE": "", "MATERIALS_CERT_FILE": "", "MATERIALS_KEY_FILE": ""},
                "may want TLS (MATERIALS_CA_FILE) or a certificate",
            ),
        ],
    )
    async def test_a_connection_that_fails_is_told_with_what_to_set(
        self, cli: Cli, services: SecuredServices, course: str, variables: dict[str, str], words: str
    ) -> None:
        name = variables.get("MATERIALS_CA_FILE")
        cli.environment |= variables | ({"MATERIALS_CA_FILE": str(services.directory / name)} if name else {})
        result = await cli.run("upload", cli.file("notes.txt"), "-c", course, "--retries", "0")
        assert (result.code, result.out) == (3, "")
        error = [line for line in result.err.splitlines() if line.startswith("error: ")]
        assert len(error) == 1
        assert words in error[0]

    async def test_tls_towards_a_service_in_plain_text_is_told(self, cli: Cli, stack: LocalStack) -> None:
        cli.environment["MATERIALS_STATUS"] = stack.facts["status"]
        result = await cli.run("list")
        assert result.code == 3
        assert "it does not speak TLS; unset MATERIALS_CA_FILE" in result.err
