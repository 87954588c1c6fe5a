"""One request is one trace, through all that it sets in motion, and what is seen of it holds nothing of what it was about."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.contract.rest import Rest
from tests.integration.observed_stack import ObservedStack, Seen
from tests.local_stack import unique_course

#: Stands in each document, query and question here.
PLANTED = "zanzibarium"
TEXT = f"Mitochondria turn sugar into {PLANTED}, which the cell uses as energy.\n".encode()
UPLOAD = "POST /courses/{course_id}/materials"


def page_image() -> bytes:
    """A picture that only the Brain can read."""
    image = Image.new("L", (1200, 260), 255)
    ImageDraw.Draw(image).text((40, 90), f"The cell makes {PLANTED}.", fill=0, font=ImageFont.load_default(64))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def trace_of(spans: list[Seen], name: str) -> str:
    """The trace of the newest span of a name at the gateway."""
    return next((span.trace_id for span in reversed(spans) if (span.service, span.name) == ("gateway", name)), "")


def is_one_tree(trace: list[Seen]) -> bool:
    ids = {span.span_id for span in trace}
    return [span.parent_id in ids for span in trace].count(False) == 1


async def test_an_upload_is_one_trace_from_the_gateway_to_the_records_last_word(observed: ObservedStack) -> None:
    course = unique_course()
    async with Rest(observed.stack.facts["gateway"], observed.stack.facts["token"]) as rest:
        material = await rest.upload(course, page_image(), name="page.png")
        assert (await rest.ended(material["id"]))["processing_status"] == "completed"
    expected = {
        ("gateway", UPLOAD),
        ("ingest_service", "materials.v1.IngestService/UploadMaterial"),
        ("status_service", "record material"),
        ("ingest_service", "publish materials.v1.uploaded"),
        ("processor_service", "process materials.v1.uploaded"),
        ("status_service", "materials.v1.RecordService/ClaimMaterial"),
        ("processor_service", "attempt"),
        ("processor_service", "read page"),
        ("processor_service", "brain read"),
        ("processor_service", "index page"),
        ("processor_service", "brain embed"),
        ("processor_service", "report"),
        ("status_service", "record completion"),
    }

    def whole(spans: list[Seen]) -> bool:
        trace_id = trace_of(spans, UPLOAD)
        trace = [span for span in spans if span.trace_id == trace_id]
        return expected <= {(span.service, span.name) for span in trace} and is_one_tree(trace)

    spans = await observed.collector.holds(whole, "the upload's trace")
    trace = observed.collector.trace(trace_of(spans, UPLOAD))
    by_name = {span.name: span for span in trace}
    by_id = {span.span_id: span for span in trace}

    def above(name: str) -> list[str]:
        names, span = [], by_name[name]
        while span.parent_id in by_id:
            span = by_id[span.parent_id]
            names.append(span.name)
        return names

    assert above("brain read") == [
        "read page",
        "attempt",
        "process materials.v1.uploaded",
        "publish materials.v1.uploaded",
        "materials.v1.IngestService/UploadMaterial",
        UPLOAD,
    ]
    assert above("record completion")[:2] == ["report", "attempt"]
    assert by_name["attempt"].attributes["material_id"] == material["id"]


async def test_a_search_and_an_answer_are_each_one_trace_to_the_brain(observed: ObservedStack) -> None:
    course = unique_course()
    search, ask = "GET /courses/{course_id}/search", "POST /courses/{course_id}/ask"
    async with Rest(observed.stack.facts["gateway"], observed.stack.facts["token"]) as rest:
        material = await rest.upload(course, TEXT)
        await rest.ended(material["id"])
        await rest.get(f"/courses/{course}/search", query=PLANTED)
        await rest.http.post(f"/courses/{course}/ask", json={"question": f"What is {PLANTED}?"})

    def whole(spans: list[Seen]) -> bool:
        searched = {s.name for s in spans if s.trace_id == trace_of(spans, search)}
        asked = {s.name for s in spans if s.trace_id == trace_of(spans, ask)}
        return {"materials.v1.ProcessorService/SearchMaterials", "brain embed"} <= searched and {
            "materials.v1.ProcessorService/AnswerQuestion", "brain generate", "materials.v1.StatusService/BatchGetMaterials",
        } <= asked  # fmt: skip

    await observed.collector.holds(whole, "the traces of a search and of an answer")


@pytest.mark.parametrize("part", ["gateway", "ingest", "status", "processor"])
async def test_log_lines_are_json_with_the_ids_of_their_trace_and_material(observed: ObservedStack, part: str) -> None:
    course = unique_course()
    async with Rest(observed.stack.facts["gateway"], observed.stack.facts["token"]) as rest:
        refused = await rest.http.post(f"/courses/{course}/materials", files={"file": ("empty.txt", b"")})
        assert refused.status_code == 422
        material = await rest.upload(course, TEXT)
        await rest.ended(material["id"])
        await rest.http.delete(f"/materials/{material['id']}/text")
        assert (await rest.http.get("/materials/3f0e4a4e-0000-4000-8000-000000000000")).status_code == 404
    of_calls = [line for line in observed.log(part) if "method" in line]
    assert of_calls, "calls were logged"
    assert all(len(line["trace_id"]) == 32 for line in of_calls)
    if part in ("ingest", "processor"):
        events = {line["event"]: line for line in observed.log(part) if line.get("material_id")}
        told = events["call refused" if part == "ingest" else "attempt completed"]
        assert len(told["trace_id"]) == 32
        assert part == "ingest" or told["material_id"]


async def test_nothing_that_is_seen_holds_a_documents_text_or_a_token(observed: ObservedStack) -> None:
    course = unique_course()
    facts = observed.stack.facts
    async with Rest(facts["gateway"], facts["token"]) as rest:
        for content, name in ((TEXT, "notes.md"), (page_image(), "page.png"), (b"%PDF-1.7 " + TEXT, "broken.pdf")):
            await rest.ended((await rest.upload(course, content, name=name))["id"])
        await rest.get(f"/courses/{course}/search", query=f"what is {PLANTED}")
        await rest.http.post(f"/courses/{course}/ask", json={"question": f"What is {PLANTED}?"})
        await rest.http.get("/materials", headers={"Authorization": f"Bearer {facts['token'][:-3]}{PLANTED}"})
    parts = [*facts["endpoints"]]
    await observed.collector.holds(
        lambda spans: bool(trace_of(spans, "POST /courses/{course_id}/ask")), "the last call's span"
    )
    seen = {part: observed.log_text(part) + observed.metrics(part).text for part in parts}
    seen["spans"] = "".join(str(span.raw) for span in observed.collector.spans)
    assert all(len(text) > 1_000 for text in seen.values())
    secrets = [PLANTED, facts["token"], facts["token"].rsplit(".", 1)[1], facts["service_token"]]
    secrets += [value for value in observed.stack.secrets().values() if isinstance(value, str) and len(value) >= 16]
    leaks = [
        (where, secret, text[max(0, at - 200) : at + 20])
        for where, text in seen.items()
        for secret in secrets
        if (at := text.find(secret)) >= 0
    ]
    assert not leaks


def test_metrics_have_labels_of_few_values_and_none_of_a_person_a_course_or_a_material(observed: ObservedStack) -> None:
    for part in observed.stack.facts["endpoints"]:
        values = observed.metrics(part).label_values()
        assert not [
            value for value in values if value.startswith("course-") or len(value) == 36 or value == "demo-user"
        ]
