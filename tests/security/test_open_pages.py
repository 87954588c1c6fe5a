"""What everybody may see without a token, over gRPC and HTTP: whether the service lives and what calls it has, and nothing else."""

from __future__ import annotations

import json

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.contract.rpcs import Access
from tests.security.attacked import PARTS, Attacked
from tests.security.overheard import leaks
from tests.security.routes import ROUTES

#: The key of an object in the example of a material.
EXAMPLE_KEY = "objects/0b/"
each_part = pytest.mark.parametrize("part", PARTS)
#: Pages and calls of tools that tell of the inside; none of them is there.
ABSENT = [
    "/docs", "/redoc", "/docs/oauth2-redirect", "/metrics", "/debug", "/debug/pprof/", "/actuator", "/server-status", "/status",
    "/admin", "/.env", "/.git/config", "/config.json", "/stack.json", "/secrets.json", "/static/", "/static/index.html/..",
    "/static/..%2fsettings.py", "/static/%2e%2e/settings.py", "/static/%2e%2e%2f%2e%2e%2fpyproject.toml", "/static//etc/passwd",
    "/static/%00", "/openapi.yaml", "/graphql", "/robots.txt/..%2f..%2fsecrets.json",
]  # fmt: skip


class TestGrpc:
    @each_part
    def test_health_says_serving_and_no_more(self, attacked: Attacked, part: str) -> None:
        stub = health_pb2_grpc.HealthStub(attacked.channels.by_service[part])
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.SerializeToString() == b"\x08\x01"
        for name in ("nothing", "../x", "x" * 10_000):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    @each_part
    def test_reflection_tells_contracts_and_no_more(self, attacked: Attacked, part: str) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(attacked.channels.by_service[part])
        ask = reflection_pb2.ServerReflectionRequest
        [listed] = stub.ServerReflectionInfo(iter([ask(list_services="")]), timeout=20)
        names = [service.name for service in listed.list_services_response.service]
        requests = [*(ask(file_containing_symbol=name) for name in names), ask(file_by_filename="../../etc/passwd")]
        *files, refused = stub.ServerReflectionInfo(iter(requests), timeout=20)
        for answer in [listed, *files, refused]:
            assert not list(leaks(attacked.stack, str(answer)))
        assert refused.HasField("error_response")

    @each_part
    @pytest.mark.parametrize(
        "service",
        [
            "grpc.channelz.v1.Channelz/GetServers",
            "grpc.admin.v1.Admin/Get",
            "envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
        ],
    )
    def test_services_of_tools_are_not_there(self, attacked: Attacked, part: str, service: str) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            attacked.channels.by_service[part].unary_unary(f"/{service}")(b"", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


class TestHttp:
    def test_health_says_that_it_serves_and_no_more(self, http: httpx.Client) -> None:
        answer = http.get("/healthz", params={"verbose": "1"})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    @pytest.mark.parametrize("path", ["/", "/healthz", "/openapi.json", "/nothing", "/materials"])
    def test_no_header_names_the_software_or_the_machine(
        self, attacked: Attacked, http: httpx.Client, path: str
    ) -> None:
        answer = http.get(path)
        assert not {"server", "x-powered-by", "via", "set-cookie"} & set(answer.headers)
        assert not list(leaks(attacked.stack, f"{dict(answer.headers)} {answer.text.replace(EXAMPLE_KEY, '')}"))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["referrer-policy"] == "no-referrer"

    @pytest.mark.parametrize("path", ABSENT)
    def test_pages_of_tools_are_not_there(self, attacked: Attacked, path: str) -> None:
        with httpx.Client(base_url=f"http://{attacked.gateway}", timeout=30) as http:
            answer = http.get(path)
        assert answer.status_code in (404, 405), answer.text
        assert answer.headers["content-type"] == "application/problem+json"

    def test_document_tells_nothing_of_operators_peers_or_the_machine(
        self, attacked: Attacked, http: httpx.Client
    ) -> None:
        document = http.get("/openapi.json")
        for hidden in ("RecordService", "queue", "127.0.0.1", "localhost", attacked.stack.facts["status"]):
            assert hidden not in json.dumps(document.json()["paths"])
        assert not list(leaks(attacked.stack, document.text.replace(EXAMPLE_KEY, "")))

    def test_every_other_method_is_refused(self, http: httpx.Client) -> None:
        for name in ROUTES:
            _, _, path = name.partition(" ")
            for method in ("PUT", "PATCH", "TRACE", "CONNECT", "PROPFIND", "DEBUG"):
                answer = http.request(method, path.format(material_id="x", course_id="x"))
                assert answer.status_code in (400, 405, 501), (method, path, answer.status_code)

    def test_only_what_is_meant_to_be_open_is_open(self) -> None:
        assert {name for name, access in ROUTES.items() if access is Access.OPEN} == {"GET /healthz", "DELETE /session"}
