"""ProcessorService: the index in use and the one being built. A whole re-index is in `tests/end_to_end/test_reindex.py`."""

from __future__ import annotations

import pytest
from materials.v1 import processor_service_pb2 as pb

from processor_service.index.passages import CHUNKING_RULE
from tests.contract.refusals import refused
from tests.local_stack import Client, LocalStack

SECONDS = 20.0


async def index_of(client: Client) -> pb.GetIndexResponse:
    return await client.processor.GetIndex(pb.GetIndexRequest(), metadata=client.metadata, timeout=SECONDS)


async def test_index_in_use_says_what_it_is_of(client: Client) -> None:
    index = await index_of(client)
    assert not index.HasField("building")
    serving = index.serving
    assert (serving.generation, serving.embedding_model, serving.chunking_rule) == (1, "default", CHUNKING_RULE)
    assert serving.pages_done == serving.pages_total
    assert 0 < serving.started_at.seconds <= serving.switched_at.seconds
    assert serving.status_message == ""


@pytest.mark.parametrize("model", ["another", "default ", "x" * 5_000, "\x1b[31m"])
async def test_model_that_no_setting_names_is_refused(client: Client, model: str) -> None:
    request = pb.StartReindexRequest(embedding_model=model)
    with refused("INVALID_ARGUMENT", "FIELD_INVALID", "embedding_model"):
        await client.processor.StartReindex(request, metadata=client.metadata, timeout=SECONDS)
    assert not (await index_of(client)).HasField("building")


async def test_giving_up_when_nothing_is_built_changes_nothing(client: Client) -> None:
    request = pb.CancelReindexRequest()
    response = await client.processor.CancelReindex(request, metadata=client.metadata, timeout=SECONDS)
    before = (await index_of(client)).serving
    assert (response.serving.generation, response.serving.switched_at) == (before.generation, before.switched_at)


async def test_editor_of_every_course_is_no_operator(stack: LocalStack) -> None:
    async with stack.client(stack.user_token("editor", {"*": "editor"})) as editor:
        for call, request in (
            (editor.processor.StartReindex, pb.StartReindexRequest()),
            (editor.processor.GetIndex, pb.GetIndexRequest()),
            (editor.processor.CancelReindex, pb.CancelReindexRequest()),
        ):
            with refused("PERMISSION_DENIED", "OPERATOR_REQUIRED"):
                await call(request, metadata=editor.metadata, timeout=SECONDS)
