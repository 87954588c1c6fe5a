"""The OpenAPI document: valid, complete, true to the errors there are, and with examples that work as they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from tests.contract.rest import STATUS_OF_REASON, TEXT, Document, Rest, assert_problem, found
from tests.local_stack import LocalStack

#: What stands in the examples for what each installation has of its own.
EXAMPLE_ID, EXAMPLE_COURSE = "0b8f6a52-0a3f-4b0e-9d0b-3f6f1c2d4e5a", "biology-101"
METHODS = ("get", "post", "delete", "put", "patch", "head", "options")


@pytest.fixture
async def document(rest: Rest) -> Document:
    content: Document = await rest.get("/openapi.json")
    return content


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert method in METHODS
            yield method.upper(), path, operation


def schemas(node: Any) -> Iterator[Document]:
    """Every schema that stands anywhere."""
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "schema")
        for value in node.values():
            yield from schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas(value)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


async def test_the_document_is_one_of_openapi_3_1(document: Document) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"].keys() >= {"title", "version", "description"}
    assert document["paths"]
    for reference in references(document):
        here: Any = document
        for name in reference.removeprefix("#/").split("/"):
            here = here[name]
    for schema in [*document["components"]["schemas"].values(), *schemas(document)]:
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    for _, path, operation in operations(document):
        in_path = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert in_path == {part.partition("}")[0] for part in path.split("{")[1:]}
        assert operation["responses"]
        assert all(answer["description"] for answer in operation["responses"].values())


async def test_every_operation_says_what_it_does_and_what_comes_back(document: Document) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids)) == 21
    for method, path, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["tags"], path
        assert any(status.startswith("2") for status in operation["responses"]), f"{method} {path}"
        for parameter in operation.get("parameters", []):
            assert parameter.get("description") or parameter["schema"].get("description"), (path, parameter["name"])


async def test_every_error_is_the_one_kind_of_problem(document: Document) -> None:
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    assert "ValidationError" not in document["components"]["schemas"]
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and path != "/healthz":
                assert answer["content"] == problem, f"{method} {path} {status}"
            if status in ("429", "503", "504") and path != "/healthz":
                assert "Retry-After" in answer["headers"]
        if operation.get("security") != []:
            assert {"401", "422", "429", "503"} <= operation["responses"].keys(), f"{method} {path}"


async def test_every_status_of_the_contract_is_that_of_some_operation(document: Document) -> None:
    documented = {int(status) for _, _, operation in operations(document) for status in operation["responses"]}
    assert documented >= {*STATUS_OF_REASON.values()}


async def test_who_may_call_what_is_said(document: Document) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {(each["type"], each.get("in")) for each in schemes.values()} == {
        ("http", None), ("apiKey", "cookie"), ("apiKey", "query"),
    }  # fmt: skip
    assert document["security"] == [{"bearer": []}, {"session": []}]
    open_to_all = {f"{method} {path}" for method, path, each in operations(document) if each.get("security") == []}
    assert open_to_all == {"POST /session", "DELETE /session", "GET /healthz"}
    by_ticket = {path for _, path, each in operations(document) if {"ticket": []} in each.get("security", [])}
    assert by_ticket == {
        "/materials/{material_id}/content",
        "/materials/{material_id}/events",
        "/courses/{course_id}/events",
    }


async def test_a_material_is_described_field_by_field(rest: Rest, document: Document, course: str) -> None:
    schema = {**document["components"]["schemas"]["Material"], "components": document["components"]}
    material = await rest.upload(course)
    assert material.keys() == schema["properties"].keys()
    assert {*schema["required"]} == schema["properties"].keys()
    jsonschema_rs.validator_for(schema).validate(material)
    problem = {**document["components"]["schemas"]["ProblemDetails"], "components": document["components"]}
    validator = jsonschema_rs.validator_for(problem)
    for response in (await rest.http.get("/materials/x"), await rest.http.post("/tickets"), await rest.http.put("/x")):
        validator.validate(response.json())


def example_of(schema: Document, document: Document) -> Any:
    """What the schema gives as an example, of its fields if not of itself."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "examples" in schema:
        return schema["examples"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], document)
    return {name: example_of(field, document) for name, field in schema["properties"].items()}


async def test_every_operation_has_an_example_that_works(stack: LocalStack, document: Document) -> None:
    token = stack.user_token("examples", {EXAMPLE_COURSE: "editor"})
    worked = []
    async with Rest(stack.facts["gateway"], token) as rest:
        # What takes something away comes last.
        for method, path, operation in sorted(operations(document), key=lambda each: each[0] == "DELETE"):
            query, headers, sent = {}, {}, dict[str, Any]()
            url = path
            for parameter in operation.get("parameters", []):
                if "examples" not in parameter["schema"]:
                    assert not parameter["required"]
                    continue
                example = parameter["schema"]["examples"][0]
                if parameter["in"] == "path":
                    url = url.replace(f"{{{parameter['name']}}}", example)
                elif parameter["in"] == "header":
                    headers[parameter["name"]] = example
                else:
                    query[parameter["name"]] = example
            body = operation.get("requestBody", {}).get("content", {})
            if "application/json" in body:
                sent["json"] = example_of(body["application/json"]["schema"], document)
            elif body:
                fields = example_of(body["multipart/form-data"]["schema"], document)
                sent = {"files": {"file": ("cells.md", fields.pop("file"))}, "data": fields}
            if EXAMPLE_ID in url:
                material = await rest.upload(EXAMPLE_COURSE, TEXT)
                url = url.replace(EXAMPLE_ID, material["id"])
            if "token" in sent.get("json", {}):
                sent["json"]["token"] = token
            request = rest.http.build_request(method, url, params=query, headers=headers, **sent)
            response = await rest.http.send(request, stream=True)
            if not url.endswith("/events"):  # Some never end.
                await response.aread()
            await response.aclose()
            assert 200 <= response.status_code < 300, f"{method} {url}: {response.text}"
            worked.append(operation["operationId"])
            rest.http.cookies.clear()
    assert len(worked) == 21


async def test_a_missing_field_is_told_by_its_name(rest: Rest) -> None:
    assert_problem(await rest.http.get("/courses/a/search"), "FIELD_INVALID", "query")
    assert found(await rest.http.get("/courses/a/search?query=cells"))["query"] == "cells"
